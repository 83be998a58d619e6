//! `make determinism`: a log live, and then replayed with 1, 2 and 8 workers, polls of 1, 100 and 10,000 records, and
//! killed at random points: the same rows to the last bit. The shop's story, unless `KAPPA_TOPOLOGY` names others;
//! `KAPPA_EVENTS` and `KAPPA_SEED` choose too.

use crate::support::compare::Differences;
use crate::support::determinism::{VARIANTS, replay_and_compare};
use crate::support::generate::{SHOP, Story};
use crate::support::kafka::Kafka;
use crate::support::verify::{Case, Place};
use crate::verify::{Log, seconds};

#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    log: Log,
}

/// Prints a line for each replay and answers the total; panics when a row differs.
pub fn run(arguments: &Arguments) -> String {
    let kafka = Kafka::start_with_heap(768);
    let mut total = Differences::default();
    for story in arguments.log.stories_or(&[&SHOP]) {
        determine(&kafka, story, &arguments.log, &mut total);
    }
    format!("total: {total}")
}

fn determine(kafka: &Kafka, story: &'static Story, log: &Log, total: &mut Differences) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let case = Case::unread(kafka, story, story.yaml, log.events, log.seed, dir.path());
    let place = Place::new(kafka);
    let took = seconds(|| place.run(&case, &[]));
    println!("{}, live: {took:.0} s", story.name);
    for (number, variant) in (1u64..).zip(&VARIANTS) {
        let mut found = Differences::default();
        let took = seconds(|| found = replay_and_compare(&place, &case, variant, log.seed + number));
        println!("{}, {}: {found}; {took:.0} s", story.name, variant.name);
        assert!(found.is_none() && found.expected > 0, "{}, {}: {found}", story.name, variant.name);
        total.merge(found);
    }
    kafka.delete_topic(&case.topology.topic);
}
