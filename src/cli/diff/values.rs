//! How far two values of one feature lie apart: typed, into lists and maps, key by key.
//!
//! Always holds: the relative difference of two numbers is that of the larger, `|a - b| / max(|a|, |b|)`: 0 for equal
//! ones, 1 where one of them is 0 or missing, up to 2 where the signs differ. A list or map is as far as its farthest
//! part. What is no number is equal or not, and has no relative difference.

use serde_json::Value as Json;

use crate::cli::test::times::Clock;
use crate::cli::test::value::Value;

/// Times as dates.
const CLOCK: Clock = Clock { start: 0, relative: false };

/// How far two values lie apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Distance {
    /// Whether they count as equal under the tolerance.
    pub equal: bool,
    /// Of the numbers in them, the largest; `None` where there is none.
    pub relative: Option<f64>,
    /// Of numbers in their own unit, of times in ms, the largest: it tells apart what is equally far relatively.
    pub absolute: f64,
}

impl Distance {
    /// Of what is no number.
    fn plain(equal: bool) -> Self {
        Self { equal, relative: None, absolute: 0.0 }
    }

    /// Of two values with these parts too.
    fn and(self, other: Self) -> Self {
        let relative = self.relative.into_iter().chain(other.relative).reduce(f64::max);
        Self { equal: self.equal && other.equal, relative, absolute: self.absolute.max(other.absolute) }
    }
}

/// The distance of two values; numbers within `tolerance`, relatively, are equal.
pub fn distance(left: &Value, right: &Value, tolerance: f64) -> Distance {
    match (left, right) {
        (Value::List(a), Value::List(b)) => {
            let at = |items: &[Value], index: usize| items.get(index).cloned().unwrap_or(Value::Null);
            let pairs = (0..a.len().max(b.len())).map(|index| distance(&at(a, index), &at(b, index), tolerance));
            all(pairs, a.len() == b.len())
        }
        (Value::Map(a), Value::Map(b)) => {
            let find = |entries: &[(String, Value)], key: &String| {
                let found = entries.binary_search_by(|(of, _)| of.as_bytes().cmp(key.as_bytes()));
                found.ok().map(|at| entries[at].1.clone())
            };
            let of_right = |key| find(b, key).unwrap_or(Value::Null);
            let both = a.iter().map(|(key, value)| distance(value, &of_right(key), tolerance));
            let added = b.iter().filter(|(key, _)| find(a, key).is_none());
            let added = added.map(|(_, value)| distance(&Value::Null, value, tolerance));
            let same_keys = a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0);
            all(both.chain(added), same_keys)
        }
        (Value::Time(a), Value::Time(b)) => Distance { absolute: a.abs_diff(*b) as f64, ..Distance::plain(a == b) },
        _ => match (number(left), number(right)) {
            (Some(a), Some(b)) => numbers(exactly(left, right), a, b, tolerance),
            (Some(a), None) if *right == Value::Null => numbers(false, a, 0.0, 0.0).missing(),
            (None, Some(b)) if *left == Value::Null => numbers(false, 0.0, b, 0.0).missing(),
            _ => Distance::plain(left == right),
        },
    }
}

impl Distance {
    /// One of the two is not there: even a missing 0 is all of it.
    fn missing(self) -> Self {
        Self { equal: false, relative: Some(1.0), ..self }
    }
}

fn all(parts: impl Iterator<Item = Distance>, same_shape: bool) -> Distance {
    parts.fold(Distance::plain(same_shape), Distance::and)
}

fn numbers(same: bool, a: f64, b: f64, tolerance: f64) -> Distance {
    if same {
        return Distance { equal: true, relative: Some(0.0), absolute: 0.0 };
    }
    // Divided first: the difference of two doubles may be beyond the largest.
    let larger = a.abs().max(b.abs());
    let relative = if larger == 0.0 { 0.0 } else { (a / larger - b / larger).abs() };
    let absolute = (a - b).abs().min(f64::MAX);
    Distance { equal: tolerance > 0.0 && relative <= tolerance, relative: Some(relative), absolute }
}

/// A number as a double: for how far, not for whether.
fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(n) => Some(*n as f64),
        Value::Double(x) => Some(*x),
        Value::Decimal(n, scale) => Some(*n as f64 / 10f64.powi(i32::from(*scale))),
        _ => None,
    }
}

/// Whether two numbers are the same one, to the last digit; a feature may have become of another type.
fn exactly(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Int(a), Value::Decimal(..)) => exactly(&Value::Decimal(i128::from(*a), 0), right),
        (Value::Decimal(..), Value::Int(b)) => exactly(left, &Value::Decimal(i128::from(*b), 0)),
        (Value::Decimal(a, s), Value::Decimal(b, t)) => {
            let scale = *s.max(t);
            let raised = |n: &i128, of: &u8| 10i128.checked_pow(u32::from(scale - of))?.checked_mul(*n);
            // Digits that do not fit at the same scale are of a number that is far larger.
            raised(a, s).is_some_and(|a| raised(b, t) == Some(a))
        }
        (Value::Int(a), Value::Int(b)) => a == b,
        _ => number(left) == number(right),
    }
}

/// The value for people.
pub fn text(value: Option<&Value>) -> String {
    value.map_or_else(|| "-".to_string(), |value| value.text(&CLOCK, false))
}

/// The value for programs: decimals and times are texts, so that no digit is lost; null is nothing.
pub fn json(value: Option<&Value>) -> Json {
    match value {
        None | Some(Value::Null) => Json::Null,
        Some(Value::Int(n)) => Json::from(*n),
        Some(Value::Double(x)) => Json::from(*x),
        Some(Value::Bool(b)) => Json::from(*b),
        Some(Value::Str(text)) => Json::from(text.as_str()),
        Some(Value::List(items)) => items.iter().map(|item| json(Some(item))).collect(),
        Some(Value::Map(entries)) => {
            Json::Object(entries.iter().map(|(key, value)| (key.clone(), json(Some(value)))).collect())
        }
        Some(other @ (Value::Time(_) | Value::Decimal(..))) => Json::from(other.text(&CLOCK, false)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relative(left: Value, right: Value) -> Option<f64> {
        let there = distance(&left, &right, 0.0);
        let back = distance(&right, &left, 0.0);
        assert_eq!(there, back, "{left:?} and {right:?}: the distance has no direction");
        there.relative
    }

    fn equal(left: Value, right: Value, tolerance: f64) -> bool {
        distance(&left, &right, tolerance).equal
    }

    fn map(entries: &[(&str, i64)]) -> Value {
        Value::Map(entries.iter().map(|(key, n)| (key.to_string(), Value::Int(*n))).collect())
    }

    #[test]
    fn numbers_differ_relatively_to_the_larger() {
        assert_eq!(relative(Value::Int(3), Value::Int(4)), Some(0.25));
        assert_eq!(relative(Value::Double(0.0), Value::Double(7.0)), Some(1.0));
        assert_eq!(relative(Value::Double(-1e308), Value::Double(1e308)), Some(2.0));
        assert_eq!(relative(Value::Decimal(150, 2), Value::Decimal(30, 1)), Some(0.5));
        assert_eq!(relative(Value::Int(0), Value::Double(0.0)), Some(0.0));
        assert_eq!(relative(Value::Str("a".into()), Value::Str("b".into())), None);
    }

    #[test]
    fn equal_is_exact_unless_a_tolerance_is_given() {
        let third = 1.0 / 3.0;
        assert!(!equal(Value::Double(third), Value::Double(f64::from_bits(third.to_bits() + 1)), 0.0));
        assert!(equal(Value::Double(third), Value::Double(f64::from_bits(third.to_bits() + 1)), 1e-9));
        // As doubles both are the same.
        assert!(!equal(Value::Int(i64::MAX), Value::Int(i64::MAX - 1), 0.0));
        let long = 12_345_678_901_234_567_890_123_456_789_012_345_678;
        assert!(!equal(Value::Decimal(long, 2), Value::Decimal(long + 1, 2), 0.0));
        assert!(
            equal(Value::Decimal(120, 2), Value::Decimal(12, 1), 0.0)
                && equal(Value::Decimal(50, 1), Value::Int(5), 0.0)
        );
        assert!(!equal(Value::Decimal(long, 0), Value::Decimal(1, 2), 0.0));
        assert!(equal(Value::Int(100), Value::Int(105), 0.05) && !equal(Value::Int(100), Value::Int(106), 0.05));
    }

    #[test]
    fn lists_and_maps_are_as_far_as_their_farthest_part() {
        let list = |items: &[f64]| Value::List(items.iter().map(|x| Value::Double(*x)).collect());
        assert_eq!(relative(list(&[1.0, 8.0]), list(&[1.0, 6.0])), Some(0.25));
        assert_eq!(relative(list(&[1.0]), list(&[1.0, 0.0])), Some(1.0));
        assert_eq!(relative(map(&[("a", 4), ("b", 5)]), map(&[("a", 3), ("b", 5)])), Some(0.25));
        assert_eq!(relative(map(&[("a", 4)]), map(&[("a", 4), ("b", 1)])), Some(1.0));
        assert!(equal(map(&[("a", 100)]), map(&[("a", 99)]), 0.02));
        assert!(!equal(map(&[("a", 100)]), map(&[("b", 100)]), 0.5));
        let words = |items: &[&str]| Value::List(items.iter().map(|text| Value::Str(text.to_string())).collect());
        assert_eq!(relative(words(&["a"]), words(&["a", "b"])), None);
        assert!(!equal(words(&["a"]), words(&["a", "b"]), 0.0) && equal(words(&["a"]), words(&["a"]), 0.0));
    }

    #[test]
    fn programs_get_every_digit() {
        let decimal = Value::Decimal(12_345_678_901_234_567_890, 2);
        assert_eq!(json(Some(&decimal)), Json::from("123456789012345678.90"));
        assert_eq!(json(Some(&map(&[("a", 1)]))), serde_json::json!({"a": 1}));
        assert_eq!((json(None), text(None).as_str()), (Json::Null, "-"));
    }
}
