"""A Feast repository over its own Redis, filled through Feast with what Kappa's Redis holds: for `serve.rs`.

    python feast_repo.py FOLDER KAPPA_HOST:PORT FEAST_HOST:PORT USERS

Prints the number of entities written.
"""

import sys
import warnings
from datetime import timedelta
from pathlib import Path

import pandas as pd
import redis
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int64, String

warnings.filterwarnings("ignore")

TYPES = {
    "events": (Int64, int),
    "quantity": (Int64, int),
    "spent": (Float64, float),
    "mean_price": (Float64, float),
    "largest": (Float64, float),
    "smallest": (Float64, float),
    "last_item": (String, str),
    "last_category": (String, str),
    "last_event": (String, str),
    "first_item": (String, str),
}
STORE = """project: bench
registry: registry.db
provider: local
online_store: {{type: redis, connection_string: "{}"}}
offline_store: {{type: file}}
entity_key_serialization_version: 3
"""


def rows(server, users):
    """What Kappa stores of these users, as a frame with their types."""
    host, port = server.split(":")
    pipe = redis.Redis(host=host, port=int(port)).pipeline(transaction=False)
    for user in range(1, users + 1):
        pipe.hmget(f"features:u{user}", "_event_time", *TYPES)
    for user, (time, *texts) in enumerate(pipe.execute(), start=1):
        values = {name: kind(text.decode()) for (name, (_, kind)), text in zip(TYPES.items(), texts, strict=True)}
        yield {"user_id": f"u{user}", "event_time": pd.Timestamp(int(time), unit="ms", tz="UTC"), **values}


def main(folder, kappa, feast, users):
    folder = Path(folder)
    (folder / "feature_store.yaml").write_text(STORE.format(feast))
    frame = pd.DataFrame(rows(kappa, int(users)))
    frame.head(1).to_parquet(folder / "source.parquet")
    user = Entity(name="user_id", join_keys=["user_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="user",
        entities=[user],
        ttl=timedelta(0),
        schema=[Field(name="user_id", dtype=String), *(Field(name=name, dtype=kind) for name, (kind, _) in TYPES.items())],
        source=FileSource(path=str(folder / "source.parquet"), timestamp_field="event_time"),
    )
    store = FeatureStore(repo_path=str(folder))
    store.apply([user, view])
    for start in range(0, len(frame), 1000):
        store.write_to_online_store("user", df=frame[start : start + 1000])
    print(len(frame))


if __name__ == "__main__":
    main(*sys.argv[1:])
