#!/usr/bin/env python3
"""Reads a Delta table with a reader that users have, and prints its rows as JSON lines.

    read_delta.py READER TABLE [--where COLUMN=TEXT] [--count]

READER is duckdb, polars, deltalake, or all: then all three must agree, each in a process of its own (together in one,
their threads abort now and then while it ends). TABLE is a local directory. Rows come by
(partition, ordinal). Times are microseconds since 1970, dates ISO text, bytes hexadecimal: the same for every reader,
in the years 1 to 9999 too. Needs duckdb 1.4.4, duckdb-ext-delta, polars, deltalake and pyarrow.
"""

import argparse
import datetime
import json
import pathlib
import subprocess
import sys

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def plain(value):
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    return value


def arrow_rows(table):
    """Rows of an Arrow table, its times as integers."""
    import pyarrow as pa

    columns = {}
    for name in table.column_names:
        column = table[name]
        if pa.types.is_timestamp(column.type):
            column = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
        columns[name] = column.to_pylist()
    names = list(columns)
    return names, list(zip(*columns.values()))


def read_duckdb(table, where):
    import duckdb

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    try:
        connection.execute("LOAD delta")
    except duckdb.Error:
        import duckdb_ext.extensions as extensions

        found = [p for root in extensions.__path__ for p in pathlib.Path(root).rglob("delta.duckdb_extension")]
        connection.execute(f"LOAD '{found[0]}'")
    connection.execute("SET TimeZone = 'UTC'")
    source = f"delta_scan('file://{pathlib.Path(table).resolve()}')"
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    names = [row[0] for row in described]
    picks = [
        f'epoch_us("{row[0]}") AS "{row[0]}"' if row[1].startswith("TIMESTAMP") else f'"{row[0]}"' for row in described
    ]
    sql = f"SELECT {', '.join(picks)} FROM {source}"
    if where:
        sql += f" WHERE CAST(\"{where[0]}\" AS VARCHAR) = ?"
    return names, connection.execute(sql, [where[1]] if where else []).fetchall()


def read_polars(table, where):
    import polars as pl

    frame = pl.scan_delta(str(table))
    if where:
        frame = frame.filter(pl.col(where[0]).cast(pl.String) == where[1])
    frame = frame.collect()
    times = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.Datetime)]
    frame = frame.with_columns(pl.col(times).dt.epoch("us"))
    return frame.columns, frame.rows()


def read_deltalake(table, where):
    import pyarrow as pa
    import pyarrow.compute as pc
    from deltalake import DeltaTable

    rows = DeltaTable(str(table)).to_pyarrow_table()
    if where:
        rows = rows.filter(pc.equal(rows[where[0]].cast(pa.string()), where[1]))
    return arrow_rows(rows)


READERS = {"duckdb": read_duckdb, "polars": read_polars, "deltalake": read_deltalake}


def rows_of(reader, table, where):
    names, rows = READERS[reader](table, where)
    rows = [{name: plain(value) for name, value in zip(names, row)} for row in rows]
    return sorted(rows, key=lambda row: (row["partition"], row["ordinal"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=[*READERS, "all"])
    parser.add_argument("table")
    parser.add_argument("--where", metavar="COLUMN=TEXT")
    parser.add_argument("--count", action="store_true", help="print the number of rows alone")
    options = parser.parse_args()
    where = tuple(options.where.split("=", 1)) if options.where else None
    if options.reader == "all":
        print(agreed(options), end="")
        return
    rows = rows_of(options.reader, options.table, where)
    if options.count:
        print(len(rows))
        return
    for row in rows:
        print(json.dumps(row, ensure_ascii=False, sort_keys=True))


def agreed(options):
    """What every reader prints, when all print the same."""
    arguments = [options.table] + (["--where", options.where] if options.where else [])
    arguments += ["--count"] if options.count else []
    printed = {}
    for reader in READERS:
        run = subprocess.run([sys.executable, __file__, reader, *arguments], stdout=subprocess.PIPE, text=True)
        if run.returncode != 0:
            sys.exit(f"{reader} ended with {run.returncode} on {options.table}")
        printed[reader] = run.stdout
    first, *others = READERS
    for other in others:
        if printed[other] != printed[first]:
            sys.exit(f"{first} and {other} read different rows from {options.table}")
    return printed[first]


if __name__ == "__main__":
    main()
