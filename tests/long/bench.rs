//! `make bench`: events per CPU-second of the whole process with both sinks on, beside two limits of the same run.
//!
//! 8 features over 100,000 users (Zipf 1.0), JSON of 250 bytes, a real Kafka, a real Redis, Delta. The event time is spread
//! so that windows fill and empty; rows per event are printed, because they decide the cost: about 1 in one line, about
//! 3 in another. The last two lines are a pair: the same features on a log of 83 minutes with 1-hour windows, and with
//! every duration 2,160 times as long on the same log spread over 2,160 times as much event time (125 days): 90 days
//! for 1 hour, and the same rows.
//!
//! Every program runs once a round, in turn, so that a slower minute of the machine slows all of them; a figure is the
//! median of its rounds, a share the median of the shares within each round.

use std::process::{Command, Stdio};

use serde_json::Value;

use super::measure::children_cpu_seconds;
use super::produce;
use crate::support::kafka::Kafka;
use crate::support::verify::Place;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

/// Events in a second of event time: 55 hours in all, so that 1-hour windows fill and empty many times over.
const PER_SECOND: f64 = 5.0;
/// The same for the pair.
const PER_SECOND_OF_PAIR: f64 = 200.0;
/// How much longer 90 days are than an hour.
const STRETCH: u64 = 2_160;

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
    /// The real binary over this topic with this topology.
    Kappa(&'static str, String),
}

/// Prints a table; every line is measured in this run.
pub fn run(arguments: &Arguments) -> String {
    let kafka = Kafka::start_with_heap(1024);
    let stretched = PER_SECOND_OF_PAIR / STRETCH as f64;
    for (topic, per_second) in [("bench", PER_SECOND), ("bench-1h", PER_SECOND_OF_PAIR), ("bench-90d", stretched)] {
        let written = produce::run(&produce::Arguments::new(&kafka.brokers(), topic, arguments.events, per_second));
        let bytes = written["bytes"].as_f64().expect("bytes") / arguments.events as f64;
        eprintln!("topic {topic}: {bytes:.1} bytes an event");
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut lines = lines();
    for round in 1..=arguments.rounds {
        for line in &mut lines {
            let (rows, speed) = match &line.program {
                Program::Limit(program) => (None, limit(program, &kafka.brokers())),
                Program::Kappa(topic, yaml) => {
                    let file = dir.path().join(format!("{topic}.yaml"));
                    std::fs::write(&file, yaml).expect("the topology is written");
                    let (rows, speed) = kappa(&kafka, &file.display().to_string(), arguments.events);
                    (Some(rows), speed)
                }
            };
            eprintln!("round {round}: {}: {speed:.0} events per CPU-second", line.what);
            line.rows = rows;
            line.speeds.push(speed);
        }
    }
    table(&lines)
}

fn lines() -> Vec<Line> {
    let line = |what, program| Line { what, program, rows: None, speeds: Vec::new() };
    vec![
        line("librdkafka's batch call", Program::Limit("baseline-consume")),
        line("the same + serde_json into a borrowed struct", Program::Limit("baseline-decode")),
        line("Kappa, about 1 row per event", Program::Kappa("bench", few("bench"))),
        line("Kappa, about 3 rows per event", Program::Kappa("bench", many("bench", 1))),
        line("Kappa, 1 h windows", Program::Kappa("bench-1h", many("bench-1h", 1))),
        line("Kappa, 90 d windows, the same rows", Program::Kappa("bench-90d", many("bench-90d", STRETCH))),
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

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// `1,234,567`.
fn grouped(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let parts: Vec<&str> =
        digits.as_bytes().rchunks(3).rev().filter_map(|part| std::str::from_utf8(part).ok()).collect();
    parts.join(",")
}

/// A baseline in a process of its own: events per CPU-second.
fn limit(program: &str, brokers: &str) -> f64 {
    let output = Command::new(std::env::current_exe().expect("this program has a path"))
        .args([program, "--brokers", brokers])
        .stderr(Stdio::inherit())
        .output()
        .expect("the baseline starts");
    let answer: Value = serde_json::from_slice(&output.stdout).expect("a baseline answers in JSON");
    answer["events_per_cpu_s"].as_f64().expect("events per CPU-second")
}

/// The real binary to the end of the log: rows per event, and events per CPU-second of its whole process.
fn kappa(kafka: &Kafka, topology: &str, events: u64) -> (f64, f64) {
    let place = Place::new(kafka);
    let before = children_cpu_seconds();
    let mut command = place.kappa(&["run", topology, "--until-caught-up", "--set", "offline.commit_interval=60s"]);
    let output = command.stderr(Stdio::inherit()).output().expect("kappa starts");
    let cpu = children_cpu_seconds() - before;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "kappa: {}", output.status);
    let rows =
        text.split("; ").nth(1).and_then(|rest| rest.split(' ').next()).and_then(|rows| rows.parse::<f64>().ok());
    eprintln!("{}", text.trim());
    (rows.expect("the summary tells the rows") / events as f64, events as f64 / cpu)
}

fn source(topic: &str) -> String {
    format!(
        "topology: bench\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  lateness: 5s\n  schema: {{user_id: string, \
         event: string, item_id: string, category: string, price: double, quantity: int64, ts: timestamp_ms}}\n\
         entities:\n  user:\n    key: user_id\n    features:\n"
    )
}

/// 8 features that look at two events in three.
fn few(topic: &str) -> String {
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
fn many(topic: &str, stretch: u64) -> String {
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
