//! What `/metrics` shows of trouble, on the real parts: brokers that are gone, values that are lost, entities that were
//! not in memory.

use std::path::{Path, PathBuf};

use kappa::source::{Codec, Record};

use crate::support::kafka::{self, Kafka};
use crate::support::producer;
use crate::support::running::{Live, free_address, is_ready, page, wait_until};
use crate::support::verify::Place;

/// Whether a running process shows this line.
fn shows(address: &str, line: &str) -> bool {
    page(address, "/metrics").is_some_and(|(_, text)| text.lines().any(|shown| shown == line))
}

/// A topology over a topic, in a file of its own.
fn topology(dir: &Path, topic: &str) -> PathBuf {
    let file = dir.join("seen.yaml");
    let yaml = format!(
        "topology: seen\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  schema: {{user: string, item: string, \
         ts: timestamp_ms}}\nentities:\n  user:\n    key: user\n    features:\n      items: {{distinct: item, limit: 1, window: \
         lifetime}}\n      records: {{count: \"*\", window: lifetime}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    file
}

fn write(kafka: &Kafka, topic: &str, items: &[&str]) {
    for item in items {
        let value = format!("{{\"user\":\"u1\",\"item\":\"{item}\",\"ts\":1767225600000}}");
        let record = Record {
            key: Some(b"u1"),
            value: Some(value.as_bytes()),
            time: Some(1_767_225_600_000),
            ..Record::default()
        };
        producer::write(kafka, topic, Codec::None, [record]);
    }
}

#[test]
fn brokers_that_are_gone_show_as_down_and_stores_that_are_open_as_up() {
    let (dir, place, own) = (tempfile::tempdir().unwrap(), Place::new(kafka::shared()), Kafka::start());
    let file = topology(dir.path(), &own.new_topic("down", 1));
    let (address, listen) = free_address();
    let brokers = format!("kafka.brokers={}", own.brokers());
    // No commit comes within the test: the history's store is up because it is open.
    let settings = ["--set", &listen, "--set", &brokers, "--set", "offline.commit_interval=1h"];
    let live = Live::start(&place, &file, &settings);
    wait_until("the run is ready", || is_ready(&address));
    for line in ["kappa_source_up 1", "kappa_sink_up{sink=\"offline\"} 1", "kappa_sink_up{sink=\"online\"} 1"] {
        wait_until(line, || shows(&address, line));
    }
    own.kill();
    wait_until("Kafka is down", || shows(&address, "kappa_source_up 0"));
    own.restart();
    wait_until("Kafka is up again", || shows(&address, "kappa_source_up 1"));
    assert_eq!(live.terminate().0, Some(0));
}

#[test]
fn lost_values_are_counted_by_feature_and_entities_by_where_they_were_found() {
    let (dir, kafka) = (tempfile::tempdir().unwrap(), kafka::shared());
    let topic = kafka.new_topic("lost", 1);
    let (file, place, (address, listen)) = (topology(dir.path(), &topic), Place::new(kafka), free_address());
    write(kafka, &topic, &["a", "a", "b"]);
    let live = Live::start(&place, &file, &["--set", &listen]);
    wait_until("the run is ready", || is_ready(&address));
    let lost =
        |feature: &str, rows: u32| format!("kappa_feature_lost_total{{entity=\"user\",feature=\"{feature}\"}} {rows}");
    // Two items are more than the bound of one: the third record's row has no number of them.
    for line in [
        lost("items", 1),
        lost("records", 0),
        "kappa_feature_nulls_total{entity=\"user\",feature=\"items\"} 1".to_string(),
        "kappa_cache_misses_total{partition=\"0\"} 1".to_string(),
        "kappa_cache_hits_total{partition=\"0\"} 2".to_string(),
    ] {
        wait_until(&line, || shows(&address, &line));
    }
    assert_eq!(live.terminate().0, Some(0));

    // A new process counts anew, and reads the entity from disk.
    write(kafka, &topic, &["a"]);
    let (address, listen) = free_address();
    let live = Live::start(&place, &file, &["--set", &listen]);
    for line in [lost("items", 1), "kappa_cache_misses_total{partition=\"0\"} 1".to_string()] {
        wait_until(&line, || shows(&address, &line));
    }
    assert_eq!(live.terminate().0, Some(0));
}
