//! The real binary between a real Kafka, a real Redis and Delta, held against the oracle; `make verify` is the long
//! form.

use std::time::Duration;

use crate::support::generate::{FRAUD, SENSORS, SHOP, Story};
use crate::support::kafka;
use crate::support::verify::{Case, Place};

/// Live, run again, replayed, and killed with `kill -9`.
fn verify(story: &'static Story, events: u64, kills: u32) {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::new(kafka::shared(), story, story.yaml, events, 7, dir.path());
    let place = Place::new(kafka::shared());
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("the first run");
    // Nothing is left to do, and doing it again changes nothing.
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("run again");
    place.run(&case, &["--replay-from", "0", "--again"]);
    place.check(&case, 2).assert_clean("replayed");

    let killed = Place::new(kafka::shared());
    killed.kill_nine(&case, kills, Duration::from_millis(1500), 7);
    killed.run(&case, &[]);
    killed.check(&case, 1).assert_clean("killed");
}

#[test]
fn rows_and_online_values_of_a_shop_equal_the_oracle_live_replayed_and_killed() {
    verify(&SHOP, 40_000, 5);
}

#[test]
fn those_of_card_fraud_do() {
    verify(&FRAUD, 40_000, 3);
}

#[test]
fn those_of_sensors_do() {
    verify(&SENSORS, 40_000, 3);
}
