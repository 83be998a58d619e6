//! A long, realistic log, whatever it tells: skewed keys, busy days and quiet nights, outages, bursts, keys that fall
//! silent for good, every kind of disorder.
//!
//! Shares are of what a partition shows, not of what was drawn: an out-of-order event lies behind the largest event
//! time of its partition and is still accepted, a late one is not. Kafka times never go back.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{partition_of, pick, too_deep};
use crate::support::oracle::{LogRecord, Topology};

/// What a log tells, and the topology that reads it.
#[derive(Debug)]
pub struct Story {
    /// The topology's name.
    pub name: &'static str,
    /// The topology as it is shipped, and the topic that it names.
    pub yaml: &'static str,
    pub topic: &'static str,
    pub(super) keys: usize,
    /// Event time from the first event to the last, in ms.
    pub(super) length: i64,
    /// The share of events after which the same key comes a few times within seconds.
    pub(super) bursts: f64,
    /// The text of a key.
    pub(super) key: fn(usize) -> String,
    /// A record that is well formed; without a key, that field is null.
    pub(super) value: fn(&mut SmallRng, Option<&str>, i64) -> Vec<u8>,
    /// One that is not.
    pub(super) malformed: fn(&mut SmallRng, i64) -> Vec<u8>,
}

pub const PARTITIONS: i32 = 8;
/// 2026-01-01.
const START: i64 = 1_767_225_600_000;
const DAY: i64 = 86_400_000;

/// The share of the hottest key. Shares are of all events.
const HOTTEST: f64 = 0.01;
const OUT_OF_ORDER: f64 = 0.10;
const LATE: f64 = 0.01;
/// A producer's clock ahead of Kafka's: half of them within what the topology accepts, half beyond.
const AHEAD: f64 = 0.001;
const DUPLICATES: f64 = 0.001;
const TOMBSTONES: f64 = 0.0005;
const MALFORMED: f64 = 0.0008;
const OVER_LIMIT: f64 = 0.0002;
const NULL_KEYS: f64 = 0.001;

/// How often a burst repeats its key.
const BURST: std::ops::RangeInclusive<u32> = 2..=12;
/// So often repeated, a key is longer than any may be.
const TOO_LONG: usize = 1_100;

/// The events in the order in which they are produced: (partition, record with its offset there).
#[derive(Debug)]
pub struct Stream {
    story: &'static Story,
    topology: Topology,
    events: u64,
    rng: SmallRng,
    /// Cumulated weights of all keys but the hottest.
    weights: Vec<f64>,
    now: i64,
    /// A key, and how often it comes again before others do.
    burst: Option<(usize, u32)>,
    /// For each partition, the largest of min(event time, Kafka time), and the next offset.
    seen: Vec<i64>,
    offsets: Vec<i64>,
    made: u64,
    waiting: VecDeque<(i32, LogRecord)>,
}

impl Stream {
    /// So many events of a story.
    pub fn new(story: &'static Story, events: u64, seed: u64) -> Self {
        let mut total = 0.0;
        let weights = (1..story.keys)
            .map(|rank| {
                total += (rank as f64 + 1.0).powf(-0.6);
                total
            })
            .collect();
        Self {
            topology: Topology::from_yaml(story.yaml),
            rng: SmallRng::seed_from_u64(seed),
            weights,
            now: START,
            burst: None,
            seen: vec![i64::MIN / 2; PARTITIONS as usize],
            offsets: vec![0; PARTITIONS as usize],
            made: 0,
            waiting: VecDeque::new(),
            story,
            events,
        }
    }

    /// All records, by partition.
    pub fn partitions(story: &'static Story, events: u64, seed: u64) -> Vec<(i32, Vec<LogRecord>)> {
        let mut logs: Vec<(i32, Vec<LogRecord>)> = (0..PARTITIONS).map(|index| (index, vec![])).collect();
        for (partition, record) in Self::new(story, events, seed) {
            logs[partition as usize].1.push(record);
        }
        logs
    }

    /// The next event's key; the clock moves on to it.
    fn next_key(&mut self) -> usize {
        if let Some((number, left)) = self.burst {
            self.burst = (left > 1).then_some((number, left - 1));
            self.now += self.rng.random_range(0..3_000);
            return number;
        }
        self.advance();
        let number = self.draw();
        if self.rng.random_bool(self.story.bursts) {
            self.burst = Some((number, self.rng.random_range(BURST)));
        }
        number
    }

    /// Every fifth key falls silent for good when a fifth of the time has passed; its neighbour has its events then.
    fn draw(&mut self) -> usize {
        if self.rng.random_bool(HOTTEST) || self.weights.is_empty() {
            return 0;
        }
        let at = self.rng.random::<f64>() * self.weights[self.weights.len() - 1];
        let number = 1 + self.weights.partition_point(|weight| *weight < at).min(self.weights.len() - 1);
        let silent = number % 5 == 3 && self.now > START + self.story.length / 5;
        number + usize::from(silent)
    }

    /// Busy days, quiet nights, now and then an hour without any event. The factors make up for the busy hours, in
    /// which more events take shorter steps, and for bursts, which take hardly any time.
    fn advance(&mut self) {
        let in_bursts = 1.0 + self.story.bursts * f64::from(BURST.start() + BURST.end()) / 2.0;
        let mean = self.story.length as f64 / self.events as f64 * in_bursts;
        let hour = (self.now.rem_euclid(DAY) / 3_600_000) as f64;
        let quiet = 1.0 + 0.7 * ((hour - 3.0) / 24.0 * std::f64::consts::TAU).cos();
        let share: f64 = self.rng.random();
        self.now += (-(1.0 - share).ln() * mean * quiet * 1.33).round() as i64;
        if self.rng.random_bool((30.0 / self.events as f64).min(0.01)) {
            self.now += 3_600_000;
        }
    }

    fn make(&mut self) {
        let key = (self.story.key)(self.next_key());
        let (partition, kafka) = (partition_of(&key, PARTITIONS), self.now);
        let time = self.time(partition as usize, kafka);
        let (key, value) = self.record(&key, partition as usize, time);
        let copies = if self.rng.random_bool(DUPLICATES) { 2 } else { 1 };
        for _ in 0..copies {
            let offset = self.offsets[partition as usize];
            self.offsets[partition as usize] += 1;
            let record = LogRecord { offset, kafka_time: Some(kafka), key: key.clone(), value: value.clone() };
            self.waiting.push_back((partition, record));
        }
        self.made += copies;
    }

    /// The Kafka key and the value.
    fn record(&mut self, key: &str, partition: usize, time: i64) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let (story, rng) = (self.story, &mut self.rng);
        let mut draw: f64 = rng.random();
        let kind = [TOMBSTONES, MALFORMED, OVER_LIMIT, NULL_KEYS].iter().position(|share| {
            draw -= share;
            draw < 0.0
        });
        let bytes = |key: &str| Some(key.as_bytes().to_vec());
        match kind {
            Some(0) => return (bytes(key), None),
            Some(1) => return (bytes(key), Some((story.malformed)(rng, time))),
            Some(2) if rng.random_bool(0.5) => return (bytes(key), Some(too_deep(time))),
            Some(2) => {
                let long = key.repeat(TOO_LONG);
                return (bytes(&long), Some((story.value)(rng, Some(&long), time)));
            }
            _ => {}
        }
        if self.topology.max_future.is_none_or(|ahead| time <= self.now + ahead) {
            self.seen[partition] = self.seen[partition].max(time.min(self.now));
        }
        match kind {
            Some(_) => (None, Some((story.value)(rng, None, time))),
            None => (bytes(key), Some((story.value)(rng, Some(key), time))),
        }
    }

    fn time(&mut self, partition: usize, kafka: i64) -> i64 {
        let (seen, rng) = (self.seen[partition], &mut self.rng);
        // An event that is older than this is late.
        let oldest = seen - self.topology.lateness - self.topology.grace;
        let ahead = self.topology.max_future.unwrap_or(DAY);
        let draw: f64 = rng.random();
        let fresh = kafka - rng.random_range(0..200);
        if seen < START || draw >= OUT_OF_ORDER + LATE + AHEAD {
            // Never behind, so that the shares are what they say; now and then a tie.
            return if rng.random_bool(0.01) { seen.max(START) } else { fresh.max(seen) };
        }
        if draw < OUT_OF_ORDER {
            // Now and then as late as can be.
            return if rng.random_bool(0.01) { oldest } else { rng.random_range(oldest..seen) };
        }
        if draw < OUT_OF_ORDER + LATE {
            return oldest - 1 - if rng.random_bool(0.1) { 0 } else { rng.random_range(0..3_600_000) };
        }
        let beyond = [ahead + 1, ahead + DAY];
        kafka + if rng.random_bool(0.5) { rng.random_range(1..=ahead) } else { *pick(rng, &beyond) }
    }
}

impl Iterator for Stream {
    type Item = (i32, LogRecord);

    fn next(&mut self) -> Option<Self::Item> {
        if self.waiting.is_empty() && self.made < self.events {
            self.make();
        }
        self.waiting.pop_front()
    }
}
