//! `make verify`: every shipped topology on a log of its own at full size, live, replayed and under `kill -9`.
//!
//! The live run is held against the oracle. The rows of the others must be those of the live run to the last bit; what
//! is online, the dead letters and the counts are held against the oracle each time. `KAPPA_TOPOLOGY`, `KAPPA_EVENTS`,
//! `KAPPA_SEED` and `KAPPA_PARTS` choose.

use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::support::generate::{STORIES, Story, story};
use crate::support::kafka::Kafka;
use crate::support::verify::{Case, Place, Report};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    log: Log,
    /// Parts, comma separated; all without one. The live run is what the others are held against: it is always there
    #[arg(long, env = "KAPPA_PARTS", value_delimiter = ',')]
    parts: Vec<Part>,
    /// How often the last run is killed
    #[arg(long, default_value_t = 5)]
    kills: u32,
}

/// Which logs.
#[derive(clap::Args)]
pub struct Log {
    /// Topologies, comma separated: shop, fraud, sensors
    #[arg(long = "topology", env = "KAPPA_TOPOLOGY", value_delimiter = ',', value_parser = story)]
    stories: Vec<&'static Story>,
    /// Events of each log
    #[arg(long, env = "KAPPA_EVENTS", default_value_t = 1_000_000)]
    pub events: u64,
    #[arg(long, env = "KAPPA_SEED", default_value_t = 1)]
    pub seed: u64,
}

impl Log {
    /// The stories that were chosen, or else these.
    pub fn stories_or(&self, all: &[&'static Story]) -> Vec<&'static Story> {
        if self.stories.is_empty() { all.to_vec() } else { self.stories.clone() }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Live,
    Replay,
    Kill,
}

impl Arguments {
    fn has(&self, part: Part) -> bool {
        self.parts.is_empty() || self.parts.contains(&part)
    }
}

/// Prints a line for each part and answers the total; panics when a part differs.
pub fn run(arguments: &Arguments) -> String {
    let (kafka, began) = (Kafka::start_with_heap(768), Instant::now());
    let mut total = Report::default();
    for story in arguments.log.stories_or(&STORIES) {
        verify(&kafka, story, arguments, &mut total);
    }
    format!("total: {total}; {:.0} s", began.elapsed().as_secs_f64())
}

fn verify(kafka: &Kafka, story: &'static Story, arguments: &Arguments, total: &mut Report) {
    let Log { events, seed, .. } = arguments.log;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut case = Case::unread(kafka, story, story.yaml, events, seed, dir.path());
    let place = Place::new(kafka);

    let ran = seconds(|| place.run(&case, &[]));
    let live = format!("{}, live", story.name);
    check(&live, ran, total, || place.check_first(&mut case, 1));
    if arguments.has(Part::Replay) {
        let mut version = 0;
        let ran = seconds(|| version = place.replay(&case, &[], 0, seed));
        let what = format!("{}, --replay-from 0 --again", story.name);
        check(&what, ran, total, || place.check_like(&case, version, (&place, 1)));
    }
    if arguments.has(Part::Kill) {
        let killed = Place::new(kafka);
        let ran = seconds(|| {
            killed.kill_nine(&case, arguments.kills, Duration::from_millis(2500), seed);
            killed.run(&case, &[]);
        });
        let what = format!("{}, kill -9, {} times", story.name, arguments.kills);
        check(&what, ran, total, || killed.check_like(&case, 1, (&place, 1)));
    }
    kafka.delete_topic(&case.topology.topic);
}

/// How long something takes.
pub fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn check(what: &str, ran: f64, total: &mut Report, report: impl FnOnce() -> Report) {
    let began = Instant::now();
    let report = report();
    println!("{what}: {report}; run {ran:.0} s, comparison {:.0} s", began.elapsed().as_secs_f64());
    report.assert_clean(what);
    total.add(report);
}
