//! Reads what the engine wrote to Delta tables, through the public libraries alone.

use std::collections::HashSet;
use std::error::Error;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampMillisecondType,
};
use deltalake::datafusion::prelude::SessionContext;
use futures::TryStreamExt;

use crate::support::oracle::{DeadLetter, Entity, FeatureRow, Topology, Type, Value};

pub type Failure = Box<dyn Error + Send + Sync>;

/// The rows of one entity's table, of one partition or of all, in no particular order. `url` is a directory or any
/// URL that Delta reads. The key fields, the fixed columns and the features are found by name.
pub async fn read_rows(
    url: &str,
    topology: &Topology,
    entity: usize,
    partition: Option<i32>,
) -> Result<Vec<FeatureRow>, Failure> {
    let (mut rows, mut texts) = (vec![], Texts::default());
    let mut stream = scan(url, partition).await?;
    while let Some(batch) = stream.try_next().await? {
        add_rows(&batch, topology, entity, &mut texts, &mut rows)?;
    }
    Ok(rows)
}

/// The dead letters, of all partitions.
pub async fn read_dead_letters(url: &str) -> Result<Vec<DeadLetter>, Failure> {
    let mut letters = vec![];
    let mut stream = scan(url, None).await?;
    while let Some(batch) = stream.try_next().await? {
        let (partitions, offsets) = (ints(&batch, "partition")?, ints(&batch, "offset")?);
        let classes = column(&batch, "class", &DataType::Utf8)?;
        letters.extend((0..batch.num_rows()).map(|row| DeadLetter {
            partition: partitions[row] as i32,
            offset: offsets[row],
            class: classes.as_string::<i32>().value(row).replace('_', " "),
        }));
    }
    Ok(letters)
}

/// A table as `t`.
pub(super) async fn open(url: &str) -> Result<SessionContext, Failure> {
    let table = deltalake::open_table(deltalake::ensure_table_uri(url)?).await?;
    let context = SessionContext::new();
    context.register_table("t", table.table_provider().await?)?;
    Ok(context)
}

async fn scan(
    url: &str,
    partition: Option<i32>,
) -> Result<deltalake::datafusion::execution::SendableRecordBatchStream, Failure> {
    let filter = partition.map_or(String::new(), |partition| format!(" where \"partition\" = {partition}"));
    Ok(open(url).await?.sql(&format!("select * from t{filter}")).await?.execute_stream().await?)
}

pub(super) fn column(batch: &RecordBatch, name: &str, ty: &DataType) -> Result<ArrayRef, Failure> {
    let column = batch.column_by_name(name).ok_or_else(|| format!("no column `{name}` in {:?}", batch.schema()))?;
    Ok(cast(column, ty)?)
}

pub(super) fn ints(batch: &RecordBatch, name: &str) -> Result<Vec<i64>, Failure> {
    let column = column(batch, name, &DataType::Int64)?;
    if column.null_count() > 0 {
        return Err(format!("`{name}` has nulls").into());
    }
    Ok(column.as_primitive::<Int64Type>().values().to_vec())
}

/// A time column in ms; a fraction of a millisecond is an error.
fn times(batch: &RecordBatch, name: &str) -> Result<Vec<i64>, Failure> {
    let column = column(batch, name, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    if column.null_count() > 0 {
        return Err(format!("`{name}` has nulls").into());
    }
    let micros = column.as_primitive::<TimestampMicrosecondType>().values();
    match micros.iter().find(|micros| **micros % 1000 != 0) {
        Some(micros) => Err(format!("`{name}` is {micros} us, not whole milliseconds").into()),
        None => Ok(micros.iter().map(|micros| micros / 1000).collect()),
    }
}

/// Equal texts share their bytes: keys and categories repeat in millions of rows.
#[derive(Default)]
struct Texts(HashSet<Arc<str>>);

impl Texts {
    fn get(&mut self, text: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(text) {
            return shared.clone();
        }
        let shared: Arc<str> = text.into();
        self.0.insert(shared.clone());
        shared
    }
}

fn add_rows(
    batch: &RecordBatch,
    topology: &Topology,
    entity: usize,
    texts: &mut Texts,
    rows: &mut Vec<FeatureRow>,
) -> Result<(), Failure> {
    let plan = &topology.entities[entity];
    let (event_times, known) = (times(batch, "event_time")?, times(batch, "known_at")?);
    let (partitions, offsets) = (ints(batch, "partition")?, ints(batch, "offset")?);
    let (sequences, ordinals) = (ints(batch, "sequence")?, ints(batch, "ordinal")?);
    let keys: Vec<ArrayRef> = plan
        .key
        .iter()
        .map(|index| batch.column_by_name(&topology.fields[*index].name).cloned().ok_or("a key column is missing"))
        .collect::<Result<_, _>>()?;
    let keys: Vec<ArrayRef> = keys.iter().map(to_own_type).collect::<Result<_, _>>()?;
    let columns = columns(batch, plan)?;
    for row in 0..batch.num_rows() {
        let key = key_text(&keys, row)?;
        rows.push(FeatureRow {
            entity,
            key: texts.get(&key),
            event_time: event_times[row],
            known_at: known[row],
            partition: partitions[row] as i32,
            offset: offsets[row],
            sequence: sequences[row] as i32,
            ordinal: ordinals[row],
            values: columns.iter().map(|(column, ty)| value(column, row, ty, &mut |text| texts.get(text))).collect(),
            slack: None,
        });
    }
    Ok(())
}

/// The features and what is derived with a row, with their types.
fn columns(batch: &RecordBatch, entity: &Entity) -> Result<Vec<(ArrayRef, Type)>, Failure> {
    let read = |(name, ty): (&str, Type)| match scalar_type(&ty) {
        Some(arrow) => Ok((column(batch, name, &arrow)?, ty)),
        None => Ok((batch.column_by_name(name).ok_or_else(|| format!("no column `{name}`"))?.clone(), ty)),
    };
    entity.columns().into_iter().map(read).collect()
}

/// `None` for what nests.
fn scalar_type(ty: &Type) -> Option<DataType> {
    Some(match ty {
        Type::Str | Type::Null => DataType::Utf8,
        Type::Int => DataType::Int64,
        Type::Double => DataType::Float64,
        Type::Bool => DataType::Boolean,
        Type::Ts => DataType::Timestamp(TimeUnit::Millisecond, None),
        Type::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale as i8),
        Type::List(_) | Type::Map(_) | Type::Counted(_) => return None,
    })
}

/// Whole numbers stay numbers, the rest becomes text.
fn to_own_type(column: &ArrayRef) -> Result<ArrayRef, Failure> {
    let ty = if column.data_type().is_integer() { DataType::Int64 } else { DataType::Utf8 };
    Ok(cast(column, &ty)?)
}

/// Plain text for one field, a JSON list for several.
fn key_text(columns: &[ArrayRef], row: usize) -> Result<String, Failure> {
    let part = |column: &ArrayRef, quoted: bool| -> Result<String, Failure> {
        if column.is_null(row) {
            return Err("a key column is null".into());
        }
        Ok(match column.data_type() {
            DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
            _ if quoted => serde_json::to_string(column.as_string::<i32>().value(row))?,
            _ => column.as_string::<i32>().value(row).to_string(),
        })
    };
    if let [only] = columns {
        return part(only, false);
    }
    let parts: Vec<String> = columns.iter().map(|column| part(column, true)).collect::<Result<_, _>>()?;
    Ok(format!("[{}]", parts.join(",")))
}

/// The rows of one entity of a frozen epoch: `key`, times in whole ms, `offset`, `sequence`, `ordinal`, the features.
pub fn rows_of_batch(batch: &RecordBatch, topology: &Topology, entity: usize, partition: i32) -> Vec<FeatureRow> {
    let read = || -> Result<Vec<FeatureRow>, Failure> {
        let keys = column(batch, "key", &DataType::Utf8)?;
        let (event_times, known) = (ints(batch, "event_time")?, ints(batch, "known_at")?);
        let (offsets, sequences, ordinals) =
            (ints(batch, "offset")?, ints(batch, "sequence")?, ints(batch, "ordinal")?);
        let columns = columns(batch, &topology.entities[entity])?;
        let row = |row: usize| FeatureRow {
            entity,
            key: keys.as_string::<i32>().value(row).into(),
            event_time: event_times[row],
            known_at: known[row],
            partition,
            offset: offsets[row],
            sequence: sequences[row] as i32,
            ordinal: ordinals[row],
            values: columns.iter().map(|(column, ty)| value(column, row, ty, &mut |text| text.into())).collect(),
            slack: None,
        };
        Ok((0..batch.num_rows()).map(row).collect())
    };
    read().unwrap_or_else(|error| panic!("{error}"))
}

/// One value of a column of this type. Scalars have their own arrow type already, what nests is cast here.
fn value(column: &ArrayRef, row: usize, ty: &Type, texts: &mut impl FnMut(&str) -> Arc<str>) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match ty {
        Type::Str | Type::Null => Value::Str(texts(column.as_string::<i32>().value(row))),
        Type::Int => Value::Int(column.as_primitive::<Int64Type>().value(row)),
        Type::Double => Value::Double(column.as_primitive::<Float64Type>().value(row)),
        Type::Bool => Value::Bool(column.as_boolean().value(row)),
        Type::Ts => Value::Ts(column.as_primitive::<TimestampMillisecondType>().value(row)),
        Type::Decimal(_, scale) => Value::Decimal(column.as_primitive::<Decimal128Type>().value(row), *scale),
        Type::List(of) => Value::List(items(&column.as_list::<i32>().value(row), of, texts).into()),
        Type::Map(of) => {
            let pairs = column.as_map().value(row);
            let keys = items(pairs.column(0), &Type::Str, texts).into_iter().map(|key| match key {
                Value::Str(key) => key,
                other => panic!("{other} is the key of a map"),
            });
            Value::Map(keys.zip(items(pairs.column(1), of, texts)).collect())
        }
        Type::Counted(of) => {
            let pairs = column.as_list::<i32>().value(row);
            let pairs = pairs.as_struct();
            let counts = items(pairs.column(1), &Type::Int, texts).into_iter().map(|count| match count {
                Value::Int(count) => count,
                other => panic!("{other} is a count"),
            });
            Value::Counted(items(pairs.column(0), of, texts).into_iter().zip(counts).collect())
        }
    }
}

/// All values of an array inside another.
fn items(array: &ArrayRef, ty: &Type, texts: &mut impl FnMut(&str) -> Arc<str>) -> Vec<Value> {
    let array = match scalar_type(ty) {
        Some(arrow) => cast(array, &arrow).unwrap_or_else(|error| panic!("{error}")),
        None => Arc::clone(array),
    };
    (0..array.len()).map(|row| value(&array, row, ty, &mut *texts)).collect()
}
