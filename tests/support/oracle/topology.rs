//! The oracle's own description of a topology.
//!
//! Always holds: what is described is valid, for the engine has judged it before. Lengths of time are in ms.

use super::Value;
use super::sql::{Expr, Type};

/// What the oracle must know of a topology.
#[derive(Debug, Clone)]
pub struct Topology {
    pub name: String,
    pub topic: String,
    pub fields: Vec<Field>,
    /// Index of the event-time field.
    pub event_time: usize,
    pub lateness: i64,
    pub grace: i64,
    /// `None` is `max_future: off`.
    pub max_future: Option<i64>,
    pub filter: Option<Expr>,
    pub max_record_bytes: usize,
    pub max_key_bytes: usize,
    pub entities: Vec<Entity>,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub from: FieldFrom,
    pub ty: FieldType,
    pub null_on_error: bool,
}

#[derive(Debug, Clone)]
pub enum FieldFrom {
    /// A path of names into the value.
    Path(Vec<String>),
    /// The Kafka key.
    Key,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    Str,
    Int,
    Double,
    Bool,
    /// A whole number; in ms it is `floor(n * times / by)`.
    Ts {
        times: i64,
        by: i64,
    },
    /// RFC 3339.
    TsText,
    /// Digits in all, and of them after the point.
    Decimal(u8, u8),
}

impl FieldType {
    /// The type of its column in expressions.
    pub fn column(&self) -> Type {
        match self {
            FieldType::Str => Type::Str,
            FieldType::Int => Type::Int,
            FieldType::Double => Type::Double,
            FieldType::Bool => Type::Bool,
            FieldType::Ts { .. } | FieldType::TsText => Type::Ts,
            FieldType::Decimal(precision, scale) => Type::Decimal(*precision, *scale),
        }
    }
}

#[derive(Debug, Clone)]
pub struct Entity {
    pub name: String,
    /// Indices of the key fields.
    pub key: Vec<usize>,
    /// With one `{id}`.
    pub online_key: String,
    /// False for `history: off`.
    pub history: bool,
    pub forget_after: Option<i64>,
    pub features: Vec<Feature>,
    pub derived: Vec<Derived>,
}

/// A value made of an entity's features and of what is derived before it.
#[derive(Debug, Clone)]
pub struct Derived {
    pub name: String,
    /// Over the features, the earlier derived values that it may see, and `now()` when it is read.
    pub expr: Expr,
    /// Computed when somebody reads, never stored.
    pub on_read: bool,
}

#[derive(Debug, Clone)]
pub struct Feature {
    pub name: String,
    pub aggregate: Aggregate,
    /// `None` for `count: "*"`.
    pub input: Option<Expr>,
    pub filter: Option<Expr>,
    pub window: Window,
    pub by: Option<By>,
    pub half_life: Option<i64>,
    /// What is declared to stand for "nothing left".
    pub empty: Option<Value>,
}

/// One value a bucket.
#[derive(Debug, Clone)]
pub struct By {
    pub bucket: Expr,
    /// With more buckets than these in the window the value is null.
    pub most: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Aggregate {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Last,
    First,
    Variance,
    Stddev,
    Distinct { limit: usize },
    ApproxDistinct { precision: u32 },
    Quantile { q: f64, error: f64 },
    Quantiles { q: Vec<f64>, error: f64 },
    FirstK(usize),
    LastK(usize),
    TopK { k: usize, limit: usize },
}

#[derive(Debug, Clone)]
pub enum Window {
    Sliding {
        size: i64,
        slide: i64,
    },
    /// The current one, or when `complete` the last whole one.
    Tumbling {
        size: i64,
        offset: i64,
        complete: bool,
    },
    Session {
        gap: i64,
    },
    Lifetime,
    /// The records after the newest that meets it.
    Since(Expr),
    /// This many of the newest that pass `where`.
    Last(usize),
}

impl Feature {
    /// The type of the input; `Int` for `count: "*"`.
    pub fn input_type(&self) -> Type {
        self.input.as_ref().map_or(Type::Int, |input| input.ty.clone())
    }

    /// The type of the whole value.
    pub fn value_type(&self) -> Type {
        let value = self.bucket_type();
        if self.by.is_some() { Type::Map(Box::new(value)) } else { value }
    }

    /// The type of the aggregate, in each bucket when there are some.
    fn bucket_type(&self) -> Type {
        let input = self.input_type();
        match (&self.aggregate, self.half_life) {
            (Aggregate::Count | Aggregate::Sum | Aggregate::Avg, Some(_)) => Type::Double,
            (Aggregate::Count | Aggregate::Distinct { .. } | Aggregate::ApproxDistinct { .. }, _) => Type::Int,
            (Aggregate::Avg | Aggregate::Variance | Aggregate::Stddev | Aggregate::Quantile { .. }, _) => Type::Double,
            (Aggregate::Quantiles { .. }, _) => Type::List(Box::new(Type::Double)),
            (Aggregate::FirstK(_) | Aggregate::LastK(_), _) => Type::List(Box::new(input)),
            (Aggregate::TopK { .. }, _) => Type::Counted(Box::new(input)),
            (Aggregate::Sum, _) => match input {
                Type::Decimal(_, scale) => Type::Decimal(38, scale),
                other => other,
            },
            (Aggregate::Min | Aggregate::Max | Aggregate::Last | Aggregate::First, _) => input,
        }
    }

    /// Exact types decide by their value whether a row is due, the others by what entered or left.
    pub fn is_exact(&self) -> bool {
        match self.aggregate {
            Aggregate::Avg | Aggregate::Variance | Aggregate::Stddev => false,
            Aggregate::ApproxDistinct { .. } | Aggregate::Quantile { .. } | Aggregate::Quantiles { .. } => false,
            Aggregate::Sum => self.half_life.is_none() && self.input_type() != Type::Double,
            _ => self.half_life.is_none(),
        }
    }

    /// What it shows when the window holds no input.
    pub fn empty_value(&self) -> Value {
        if let Some(declared) = &self.empty {
            return declared.clone();
        }
        match (&self.by, &self.aggregate, self.bucket_type()) {
            (Some(_), ..) => Value::Null,
            (_, Aggregate::Count | Aggregate::Sum, Type::Double) => Value::Double(0.0),
            (_, Aggregate::Sum, Type::Decimal(_, scale)) => Value::Decimal(0, scale),
            (_, Aggregate::Count | Aggregate::Sum, _) => Value::Int(0),
            (_, Aggregate::Distinct { .. } | Aggregate::ApproxDistinct { .. }, _) => Value::Int(0),
            _ => Value::Null,
        }
    }
}

impl Entity {
    /// The columns of its rows: the features, then what is derived with the row.
    pub fn columns(&self) -> Vec<(&str, Type)> {
        let features = self.features.iter().map(|feature| (feature.name.as_str(), feature.value_type()));
        let derived = self.derived.iter().filter(|derived| !derived.on_read);
        features.chain(derived.map(|derived| (derived.name.as_str(), derived.expr.ty.clone()))).collect()
    }

    /// What is derived with a row whose features have these values.
    pub fn derive(&self, features: &[Value]) -> Vec<Value> {
        self.derive_all(features, Value::Null)
            .into_iter()
            .zip(&self.derived)
            .filter_map(|(value, derived)| (!derived.on_read).then_some(value))
            .collect()
    }

    /// Everything that is derived, in the topology's order, for a reader at `now`.
    pub fn derive_on_read(&self, features: &[Value], now: i64) -> Vec<Value> {
        self.derive_all(features, Value::Ts(now))
    }

    /// A value that is read sees `now` behind everything else; the columns of an expression keep their places.
    fn derive_all(&self, features: &[Value], now: Value) -> Vec<Value> {
        let mut row = features[..self.features.len()].to_vec();
        row.resize(self.features.len() + self.derived.len(), Value::Null);
        row.push(now);
        for (index, derived) in self.derived.iter().enumerate() {
            row[self.features.len() + index] = derived.expr.value(&row);
        }
        row[self.features.len()..self.features.len() + self.derived.len()].to_vec()
    }
}
