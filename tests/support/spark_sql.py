#!/usr/bin/env python3
"""Runs a printed join in Spark, and writes what it gives as Parquet.

    spark_sql.py SQL FOLDER

The statement is run as it stands but for one thing: in place of Delta's own reader, which is a jar that pyspark does not
bring, Spark gets the Parquet files of each table, in which nothing was ever removed. Needs pyspark and Java.
"""

import pathlib
import re
import sys

from pyspark.sql import SparkSession

TABLE = re.compile(r"delta\.`([^`]+)` VERSION AS OF \d+")


def main(sql, folder):
    builder = SparkSession.builder.appName("join").master("local[2]")
    for key, value in {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.shuffle.partitions": "2",
        "spark.ui.enabled": "false",
        "spark.driver.memory": "1g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    lines = [line for line in pathlib.Path(sql).read_text().splitlines() if not line.startswith("--")]
    views = {}

    def view(found):
        files = sorted(pathlib.Path(found[1]).rglob("*.parquet"))
        files = [str(file) for file in files if "_delta_log" not in file.parts]
        name = views.setdefault(found[1], f"history_{len(views)}")
        spark.read.parquet(*files).createOrReplaceTempView(name)
        return name

    statement = TABLE.sub(view, "\n".join(lines).strip().rstrip(";"))
    assert views, "the statement names no Delta table"
    spark.sql(statement).coalesce(1).write.mode("overwrite").parquet(folder)
    spark.stop()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
