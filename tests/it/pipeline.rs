//! The real binary between a real Kafka, a real Redis and Delta, held against the oracle; `make verify` is the long
//! form of the first test.

use std::time::Duration;

use crate::support::kafka;
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

#[test]
fn rows_and_online_values_equal_the_oracle_live_replayed_and_killed() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, 40_000, 7, dir.path());
    let place = Place::new(kafka::shared());
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("the first run");
    // Nothing is left to do, and doing it again changes nothing.
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("run again");
    place.run(&case, &["--replay-from", "0", "--again"]);
    place.check(&case, 2).assert_clean("replayed");

    let killed = Place::new(kafka::shared());
    killed.kill_nine(&case, 5, Duration::from_millis(1500), 7);
    killed.run(&case, &[]);
    killed.check(&case, 1).assert_clean("killed five times");
}
