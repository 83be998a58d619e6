# Everything that people and CI call. Non-interactive; stops at the first stage that fails.
#
#   make demo     installs what is missing, builds, and shows the whole product in under a minute
#   make test     what CI runs
#   make property the engine against the oracle alone, on as many generated logs as KAPPA_SEEDS says
#   make verify   the long form: 1,000,000 events of each topology against the oracle, again as a replay, again under
#                 kill -9 (KAPPA_TOPOLOGY=fraud, KAPPA_EVENTS=100000, KAPPA_PARTS=live,kill for less of it)
#   make verify-served   100,000 reads of a live run against its history, the law and training data (KAPPA_READS=10000)
#   make determinism   the same rows with 1, 2 and 8 workers, polls of 1, 100 and 10,000 records, and kill -9
#   make bench    events per CPU-second on a real Kafka, beside the limits measured in the same run; with
#                 KAPPA_BENCH_BINARY=PATH only how this build compares with that one
#   make bench-replay  replays beside a version that serves: their speed, and how fresh that one stays
#   make bench-archive  reading the archive beside reading Kafka, and replays from both
#   make bench-serve   features over HTTP from Redis and from the embedded store, beside Feast's own server
#   make bench-training  training data in every mode against DuckDB, and its CPU and memory beside DuckDB and Polars
#   make spark-sql    the join of labels as SQL, run in Spark
#   make feast    Feast's SDK against 10,000 entities, online and offline (make test: 2,000); KAPPA_FEAST_FILE=1: lists
#                 and maps through its file store as well, which takes it minutes
#   make python-torch  the program of docs/python.md that needs PyTorch, which is large
#   make dashboards   the dashboard, the alerts and the table of metrics against a run with a real Prometheus

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Outside the checkout, so that a clean clone need not start from nothing.
CARGO_TARGET_DIR ?= $(HOME)/.cache/kappa/target
export CARGO_TARGET_DIR
export CARGO_TERM_COLOR ?= auto

# RocksDB is compiled once, and faster than by its crate (scripts/rocksdb.sh); with a ROCKSDB_LIB_DIR of your own that one
# is linked.
ifndef ROCKSDB_LIB_DIR
export ROCKSDB_LIB_DIR := $(HOME)/.cache/kappa/rocksdb
export ROCKSDB_STATIC := 1
OWN_ROCKSDB := rocksdb
endif

TEST_LOG := $(CARGO_TARGET_DIR)/test.log

.PHONY: help demo test verify verify-served determinism bench bench-replay bench-archive bench-serve bench-training spark-sql \
    feast python-torch dashboards deps deps-all deps-build deps-packages deps-dashboards deps-torch rocksdb build fmt clippy doc \
    architecture tests \
    property deny clean

help:
	@sed -n 's/^#   //p' Makefile

demo: deps-build build
	"$(CARGO_TARGET_DIR)/debug/kappa" demo

build: $(OWN_ROCKSDB)
	cargo build --locked --bin kappa

test: deps fmt clippy doc architecture tests

fmt:
	cargo fmt --check

clippy:
	cargo clippy --locked --all-targets --test long -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --quiet

# The walls first: the rest may as well not run when one is down. (Everything is built at once, which takes less time.)
architecture:
	cargo test --locked --no-run
	cargo test --locked --test it -- architecture::

# Unit, golden, property and end-to-end tests, the last with a real Kafka and a real redis-server; then our tables as
# DuckDB, Polars and delta-rs' Python read them. (Licences and advisories need a tool of their own: make deny.)
tests:
	mkdir -p "$(CARGO_TARGET_DIR)"
	cargo test --locked 2>&1 | tee "$(TEST_LOG)"
	KAPPA_PYTHON="$(HOME)/.cache/kappa/venv/bin/python" \
	    cargo test --locked --lib -- --ignored readers 2>&1 | tee -a "$(TEST_LOG)"
	scripts/counts.sh "$(TEST_LOG)"

# The engine against the oracle on generated logs: KAPPA_SEEDS=5000 for more of them, KAPPA_SEED=7 for one again.
property:
	cargo test --locked --test it -- law::

verify: deps build
	cargo test --locked --test long -- verify

verify-served: deps build
	cargo test --locked --test long -- verify-served

determinism: deps build
	cargo test --locked --test long -- determinism

bench: deps build
	cargo test --locked --test long -- bench

bench-replay: deps build
	cargo test --locked --test long -- bench-replay

bench-archive: deps build
	cargo test --locked --test long -- bench-archive

# Beside Feast as well. (Names that begin with KAPPA_ are settings.)
bench-training: deps build
	READER_PYTHON="$(HOME)/.cache/kappa/venv/bin/python" FEAST_PYTHON="$(HOME)/.cache/kappa/venv-feast/bin/python" \
	    cargo test --locked --test long -- bench-training

# The printed join in a real Spark, which takes a minute to come and go.
spark-sql: deps
	scripts/deps.sh spark
	KAPPA_SPARK_PYTHON="$(HOME)/.cache/kappa/venv-spark/bin/python" KAPPA_PYTHON="$(HOME)/.cache/kappa/venv/bin/python" \
	    cargo test --locked --lib -- --ignored training::tests::spark

feast: deps build
	KAPPA_FEAST_USERS=10000 cargo test --locked --test it -- --nocapture feast::feasts

# The whole page but this one is part of make test.
python-torch: deps deps-torch build
	cargo test --locked --test it -- --ignored pytorch

bench-serve: deps build
	KAPPA_FEAST_PYTHON="$(HOME)/.cache/kappa/venv-feast/bin/python" cargo test --locked --test long -- bench-serve

# No Docker needed: the same programs with the same settings, in a folder that goes afterwards. About a minute.
dashboards: deps-dashboards build
	"$(HOME)/.cache/kappa/venv-dashboards/bin/python" scripts/dashboards

# Licences, advisories and doubled libraries (cargo install cargo-deny).
deny:
	cargo deny check

deps: deps-all $(OWN_ROCKSDB)

deps-all:
	@scripts/deps.sh all

deps-build: deps-packages $(OWN_ROCKSDB)

deps-packages:
	@scripts/deps.sh build

rocksdb:
	@scripts/rocksdb.sh "$(ROCKSDB_LIB_DIR)"

deps-dashboards:
	@scripts/deps.sh dashboards

deps-torch:
	@scripts/deps.sh torch

clean:
	cargo clean
	rm -rf data/demo
