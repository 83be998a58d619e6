//! Ways to fill a topic of the real Kafka: plain records, tombstones, headers, and transactions that commit or abort.

use std::collections::BTreeMap;
use std::time::Duration;

use kappa::source::{Codec, Producer, Record};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use super::kafka::Kafka;

const WAIT: Duration = Duration::from_secs(60);

/// A producer to a topic of this Kafka.
pub fn producer(kafka: &Kafka, topic: &str, codec: Codec) -> Producer {
    Producer::new(&kafka.brokers(), topic, codec, &BTreeMap::new()).unwrap()
}

/// Writes all records, waits for them, and tells the end of each partition.
pub fn write<'a>(kafka: &Kafka, topic: &str, codec: Codec, records: impl IntoIterator<Item = Record<'a>>) -> Vec<i64> {
    let producer = producer(kafka, topic, codec);
    records.into_iter().for_each(|record| producer.send(&record).unwrap());
    producer.flush(WAIT).unwrap();
    kafka.ends(topic).into_iter().map(|(_, high)| high).collect()
}

/// A producer in transactions.
pub struct Transactions(BaseProducer);

impl Transactions {
    pub fn new(kafka: &Kafka, id: &str) -> Self {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.brokers()).set("transactional.id", id).set("linger.ms", "5");
        let inner: BaseProducer = config.create().unwrap();
        inner.init_transactions(WAIT).unwrap();
        Self(inner)
    }

    /// Writes values to a partition in one transaction, and then commits it or aborts it.
    pub fn write(&self, topic: &str, partition: i32, values: &[&str], commit: bool) {
        self.0.begin_transaction().unwrap();
        for value in values {
            self.0.send(BaseRecord::<(), str>::to(topic).partition(partition).payload(value)).unwrap();
        }
        // Aborted records are to be in the log, not purged from the queue.
        self.0.flush(WAIT).unwrap();
        if commit { self.0.commit_transaction(WAIT).unwrap() } else { self.0.abort_transaction(WAIT).unwrap() }
    }
}
