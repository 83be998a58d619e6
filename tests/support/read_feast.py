#!/usr/bin/env python3
"""Holds Feast's SDK against Kappa: online values through both doors, and training data from the Delta tables.

    read_feast.py REPOSITORY SERVER [--labels N] [--get COMMAND] [--training COMMAND]

REPOSITORY is a folder that `kappa feast-repo` wrote; it is applied first. SERVER is host:port of a `kappa serve` over the
same Redis. Every entity of the history is read online through Redis and through the server, and compared with the
server's own page of each, which is what `kappa get` prints; the first COMMAND, a JSON list, is run for a few of them too.
Training data is made for N labels by Feast's DuckDB store and its file store, as known then and by event time alone, and
compared with the history's rows, read here one by one; the labels lie at events, just before them, and between them. The
second COMMAND is `kappa training-data` with its settings: what it makes of the same labels is compared in the same way.

One line for each comparison, `NAME: 0 different of ...`; exit code 1 when something is different.
"""

import argparse
import collections
import datetime
import decimal
import http.client
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse
import warnings

from leave import leave

warnings.filterwarnings("ignore")
os.environ.setdefault("FEAST_USAGE", "False")

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
MILLISECOND = datetime.timedelta(milliseconds=1)
BATCH = 1000
FILE_LABELS = 500


def plain(value):
    """A value as the history, Feast and our pages all can have it: times in milliseconds, maps as dictionaries, what is
    counted as pairs."""
    import numpy as np
    import pandas as pd

    if value is None or value is pd.NaT or value is pd.NA:
        return None
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value != value:
        return None
    if isinstance(value, datetime.datetime):
        value = value if value.tzinfo else value.replace(tzinfo=UTC)
        return (value - EPOCH) // MILLISECOND
    if isinstance(value, dict):
        if set(value) == {"value", "n"}:
            return [plain(value["value"]), plain(value["n"])]
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        if value and all(isinstance(item, tuple) and len(item) == 2 for item in value):
            return {key: plain(item) for key, item in value}
        return [plain(item) for item in value]
    return value


def same(expected, found, loose=False):
    """Whether two values are the same, types included; `loose` lets a whole number be a double, as pandas has it where
    some are null."""
    if isinstance(expected, decimal.Decimal):
        if isinstance(found, float):
            return float(expected) == found
        if isinstance(found, str):
            return str(expected) == found
        return isinstance(found, decimal.Decimal) and expected == found
    if isinstance(expected, dict):
        is_dict = isinstance(found, dict) and set(expected) == set(found)
        return is_dict and all(same(expected[key], found[key], loose) for key in expected)
    if isinstance(expected, list):
        is_list = isinstance(found, list) and len(expected) == len(found)
        return is_list and all(same(a, b, loose) for a, b in zip(expected, found))
    if loose and isinstance(expected, (int, float)) and isinstance(found, (int, float)):
        return float(expected) == float(found)
    return type(expected) is type(found) and expected == found


class Tally:
    """Counts what is different, and shows the first of it."""

    def __init__(self, name):
        self.name, self.compared, self.different, self.began = name, 0, 0, time.time()

    def add(self, what, expected, found, loose=False):
        self.compared += 1
        if not same(expected, found, loose):
            self.different += 1
            if self.different <= 5:
                print(f"  {self.name}: {what}: {expected!r} is expected, {found!r} is found")

    def end(self, more=""):
        seconds = time.time() - self.began
        print(f"{self.name}: {self.different} different of {self.compared} values, {seconds:.1f} s{more}", flush=True)
        return self.different + (self.compared == 0)


class View:
    """A feature view: its keys, its features, its history."""

    def __init__(self, view):
        self.name = view.name
        self.keys = [field.name for field in view.entity_columns]
        self.features = [field.name for field in view.features]
        types = {field.name: field.dtype.to_value_type().name for field in view.features}
        self.maps = {name for name, ty in types.items() if ty == "MAP"}
        self.is_nested = any(ty.endswith(("MAP", "LIST")) for ty in types.values())
        self.decimals = {name for name, ty in types.items() if "DECIMAL" in ty}
        self.path = view.batch_source.path
        self.rows = None

    def read_history(self):
        """Rows of each entity in their order, as (event time, known at, values)."""
        import deltalake

        table = deltalake.DeltaTable(self.path).to_pyarrow_table()
        table = table.sort_by([("partition", "ascending"), ("ordinal", "ascending")])
        self.rows = collections.defaultdict(list)
        columns = [table[name].to_pylist() for name in self.features]
        keys = [table[name].to_pylist() for name in self.keys]
        times, known = table["event_time"].to_pylist(), table["known_at"].to_pylist()
        for at in range(table.num_rows):
            values = [plain(column[at]) for column in columns]
            self.rows[tuple(key[at] for key in keys)].append((times[at], known[at], values))
        ties = sum(len(rows) - len({row[:2] for row in rows}) for rows in self.rows.values())
        # Feast's join has nothing else to go by: of two such rows it takes any.
        assert ties == 0, f"{ties} rows of {self.name} have the time and the known time of another one"

    def at(self, key, label, by_event_time):
        """The values of the last row at or before a label's time, known then."""
        found = [None] * len(self.features)
        for event_time, known_at, values in self.rows.get(key, []):
            if event_time <= label and (by_event_time or known_at <= label):
                found = values
        return found


def pages(server, view, keys):
    """What our own page says of each of these entities; nothing where it is not known."""
    connection = http.client.HTTPConnection(server)
    for key in keys:
        text = key[0] if len(key) == 1 else json.dumps(list(key), separators=(",", ":"), ensure_ascii=False)
        connection.request("GET", f"/v1/features/{view.name}?id={urllib.parse.quote(str(text), safe='')}")
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status in (200, 404), (answer.status, body)
        found = json.loads(body, parse_float=decimal.Decimal)["features"] if answer.status == 200 else {}
        yield key, {name: feature["value"] for name, feature in found.items()}


def number(value):
    """A number of JSON where the value is a double."""
    if isinstance(value, decimal.Decimal):
        return float(value)
    if isinstance(value, dict):
        return {key: number(item) for key, item in value.items()}
    return [number(item) for item in value] if isinstance(value, list) else value


def online(name, store, view, expected, decimals):
    """Compares what Feast's client reads with our pages."""
    tally, keys = Tally(name), list(expected)
    references = [f"{view.name}:{feature}" for feature in view.features]
    statuses = collections.Counter()
    for start in range(0, len(keys), BATCH):
        part = keys[start : start + BATCH]
        rows = [dict(zip(view.keys, key)) for key in part]
        answer = store.get_online_features(features=references, entity_rows=rows)
        statuses.update(s for result in answer.proto.results[len(view.keys) :] for s in result.statuses)
        found = answer.to_dict()
        for feature in view.features:
            for key, value in zip(part, found[feature]):
                wanted = expected[key].get(feature)
                wanted = wanted if feature in decimals else number(wanted)
                tally.add(f"{view.name} {key} {feature}", wanted, plain(value))
    return tally.end(f", statuses {dict(statuses)}")


def labels(view, count, seed=7):
    """Labels at rows of the history, a millisecond before them, between them, and of entities that are not known."""
    random.seed(seed)
    keys, made = sorted(view.rows), []
    for at in range(count):
        key = keys[at % len(keys)] if at % 50 else tuple("nobody" if isinstance(k, str) else -1 for k in keys[0])
        rows = view.rows.get(key) or view.rows[keys[at % len(keys)]]
        event_time, known_at, _ = random.choice(rows)
        moments = [event_time, event_time - MILLISECOND, known_at, known_at - MILLISECOND]
        moments.append(event_time + datetime.timedelta(milliseconds=random.randrange(40_000_000)))
        made.append((key, moments[at % len(moments)]))
    # Feast's file store makes one of two equal labels.
    return list(dict.fromkeys(made))


def train(name, store, view, wanted, by_event_time, drops):
    """Compares Feast's training data with the rows of the history."""
    import pandas as pd

    entity_df = pd.DataFrame({column: [key[at] for key, _ in wanted] for at, column in enumerate(view.keys)})
    entity_df["event_timestamp"] = pd.to_datetime([label for _, label in wanted], utc=True)
    entity_df["label"] = range(len(wanted))
    # The file store goes by way of pandas, which makes of a map what Arrow cannot take back.
    features = [feature for feature in view.features if not (drops and feature in view.maps)]
    references = [f"{view.name}:{feature}" for feature in features]
    how = {} if by_event_time else {"filter_by_created_timestamp": True}
    tally = Tally(name)
    job = store.get_historical_features(entity_df=entity_df, features=references, **how)
    found = job.to_df().to_dict("records") if drops else job.to_arrow().to_pylist()
    at_label = {int(row["label"]): row for row in found}
    dropped = 0
    for at, (key, label) in enumerate(wanted):
        expected = view.at(key, label, by_event_time)
        row = at_label.get(at)
        if row is None:
            # The file store leaves out a label before its entity's first row.
            dropped += 1
            is_early = bool(view.rows[key]) and all(row[0] > label for row in view.rows[key])
            tally.add(f"{key} at {label} is left out", drops and is_early, True)
            continue
        for feature, value in zip(view.features, expected):
            if feature in features:
                tally.add(f"{view.name} {key} at {label} {feature}", value, plain(row[feature]), loose=drops)
    kind = "by event time" if by_event_time else "as known then"
    return tally.end(f", {kind}, {dropped} labels left out by Feast")


def training_data(command, view, wanted):
    """Compares what `kappa training-data` makes of the same labels with the rows of the history."""
    import pyarrow
    import pyarrow.parquet

    different = 0
    for by_event_time in [False, True]:
        tally = Tally("training-data")
        columns = {column: [key[at] for key, _ in wanted] for at, column in enumerate(view.keys)}
        columns["event_timestamp"] = pyarrow.array([label for _, label in wanted], pyarrow.timestamp("us", "UTC"))
        with tempfile.TemporaryDirectory() as folder:
            labels, out = f"{folder}/labels.parquet", f"{folder}/out.parquet"
            pyarrow.parquet.write_table(pyarrow.table(columns), labels)
            how = ["--by-event-time"] if by_event_time else []
            made = [*command, "--labels", labels, "--features", view.name, "--out", out, *how]
            subprocess.run(made, capture_output=True, check=True)
            rows = pyarrow.parquet.read_table(out).to_pylist()
        assert len(rows) == len(wanted), (len(rows), len(wanted))
        for row, (key, label) in zip(rows, wanted):
            for feature, value in zip(view.features, view.at(key, label, by_event_time)):
                tally.add(f"{key} at {label} {feature}", value, plain(row[feature]))
        different += tally.end(", by event time" if by_event_time else ", as known then")
    return different


def ask_kappa(command, view, expected, decimals):
    """Compares a few entities with what the command prints."""
    tally = Tally("kappa get")
    for key in list(expected)[:3] + list(expected)[-2:]:
        text = key[0] if len(key) == 1 else json.dumps(list(key), separators=(",", ":"), ensure_ascii=False)
        done = subprocess.run([*command, "--json", view.name, str(text)], capture_output=True, check=True)
        features = json.loads(done.stdout, parse_float=decimal.Decimal)["features"] if done.stdout.strip() else {}
        for feature in view.features:
            found = features.get(feature, {}).get("value")
            tally.add(f"{key} {feature}", expected[key].get(feature), found)
    return tally.end()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("repository", type=pathlib.Path)
    arguments.add_argument("server")
    arguments.add_argument("--labels", type=int, default=10_000)
    arguments.add_argument("--get", type=json.loads)
    arguments.add_argument("--training", type=json.loads)
    arguments.add_argument("--file-nested", action="store_true", help="views with lists and maps in the file store, too")
    args = arguments.parse_args()

    from feast import FeatureStore
    from feast.repo_config import load_repo_config
    from feast.repo_operations import apply_total

    repository = args.repository.resolve()
    os.chdir(repository)
    sys.path.insert(0, str(repository))
    began = time.time()
    through_redis = repository / "feature_store.yaml"
    apply_total(load_repo_config(repository, through_redis), repository, skip_source_validation=False)
    print(f"feast apply: {time.time() - began:.1f} s", flush=True)
    stores = {
        "redis": FeatureStore(repo_path=str(repository)),
        "server": FeatureStore(repo_path=str(repository), fs_yaml_file=repository / "feature_store.http.yaml"),
    }
    views = [View(view) for view in stores["redis"].list_feature_views()]
    views = [view for view in views if pathlib.Path(view.path).exists()]
    different = 0
    for view in sorted(views, key=lambda view: -len(view.features)):
        view.read_history()
        # A map does not say what it holds: this one does.
        decimals = view.decimals | {"kind_spent"}
        unknown = [tuple("nobody" if isinstance(k, str) else 10**15 for k in key) for key in list(view.rows)[:1]]
        expected = dict(pages(args.server, view, [*sorted(view.rows), *unknown]))
        print(f"{view.name}: {len(expected)} entities, {sum(map(len, view.rows.values()))} rows", flush=True)
        for name, store in stores.items():
            different += online(name, store, view, expected, decimals)
        if args.get:
            different += ask_kappa(args.get, view, expected, decimals)
        wanted = labels(view, args.labels)
        different += train_all(repository, view, wanted, args.file_nested)
        if args.training:
            different += training_data(args.training, view, wanted)
    sys.exit(1 if different else 0)


def train_all(repository, view, wanted, file_nested):
    from feast import FeatureStore

    different = 0
    text = (repository / "feature_store.yaml").read_text()
    for name, kind in [("duckdb", "duckdb"), ("file", "file")]:
        file = repository / f"feature_store.{name}.yaml"
        file.write_text(text.replace("type: duckdb", f"type: {kind}"))
        store = FeatureStore(repo_path=str(repository), fs_yaml_file=file)
        # The file store pickles every list of the table on its way, several times: minutes for a few thousand rows.
        if name == "file" and view.is_nested and not file_nested:
            continue
        part = wanted[:FILE_LABELS] if name == "file" and view.is_nested else wanted
        for by_event_time in [False, True]:
            different += train(name, store, view, part, by_event_time, drops=name == "file")
    return different


if __name__ == "__main__":
    leave(main)
