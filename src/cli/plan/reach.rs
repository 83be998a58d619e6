//! What of the log a replay reads: where it starts in each partition, and why it may not.

use std::collections::BTreeMap;

use crate::runtime::{ReplayFrom, begins_late};
use crate::source::PartitionInfo;

/// One partition's part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    pub partition: i32,
    /// What the log holds: offsets from `low`, up to and without `high`.
    pub low: i64,
    pub high: i64,
    /// The first offset that would be read, of what is there.
    pub start: i64,
}

impl Part {
    /// At most so many records: offsets may have gaps.
    pub fn records(&self) -> u64 {
        (self.high - self.start).max(0) as u64
    }

    /// Whether the log had records before its start.
    pub fn misses_some(&self) -> bool {
        self.start > 0
    }
}

/// What a replay reads.
#[derive(Debug, PartialEq, Eq)]
pub struct Reach {
    pub parts: Vec<Part>,
    /// Why a run would refuse this start, with the remedy.
    pub refusal: Option<String>,
}

/// The parts of a log that a replay from here reads. `by_time`: for [`ReplayFrom::Time`] the offsets of that time.
pub fn reach(topic: &str, log: &[PartitionInfo], from: &ReplayFrom, by_time: &[(i32, i64)]) -> Reach {
    let by_time: BTreeMap<i32, i64> = by_time.iter().copied().collect();
    let asked = |info: &PartitionInfo| match from {
        ReplayFrom::Beginning => 0,
        // What lies before the log is no part of it.
        ReplayFrom::Earliest | ReplayFrom::Archive | ReplayFrom::Redrive(_) => info.low,
        ReplayFrom::Time(_) => by_time.get(&info.partition).copied().unwrap_or(info.high),
        ReplayFrom::Offsets(offsets) => offsets.get(&info.partition).copied().unwrap_or(0),
    };
    let part = |info: &PartitionInfo| {
        let PartitionInfo { partition, low, high } = *info;
        Part { partition, low, high, start: asked(info).clamp(low, high) }
    };
    let mut refusals: Vec<String> = log.iter().filter_map(|info| refusal(topic, info, asked(info))).collect();
    if let ReplayFrom::Offsets(offsets) = from {
        let unknown = offsets.keys().filter(|named| log.iter().all(|info| info.partition != **named));
        refusals.extend(unknown.map(|named| format!("{topic} has no partition {named}: name those that it has")));
    }
    let more = refusals.len().saturating_sub(1);
    let refusal = refusals.into_iter().next().map(|first| match more {
        0 => first,
        more => format!("{first} ({more} more partitions likewise)"),
    });
    Reach { parts: log.iter().map(part).collect(), refusal }
}

fn refusal(topic: &str, info: &PartitionInfo, asked: i64) -> Option<String> {
    let PartitionInfo { partition, low, high } = *info;
    if asked > high {
        return Some(format!(
            "{topic}, partition {partition}: the log ends at offset {high}, before {asked}: name one that it has"
        ));
    }
    (asked < low).then(|| begins_late(topic, info, asked).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: [PartitionInfo; 2] =
        [PartitionInfo { partition: 0, low: 0, high: 100 }, PartitionInfo { partition: 1, low: 40, high: 90 }];

    /// Starts and records, and whether it is refused.
    fn reached(log: &[PartitionInfo], from: &str, by_time: &[(i32, i64)]) -> (Vec<(i64, u64)>, Option<String>) {
        let reach = reach("t", log, &from.parse().unwrap(), by_time);
        (reach.parts.iter().map(|part| (part.start, part.records())).collect(), reach.refusal)
    }

    #[test]
    fn the_beginning_of_a_trimmed_log_is_refused_and_what_is_left_is_counted() {
        let (parts, refusal) = reached(&LOG, "0", &[]);
        assert_eq!(parts, [(0, 100), (40, 50)]);
        let refusal = refusal.unwrap();
        assert!(
            refusal.starts_with("t, partition 1: the log begins at offset 40, not 0: 40 records are gone"),
            "{refusal}"
        );
        assert!(refusal.contains("earliest") && !refusal.contains("likewise"));
        assert_eq!(reached(&LOG[..1], "0", &[]), (vec![(0, 100)], None));
    }

    #[test]
    fn other_starts_read_from_there() {
        assert_eq!(reached(&LOG, "earliest", &[]), (vec![(0, 100), (40, 50)], None));
        assert_eq!(reached(&LOG, "2026-01-01T00:00:00Z", &[(0, 70), (1, 90)]), (vec![(70, 30), (90, 0)], None));
        assert_eq!(reached(&LOG, "offset:0=10,1=50", &[]), (vec![(10, 90), (50, 40)], None));
        // One that is not named begins at 0, which is gone.
        assert!(reached(&LOG, "offset:0=10", &[]).1.is_some());
    }

    #[test]
    fn offsets_that_the_log_does_not_have_are_refused() {
        let refusal = |from| reached(&LOG, from, &[]).1.unwrap();
        assert!(refusal("offset:0=101,1=50").contains("ends at offset 100"));
        assert!(refusal("offset:1=50,7=0").contains("no partition 7"));
        assert!(refusal("offset:0=500,1=1").contains("(1 more partitions likewise)"));
    }
}
