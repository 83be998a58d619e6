//! Which row answers which label: the law of the join, over numbers alone.
//!
//! Labels are laid out by entity and time, each in its slot. A row that was there at `at` can answer every label from
//! `at` on: it is offered to the first of them only, and what a slot holds in the end is the best of its own offers and
//! of those of the slots before it, of the same entity.
//!
//! Always holds: what a label gets is the newest row by (event time, partition, ordinal) among those that were there at
//! its time. Within a partition that is the order of offset and sequence, because event times of an entity never go back;
//! rows of one entity in several partitions (which the engine does not write) are still in one order. The order of the
//! offers does not matter, nor does where a row lies, so the same rows in other files give the same answers. A row too
//! old for the lookback is none, and with it all before it.

use std::sync::{Mutex, PoisonError};

use super::Rule;
use super::keys::NO_KEY;

/// No file.
const NOWHERE: u32 = u32::MAX;

/// A row of the history: its rank, and where it lies. Times are in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    pub event_time: i64,
    pub ordinal: i64,
    pub partition: i32,
    pub file: u32,
    pub row: u32,
}

impl Row {
    const NONE: Self = Self { event_time: i64::MIN, ordinal: i64::MIN, partition: i32::MIN, file: NOWHERE, row: 0 };

    fn rank(&self) -> (i64, i32, i64) {
        (self.event_time, self.partition, self.ordinal)
    }

    /// Whether there is one.
    pub fn is_some(&self) -> bool {
        self.file != NOWHERE
    }
}

/// The labels of one entity, laid out, and the best offers so far.
pub struct Slots {
    rule: Rule,
    /// Of each key, where its slots begin; and the end.
    starts: Vec<u32>,
    /// Of each slot the label's time, and which label it is.
    times: Vec<i64>,
    labels: Vec<u32>,
    best: Mutex<Vec<Row>>,
    /// Of each slot the newest event time of a row that was known only long after.
    late: Mutex<Vec<i64>>,
}

/// What the labels got.
#[derive(Debug, PartialEq, Eq)]
pub struct Settled {
    /// By label.
    pub rows: Vec<Row>,
    /// Labels before which a row happened, newer than what they got, that was known only long after it.
    pub passed_over: u64,
}

impl Slots {
    /// Lays out labels of these keys and times.
    pub fn new(rule: Rule, keys: &[u32], count: usize, times: &[i64]) -> Self {
        let mut starts = vec![0u32; count + 1];
        for key in keys.iter().filter(|key| **key != NO_KEY) {
            starts[*key as usize + 1] += 1;
        }
        for key in 0..count {
            starts[key + 1] += starts[key];
        }
        let mut next = starts.clone();
        let mut labels = vec![0u32; starts[count] as usize];
        for (label, key) in keys.iter().enumerate().filter(|(_, key)| **key != NO_KEY) {
            let next = &mut next[*key as usize];
            labels[*next as usize] = label as u32;
            *next += 1;
        }
        for range in starts.windows(2) {
            // Equal times stay in the labels' order: they get the same row anyway.
            labels[range[0] as usize..range[1] as usize].sort_by_key(|label| times[*label as usize]);
        }
        let times: Vec<i64> = labels.iter().map(|label| times[*label as usize]).collect();
        let best = Mutex::new(vec![Row::NONE; times.len()]);
        let late = Mutex::new(if rule.by_event_time { Vec::new() } else { vec![i64::MIN; times.len()] });
        Self { rule, starts, times, labels, best, late }
    }

    /// The slot of the first label of a key for which something was there at `at`.
    pub fn first(&self, key: u32, at: i64) -> Option<u32> {
        let (start, end) = (self.starts[key as usize], self.starts[key as usize + 1]);
        let times = &self.times[start as usize..end as usize];
        let before = match self.rule.strict {
            false => times.partition_point(|time| *time < at),
            true => times.partition_point(|time| *time <= at),
        };
        (before < times.len()).then(|| start + before as u32)
    }

    /// Takes rows, each with the slot of the first label that it can answer.
    pub fn offer(&self, rows: &[(u32, Row)]) {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, row) in rows {
            let best = &mut best[*slot as usize];
            if row.rank() > best.rank() {
                *best = *row;
            }
        }
    }

    /// Takes the event times of rows that were known only long after, with the slot of the first label after them.
    pub fn offer_late(&self, times: &[(u32, i64)]) {
        if times.is_empty() || self.rule.by_event_time {
            return;
        }
        let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
        for (slot, time) in times {
            let late = &mut late[*slot as usize];
            *late = (*late).max(*time);
        }
    }

    /// What each of `labels` labels gets.
    pub fn settle(self, labels: usize) -> Settled {
        let best = self.best.into_inner().unwrap_or_else(PoisonError::into_inner);
        let late = self.late.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut settled = Settled { rows: vec![Row::NONE; labels], passed_over: 0 };
        for range in self.starts.windows(2) {
            let (mut newest, mut newest_late) = (Row::NONE, i64::MIN);
            for (slot, row) in best.iter().enumerate().take(range[1] as usize).skip(range[0] as usize) {
                if row.rank() > newest.rank() {
                    newest = *row;
                }
                newest_late = newest_late.max(late.get(slot).copied().unwrap_or(i64::MIN));
                if self.rule.holds(&newest, self.times[slot]) {
                    settled.rows[self.labels[slot] as usize] = newest;
                }
                settled.passed_over += u64::from(newest_late > newest.event_time);
            }
        }
        settled
    }
}

impl Rule {
    /// Whether a row is there, and young enough for a label of this time.
    fn holds(&self, row: &Row, time: i64) -> bool {
        let oldest = self.lookback.map_or(i64::MIN, |lookback| time.saturating_sub(lookback.saturating_mul(1000)));
        row.is_some() && row.event_time >= oldest
    }
}
