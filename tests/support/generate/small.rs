//! Short, hostile logs for a given topology.
//!
//! Times are chosen against the topology: on the borders of tiles, windows and sessions, at the time when an entity is
//! forgotten, and one millisecond beside them, on the border of lateness and grace, on the border of `max_future`;
//! between them lie steps from nothing to days.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Wrong, malformed, partition_of, pick, too_deep};
use crate::support::oracle::{LogRecord, Topology, Window};

/// What a small log may hold.
#[derive(Debug, Clone, Copy)]
pub struct SmallOptions {
    pub events: usize,
    pub partitions: i32,
    pub users: usize,
    /// Numbers near the ends of their types.
    pub extremes: bool,
    /// Gaps between offsets, and a first offset that is not 0.
    pub offset_gaps: bool,
}

impl SmallOptions {
    /// Options of a seed: a few hundred events, a few users, one to three partitions.
    pub fn of(seed: u64) -> Self {
        let rng = &mut SmallRng::seed_from_u64(seed ^ 0x5a11);
        Self {
            events: rng.random_range(20..600),
            partitions: rng.random_range(1..=3),
            users: *pick(rng, &[1, 2, 3, 8, 30]),
            extremes: seed % 8 == 7,
            offset_gaps: rng.random_bool(0.3),
        }
    }
}

/// One log a partition, in offset order, keys by the hash of `user_id`.
pub fn small(seed: u64, topology: &Topology, options: SmallOptions) -> Vec<(i32, Vec<LogRecord>)> {
    let mut generator = Small::new(seed, topology, options);
    for _ in 0..options.events {
        generator.event();
    }
    (0..).zip(generator.logs.into_iter().map(|log| log.records)).collect()
}

struct Log {
    records: Vec<LogRecord>,
    /// The largest of min(event time, Kafka time).
    seen: i64,
    recent: Vec<i64>,
    next_offset: i64,
}

struct Small<'a> {
    rng: SmallRng,
    topology: &'a Topology,
    options: SmallOptions,
    logs: Vec<Log>,
    now: i64,
    borders: Vec<Border>,
}

/// What was folded at `t` leaves when the slide that holds `t` has ended and then `after` has passed.
#[derive(Debug, Clone, Copy)]
struct Border {
    slide: i64,
    /// Of the beginning of some slide.
    offset: i64,
    after: i64,
}

impl Border {
    fn begin(self, t: i64) -> i64 {
        (t - self.offset).div_euclid(self.slide) * self.slide + self.offset
    }

    fn of(window: &Window) -> Option<Self> {
        match *window {
            Window::Sliding { size, slide } => Some(Self { slide, offset: 0, after: size }),
            Window::Tumbling { size, offset, complete } => {
                Some(Self { slide: size, offset, after: if complete { size } else { 0 } })
            }
            Window::Session { gap } => Some(Self { slide: 1, offset: 0, after: gap }),
            Window::Lifetime | Window::Since(_) | Window::Last(_) => None,
        }
    }
}

/// Steps of the clock in ms, from bursts to silence.
const STEPS: [i64; 14] = [0, 0, 0, 1, 1, 3, 10, 40, 250, 1_000, 7_000, 60_000, 1_900_000, 90_000_000];

impl<'a> Small<'a> {
    fn new(seed: u64, topology: &'a Topology, options: SmallOptions) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ 0x0005_1a11_1095);
        let mut borders = vec![];
        for entity in &topology.entities {
            borders.extend(entity.features.iter().filter_map(|feature| Border::of(&feature.window)));
            borders.extend(entity.forget_after.map(|after| Border { slide: 1, offset: 0, after: after - 1 }));
        }
        // Sometimes around 1970, where floors must go down.
        let now = if rng.random_bool(0.1) { -5_000 } else { 1_700_000_000_000 };
        let first = |rng: &mut SmallRng| if options.offset_gaps { rng.random_range(0..1000) } else { 0 };
        let logs = (0..options.partitions)
            .map(|_| Log { records: vec![], seen: now, recent: vec![now], next_offset: first(&mut rng) })
            .collect();
        Self { rng, topology, options, logs, now, borders }
    }

    fn event(&mut self) {
        // Most steps are near the windows' own scale, so that windows neither stay full nor empty.
        let step = *pick(&mut self.rng, &STEPS);
        let longest = self.borders.iter().map(|border| border.slide + border.after).max().unwrap_or(1_000);
        self.now += if step > longest && self.rng.random_bool(0.9) { longest / 7 } else { step };
        let user = self.user();
        let partition = partition_of(&user, self.options.partitions) as usize;
        let time = self.time(partition);
        self.now = self.now.max(time.min(self.now + longest));
        let kafka = match self.rng.random_range(0..20) {
            0 => self.now - self.rng.random_range(0..2_000),
            1 => self.now + self.rng.random_range(0..5),
            _ => self.now,
        };
        let (time, kafka) = self.future(time, kafka);
        let (key, value) = self.value(&user, time);
        let duplicate = self.rng.random_bool(0.02);
        for _ in 0..if duplicate { 2 } else { 1 } {
            self.push(partition, time, kafka, key.clone(), value.clone());
        }
    }

    fn push(&mut self, partition: usize, time: i64, kafka: i64, key: Option<Vec<u8>>, value: Option<Vec<u8>>) {
        let log = &mut self.logs[partition];
        if self.options.offset_gaps && self.rng.random_bool(0.05) {
            log.next_offset += self.rng.random_range(1..6);
        }
        let kafka_time =
            if self.topology.max_future.is_none() && self.rng.random_bool(0.1) { None } else { Some(kafka) };
        log.records.push(LogRecord { offset: log.next_offset, kafka_time, key, value });
        log.next_offset += 1;
        log.seen = log.seen.max(time.min(kafka));
        log.recent.push(time);
        if log.recent.len() > 12 {
            log.recent.remove(0);
        }
    }

    /// Few users carry most of the events; some fall silent in each half of the alphabet.
    fn user(&mut self) -> String {
        let share: f64 = self.rng.random();
        let index = (share * share * self.options.users as f64) as usize;
        match index {
            0 => "u".into(),
            1 => "".into(),
            2 => "ü\"\\".into(),
            n => format!("u{n}"),
        }
    }

    fn time(&mut self, partition: usize) -> i64 {
        let (lateness, grace) = (self.topology.lateness, self.topology.grace);
        let log = &self.logs[partition];
        let (seen, watermark) = (log.seen, log.seen - lateness);
        let recent = *pick(&mut self.rng, &self.logs[partition].recent);
        let rng = &mut self.rng;
        match rng.random_range(0..100) {
            0..=39 => self.now - if rng.random_bool(0.5) { 0 } else { rng.random_range(0..50) },
            40..=54 if !self.borders.is_empty() => {
                let border = *pick(rng, &self.borders);
                border.begin(recent) + border.slide + border.after + rng.random_range(-1..=1)
            }
            55..=62 if !self.borders.is_empty() => pick(rng, &self.borders).begin(self.now) - rng.random_range(0..=1),
            63..=70 => recent,
            71..=82 => seen - rng.random_range(0..=lateness),
            83..=89 => watermark - rng.random_range(0..=grace),
            90..=91 => watermark - grace,
            92..=93 => watermark - grace - 1,
            94..=95 => watermark - grace - rng.random_range(1..100_000),
            _ => self.now,
        }
    }

    /// Now and then a producer's clock runs ahead, up to the bound or just beyond.
    fn future(&mut self, time: i64, kafka: i64) -> (i64, i64) {
        let ahead = self.topology.max_future.unwrap_or(50_000);
        match self.rng.random_range(0..40) {
            0 => (kafka + ahead, kafka),
            1 => (kafka + ahead + 1, kafka),
            2 => (kafka + self.rng.random_range(0..=ahead), kafka),
            _ => (time, kafka),
        }
    }

    fn value(&mut self, user: &str, time: i64) -> (Option<Vec<u8>>, Option<Vec<u8>>) {
        let key = Some(user.as_bytes().to_vec());
        match self.rng.random_range(0..100) {
            0 => return (key, None),
            1..=2 => {
                let wrong = Wrong::in_millis(["user_id", "price", "ts"], time);
                return (key, Some(malformed(&mut self.rng, &wrong)));
            }
            3 if self.rng.random_bool(0.2) => return (key, Some(too_deep(time))),
            _ => {}
        }
        let null_user = self.rng.random_bool(0.03);
        let mut fields = self.fields(time);
        match (null_user, self.rng.random_bool(0.5)) {
            (false, _) => fields.push(("user_id".into(), serde_json::to_string(user).expect("a string prints"))),
            (true, true) => fields.push(("user_id".into(), "null".into())),
            (true, false) => {}
        }
        fields.push(("ts".into(), time.to_string()));
        let at = self.rng.random_range(0..fields.len());
        fields.rotate_left(at);
        if self.rng.random_bool(0.01) {
            // Only the last of two equal names counts.
            fields.insert(0, ("price".into(), "\"no\"".into()));
            fields.retain(|(name, value)| name != "price" || value == "\"no\"");
            fields.push(("pr\\u0069ce".into(), "4.25".into()));
        }
        let blank = if self.rng.random_bool(0.1) { " " } else { "" };
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("\"{name}\":{blank}{value}{blank}")).collect();
        let text = format!("{blank}{{{}}}{blank}", fields.join(","));
        (if null_user { None } else { key }, Some(text.into_bytes()))
    }

    fn fields(&mut self, time: i64) -> Vec<(String, String)> {
        let (rng, extremes) = (&mut self.rng, self.options.extremes);
        let mut fields = vec![];
        let mut add = |rng: &mut SmallRng, name: &str, value: String| match rng.random_range(0..10) {
            0 => {}
            1 => fields.push((name.to_string(), "null".to_string())),
            _ => fields.push((name.to_string(), value)),
        };
        let event = *pick(rng, &["view", "view", "click", "add", "remove", "noise"]);
        add(rng, "event", format!("\"{event}\""));
        let category = *pick(rng, &["a", "b", "", "a\\\"b", "é", "\\u00e9", "日本"]);
        add(rng, "category", format!("\"{category}\""));
        let item = rng.random_range(-1..3).to_string();
        add(rng, "item", item);
        let qty = match rng.random_range(0..if extremes { 6 } else { 4 }) {
            4 => i64::MAX - rng.random_range(0..3),
            5 => i64::MIN + rng.random_range(0..3),
            _ => rng.random_range(-3..8),
        };
        add(rng, "qty", qty.to_string());
        let price = match rng.random_range(0..if extremes { 10 } else { 7 }) {
            0 => rng.random_range(-5..50).to_string(),
            1 => "-0.0".into(),
            2 => format!("{}e-1", rng.random_range(-50..500)),
            3 => format!("{:?}", f64::from(rng.random_range(0..100_000)) * 1e-7),
            7 => format!("{:?}", rng.random_range(-1.0..1.0) * 1e300),
            8 => "5e-324".into(),
            9 => (*pick(rng, &["1e16", "-1e16", "1", "1e-30", "1.7976931348623157e308"])).to_string(),
            _ => format!("{:.2}", rng.random_range(-5.0..100.0)),
        };
        add(rng, "price", price);
        let amount = amount(rng);
        add(rng, "amount", amount);
        let huge = match rng.random_range(0..if extremes { 5 } else { 3 }) {
            3 => format!("{}.999999", "9".repeat(32)),
            4 => format!("-{}", "9".repeat(32)),
            _ => format!("\"{}.{:06}\"", rng.random_range(0..9), rng.random_range(0..1_000_000)),
        };
        add(rng, "huge", huge);
        let flag = rng.random_bool(0.5).to_string();
        add(rng, "flag", flag);
        let seen = time - rng.random_range(0..100_000);
        add(rng, "seen", seen.to_string());
        if rng.random_bool(0.2) {
            fields.push(("other".into(), "{\"ts\":\"x\",\"list\":[1,2.5e3,{\"a\":null}],\"s\":\"}]\\\\\"}".into()));
        }
        fields
    }
}

/// A `decimal(9,2)` as a number or as text; rarely one that does not fit.
fn amount(rng: &mut SmallRng) -> String {
    match rng.random_range(0..200) {
        0 => "1.005".into(),
        1 => "\"10000000\"".into(),
        2..=19 => "9999999.99".into(),
        20..=39 => format!("-{}.5", rng.random_range(1..9)),
        40..=59 => format!("{}e-1", rng.random_range(0..50)),
        60..=99 => format!("\"{}.{:02}\"", rng.random_range(0..5), rng.random_range(0..100)),
        _ => rng.random_range(-2..6).to_string(),
    }
}
