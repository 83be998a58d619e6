//! Training data: labels joined with the history as it was known at each label's time.
//!
//! Always holds: every label comes back exactly once, in its order, with the newest row that was there at its time and
//! nothing of what came later; the values are those that an online read at that moment would have given (decayed and
//! `on: read` values at the label's time, nothing older than its `max_age`). The answer follows from the labels, the
//! tables' rows and the question alone: not from the tables' files, the memory, the threads or the day, so the same
//! question over the same rows gives the same bytes.
//!
//! How: labels come in rounds that fit in memory. For each entity the history is read twice: first keys, times and ranks
//! alone, to find the one row that answers each label (`slots`, the law of the join); then the features of those rows.
//! `ask` resolves names, `labels` reads keys and times, `keys` numbers the keys, `join` does the two passes, `output`
//! puts the columns together, `manifest` says what was done, `sql` writes the same join for other engines.

mod ask;
mod join;
mod keys;
mod labels;
mod manifest;
mod output;
mod run;
mod slots;
mod sql;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use manifest::{Manifest, Rebuilt};
pub use run::{EntityReport, Job, Report, statement, train};
pub use sql::Dialect;

use crate::time::Millis;

/// Which row answers a label.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Only rows before the label's time, not at it.
    #[serde(default)]
    pub strict: bool,
    /// How long before the label a row may lie, in ms.
    #[serde(default)]
    pub lookback: Option<Millis>,
    /// Rows count from their event time on, whenever they were known.
    #[serde(default)]
    pub by_event_time: bool,
}

/// What is asked of a training set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// `user` or `user:views_1h`, in the order of the columns.
    pub features: Vec<String>,
    /// From key fields to the labels' columns, where they have other names.
    pub keys: BTreeMap<String, String>,
    /// The labels' time.
    pub timestamp: String,
    #[serde(flatten)]
    pub rule: Rule,
    /// Columns are named `user__views_1h`.
    pub full_names: bool,
    /// Columns that say which row each entity's values are of.
    pub positions: bool,
    /// Labels that are not complete yet are refused.
    pub complete_only: bool,
}
