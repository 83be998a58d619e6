//! Feast's messages (`feast/types/Value.proto`), and each of our values as one of them.
//!
//! | Here | `feast.types.Value` |
//! |---|---|
//! | string, int64, double, bool | `string_val`, `int64_val`, `double_val`, `bool_val` |
//! | timestamp | `int64_val`, in milliseconds: Feast's `unix_timestamp_val` counts whole seconds |
//! | decimal | `decimal_val`: text, with all digits of its scale |
//! | list | the list of that type; with a null in it `list_val`, for the others cannot hold one |
//! | what `top_k` counts | `struct_list_val`: a `value` and its `n` each |
//! | map | `map_val`; a null in it is a value that is not set |
//!
//! Messages are written by hand from Feast's definition: a handful of its fields, no compiler of schemas.

use super::super::super::column::{Column, Nested};
use crate::time::Millis;

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Timestamp {
    pub(super) fn of(time: Millis) -> Self {
        Self { seconds: time.div_euclid(1_000), nanos: time.rem_euclid(1_000) as i32 * 1_000_000 }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Value {
    #[prost(oneof = "Val", tags = "2, 4, 5, 7, 12, 14, 15, 17, 20, 35, 42, 44, 45")]
    val: Option<Val>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Val {
    #[prost(string, tag = "2")]
    String(String),
    #[prost(int64, tag = "4")]
    Int64(i64),
    #[prost(double, tag = "5")]
    Double(f64),
    #[prost(bool, tag = "7")]
    Bool(bool),
    #[prost(message, tag = "12")]
    Strings(Strings),
    #[prost(message, tag = "14")]
    Int64s(Int64s),
    #[prost(message, tag = "15")]
    Doubles(Doubles),
    #[prost(message, tag = "17")]
    Bools(Bools),
    #[prost(message, tag = "20")]
    Map(Map),
    #[prost(message, tag = "35")]
    Structs(Maps),
    #[prost(message, tag = "42")]
    Values(Values),
    #[prost(string, tag = "44")]
    Decimal(String),
    #[prost(message, tag = "45")]
    Decimals(Strings),
}

#[derive(Clone, PartialEq, prost::Message)]
struct Strings {
    #[prost(string, repeated, tag = "1")]
    val: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Int64s {
    #[prost(int64, repeated, tag = "1")]
    val: Vec<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Doubles {
    #[prost(double, repeated, tag = "1")]
    val: Vec<f64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Bools {
    #[prost(bool, repeated, tag = "1")]
    val: Vec<bool>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Values {
    #[prost(message, repeated, tag = "1")]
    val: Vec<Value>,
}

/// A map is a list of its entries, in whatever order.
#[derive(Clone, PartialEq, prost::Message)]
struct Map {
    #[prost(message, repeated, tag = "1")]
    val: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Maps {
    #[prost(message, repeated, tag = "1")]
    val: Vec<Map>,
}

/// A value of a column; null is one that is not set.
pub(super) fn of(column: &Column<'_>, row: usize) -> Value {
    Value { val: (!column.is_null(row)).then(|| val(column, row)) }
}

fn val(column: &Column<'_>, row: usize) -> Val {
    match column {
        Column::String(array) => Val::String(array.value(row).to_string()),
        Column::Int64(array) => Val::Int64(array.value(row)),
        Column::Double(array) => Val::Double(array.value(row)),
        Column::Bool(array) => Val::Bool(array.value(row)),
        Column::Timestamp(array) => Val::Int64(array.value(row)),
        Column::Decimal(_) => Val::Decimal(text(column, row)),
        Column::Nested(nested) => match nested.as_ref() {
            Nested::List { lists, items } => list(items, range(lists.value_offsets(), row)),
            Nested::Counted { lists, values, counts } => {
                let pair = |item: usize| {
                    let n = Value { val: Some(Val::Int64(counts.value(item))) };
                    Map { val: vec![entry("value", of(values, item)), entry("n", n)] }
                };
                Val::Structs(Maps { val: range(lists.value_offsets(), row).map(pair).collect() })
            }
            Nested::Map { maps, buckets, values } => {
                let pairs = range(maps.value_offsets(), row).map(|item| entry(buckets.value(item), of(values, item)));
                Val::Map(Map { val: pairs.collect() })
            }
        },
    }
}

/// The items at these places of a column.
fn list(items: &Column<'_>, range: std::ops::Range<usize>) -> Val {
    if range.clone().any(|item| items.is_null(item)) {
        return Val::Values(Values { val: range.map(|item| of(items, item)).collect() });
    }
    match items {
        Column::String(array) => {
            Val::Strings(Strings { val: range.map(|item| array.value(item).to_string()).collect() })
        }
        Column::Int64(array) => Val::Int64s(Int64s { val: range.map(|item| array.value(item)).collect() }),
        Column::Timestamp(array) => Val::Int64s(Int64s { val: range.map(|item| array.value(item)).collect() }),
        Column::Double(array) => Val::Doubles(Doubles { val: range.map(|item| array.value(item)).collect() }),
        Column::Bool(array) => Val::Bools(Bools { val: range.map(|item| array.value(item)).collect() }),
        Column::Decimal(_) => Val::Decimals(Strings { val: range.map(|item| text(items, item)).collect() }),
        Column::Nested(_) => Val::Values(Values { val: range.map(|item| of(items, item)).collect() }),
    }
}

fn entry(key: &str, value: Value) -> Entry {
    Entry { key: key.to_string(), value: Some(value) }
}

fn text(column: &Column<'_>, row: usize) -> String {
    let mut bytes = Vec::new();
    column.write(row, &mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn range(offsets: &[i32], row: usize) -> std::ops::Range<usize> {
    offsets[row] as usize..offsets[row + 1] as usize
}

/// Back to the text of the plain hash.
#[cfg(test)]
impl Value {
    pub(super) fn text(&self) -> Option<String> {
        match self.val.as_ref()? {
            Val::String(text) | Val::Decimal(text) => Some(text.clone()),
            _ => Some(self.json().to_string()),
        }
    }

    fn json(&self) -> serde_json::Value {
        use serde_json::{Value as Json, json};
        let get = |map: &Map, key: &str| map.val.iter().find(|entry| entry.key == key).unwrap().json();
        match &self.val {
            None => Json::Null,
            Some(Val::String(text) | Val::Decimal(text)) => json!(text),
            Some(Val::Int64(value)) => json!(value),
            Some(Val::Double(value)) => json!(value),
            Some(Val::Bool(value)) => json!(value),
            Some(Val::Strings(list) | Val::Decimals(list)) => json!(list.val),
            Some(Val::Int64s(list)) => json!(list.val),
            Some(Val::Doubles(list)) => json!(list.val),
            Some(Val::Bools(list)) => json!(list.val),
            Some(Val::Values(list)) => list.val.iter().map(Self::json).collect(),
            Some(Val::Structs(list)) => list.val.iter().map(|map| json!([get(map, "value"), get(map, "n")])).collect(),
            Some(Val::Map(map)) => {
                Json::Object(map.val.iter().map(|entry| (entry.key.clone(), entry.json())).collect())
            }
        }
    }
}

#[cfg(test)]
impl Entry {
    fn json(&self) -> serde_json::Value {
        self.value.as_ref().map_or(serde_json::Value::Null, Value::json)
    }
}

#[cfg(test)]
impl Timestamp {
    pub(super) fn millis(&self) -> Millis {
        self.seconds * 1_000 + Millis::from(self.nanos) / 1_000_000
    }
}
