//! `make bench-serve`: features over HTTP, beside Feast's own server, on the same machine, in the same run.
//!
//! A real Kafka and a real run fill a Redis and an embedded store with `--users` entities of 10 features; Feast gets the
//! same values through its own write path into a Redis of its own. Then every server is asked the same questions by the
//! same client (`http_load`), one after the other: 1 entity and 100 of them, 10 features each, over 1 connection and
//! over 16, with answers that have every value. CPU is that of the server's processes, Redis's stands beside it; the
//! client's and the machine's other work are in the latencies, not in the CPU. Feast is tuned: no worker is recycled, no
//! access log, no registry refresh; with one worker and with two.
//!
//! The store may take 5 ms for an answer, as by default; for 100 entities it may take 50 ms, since 16 such requests at once
//! wait for each other in Redis, which has one thread.
//!
//! Last, 100 and 1,000 requests a second to a running pipeline that gets an eighth, and then half, of the records a second
//! that it can take here, beside the program that writes them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kappa::http::client;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::bench::grouped;
use super::http_load::{self, Answers, Questions};
use super::measure::tree_cpu_seconds;
use super::replay::Load;
use super::{bench, produce};
use crate::support::http;
use crate::support::kafka::Kafka;
use crate::support::redis::{RedisServer, free_port};
use crate::support::verify::Place;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    #[arg(long, default_value_t = 20_000)]
    users: usize,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// A Python with feast[redis]; without it only Kappa is measured
    #[arg(long, env = "KAPPA_FEAST_PYTHON")]
    feast: Option<String>,
}

const TOPIC: &str = "served";
/// The most frequent users, of whom every one has every feature.
const ASKED: usize = 5_000;
/// Requests of one kind; they are sent in turn.
const REQUESTS: usize = 1_000;
/// As `feast_repo.py` has them too.
const NAMES: [&str; 10] = [
    "events",
    "quantity",
    "spent",
    "mean_price",
    "largest",
    "smallest",
    "last_item",
    "last_category",
    "last_event",
    "first_item",
];
const FEATURES: &str = r#"
      events:        {count: "*", window: lifetime}
      quantity:      {sum: quantity, window: lifetime}
      spent:         {sum: price, window: lifetime}
      mean_price:    {avg: price, window: lifetime}
      largest:       {max: price, window: lifetime}
      smallest:      {min: price, window: lifetime}
      last_item:     {last: item_id, window: lifetime}
      last_category: {last: category, window: lifetime}
      last_event:    {last: event, window: lifetime}
      first_item:    {first: item_id, window: lifetime}
      last_at:       {last: ts, window: lifetime}
      warm:          {count: "*", half_life: 30d, window: lifetime}
    derived:
      since_last:    {sql: "now() - last_at", on: read}
"#;

/// One line of the table.
struct Line {
    server: String,
    what: &'static str,
    connections: usize,
    answers: Answers,
    /// Microseconds a request: of the server, and of its Redis.
    cpu: [f64; 2],
}

/// Prints the table; every line is measured in this run.
pub fn run(arguments: &Arguments) -> String {
    let kafka = Kafka::start_with_heap(768);
    let per_second = 20.0;
    let mut written = produce::Arguments::new(&kafka.brokers(), TOPIC, arguments.events, per_second);
    written.users = arguments.users;
    written.start = super::replay::now() - (arguments.events as f64 * 1000.0 / per_second) as i64;
    produce::run(&written);
    let (place, embedded) = (Place::new(&kafka), Place::new(&kafka));
    let file = place.path("served.yaml");
    std::fs::write(&file, bench::source(TOPIC) + FEATURES.trim_start_matches('\n')).expect("the topology is written");
    fill(&place, &file, &[]);
    fill(&embedded, &file, &["--set", "online.store=embedded"]);

    let mut lines = Vec::new();
    let time = Duration::from_secs(arguments.seconds);
    let patient = ["--set", "http.read_timeout=50ms"];
    for (place, name, store) in [(&place, "Kappa, Redis", "redis"), (&embedded, "Kappa, embedded", "embedded")] {
        let store = format!("online.store={store}");
        let command = ["serve", &file, "--set", &store];
        Server::kappa(place, &command, name).measure(&[questions(1), got(), computed()], time, &mut lines);
        Server::kappa(place, &[&command[..], &patient].concat(), name).measure(&[questions(100)], time, &mut lines);
    }
    match arguments.feast.as_ref().filter(|python| Path::new(python).exists()) {
        Some(python) => feast(python, &place, time, &mut lines),
        None => eprintln!("without KAPPA_FEAST_PYTHON, a Python that has feast[redis], only Kappa is measured"),
    }
    let under_load = beside_a_pipeline(&kafka, &place, &file, arguments.users, time);
    table(&lines) + "\n" + &ratios(&lines) + "\n" + &under_load
}

/// Runs to the end of the log.
fn fill(place: &Place<'_>, file: &str, more: &[&str]) {
    let mut command = place.kappa(&["run", file, "--until-caught-up", "--set", "offline.commit_interval=60s"]);
    let output = command.args(more).stderr(Stdio::inherit()).output().expect("kappa starts");
    assert!(output.status.success(), "{}", output.status);
    eprintln!("{}", String::from_utf8_lossy(&output.stdout).trim());
}

fn question(rng: &mut SmallRng, entities: usize, names: &[&str]) -> Vec<u8> {
    let user = |_| format!("u{}", rng.random_range(1..=ASKED));
    let ids: Vec<String> = (0..entities).map(user).collect();
    let features: Vec<String> = names.iter().map(|name| format!("user:{name}")).collect();
    let body = serde_json::json!({"features": features, "entities": {"user_id": ids}});
    http::post("/get-online-features", &body.to_string())
}

fn of(what: &'static str, entities: usize, names: &[&str]) -> Questions {
    let rng = &mut SmallRng::seed_from_u64(entities as u64);
    let requests = (0..REQUESTS).map(|_| question(rng, entities, names)).collect();
    // The keys are present too.
    Questions { what, requests, present: entities * (names.len() + 1) }
}

fn questions(entities: usize) -> Questions {
    of(if entities == 1 { "1 x 10" } else { "100 x 10" }, entities, &NAMES)
}

/// Two of ten features are not as they are stored.
fn computed() -> Questions {
    of("1 x 10, 2 computed as read", 1, &[&NAMES[..8], &["warm", "since_last"]].concat())
}

fn got() -> Questions {
    let path = |user: usize| format!("/v1/features/user/u{user}?names={}", NAMES.join(","));
    let request = |at: usize| http::get(&path(1 + at * 7_919 % ASKED));
    Questions { what: "1 x 10, GET", requests: (0..REQUESTS).map(request).collect(), present: NAMES.len() }
}

/// A server under measurement; it ends with this.
struct Server {
    name: String,
    child: Child,
    address: String,
    /// The Redis behind it.
    redis: Option<u32>,
}

impl Server {
    fn kappa(place: &Place<'_>, arguments: &[&str], name: &str) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = place.kappa(arguments);
        command.args(["--set", &format!("http.listen={address}")]);
        let redis = (!arguments.iter().any(|text| text.contains("embedded"))).then(|| place.redis.process_id());
        Self::start(command, address, "/ready", name, redis.flatten())
    }

    fn start(mut command: Command, address: String, page: &str, name: &str, redis: Option<u32>) -> Self {
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the server starts");
        let server = Self { name: name.to_string(), child, address, redis };
        let began = Instant::now();
        while !client::get(&server.address, page).is_ok_and(|answer| answer.status == 200) {
            assert!(began.elapsed() < Duration::from_secs(120), "{name} is not ready within two minutes");
            std::thread::sleep(Duration::from_millis(50));
        }
        server
    }

    fn cpu_seconds(&self) -> [f64; 2] {
        [tree_cpu_seconds(self.child.id()), self.redis.map_or(0.0, tree_cpu_seconds)]
    }

    fn measure(&self, questions: &[Questions], time: Duration, lines: &mut Vec<Line>) {
        for questions in questions {
            for connections in [1, 16] {
                // Connections, caches and branches warm up unmeasured.
                http_load::ask(&self.address, questions, connections, time / 5);
                let ask = || http_load::ask(&self.address, questions, connections, time);
                lines.push(self.line(questions.what, connections, ask));
            }
        }
    }

    fn line(&self, what: &'static str, connections: usize, ask: impl FnOnce() -> Answers) -> Line {
        let before = self.cpu_seconds();
        let answers = ask();
        let after = self.cpu_seconds();
        let requests = answers.taken.len() as f64 + answers.timeouts as f64;
        let cpu = [0, 1].map(|of| (after[of] - before[of]) * 1e6 / requests);
        let line = Line { server: self.name.clone(), what, connections, answers, cpu };
        eprintln!("{}", row(&line));
        line
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Feast's workers end with their parent, when that is asked to.
        let id = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &id]).status();
        let began = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && began.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Feast's server with one worker and with two, over a Redis that Feast has filled with what Kappa's has.
fn feast(python: &str, place: &Place<'_>, time: Duration, lines: &mut Vec<Line>) {
    let (redis, folder) = (RedisServer::start(&[]), tempfile::tempdir().expect("a temporary directory"));
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/long/feast_repo.py");
    let [from, to] = [&place.redis, &redis].map(|redis| format!("127.0.0.1:{}", redis.port()));
    let users = ASKED.to_string();
    let filled = Command::new(python).arg(script).arg(folder.path()).args([&from, &to, &users]).status();
    assert!(filled.is_ok_and(|status| status.success()), "{python} {script}");
    for workers in ["1", "2"] {
        let port = free_port();
        let mut command = Command::new(Path::new(python).with_file_name("feast"));
        command.current_dir(folder.path()).args(["serve", "--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--no-access-log", "--workers", workers, "--max-requests", "0", "--max-requests-jitter", "0"]);
        command.args(["--registry_ttl_sec", "86400"]).env("FEAST_USAGE", "False").stderr(Stdio::null());
        let name = format!("Feast, {workers} worker{}", if workers == "1" { "" } else { "s" });
        let server = Server::start(command, format!("127.0.0.1:{port}"), "/health", &name, redis.process_id());
        // A worker that has not answered yet imports and connects first.
        http_load::ask(&server.address, &questions(1), 16, Duration::from_secs(2));
        server.measure(&[questions(1), questions(100)], time, lines);
    }
}

/// Reads from a process that folds meanwhile: an eighth of what it can take, and half of it.
fn beside_a_pipeline(kafka: &Kafka, place: &Place<'_>, file: &str, users: usize, time: Duration) -> String {
    let commits = ["run", file, "--set", "offline.commit_interval=60s"];
    let mut server = Server::kappa(place, &commits, "");
    let most = most(kafka, &server, users, time);
    let mut lines = Vec::new();
    for share in [8.0, 2.0] {
        while lag(&server.address) > 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        let load = Load::start(kafka, TOPIC, users, (most / share) as u64);
        std::thread::sleep(Duration::from_secs(3));
        for rate in [100.0, 1_000.0] {
            server.name = format!("Kappa, {} records and {rate} requests a second", grouped(most / share));
            let ask = || http_load::paced(&server.address, &questions(1), 16, time, rate);
            lines.push(server.line("1 x 10", 16, ask));
        }
        eprintln!("{} records behind", lag(&server.address));
        drop(load);
    }
    table(&lines)
        + &format!(
            "\nIt can take {} records a second beside the program that writes them. CPU includes the folding.",
            grouped(most)
        )
}

/// How many records a second it folds when there are always more, beside the program that writes them.
fn most(kafka: &Kafka, server: &Server, users: usize, time: Duration) -> f64 {
    let load = Load::start(kafka, TOPIC, users, 1_000_000);
    std::thread::sleep(Duration::from_secs(2));
    let folded = || (sum(&server.address, "kappa_records_total{"), Instant::now());
    let (before, began) = folded();
    std::thread::sleep(time);
    let (after, ended) = folded();
    drop(load);
    (after - before) as f64 / (ended - began).as_secs_f64()
}

fn lag(address: &str) -> u64 {
    sum(address, "kappa_lag_records{")
}

/// Of all series that begin so.
fn sum(address: &str, name: &str) -> u64 {
    let text = client::get(address, "/metrics").expect("the process answers").body;
    let lines = text.lines().filter(|line| line.starts_with(name));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn table(lines: &[Line]) -> String {
    let head = "| Server | Asked for | Connections | p50, ms | p99, ms | Requests/s | CPU, us | Redis's CPU, us | Timeouts |\n\
                |---|---|---:|---:|---:|---:|---:|---:|---:|\n";
    lines.iter().map(row).fold(head.to_string(), |text, row| text + &row + "\n")
}

fn row(Line { server, what, connections, answers, cpu }: &Line) -> String {
    let (p50, p99) = (answers.quantile(0.5), answers.quantile(0.99));
    let redis = if cpu[1] > 0.0 { format!("{:.0}", cpu[1]) } else { String::new() };
    format!(
        "| {server} | {what} | {connections} | {p50:.2} | {p99:.2} | {} | {:.0} | {redis} | {:.2} % |",
        grouped(answers.per_second()),
        cpu[0],
        answers.timed_out()
    )
}

/// How many times Feast's requests a CPU-second, the better of its two, in the same question.
fn ratios(lines: &[Line]) -> String {
    let mut text = String::new();
    for what in ["1 x 10", "100 x 10"] {
        for connections in [1, 16] {
            let same = |line: &&Line| line.what == what && line.connections == connections;
            let cpu = |name: &str| {
                let of = lines.iter().filter(same).filter(|line| line.server.starts_with(name));
                of.map(|line| line.cpu[0]).min_by(f64::total_cmp)
            };
            let (Some(feast), Some(redis), Some(embedded)) =
                (cpu("Feast"), cpu("Kappa, Redis"), cpu("Kappa, embedded"))
            else {
                continue;
            };
            text += &format!(
                "{what}, {connections} connections: {:.0} times Feast's requests per CPU-second from Redis, {:.0} from the \
                 embedded store.\n",
                feast / redis,
                feast / embedded
            );
        }
    }
    text
}
