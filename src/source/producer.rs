//! Records to a topic: for the demo, the tests and the benchmarks.
//!
//! Idempotent, so that a broker which comes back makes no record twice; partitions by Kafka's own murmur2 of the key,
//! so that a key lives where every other Kafka client would put it. Waits when the queue is full, and loses nothing
//! without saying so: `flush` answers for every record before it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use crate::error::{Error, Result};
use crate::time::Millis;

/// Between two looks at what is not written yet.
const STEP: Duration = Duration::from_millis(1);

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Codec {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// Kafka's name for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A record to be written.
#[derive(Debug, Clone, Copy, Default)]
pub struct Record<'a> {
    /// `None`: by the key's murmur2, or at random without a key.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The Kafka time in ms; `None` is now.
    pub time: Option<Millis>,
    pub headers: &'a [(&'a str, &'a [u8])],
}

/// Writes to one topic.
pub struct Producer {
    topic: String,
    inner: BaseProducer<Deliveries>,
    context: Arc<Failures>,
    sent: AtomicU64,
}

#[derive(Debug, Default)]
struct Failures {
    count: AtomicU64,
    first: Mutex<Option<String>>,
}

struct Deliveries(Arc<Failures>);

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        if let Err((error, _)) = result {
            self.0.count.fetch_add(1, Ordering::Relaxed);
            let mut first = self.0.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| error.to_string());
        }
    }
}

impl Producer {
    /// A producer to this topic; connects by itself. `options` are librdkafka's, and win over ours.
    pub fn new(brokers: &str, topic: &str, codec: Codec, options: &BTreeMap<String, String>) -> Result<Self> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", brokers)
            .set("compression.codec", codec.name())
            .set("partitioner", "murmur2_random")
            .set("enable.idempotence", "true")
            .set("linger.ms", "20")
            .set("batch.num.messages", "10000")
            .set("batch.size", "524288")
            .set("queue.buffering.max.messages", "200000")
            .set("queue.buffering.max.kbytes", "131072");
        config.extend(options.iter().map(|(name, value)| (name.clone(), value.clone())));
        let context = Arc::new(Failures::default());
        let inner = config
            .create_with_context(Deliveries(context.clone()))
            .map_err(|error| Error::configuration(format!("kafka: the producer refuses its settings: {error}")))?;
        Ok(Self { topic: topic.into(), inner, context, sent: AtomicU64::new(0) })
    }

    /// Hands a record to the client; waits while its queue is full.
    pub fn send(&self, record: &Record<'_>) -> Result<()> {
        let mut next: BaseRecord<'_, [u8], [u8]> = BaseRecord::to(&self.topic);
        next.partition = record.partition;
        next.key = record.key;
        next.payload = record.value;
        next.timestamp = record.time;
        if !record.headers.is_empty() {
            let empty = OwnedHeaders::new_with_capacity(record.headers.len());
            let add = |headers: OwnedHeaders, &(key, value): &(&str, &[u8])| {
                headers.insert(Header { key, value: Some(value) })
            };
            next.headers = Some(record.headers.iter().fold(empty, add));
        }
        if self.sent.fetch_add(1, Ordering::Relaxed).is_multiple_of(512) {
            self.inner.poll(Duration::ZERO);
        }
        while let Err((error, back)) = self.inner.send(next) {
            if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                return Err(Error::unavailable(format!("kafka: a record for `{}` was refused: {error}", self.topic)));
            }
            self.inner.poll(Duration::from_millis(20));
            next = back;
        }
        Ok(())
    }

    /// Waits until every record is with the broker. An error tells how many are not, and why the first is not.
    pub fn flush(&self, wait: Duration) -> Result<()> {
        let until = Instant::now() + wait;
        // In small steps: the library's own flush looks again every 100 ms only.
        let done = loop {
            match self.inner.flush(Duration::ZERO) {
                Err(_) if Instant::now() < until => self.inner.poll(STEP),
                done => break done,
            }
        };
        let failed = self.context.count.load(Ordering::Relaxed);
        let reason = self.context.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (done, reason) {
            (Ok(()), None) => Ok(()),
            (_, Some(reason)) => Err(Error::unavailable(format!(
                "kafka: {failed} records for `{}` were not written: {reason}",
                self.topic
            ))),
            (Err(error), None) => Err(Error::unavailable(format!(
                "kafka: {} records for `{}` are not written after {wait:?}: {error}",
                self.inner.in_flight_count(),
                self.topic
            ))),
        }
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Producer({})", self.topic)
    }
}
