//! Keys and times of labels.
//!
//! Always holds: a time is in whole microseconds, finer ones floored; one without an offset is UTC. A label without a
//! time is refused by its number; one without a key has no entity.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray};
use arrow::compute::{CastOptions, cast, cast_with_options, concat_batches};
use arrow::datatypes::{
    DataType, Date32Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use arrow::util::display::FormatOptions;

use super::ask::KeyPart;
use crate::error::{Error, Result};
use crate::lake::{BATCH_ROWS, Labels};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// Labels in batches of [`BATCH_ROWS`], the last one smaller.
pub struct Rebatched {
    labels: Labels,
    waiting: VecDeque<RecordBatch>,
    rows: usize,
}

impl Rebatched {
    pub fn new(labels: Labels) -> Self {
        Self { labels, waiting: VecDeque::new(), rows: 0 }
    }

    /// The next batch; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.rows < BATCH_ROWS {
            let Some(batch) = self.labels.next().await? else { break };
            self.rows += batch.num_rows();
            self.waiting.push_back(batch);
        }
        let (mut parts, mut missing) = (Vec::new(), BATCH_ROWS.min(self.rows));
        self.rows -= missing;
        while missing > 0 {
            let Some(batch) = self.waiting.pop_front() else { break };
            let count = batch.num_rows().min(missing);
            if count < batch.num_rows() {
                self.waiting.push_front(batch.slice(count, batch.num_rows() - count));
            }
            parts.push(batch.slice(0, count));
            missing -= count;
        }
        let failed = |e| Error::internal(format!("labels could not be brought together: {e}"));
        match parts.as_slice() {
            [] => Ok(None),
            [one] => Ok(Some(one.clone())),
            [first, ..] => concat_batches(first.schema_ref(), &parts).map(Some).map_err(failed),
        }
    }
}

/// The type that the time has in the answer: text becomes a time.
pub fn time_type(data_type: &DataType) -> DataType {
    match text_type(data_type) {
        true => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        false => data_type.clone(),
    }
}

/// The times of labels in microseconds, and their column as the answer has it. `first` is the first one's number.
pub fn times(column: &ArrayRef, name: &str, first: u64) -> Result<(Vec<i64>, ArrayRef)> {
    let wrong = |what: &str| {
        Error::configuration(format!("the labels' column `{name}` {what}: give times, dates, or RFC 3339 text"))
    };
    let times: Vec<Option<i64>> = match column.data_type() {
        DataType::Timestamp(TimeUnit::Second, _) => {
            column.as_primitive::<TimestampSecondType>().iter().map(|t| t?.checked_mul(1_000_000)).collect()
        }
        DataType::Timestamp(TimeUnit::Millisecond, _) => {
            column.as_primitive::<TimestampMillisecondType>().iter().map(|t| t?.checked_mul(1000)).collect()
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            column.as_primitive::<TimestampMicrosecondType>().iter().collect()
        }
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            column.as_primitive::<TimestampNanosecondType>().iter().map(|t| Some(t?.div_euclid(1000))).collect()
        }
        DataType::Date32 => {
            column.as_primitive::<Date32Type>().iter().map(|day| Some(i64::from(day?) * MICROS_PER_DAY)).collect()
        }
        text if text_type(text) => {
            let texts = cast(column, &DataType::Utf8).map_err(|e| wrong(&format!("cannot be read as text ({e})")))?;
            let parse = |text: Option<&str>| match text {
                Some(text) => parse_time(text).map(Some).ok_or_else(|| wrong(&format!("holds `{text}`"))),
                None => Ok(None),
            };
            texts.as_string::<i32>().iter().map(parse).collect::<Result<_>>()?
        }
        other => return Err(wrong(&format!("is {other}"))),
    };
    let known = times.iter().enumerate().map(|(row, time)| {
        time.ok_or_else(|| {
            let number = first + row as u64 + 1;
            Error::configuration(format!(
                "label {number} has no time in `{name}` (or one beyond all calendars): every label needs one; leave the \
                 others out"
            ))
        })
    });
    let times: Vec<i64> = known.collect::<Result<_>>()?;
    let column = match text_type(column.data_type()) {
        true => Arc::new(TimestampMicrosecondArray::from(times.clone()).with_timezone("UTC")) as ArrayRef,
        false => Arc::clone(column),
    };
    Ok((times, column))
}

fn text_type(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => text_type(values),
        _ => false,
    }
}

/// RFC 3339, or a date with or without a time of day, which is then UTC.
fn parse_time(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(at) = text.parse::<jiff::Timestamp>() {
        return Some(at.as_nanosecond().div_euclid(1000) as i64);
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let at = jiff::tz::TimeZone::UTC.to_timestamp(civil).ok()?;
    Some(at.as_nanosecond().div_euclid(1000) as i64)
}

/// The key columns of labels, as the history has them.
pub fn keys(batch: &RecordBatch, key: &[KeyPart]) -> Result<Vec<ArrayRef>> {
    key.iter().map(|part| key_column(batch, part)).collect()
}

fn key_column(batch: &RecordBatch, part: &KeyPart) -> Result<ArrayRef> {
    let KeyPart { field, column, is_int64 } = part;
    let missing = || Error::internal(format!("the labels' column `{column}` is gone"));
    let values = batch.column_by_name(column).ok_or_else(missing)?;
    let data_type = values.data_type();
    let (fits, wanted, expected) = match is_int64 {
        true => (data_type.is_integer(), DataType::Int64, "int64"),
        false => (text_type(data_type), DataType::Utf8, "a string"),
    };
    let wrong = |what: &str| {
        Error::configuration(format!(
            "the labels' column `{column}` {what}, but the key field `{field}` is {expected} in the topology: write it as \
             that"
        ))
    };
    if !fits && *data_type != DataType::Null {
        return Err(wrong(&format!("is {data_type}")));
    }
    let strictly = CastOptions { safe: false, format_options: FormatOptions::default() };
    cast_with_options(values, &wanted, &strictly).map_err(|error| wrong(&format!("has a value beyond it ({error})")))
}

#[cfg(test)]
mod tests {
    use arrow::array::{Date32Array, Int64Array, StringArray, TimestampNanosecondArray, UInt64Array};

    use super::*;

    fn micros(column: impl Array + 'static) -> Vec<i64> {
        times(&(Arc::new(column) as ArrayRef), "at", 0).unwrap().0
    }

    #[test]
    fn times_are_microseconds_whatever_they_came_as() {
        assert_eq!(micros(TimestampNanosecondArray::from(vec![1_999, -1])), [1, -1]);
        assert_eq!(micros(Date32Array::from(vec![1])), [MICROS_PER_DAY]);
        let texts = ["1970-01-01T01:00:00.000001+01:00", "1970-01-01 00:00:02", "1970-01-02", " 1970-01-01T00:00:03Z "];
        assert_eq!(micros(StringArray::from(texts.to_vec())), [1, 2_000_000, MICROS_PER_DAY, 3_000_000]);
    }

    #[test]
    fn what_is_no_time_is_named() {
        let error = |column: ArrayRef| times(&column, "at", 40).unwrap_err().to_string();
        assert!(error(Arc::new(StringArray::from(vec!["yesterday"]))).contains("holds `yesterday`"));
        assert!(error(Arc::new(StringArray::from(vec![Some("1970-01-01"), None]))).contains("label 42 has no time"));
        assert!(error(Arc::new(Int64Array::from(vec![7]))).contains("is Int64"));
    }

    #[test]
    fn keys_become_what_the_history_has_and_nothing_else_passes() {
        let part = |is_int64| KeyPart { field: "id".into(), column: "who".into(), is_int64 };
        let column = |values: ArrayRef, is_int64| {
            key_column(&RecordBatch::try_from_iter([("who", values)]).unwrap(), &part(is_int64))
        };
        let large = Arc::new(UInt64Array::from(vec![7]));
        assert_eq!(column(large, true).unwrap().as_ref(), &Int64Array::from(vec![7]));
        assert!(column(Arc::new(UInt64Array::from(vec![u64::MAX])), true).is_err());
        let error = column(Arc::new(Int64Array::from(vec![7])), false).unwrap_err().to_string();
        assert!(error.contains("`who` is Int64") && error.contains("`id` is a string"), "{error}");
        assert!(column(Arc::new(StringArray::from(vec!["7"])), true).is_err());
    }
}
