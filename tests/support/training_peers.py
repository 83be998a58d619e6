#!/usr/bin/env python3
"""Joins labels with a history as other tools do it, and compares answers.

    training_peers.py compare SQL PARQUET        what SQL gives in DuckDB beside a training file: differences by column
    training_peers.py same FOLDER PARQUET        Parquet files of another engine beside a training file
    training_peers.py sample LABELS TABLE PARQUET RULE SHARE
                                                 some labels' rows, found among all rows of their entity
    training_peers.py duckdb|polars LABELS TABLE OUT
                                                 the plain as-of join of that tool, written as Parquet: to be measured
    training_peers.py feast LABELS TABLE OUT     the same through Feast's DuckDB store, where it is installed

LABELS has user_id, event_timestamp and amount; TABLE is a local history of entities with the key user_id. RULE is JSON:
{"strict": bool, "lookback": ms or null, "by_event_time": bool}. Answers are one line of JSON. Needs duckdb,
duckdb-ext-delta, polars and deltalake.
"""

import json
import pathlib
import sys

from leave import leave

FIXED = ["user_id", "event_time", "known_at", "partition", "offset", "sequence", "ordinal", "version", "event_date"]


def connect():
    import duckdb

    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    try:
        connection.execute("LOAD delta")
    except duckdb.Error:
        import duckdb_ext.extensions as extensions

        found = [p for root in extensions.__path__ for p in pathlib.Path(root).rglob("delta.duckdb_extension")]
        connection.execute(f"LOAD '{found[0]}'")
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def differences(connection, expected, found):
    """Rows of two tables, side by side in their order, that differ, by column. Doubles may differ in the last bits."""
    columns = connection.execute(f"DESCRIBE {expected}").fetchall()
    names = [row[0] for row in connection.execute(f"DESCRIBE {found}").fetchall()]
    if [row[0] for row in columns] != names:
        sys.exit(f"{[row[0] for row in columns]} are the one's columns, and {names} the other's")
    counts = [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in (expected, found)]
    if counts[0] != counts[1]:
        sys.exit(f"one has {counts[0]} rows and the other {counts[1]}")

    def differ(name, ty):
        same = f'e."{name}" IS NOT DISTINCT FROM f."{name}"'
        if ty in ("DOUBLE", "FLOAT"):
            same += f' OR abs(e."{name}" - f."{name}") <= 1e-12 * abs(e."{name}")'
        return f'count(*) FILTER (WHERE ({same}) IS NOT TRUE)'

    picks = ", ".join(differ(name, ty) for name, ty, *_ in columns)
    row = connection.execute(f"SELECT {picks} FROM {expected} e JOIN {found} f ON e.rowid = f.rowid").fetchone()
    return {"rows": counts[0], "different": sum(row), "columns": {n: d for n, d in zip(names, row) if d}}


def compare(sql, parquet):
    connection = connect()
    text = pathlib.Path(sql).read_text()
    before, query = text.split("WITH labels", 1)
    before = [line for line in before.splitlines() if line and not line.startswith("--")]
    connection.execute("\n".join(before))
    connection.execute("CREATE TEMP TABLE expected AS WITH labels" + query)
    connection.execute(f"CREATE TEMP TABLE found AS SELECT * FROM read_parquet('{parquet}')")
    print(json.dumps(differences(connection, "expected", "found")))


def same(folder, parquet):
    connection = connect()
    connection.execute(f"CREATE TEMP TABLE expected AS SELECT * FROM read_parquet('{folder}/*.parquet')")
    connection.execute(f"CREATE TEMP TABLE found AS SELECT * FROM read_parquet('{parquet}')")
    print(json.dumps(differences(connection, "expected", "found")))


def sample(labels, table, parquet, rule, share):
    """By brute force: every row of the label's entity is looked at."""
    connection, rule = connect(), json.loads(rule)
    before = "<" if rule["strict"] else "<="
    conditions = [f"h.event_time {before} l.event_timestamp"]
    if not rule["by_event_time"]:
        conditions.append(f"h.known_at {before} l.event_timestamp")
    if rule["lookback"] is not None:
        conditions.append(f"h.event_time >= l.event_timestamp - to_milliseconds({rule['lookback']})")
    names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM delta_scan('{table}')").fetchall()]
    features = ", ".join(f'h."{name}"' for name in names if name not in FIXED)
    connection.execute(
        f"CREATE TEMP TABLE chosen AS SELECT * FROM (SELECT *, file_row_number AS n FROM read_parquet('{labels}', "
        f"file_row_number = true)) WHERE hash(n) % 1000000 < {float(share)} * 1000000"
    )
    connection.execute(
        f"CREATE TEMP TABLE expected AS SELECT l.user_id, l.event_timestamp, l.amount, {features} FROM chosen l LEFT JOIN ("
        f"SELECT l.n, h.*, row_number() OVER (PARTITION BY l.n ORDER BY h.event_time DESC, h.ordinal DESC) AS rank "
        f"FROM chosen l JOIN delta_scan('{table}') h ON h.user_id = l.user_id AND {' AND '.join(conditions)}"
        f") h ON h.n = l.n AND h.rank = 1 ORDER BY l.n"
    )
    connection.execute(
        f"CREATE TEMP TABLE found AS SELECT f.* EXCLUDE (file_row_number, _incomplete) FROM read_parquet('{parquet}', "
        f"file_row_number = true) f JOIN chosen l ON l.n = f.file_row_number ORDER BY l.n"
    )
    print(json.dumps(differences(connection, "expected", "found")))


def files_of(table):
    return sorted(str(path) for path in pathlib.Path(table).rglob("*.parquet") if "_delta_log" not in path.parts)


def duckdb(labels, table, out):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    files = str(files_of(table))
    names = [row[0] for row in connection.execute(f"DESCRIBE SELECT * FROM read_parquet({files})").fetchall()]
    features = ", ".join(f'h."{name}"' for name in names if name not in FIXED)
    connection.execute(
        f"COPY (SELECT l.*, {features} FROM read_parquet('{labels}') l ASOF LEFT JOIN (SELECT *, "
        f"greatest(event_time, known_at) AS at FROM read_parquet({files})) h "
        f"ON l.user_id = h.user_id AND l.event_timestamp >= h.at) TO '{out}' (FORMAT parquet)"
    )


def polars(labels, table, out):
    import polars as pl

    history = pl.scan_parquet(files_of(table))
    features = [name for name in history.collect_schema().names() if name not in FIXED]
    at = pl.max_horizontal("event_time", "known_at").alias("at")
    history = history.select("user_id", at, *features).sort("at")
    wanted = pl.scan_parquet(labels).with_row_index("n").sort("event_timestamp")
    joined = wanted.join_asof(
        history, left_on="event_timestamp", right_on="at", by="user_id", strategy="backward", check_sortedness=False
    )
    joined.sort("n").drop("n", "at").sink_parquet(out, engine="streaming")


def feast(labels, table, out):
    import datetime
    import tempfile

    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, RepoConfig, ValueType
    from feast.data_format import DeltaFormat
    from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig
    from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig
    from feast.types import Float64, Int64, String, UnixTimestamp
    import pyarrow.parquet as pq

    types = {"int64": Int64, "double": Float64, "string": String}
    schema = pq.read_schema(files_of(table)[0])
    fields = [
        Field(name=field.name, dtype=types.get(str(field.type), UnixTimestamp))
        for field in schema
        if field.name not in FIXED
    ]
    root = tempfile.mkdtemp()
    config = RepoConfig(
        project="bench",
        provider="local",
        registry=f"{root}/registry.db",
        offline_store=DuckDBOfflineStoreConfig(),
        online_store=SqliteOnlineStoreConfig(path=f"{root}/online.db"),
        entity_key_serialization_version=3,
    )
    store = FeatureStore(config=config)
    user = Entity(name="user", join_keys=["user_id"], value_type=ValueType.STRING)
    source = FileSource(
        name="user",
        path=table,
        timestamp_field="event_time",
        created_timestamp_column="known_at",
        file_format=DeltaFormat(),
    )
    view = FeatureView(name="user", entities=[user], ttl=datetime.timedelta(0), schema=fields, source=source)
    store.apply([user, source, view])
    job = store.get_historical_features(
        entity_df=pd.read_parquet(labels), features=[f"user:{field.name}" for field in fields]
    )
    job.to_df().to_parquet(out)


def main():
    commands = {"compare": compare, "same": same, "sample": sample, "duckdb": duckdb, "polars": polars, "feast": feast}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    commands[sys.argv[1]](*sys.argv[2:])


if __name__ == "__main__":
    leave(main)
