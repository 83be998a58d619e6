//! A long, realistic shop log over the schema of `topologies/shop.yaml`: skewed users, quiet nights, outages.
//!
//! Shares are of what a partition shows, not of what was drawn: an out-of-order event lies behind the largest event
//! time of its partition and within the lateness, a late one behind the watermark. Kafka times never go back.

use std::collections::VecDeque;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{malformed, partition_of, pick, too_deep};
use crate::support::oracle::LogRecord;

/// How a shop log looks. Shares are of all events.
#[derive(Debug, Clone)]
pub struct ShopOptions {
    pub events: u64,
    pub seed: u64,
    pub partitions: i32,
    pub users: usize,
    /// Event time of the first event, in ms.
    pub start: i64,
    /// Event time from the first to the last event, in ms.
    pub length: i64,
    /// The topology's, in ms.
    pub lateness: i64,
    pub hottest: f64,
    pub out_of_order: f64,
    pub late: f64,
    pub malformed: f64,
    pub tombstones: f64,
    pub null_keys: f64,
    /// A producer's clock ahead of Kafka's: half of them within a minute, half beyond.
    pub ahead: f64,
    pub duplicates: f64,
}

impl ShopOptions {
    /// 8 partitions, 20,000 users, 30 days from 2026-01-01, the shares of the long verification.
    pub fn new(events: u64, seed: u64) -> Self {
        Self {
            events,
            seed,
            partitions: 8,
            users: 20_000,
            start: 1_767_225_600_000,
            length: 30 * 86_400_000,
            lateness: 5_000,
            hottest: 0.01,
            out_of_order: 0.10,
            late: 0.01,
            malformed: 0.001,
            tombstones: 0.0005,
            null_keys: 0.001,
            ahead: 0.001,
            duplicates: 0.001,
        }
    }
}

/// The events in the order in which they are produced: (partition, record with its offset there).
#[derive(Debug)]
pub struct Shop {
    options: ShopOptions,
    rng: SmallRng,
    /// Cumulated weights of all users but the hottest.
    weights: Vec<f64>,
    now: i64,
    /// For each partition, the largest of min(event time, Kafka time), and the next offset.
    seen: Vec<i64>,
    offsets: Vec<i64>,
    made: u64,
    waiting: VecDeque<(i32, LogRecord)>,
}

impl Shop {
    pub fn new(options: ShopOptions) -> Self {
        let mut total = 0.0;
        let weights = (1..options.users)
            .map(|rank| {
                total += (rank as f64 + 1.0).powf(-0.6);
                total
            })
            .collect();
        Self {
            rng: SmallRng::seed_from_u64(options.seed),
            weights,
            now: options.start,
            seen: vec![i64::MIN / 2; options.partitions as usize],
            offsets: vec![0; options.partitions as usize],
            made: 0,
            waiting: VecDeque::new(),
            options,
        }
    }

    /// All records of one partition; the others are made and forgotten.
    pub fn partition(options: ShopOptions, partition: i32) -> Vec<LogRecord> {
        Self::new(options).filter(|(of, _)| *of == partition).map(|(_, record)| record).collect()
    }

    /// All records, by partition.
    pub fn partitions(options: ShopOptions) -> Vec<(i32, Vec<LogRecord>)> {
        let mut logs: Vec<(i32, Vec<LogRecord>)> = (0..options.partitions).map(|index| (index, vec![])).collect();
        for (partition, record) in Self::new(options) {
            logs[partition as usize].1.push(record);
        }
        logs
    }

    fn user(&mut self) -> usize {
        if self.rng.random_bool(self.options.hottest) || self.weights.is_empty() {
            return 0;
        }
        let at = self.rng.random::<f64>() * self.weights[self.weights.len() - 1];
        1 + self.weights.partition_point(|weight| *weight < at).min(self.weights.len() - 1)
    }

    /// Busy days, quiet nights, now and then an hour without any event. The factor makes up for the busy hours, in which
    /// more events take shorter steps.
    fn advance(&mut self) {
        let mean = self.options.length as f64 / self.options.events as f64;
        let hour = (self.now.rem_euclid(86_400_000) / 3_600_000) as f64;
        let quiet = 1.0 + 0.7 * ((hour - 3.0) / 24.0 * std::f64::consts::TAU).cos();
        let share: f64 = self.rng.random();
        self.now += (-(1.0 - share).ln() * mean * quiet * 1.33).round() as i64;
        if self.rng.random_bool((30.0 / self.options.events as f64).min(0.01)) {
            self.now += 3_600_000;
        }
    }

    fn make(&mut self) {
        self.made += 1;
        self.advance();
        let user = format!("u{}", self.user());
        let partition = partition_of(&user, self.options.partitions);
        let kafka = self.now;
        let time = self.time(partition as usize, kafka);
        let options = &self.options;
        let (tombstones, broken, nulls) = (options.tombstones, options.malformed, options.null_keys);
        let duplicates = options.duplicates;
        let draw: f64 = self.rng.random();
        let mut key = Some(user.clone().into_bytes());
        let value = if draw < tombstones {
            None
        } else if draw < tombstones + broken {
            Some(if self.rng.random_bool(0.05) { too_deep(time) } else { malformed(&mut self.rng, time) })
        } else {
            if time <= kafka + 60_000 {
                self.seen[partition as usize] = self.seen[partition as usize].max(time.min(kafka));
            }
            let null = draw < tombstones + broken + nulls;
            if null {
                key = None;
            }
            Some(self.value(if null { None } else { Some(&user) }, time))
        };
        let copies = if self.rng.random_bool(duplicates) { 2 } else { 1 };
        for _ in 0..copies {
            let offset = self.offsets[partition as usize];
            self.offsets[partition as usize] += 1;
            let record = LogRecord { offset, kafka_time: Some(kafka), key: key.clone(), value: value.clone() };
            self.waiting.push_back((partition, record));
        }
        self.made += copies - 1;
    }

    fn time(&mut self, partition: usize, kafka: i64) -> i64 {
        let seen = self.seen[partition];
        let options = &self.options;
        let draw: f64 = self.rng.random();
        let fresh = kafka - self.rng.random_range(0..200);
        if seen < options.start || draw >= options.out_of_order + options.late + options.ahead {
            // Never behind, so that the shares are what they say; now and then a tie.
            return if self.rng.random_bool(0.01) { seen.max(options.start) } else { fresh.max(seen) };
        }
        if draw < options.out_of_order {
            return seen - self.rng.random_range(1..=options.lateness.max(1));
        }
        if draw < options.out_of_order + options.late {
            return seen - options.lateness - 1 - self.rng.random_range(0..3_600_000);
        }
        kafka + if self.rng.random_bool(0.5) { self.rng.random_range(1..=60_000) } else { 86_400_000 }
    }

    fn value(&mut self, user: Option<&str>, time: i64) -> Vec<u8> {
        let rng = &mut self.rng;
        let event = match rng.random_range(0..100) {
            0..=59 => "view",
            60..=84 => "click",
            85..=92 => "cart",
            _ => "purchase",
        };
        let item = rng.random_range(0..5_000u32);
        let price = match rng.random_range(0..100) {
            0..=1 => "null".into(),
            2..=11 => rng.random_range(1..500).to_string(),
            12..=14 => format!("-{}.{:02}", rng.random_range(1..50), rng.random_range(0..100)),
            _ => format!("{}.{:02}", rng.random_range(0..400), rng.random_range(0..100)),
        };
        let categories = ["\"shoes\"", "\"books\"", "\"garden\"", "\"toys\"", "\"kitchen\"", "\"café\"", "null"];
        let category = *pick(rng, &categories);
        let user = user.map_or("null".into(), |user| format!("\"{user}\""));
        let (session, agent) = (rng.random::<u64>(), pick(rng, &["Firefox/128.0", "Safari/17.5", "Chrome/126.0"]));
        format!(
            "{{\"user_id\":{user},\"event\":\"{event}\",\"item_id\":\"item-{item}\",\"category\":{category},\
             \"price\":{price},\"ts\":{time},\"session\":\"{session:016x}\",\"agent\":\"{agent}\",\
             \"referrer\":\"https://shop.example/catalogue/{item}?from=home\",\"ab\":[1,{}]}}",
            item % 7
        )
        .into_bytes()
    }
}

impl Iterator for Shop {
    type Item = (i32, LogRecord);

    fn next(&mut self) -> Option<Self::Item> {
        if self.waiting.is_empty() && self.made < self.options.events {
            self.make();
        }
        self.waiting.pop_front()
    }
}
