//! Compares what the engine left behind with what the oracle expects: rows, online values, counts.
//!
//! Always holds: nothing is taken from the engine's code; a difference is counted, never forgiven; the first ten are
//! readable.

mod delta;
mod online;
mod tables;
mod values;

pub use delta::{Failure, read_dead_letters, read_rows, rows_of_batch};
pub use online::{OnlineDifferences, StoredHashes, compare_online, read_redis};
pub use tables::compare_tables;
pub use values::{Nearness, same_value};

use std::fmt;

use super::oracle::{Counts, DeadLetter, FeatureRow, PartitionRun, Topology};
use values::wrong_columns;

/// How many differences are shown.
const SHOWN: usize = 10;

/// What differs between expected and actual rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Differences {
    pub expected: u64,
    pub actual: u64,
    /// Expected and not there.
    pub lost: u64,
    /// There and not expected.
    pub extra: u64,
    /// There more than once; each repetition counts.
    pub doubled: u64,
    /// There with another entity, time, ordinal or value.
    pub different: u64,
    /// The first ten, in the order of partition, offset and sequence.
    pub first: Vec<String>,
}

impl Differences {
    pub fn is_none(&self) -> bool {
        self.total() == 0
    }

    pub fn total(&self) -> u64 {
        self.lost + self.extra + self.doubled + self.different
    }

    /// Adds those of another partition or entity.
    pub fn merge(&mut self, other: Differences) {
        self.expected += other.expected;
        self.actual += other.actual;
        self.lost += other.lost;
        self.extra += other.extra;
        self.doubled += other.doubled;
        self.different += other.different;
        self.first.extend(other.first);
        self.first.truncate(SHOWN);
    }

    fn show(&mut self, text: impl FnOnce() -> String) {
        if self.first.len() < SHOWN {
            self.first.push(text());
        }
    }
}

impl fmt::Display for Differences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} expected, {} actual: {} lost, {} extra, {} doubled, {} different",
            self.expected, self.actual, self.lost, self.extra, self.doubled, self.different
        )?;
        self.first.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Compares rows of any partitions and entities, in any order. Rows of entities without history are not expected.
pub fn compare_rows(topology: &Topology, expected: &[FeatureRow], actual: &[FeatureRow]) -> Differences {
    let place = |row: &&FeatureRow| (row.partition, row.offset, row.sequence, row.ordinal);
    let mut expected: Vec<&FeatureRow> = expected.iter().filter(|row| topology.entities[row.entity].history).collect();
    let mut actual: Vec<&FeatureRow> = actual.iter().collect();
    expected.sort_by_key(place);
    actual.sort_by_key(place);
    let mut found =
        Differences { expected: expected.len() as u64, actual: actual.len() as u64, ..Differences::default() };
    let identity = |row: &FeatureRow| (row.partition, row.offset, row.sequence);
    let (mut left, mut right) = (expected.iter().peekable(), actual.iter().peekable());
    loop {
        let (wanted, row) = match (left.peek(), right.peek()) {
            (None, None) => return found,
            (Some(wanted), Some(row)) if identity(wanted) == identity(row) => (**wanted, **row),
            (Some(wanted), next) if next.is_none_or(|row| identity(wanted) < identity(row)) => {
                found.lost += 1;
                found.show(|| format!("lost: partition {} {wanted}", wanted.partition));
                left.next();
                continue;
            }
            (_, next) => {
                let row = next.expect("the other side is past it");
                found.extra += 1;
                found.show(|| format!("extra: partition {} {row}", row.partition));
                right.next();
                continue;
            }
        };
        if let Some(what) = row_difference(topology, wanted, row) {
            found.different += 1;
            found.show(|| format!("{what}: partition {} expected {wanted}\n    but found {row}", wanted.partition));
        }
        left.next();
        right.next();
        while right.peek().is_some_and(|again| identity(again) == identity(wanted)) {
            found.doubled += 1;
            found.show(|| format!("doubled: partition {} {}", wanted.partition, right.peek().expect("just seen")));
            right.next();
        }
    }
}

/// Names what differs between two rows at the same place.
fn row_difference(topology: &Topology, wanted: &FeatureRow, row: &FeatureRow) -> Option<String> {
    let names = [
        ("entity", wanted.entity == row.entity),
        ("key", wanted.key == row.key),
        ("event_time", wanted.event_time == row.event_time),
        ("known_at", wanted.known_at == row.known_at),
        ("ordinal", wanted.ordinal == row.ordinal),
        ("number of columns", wanted.values.len() == row.values.len()),
    ];
    let mut what: Vec<String> = names.iter().filter(|(_, same)| !same).map(|(name, _)| (*name).into()).collect();
    if what.is_empty() {
        let entity = &topology.entities[wanted.entity];
        what = wrong_columns(entity, &wanted.values, wanted.slack.as_deref(), &row.values);
    }
    if what.is_empty() { None } else { Some(what.join(", ")) }
}

/// The terms of the conservation equation of one partition, as the engine reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Conservation {
    /// The first offset, and one more than the last.
    pub start: i64,
    pub end: i64,
    /// Offsets between them that hold no record.
    pub gaps: u64,
    pub delivered: u64,
    pub applied: u64,
    pub filtered: u64,
    pub late: u64,
    pub future: u64,
    pub tombstone: u64,
    pub malformed: u64,
    pub over_limit: u64,
    pub dead_letters: u64,
}

impl Conservation {
    /// Checks the three equations; each that does not hold is named with both sides.
    pub fn check(&self) -> Result<(), Vec<String>> {
        let refused = self.late + self.future + self.malformed + self.over_limit;
        let equations = [
            (
                "delivered = applied + filtered + late + future + tombstone + malformed + over limit",
                self.delivered as i64,
                (self.applied + self.filtered + self.tombstone + refused) as i64,
            ),
            ("dead letters = late + future + malformed + over limit", self.dead_letters as i64, refused as i64),
            ("end - start = delivered + gaps", self.end - self.start, (self.delivered + self.gaps) as i64),
        ];
        let broken: Vec<String> = equations
            .iter()
            .filter(|(_, left, right)| left != right)
            .map(|(equation, left, right)| format!("{equation}: {left} is not {right}"))
            .collect();
        if broken.is_empty() { Ok(()) } else { Err(broken) }
    }

    /// What the oracle expects, for a log from `start` to its end.
    pub fn expected(run: &PartitionRun, start: i64) -> Self {
        let Counts { delivered, tombstone, over_limit, malformed, filtered, future, late, applied, .. } = run.counts;
        Self {
            start,
            end: run.next_offset.max(start),
            gaps: (run.next_offset.max(start) - start) as u64 - delivered,
            delivered,
            applied,
            filtered,
            late,
            future,
            tombstone,
            malformed,
            over_limit,
            dead_letters: run.dead_letters.len() as u64,
        }
    }

    /// Checks the equations, then each term against what the oracle counts.
    pub fn check_against(&self, expected: &Self) -> Result<(), Vec<String>> {
        let mut problems = self.check().err().unwrap_or_default();
        if self != expected {
            problems.push(format!("expected {expected:?}, found {self:?}"));
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

/// Compares dead letters as multisets of (partition, offset, class); returns the first differences.
pub fn compare_dead_letters(expected: &[DeadLetter], actual: &[DeadLetter]) -> Vec<String> {
    let (mut expected, mut actual) = (expected.to_vec(), actual.to_vec());
    expected.sort();
    actual.sort();
    let (mut left, mut right, mut out) = (expected.iter().peekable(), actual.iter().peekable(), vec![]);
    while out.len() < SHOWN {
        match (left.peek(), right.peek()) {
            (None, None) => break,
            (Some(wanted), Some(found)) if wanted == found => {
                left.next();
                right.next();
            }
            (Some(wanted), next) if next.is_none_or(|found| wanted < found) => {
                out.push(format!("lost: {wanted:?}"));
                left.next();
            }
            (_, found) => {
                out.push(format!("extra or doubled: {:?}", found.expect("the other side is past it")));
                right.next();
            }
        }
    }
    out
}
