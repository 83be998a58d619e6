//! A live run that is read at random moments: the reads as a log, held against the history by `kappa verify served`.
//!
//! Records come in bursts with pauses between, so that the clock refreshes what the log has left alone; windows are short,
//! so that values change with time alone. The reader asks for random entities, some of which never had a record, and
//! writes every answer down as it came.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kappa::source::{Codec, Record};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::http::{self, Connection};
use super::kafka::Kafka;
use super::producer;
use super::running::{Live, free_address, is_ready, wait_until};
use super::verify::Place;

/// What is read: every kind of window that time changes, exact and inexact, stored and computed.
const TOPOLOGY: &str = r#"
topology: watched
source:
  topic: TOPIC
  format: json
  event_time: ts
  lateness: 500ms
  schema: {user: string, kind: string, price: double, ts: timestamp_ms}
entities:
  user:
    key: user
    features:
      views_5s:   {count: "*", where: "kind = 'view'", window: 5s, slide: 1s}
      spent_3s:   {sum: price, window: 3s, slide: 1s}
      mean_20s:   {avg: price, window: 20s, slide: 2s}
      session:    {count: "*", where: "kind <> 'view'", window: {session: 2s}}
      dearest:    {max: price, window: 4s, slide: 500ms}
      kinds:      {count: "*", by: kind, window: 10s, slide: 1s}
      last_kinds: {last_k: kind, k: 3, window: 6s, slide: 1s}
      warm:       {sum: price, half_life: 10s, window: lifetime}
      last_at:    {last: ts, window: lifetime}
      total:      {sum: price, window: lifetime}
    derived:
      per_view:   "spent_3s / nullif(views_5s, 0)"
      since_last: {sql: "now() - last_at", on: read}
"#;

/// How much of it.
pub struct Scale {
    pub reads: u64,
    pub users: usize,
    pub partitions: i32,
    /// Records in a burst.
    pub burst: u64,
}

/// A log of reads, and where it can be verified.
pub struct Watched {
    pub topology: PathBuf,
    pub log: PathBuf,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right").as_millis() as i64
}

fn send(producer: &kappa::source::Producer, partition: Option<i32>, user: &str, kind: &str, price: f64) {
    let time = now();
    let value = format!("{{\"user\":\"{user}\",\"kind\":\"{kind}\",\"price\":{price},\"ts\":{time}}}");
    let record = Record {
        partition,
        key: Some(user.as_bytes()),
        value: Some(value.as_bytes()),
        time: Some(time),
        ..Record::default()
    };
    producer.send(&record).expect("the record is written");
}

/// Runs, writes and reads until there are so many reads; then the log moves on, and the run ends with all committed.
pub fn watch(kafka: &Kafka, place: &Place<'_>, scale: &Scale) -> Watched {
    let topic = kafka.new_topic("watched", scale.partitions);
    let (topology, log) = (PathBuf::from(place.path("watched.yaml")), PathBuf::from(place.path("reads.jsonl")));
    std::fs::write(&topology, TOPOLOGY.replace("TOPIC", &topic)).expect("the topology is written");
    let (address, listen) = free_address();
    // The machine is busy: what the store takes is not what is looked at.
    let settings = ["--set", &listen, "--set", "idle_after=200ms", "--set", "http.read_timeout=10s"];
    let live = Live::start(place, &topology, &settings);
    wait_until("the run is ready", || is_ready(&address));
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| bursts(kafka, &topic, scale, &over));
        read(&address, scale, &log);
        over.store(true, Ordering::Relaxed);
        writer.join().expect("the records are written");
    });
    // The timers that the clock has fired come into the history when the log has passed them.
    std::thread::sleep(Duration::from_secs(1));
    let producer = producer::producer(kafka, &topic, Codec::None);
    (0..scale.partitions).for_each(|partition| {
        send(&producer, Some(partition), &format!("last of {partition}"), "view", 1.0);
    });
    producer.flush(Duration::from_secs(30)).expect("the records are written");
    wait_until("the last records are online", || {
        (0..scale.partitions).all(|partition| {
            let path = format!("/v1/features/user/last%20of%20{partition}");
            super::running::page(&address, &path).is_some_and(|(status, _)| status == 200)
        })
    });
    assert_eq!(live.terminate().0, Some(0));
    Watched { topology, log }
}

/// A burst, and then silence for a while, again and again.
fn bursts(kafka: &Kafka, topic: &str, scale: &Scale, over: &AtomicBool) {
    let producer = producer::producer(kafka, topic, Codec::Lz4);
    let rng = &mut SmallRng::seed_from_u64(7);
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        for sent in 0..scale.burst {
            let user = format!("u{}", rng.random_range(0..scale.users));
            let kind = ["view", "click", "buy"][rng.random_range(0..3)];
            send(&producer, None, &user, kind, f64::from(rng.random_range(1..10_000_u32)) / 100.0);
            // Spread over a second.
            let due = Duration::from_micros(sent * 1_000_000 / scale.burst);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        producer.flush(Duration::from_secs(30)).expect("the records are written");
        std::thread::sleep(Duration::from_millis(rng.random_range(500..3_000)));
    }
}

/// Asks for random entities, of which one in fifty never had a record, and keeps every answer.
fn read(address: &str, scale: &Scale, log: &Path) {
    let rng = &mut SmallRng::seed_from_u64(11);
    let mut log = std::io::BufWriter::new(std::fs::File::create(log).expect("the log is made"));
    let mut connection = Connection::open(address);
    for _ in 0..scale.reads {
        let id = match rng.random_ratio(1, 50) {
            true => format!("nobody{}", rng.random_range(0..scale.users)),
            false => format!("u{}", rng.random_range(0..scale.users)),
        };
        let request = http::get(&format!("/v1/features/user/{id}"));
        let line = match connection.send(&request) {
            (200, body) => String::from_utf8_lossy(body).into_owned(),
            (404, _) => json!({"entity": "user", "id": id, "read_at": now()}).to_string(),
            (status, body) => panic!("{id}: {status}: {}", String::from_utf8_lossy(body)),
        };
        writeln!(log, "{line}").expect("the log is written");
        std::thread::sleep(Duration::from_micros(rng.random_range(0..4_000)));
    }
    log.flush().expect("the log is written");
}

/// What `kappa verify served` says of a log, and its exit code.
pub fn verify(place: &Place<'_>, watched: &Watched, log: &Path) -> (Option<i32>, Value, String) {
    let [log, topology] = [log, &watched.topology].map(|path| path.display().to_string());
    let mut command = place.kappa(&["verify", "served", &log, "--topology", &topology, "--json"]);
    let output = command.stderr(std::process::Stdio::piped()).output().expect("kappa starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (output.status.code(), report, said)
}
