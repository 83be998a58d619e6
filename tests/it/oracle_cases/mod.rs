//! Oracle and engine against cases computed by hand: each test shows a topology, a log and every row that it must give.
//!
//! A log line is `@kafka_time field=value ...`; `u` and `e` are strings, the rest is JSON as it stands. `@-` has no
//! Kafka time, `@5 tombstone` no value, `@5 raw:...` exactly these bytes. Offsets count from 0. A row reads
//! `offset.sequence #ordinal entity:key T=... known=... [values]`.

mod aggregates;
mod buckets;
mod decimals;
mod derived;
mod forget;
mod records;
mod timers;
mod values;
mod windows;

use std::ops::Deref;
use std::sync::Arc;

use kappa::state::MemoryStore;
use kappa::topology::{self, Plan};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::law::assert_equal;
use crate::support::engine::{self, Cuts};
use crate::support::oracle::{Judged, LogRecord, PartitionRun, Topology, judge, run_partition};

/// What a value's bytes say, which the engine must say too.
fn class_of(case: &Case, value: &[u8]) -> Judged {
    let record = LogRecord { offset: 0, kafka_time: Some(0), key: None, value: Some(value.to_vec()) };
    case.holds_the_engine(std::slice::from_ref(&record), &run_partition(case, 0, std::slice::from_ref(&record)));
    judge(case, &record)
}

/// A topology as the oracle reads it, and as the engine does.
struct Case {
    topology: Topology,
    plan: Arc<Plan>,
}

impl Deref for Case {
    type Target = Topology;

    fn deref(&self) -> &Topology {
        &self.topology
    }
}

impl Case {
    fn new(yaml: &str) -> Self {
        let plan = topology::parse("case.yaml", yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
        Self { topology: Topology::from_yaml(yaml), plan: Arc::new(plan) }
    }

    /// The engine has the same rows, dead letters, counts and watermark, in one go and cut after every record.
    #[track_caller]
    fn holds_the_engine(&self, records: &[LogRecord], expected: &PartitionRun) {
        let whole = Cuts { largest_batch: 1000, epoch_rows: 100_000, cache_bytes: 1 << 20, restarts: 0.0 };
        for cuts in [whole, Cuts { largest_batch: 1, epoch_rows: 1, cache_bytes: 0, restarts: 1.0 }] {
            let (store, rng) = (Arc::new(MemoryStore::default()), &mut SmallRng::seed_from_u64(0));
            let actual = engine::run(&self.plan, self, expected.partition, records, store, cuts, rng);
            assert_equal(&format!("{cuts:?}"), self, expected, &actual);
        }
    }
}

fn topology(source: &str, features: &str) -> Case {
    with_entities(source, &format!("  user:\n    key: u\n    features:\n{}", indented(features)))
}

fn indented(features: &str) -> String {
    features.lines().map(|line| format!("      {}\n", line.trim())).collect()
}

fn with_entities(source: &str, entities: &str) -> Case {
    let source: String = source.lines().map(|line| format!("  {}\n", line.trim())).collect();
    // The records have no Kafka key.
    let key = entities.split_once("key: ").expect("an entity has a key").1.trim_start_matches('[');
    let partition_field = key.split(|c: char| !c.is_alphanumeric()).next().expect("a key has a first field");
    Case::new(&format!(
        "topology: t\nsource:\n  topic: t\n  format: json\n  event_time: ts\n  \
         partitioned_by: {partition_field}\n{source}  schema: {{u: string, e: string, n: int64, p: double, f: bool, \
         w: timestamp_ms, d: 'decimal(5,2)', ts: timestamp_ms}}\nentities:\n{entities}"
    ))
}

fn record(offset: i64, line: &str) -> LogRecord {
    let (time, rest) = line.strip_prefix('@').expect("a line begins with @").split_once(' ').expect("a blank");
    let kafka_time = if time == "-" { None } else { Some(time.parse().expect("a Kafka time")) };
    let value = if rest == "tombstone" {
        None
    } else if let Some(raw) = rest.strip_prefix("raw:") {
        Some(raw.as_bytes().to_vec())
    } else {
        let fields: Vec<String> = rest
            .split_whitespace()
            .map(|pair| {
                let (name, value) = pair.split_once('=').expect("name=value");
                if (name == "u" || name == "e") && value != "null" {
                    format!("\"{name}\":\"{value}\"")
                } else {
                    format!("\"{name}\":{value}")
                }
            })
            .collect();
        Some(format!("{{{}}}", fields.join(",")).into_bytes())
    };
    LogRecord { offset, kafka_time, key: None, value }
}

#[track_caller]
fn run(case: &Case, log: &[&str]) -> PartitionRun {
    let records: Vec<LogRecord> = log.iter().zip(0..).map(|(line, offset)| record(offset, line)).collect();
    let run = run_partition(case, 0, &records);
    case.holds_the_engine(&records, &run);
    run
}

#[track_caller]
fn check(topology: &Case, log: &[&str], rows: &[&str]) -> PartitionRun {
    let run = run(topology, log);
    let found: Vec<String> = run.rows.iter().map(ToString::to_string).collect();
    assert_eq!(found, rows);
    run
}

const COUNT: &str = "c: {count: '*', window: lifetime}";
const COUNT_10S: &str = "c: {count: '*', window: 10s, slide: 5s}";
const COUNT_10MS: &str = "c: {count: '*', window: 10ms, slide: 10ms}";
const COUNT_1S: &str = "c: {count: '*', window: 1s, slide: 1s}";
const SESSION_10MS: &str = "c: {count: '*', window: {session: 10ms}}";
