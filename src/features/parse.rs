//! From stored text back to values and columns: the inverse of what the online stores write (`sink::online::text`).
//!
//! Always holds: what was written from a column of a type reads back as that column; text of another form is no value.

use std::fmt;
use std::marker::PhantomData;

use arrow::array::ArrayRef;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::aggregate::Value;
use crate::error::Result;
use crate::task::{ColumnBuilder, Shown};
use crate::topology::{OutputType, ValueType, parse_decimal};

/// The column of these texts: null where there is none, and where one is not of the type.
pub(super) fn column<'t>(ty: &OutputType, texts: impl Iterator<Item = Option<&'t str>>) -> Result<ArrayRef> {
    let mut column = ColumnBuilder::new(ty);
    texts.for_each(|text| column.push(&text.and_then(|text| value(text, ty)).unwrap_or_default()));
    column.finish()
}

/// The value that this text stands for; `None` when it is not of the type.
pub(super) fn value(text: &str, ty: &OutputType) -> Option<Shown> {
    match ty {
        OutputType::Scalar(ValueType::String) => Some(Shown::Value(Value::Str(text.into()))),
        ty => json(text, ty),
    }
}

/// Tells of a text whether it stands for a value of this type, which is given again; but for strings it is JSON then.
pub(super) fn checker(ty: &OutputType) -> fn(&str, &OutputType) -> bool {
    match ty {
        OutputType::Scalar(ValueType::String) => |_, _| true,
        // Most values are plain numbers, and every read looks at every value.
        OutputType::Scalar(ValueType::Double) => |text, ty| plain(text).is_some() || json(text, ty).is_some(),
        OutputType::Scalar(ValueType::Int64 | ValueType::Timestamp) => {
            |text, ty| (text.len() < 19 && plain(text) == Some(Plain::Whole)) || json(text, ty).is_some()
        }
        _ => |text, ty| json(text, ty).is_some(),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plain {
    Whole,
    Fraction,
}

/// What kind of number it is, if it is one of JSON without an exponent, and not so long that it could be beyond all
/// doubles.
fn plain(text: &str) -> Option<Plain> {
    let text = text.as_bytes();
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    // A leading zero stands alone; -0 is no integer.
    let leads = whole == 1 || (whole > 1 && digits[0] != b'0');
    match &digits[whole..] {
        _ if !leads || text.len() > 100 || text == b"-0" => None,
        [] => Some(Plain::Whole),
        [b'.', fraction @ ..] if !fraction.is_empty() && fraction.iter().all(u8::is_ascii_digit) => {
            Some(Plain::Fraction)
        }
        _ => None,
    }
}

/// A value of a type as JSON, as it stands in lists and maps; null is none.
fn json(text: &str, ty: &OutputType) -> Option<Shown> {
    match ty {
        OutputType::Scalar(ty) => scalar(text, *ty).map(Shown::Value),
        OutputType::List(ty) => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let item = |raw: &&RawValue| if raw.get() == "null" { Some(Value::Null) } else { scalar(raw.get(), *ty) };
            items.iter().map(item).collect::<Option<_>>().map(Shown::List)
        }
        OutputType::Counted(ty) => {
            let items: Vec<(&RawValue, u64)> = serde_json::from_str(text).ok()?;
            let item = |(raw, count): &(&RawValue, u64)| Some((scalar(raw.get(), *ty)?, *count));
            items.iter().map(item).collect::<Option<_>>().map(Shown::Counted)
        }
        OutputType::Map(ty) => {
            let InOrder(entries) = serde_json::from_str::<InOrder<&RawValue>>(text).ok()?;
            let entry = |(bucket, raw): (String, &RawValue)| {
                Some((bucket.into(), if raw.get() == "null" { Shown::Null } else { json(raw.get(), ty)? }))
            };
            entries.into_iter().map(entry).collect::<Option<_>>().map(Shown::Map)
        }
    }
}

fn scalar(text: &str, ty: ValueType) -> Option<Value> {
    Some(match ty {
        ValueType::String => Value::Str(serde_json::from_str(text).ok()?),
        ValueType::Int64 => Value::Int(serde_json::from_str(text).ok()?),
        ValueType::Double => Value::Double(double(text)?),
        ValueType::Bool => Value::Bool(serde_json::from_str(text).ok()?),
        ValueType::Timestamp => Value::Time(serde_json::from_str(text).ok()?),
        ValueType::Decimal { precision, scale } => {
            // It must be a number of JSON too: 007 is none.
            double(text)?;
            Value::Decimal(parse_decimal(text, precision, scale)?.into())
        }
    })
}

fn double(text: &str) -> Option<f64> {
    serde_json::from_str::<f64>(text).ok().filter(|number| number.is_finite()).map(|number| number + 0.0)
}

/// A JSON object's members in the order of the text.
#[derive(Debug)]
pub struct InOrder<V>(pub Vec<(String, V)>);

impl<'t, V: Deserialize<'t>> Deserialize<'t> for InOrder<V> {
    fn deserialize<D: Deserializer<'t>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members(PhantomData))
    }
}

struct Members<V>(PhantomData<V>);

impl<'t, V: Deserialize<'t>> Visitor<'t> for Members<V> {
    type Value = InOrder<V>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'t>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(InOrder(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_short_way_to_know_a_number_knows_what_the_long_one_does() {
        let texts = [
            "0",
            "-0",
            "-0.0",
            "1",
            "-17",
            "007",
            "01.5",
            "1.",
            ".5",
            "1.5",
            "-1.25",
            "+1",
            "1e5",
            "1E400",
            "",
            "-",
            "--1",
            "1.2.3",
            "9223372036854775807",
            "9223372036854775808",
            "999999999999999999",
            "NaN",
            "null",
            " 1",
            "1 ",
            "١",
            "0.1000000000000000055511151231257827",
        ];
        let long = ["9".repeat(99), "9".repeat(400), format!("0.{}", "1".repeat(400))];
        for text in texts.into_iter().chain(long.iter().map(String::as_str)) {
            for ty in [ValueType::Double, ValueType::Int64, ValueType::Timestamp] {
                let ty = OutputType::Scalar(ty);
                assert_eq!(checker(&ty)(text, &ty), json(text, &ty).is_some(), "{text:?} as {ty}");
            }
        }
    }
}
