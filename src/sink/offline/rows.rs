//! From an epoch's batches to a table's columns, and back.
//!
//! Always holds: a row keeps its values; only their form changes (milliseconds to microseconds, within lists and maps
//! too; the key's text to key columns). Rows of one task stay in the order of their ordinals. The way back gives what
//! the epoch had, to the byte.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray, MapArray, RecordBatch, StringArray, StringBuilder,
    StructArray, TimestampMicrosecondArray,
};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType};
use arrow::error::ArrowError;

use super::schema::{KeyType, Kind, TableSpec};
use crate::error::{Error, Result};
use crate::state::{DEAD_LETTER_COLUMNS, ROW_COLUMNS};

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// Some rows of one task as the epoch gave them.
#[derive(Debug, Clone)]
pub struct Staged {
    pub partition: i32,
    pub rows: RecordBatch,
}

/// The ordinals of an epoch's batch; ascending.
pub fn ordinals<'a>(spec: &TableSpec, rows: &'a RecordBatch) -> Result<&'a Int64Array> {
    let index = if spec.kind == Kind::DeadLetters { 0 } else { 5 };
    int64(rows, index)
}

/// The part of a batch whose ordinals are `from` or above; `None` when there is none.
pub fn rows_from(spec: &TableSpec, rows: &RecordBatch, from: i64) -> Result<Option<RecordBatch>> {
    let start = ordinals(spec, rows)?.values().partition_point(|&ordinal| ordinal < from);
    Ok((start < rows.num_rows()).then(|| rows.slice(start, rows.num_rows() - start)))
}

/// The table's columns of staged rows, in their order, and the date of every row in days since 1970.
pub fn columns_of(spec: &TableSpec, staged: &[Staged]) -> Result<(RecordBatch, Dates)> {
    let Some(first) = staged.first() else {
        return Ok((RecordBatch::new_empty(spec.columns.clone()), Dates::One(0)));
    };
    let rows = match staged {
        [one] => one.rows.clone(),
        many => concat_batches(&first.rows.schema(), many.iter().map(|part| &part.rows)).map_err(broken)?,
    };
    let mut partitions = Vec::with_capacity(rows.num_rows());
    for part in staged {
        partitions.resize(partitions.len() + part.rows.num_rows(), part.partition);
    }
    let partitions: ArrayRef = Arc::new(Int32Array::from(partitions));
    let (columns, dates) = match &spec.kind {
        Kind::History { key, .. } => history(spec, key, &rows, partitions)?,
        Kind::DeadLetters => dead_letters(&rows, partitions)?,
        Kind::RawLog => return Err(Error::internal("an epoch holds no raw records")),
    };
    Ok((RecordBatch::try_new(spec.columns.clone(), columns).map_err(broken)?, dates))
}

fn history(
    spec: &TableSpec,
    key: &[KeyType],
    rows: &RecordBatch,
    partitions: ArrayRef,
) -> Result<(Vec<ArrayRef>, Dates)> {
    let event_time = int64(rows, 1)?;
    let mut columns = key_columns(key, rows.column(0))?;
    columns.push(micros(event_time));
    columns.push(micros(int64(rows, 2)?));
    columns.push(partitions);
    columns.extend([3, 4, 5].map(|index| rows.column(index).clone()));
    columns.push(Arc::new(Int32Array::from_value(spec.version as i32, rows.num_rows())));
    let values = &rows.columns()[ROW_COLUMNS.len()..];
    let wanted = &spec.columns.fields()[columns.len()..];
    if values.len() != wanted.len() {
        let text = format!("{} has {} features and derived columns, not {}", spec.path, wanted.len(), values.len());
        return Err(broken(ArrowError::SchemaError(text)));
    }
    for (column, wanted) in values.iter().zip(wanted) {
        columns.push(stored(column, wanted.data_type()).map_err(broken)?);
    }
    Ok((columns, Dates::of(event_time)))
}

/// The same values in the type that the table, or the epoch, has for them. Offsets, nulls and all but times are shared, not copied.
fn stored(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, ArrowError> {
    Ok(match (column.data_type(), wanted) {
        (DataType::Timestamp(TimeUnit::Millisecond, _), DataType::Timestamp(TimeUnit::Microsecond, _)) => {
            let values = column.as_primitive::<TimestampMillisecondType>();
            let values = values.unary::<_, TimestampMicrosecondType>(|millis| millis * 1000);
            Arc::new(values.with_timezone("UTC"))
        }
        (DataType::Timestamp(TimeUnit::Microsecond, _), DataType::Timestamp(TimeUnit::Millisecond, zone)) => {
            let values = column.as_primitive::<TimestampMicrosecondType>();
            let values = values.unary::<_, TimestampMillisecondType>(|micros| micros.div_euclid(1000));
            Arc::new(values.with_timezone_opt(zone.clone()))
        }
        (DataType::List(_), DataType::List(item)) => {
            let lists = column.as_list::<i32>();
            let items = stored(lists.values(), item.data_type())?;
            Arc::new(ListArray::try_new(item.clone(), lists.offsets().clone(), items, lists.nulls().cloned())?)
        }
        (DataType::Map(..), DataType::Map(entry, ordered)) => {
            let maps = column.as_map();
            let entries: ArrayRef = Arc::new(maps.entries().clone());
            let entries = stored(&entries, entry.data_type())?.as_struct().clone();
            let (offsets, nulls) = (maps.offsets().clone(), maps.nulls().cloned());
            Arc::new(MapArray::try_new(entry.clone(), offsets, entries, nulls, *ordered)?)
        }
        (DataType::Struct(_), DataType::Struct(fields)) => {
            let parts = column.as_struct();
            let wanted = parts.columns().iter().zip(fields);
            let columns = wanted.map(|(part, field)| stored(part, field.data_type())).collect::<Result<_, _>>()?;
            Arc::new(StructArray::try_new(fields.clone(), columns, parts.nulls().cloned())?)
        }
        _ => Arc::clone(column),
    })
}

/// The text of every row's key, from the leading columns of a table's batch.
pub fn key_texts(key: &[KeyType], columns: &RecordBatch) -> Result<StringArray> {
    let wrong = || Error::internal("a table's key columns are neither text nor whole numbers");
    if let [KeyType::String] = key {
        return Ok(columns.column(0).as_string_opt::<i32>().ok_or_else(wrong)?.clone());
    }
    let mut texts = StringBuilder::with_capacity(columns.num_rows(), columns.num_rows() * 16);
    for row in 0..columns.num_rows() {
        let mut parts: Vec<serde_json::Value> = Vec::with_capacity(key.len());
        for (index, ty) in key.iter().enumerate() {
            let column = columns.column(index);
            parts.push(match ty {
                KeyType::String => column.as_string_opt::<i32>().ok_or_else(wrong)?.value(row).into(),
                KeyType::Int64 => column.as_primitive_opt::<Int64Type>().ok_or_else(wrong)?.value(row).into(),
            });
        }
        match parts.as_slice() {
            [serde_json::Value::Number(number)] => texts.append_value(number.to_string()),
            _ => texts.append_value(serde_json::Value::Array(parts).to_string()),
        }
    }
    Ok(texts.finish())
}

/// A table's batch as the epoch had it: [`ROW_COLUMNS`], then those of the entity, of these types.
pub fn epoch_rows(key: &[KeyType], columns: &RecordBatch, types: &[(String, DataType)]) -> Result<RecordBatch> {
    let named = |name: &str| {
        let column = columns.column_by_name(name).cloned();
        column.ok_or_else(|| Error::internal(format!("a table's batch has no column {name}")))
    };
    let millis = |name: &str| -> Result<ArrayRef> {
        let column = named(name)?;
        let micros = column.as_primitive_opt::<TimestampMicrosecondType>();
        let micros = micros.ok_or_else(|| Error::internal(format!("the column {name} of a table is no time")))?;
        Ok(Arc::new(micros.unary::<_, Int64Type>(|micros| micros.div_euclid(1000))))
    };
    let mut found: Vec<(&str, ArrayRef, bool)> = vec![
        (ROW_COLUMNS[0], Arc::new(key_texts(key, columns)?), false),
        (ROW_COLUMNS[1], millis("event_time")?, false),
        (ROW_COLUMNS[2], millis("known_at")?, false),
    ];
    for name in &ROW_COLUMNS[3..] {
        found.push((*name, named(name)?, false));
    }
    for (name, ty) in types {
        found.push((name.as_str(), stored(&named(name)?, ty).map_err(broken)?, true));
    }
    RecordBatch::try_from_iter_with_nullable(found).map_err(broken)
}

fn dead_letters(rows: &RecordBatch, partitions: ArrayRef) -> Result<(Vec<ArrayRef>, Dates)> {
    let kafka_time = int64(rows, 2)?;
    let [ordinal, offset, class, reason, key, value] = [0, 1, 3, 4, 5, 6].map(|index| rows.column(index).clone());
    debug_assert_eq!(rows.num_columns(), DEAD_LETTER_COLUMNS.len());
    Ok((vec![ordinal, partitions, offset, micros(kafka_time), class, reason, key, value], Dates::of(kafka_time)))
}

/// One array a key field, from the key's text: itself, its decimal number, or a JSON list of both.
fn key_columns(key: &[KeyType], text: &ArrayRef) -> Result<Vec<ArrayRef>> {
    if let [KeyType::String] = key {
        return Ok(vec![text.clone()]);
    }
    let text = text.as_string_opt::<i32>().ok_or_else(|| Error::internal("the key column of an epoch is not text"))?;
    let wrong = |key: &str| Error::internal(format!("entity key `{key}` has not the form of its key fields"));
    let mut parts: Vec<KeyBuilder> = key.iter().map(|ty| KeyBuilder::new(*ty, text.len())).collect();
    for key_text in text.iter().flatten() {
        if let [part] = parts.as_mut_slice() {
            part.push_number(key_text.parse().ok()).ok_or_else(|| wrong(key_text))?;
            continue;
        }
        let values: Vec<serde_json::Value> = serde_json::from_str(key_text).map_err(|_| wrong(key_text))?;
        if values.len() != parts.len() {
            return Err(wrong(key_text));
        }
        for (part, value) in parts.iter_mut().zip(&values) {
            part.push(value).ok_or_else(|| wrong(key_text))?;
        }
    }
    Ok(parts.into_iter().map(KeyBuilder::finish).collect())
}

enum KeyBuilder {
    String(StringBuilder),
    Int64(Vec<i64>),
}

impl KeyBuilder {
    fn new(ty: KeyType, rows: usize) -> Self {
        match ty {
            KeyType::String => Self::String(StringBuilder::with_capacity(rows, rows * 16)),
            KeyType::Int64 => Self::Int64(Vec::with_capacity(rows)),
        }
    }

    fn push(&mut self, value: &serde_json::Value) -> Option<()> {
        match self {
            Self::String(builder) => builder.append_value(value.as_str()?),
            Self::Int64(_) => self.push_number(value.as_i64())?,
        }
        Some(())
    }

    fn push_number(&mut self, number: Option<i64>) -> Option<()> {
        match self {
            Self::Int64(values) => values.push(number?),
            Self::String(_) => return None,
        }
        Some(())
    }

    fn finish(self) -> ArrayRef {
        match self {
            Self::String(mut builder) => Arc::new(builder.finish()),
            Self::Int64(values) => Arc::new(Int64Array::from(values)),
        }
    }
}

/// The dates of a batch's rows, in days since 1970.
#[derive(Debug, PartialEq, Eq)]
pub enum Dates {
    /// All rows have this one.
    One(i32),
    Many(Vec<i32>),
}

impl Dates {
    /// Of times in milliseconds; null is 1970-01-01.
    fn of(times: &Int64Array) -> Self {
        let low = arrow::compute::min(times).unwrap_or(0);
        let high = arrow::compute::max(times).unwrap_or(0);
        if day(low) == day(high) && (times.null_count() == 0 || day(low) == 0) {
            return Self::One(day(low));
        }
        Self::Many(times.iter().map(|time| day(time.unwrap_or(0))).collect())
    }

    /// Each date, ascending, with the indices of its rows, ascending.
    pub fn groups(&self, rows: usize) -> Vec<(i32, Vec<u32>)> {
        match self {
            Self::One(date) => vec![(*date, (0..rows as u32).collect())],
            Self::Many(dates) => {
                let mut groups = std::collections::BTreeMap::<i32, Vec<u32>>::new();
                let mut from = 0;
                // Neighbours mostly have the same date.
                for run in dates.chunk_by(|a, b| a == b) {
                    groups.entry(run[0]).or_default().extend((from..from + run.len()).map(|row| row as u32));
                    from += run.len();
                }
                groups.into_iter().collect()
            }
        }
    }
}

/// The date of a time in milliseconds; years 1 to 9999 fit with room to spare.
pub fn day(time: i64) -> i32 {
    time.div_euclid(DAY) as i32
}

/// `2024-01-31`, four digits a year.
pub fn date_text(day: i32) -> String {
    let date = jiff::civil::date(1970, 1, 1).saturating_add(jiff::Span::new().days(i64::from(day)));
    format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day())
}

fn micros(times: &Int64Array) -> ArrayRef {
    let micros: TimestampMicrosecondArray = times.unary::<_, TimestampMicrosecondType>(|millis| millis * 1000);
    Arc::new(micros.with_timezone("UTC"))
}

fn int64(rows: &RecordBatch, index: usize) -> Result<&Int64Array> {
    let column = rows.column(index);
    column.as_primitive_opt::<Int64Type>().ok_or_else(|| {
        Error::internal(format!("column {index} of an epoch's rows is {}, not Int64", column.data_type()))
    })
}

/// Neighbouring rows of one task in a table's batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    pub partition: i32,
    pub start: usize,
    pub len: usize,
    /// First and last ordinal.
    pub first: i64,
    pub last: i64,
}

/// The runs of a table's batch, in order.
pub fn runs(columns: &RecordBatch) -> Vec<Run> {
    let Some(partitions) = columns.column_by_name("partition").and_then(|c| c.as_primitive_opt::<Int32Type>()) else {
        return vec![];
    };
    let mut runs: Vec<Run> = Vec::new();
    for (row, (&partition, &ordinal)) in partitions.values().iter().zip(stored_ordinals(columns)).enumerate() {
        match runs.last_mut() {
            Some(run) if run.partition == partition => (run.last, run.len) = (ordinal, run.len + 1),
            _ => runs.push(Run { partition, start: row, len: 1, first: ordinal, last: ordinal }),
        }
    }
    runs
}

/// How many rows at a run's beginning have ordinals below `from`.
pub fn below(columns: &RecordBatch, run: &Run, from: i64) -> usize {
    stored_ordinals(columns)[run.start..run.start + run.len].partition_point(|&ordinal| ordinal < from)
}

/// The ordinals of a table's batch; every table has the column.
fn stored_ordinals(columns: &RecordBatch) -> &[i64] {
    columns.column_by_name("ordinal").map_or(&[], |column| column.as_primitive::<Int64Type>().values())
}

fn broken(error: ArrowError) -> Error {
    Error::internal(format!("an epoch's rows do not have the columns of their table: {error}"))
}
