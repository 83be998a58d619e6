//! The aggregate of the inputs that a window holds.
//!
//! Always holds: it follows from the inputs alone, given in the order of (event time, offset); nothing is carried over.
//! For sketches it is the exact answer, which they may miss by what they promise.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use num_bigint::BigInt;

use super::Value;
use super::exact::{exact_sum, variance};
use super::topology::{Aggregate, Feature};
use super::value::{decimal_text, ten_to};

/// How far a double may be off whatever its size: one number, or one a bucket. For sums and averages it is 2^-100 of
/// the sum of absolute values, for decayed ones 1e-12 of it.
pub type Slack = Vec<f64>;

/// One record as an aggregate sees it. The value is never null.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    pub time: i64,
    pub value: &'a Value,
    /// Of a feature with `by`.
    pub bucket: Option<&'a Arc<str>>,
}

/// What the feature shows at `at` for these inputs.
pub fn value_of(feature: &Feature, inputs: &[Input], at: i64) -> (Value, Slack) {
    if inputs.is_empty() {
        return (feature.empty_value(), vec![]);
    }
    let Some(by) = &feature.by else {
        let (value, slack) = aggregate(feature, inputs, at);
        return (value, vec![slack]);
    };
    let mut buckets: BTreeMap<&Arc<str>, Vec<Input>> = BTreeMap::new();
    for input in inputs {
        buckets.entry(input.bucket.expect("a null bucket takes no record")).or_default().push(*input);
    }
    if buckets.len() > by.most {
        return (Value::Null, vec![]);
    }
    // One input has no variance: that is no value, and not one that is lost.
    let least = if matches!(feature.aggregate, Aggregate::Variance | Aggregate::Stddev) { 2 } else { 1 };
    buckets.retain(|_, inputs| inputs.len() >= least);
    if buckets.is_empty() {
        return (Value::Null, vec![]);
    }
    let mut slacks = vec![];
    let pairs = buckets.into_iter().map(|(bucket, inputs)| {
        let (value, slack) = aggregate(feature, &inputs, at);
        slacks.push(slack);
        (bucket.clone(), value)
    });
    (Value::Map(pairs.collect()), slacks)
}

/// The aggregate of at least one input, and its slack.
fn aggregate(feature: &Feature, inputs: &[Input], at: i64) -> (Value, f64) {
    if let Some(half_life) = feature.half_life {
        return decayed(feature, inputs, at, half_life);
    }
    let values: Vec<&Value> = inputs.iter().map(|input| input.value).collect();
    let value = match &feature.aggregate {
        Aggregate::Sum | Aggregate::Avg => return sum_or_avg(&values, feature.aggregate == Aggregate::Avg),
        Aggregate::Count => Value::Int(values.len() as i64),
        Aggregate::First => values[0].clone(),
        Aggregate::Last => values[values.len() - 1].clone(),
        Aggregate::Min => (*values.iter().min_by(|a, b| a.order(b)).expect("not empty")).clone(),
        Aggregate::Max => (*values.iter().max_by(|a, b| a.order(b)).expect("not empty")).clone(),
        Aggregate::FirstK(k) => Value::List(values.iter().take(*k).map(|value| (*value).clone()).collect()),
        Aggregate::LastK(k) => Value::List(values.iter().rev().take(*k).map(|value| (*value).clone()).collect()),
        Aggregate::Variance => variance(&values).map_or(Value::Null, Value::Double),
        Aggregate::Stddev => variance(&values).map_or(Value::Null, |variance| Value::Double(variance.sqrt())),
        Aggregate::Distinct { limit } => match distinct(&values) {
            found if found > *limit => Value::Null,
            found => Value::Int(found as i64),
        },
        Aggregate::ApproxDistinct { .. } => Value::Int(distinct(&values) as i64),
        Aggregate::TopK { k, limit } => top_k(&values, *k, *limit),
        Aggregate::Quantile { q, .. } => quantile(&sorted(&values), *q),
        Aggregate::Quantiles { q, .. } => {
            let sorted = sorted(&values);
            Value::List(q.iter().map(|q| quantile(&sorted, *q)).collect())
        }
    };
    (value, 0.0)
}

/// Exact, rounded once; null beyond the type of the sum.
fn sum_or_avg(values: &[&Value], average: bool) -> (Value, f64) {
    let count = values.len() as f64;
    match values[0] {
        Value::Int(_) => {
            let sum: i128 = values
                .iter()
                .map(|value| match value {
                    Value::Int(v) => i128::from(*v),
                    other => panic!("{other} is no int64"),
                })
                .sum();
            let value = if average {
                Value::Double(sum as f64 / count)
            } else {
                i64::try_from(sum).map_or(Value::Null, Value::Int)
            };
            (value, 0.0)
        }
        Value::Decimal(_, scale) => (sum_of_decimals(values, *scale, average), 0.0),
        _ => {
            let doubles: Vec<f64> = values.iter().filter_map(|value| value.number()).collect();
            let divisor = if average { count } else { 1.0 };
            let value = exact_sum(&doubles).map_or(Value::Null, |sum| Value::Double(sum / divisor + 0.0));
            (value, doubles.iter().map(|v| v.abs()).sum::<f64>() * 2f64.powi(-100) / divisor)
        }
    }
}

/// A sum has 38 digits at most; an average is made of the exact sum.
fn sum_of_decimals(values: &[&Value], scale: u8, average: bool) -> Value {
    let sum: BigInt = values
        .iter()
        .map(|value| match value {
            Value::Decimal(v, _) => BigInt::from(*v),
            other => panic!("{other} is no decimal"),
        })
        .sum();
    if average {
        let (whole, rest) = (&sum / ten_to(scale), &sum % ten_to(scale));
        let rest = i128::try_from(rest).expect("less than 10^38");
        let fraction: f64 = decimal_text(rest, scale).parse().expect("a decimal's text is a number");
        let whole: f64 = whole.to_string().parse().expect("a whole number's text is a number");
        return Value::Double((whole + fraction) / values.len() as f64 + 0.0);
    }
    match i128::try_from(&sum) {
        Ok(sum) if sum.unsigned_abs() < 10u128.pow(38) => Value::Decimal(sum, scale),
        _ => Value::Null,
    }
}

/// A record weighs `2^-((at - t) / half_life)`; an average weighs against its newest record, so `at` does not matter.
fn decayed(feature: &Feature, inputs: &[Input], at: i64, half_life: i64) -> (Value, f64) {
    let average = feature.aggregate == Aggregate::Avg;
    let from = if average { inputs[inputs.len() - 1].time } else { at };
    // Of the others even the largest double leaves nothing.
    let inputs = &inputs[inputs.partition_point(|input| (from - input.time) / half_life > 2_200)..];
    // In steps: a weight may be too small for a double where what it leaves of a large input is not.
    let weighed = |input: &Input, value: f64| {
        let (whole, rest) = ((from - input.time) / half_life, (from - input.time) % half_life);
        let steps = [-rest as f64 / half_life as f64, -(whole / 2) as f64, -(whole - whole / 2) as f64];
        steps.into_iter().fold(value, |value, step| value * f64::exp2(step))
    };
    let weights: Vec<f64> = inputs.iter().map(|input| weighed(input, 1.0)).collect();
    if feature.aggregate == Aggregate::Count {
        return (exact_sum(&weights).map_or(Value::Null, Value::Double), 0.0);
    }
    let part = |input: &Input| weighed(input, input.value.number().expect("a number"));
    let parts: Vec<f64> = inputs.iter().map(part).collect();
    let divisor = if average { exact_sum(&weights).expect("as many as inputs at most") } else { 1.0 };
    let slack = parts.iter().map(|part| part.abs()).sum::<f64>() * 1e-12 / divisor;
    (exact_sum(&parts).map_or(Value::Null, |sum| Value::Double(sum / divisor + 0.0)), slack)
}

/// How many distinct values.
fn distinct(values: &[&Value]) -> usize {
    let texts: Option<HashSet<&str>> = values
        .iter()
        .map(|value| match value {
            Value::Str(text) => Some(&**text),
            _ => None,
        })
        .collect();
    texts.map_or_else(|| counted(values).len(), |texts| texts.len())
}

/// The distinct values, ascending, and how often each is there.
fn counted<'a>(values: &[&'a Value]) -> Vec<(&'a Value, i64)> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.order(b));
    sorted.chunk_by(|a, b| a.order(b).is_eq()).map(|same| (same[0], same.len() as i64)).collect()
}

fn top_k(values: &[&Value], k: usize, limit: usize) -> Value {
    let mut counted = counted(values);
    if counted.len() > limit {
        return Value::Null;
    }
    // Stable: what is there equally often stays ascending.
    counted.sort_by_key(|(_, n)| -n);
    Value::Counted(counted.into_iter().take(k).map(|(value, n)| (value.clone(), n)).collect())
}

fn sorted(values: &[&Value]) -> Vec<f64> {
    let mut numbers: Vec<f64> = values.iter().filter_map(|value| value.number()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

/// The input of rank `floor(q * (n - 1))`.
fn quantile(sorted: &[f64], q: f64) -> Value {
    Value::Double(sorted[(q * (sorted.len() - 1) as f64).floor() as usize])
}
