//! An independent oracle: the law of feature values evaluated by brute force over the list of records.
//!
//! Always holds: nothing here comes from the engine, neither code nor types; a value is computed from the set of
//! records that a window holds, never from an earlier value; sums are exact and rounded once. What it leaves out: the
//! engine's bounds on memory (`horizon_records` among them), headers as fields.

mod aggregate;
mod exact;
mod json;
mod law;
mod sql;
mod sql_parser;
mod subject;
mod topology;
mod value;
mod yaml;

pub use aggregate::{Input, Slack, value_of};
pub use exact::exact_sum;
pub use json::{Judged, judge};
pub use law::{Counts, DeadLetter, Oracle, PartitionRun, run, run_each, run_partition};
pub use sql::{Expr, Type};
pub use topology::{Aggregate, By, Derived, Entity, Feature, Field, FieldFrom, FieldType, Topology, Window};
pub use value::{Value, read_decimal};
pub use yaml::span;

use std::fmt;
use std::sync::Arc;

/// One record as it lies in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub offset: i64,
    /// Milliseconds; `None` when the record has none.
    pub kafka_time: Option<i64>,
    pub key: Option<Vec<u8>>,
    /// `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// One feature row, of the oracle or of the engine.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureRow {
    /// Index in the topology's entities.
    pub entity: usize,
    /// The entity key's text.
    pub key: Arc<str>,
    /// `T`, in ms.
    pub event_time: i64,
    pub known_at: i64,
    pub partition: i32,
    pub offset: i64,
    pub sequence: i32,
    pub ordinal: i64,
    /// One a feature, in the topology's order, then what is derived with the row.
    pub values: Box<[Value]>,
    /// Only from the oracle, and only where it matters: one a feature.
    pub slack: Option<Box<[Slack]>>,
}

impl fmt::Display for FeatureRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values: Vec<String> = self.values.iter().map(Value::to_string).collect();
        write!(
            f,
            "{}.{} #{} {}:{} T={} known={} [{}]",
            self.offset,
            self.sequence,
            self.ordinal,
            self.entity,
            self.key,
            self.event_time,
            self.known_at,
            values.join(", ")
        )
    }
}
