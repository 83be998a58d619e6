//! `make bench-archive`: events per CPU-second of reading the archive beside reading Kafka, the same records looked at in
//! the same way, and of the same replay from both; and what keeping costs.
//!
//! The benchmark's topic (8 partitions, JSON of 250 bytes, lz4 in Kafka), a real Kafka, the archive in a local directory.
//! Every program runs once a round, in turn, in a process of its own; a figure is the median of its rounds, a ratio the
//! median of the ratios within each round. Kafka's own CPU is not counted: that of the archive's store would not be
//! either.

use std::path::Path;

use super::bench::{few, grouped, limit, median, replay};
use super::measure::children_cpu_seconds;
use super::produce;
use crate::support::kafka::Kafka;
use crate::support::verify::Place;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

const TOPIC: &str = "bench";
/// Events in a second of event time, as in `make bench`.
const PER_SECOND: f64 = 5.0;

/// Prints two tables; every line is measured in this run.
pub fn run(arguments: &Arguments) -> String {
    let kafka = Kafka::start_with_heap(1024);
    let written = produce::run(&produce::Arguments::new(&kafka.brokers(), TOPIC, arguments.events, PER_SECOND));
    let events = arguments.events as f64;
    let raw = written["bytes"].as_f64().expect("bytes");
    let place = Place::new(&kafka);
    let topology = place.path("bench.yaml");
    std::fs::write(&topology, few(TOPIC)).expect("the topology is written");
    let keeping = keep(&place, &topology, events);

    let (url, brokers) = (place.path("archive"), kafka.brokers());
    let at = format!("archive.url={url}");
    let (program, file) = (Path::new(env!("CARGO_BIN_EXE_kappa")), Path::new(&topology));
    let replayed = |more: &[&str]| events / replay(&kafka, program, file, more).cpu_seconds;
    let mut figures: [Vec<f64>; 4] = Default::default();
    for round in 1..=arguments.rounds {
        let speeds = [
            limit(&["baseline-source", "--brokers", &brokers]),
            limit(&["baseline-archive", "--url", &url]),
            replayed(&["--replay-from", "0"]),
            replayed(&["--replay-from", "archive", "--set", &at]),
        ];
        eprintln!("round {round}: {speeds:.0?} events per CPU-second");
        figures.iter_mut().zip(speeds).for_each(|(figures, speed)| figures.push(speed));
    }
    let stored = size(Path::new(&url));
    table(&figures, &keeping)
        + &format!(
            "\nThe archive has {:.0} bytes a record, of {:.0} in the values.",
            stored / events,
            raw / arguments.events as f64
        )
}

/// Events per CPU-second of `kappa archive`.
fn keep(place: &Place<'_>, topology: &str, events: f64) -> String {
    let before = children_cpu_seconds();
    let output = place.kappa(&["archive", topology, "--until-caught-up"]).output().expect("kappa starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    grouped(events / (children_cpu_seconds() - before))
}

fn table(figures: &[Vec<f64>; 4], keeping: &str) -> String {
    let [kafka, archive, from_kafka, from_archive] = figures;
    let ratio = |of: &[f64], to: &[f64]| median(of.iter().zip(to).map(|(of, to)| of / to).collect());
    let mut text = "| What | From Kafka | From the archive | Ratio |\n|---|---:|---:|---:|\n".to_string();
    for (what, kafka, archive) in [
        ("Read into batches, every record looked at", kafka, archive),
        ("Replayed, about 1 row per event", from_kafka, from_archive),
    ] {
        let cells = [kafka, archive].map(|speeds| grouped(median(speeds.clone())));
        text += &format!("| {what} | {} | {} | {:.2} |\n", cells[0], cells[1], ratio(archive, kafka));
    }
    text + &format!("\nIn events per CPU-second of the whole process. Keeping: {keeping}.")
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> f64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => size(&entry.path()),
            Ok(found) => found.len() as f64,
            Err(_) => 0.0,
        })
        .sum()
}
