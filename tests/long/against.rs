//! `KAPPA_BENCH_BINARY=PATH make bench`: this build beside another one, over the same log with topologies that both read.
//!
//! Each round runs both once for each topology, in an order that changes from round to round, so that a slower minute of
//! the machine slows both; a figure is the median of its rounds, a ratio the median of the ratios within each round.

use std::path::{Path, PathBuf};

use super::bench::{Arguments, Run, few, kappa, many, median, write_topology};
use crate::support::kafka::Kafka;

/// Counts, sums, averages and extremes over sliding, session and lifetime windows: every build reads it.
const NARROW: &str = include_str!("narrow.yaml");

struct Line {
    what: &'static str,
    topology: PathBuf,
    /// Of this build and of the other, round by round.
    runs: [Vec<Run>; 2],
}

/// The table: CPU seconds of this build and of the other, and how many times as many this one takes.
pub fn run(kafka: &Kafka, other: &Path, arguments: &Arguments, dir: &Path) -> String {
    let programs = [Path::new(env!("CARGO_BIN_EXE_kappa")), other];
    let line =
        |what, name, yaml: &str| Line { what, topology: write_topology(dir, name, yaml), runs: [vec![], vec![]] };
    let mut lines = [
        line("tests/long/narrow.yaml", "narrow", NARROW),
        line("8 features, about 1 row per event", "few", &few("bench")),
        line("8 features, about 3 rows per event", "many", &many("bench", 1)),
    ];
    for round in 0..arguments.rounds {
        for line in &mut lines {
            for turn in 0..2 {
                let which = (round + turn) % 2;
                let run = kappa(kafka, programs[which], &line.topology);
                eprintln!("round {}: {}: {}: {:.2} s", round + 1, line.what, ["this", "other"][which], run.cpu_seconds);
                line.runs[which].push(run);
            }
        }
    }
    table(&lines, arguments.events as f64)
}

fn table(lines: &[Line], events: f64) -> String {
    let mut text = "| Topology | Rows per event, this and other | CPU seconds, this and other | This by other |\n\
                    |---|---:|---:|---:|\n"
        .to_string();
    for Line { what, runs: [this, other], .. } in lines {
        let rows = [this, other].map(|runs| runs.last().map_or(f64::NAN, |run| run.rows / events));
        let seconds = [this, other].map(|runs| median(runs.iter().map(|run| run.cpu_seconds).collect()));
        let ratios = this.iter().zip(other).map(|(this, other)| this.cpu_seconds / other.cpu_seconds);
        text += &format!(
            "| {what} | {:.2}, {:.2} | {:.2}, {:.2} | {:.3} |\n",
            rows[0],
            rows[1],
            seconds[0],
            seconds[1],
            median(ratios.collect())
        );
    }
    text
}
