//! Judges one record on its bytes: tombstone, over limit, malformed, or the values of the declared fields.
//!
//! The grammar is serde_json's, met through raw values, so what is not declared needs only the grammar. Numbers are
//! read from their own text. Depth: the outermost object counts 1, and 128 is accepted.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::topology::{Field, FieldFrom, FieldType, Topology};
use super::value::read_decimal;
use super::{LogRecord, Value};

const MAX_DEPTH: usize = 128;
const FIRST_TIME: i64 = -62_135_596_800_000;
const LAST_TIME: i64 = 253_402_300_799_999;

/// What the bytes say.
#[derive(Debug, Clone, PartialEq)]
pub enum Judged {
    Tombstone,
    OverLimit,
    Malformed,
    /// The declared fields, the event time, and each entity's key (`None` is a null key).
    Row {
        values: Vec<Value>,
        event_time: i64,
        keys: Vec<Option<Arc<str>>>,
    },
}

/// Judges a record.
pub fn judge(topology: &Topology, record: &LogRecord) -> Judged {
    let Some(bytes) = &record.value else { return Judged::Tombstone };
    let key_bytes = record.key.as_ref().map_or(0, Vec::len);
    if bytes.len() > topology.max_record_bytes || key_bytes > topology.max_key_bytes {
        return Judged::OverLimit;
    }
    // The first fault in the order of bytes decides: too deep, or anything else.
    let utf8 = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    if let Some(at) = too_deep(utf8) {
        let before = serde_json::from_str::<IgnoredAny>(&utf8[..at]);
        return if before.is_err_and(|error| error.is_eof()) { Judged::OverLimit } else { Judged::Malformed };
    }
    if utf8.len() < bytes.len() {
        return Judged::Malformed;
    }
    let Some(fields) = project(topology, record, utf8) else { return Judged::Malformed };
    // A field of another type is in no key. Over limit is tested before malformed.
    let known: Vec<Value> = fields.iter().map(|field| field.clone().unwrap_or(Value::Null)).collect();
    let keys: Vec<_> = topology.entities.iter().map(|entity| key_text(&entity.key, &known)).collect();
    if keys.iter().flatten().any(|key| key.len() > topology.max_key_bytes) {
        return Judged::OverLimit;
    }
    let Some(values) = fields.into_iter().collect::<Option<Vec<Value>>>() else { return Judged::Malformed };
    let Value::Ts(event_time) = values[topology.event_time] else { return Judged::Malformed };
    if !(FIRST_TIME..=LAST_TIME).contains(&event_time) {
        return Judged::Malformed;
    }
    Judged::Row { values, event_time, keys }
}

/// Where the bracket stands that nests too deep.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut quoted, mut escaped) = (0usize, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some(at);
                }
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

type Names<'a> = BTreeMap<String, &'a RawValue>;

/// The declared fields, `None` where one is of another type; `None` for all when the text is no JSON object.
fn project(topology: &Topology, record: &LogRecord, text: &str) -> Option<Vec<Option<Value>>> {
    let top: Names = serde_json::from_str(text).ok()?;
    let fields = topology
        .fields
        .iter()
        .map(|field| {
            let value = match &field.from {
                FieldFrom::Key => match &record.key {
                    None => Some(Value::Null),
                    Some(key) => std::str::from_utf8(key).ok().map(|key| Value::Str(key.into())),
                },
                FieldFrom::Path(path) => read_path(&top, path, field),
            };
            if field.null_on_error { Some(value.unwrap_or(Value::Null)) } else { value }
        })
        .collect();
    Some(fields)
}

/// The value at a path; null when it or an object on the way is absent or null, `None` when something on the way is
/// neither null nor an object.
fn read_path(names: &Names, path: &[String], field: &Field) -> Option<Value> {
    match (names.get(&path[0]).map(|raw| raw.get()), &path[1..]) {
        (None | Some("null"), _) => Some(Value::Null),
        (Some(raw), []) => read(raw, field),
        (Some(raw), rest) => read_path(&serde_json::from_str::<Names>(raw).ok()?, rest, field),
    }
}

/// The value of the declared type; `None` when it is of another.
fn read(raw: &str, field: &Field) -> Option<Value> {
    if raw == "null" {
        return Some(Value::Null);
    }
    let first = raw.as_bytes()[0];
    let number = first == b'-' || first.is_ascii_digit();
    let whole = number && !raw.contains(['.', 'e', 'E']);
    match &field.ty {
        FieldType::Str if first == b'"' => serde_json::from_str::<String>(raw).ok().map(|text| Value::Str(text.into())),
        FieldType::Bool => raw.parse().ok().map(Value::Bool),
        FieldType::Int if whole => raw.parse().ok().map(Value::Int),
        FieldType::Double if number => {
            raw.parse::<f64>().ok().filter(|value| value.is_finite()).map(|value| Value::Double(value + 0.0))
        }
        FieldType::Ts { times, by } if whole => {
            raw.parse::<i64>().ok()?.checked_mul(*times).map(|n| Value::Ts(n.div_euclid(*by)))
        }
        FieldType::Decimal(precision, scale) => {
            let text = match first {
                b'"' => serde_json::from_str::<String>(raw).ok()?,
                _ if number => raw.to_string(),
                _ => return None,
            };
            read_decimal(&text, *precision, *scale, number).map(|value| Value::Decimal(value, *scale))
        }
        FieldType::TsText if first == b'"' => rfc3339(&serde_json::from_str::<String>(raw).ok()?).map(Value::Ts),
        _ => None,
    }
}

/// `2026-01-02T03:04:05.678+09:00` in ms, finer floored.
fn rfc3339(text: &str) -> Option<i64> {
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = text.get(from..to)?;
        if digits.bytes().all(|byte| byte.is_ascii_digit()) { digits.parse().ok() } else { None }
    };
    let mark = |at: usize, marks: &str| text.get(at..at + 1).filter(|mark| marks.contains(*mark)).map(|_| ());
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    for (at, allowed) in [(4, "-"), (7, "-"), (10, "Tt "), (13, ":"), (16, ":")] {
        mark(at, allowed)?;
    }
    let fraction: String = match text.get(19..)?.strip_prefix('.') {
        Some(rest) => rest.chars().take_while(char::is_ascii_digit).collect(),
        None => String::new(),
    };
    let zone = 19 + if fraction.is_empty() { 0 } else { fraction.len() + 1 };
    let shift = match text.get(zone..)? {
        "Z" | "z" => 0,
        rest if rest.len() == 6 => {
            mark(zone + 3, ":")?;
            let (hours, minutes) = (number(zone + 1, zone + 3)?, number(zone + 4, zone + 6)?);
            let minutes = Some(hours * 60 + minutes).filter(|_| hours < 24 && minutes < 60)?;
            if rest.starts_with('-') { -minutes } else { Some(minutes).filter(|_| rest.starts_with('+'))? }
        }
        _ => return None,
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    if !(1..=12).contains(&month) || day < 1 || day > lengths[month as usize - 1] {
        return None;
    }
    // A leap second is the next minute's first.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let before = year - 1;
    let days = before * 365 + before / 4 - before / 100 + before / 400 - 719_162
        + lengths[..month as usize - 1].iter().sum::<i64>()
        + day
        - 1;
    let millis: i64 = format!("{:0<3}", fraction)[..3].parse().ok()?;
    Some(((days * 24 + hour) * 60 + minute - shift) * 60_000 + second * 1000 + millis)
}

/// Plain text for one field, a JSON list for several; `None` when a part is null.
fn key_text(key: &[usize], values: &[Value]) -> Option<Arc<str>> {
    let plain = |index: &usize| match &values[*index] {
        Value::Str(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    };
    if let [only] = key {
        return plain(only).map(Arc::from);
    }
    let parts: Option<Vec<String>> = key
        .iter()
        .map(|index| match &values[*index] {
            Value::Str(text) => serde_json::to_string(&**text).ok(),
            _ => plain(index),
        })
        .collect();
    Some(format!("[{}]", parts?.join(",")).into())
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn rfc_3339_counts_from_1970() {
        assert_eq!(rfc3339("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(rfc3339("1969-12-31T23:59:59.9999Z"), Some(-1));
        assert_eq!(rfc3339("2024-02-29T12:00:00.5+01:00"), Some(1_709_204_400_500));
        assert_eq!(rfc3339("0001-01-01T00:00:00Z"), Some(-62_135_596_800_000));
        assert_eq!(rfc3339("2023-02-29T12:00:00Z"), None);
        assert_eq!(rfc3339("2024-02-29T12:00:00"), None);
        assert_eq!(rfc3339("2016-12-31T23:59:60Z"), rfc3339("2017-01-01T00:00:00Z"));
        assert_eq!(rfc3339("2024-02-29T12:00:00+24:00"), None);
    }
}
