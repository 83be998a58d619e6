//! What came of it, for people and for programs.

use serde_json::{Value, json};

use crate::time::Millis;

/// Reads held against one thing.
#[derive(Debug, Default)]
pub struct Tally {
    pub same: u64,
    pub different: u64,
    /// There was nothing to hold them against: not yet, or no longer.
    pub untold: u64,
}

impl Tally {
    pub fn count(&mut self, is_same: bool) {
        match is_same {
            true => self.same += 1,
            false => self.different += 1,
        }
    }
}

/// Reads held against training data for their moments.
#[derive(Debug, Default)]
pub struct Moments {
    pub same: u64,
    pub different: u64,
    /// Training data has a newer row: for how long that had been known by then, in ms.
    pub on_their_way: Vec<Millis>,
    /// The history had not come to the moment when it was looked at.
    pub incomplete: u64,
    /// The read shows what by the history's times was not known yet: a producer's clock is ahead of the reader's, or a
    /// late record came between the clock's refresh and the log's own timers.
    pub ahead: u64,
}

/// A read that differs.
#[derive(Debug)]
pub struct Different {
    pub line: usize,
    pub entity: String,
    pub id: String,
    pub position: String,
    /// Empty: the row as a whole.
    pub feature: String,
    pub served: String,
    pub expected: String,
}

/// All of it.
#[derive(Debug)]
pub struct Report {
    reads: usize,
    limit: usize,
    pub rows: Tally,
    pub refreshed: Tally,
    pub moment: Moments,
    examples: Vec<String>,
}

impl Report {
    /// Of so many reads; at most so many that differ are printed.
    pub fn new(reads: usize, limit: usize) -> Self {
        let (rows, refreshed, moment) = Default::default();
        Self { reads, limit, rows, refreshed, moment, examples: Vec::new() }
    }

    /// Tells of one.
    pub fn differs(&mut self, different: &Different) {
        if self.examples.len() == self.limit {
            return;
        }
        let Different { line, entity, id, position, feature, served, expected } = different;
        let what = match feature.is_empty() {
            true => expected.clone(),
            false => format!("`{feature}` was served as {served}, and is {expected}"),
        };
        self.examples.push(format!("line {line}: {entity} {id:?} at {position}: {what}"));
    }

    /// Reads that are wrong.
    pub fn different(&self) -> u64 {
        // A read that differs from its row differs at its moment, too.
        (self.rows.different + self.refreshed.different).max(self.moment.different)
    }

    /// p50, p99 and the largest of the delays.
    fn delays(&self) -> Option<[Millis; 3]> {
        let mut all = self.moment.on_their_way.clone();
        all.sort_unstable();
        let at = |share: usize| all.get((all.len() * share / 100).min(all.len().saturating_sub(1))).copied();
        Some([at(50)?, at(99)?, *all.last()?])
    }

    /// For people.
    pub fn text(&self) -> String {
        let Self { reads, rows, refreshed, moment, .. } = self;
        let delays = self.delays().map_or(String::new(), |[p50, p99, max]| {
            format!(" (known for p50 {p50} ms, p99 {p99} ms, at most {max} ms)")
        });
        let mut text = format!(
            "{reads} reads\n\
             against their rows in the history: {} the same, {} different, {} of rows that are not committed yet\n\
             refreshed by the clock, against the law at their T': {} the same, {} different, {} that the log no longer tells\n\
             against training data for their moments: {} the same, {} with a row still on its way{delays}, {} different, \
             {} at which the history has not arrived, {} ahead of what the history could know\n",
            rows.same,
            rows.different,
            rows.untold,
            refreshed.same,
            refreshed.different,
            refreshed.untold,
            moment.same,
            moment.on_their_way.len(),
            moment.different,
            moment.incomplete,
            moment.ahead,
        );
        self.examples.iter().for_each(|example| text += &format!("{example}\n"));
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let tally = |tally: &Tally| json!({"same": tally.same, "different": tally.different, "untold": tally.untold});
        let moment = &self.moment;
        let delays = self.delays().map(|[p50, p99, max]| json!({"p50": p50, "p99": p99, "max": max}));
        json!({
            "reads": self.reads,
            "rows": tally(&self.rows),
            "refreshed": tally(&self.refreshed),
            "moments": {
                "same": moment.same,
                "on_their_way": moment.on_their_way.len(),
                "delay_ms": delays,
                "different": moment.different,
                "incomplete": moment.incomplete,
                "ahead": moment.ahead,
            },
            "differences": self.examples,
        })
    }
}
