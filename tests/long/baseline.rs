//! Fixed programs to compare with: what consuming costs at least, and consuming with decoding.
//!
//! They call librdkafka themselves and share nothing with the source under test, so that they stay what they are when
//! it changes. `source` is the counterpart: the project's own source, with every record's fields looked at.

use std::collections::BTreeMap;
use std::mem::MaybeUninit;
use std::time::Duration;

use clap::Args;
use kappa::config::{KafkaSettings, Override, Settings};
use kappa::decode::RawBatch;
use kappa::lake::{KeptLog, Place};
use kappa::source::{ArchiveReader, KafkaSource, Polled, Read};
use rdkafka::bindings as rd;
use rdkafka::client::{Client, DefaultClientContext};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde::Deserialize;

use super::measure::Measure;

#[derive(Args)]
pub struct Arguments {
    /// host:port
    #[arg(long)]
    brokers: String,
    #[arg(long, default_value = "bench")]
    topic: String,
}

/// Messages of one call.
const POLL: usize = 16384;

/// 7 of the event's 11 fields, as a consumer of these would declare them.
#[derive(Deserialize)]
struct Event<'a> {
    user_id: &'a str,
    event: &'a str,
    item_id: &'a str,
    category: &'a str,
    price: Option<f64>,
    quantity: Option<i64>,
    ts: i64,
}

/// Messages and bytes, and nothing else.
pub fn consume(arguments: &Arguments) -> serde_json::Value {
    let measure = Measure::start();
    let (mut events, mut bytes) = (0u64, 0u64);
    read(arguments, |payload| {
        events += 1;
        bytes += payload.len() as u64;
    });
    measure.finish(events, bytes, &[("program", "consume".into())])
}

/// The same, and every message parsed.
pub fn decode(arguments: &Arguments) -> serde_json::Value {
    let measure = Measure::start();
    let (mut events, mut bytes, mut check) = (0u64, 0u64, 0.0f64);
    read(arguments, |payload| {
        events += 1;
        bytes += payload.len() as u64;
        let event: Event<'_> = serde_json::from_slice(payload).expect("the benchmark's events are well-formed");
        let words = event.user_id.len() + event.event.len() + event.item_id.len() + event.category.len();
        // Every field is used, so that none can be left out by the compiler.
        check += words as f64 + event.price.unwrap_or(0.0) + event.quantity.unwrap_or(0) as f64;
        check += (event.ts & 1) as f64;
    });
    measure.finish(events, bytes, &[("program", "decode".into()), ("check", check.round().into())])
}

/// The project's source into batches.
pub fn source(arguments: &Arguments) -> serde_json::Value {
    let settings = KafkaSettings {
        brokers: arguments.brokers.clone(),
        group: String::new(),
        queue_kbytes: 32768,
        poll_records: POLL,
        options: BTreeMap::new(),
    };
    let measure = Measure::start();
    let mut source = KafkaSource::open(&settings, &arguments.topic, "bench-source").unwrap();
    let starts: Vec<(i32, i64)> = source.describe().unwrap().iter().map(|info| (info.partition, info.low)).collect();
    source.assign(&starts).unwrap();
    let (mut looked_at, mut ends) = (LookedAt::default(), 0);
    while ends < starts.len() {
        for polled in source.poll(POLL, Duration::from_millis(100)).unwrap() {
            match polled {
                Polled::Records(batch) => looked_at.add(&batch),
                Polled::Eof { .. } => ends += 1,
            }
        }
    }
    looked_at.finish(&measure, "source")
}

/// Batches of which every record was looked at.
#[derive(Default)]
struct LookedAt {
    events: u64,
    bytes: u64,
    batches: u64,
    /// Of every record something, so that none can be left out by the compiler.
    check: i64,
}

impl LookedAt {
    fn add(&mut self, batch: &impl RawBatch) {
        self.batches += 1;
        for index in 0..batch.len() {
            let record = batch.record(index);
            self.events += 1;
            self.bytes += record.value.map_or(0, <[u8]>::len) as u64;
            self.check ^= record.kafka_time.unwrap_or(0) ^ record.key.map_or(0, <[u8]>::len) as i64;
        }
    }

    fn finish(&self, measure: &Measure, program: &str) -> serde_json::Value {
        let more = [("program", program.into()), ("batches", self.batches.into()), ("check", self.check.into())];
        measure.finish(self.events, self.bytes, &more)
    }
}

#[derive(Args)]
pub struct ArchiveArguments {
    /// archive.url
    #[arg(long)]
    url: String,
    #[arg(long, default_value = "bench")]
    topic: String,
}

/// The archive of the topic into batches.
pub fn archive(arguments: &ArchiveArguments) -> serde_json::Value {
    let url = Override { key: "archive.url".into(), value: arguments.url.clone(), from: "--url".into() };
    let settings = Settings::load(None, &[url]).unwrap();
    let measure = Measure::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let opened = runtime.block_on(KeptLog::open(&Place::of_archive(&settings.archive), &arguments.topic));
    let kept = opened.unwrap().expect("there is an archive");
    let starts: Vec<(i32, i64)> =
        kept.segments().keys().filter_map(|partition| Some((*partition, kept.covers(*partition)?.start))).collect();
    let mut reader = ArchiveReader::start(kept, &starts, runtime.handle().clone()).unwrap();
    let mut looked_at = LookedAt::default();
    while !reader.is_over() {
        if let Some(Read::Records(batch)) = reader.take(Duration::from_secs(60)).unwrap() {
            looked_at.add(&*batch);
        }
    }
    looked_at.finish(&measure, "archive")
}

/// Every payload of the topic, from its first offset to the end of all partitions, by the batch call.
fn read(arguments: &Arguments, mut each: impl FnMut(&[u8])) {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &arguments.brokers)
        .set("group.id", "bench-baseline")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("queued.max.messages.kbytes", "32768")
        .set("fetch.queue.backoff.ms", "10");
    let native = config.create_native_config().unwrap();
    let kind = rd::rd_kafka_type_t::RD_KAFKA_CONSUMER;
    let client = Client::new(&config, native, kind, DefaultClientContext).unwrap();
    let metadata = client.fetch_metadata(Some(&arguments.topic), Duration::from_secs(20)).unwrap();
    let partitions = metadata.topics()[0].partitions();
    assert!(!partitions.is_empty(), "no topic `{}`", arguments.topic);
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(&arguments.topic, partition.id(), Offset::Beginning).unwrap();
    }
    let (mut ends, mut messages) = (0, [MaybeUninit::uninit(); POLL]);
    // SAFETY: the client outlives its queue, the queue outlives the loop, and the array has room for POLL pointers. The
    // first `count` are written by the call, are non-null, and are destroyed once, after the last use of their bytes.
    unsafe {
        rd::rd_kafka_poll_set_consumer(client.native_ptr());
        let queue = rd::rd_kafka_queue_get_consumer(client.native_ptr());
        rd::rd_kafka_assign(client.native_ptr(), list.ptr());
        while ends < partitions.len() {
            let count = rd::rd_kafka_consume_batch_queue(queue, 10, messages.as_mut_ptr().cast(), POLL);
            for message in &messages[..count as usize] {
                let message: *mut rd::rd_kafka_message_t = message.assume_init();
                match (*message).err {
                    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => {
                        each(std::slice::from_raw_parts((*message).payload.cast(), (*message).len));
                    }
                    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__PARTITION_EOF => ends += 1,
                    code => panic!("the baseline met an error: {code:?}"),
                }
                rd::rd_kafka_message_destroy(message);
            }
        }
        rd::rd_kafka_queue_destroy(queue);
    }
}
