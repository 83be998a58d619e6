//! `make verify`: the shop's log at full size, live, replayed and under `kill -9`, all held against the oracle.

use std::time::{Duration, Instant};

use crate::support::kafka::Kafka;
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

#[derive(clap::Args)]
pub struct Arguments {
    /// Events of the log
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How often the last run is killed
    #[arg(long, default_value_t = 5)]
    kills: u32,
}

/// Prints a line for each run; panics on the first difference.
pub fn run(arguments: &Arguments) -> &'static str {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let kafka = Kafka::start_with_heap(768);
    let began = Instant::now();
    let case = Case::shop(&kafka, SHOP, arguments.events, arguments.seed, dir.path());
    println!("log written and read by the oracle in {:.0} s", began.elapsed().as_secs_f64());
    let place = Place::new(&kafka);
    for (what, version, more) in
        [("live", 1, &[][..]), ("--replay-from 0 --again", 2, &["--replay-from", "0", "--again"][..])]
    {
        let began = Instant::now();
        place.run(&case, more);
        let seconds = began.elapsed().as_secs_f64();
        let report = place.check(&case, version);
        println!("{what} ({seconds:.0} s): {report}");
        report.assert_clean(what);
    }
    let killed = Place::new(&kafka);
    killed.kill_nine(&case, arguments.kills, Duration::from_millis(2500), arguments.seed);
    killed.run(&case, &[]);
    let report = killed.check(&case, 1);
    println!("kill -9, {} times: {report}", arguments.kills);
    report.assert_clean("killed");
    "verified"
}
