//! `make bench`: events per CPU-second of the whole process with both sinks on, beside two limits of the same run.
//!
//! 8 features over 100,000 users (Zipf 1.0), JSON of 236 bytes, a real Kafka, a real Redis, Delta. The event time is spread
//! so that windows fill and empty; rows per event are printed, because they decide the cost. The last two lines are a
//! pair: the same features on a log of 83 minutes with 1-hour windows, and with every duration 2,160 times as long on
//! the same log spread over 2,160 times as much event time (125 days): 90 days for 1 hour.

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
}

/// Events in a second of event time: 55 hours in all, so that 1-hour windows fill and empty many times over.
const PER_SECOND: f64 = 5.0;
/// The same for the pair.
const PER_SECOND_OF_PAIR: f64 = 200.0;
/// How much longer 90 days are than an hour.
const STRETCH: u64 = 2_160;

/// Prints a table; every line is measured in this run.
pub fn run(arguments: &Arguments) -> &'static str {
    let kafka = Kafka::start_with_heap(1024);
    let stretched = PER_SECOND_OF_PAIR / STRETCH as f64;
    for (topic, per_second) in [("bench", PER_SECOND), ("bench-1h", PER_SECOND_OF_PAIR), ("bench-90d", stretched)] {
        produce::run(&produce::Arguments::new(&kafka.brokers(), topic, arguments.events, per_second));
    }
    println!("| program | rows per event | events per CPU-second | of consume + decode |");
    println!("|---|---:|---:|---:|");
    let limit = |program: &str| child(program, &kafka.brokers());
    let consume = limit("baseline-consume");
    let decode = limit("baseline-decode");
    line("librdkafka's batch call", None, consume, decode);
    line("the same + serde_json into a borrowed struct", None, decode, decode);
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (what, topic, yaml) in [
        ("kappa, few rows", "bench", few("bench")),
        ("kappa, many rows", "bench", many("bench", 1)),
        ("kappa, 1 h windows", "bench-1h", many("bench-1h", 1)),
        ("kappa, 90 d windows", "bench-90d", many("bench-90d", STRETCH)),
    ] {
        let file = dir.path().join(format!("{topic}.yaml"));
        std::fs::write(&file, yaml).expect("the topology is written");
        let (rows, speed) = kappa(&kafka, &file.display().to_string(), arguments.events);
        line(what, Some(rows), speed, decode);
    }
    "benched"
}

fn line(what: &str, rows: Option<f64>, speed: f64, decode: f64) {
    let rows = rows.map_or(String::new(), |rows| format!("{rows:.2}"));
    println!("| {what} | {rows} | {speed:.0} | {:.2} |", speed / decode);
}

/// A baseline in a process of its own: events per CPU-second.
fn child(program: &str, brokers: &str) -> f64 {
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

/// 8 features that look at four events in ten.
fn few(topic: &str) -> String {
    let (hour, slide) = ("1h", "5m");
    source(topic)
        + &format!(
            "      clicks:       {{count: \"*\", where: \"event = 'click'\", window: {hour}, slide: {slide}}}
      carts:        {{count: \"*\", where: \"event = 'cart'\", window: {hour}, slide: {slide}}}
      purchases:    {{count: \"*\", where: \"event = 'purchase'\", window: {hour}, slide: {slide}}}
      spent:        {{sum: price, where: \"event = 'purchase'\", window: {hour}, slide: {slide}}}
      mean_price:   {{avg: price, where: \"event = 'purchase'\", window: {hour}, slide: {slide}}}
      largest:      {{max: price, where: \"event = 'purchase'\", window: lifetime}}
      last_click:   {{last: item_id, where: \"event = 'click'\", window: lifetime}}
      total:        {{sum: quantity, where: \"event = 'purchase'\", window: lifetime}}
"
        )
}

/// 8 features that every event changes, over two windows that it leaves one after the other.
fn many(topic: &str, stretch: u64) -> String {
    let minutes = |n: u64| format!("{}m", n * stretch);
    let (hour, short, slide) = (minutes(60), minutes(12), minutes(1));
    source(topic)
        + &format!(
            "      events_long:  {{count: \"*\", window: {hour}, slide: {slide}}}
      events_short: {{count: \"*\", window: {short}, slide: {slide}}}
      views_long:   {{count: \"*\", where: \"event = 'view'\", window: {hour}, slide: {slide}}}
      spent_long:   {{sum: price, where: \"event = 'purchase'\", window: {hour}, slide: {slide}}}
      mean_price:   {{avg: price, window: {hour}, slide: {slide}}}
      largest:      {{max: price, window: {short}, slide: {slide}}}
      last_item:    {{last: item_id, window: {hour}, slide: {slide}}}
      total:        {{sum: quantity, window: lifetime}}
"
        )
}
