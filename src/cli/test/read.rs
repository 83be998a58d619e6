//! Values as a reader with a clock sees them: decayed sums go on to decay after their row, and what is derived as it is
//! read is computed.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, MapArray, RecordBatch, StructArray, TimestampMillisecondArray,
};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;

use super::value::{Shown, Value};
use crate::error::{Error, Result};
use crate::state::ROW_COLUMNS;
use crate::time::Millis;
use crate::topology::{DerivedOn, EntityPlan};

/// The values of row `index`, which is as of `event_time`, at the time `at`; by index in `shown`.
pub fn with_clock(
    entity: &EntityPlan,
    shown: &[Shown],
    (batch, index, event_time): (&RecordBatch, usize, Millis),
    at: Millis,
) -> Result<Vec<Value>> {
    let clock = TimestampMillisecondArray::from(vec![at]).with_timezone("UTC");
    let mut seen: Vec<ArrayRef> = vec![Arc::new(clock)];
    let mut columns = batch.columns()[ROW_COLUMNS.len()..].iter();
    let mut next = || columns.next().map(|column| column.slice(index, 1));
    let missing = || Error::internal("a row has fewer columns than its entity");
    for shown in &shown[..entity.features.len()] {
        let column = next().ok_or_else(missing)?;
        seen.push(match shown.half_life {
            Some(half_life) if at > event_time => {
                let factor = (-((at - event_time) as f64) / half_life as f64).exp2();
                scaled(&column, factor).map_err(|error| Error::internal(format!("a decayed value: {error}")))?
            }
            _ => column,
        });
    }
    for derived in &entity.derived {
        let column = match derived.on {
            DerivedOn::Row => next().ok_or_else(missing)?,
            DerivedOn::Read => entity.derived_exprs.evaluate_one(derived.expr, &seen, 1).map_err(Error::internal)?.0,
        };
        seen.push(column);
    }
    Ok(seen[1..].iter().map(|column| Value::of(column, 0)).collect())
}

/// Doubles, or the doubles of maps, times a factor.
fn scaled(column: &ArrayRef, factor: f64) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Float64 => {
            let values: Float64Array = column.as_primitive::<Float64Type>().unary(|value| value * factor);
            Ok(Arc::new(values))
        }
        DataType::Map(entry, ordered) => {
            let map = column.as_map();
            let values = scaled(map.values(), factor)?;
            let entries =
                StructArray::try_new(map.entries().fields().clone(), vec![Arc::clone(map.keys()), values], None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(entry), offsets, entries, nulls, *ordered)?))
        }
        // Nothing else decays.
        _ => Ok(Arc::clone(column)),
    }
}
