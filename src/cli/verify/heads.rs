//! Where and when the rows of the entities that were read are: all of the history but the values.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampMicrosecondType};
use serde_json::Value;

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::features::id_of;
use crate::sink::offline;
use crate::time::Millis;
use crate::topology::{EntityPlan, Plan};

/// A row without its values.
#[derive(Debug, Clone, Copy)]
pub struct Head {
    pub event_time: Millis,
    pub known_at: Millis,
    pub partition: i32,
    pub offset: i64,
    pub sequence: i32,
    pub ordinal: i64,
}

impl Head {
    /// What names the row in its history.
    pub fn name(&self) -> (i32, i64) {
        (self.partition, self.ordinal)
    }
}

/// The columns of [`Head`].
const COLUMNS: [&str; 6] = ["event_time", "known_at", "partition", "offset", "sequence", "ordinal"];

/// Of each of these ids its rows, in the order in which they were written.
///
/// # Errors
/// Unavailable: the history cannot be read.
pub async fn read<'i>(
    settings: &Settings,
    plan: &Plan,
    version: u32,
    entity: &EntityPlan,
    ids: &HashSet<&'i str>,
) -> Result<HashMap<&'i str, Vec<Head>>> {
    let keys: Vec<&str> = entity.key.iter().map(|field| plan.source.fields[*field].name.as_str()).collect();
    let columns = [&keys[..], &COLUMNS].concat();
    let mut found: HashMap<&str, Vec<Head>> = HashMap::with_capacity(ids.len());
    let mut each = |rows: RecordBatch| {
        let of_key: Vec<ArrayRef> = rows.columns()[..keys.len()].iter().map(key_column).collect::<Result<_>>()?;
        let heads = heads(&rows)?;
        for (row, head) in heads.into_iter().enumerate() {
            let id = id(plan, entity, &of_key, row)?;
            if let Some(id) = ids.get(id.as_str()) {
                found.entry(*id).or_default().push(head);
            }
        }
        Ok(())
    };
    offline::sweep_history(&settings.offline, plan, version, &entity.name, &columns, &mut each).await?;
    found.values_mut().for_each(|heads| heads.sort_unstable_by_key(|head| head.name()));
    Ok(found)
}

fn heads(rows: &RecordBatch) -> Result<Vec<Head>> {
    let mistyped = |name: &str| Error::internal(format!("the history's `{name}` has another type"));
    let column = |name: &str| rows.column_by_name(name).ok_or_else(|| mistyped(name));
    let time = |name: &str| {
        column(name)?
            .as_primitive_opt::<TimestampMicrosecondType>()
            .ok_or_else(|| mistyped(name))
            .map(|column| column.values())
    };
    let long = |name: &str| {
        column(name)?.as_primitive_opt::<Int64Type>().ok_or_else(|| mistyped(name)).map(|column| column.values())
    };
    let int = |name: &str| {
        column(name)?.as_primitive_opt::<Int32Type>().ok_or_else(|| mistyped(name)).map(|column| column.values())
    };
    let (event_times, known_ats) = (time("event_time")?, time("known_at")?);
    let (partitions, sequences) = (int("partition")?, int("sequence")?);
    let (offsets, ordinals) = (long("offset")?, long("ordinal")?);
    let head = |row: usize| Head {
        event_time: event_times[row].div_euclid(1000),
        known_at: known_ats[row].div_euclid(1000),
        partition: partitions[row],
        offset: offsets[row],
        sequence: sequences[row],
        ordinal: ordinals[row],
    };
    Ok((0..rows.num_rows()).map(head).collect())
}

/// A key's column, int64 or plain text: readers may see text in another form.
fn key_column(column: &ArrayRef) -> Result<ArrayRef> {
    match column.data_type() {
        DataType::Int64 => Ok(Arc::clone(column)),
        ty => cast(column, &DataType::Utf8)
            .map_err(|error| Error::internal(format!("a key column of the history is {ty}: {error}"))),
    }
}

/// The key's text, as it is served.
fn id(plan: &Plan, entity: &EntityPlan, key: &[ArrayRef], row: usize) -> Result<String> {
    let part = |column: &ArrayRef| match column.as_string_opt::<i32>() {
        Some(texts) => Value::from(texts.value(row)),
        None => Value::from(column.as_primitive::<Int64Type>().value(row)),
    };
    let parts: Vec<Value> = key.iter().map(part).collect();
    id_of(plan, entity, &parts.iter().collect::<Vec<_>>()).map_err(Error::internal)
}
