//! The typed plan: what a valid topology means, with every name resolved and every expression compiled.
//!
//! Always holds: indices are in range, expressions have the type that their place needs, windows are positive, every
//! entity key begins with the partition field. Whoever has a `Plan` checks nothing of this again.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field as Column, Schema, SchemaRef, TimeUnit as ArrowUnit};

use crate::expr::{ExprId, ExprSet};
use crate::time::{Millis, Span};

/// A valid topology.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its name; also the first part of every path and appId.
    pub topology: String,
    /// Where records come from.
    pub source: SourcePlan,
    /// In the topology's order, which is the order of folding and of timers.
    pub entities: Vec<EntityPlan>,
    /// Every SQL expression of the topology, compiled once; conditions and inputs refer to it by id.
    pub exprs: Arc<ExprSet>,
    /// Hex digest of the meaning: comments, order of keys in a mapping and formatting do not change it.
    pub fingerprint: String,
}

/// Source, schema and the classes' bounds.
#[derive(Debug, Clone)]
pub struct SourcePlan {
    pub topic: String,
    /// The declared fields, in the topology's order: the columns of a decoded batch, index by index.
    pub fields: Vec<Field>,
    /// Index of the event-time field; always a timestamp type.
    pub event_time: usize,
    /// How long timers wait, in ms (>= 0).
    pub lateness: Millis,
    /// How much later than the watermark a record is still folded, in ms (>= 0).
    pub grace: Millis,
    /// How far an event time may run ahead of the Kafka time, in ms; `None` is `max_future: off`.
    pub max_future: Option<Millis>,
    /// The source's own `where`; a boolean expression.
    pub filter: Option<ExprId>,
    /// Index of the partition field: the one that every entity key begins with.
    pub partition_field: usize,
    /// True when the source says `partitioned_by: <that field>`: the Kafka key is then not compared.
    pub trusts_partitioning: bool,
    /// Largest accepted value in bytes; longer is over limit.
    pub max_record_bytes: usize,
    /// Largest accepted key in bytes: the Kafka key, and the text of an entity key; longer is over limit.
    pub max_key_bytes: usize,
}

/// One declared field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Its column name in expressions.
    pub name: String,
    /// Where it comes from.
    pub from: FieldSource,
    pub ty: FieldType,
    /// `on_error: null`: a value of another type is null instead of making the record malformed.
    pub null_on_error: bool,
}

/// Where a declared field is found in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldSource {
    /// A path of names into the JSON value; one name for a top-level field.
    Value(Vec<String>),
    /// The Kafka key, as UTF-8 text.
    Key,
    /// The last Kafka header of this name, as UTF-8 text.
    Header(String),
}

/// The declared type of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    String,
    Int64,
    Double,
    Bool,
    /// A JSON integer counting this unit since 1970; finer than a millisecond is floored.
    Timestamp(TimeUnit),
    /// RFC 3339 text with an offset.
    TimestampText,
}

/// The unit of an integer timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

/// The type of a value inside the engine, and its Arrow type in every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ValueType {
    /// Utf8.
    String,
    /// Int64.
    Int64,
    /// Float64; never NaN, infinite or -0.0.
    Double,
    /// Boolean.
    Bool,
    /// Timestamp(Millisecond, "UTC").
    Timestamp,
}

/// One entity: a key and its features.
#[derive(Debug, Clone)]
pub struct EntityPlan {
    pub name: String,
    /// Indices of the key fields (string or int64); the first is the partition field.
    pub key: Vec<usize>,
    /// The online key: text with one `{id}`, for instance `features:{id}`.
    pub online_key: String,
    /// How long an entity whose features are all empty stays online, in ms.
    pub empty_ttl: Millis,
    /// False for `history: off`: online only.
    pub history: bool,
    /// In the topology's order, which is the order of columns.
    pub features: Vec<FeaturePlan>,
}

/// One feature.
#[derive(Debug, Clone, PartialEq)]
pub struct FeaturePlan {
    pub name: String,
    pub aggregate: Aggregate,
    /// What is aggregated; `None` only for `count: "*"`.
    pub input: Option<ExprId>,
    /// The feature's `where`: records for which it is not true are not aggregated.
    pub filter: Option<ExprId>,
    pub window: Window,
    /// The type of the input (`Int64` for `count`).
    pub input_type: ValueType,
    /// The type of the value: count Int64, avg Double, otherwise the input's.
    pub output_type: ValueType,
}

/// What is computed over the records of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Aggregate {
    /// Records, or non-null inputs; 0 when empty.
    Count,
    /// Of Int64 (exact) or Double; 0 when empty.
    Sum,
    /// Sum by count, a Double; null when empty.
    Avg,
    Min,
    Max,
    /// The input of the newest record by (event time, offset) whose input is not null.
    Last,
}

/// Which records are aggregated (design: windows at `T`, over event times `t`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Window {
    /// `floor(T - size, slide) <= t <= T`; the tile `[s, s + slide)` leaves at `s + slide + size`.
    Sliding { size: Millis, slide: Millis },
    /// The run of all the entity's records no more than `gap` apart that holds the largest event time.
    Session { gap: Millis },
    /// All.
    Lifetime,
}

impl FeaturePlan {
    /// Whether equal inputs give equal bits whatever their order: rows compare values of exact types only.
    pub fn is_exact(&self) -> bool {
        match self.aggregate {
            Aggregate::Count | Aggregate::Min | Aggregate::Max | Aggregate::Last => true,
            Aggregate::Sum => self.output_type == ValueType::Int64,
            Aggregate::Avg => false,
        }
    }

    /// Whether the empty value is 0 (else it is null).
    pub fn empty_is_zero(&self) -> bool {
        matches!(self.aggregate, Aggregate::Count | Aggregate::Sum)
    }
}

impl FieldType {
    /// The type of its values inside the engine.
    pub fn value_type(self) -> ValueType {
        match self {
            FieldType::String => ValueType::String,
            FieldType::Int64 => ValueType::Int64,
            FieldType::Double => ValueType::Double,
            FieldType::Bool => ValueType::Bool,
            FieldType::Timestamp(_) | FieldType::TimestampText => ValueType::Timestamp,
        }
    }

    /// Its name in a topology.
    pub fn name(self) -> &'static str {
        match self {
            FieldType::String => "string",
            FieldType::Int64 => "int64",
            FieldType::Double => "double",
            FieldType::Bool => "bool",
            FieldType::Timestamp(TimeUnit::Seconds) => "timestamp_s",
            FieldType::Timestamp(TimeUnit::Millis) => "timestamp_ms",
            FieldType::Timestamp(TimeUnit::Micros) => "timestamp_us",
            FieldType::Timestamp(TimeUnit::Nanos) => "timestamp_ns",
            FieldType::TimestampText => "timestamp",
        }
    }
}

impl std::str::FromStr for FieldType {
    type Err = ();

    /// The type of this name; `Err` when there is none.
    fn from_str(name: &str) -> Result<Self, ()> {
        Ok(match name {
            "string" => FieldType::String,
            "int64" => FieldType::Int64,
            "double" => FieldType::Double,
            "bool" => FieldType::Bool,
            "timestamp_s" => FieldType::Timestamp(TimeUnit::Seconds),
            "timestamp_ms" => FieldType::Timestamp(TimeUnit::Millis),
            "timestamp_us" => FieldType::Timestamp(TimeUnit::Micros),
            "timestamp_ns" => FieldType::Timestamp(TimeUnit::Nanos),
            "timestamp" => FieldType::TimestampText,
            _ => return Err(()),
        })
    }
}

impl ValueType {
    /// Its Arrow type in every batch and row.
    pub fn data_type(self) -> DataType {
        match self {
            ValueType::String => DataType::Utf8,
            ValueType::Int64 => DataType::Int64,
            ValueType::Double => DataType::Float64,
            ValueType::Bool => DataType::Boolean,
            ValueType::Timestamp => DataType::Timestamp(ArrowUnit::Millisecond, Some("UTC".into())),
        }
    }
}

/// As in a topology: `string`, `int64`, `double`, `bool`, `timestamp`.
impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValueType::String => "string",
            ValueType::Int64 => "int64",
            ValueType::Double => "double",
            ValueType::Bool => "bool",
            ValueType::Timestamp => "timestamp",
        })
    }
}

/// As in a topology: `count`, `sum`, `avg`, `min`, `max`, `last`.
impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Aggregate::Count => "count",
            Aggregate::Sum => "sum",
            Aggregate::Avg => "avg",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Last => "last",
        })
    }
}

/// `1h by 1m`, `session 30m`, `lifetime`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::Sliding { size, slide } => write!(f, "{} by {}", Span(*size), Span(*slide)),
            Window::Session { gap } => write!(f, "session {}", Span(*gap)),
            Window::Lifetime => f.write_str("lifetime"),
        }
    }
}

/// The Arrow schema of these fields: one nullable column each, in this order.
pub fn schema_of(fields: &[Field]) -> SchemaRef {
    let columns = fields.iter().map(|field| Column::new(&field.name, field.ty.value_type().data_type(), true));
    Arc::new(Schema::new(columns.collect::<Vec<_>>()))
}

impl SourcePlan {
    /// The Arrow schema of a decoded batch: one nullable column for each declared field, by index.
    pub fn schema(&self) -> SchemaRef {
        schema_of(&self.fields)
    }

    /// The index of a declared field.
    pub fn field(&self, name: &str) -> Option<usize> {
        self.fields.iter().position(|field| field.name == name)
    }
}

impl EntityPlan {
    /// The online key of the entity with this id.
    pub fn online_key_of(&self, id: &str) -> String {
        self.online_key.replacen("{id}", id, 1)
    }
}

impl Plan {
    /// The entity of this name, with its index.
    pub fn entity(&self, name: &str) -> Option<(usize, &EntityPlan)> {
        self.entities.iter().enumerate().find(|(_, entity)| entity.name == name)
    }
}
