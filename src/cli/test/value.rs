//! Values as a case expects them and as a row has them: read from a case, taken from a row, compared and written.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimestampMillisecondType};

use super::times::Clock;
use crate::time::Millis;
use crate::topology::yaml::{Mark, Node, Scalar};
use crate::topology::{Aggregate, DerivedOn, EntityPlan, FeaturePlan, Literal, OutputType, ValueType, parse_decimal};

/// How near a double must be whose last bits do not matter, relatively.
const NEAR: f64 = 1e-9;
/// What is this near to 0 is 0 where last bits do not matter.
const ZERO: f64 = 1e-12;

/// A value of any type that a feature can show.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    Null,
    Int(i64),
    Double(f64),
    Bool(bool),
    Time(Millis),
    Str(String),
    /// Without its scale, and the scale.
    Decimal(i128, u8),
    /// What `top_k` counts is a list of lists of two.
    List(Vec<Value>),
    /// By bucket, in byte order.
    Map(Vec<(String, Value)>),
}

/// How near a found value must be: relatively; 0 is exactly.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Tolerance {
    double: f64,
    int: f64,
}

/// A feature or a derived feature, as cases may name it.
#[derive(Debug, Clone)]
pub struct Shown {
    pub name: String,
    pub ty: OutputType,
    pub tolerance: Tolerance,
    /// Computed as it is read: known where there is a clock, and in no row.
    pub read: bool,
}

/// What an entity shows: its features, then all that is derived, each in the topology's order.
pub fn shown(entity: &EntityPlan) -> Vec<Shown> {
    let features = entity.features.iter().map(|feature| Shown {
        name: feature.name.clone(),
        ty: feature.output_type.clone(),
        tolerance: tolerance(feature),
        read: false,
    });
    let derived = entity.derived.iter().map(|derived| Shown {
        name: derived.name.clone(),
        ty: derived.output_type.clone(),
        tolerance: Tolerance { double: NEAR, int: 0.0 },
        read: derived.on == DerivedOn::Read,
    });
    features.chain(derived).collect()
}

/// Exact types exactly, a sketch within the error that it promises, other doubles but for their last bits.
fn tolerance(feature: &FeaturePlan) -> Tolerance {
    match feature.aggregate {
        _ if feature.is_exact() => Tolerance::default(),
        Aggregate::Quantile { error, .. } | Aggregate::Quantiles { error, .. } => {
            Tolerance { double: error + NEAR, int: 0.0 }
        }
        // Three standard errors of HyperLogLog.
        Aggregate::ApproxDistinct { precision } => {
            Tolerance { double: 0.0, int: 3.0 * 1.04 / f64::from(1u32 << precision).sqrt() }
        }
        _ => Tolerance { double: NEAR, int: 0.0 },
    }
}

/// What is wrong with a value: where, what was found, and the remedy.
pub type Wrong = (Mark, String, String);

impl Value {
    /// The value of this type that a case writes.
    pub fn read(node: &Node, ty: &OutputType, clock: &Clock) -> Result<Self, Wrong> {
        let wrong = || {
            let remedy = format!("write {}", example(ty));
            (node.mark(), format!("{} is not of type {ty}", node.describe()), remedy)
        };
        match (ty, node) {
            (_, node) if node.is_null() => Ok(Self::Null),
            (OutputType::Scalar(ty), Node::Scalar(scalar)) => Self::read_scalar(scalar, *ty, clock).ok_or_else(wrong),
            (OutputType::List(ty), Node::Sequence(items)) => {
                let ty = OutputType::Scalar(*ty);
                items.items.iter().map(|item| Self::read(item, &ty, clock)).collect::<Result<_, _>>().map(Self::List)
            }
            (OutputType::Counted(ty), Node::Sequence(items)) => {
                let ty = OutputType::Scalar(*ty);
                let pair = |item: &Node| match item {
                    Node::Sequence(pair) if pair.items.len() == 2 => {
                        let count = OutputType::Scalar(ValueType::Int64);
                        let value = Self::read(&pair.items[0], &ty, clock)?;
                        Ok(Self::List(vec![value, Self::read(&pair.items[1], &count, clock)?]))
                    }
                    _ => Err(wrong()),
                };
                items.items.iter().map(pair).collect::<Result<_, _>>().map(Self::List)
            }
            (OutputType::Map(ty), Node::Mapping(mapping)) => {
                let entry = |(key, node): &(Scalar, Node)| Ok((key.text.clone(), Self::read(node, ty, clock)?));
                let mut entries: Vec<_> = mapping.entries.iter().map(entry).collect::<Result<_, Wrong>>()?;
                entries.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
                Ok(Self::Map(entries))
            }
            _ => Err(wrong()),
        }
    }

    fn read_scalar(scalar: &Scalar, ty: ValueType, clock: &Clock) -> Option<Self> {
        let text = scalar.text.as_str();
        match ty {
            ValueType::String => Some(Self::Str(text.to_string())),
            ValueType::Int64 => text.parse().ok().map(Self::Int),
            ValueType::Double => text.parse().ok().filter(|x: &f64| x.is_finite()).map(Self::Double),
            ValueType::Bool => text.parse().ok().map(Self::Bool),
            ValueType::Timestamp => clock.read(text).map(Self::Time),
            ValueType::Decimal { precision, scale } => {
                parse_decimal(text, precision, scale).map(|number| Self::Decimal(number, scale))
            }
        }
    }

    /// The value that a feature of this type declares as its empty one.
    pub fn constant(literal: &Literal, ty: &OutputType) -> Self {
        match literal {
            Literal::Null => Self::Null,
            Literal::Int(n) => Self::Int(*n),
            Literal::Double(x) => Self::Double(*x),
            Literal::Bool(b) => Self::Bool(*b),
            Literal::Time(at) => Self::Time(*at),
            Literal::Str(text) => Self::Str(text.clone()),
            Literal::Decimal(number) => match ty {
                OutputType::Scalar(ValueType::Decimal { scale, .. }) => Self::Decimal(*number, *scale),
                _ => Self::Decimal(*number, 0),
            },
        }
    }

    /// The value at `row` of a column.
    pub fn of(array: &ArrayRef, row: usize) -> Self {
        if array.is_null(row) {
            return Self::Null;
        }
        match array.data_type() {
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>().value(row)),
            DataType::Boolean => Self::Bool(array.as_boolean().value(row)),
            DataType::Timestamp(..) => Self::Time(array.as_primitive::<TimestampMillisecondType>().value(row)),
            DataType::Decimal128(_, scale) => {
                Self::Decimal(array.as_primitive::<Decimal128Type>().value(row), *scale as u8)
            }
            DataType::Utf8 => Self::Str(array.as_string::<i32>().value(row).to_string()),
            DataType::List(_) => {
                let items = array.as_list::<i32>().value(row);
                Self::List((0..items.len()).map(|item| Self::of(&items, item)).collect())
            }
            DataType::Struct(_) => {
                Self::List(array.as_struct().columns().iter().map(|column| Self::of(column, row)).collect())
            }
            DataType::Map(..) => {
                let entries = array.as_map().value(row);
                let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1));
                Self::Map((0..entries.len()).map(|at| (keys.value(at).to_string(), Self::of(values, at))).collect())
            }
            // No feature has another type.
            _ => Self::Null,
        }
    }

    /// Whether this is what was expected.
    pub fn is(&self, expected: &Self, tolerance: Tolerance) -> bool {
        match (self, expected) {
            (Self::Int(a), Self::Int(b)) => a == b || near(*a as f64, *b as f64, tolerance.int),
            (Self::Double(a), Self::Double(b)) => {
                let zero = tolerance.double > 0.0 && a.abs() <= ZERO && b.abs() <= ZERO;
                a == b || zero || near(*a, *b, tolerance.double)
            }
            (Self::List(a), Self::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.is(b, tolerance)),
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1.is(&b.1, tolerance))
            }
            (a, b) => a == b,
        }
    }

    /// As a case writes it on one line.
    pub fn text(&self, clock: &Clock, json: bool) -> String {
        match self {
            Self::Null => "null".to_string(),
            Self::Int(n) => n.to_string(),
            Self::Double(x) => serde_json::json!(x).to_string(),
            Self::Bool(b) => b.to_string(),
            Self::Time(at) => quoted_if(clock.show(*at), json),
            Self::Str(text) => quoted(text, json),
            Self::Decimal(number, scale) => decimal(*number, usize::from(*scale)),
            Self::List(items) => {
                let items: Vec<String> = items.iter().map(|item| item.text(clock, json)).collect();
                format!("[{}]", items.join(", "))
            }
            Self::Map(entries) => {
                let entry = |(key, value): &(String, Self)| (key.clone(), value.text(clock, json));
                flow(&entries.iter().map(entry).collect::<Vec<_>>(), json)
            }
        }
    }
}

fn near(a: f64, b: f64, tolerance: f64) -> bool {
    (a - b).abs() <= tolerance * a.abs().max(b.abs())
}

/// What a value of this type looks like, for a remedy.
fn example(ty: &OutputType) -> &'static str {
    match ty {
        OutputType::Scalar(ValueType::String) => "a text",
        OutputType::Scalar(ValueType::Int64) => "a whole number",
        OutputType::Scalar(ValueType::Double) => "a number",
        OutputType::Scalar(ValueType::Bool) => "true or false",
        OutputType::Scalar(ValueType::Timestamp) => "a time like +10m or 2026-01-01T00:00:00Z",
        OutputType::Scalar(ValueType::Decimal { .. }) => "a number with no more digits than the type has",
        OutputType::List(_) => "a list like [1, 2]",
        OutputType::Counted(_) => "a list like [[a, 3], [b, 1]]",
        OutputType::Map(_) => "a mapping like {a: 1, b: 2}",
    }
}

/// A mapping on one line, of names and ready values.
pub fn flow(entries: &[(String, String)], json: bool) -> String {
    let entries: Vec<String> = entries.iter().map(|(name, value)| format!("{}: {value}", quoted(name, json))).collect();
    format!("{{{}}}", entries.join(", "))
}

/// Text that reads back as itself: in quotes where it must be.
pub fn quoted(text: &str, json: bool) -> String {
    let plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "_-./".contains(c))
        && !matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false" | "yes" | "no" | "on" | "off");
    quoted_if(text.to_string(), json || !plain)
}

fn quoted_if(text: String, quotes: bool) -> String {
    if quotes { serde_json::Value::from(text).to_string() } else { text }
}

fn decimal(number: i128, scale: usize) -> String {
    let sign = if number < 0 { "-" } else { "" };
    let digits = format!("{:0>width$}", number.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::test::times::DEFAULT_START;
    use crate::topology::yaml;

    const CLOCK: Clock = Clock { start: DEFAULT_START, relative: true };

    fn read(text: &str, ty: &OutputType) -> Value {
        Value::read(&yaml::read(text).unwrap().0, ty, &CLOCK).unwrap_or_else(|(_, found, _)| Value::Str(found))
    }

    #[test]
    fn a_value_reads_as_it_is_written() {
        let decimal = ValueType::Decimal { precision: 5, scale: 2 };
        let map = OutputType::Map(Box::new(OutputType::Scalar(ValueType::Int64)));
        for (ty, text) in [
            (OutputType::Scalar(ValueType::String), "\"true\""),
            (OutputType::Scalar(ValueType::String), "a-b"),
            (OutputType::Scalar(ValueType::Double), "1.5"),
            (OutputType::Scalar(ValueType::Timestamp), "+1h"),
            (OutputType::Scalar(decimal), "-0.05"),
            (OutputType::List(ValueType::String), "[a, null, \"1\"]"),
            (OutputType::Counted(ValueType::Bool), "[[true, 3], [false, 1]]"),
            (map.clone(), "{\"\": 1, a: null}"),
        ] {
            assert_eq!(read(text, &ty).text(&CLOCK, false), text);
        }
        assert_eq!(read("{b: 1, a: 2}", &map), read("{a: 2, b: 1}", &map));
        assert_eq!(
            read("0.123", &OutputType::Scalar(decimal)),
            Value::Str("`0.123` is not of type decimal(5,2)".into())
        );
        let strings = Value::List(vec![Value::Str("a".into()), Value::Time(DEFAULT_START)]);
        assert_eq!(strings.text(&CLOCK, true), r#"["a", "+0s"]"#);
    }

    #[test]
    fn only_what_is_inexact_may_differ_and_only_in_its_last_bits() {
        let (exact, near) = (Tolerance::default(), Tolerance { double: NEAR, int: 0.0 });
        let is = |found: f64, expected: f64, tolerance| Value::Double(found).is(&Value::Double(expected), tolerance);
        assert!(is(0.1 + 0.2, 0.3, near) && !is(0.1 + 0.2, 0.3, exact));
        assert!(is(1e-16, 0.0, near) && !is(1e-16, 0.0, exact) && !is(1.0, 1.0 + 1e-8, near));
        let count = |n| Value::List(vec![Value::Int(n)]);
        assert!(!count(1_000_000_001).is(&count(1_000_000_000), near));
        assert!(count(1010).is(&count(1000), Tolerance { double: 0.0, int: 0.05 }));
    }
}
