//! The benchmark's topic: a web shop's events, the same bytes for the same seed.
//!
//! 250 bytes of JSON on average, in 11 fields; users by Zipf 1.0, rank = number; event time moves on evenly by
//! `events_per_second`, so a window of W seconds holds about W times that many events: that, and nothing else, decides
//! how windows fill and empty. Keys are the user ids, partitions their murmur2, the Kafka time follows the event time by
//! up to half a second.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use clap::Args;
use futures::executor::block_on;
use kappa::source::{Codec, Producer, Record};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use super::measure::Measure;

#[derive(Args)]
pub struct Arguments {
    /// host:port
    #[arg(long)]
    brokers: String,
    #[arg(long, default_value = "bench")]
    topic: String,
    #[arg(long, default_value_t = 5_000_000)]
    events: u64,
    #[arg(long, default_value_t = 100_000)]
    pub users: usize,
    #[arg(long, default_value_t = 8)]
    partitions: i32,
    /// Events in a second of event time.
    #[arg(long, default_value_t = 100.0)]
    events_per_second: f64,
    /// The first event time, in ms.
    #[arg(long, default_value_t = 1_700_000_000_000)]
    pub start: i64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Arguments {
    /// The benchmark's users, partitions, start and seed.
    pub fn new(brokers: &str, topic: &str, events: u64, events_per_second: f64) -> Self {
        let (brokers, topic) = (brokers.to_string(), topic.to_string());
        let (users, partitions, start, seed) = (100_000, 8, 1_700_000_000_000, 1);
        Self { brokers, topic, events, users, partitions, events_per_second, start, seed }
    }
}

/// Creates the topic (it must not be there) and writes all events.
pub fn run(arguments: &Arguments) -> serde_json::Value {
    create(arguments);
    let measure = Measure::start();
    let producer = Producer::new(&arguments.brokers, &arguments.topic, Codec::Lz4, &BTreeMap::new()).unwrap();
    let zipf = Zipf::new(arguments.users);
    let (mut random, mut value, mut key, mut bytes) = (Random(arguments.seed), Vec::new(), Vec::new(), 0);
    for number in 0..arguments.events {
        let user = zipf.sample(&mut random) + 1;
        let time = arguments.start + (number as f64 * 1000.0 / arguments.events_per_second) as i64;
        key.clear();
        value.clear();
        write!(key, "u{user}").unwrap();
        write_event(&mut value, number, user, time, &mut random);
        bytes += value.len() as u64;
        let time = Some(time + (random.next() % 500) as i64);
        producer.send(&Record { key: Some(&key), value: Some(&value), time, ..Record::default() }).unwrap();
    }
    producer.flush(Duration::from_secs(120)).unwrap();
    measure.finish(arguments.events, bytes, &[("program", "produce-bench".into())])
}

fn create(arguments: &Arguments) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &arguments.brokers).create().unwrap();
    // The event times are old, and Kafka would delete by them.
    let topic = NewTopic::new(&arguments.topic, arguments.partitions, TopicReplication::Fixed(1))
        .set("retention.ms", "-1")
        .set("segment.bytes", "268435456");
    let results = block_on(admin.create_topics(&[topic], &AdminOptions::new())).unwrap();
    results.into_iter().for_each(|result| drop(result.unwrap()));
}

const CATEGORIES: [&str; 12] =
    ["shoes", "books", "garden", "kitchen", "toys", "music", "sports", "beauty", "grocery", "office", "phones", "bags"];
const DEVICES: [&str; 4] = ["mobile", "desktop", "tablet", "tv"];

/// 11 fields: event_id, user_id, event, item_id, category, price, quantity, ts, session_id, page, device.
fn write_event(out: &mut Vec<u8>, number: u64, user: usize, time: i64, random: &mut Random) {
    let bits = random.next();
    let event = match bits % 100 {
        0..=59 => "view",
        60..=84 => "click",
        85..=94 => "cart",
        _ => "purchase",
    };
    // The item decides its category and price; squared, so that some items are far more popular.
    let share = (random.next() >> 11) as f64 / (1u64 << 53) as f64;
    let item = (share * share * 20_000.0) as u64;
    let category = CATEGORIES[(item % 12) as usize];
    let cents = 199 + item * 7919 % 49_800;
    write!(
        out,
        "{{\"event_id\":\"e{number:012}\",\"user_id\":\"u{user}\",\"event\":\"{event}\",\"item_id\":\"i{item:06}\",\
         \"category\":\"{category}\",\"price\":{}.{:02},\"quantity\":{},\"ts\":{time},\"session_id\":\"s{user}-{}\",\
         \"page\":\"/shop/{category}/item/{item:06}/from-search?sort=new&p={}\",\"device\":\"{}\"}}",
        cents / 100,
        cents % 100,
        1 + (bits >> 8) % 3,
        time / 3_600_000,
        1 + (bits >> 24) % 20,
        DEVICES[((bits >> 16) % 4) as usize],
    )
    .unwrap();
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Ranks 0..n with weight 1 / (rank + 1), by the alias method: one draw each.
struct Zipf {
    /// The chance, of 2^32, that a slot stands for itself, and what it stands for otherwise.
    slots: Vec<(u64, usize)>,
}

impl Zipf {
    fn new(n: usize) -> Self {
        let total: f64 = (1..=n).map(|rank| 1.0 / rank as f64).sum();
        let mut weight: Vec<f64> = (1..=n).map(|rank| n as f64 / (rank as f64 * total)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&slot| weight[slot] < 1.0);
        let mut slots = vec![(1u64 << 32, 0); n];
        while let (Some(low), Some(&high)) = (small.pop(), large.last()) {
            slots[low] = ((weight[low] * (1u64 << 32) as f64) as u64, high);
            weight[high] -= 1.0 - weight[low];
            if weight[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { slots }
    }

    fn sample(&self, random: &mut Random) -> usize {
        let bits = random.next();
        let slot = (((bits >> 32) * self.slots.len() as u64) >> 32) as usize;
        let (chance, other) = self.slots[slot];
        if bits & 0xffff_ffff < chance { slot } else { other }
    }
}
