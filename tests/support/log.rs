//! A log that comes to its topic in parts, and what it means: under any topology, from any offset on.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use kappa::source::Codec;

use super::generate::{SHOP, Stream};
use super::kafka::Kafka;
use super::oracle::LogRecord;
use super::producer;
use super::verify::{Case, as_record};

/// A log of the shop's story, and its topic.
pub struct Log {
    pub topic: String,
    pub partitions: Vec<(i32, Vec<LogRecord>)>,
}

impl Log {
    /// A log of so many events, and a topic of its own with nothing in it yet.
    pub fn new(kafka: &Kafka, events: u64, seed: u64) -> Self {
        let partitions = Stream::partitions(&SHOP, events, seed);
        let topic = kafka.new_topic("shop", partitions.len() as i32);
        Self { topic, partitions }
    }

    /// Appends the records of each partition of which this is true, by index and number of records.
    pub fn write(&self, kafka: &Kafka, is_now: impl Fn(usize, usize) -> bool) {
        let producer = producer::producer(kafka, &self.topic, Codec::Lz4);
        for (partition, records) in &self.partitions {
            let now = records.iter().enumerate().filter(|(index, _)| is_now(*index, records.len()));
            now.for_each(|(_, record)| producer.send(&as_record(*partition, record)).unwrap());
        }
        producer.flush(Duration::from_secs(60)).unwrap();
    }

    /// Appends a part of each partition's records, from and to in percent.
    pub fn write_part(&self, kafka: &Kafka, percent: Range<usize>) {
        self.write(kafka, |index, of| (of * percent.start / 100..of * percent.end / 100).contains(&index));
    }

    /// How many records each partition has when this part of the log is written, in percent.
    pub fn lengths(&self, percent: usize) -> Vec<i64> {
        self.partitions.iter().map(|(_, records)| (records.len() * percent / 100) as i64).collect()
    }

    /// Deletes what the topic has below this offset, in every partition.
    pub fn trim(&self, kafka: &Kafka, offset: i64) {
        self.partitions.iter().for_each(|(partition, _)| kafka.delete_records(&self.topic, *partition, offset));
    }

    /// What it means under a topology of the shop, whose file goes to `dir`.
    pub fn case(&self, yaml: &str, dir: &Path) -> Case {
        self.case_from(yaml, dir, 0)
    }

    /// The same for what is left of it from this offset on.
    pub fn case_from(&self, yaml: &str, dir: &Path, offset: i64) -> Case {
        let left = |(partition, records): &(i32, Vec<LogRecord>)| {
            (*partition, records.iter().filter(|record| record.offset >= offset).cloned().collect())
        };
        let left: Vec<(i32, Vec<LogRecord>)> = self.partitions.iter().map(left).collect();
        let yaml = yaml.replace(&format!("topic: {}", SHOP.topic), &format!("topic: {}", self.topic));
        let mut case = Case::over(&left, &yaml, &dir.join("shop.yaml"));
        case.start = offset;
        case
    }
}
