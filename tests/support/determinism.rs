//! Replays of one log under settings and accidents that must not show in a single row.

use super::compare::Differences;
use super::verify::{Case, Place};

/// One way to replay a log.
#[derive(Debug, Clone, Copy)]
pub struct Variant {
    pub name: &'static str,
    /// For `--set`.
    pub settings: &'static [&'static str],
    pub kills: u32,
}

/// 1, 2 and 8 workers, polls of 1, 100 and 10,000 records, epochs that are cut anywhere, hardly any cache, and `kill -9`.
pub const VARIANTS: [Variant; 4] = [
    Variant { name: "1 worker, polls of 10,000", settings: &["workers=1", "kafka.poll_records=10000"], kills: 0 },
    Variant {
        name: "2 workers, polls of 1, 1 MiB of cache",
        settings: &["workers=2", "kafka.poll_records=1", "bounds.cache_bytes=1048576"],
        kills: 0,
    },
    Variant {
        name: "8 workers, polls of 100, epochs of 777 rows",
        settings: &["workers=8", "kafka.poll_records=100", "epoch.max_rows=777"],
        kills: 0,
    },
    Variant { name: "2 workers, polls of 100, killed", settings: &["workers=2", "kafka.poll_records=100"], kills: 5 },
];

/// Replays the log, whose live run is version 1 of this place, and compares every row with that run's. The version
/// before goes: many of a long log need much room.
pub fn replay_and_compare(place: &Place<'_>, case: &Case, variant: &Variant, seed: u64) -> Differences {
    let version = place.replay(case, variant.settings, variant.kills, seed);
    if version > 2 {
        place.forget(case, version - 1);
    }
    place.compare_histories(case, version, (place, 1))
}
