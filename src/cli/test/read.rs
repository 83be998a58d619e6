//! Values as a reader with a clock sees them.

use arrow::array::{ArrayRef, RecordBatch};

use super::value::Value;
use crate::error::Result;
use crate::features::{Needed, at_clock};
use crate::state::ROW_COLUMNS;
use crate::time::Millis;
use crate::topology::EntityPlan;

/// The values of row `index`, which is as of `event_time`, at the time `at`; by index in what the entity shows.
pub fn with_clock(
    entity: &EntityPlan,
    (batch, index, event_time): (&RecordBatch, usize, Millis),
    at: Millis,
) -> Result<Vec<Value>> {
    let stored: Vec<ArrayRef> =
        batch.columns()[ROW_COLUMNS.len()..].iter().map(|column| column.slice(index, 1)).collect();
    let seen = at_clock(entity, &Needed::all(entity), &stored, &[event_time], &[at])?;
    Ok(seen.iter().map(|column| Value::of(column, 0)).collect())
}
