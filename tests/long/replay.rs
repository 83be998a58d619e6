//! `make bench-replay`: how fast the past is read beside a version that serves, and how fresh that one stays meanwhile.
//!
//! A topic with `--events` events of the benchmark is written. Version 1 reads it, and from then on serves a live load of
//! `--rate` events a second. Speed: events per CPU-second of the process that serves the load, beside those of a process
//! that only replays the topic. Freshness: a probe sends an event every 20 ms and looks into Redis until it shows; its
//! quiet 99th percentile is held against the one during a replay in the same process at full speed, and at half of it
//! (`--max-rate`). Everything is measured in this run.

use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kappa::http::client;
use kappa::source::{Codec, Record};

use super::measure::children_cpu_seconds;
use super::{bench, produce};
use crate::support::kafka::Kafka;
use crate::support::producer;
use crate::support::redis::free_port;
use crate::support::verify::Place;

const TOPIC: &str = "replayed";
const PROBE_EVERY: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 3_000_000)]
    events: u64,
    /// Events a second of the live load
    #[arg(long, default_value_t = 5_000)]
    rate: u64,
    /// Seconds of each quiet measurement
    #[arg(long, default_value_t = 30)]
    seconds: u64,
}

/// Prints the figures.
pub fn run(arguments: &Arguments) -> String {
    let kafka = Kafka::start_with_heap(1024);
    // Event times up to now, so that the live load goes on where the topic ends.
    let per_second = 20.0;
    let mut written = produce::Arguments::new(&kafka.brokers(), TOPIC, arguments.events, per_second);
    written.start = now() - (arguments.events as f64 * 1000.0 / per_second) as i64;
    produce::run(&written);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("replayed.yaml");
    std::fs::write(&file, bench::few(TOPIC)).expect("the topology is written");
    let file = file.display().to_string();
    let place = Place::new(&kafka);
    let bounded = place.kappa(&["run", &file, "--until-caught-up"]).output().expect("kappa starts");
    assert!(bounded.status.success(), "{}", String::from_utf8_lossy(&bounded.stderr));

    let load = Load::start(&kafka, arguments.rate);
    let mut served = Served::start(&place, &file, &[]);
    served.wait_until_ready();
    let live = served.speed(&load, Duration::from_secs(arguments.seconds));
    let quiet = probe(&kafka, &place, |began| began.elapsed() < Duration::from_secs(arguments.seconds));

    // A process of its own that replays and leaves: its CPU is the replay's alone.
    let before = children_cpu_seconds();
    let replayed =
        place.kappa(&["run", &file, "--replay-from", "0", "--again", "--no-promote", "--until-caught-up"]).output();
    let replayed = replayed.expect("kappa starts");
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let said = String::from_utf8_lossy(&replayed.stdout).into_owned();
    let records: f64 =
        said.split(' ').nth(2).and_then(|text| text.parse().ok()).expect("the summary tells the records");
    let replay = records / (children_cpu_seconds() - before);
    served.stop();

    let (full, seconds) = beside(&kafka, &place, &file, &[]);
    let half = ((arguments.events as f64 / seconds / 2.0) as u64).max(1).to_string();
    let (paced, _) = beside(&kafka, &place, &file, &["--max-rate", &half]);
    drop(load);
    format!(
        "| Measured | Live | Replay | Ratio |\n|---|---:|---:|---:|\n| events per CPU-second | {live:.0} | {replay:.0} | {:.2} |\n\
         | p99 freshness, replay at full speed, ms | {quiet:.1} | {full:.1} | {:.2} |\n\
         | p99 freshness, replay at half speed, ms | {quiet:.1} | {paced:.1} | {:.2} |",
        replay / live,
        full / quiet,
        paced / quiet
    )
}

/// The 99th percentile, in ms, while a replay runs in the process that serves, and the replay's seconds.
fn beside(kafka: &Kafka, place: &Place<'_>, file: &str, more: &[&str]) -> (f64, f64) {
    let arguments = [&["--replay-from", "0", "--again", "--no-promote"], more].concat();
    let mut served = Served::start(place, file, &arguments);
    served.wait_until_ready();
    let began = Instant::now();
    let building = || served.standing().is_some_and(|standing| standing == "building");
    let freshness = probe(kafka, place, |_| building());
    let seconds = began.elapsed().as_secs_f64();
    served.stop();
    (freshness, seconds)
}

fn now() -> i64 {
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
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    fn start(kafka: &Kafka, rate: u64) -> Self {
        let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let producer = producer::producer(kafka, TOPIC, Codec::Lz4);
        let (over, count) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = std::thread::spawn(move || {
            let began = Instant::now();
            while !over.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * rate as f64) as u64;
                for number in count.load(Ordering::Relaxed)..due {
                    let user = format!("u{}", 1 + number.wrapping_mul(2_654_435_761) % 100_000);
                    let kind = ["view", "click", "cart", "purchase"][(number % 4) as usize];
                    let (value, time) = event(&user, kind, "i000001");
                    let record = Record {
                        key: Some(user.as_bytes()),
                        value: Some(&value),
                        time: Some(time),
                        ..Record::default()
                    };
                    producer.send(&record).expect("the load is written");
                }
                count.fetch_max(due, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { stop, sent, thread: Some(thread) }
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
    fn start(place: &Place<'_>, file: &str, more: &[&str]) -> Self {
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

    /// Where the newest version stands.
    fn standing(&self) -> Option<String> {
        let status = client::get(&self.address, "/v1/status").ok()?;
        let status: serde_json::Value = serde_json::from_str(&status.body).ok()?;
        Some(status["versions"].as_array()?.last()?["version"]["standing"].as_str()?.to_string())
    }

    /// Events of the load per CPU-second of the process.
    fn speed(&self, load: &Load, time: Duration) -> f64 {
        let (sent, cpu) = (load.sent.load(Ordering::Relaxed), self.cpu_seconds());
        std::thread::sleep(time);
        (load.sent.load(Ordering::Relaxed) - sent) as f64 / (self.cpu_seconds() - cpu)
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let after = stat.rsplit(')').next().unwrap_or_default();
        let fields = after.split_whitespace().skip(11).take(2);
        fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
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

/// The 99th percentile, in ms, of the time from an event's sending to its showing in Redis.
fn probe(kafka: &Kafka, place: &Place<'_>, goes_on: impl Fn(Instant) -> bool) -> f64 {
    let producer = producer::producer(kafka, TOPIC, Codec::None);
    let mut redis = redis::Client::open(place.redis.url()).and_then(|client| client.get_connection()).expect("Redis");
    let (began, mut taken) = (Instant::now(), Vec::new());
    for number in 0.. {
        if !goes_on(began) {
            break;
        }
        let (user, item) = (format!("probe{}", number % 10), format!("i{number}-{}", began.elapsed().as_nanos()));
        let (value, time) = event(&user, "click", &item);
        let sent = Instant::now();
        let record = Record { key: Some(user.as_bytes()), value: Some(&value), time: Some(time), ..Record::default() };
        producer.send(&record).expect("the probe is written");
        producer.flush(Duration::from_secs(10)).expect("the probe is written");
        let key = format!("features:{user}");
        loop {
            let shown: Option<String> =
                redis::cmd("HGET").arg(&key).arg("last_click").query(&mut redis).expect("Redis");
            if shown.as_deref() == Some(&item) {
                break;
            }
            assert!(sent.elapsed() < Duration::from_secs(60), "a probe never showed");
            std::thread::sleep(Duration::from_micros(200));
        }
        taken.push(sent.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(PROBE_EVERY.saturating_sub(sent.elapsed()));
    }
    taken.sort_by(f64::total_cmp);
    let at = |share: f64| taken.get((taken.len() as f64 * share) as usize).copied().unwrap_or(f64::NAN);
    eprintln!("{} probes: p50 {:.1} ms, p99 {:.1} ms", taken.len(), at(0.5), at(0.99));
    at(0.99)
}
