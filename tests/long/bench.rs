//! `make bench`: events per CPU-second of the whole process with both sinks on, beside two limits of the same run.
//!
//! 8 features over 100,000 users (Zipf 1.0), JSON of 250 bytes, a real Kafka, a real Redis, Delta. The event time is spread
//! so that windows fill and empty; rows per event are printed, because they decide the cost: about 1 in one line, about
//! 3 in another. Then two topologies as they are shipped: the shop's on the same events, card fraud on its story's (out
//! of order, late and malformed ones among them), about as long. The last two lines are a pair: the same features on a
//! log of 83 minutes with 1-hour windows, and with every duration 2,160 times as long on the same log spread over 2,160
//! times as much event time (125 days): 90 days for 1 hour, and the same rows.
//!
//! Every program runs once a round, in turn, so that a slower minute of the machine slows all of them; a figure is the
//! median of its rounds, a share the median of the shares within each round.
//!
//! With `KAPPA_BENCH_BINARY=PATH` there is one table only: this build beside that one (`against`).

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use super::against;
use super::measure::children_cpu_seconds;
use super::produce;
use crate::support::generate::{FRAUD, SHOP};
use crate::support::kafka::Kafka;
use crate::support::verify::{Case, Place};

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, env = "KAPPA_EVENTS", default_value_t = 1_000_000)]
    pub events: u64,
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Another kappa to run beside this one
    #[arg(long, env = "KAPPA_BENCH_BINARY", value_name = "PATH")]
    against: Option<PathBuf>,
}

/// Events in a second of event time: 55 hours in all, so that 1-hour windows fill and empty many times over.
const PER_SECOND: f64 = 5.0;
/// The same for the pair.
const PER_SECOND_OF_PAIR: f64 = 200.0;
/// How much longer 90 days are than an hour.
const STRETCH: u64 = 2_160;
/// The topic of the limits and of most lines.
const TOPIC: &str = "bench";

/// One program of the table, and what each round said of it.
struct Line {
    what: &'static str,
    program: Program,
    rows: Option<f64>,
    speeds: Vec<f64>,
}

enum Program {
    /// A limit, by its name as a subcommand.
    Limit(&'static str),
    /// The real binary with the topology in this file.
    Kappa(PathBuf),
}

/// What a run of the real binary over a whole log took.
pub struct Run {
    pub rows: f64,
    pub cpu_seconds: f64,
}

/// Prints a table; every line is measured in this run.
pub fn run(arguments: &Arguments) -> String {
    let (kafka, events) = (Kafka::start_with_heap(1024), arguments.events);
    let dir = tempfile::tempdir().expect("a temporary directory");
    write_topic(&kafka, TOPIC, events, PER_SECOND);
    if let Some(other) = &arguments.against {
        return against::run(&kafka, other, arguments, dir.path());
    }
    write_topic(&kafka, "bench-1h", events, PER_SECOND_OF_PAIR);
    write_topic(&kafka, "bench-90d", events, PER_SECOND_OF_PAIR / STRETCH as f64);
    let fraud = Case::unread(&kafka, &FRAUD, FRAUD.yaml, events, 1, dir.path()).topology_file;
    let mut lines = lines(dir.path(), fraud);
    for round in 1..=arguments.rounds {
        for line in &mut lines {
            let (rows, speed) = match &line.program {
                Program::Limit(program) => (None, limit(&[program, "--brokers", &kafka.brokers()])),
                Program::Kappa(topology) => {
                    let Run { rows, cpu_seconds } = kappa(&kafka, Path::new(env!("CARGO_BIN_EXE_kappa")), topology);
                    (Some(rows / events as f64), events as f64 / cpu_seconds)
                }
            };
            eprintln!("round {round}: {}: {speed:.0} events per CPU-second", line.what);
            line.rows = rows;
            line.speeds.push(speed);
        }
    }
    table(&lines)
}

fn write_topic(kafka: &Kafka, topic: &str, events: u64, per_second: f64) {
    let written = produce::run(&produce::Arguments::new(&kafka.brokers(), topic, events, per_second));
    let bytes = written["bytes"].as_f64().expect("bytes") / events as f64;
    eprintln!("topic {topic}: {bytes:.1} bytes an event");
}

/// Writes a topology to a file of its own.
pub fn write_topology(dir: &Path, name: &str, yaml: &str) -> PathBuf {
    let file = dir.join(format!("{name}.yaml"));
    std::fs::write(&file, yaml).expect("the topology is written");
    file
}

fn lines(dir: &Path, fraud: PathBuf) -> Vec<Line> {
    let line = |what, program| Line { what, program, rows: None, speeds: Vec::new() };
    let kappa = |what, name: &str, yaml: &str| line(what, Program::Kappa(write_topology(dir, name, yaml)));
    let shop = SHOP.yaml.replace(&format!("topic: {}", SHOP.topic), &format!("topic: {TOPIC}"));
    vec![
        line("librdkafka's batch call", Program::Limit("baseline-consume")),
        line("the same + serde_json into a borrowed struct", Program::Limit("baseline-decode")),
        kappa("Kappa, about 1 row per event", "few", &few(TOPIC)),
        kappa("Kappa, about 3 rows per event", "many", &many(TOPIC, 1)),
        kappa("Kappa, topologies/shop.yaml", "shop", &shop),
        line("Kappa, topologies/fraud.yaml", Program::Kappa(fraud)),
        kappa("Kappa, 1 h windows", "bench-1h", &many("bench-1h", 1)),
        kappa("Kappa, 90 d windows, the same rows", "bench-90d", &many("bench-90d", STRETCH)),
    ]
}

fn table(lines: &[Line]) -> String {
    let shares = |of: &Line, limit: &Line| -> Vec<f64> {
        of.speeds.iter().zip(&limit.speeds).map(|(of, limit)| of / limit).collect()
    };
    let mut text = "| Program | Rows per event | Events per CPU-second | Of consume + decode |\n|---|---:|---:|---:|\n"
        .to_string();
    for line in lines {
        let rows = line.rows.map_or(String::new(), |rows| format!("{rows:.2}"));
        let (speed, share) = (median(line.speeds.clone()), median(shares(line, &lines[1])));
        text += &format!("| {} | {rows} | {} | {share:.2} |\n", line.what, grouped(speed));
    }
    let [.., short, long] = lines else { return text };
    let cost = median(shares(short, long));
    text + &format!("\n90 d windows take {cost:.2} times the CPU of 1 h windows.")
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `1,234,567`.
pub fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join(",")
}

/// A baseline in a process of its own: events per CPU-second.
pub fn limit(arguments: &[&str]) -> f64 {
    let output = Command::new(std::env::current_exe().expect("this program has a path"))
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .expect("the baseline starts");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a baseline answers in JSON");
    answer["events_per_cpu_s"].as_f64().expect("events per CPU-second")
}

/// This binary, or another build of it, to the end of a log.
pub fn kappa(kafka: &Kafka, program: &Path, topology: &Path) -> Run {
    replay(kafka, program, topology, &[])
}

/// The same with more arguments.
pub fn replay(kafka: &Kafka, program: &Path, topology: &Path, more: &[&str]) -> Run {
    let place = Place::new(kafka);
    let before = children_cpu_seconds();
    let mut command = place.binary(program, &["run", &topology.display().to_string(), "--until-caught-up"]);
    // The default again: a test's commits are small and many.
    command.args(["--set", "offline.commit_interval=60s"]).args(more);
    let output = command.stderr(Stdio::inherit()).output().expect("kappa starts");
    let cpu_seconds = children_cpu_seconds() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}: {}", program.display(), output.status);
    eprintln!("{}", text.trim());
    let rows = text.split("; ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|rows| rows.parse().ok());
    Run { rows: rows.expect("the summary tells the rows"), cpu_seconds }
}

/// A topology over the benchmark's topic, up to its features.
pub fn source(topic: &str) -> String {
    format!(
        "topology: bench\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  lateness: 5s\n  schema: {{user_id: string, \
         event: string, item_id: string, category: string, price: double, quantity: int64, ts: timestamp_ms}}\n\
         entities:\n  user:\n    key: user_id\n    features:\n"
    )
}

/// 8 features that look at two events in three.
pub fn few(topic: &str) -> String {
    let window = "window: 1h, slide: 5m";
    source(topic)
        + &format!(
            "      clicks:       {{count: \"*\", where: \"event = 'click'\", {window}}}
      carts:        {{count: \"*\", where: \"event = 'cart'\", {window}}}
      purchases:    {{count: \"*\", where: \"event = 'purchase'\", {window}}}
      spent:        {{sum: price, where: \"event = 'purchase'\", {window}}}
      dear_views:   {{count: \"*\", where: \"event = 'view' and price >= 300\", {window}}}
      largest:      {{max: price, where: \"event = 'purchase'\", window: lifetime}}
      last_click:   {{last: item_id, where: \"event = 'click'\", window: lifetime}}
      mean_price:   {{avg: price, where: \"event = 'purchase'\", window: lifetime}}
"
        )
}

/// 8 features that every event changes, over three windows that it leaves one after the other.
pub fn many(topic: &str, stretch: u64) -> String {
    let window = |minutes: u64, slide: u64| format!("window: {}m, slide: {}s", minutes * stretch, slide * stretch);
    let (long, middle, short) = (window(60, 60), window(30, 60), window(12, 20));
    source(topic)
        + &format!(
            "      events_long:  {{count: \"*\", {long}}}
      events_short: {{count: \"*\", {short}}}
      views_middle: {{count: \"*\", where: \"event = 'view'\", {middle}}}
      spent_long:   {{sum: price, where: \"event = 'purchase'\", {long}}}
      mean_price:   {{avg: price, {middle}}}
      largest:      {{max: price, {short}}}
      last_item:    {{last: item_id, {long}}}
      total:        {{sum: quantity, window: lifetime}}
"
        )
}
