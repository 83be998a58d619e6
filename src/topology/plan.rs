//! The typed plan: what a valid topology means, with every name resolved and every expression compiled.
//!
//! Always holds: indices are in range, expressions have the type that their place needs, windows are positive, every
//! entity key begins with the partition field. Whoever has a `Plan` checks nothing of this again.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field as Column, Schema, SchemaRef};

use super::types::{FieldType, Literal, OutputType, ValueType};
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
    /// The file as it was written: a version keeps it.
    pub text: Arc<str>,
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
    /// Computed from the features; in the topology's order. Those of rows have their columns after the features'.
    pub derived: Vec<DerivedPlan>,
    /// The expressions of `derived`, over the clock, the features, and what is derived before each.
    pub derived_exprs: Arc<ExprSet>,
    /// This long after its largest event time the entity is emptied, in ms.
    pub forget_after: Option<Millis>,
    /// The most records that its order-sensitive windows may keep one by one.
    pub horizon_records: usize,
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
    /// The bucket that a record goes to; its value's text is the map's key.
    pub by: Option<By>,
    pub window: Window,
    /// The type of the input (`Int64` for `count`).
    pub input_type: ValueType,
    /// The type of the value.
    pub output_type: OutputType,
    /// What is shown when nothing is left: 0, null, or what the topology declares.
    pub empty: Literal,
    /// How old its row may be when it is read online, in ms: how long before the clock its event time may lie.
    pub max_age: Option<Millis>,
}

/// How a feature is bucketed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct By {
    /// The bucket of a record: a string, int64 or bool expression.
    pub bucket: ExprId,
    /// While the window holds more buckets, the whole value is null.
    pub buckets: u32,
}

/// A value computed from features of the same row.
#[derive(Debug, Clone, PartialEq)]
pub struct DerivedPlan {
    pub name: String,
    /// In [`EntityPlan::derived_exprs`].
    pub expr: ExprId,
    pub on: DerivedOn,
    pub output_type: OutputType,
    /// As [`FeaturePlan::max_age`].
    pub max_age: Option<Millis>,
}

/// When a derived value is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DerivedOn {
    /// As its row is written: a column of history and a field of the online store.
    Row,
    /// As it is read; it may look at the clock, and is never stored.
    Read,
}

/// What is computed over the records of a window. Errors are relative; a rate's time is in ms.
#[derive(Debug, Clone, PartialEq)]
pub enum Aggregate {
    /// Records, or non-null inputs; 0 when empty.
    Count,
    /// Of Int64 or Decimal (exact), or Double; 0 when empty.
    Sum,
    /// Sum by count, a Double; null when empty.
    Avg,
    Min,
    Max,
    /// The input of the newest record by (event time, offset) whose input is not null.
    Last,
    /// Of the oldest.
    First,
    /// Of the sample, a Double; null below two inputs.
    Variance,
    /// Its root.
    Stddev,
    /// How many different inputs; null while there are more than `limit`.
    Distinct {
        limit: u32,
    },
    /// About how many: HyperLogLog with `2^precision` registers.
    ApproxDistinct {
        precision: u8,
    },
    /// DDSketch: the input at rank `floor(q * (n - 1))`, within the relative `error`.
    Quantile {
        q: f64,
        error: f64,
    },
    /// Several of one sketch, a list.
    Quantiles {
        qs: Vec<f64>,
        error: f64,
    },
    /// The `k` oldest inputs, oldest first.
    FirstK {
        k: u32,
    },
    /// The `k` newest inputs, newest first.
    LastK {
        k: u32,
    },
    /// The `k` most frequent inputs with their numbers; null while there are more than `limit` different ones.
    TopK {
        k: u32,
        limit: u32,
    },
    /// The number of inputs, each weighing `2^-((T - t) / half_life)`; a Double.
    DecayedCount {
        half_life: Millis,
    },
    /// Their weighted sum.
    DecayedSum {
        half_life: Millis,
    },
    /// The one by the other.
    DecayedAvg {
        half_life: Millis,
    },
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
    /// Windows that begin at `offset + n * size`: the one that holds `T`, or (`complete`) the whole one before it.
    Tumbling { size: Millis, offset: Millis, complete: bool },
    /// The records after the newest one that meets the condition, by (event time, offset); all, if none has.
    Since { condition: ExprId },
    /// The `n` newest records that pass `where`; nulls take a place.
    LastN { n: u32 },
}

impl FeaturePlan {
    /// Whether equal inputs give equal bits whatever their order: rows compare values of exact types only.
    pub fn is_exact(&self) -> bool {
        match self.aggregate {
            Aggregate::Sum => self.input_type != ValueType::Double,
            Aggregate::Avg | Aggregate::Variance | Aggregate::Stddev => false,
            Aggregate::ApproxDistinct { .. } | Aggregate::Quantile { .. } | Aggregate::Quantiles { .. } => false,
            Aggregate::DecayedCount { .. } | Aggregate::DecayedSum { .. } | Aggregate::DecayedAvg { .. } => false,
            _ => true,
        }
    }

    /// The half-life of a value that goes on to decay after its row: a decayed count or sum. A decayed mean does not.
    pub fn decays(&self) -> Option<Millis> {
        match self.aggregate {
            Aggregate::DecayedCount { half_life } | Aggregate::DecayedSum { half_life } => Some(half_life),
            _ => None,
        }
    }
}

impl Aggregate {
    /// Its key in a topology.
    pub fn name(&self) -> &'static str {
        match self {
            Aggregate::Count | Aggregate::DecayedCount { .. } => "count",
            Aggregate::Sum | Aggregate::DecayedSum { .. } => "sum",
            Aggregate::Avg | Aggregate::DecayedAvg { .. } => "avg",
            Aggregate::Min => "min",
            Aggregate::Max => "max",
            Aggregate::Last => "last",
            Aggregate::First => "first",
            Aggregate::Variance => "variance",
            Aggregate::Stddev => "stddev",
            Aggregate::Distinct { .. } => "distinct",
            Aggregate::ApproxDistinct { .. } => "approx_distinct",
            Aggregate::Quantile { .. } => "quantile",
            Aggregate::Quantiles { .. } => "quantiles",
            Aggregate::FirstK { .. } => "first_k",
            Aggregate::LastK { .. } => "last_k",
            Aggregate::TopK { .. } => "top_k",
        }
    }
}

/// `count`, `last_k 10`, `sum half-life 7d`.
impl fmt::Display for Aggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Aggregate::FirstK { k } | Aggregate::LastK { k } | Aggregate::TopK { k, .. } => write!(f, "{name} {k}"),
            Aggregate::Quantile { q, .. } => write!(f, "{name} {q}"),
            Aggregate::DecayedCount { half_life }
            | Aggregate::DecayedSum { half_life }
            | Aggregate::DecayedAvg { half_life } => write!(f, "{name} half-life {}", Span(*half_life)),
            _ => f.write_str(name),
        }
    }
}

/// `1h by 1m`, `session 30m`, `lifetime`, `tumbling 1d`, `since a condition`, `last 10`.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Window::Sliding { size, slide } => write!(f, "{} by {}", Span(*size), Span(*slide)),
            Window::Session { gap } => write!(f, "session {}", Span(*gap)),
            Window::Lifetime => f.write_str("lifetime"),
            Window::Tumbling { size, offset, complete } => {
                write!(f, "tumbling {}", Span(*size))?;
                if *offset > 0 {
                    write!(f, " from {}", Span(*offset))?;
                }
                if *complete { f.write_str(" complete") } else { Ok(()) }
            }
            Window::Since { .. } => f.write_str("since a condition"),
            Window::LastN { n } => write!(f, "last {n}"),
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
    /// The columns of its rows after the fixed ones: the features, then what is derived with each row.
    pub fn columns(&self) -> impl Iterator<Item = (&str, &OutputType)> {
        let features = self.features.iter().map(|feature| (feature.name.as_str(), &feature.output_type));
        let derived = self.derived.iter().filter(|derived| derived.on == DerivedOn::Row);
        features.chain(derived.map(|derived| (derived.name.as_str(), &derived.output_type)))
    }

    /// Everything that it shows to a reader with a clock: the features, then all that is derived.
    pub fn shown(&self) -> impl Iterator<Item = (&str, &OutputType)> {
        let features = self.features.iter().map(|feature| (feature.name.as_str(), &feature.output_type));
        features.chain(self.derived.iter().map(|derived| (derived.name.as_str(), &derived.output_type)))
    }

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

    /// The keys of all entities, each as the indices of its fields.
    pub fn entity_keys(&self) -> Vec<Vec<usize>> {
        self.entities.iter().map(|entity| entity.key.clone()).collect()
    }
}
