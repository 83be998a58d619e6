//! An independent oracle: the law of feature values evaluated by brute force over the list of records.
//!
//! Always holds: nothing here comes from the engine, neither code nor types; a value is computed from the set of
//! records that a window holds, never from an earlier value; sums are exact and rounded once. What it leaves out: the
//! windows and aggregates that no topology can name yet, and the engine's bounds on memory.

mod exact;
mod json;
mod law;
mod sql;
mod topology;

pub use exact::exact_sum;
pub use json::{Judged, judge};
pub use law::{Counts, DeadLetter, Oracle, PartitionRun, run, run_partition};
pub use sql::{Expr, Type};
pub use topology::{Aggregate, Entity, Feature, Field, FieldFrom, FieldType, Topology, Window, span};

use std::fmt;
use std::sync::Arc;

/// One value of a field, an expression or a feature. Equal means equal bits.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Int(i64),
    /// Never NaN, infinite or -0.0 where it leaves the oracle.
    Double(f64),
    Bool(bool),
    Str(Arc<str>),
    /// Milliseconds since 1970.
    Ts(i64),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Int(a), Value::Int(b)) | (Value::Ts(a), Value::Ts(b)) => a == b,
            (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Str(a), Value::Str(b)) => a == b,
            _ => false,
        }
    }
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// As the online store shows it; `None` is an absent field.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Int(v) | Value::Ts(v) => Some(v.to_string()),
            Value::Double(v) => Some(serde_json::to_string(v).expect("a finite double prints")),
            Value::Bool(v) => Some(v.to_string()),
            Value::Str(v) => Some(v.to_string()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Double(v) => write!(f, "{v:?}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Str(v) => write!(f, "'{v}'"),
            Value::Ts(v) => write!(f, "@{v}"),
        }
    }
}

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
    /// One a feature, in the topology's order.
    pub values: Box<[Value]>,
    /// Only from the oracle, and only where it matters: for each feature, 2^-100 of the sum of absolute values.
    pub slack: Option<Box<[f64]>>,
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
