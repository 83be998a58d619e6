//! What a feature shows: from its accumulator to a value of its output type.

use crate::aggregate::{Acc, Rich, Value};
use crate::time::Millis;
use crate::topology::{Aggregate, FeaturePlan, Literal, ValueType};

/// A feature's value.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Shown {
    #[default]
    Null,
    Value(Value),
    List(Vec<Value>),
    /// Values with how often they occur.
    Counted(Vec<(Value, u64)>),
    /// By bucket, in byte order.
    Map(Vec<(Box<str>, Shown)>),
}

/// How a feature's value is read from its place. Decimals are kept without their scale, `10^-scale`.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    Count,
    IntSum,
    DoubleSum,
    DecimalSum,
    Mean {
        scale: u8,
    },
    Variance {
        scale: u8,
    },
    Stddev {
        scale: u8,
    },
    /// The kept value of an extreme, the newest or the oldest.
    Kept,
    Distinct,
    Estimate,
    Quantile {
        q: f64,
        scale: u8,
    },
    Quantiles {
        qs: Vec<f64>,
        scale: u8,
    },
    /// All that is kept.
    List,
    Top {
        k: usize,
    },
    DecayedCount,
    DecayedSum {
        scale: u8,
    },
    DecayedMean {
        scale: u8,
    },
    /// In every bucket.
    Map(Box<Output>),
}

impl From<Option<Value>> for Shown {
    fn from(value: Option<Value>) -> Self {
        match value {
            None | Some(Value::Null) => Self::Null,
            Some(value) => Self::Value(value),
        }
    }
}

impl Shown {
    /// A constant of the topology.
    pub fn of(literal: &Literal) -> Self {
        Self::Value(match literal {
            Literal::Null => return Self::Null,
            Literal::Int(n) => Value::Int(*n),
            Literal::Double(x) => Value::Double(*x),
            Literal::Bool(b) => Value::Bool(*b),
            Literal::Time(t) => Value::Time(*t),
            Literal::Str(s) => Value::Str(s.as_str().into()),
            Literal::Decimal(n) => Value::Decimal((*n).into()),
        })
    }

    fn double(x: Option<f64>) -> Self {
        x.map(|x| Value::Double(x + 0.0)).into()
    }
}

/// `x * 10^-scale`.
fn scaled(x: f64, scale: u8) -> f64 {
    if scale == 0 { x } else { x / 10f64.powi(i32::from(scale)) }
}

impl Output {
    /// How a feature is read.
    pub fn of(feature: &FeaturePlan) -> Self {
        let scale = match feature.input_type {
            ValueType::Decimal { scale, .. } => scale,
            _ => 0,
        };
        let output = match (&feature.aggregate, feature.input_type) {
            (Aggregate::Count, _) => Self::Count,
            (Aggregate::Sum, ValueType::Int64) => Self::IntSum,
            (Aggregate::Sum, ValueType::Decimal { .. }) => Self::DecimalSum,
            (Aggregate::Sum, _) => Self::DoubleSum,
            (Aggregate::Avg, _) => Self::Mean { scale },
            (Aggregate::Variance, _) => Self::Variance { scale },
            (Aggregate::Stddev, _) => Self::Stddev { scale },
            (Aggregate::Min | Aggregate::Max | Aggregate::Last | Aggregate::First, _) => Self::Kept,
            (Aggregate::Distinct { .. }, _) => Self::Distinct,
            (Aggregate::ApproxDistinct { .. }, _) => Self::Estimate,
            (Aggregate::Quantile { q, .. }, _) => Self::Quantile { q: *q, scale },
            (Aggregate::Quantiles { qs, .. }, _) => Self::Quantiles { qs: qs.clone(), scale },
            (Aggregate::FirstK { .. } | Aggregate::LastK { .. }, _) => Self::List,
            (Aggregate::TopK { k, .. }, _) => Self::Top { k: *k as usize },
            (Aggregate::DecayedCount { .. }, _) => Self::DecayedCount,
            (Aggregate::DecayedSum { .. }, _) => Self::DecayedSum { scale },
            (Aggregate::DecayedAvg { .. }, _) => Self::DecayedMean { scale },
        };
        if feature.by.is_some() { Self::Map(Box::new(output)) } else { output }
    }

    /// What the aggregate itself shows of nothing: 0 for counts and sums, otherwise null.
    pub fn of_nothing(&self) -> Shown {
        match self {
            Self::Count | Self::IntSum | Self::Distinct | Self::Estimate => Shown::Value(Value::Int(0)),
            Self::DoubleSum | Self::DecayedCount | Self::DecayedSum { .. } => Shown::Value(Value::Double(0.0)),
            Self::DecimalSum => Shown::Value(Value::Decimal(0.into())),
            _ => Shown::Null,
        }
    }

    /// What a set of inputs that is not empty shows at `at`. Null only where it is lost to a bound or out of range, and
    /// for the variance of one input.
    pub fn show(&self, acc: &Acc, at: Millis) -> Shown {
        match (self, acc) {
            (Self::Count, acc) => Shown::Value(Value::Int(acc.count() as i64)),
            (Self::IntSum, acc) => acc.int_sum().map(Value::Int).into(),
            (Self::DoubleSum, Acc::Exact { sum, .. }) => Shown::double(sum.value()),
            (Self::DecimalSum, Acc::Exact { sum, .. }) => sum.integer().map(|n| Value::Decimal(n.into())).into(),
            (Self::Mean { scale }, acc) => Shown::double(acc.mean().map(|x| scaled(x, *scale))),
            (Self::Kept, Acc::Min(value) | Acc::Max(value) | Acc::Newest { value, .. }) => Some(value.clone()).into(),
            (Self::Map(inner), Acc::Rich(rich)) => inner.show_buckets(rich, at),
            (_, Acc::Rich(rich)) => self.show_rich(rich, at),
            _ => Shown::Null,
        }
    }

    fn show_buckets(&self, rich: &Rich, at: Millis) -> Shown {
        let Rich::Buckets(buckets) = rich else { return Shown::Null };
        let Some(accs) = buckets.get() else { return Shown::Null };
        let shown = accs.iter().map(|(bucket, acc)| (bucket, self.show(acc, at), acc));
        // A bucket with no value (one input has no variance) is not in the map; one whose value is lost is, with null.
        let held = shown.filter(|(_, shown, acc)| *shown != Shown::Null || self.null_is_lost(acc));
        let map: Vec<_> = held.map(|(bucket, shown, _)| (bucket.clone(), shown)).collect();
        if map.is_empty() { Shown::Null } else { Shown::Map(map) }
    }

    fn show_rich(&self, rich: &Rich, at: Millis) -> Shown {
        match (self, rich) {
            (Self::Variance { scale }, Rich::Moments { sum, squares, n }) if *n > 1 => {
                Shown::double(sum.variance(squares, *n).map(|x| scaled(x, 2 * scale)))
            }
            (Self::Stddev { scale }, Rich::Moments { sum, squares, n }) if *n > 1 => {
                Shown::double(sum.variance(squares, *n).map(|x| scaled(x.sqrt(), *scale)))
            }
            (Self::Distinct, Rich::Set { values, .. }) => {
                values.as_ref().map(|values| Value::Int(values.len() as i64)).into()
            }
            (Self::Estimate, Rich::Hll(distinct)) => Shown::Value(Value::Int(distinct.estimate())),
            (Self::Quantile { q, scale }, Rich::Histogram(histogram)) => {
                Shown::double(histogram.quantile(*q).map(|x| scaled(x, *scale)))
            }
            (Self::Quantiles { qs, scale }, Rich::Histogram(histogram)) => {
                let one = |q: &f64| Value::Double(scaled(histogram.quantile(*q).unwrap_or_default(), *scale) + 0.0);
                Shown::List(qs.iter().map(one).collect())
            }
            (Self::Kept, Rich::Kept(kept)) => kept.values().next().cloned().into(),
            (Self::List, Rich::Kept(kept)) => Shown::List(kept.values().cloned().collect()),
            (Self::Top { k }, Rich::Tally { counts: Some(counts), .. }) => {
                let mut all: Vec<(&Value, u64)> = counts.iter().map(|(value, n)| (value, *n)).collect();
                // Stable, and the values ascend: ties stay in their order.
                all.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
                Shown::Counted(all.into_iter().take(*k).map(|(value, n)| (value.clone(), n)).collect())
            }
            (Self::DecayedCount, Rich::Decayed(decayed)) => Shown::double(decayed.weight(at)),
            (Self::DecayedSum { scale }, Rich::Decayed(decayed)) => {
                Shown::double(decayed.sum(at).map(|x| scaled(x, *scale)))
            }
            (Self::DecayedMean { scale }, Rich::Decayed(decayed)) => {
                Shown::double(decayed.mean().map(|x| scaled(x, *scale)))
            }
            _ => Shown::Null,
        }
    }

    /// Whether null, of a set that is not empty, means that the value was lost.
    pub fn null_is_lost(&self, acc: &Acc) -> bool {
        match (self, acc) {
            (Self::Variance { .. } | Self::Stddev { .. }, Acc::Rich(rich)) => {
                !matches!(**rich, Rich::Moments { n: 1, .. })
            }
            (Self::Map(_), Acc::Rich(rich)) => matches!(&**rich, Rich::Buckets(buckets) if buckets.get().is_none()),
            _ => true,
        }
    }
}
