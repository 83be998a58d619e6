//! A log means the same rows, however the work is cut and shared out; `make determinism` is the long form.

use crate::support::compare::Differences;
use crate::support::determinism::{Variant, replay_and_compare};
use crate::support::generate::SENSORS;
use crate::support::kafka;
use crate::support::verify::{Case, Place};

/// Sketches, decayed sums and variances: what would show first.
#[test]
fn replays_write_the_same_rows_to_the_last_bit() {
    let variants = [
        Variant { name: "whole", settings: &["workers=1", "kafka.poll_records=10000"], kills: 0 },
        Variant {
            name: "cut small",
            settings: &["workers=8", "kafka.poll_records=1", "epoch.max_rows=99", "bounds.cache_bytes=65536"],
            kills: 0,
        },
        Variant { name: "killed", settings: &["workers=2", "kafka.poll_records=100"], kills: 3 },
    ];
    let dir = tempfile::tempdir().unwrap();
    let case = Case::unread(kafka::shared(), &SENSORS, SENSORS.yaml, 20_000, 3, dir.path());
    let place = Place::new(kafka::shared());
    place.run(&case, &[]);
    for variant in &variants {
        let found = replay_and_compare(&place, &case, variant, 3);
        assert!(found.is_none() && found.expected > 20_000, "{}: {found}", variant.name);
    }
    // Nothing is the same as what is not there.
    let other = Place::new(kafka::shared());
    let dir = tempfile::tempdir().unwrap();
    let unlike = Case::unread(kafka::shared(), &SENSORS, SENSORS.yaml, 2_000, 3, dir.path());
    other.run(&unlike, &[]);
    let found: Differences = other.compare_histories(&unlike, 1, (&place, 1));
    assert!(found.lost > 10_000 && found.total() > found.lost, "{found}");
}
