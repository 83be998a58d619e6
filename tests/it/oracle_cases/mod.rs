//! The oracle against cases computed by hand: each test shows a topology, a log and every row that it must give.
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

use crate::support::oracle::{LogRecord, PartitionRun, Topology, run_partition};

fn topology(source: &str, features: &str) -> Topology {
    with_entities(source, &format!("  user:\n    key: u\n    features:\n{}", indented(features)))
}

fn indented(features: &str) -> String {
    features.lines().map(|line| format!("      {}\n", line.trim())).collect()
}

fn with_entities(source: &str, entities: &str) -> Topology {
    let source: String = source.lines().map(|line| format!("  {}\n", line.trim())).collect();
    Topology::from_yaml(&format!(
        "topology: t\nsource:\n  topic: t\n  format: json\n  event_time: ts\n{source}  schema: {{u: string, e: string, \
         n: int64, p: double, f: bool, w: timestamp_ms, d: 'decimal(5,2)', ts: timestamp_ms}}\nentities:\n{entities}"
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

fn run(topology: &Topology, log: &[&str]) -> PartitionRun {
    let records: Vec<LogRecord> = log.iter().zip(0..).map(|(line, offset)| record(offset, line)).collect();
    run_partition(topology, 0, &records)
}

#[track_caller]
fn check(topology: &Topology, log: &[&str], rows: &[&str]) -> PartitionRun {
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
