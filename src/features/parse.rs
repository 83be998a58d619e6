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

/// Whether this text stands for a value of the type; but for strings it is JSON then.
pub(super) fn is_value(text: &str, ty: &OutputType) -> bool {
    matches!(ty, OutputType::Scalar(ValueType::String)) || json(text, ty).is_some()
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
