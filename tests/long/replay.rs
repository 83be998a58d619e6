//! `make bench-replay`: how fast the past is read beside a version that serves, and how fresh that one stays meanwhile.
//!
//! A topic with `--events` events of the benchmark is written. Version 1 reads it, and from then on serves a live load of
//! `--rate` events a second. Speed: events per CPU-second of the process that serves the load, beside those of a process
//! that only replays the topic. Freshness: every 20 ms a probe sends an event and looks into Redis until it shows; the
//! 99th percentile while nothing else happens is held against the one while the same process replays the topic, at full
//! speed and then at half of it (`--max-rate`). Everything is measured in this run; each part prints its line when it is
//! done.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kappa::http::client;
use kappa::runtime::{Standing, Version, Versions};
use kappa::source::{Codec, Producer, Record};

use super::measure::{children_cpu_seconds, tree_cpu_seconds};
use super::{bench, produce};
use crate::support::kafka::Kafka;
use crate::support::producer;
use crate::support::redis::free_port;
use crate::support::verify::Place;

const TOPIC: &str = "replayed";
const PROBE_EVERY: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, env = "KAPPA_EVENTS", default_value_t = 3_000_000)]
    events: u64,
    /// Events a second of the live load
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Seconds of each quiet measurement
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Prints a line for each part, and answers with a table of them.
pub fn run(arguments: &Arguments) -> String {
    let kafka = Kafka::start_with_heap(1024);
    // Event times up to now, so that the live load goes on where the topic ends.
    let per_second = 20.0;
    let mut written = produce::Arguments::new(&kafka.brokers(), TOPIC, arguments.events, per_second);
    written.start = now() - (arguments.events as f64 * 1000.0 / per_second) as i64;
    produce::run(&written);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = bench::write_topology(dir.path(), "replayed", &bench::few(TOPIC)).display().to_string();
    let place = Place::new(&kafka);
    said(&place, &["run", &file, "--until-caught-up"]);
    let load = Load::start(&kafka, TOPIC, 100_000, arguments.rate);
    let bench = Bench { kafka: &kafka, place: &place, file: &file, quiet: Duration::from_secs(arguments.seconds) };

    let (live, replay) = bench.speeds(&load);
    println!(
        "speed: live {live:.0} events per CPU-second at {} a second, replay {replay:.0}: {:.2} times",
        arguments.rate,
        replay / live
    );
    let full = bench.freshness(None);
    println!("{full}");
    let half = bench.freshness(Some(((full.rate / 2.0) as u64).max(1)));
    println!("{half}");
    drop(load);
    let line = |what: &str, Freshness { quiet, beside, .. }: &Freshness| {
        let [quiet, beside] = [quiet, beside].map(|times| times.at(0.99));
        format!("| p99 freshness, replay at {what} speed, ms | {quiet:.1} | {beside:.1} | {:.2} |", beside / quiet)
    };
    format!(
        "| Measured | Live | Replay | Ratio |\n|---|---:|---:|---:|\n| events per CPU-second | {live:.0} | {replay:.0} | {:.2} |\n\
         {}\n{}",
        replay / live,
        line("full", &full),
        line("half", &half)
    )
}

/// Runs a command to its end; what it prints.
fn said(place: &Place<'_>, arguments: &[&str]) -> String {
    let output = place.kappa(arguments).output().expect("kappa starts");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A topic that version 1 has read, and where it is served.
struct Bench<'a> {
    kafka: &'a Kafka,
    place: &'a Place<'a>,
    file: &'a str,
    quiet: Duration,
}

impl Bench<'_> {
    /// Events per CPU-second of the version that serves, and of a replay.
    fn speeds(&self, load: &Load) -> (f64, f64) {
        let mut served = Served::start(self.place, self.file, &[]);
        served.wait_until_ready();
        let live = served.speed(load, self.quiet);
        // A process of its own that replays and leaves: its CPU is the replay's alone.
        let before = children_cpu_seconds();
        let arguments = ["--replay-from", "0", "--again", "--no-promote", "--until-caught-up"];
        let said = said(self.place, &[&["run", self.file][..], &arguments].concat());
        let records: f64 =
            said.split(' ').nth(2).and_then(|text| text.parse().ok()).expect("the summary tells the records");
        let replay = records / (children_cpu_seconds() - before);
        served.stop();
        self.drop_version(2);
        (live, replay)
    }

    /// How long events take to show, quietly, and while the process that serves them replays the topic beside.
    fn freshness(&self, max_rate: Option<u64>) -> Freshness {
        let number = self.begin();
        let max_rate = max_rate.map(|rate| ["--max-rate".to_string(), rate.to_string()]);
        let mut served = Served::start(self.place, self.file, max_rate.as_ref().map_or(&[][..], |words| &words[..]));
        served.wait_until_ready();
        let mut probe = Probe::new(self.kafka, self.place);
        // What it missed while nothing ran is behind it.
        probe.measure(|began| began.elapsed() < Duration::from_secs(2));
        let quiet = probe.measure(|began| began.elapsed() < self.quiet);
        said(self.place, &["resume", &number.to_string(), "--topology", self.file]);
        while served.standing(number).is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        let beside = probe.measure(|_| served.standing(number).as_deref() == Some("building"));
        served.stop();
        let rate = self.versions().get(number).and_then(|version| version.built_at_rate);
        self.drop_version(number);
        let is_paced = max_rate.is_some();
        Freshness { quiet, beside, rate: rate.expect("the replay has come to its end"), is_paced }
    }

    fn versions(&self) -> Versions {
        Versions::open(&self.place.data_dir(), "bench").expect("the registry of versions")
    }

    /// A version of the same logic that has read nothing yet, and is not fed before it is resumed.
    fn begin(&self) -> u32 {
        let plan = kappa::topology::load(Path::new(self.file)).expect("the topology");
        let mut versions = self.versions();
        let live = versions.live().cloned().expect("version 1 is live");
        let number = versions.all().iter().map(|version| version.number).max().unwrap_or(0) + 1;
        let (standing, generation) = (Standing::Building, live.generation + 1);
        let version = Version { number, standing, generation, paused: true, built_at_rate: None, ..live };
        versions.keep_plan(number, &plan).expect("its topology is kept");
        let put = |versions: &mut Versions| {
            versions.put(&version);
            Ok(())
        };
        versions.change(put).expect("it is written down");
        number
    }

    fn drop_version(&self, number: u32) {
        said(self.place, &["drop", &number.to_string(), "--topology", self.file]);
    }
}

/// What the probes of one part took.
struct Freshness {
    quiet: Times,
    beside: Times,
    /// Records a second of the replay.
    rate: f64,
    is_paced: bool,
}

impl std::fmt::Display for Freshness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { quiet, beside, rate, is_paced } = self;
        let speed = if *is_paced { "half" } else { "full" };
        let ratio = beside.at(0.99) / quiet.at(0.99);
        write!(
            f,
            "freshness: quiet {quiet}; replay at {speed} speed, {rate:.0} a second, {beside}: p99 {ratio:.2} times"
        )
    }
}

/// Milliseconds, ascending, at least one.
struct Times(Vec<f64>);

impl Times {
    fn at(&self, share: f64) -> f64 {
        self.0[((self.0.len() as f64 * share) as usize).min(self.0.len() - 1)]
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (p50, p99) = (self.at(0.5), self.at(0.99));
        write!(f, "p50 {p50:.1} ms, p99 {p99:.1} ms, most {:.1} ms ({} probes)", self.at(1.0), self.0.len())
    }
}

pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_millis() as i64
}

fn event(user: &str, event: &str, item: &str) -> (Vec<u8>, i64) {
    let time = now();
    let text = format!(
        "{{\"event_id\":\"e{time}\",\"user_id\":\"{user}\",\"event\":\"{event}\",\"item_id\":\"{item}\",\"category\":\"shoes\",\
         \"price\":19.99,\"quantity\":1,\"ts\":{time},\"session_id\":\"s\",\"page\":\"/shop/shoes/item\",\"device\":\"mobile\"}}"
    );
    (text.into_bytes(), time)
}

/// A live load, until it is dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// So many events a second, of so many users in turn.
    pub fn start(kafka: &Kafka, topic: &str, users: usize, rate: u64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let producer = producer::producer(kafka, topic, Codec::Lz4);
        let (over, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            while !over.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
                for number in count.load(Ordering::Relaxed)..due {
                    let user = format!("u{}", 1 + number.wrapping_mul(2_654_435_761) % users as u64);
                    let kind = ["view", "click", "cart", "purchase"][(number % 4) as usize];
                    let (value, time) = event(&user, kind, "i000001");
                    let record = Record {
                        key: Some(user.as_bytes()),
                        value: Some(&value),
                        time: Some(time),
                        ..Record::default()
                    };
                    producer.send(&record).expect("the load is written");
                    count.store(number + 1, Ordering::Relaxed);
                    // Where more is asked for than can be written, the end is not.
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                }
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Events so far.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// The process that serves.
struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(place: &Place<'_>, file: &str, more: &[String]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let listen = format!("http.listen={address}");
        let mut command = place.kappa(&["run", file, "--set", "offline.commit_interval=60s"]);
        command.args(more).args(["--set", &listen]).stdout(Stdio::null());
        Self { child: command.spawn().expect("kappa starts"), address }
    }

    fn wait_until_ready(&self) {
        let is_ready = || client::get(&self.address, "/ready").is_ok_and(|answer| answer.status == 200);
        while !is_ready() {
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Where a version stands that it runs.
    fn standing(&self, number: u32) -> Option<String> {
        let status = client::get(&self.address, "/v1/status").ok()?;
        let status: serde_json::Value = serde_json::from_str(&status.body).ok()?;
        let versions = status["versions"].as_array()?.iter().map(|version| &version["version"]);
        let version = versions.into_iter().find(|version| version["number"] == number)?;
        Some(version["standing"].as_str()?.to_string())
    }

    /// Events of the load per CPU-second of the process.
    fn speed(&self, load: &Load, time: Duration) -> f64 {
        let (sent, cpu) = (load.sent(), self.cpu_seconds());
        std::thread::sleep(time);
        (load.sent() - sent) as f64 / (self.cpu_seconds() - cpu)
    }

    fn cpu_seconds(&self) -> f64 {
        tree_cpu_seconds(self.child.id())
    }

    fn stop(&mut self) {
        let id = self.child.id().to_string();
        let asked = std::process::Command::new("kill").args(["-TERM", &id]).status();
        assert!(asked.is_ok_and(|status| status.success()) && self.child.wait().is_ok_and(|status| status.success()));
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends events and looks for them.
struct Probe {
    producer: Producer,
    redis: redis::Connection,
    sent: u64,
}

impl Probe {
    fn new(kafka: &Kafka, place: &Place<'_>) -> Self {
        // At once: how long a producer gathers is not the matter here.
        let options = BTreeMap::from([("linger.ms".to_string(), "0".to_string())]);
        let producer = Producer::new(&kafka.brokers(), TOPIC, Codec::None, &options).expect("a producer");
        let client = redis::Client::open(place.redis.url()).expect("a url");
        Self { producer, redis: client.get_connection().expect("Redis"), sent: 0 }
    }

    /// The times of as many events as it goes on for.
    fn measure(&mut self, goes_on: impl Fn(Instant) -> bool) -> Times {
        let (began, mut taken) = (Instant::now(), Vec::new());
        while taken.is_empty() || goes_on(began) {
            let next = Instant::now() + PROBE_EVERY;
            taken.push(self.once().as_secs_f64() * 1e3);
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
        taken.sort_by(f64::total_cmp);
        Times(taken)
    }

    /// From an event's sending to its showing in Redis.
    fn once(&mut self) -> Duration {
        self.sent += 1;
        let (user, item) = (format!("probe{}", self.sent % 10), format!("i{}-{}", self.sent, now()));
        let (value, time) = event(&user, "click", &item);
        let record = Record { key: Some(user.as_bytes()), value: Some(&value), time: Some(time), ..Record::default() };
        let sent = Instant::now();
        self.producer.send(&record).expect("the probe is written");
        self.producer.flush(Duration::from_secs(10)).expect("the probe is written");
        let key = format!("features:{user}");
        loop {
            let shown: Option<String> =
                redis::cmd("HGET").arg(&key).arg("last_click").query(&mut self.redis).expect("Redis");
            if shown.as_deref() == Some(&item) {
                return sent.elapsed();
            }
            assert!(sent.elapsed() < Duration::from_secs(60), "a probe never showed");
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}
