//! Values at a clock: decayed counts and sums go on to decay after their row, and what is derived `on: read` is
//! computed.
//!
//! One evaluation for any number of rows, each at a clock of its own: the wall clock of an online read, the moment of a
//! case of `kappa test`, a label's time. Always holds: a row's values do not depend on the rows beside it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Float64Array, MapArray, StructArray, TimestampMillisecondArray, new_null_array,
};
use arrow::datatypes::{DataType, Float64Type};
use arrow::error::ArrowError;

use crate::error::{Error, Result};
use crate::time::Millis;
use crate::topology::{DerivedOn, EntityPlan};

/// What of an entity is needed, by place: its features, then all that is derived, as `EntityPlan::shown` has them.
#[derive(Debug, Clone)]
pub struct Needed(Vec<bool>);

impl Needed {
    /// Everything.
    pub fn all(entity: &EntityPlan) -> Self {
        Self(vec![true; entity.shown().count()])
    }

    /// The features and derived values at these places, and all that they are computed from.
    pub fn of(entity: &EntityPlan, places: impl IntoIterator<Item = usize>) -> Self {
        let mut needed = Self(vec![false; entity.shown().count()]);
        places.into_iter().for_each(|place| needed.add(entity, place));
        needed
    }

    fn add(&mut self, entity: &EntityPlan, place: usize) {
        if std::mem::replace(&mut self.0[place], true) {
            return;
        }
        let derived = place.checked_sub(entity.features.len()).map(|index| &entity.derived[index]);
        let Some(derived) = derived.filter(|derived| derived.on == DerivedOn::Read) else { return };
        // What the expression sees: the clock, then everything by place.
        for field in entity.derived_exprs.fields(derived.expr) {
            if let Some(place) = field.checked_sub(1) {
                self.add(entity, place);
            }
        }
    }

    /// Whether this place is needed.
    pub fn contains(&self, place: usize) -> bool {
        self.0[place]
    }
}

/// The columns of everything that an entity shows, by place, of rows that are as of `event_times`, at `clocks`. `stored`
/// has the columns of `EntityPlan::columns`; what is not needed may be null there, and is as it is afterwards.
///
/// # Errors
/// Internal: the columns are not those of the entity.
pub fn at_clock(
    entity: &EntityPlan,
    needed: &Needed,
    stored: &[ArrayRef],
    event_times: &[Millis],
    clocks: &[Millis],
) -> Result<Vec<ArrayRef>> {
    let rows = clocks.len();
    let missing = || Error::internal(format!("rows of entity `{}` have fewer columns than it", entity.name));
    let clock = TimestampMillisecondArray::from(clocks.to_vec()).with_timezone("UTC");
    let mut seen: Vec<ArrayRef> = vec![Arc::new(clock)];
    let mut stored = stored.iter();
    for (place, feature) in entity.features.iter().enumerate() {
        let column = stored.next().ok_or_else(missing)?;
        seen.push(match feature.decays() {
            Some(half_life) if needed.contains(place) => {
                let factors: Vec<f64> =
                    event_times.iter().zip(clocks).map(|(from, to)| factor(*from, *to, half_life)).collect();
                scaled(column, &factors).map_err(|error| Error::internal(format!("a decayed value: {error}")))?
            }
            _ => Arc::clone(column),
        });
    }
    for (index, derived) in entity.derived.iter().enumerate() {
        let column = match derived.on {
            DerivedOn::Row => Arc::clone(stored.next().ok_or_else(missing)?),
            DerivedOn::Read if needed.contains(entity.features.len() + index) => {
                entity.derived_exprs.evaluate_one(derived.expr, &seen, rows).map_err(Error::internal)?.0
            }
            DerivedOn::Read => new_null_array(entity.derived_exprs.schema().field(seen.len()).data_type(), rows),
        };
        seen.push(column);
    }
    seen.remove(0);
    Ok(seen)
}

/// What is left of a weight; a row that is ahead of the clock is not scaled.
fn factor(event_time: Millis, clock: Millis, half_life: Millis) -> f64 {
    (-(clock.saturating_sub(event_time).max(0) as f64) / half_life as f64).exp2()
}

/// Doubles, or the doubles of maps, each row times its factor.
fn scaled(column: &ArrayRef, factors: &[f64]) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::Float64 => {
            let values = column.as_primitive::<Float64Type>().iter().zip(factors);
            // What decays away below 0 is 0.0, not -0.0.
            Ok(Arc::new(
                values.map(|(value, factor)| value.map(|value| value * factor + 0.0)).collect::<Float64Array>(),
            ))
        }
        DataType::Map(entry, ordered) => {
            let map = column.as_map();
            // A sliced map's offsets may begin after 0: the entries of all rows before are there as well.
            let mut of_entries = vec![1.0; map.entries().len()];
            for (row, factor) in factors.iter().enumerate() {
                let (first, end) = (map.value_offsets()[row] as usize, map.value_offsets()[row + 1] as usize);
                of_entries[first..end].fill(*factor);
            }
            let values = scaled(map.values(), &of_entries)?;
            let entries =
                StructArray::try_new(map.entries().fields().clone(), vec![Arc::clone(map.keys()), values], None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            Ok(Arc::new(MapArray::try_new(Arc::clone(entry), offsets, entries, nulls, *ordered)?))
        }
        // Nothing else decays.
        _ => Ok(Arc::clone(column)),
    }
}
