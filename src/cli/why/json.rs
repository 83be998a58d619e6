//! The answer for programs: one JSON object with everything that the text has.

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::compare::Said;
use super::words::{VERDICTS, because, described, word};
use crate::cli::instant::show_instant as time;
use crate::cli::rows;
use crate::error::{Error, Result};
use crate::task::{Kept, Part, Why};
use crate::time::Millis;

/// All of it.
pub fn of(answer: &Answer<'_>, limit: usize) -> Result<Value> {
    let (question, partition) = (answer.question, answer.partition);
    let features = answer.features.iter().enumerate();
    let features = features.map(|(index, why)| feature(answer, index, why, limit)).collect::<Result<Vec<_>>>()?;
    Ok(json!({
        "entity": question.entity().name,
        "id": question.id,
        "feature": question.name(),
        "derived": question.derived_sql(),
        "at": time(answer.at),
        "value": value(&answer.value, 0)?,
        "topic": question.plan.source.topic,
        "partition": partition.partition,
        "first_offset": partition.low,
        "next_offset": partition.high,
        "log_is_cut": answer.is_cut,
        "records_read": answer.trace.read(),
        "features": features,
        "state": answer.kept.as_ref().map(|state| kept(answer, state, limit)).transpose()?,
        "history": said(&answer.history),
        "online": said(&answer.online),
        "notes": answer.notes,
    }))
}

fn feature(answer: &Answer<'_>, feature: usize, why: &Why, limit: usize) -> Result<Value> {
    let of = answer.trace.feature(feature);
    let mut parts = Vec::new();
    let left_out = why.window.parts.len().saturating_sub(limit);
    for (row, (of, offsets)) in why.window.parts.iter().enumerate().skip(left_out) {
        let mut one = part(of);
        one.insert("value".into(), value(&why.window.values, row)?);
        one.insert("records".into(), json!(offsets.len()));
        one.insert("offsets".into(), json!(newest(offsets, limit)));
        parts.push(Value::Object(one));
    }
    let mut buckets = Vec::new();
    if let Some(of) = &why.buckets {
        for (row, (bucket, offsets)) in of.parts.iter().enumerate() {
            let value = value(&of.values, row)?;
            let newest = newest(offsets, limit);
            buckets.push(json!({"bucket": bucket, "value": value, "records": offsets.len(), "offsets": newest}));
        }
    }
    let counts: Map<String, Value> = VERDICTS
        .iter()
        .map(|name| (name.to_string(), json!(why.verdicts.iter().filter(|one| word(one) == *name).count())))
        .collect();
    let records = answer.records(why, limit);
    Ok(json!({
        "feature": of.name,
        "definition": described(answer, of),
        "value": value(&why.value, 0)?,
        "parts": parts,
        "parts_left_out": left_out,
        "buckets": why.buckets.as_ref().map(|_| buckets),
        "verdicts": counts,
        "records": self::records(answer, feature, why, &records)?,
        "records_left_out": why.verdicts.len() - records.len(),
    }))
}

fn newest(offsets: &[i64], limit: usize) -> &[i64] {
    &offsets[offsets.len().saturating_sub(limit)..]
}

fn records(answer: &Answer<'_>, feature: usize, why: &Why, chosen: &[usize]) -> Result<Vec<Value>> {
    let inputs = answer.trace.inputs(feature)?;
    let record = |&record: &usize| {
        let (of, verdict) = (&answer.trace.records()[record], &why.verdicts[record]);
        Ok(json!({
            "offset": of.offset,
            "event_time": of.event_time.map(time),
            "kafka_time": of.kafka_time.map(time),
            "input": inputs.as_ref().map(|inputs| value(inputs, record)).transpose()?,
            "bucket": answer.trace.bucket(feature, record),
            "verdict": word(verdict),
            "dead_letter": verdict.is_dead_letter(),
            "because": because(verdict, &answer.question.plan.source),
        }))
    };
    chosen.iter().map(record).collect()
}

fn part(part: &Part) -> Map<String, Value> {
    let times = |times: &[(&str, Millis)]| -> Map<String, Value> {
        times.iter().map(|(name, at)| ((*name).to_string(), json!(time(*at)))).collect()
    };
    let (kind, mut fields) = match part {
        Part::Tile { start, end, leaves } => ("tile", times(&[("start", *start), ("end", *end), ("leaves", *leaves)])),
        Part::Tiles { start, end, leaves } => {
            ("tiles", times(&[("start", *start), ("end", *end), ("leaves", *leaves)]))
        }
        Part::Tumbling { start, end, shown_until } => {
            ("tumbling", times(&[("start", *start), ("end", *end), ("leaves", *shown_until)]))
        }
        Part::Session { start, last, over } => {
            ("session", times(&[("start", *start), ("last", *last), ("leaves", *over)]))
        }
        Part::Since { border } => {
            let mut fields = border.map_or_else(Map::new, |(at, _)| times(&[("border", at)]));
            fields.insert("border_offset".into(), json!(border.map(|(_, offset)| offset)));
            ("since", fields)
        }
        Part::Last { .. } => ("last", Map::new()),
        Part::Lifetime => ("lifetime", Map::new()),
    };
    fields.insert("part".into(), json!(kind));
    fields
}

/// What the state keeps.
fn kept(answer: &Answer<'_>, state: &Kept, limit: usize) -> Result<Value> {
    let mut features = Vec::new();
    for (feature, of) in state.features.iter().enumerate() {
        let left_out = of.parts.len().saturating_sub(limit);
        let mut parts = Vec::new();
        for (row, of_state) in of.parts.iter().enumerate().skip(left_out) {
            let mut one = part(of_state);
            one.insert("value".into(), value(&of.values, row)?);
            parts.push(Value::Object(one));
        }
        features.push(json!({
            "feature": answer.trace.feature(feature).name,
            "value": value(&of.value, 0)?,
            "parts": parts,
            "parts_left_out": left_out,
            "kept_offsets": newest(&of.offsets, limit),
        }));
    }
    Ok(json!({"at": time(state.at), "next_offset": state.next_offset, "features": features}))
}

fn said(said: &Said) -> Value {
    match said {
        Said::Nothing(why) => json!({"value": null, "because": why}),
        Said::Value(compared) => json!({
            "value": compared.stored,
            "at": time(compared.moment.at),
            "version": compared.version,
            "offset": (compared.moment.through < i64::MAX).then_some(compared.moment.through),
            "recomputed": compared.recomputed,
            "same": compared.same,
        }),
    }
}

/// A value as JSON; a decimal as text, so that it keeps its digits.
fn value(array: &ArrayRef, row: usize) -> Result<Value> {
    if array.is_null(row) {
        return Ok(Value::Null);
    }
    let all = |items: &ArrayRef| (0..items.len()).map(|item| value(items, item)).collect::<Result<Vec<_>>>();
    Ok(match array.data_type() {
        DataType::Decimal128(..) => Value::String(rows::cell(array, row)?),
        DataType::List(_) => Value::Array(all(&array.as_list::<i32>().value(row))?),
        DataType::Struct(_) => {
            let fields = array.as_struct().columns().iter().map(|field| value(field, row));
            Value::Array(fields.collect::<Result<_>>()?)
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0).as_string::<i32>(), all(entries.column(1))?);
            Value::Object((0..keys.len()).map(|key| keys.value(key).to_string()).zip(values).collect())
        }
        _ => {
            let text = rows::json(array, row)?;
            serde_json::from_str(&text)
                .map_err(|error| Error::internal(format!("a value is not JSON: {text}: {error}")))?
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Decimal128Array, Float64Array, MapBuilder, StringBuilder, TimestampMillisecondArray};

    use super::*;

    #[test]
    fn values_are_json_and_decimals_keep_their_digits() {
        let digits = Decimal128Array::from(vec![Some(10i128.pow(20)), None]).with_precision_and_scale(38, 2).unwrap();
        let digits: ArrayRef = Arc::new(digits);
        assert_eq!(value(&digits, 0).unwrap(), json!("1000000000000000000.00"));
        assert_eq!(value(&digits, 1).unwrap(), Value::Null);
        let double: ArrayRef = Arc::new(Float64Array::from(vec![1.5]));
        assert_eq!(value(&double, 0).unwrap(), json!(1.5));
        let time: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1500]).with_timezone("UTC"));
        assert_eq!(value(&time, 0).unwrap(), json!("1970-01-01T00:00:01.500Z"));
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        map.keys().append_value("b\"");
        map.values().append_null();
        map.append(true).unwrap();
        let map: ArrayRef = Arc::new(map.finish());
        assert_eq!(value(&map, 0).unwrap(), json!({"b\"": null}));
    }
}
