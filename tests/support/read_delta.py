#!/usr/bin/env python3
"""Reads a Delta table with a reader that users have, and prints its rows as JSON lines.

    read_delta.py READER TABLE [--union TABLE] [--where COLUMN=TEXT] [--count]

READER is duckdb, polars, deltalake, or all: then all three must agree, each in a process of its own (together in one,
their threads abort now and then while it ends). TABLE is a local directory. Rows come by
(partition, ordinal). Times are microseconds since 1970, dates ISO text, decimals plain text with all their digits, bytes
hexadecimal, maps and structs objects: the same for every reader, in the years 1 to 9999 too. --union (DuckDB alone) reads
the rows of another table too, columns by their names. Needs duckdb 1.4.4,
duckdb-ext-delta, polars, deltalake and pyarrow.
"""

import argparse
import datetime
import decimal
import json
import pathlib
import subprocess
import sys

from leave import leave

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def plain(value):
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def as_map(value):
    """A map as a dictionary: readers give one, or a list of pairs, or a list of structs of key and value."""
    if value is None or isinstance(value, dict):
        return value
    pairs = [tuple(entry.values()) if isinstance(entry, dict) else entry for entry in value]
    return dict(pairs)


def arrow_rows(table):
    """Rows of an Arrow table, its times as integers."""
    import pyarrow as pa

    def integers(ty):
        """The type with integers in place of times."""
        if pa.types.is_timestamp(ty):
            return pa.int64()
        return pa.list_(integers(ty.value_type)) if pa.types.is_list(ty) else ty

    def micros(ty):
        if pa.types.is_timestamp(ty):
            return pa.timestamp("us", "UTC")
        return pa.list_(micros(ty.value_type)) if pa.types.is_list(ty) else ty

    columns = {}
    for name in table.column_names:
        column = table[name]
        if integers(column.type) != column.type:
            column = column.cast(micros(column.type)).cast(integers(column.type))
        values = column.to_pylist()
        columns[name] = [as_map(value) for value in values] if pa.types.is_map(column.type) else values
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
    scans = [f"SELECT * FROM delta_scan('file://{pathlib.Path(each).resolve()}')" for each in table.split("\n")]
    source = f"({' UNION ALL BY NAME '.join(scans)})"
    described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    names = [row[0] for row in described]


    def pick(name, ty):
        if not ty.startswith("TIMESTAMP"):
            return f'"{name}"'
        value = f'list_transform("{name}", lambda time: epoch_us(time))' if ty.endswith("[]") else f'epoch_us("{name}")'
        return f'{value} AS "{name}"'

    sql = f"SELECT {', '.join(pick(row[0], row[1]) for row in described)} FROM {source}"
    if where:
        sql += f" WHERE CAST(\"{where[0]}\" AS VARCHAR) = ?"
    return names, connection.execute(sql, [where[1]] if where else []).fetchall()


def read_polars(table, where):
    import polars as pl

    frame = pl.scan_delta(str(table))
    if where:
        frame = frame.filter(pl.col(where[0]).cast(pl.String) == where[1])
    frame = frame.collect()
    schema = frame.schema.items()
    times = [name for name, dtype in schema if isinstance(dtype, pl.Datetime)]
    frame = frame.with_columns(pl.col(times).dt.epoch("us"))
    times = [name for name, dtype in schema if isinstance(dtype, pl.List) and isinstance(dtype.inner, pl.Datetime)]
    frame = frame.with_columns(pl.col(name).list.eval(pl.element().dt.epoch("us")) for name in times)

    def is_map(dtype):
        entry = dtype.inner if isinstance(dtype, pl.List) else None
        return isinstance(entry, pl.Struct) and [field.name for field in entry.fields] == ["key", "value"]

    maps = [is_map(dtype) for _, dtype in schema]
    rows = [tuple(as_map(value) if map else value for value, map in zip(row, maps)) for row in frame.rows()]
    return frame.columns, rows


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
    parser.add_argument("--union", metavar="TABLE", help="DuckDB alone: the rows of this table too, columns by name")
    parser.add_argument("--where", metavar="COLUMN=TEXT")
    parser.add_argument("--count", action="store_true", help="print the number of rows alone")
    options = parser.parse_args()
    where = tuple(options.where.split("=", 1)) if options.where else None
    if options.reader == "all":
        print(agreed(options), end="")
        return
    tables = [options.table] + ([options.union] if options.union else [])
    rows = rows_of(options.reader, "\n".join(tables), where)
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
    leave(main)
