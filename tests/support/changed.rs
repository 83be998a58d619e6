//! Logic that changes: a log, and what it means before and after.

use std::path::Path;
use std::sync::Arc;

use super::kafka::Kafka;
use super::log::Log;
use super::verify::Case;

/// Version 1 has `views_1h` over an hour and `legacy`; version 2 has it over two hours, and `adds` instead.
pub fn topology(topic: &str, window: &str, third: &str) -> String {
    format!(
        "topology: shop\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  lateness: 5s\n  grace: 5m\n  schema:\n    \
         user_id: string\n    event: string\n    item_id: string\n    category: string\n    price: double\n    quantity: \
         int64\n    ts: timestamp_ms\nentities:\n  user:\n    key: user_id\n    features:\n      views_1h: {{count: \"*\", where: \
         \"event = 'view'\", window: {window}, slide: 1m}}\n      spent: {{sum: price, where: \"event = 'purchase'\", window: \
         lifetime}}\n      {third}\n"
    )
}

pub const LEGACY: &str = r#"legacy: {count: "*", window: lifetime}"#;
pub const ADDS: &str = r#"adds: {count: "*", where: "event = 'add'", window: lifetime}"#;

/// A log under both, in files `v1.yaml` and `v2.yaml` of a folder of its own.
pub struct Changed {
    pub log: Arc<Log>,
    pub first: Case,
    pub second: Case,
    dir: tempfile::TempDir,
}

impl Changed {
    /// A log of which the topic has this part, in percent, from its beginning.
    pub fn new(kafka: &Kafka, events: u64, seed: u64, percent: usize) -> Self {
        let (log, dir) = (Log::new(kafka, events, seed), tempfile::tempdir().unwrap());
        log.write_part(kafka, 0..percent);
        let case = |name: &str, window: &str, third: &str| {
            Case::over(&log.partitions, &topology(&log.topic, window, third), &dir.path().join(name))
        };
        let (first, second) = (case("v1.yaml", "1h", LEGACY), case("v2.yaml", "2h", ADDS));
        Self { log: Arc::new(log), first, second, dir }
    }

    /// Where the topologies lie.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}
