//! When a found value is as good as the expected one.
//!
//! Always holds: exact types have equal bits. Doubles of sums and averages may differ by 1e-12 of the value or by 2^-100
//! of the sum of absolute values, variances and decayed values by 1e-9, sketches by what they promise. What is derived
//! is computed again from the values found beside it, so it inherits no error.

use crate::support::oracle::{Aggregate, Entity, Feature, Slack, Value};

/// How near to the expected value a found one must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Nearness {
    Exact,
    /// A double, by this share of it.
    Double(f64),
    /// A double that a sketch of this error estimates.
    Quantile(f64),
    /// A whole number that a sketch of this error estimates.
    Distinct(f64),
}

impl Nearness {
    pub fn of(feature: &Feature) -> Self {
        match feature.aggregate {
            _ if feature.half_life.is_some() => Nearness::Double(1e-9),
            Aggregate::Variance | Aggregate::Stddev => Nearness::Double(1e-9),
            Aggregate::Quantile { error, .. } | Aggregate::Quantiles { error, .. } => Nearness::Quantile(error),
            Aggregate::ApproxDistinct { precision } => {
                Nearness::Distinct(5.0 * 1.04 / f64::from(1u32 << precision).sqrt())
            }
            _ if feature.is_exact() => Nearness::Exact,
            _ => Nearness::Double(1e-12),
        }
    }
}

/// Whether the found value will do. `slack` is the oracle's, empty when it does not matter.
pub fn same_value(wanted: &Value, found: &Value, nearness: Nearness, slack: &[f64]) -> bool {
    let slack = |index: usize| slack.get(index).copied().unwrap_or(0.0);
    match (wanted, found) {
        (Value::Map(wanted), Value::Map(found)) => {
            wanted.len() == found.len()
                && wanted.iter().zip(found.iter()).enumerate().all(|(index, (wanted, found))| {
                    wanted.0 == found.0 && same_in_bucket(&wanted.1, &found.1, nearness, slack(index))
                })
        }
        _ => same_in_bucket(wanted, found, nearness, slack(0)),
    }
}

fn same_in_bucket(wanted: &Value, found: &Value, nearness: Nearness, slack: f64) -> bool {
    match (wanted, found) {
        (Value::List(wanted), Value::List(found)) => {
            wanted.len() == found.len()
                && wanted.iter().zip(found.iter()).all(|(wanted, found)| same_leaf(wanted, found, nearness, slack))
        }
        _ => same_leaf(wanted, found, nearness, slack),
    }
}

fn same_leaf(wanted: &Value, found: &Value, nearness: Nearness, slack: f64) -> bool {
    let near = |wanted: f64, found: f64, allowed: f64| {
        let negative_zero = found == 0.0 && found.is_sign_negative();
        !negative_zero && (wanted - found).abs() <= allowed
    };
    match (wanted, found, nearness) {
        (Value::Double(wanted), Value::Double(found), Nearness::Double(share)) => {
            // A double below 1e-300 has fewer digits than the others.
            let floor = if share > 1e-12 { 1e-300 } else { 0.0 };
            near(*wanted, *found, slack.max(share * wanted.abs()).max(floor))
        }
        (Value::Double(wanted), Value::Double(found), Nearness::Quantile(error)) => {
            near(*wanted, *found, error * wanted.abs() * (1.0 + 1e-9) + 1e-12)
        }
        (Value::Int(wanted), Value::Int(found), Nearness::Distinct(error)) => {
            near(*wanted as f64, *found as f64, error * (*wanted as f64).abs() + 1.0)
        }
        _ => wanted == found,
    }
}

/// The names of the columns of a row that will not do: features against what is wanted, what is derived against what
/// it must be beside the features that were found.
pub fn wrong_columns(entity: &Entity, wanted: &[Value], slack: Option<&[Slack]>, found: &[Value]) -> Vec<String> {
    let mut wrong = vec![];
    for (index, feature) in entity.features.iter().enumerate() {
        let slack = slack.map_or(&[][..], |slack| &slack[index]);
        if !same_value(&wanted[index], &found[index], Nearness::of(feature), slack) {
            wrong.push(feature.name.clone());
        }
    }
    if wrong.is_empty() {
        let derived = entity.derive(found);
        let columns = entity.columns().into_iter().zip(found).skip(entity.features.len());
        for ((column, found), wanted) in columns.zip(&derived) {
            if !same_value(wanted, found, Nearness::Double(1e-12), &[]) {
                wrong.push(column.0.into());
            }
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_values_are_as_near_as_their_leaves() {
        let double = |v: f64| Value::Double(v);
        let list = |values: &[f64]| Value::List(values.iter().map(|v| double(*v)).collect());
        let map = |pairs: &[(&str, Value)]| Value::Map(pairs.iter().map(|(k, v)| ((*k).into(), v.clone())).collect());
        let near = Nearness::Quantile(0.01);
        assert!(same_value(&list(&[100.0, -5.0]), &list(&[100.9, -5.04]), near, &[]));
        assert!(!same_value(&list(&[100.0, -5.0]), &list(&[100.9, -5.06]), near, &[]));
        assert!(!same_value(&list(&[100.0]), &list(&[100.0, 1.0]), near, &[]));
        let wanted = map(&[("a", double(1.0)), ("b", Value::Null)]);
        assert!(same_value(
            &wanted,
            &map(&[("a", double(1.0 + 1e-10)), ("b", Value::Null)]),
            Nearness::Double(1e-9),
            &[]
        ));
        assert!(!same_value(&wanted, &map(&[("a", double(1.0)), ("c", Value::Null)]), Nearness::Double(1e-9), &[]));
        assert!(!same_value(&wanted, &map(&[("a", double(1.0)), ("b", double(0.0))]), Nearness::Double(1e-9), &[]));
        assert!(same_value(&Value::Int(1000), &Value::Int(1080), Nearness::Distinct(0.08), &[]));
        assert!(!same_value(&Value::Int(1000), &Value::Int(1082), Nearness::Distinct(0.08), &[]));
        assert!(same_value(&double(0.0), &double(1e-9), Nearness::Double(1e-12), &[1e-8]));
        assert!(!same_value(&double(0.0), &double(-0.0), Nearness::Double(1e-12), &[]));
        assert!(!same_value(&double(1.0), &double(1.0 + 1e-15), Nearness::Exact, &[]));
    }
}
