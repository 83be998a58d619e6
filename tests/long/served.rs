//! `make verify-served`: 100,000 reads of a live run at random moments, each against its row of the history or the law,
//! and against training data for its moment.

use crate::support::kafka::Kafka;
use crate::support::served::{Scale, verify, watch};
use crate::support::verify::Place;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, env = "KAPPA_READS", default_value_t = 100_000)]
    reads: u64,
    #[arg(long, default_value_t = 5_000)]
    users: usize,
    /// Records in each burst of a second
    #[arg(long, default_value_t = 3_000)]
    burst: u64,
}

/// The report; fails when a read differs.
pub fn run(arguments: &Arguments) -> String {
    let kafka = Kafka::start_with_heap(768);
    let place = Place::new(&kafka);
    let scale = Scale { reads: arguments.reads, users: arguments.users, partitions: 8, burst: arguments.burst };
    let watched = watch(&kafka, &place, &scale);
    let (code, report, said) = verify(&place, &watched, &watched.log);
    assert_eq!(code, Some(0), "{said}\n{report:#}");
    format!("{report:#}")
}
