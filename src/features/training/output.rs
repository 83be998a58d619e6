//! The columns of the answer: the labels' own, the features, where they are from, and whether they may still change.
//!
//! Always holds: a label of whose entity nothing is known has nulls, and so has a value whose row is older than its
//! `max_age` at the label's time. What is computed is computed from the row at the label's time, by the same SQL as an
//! online read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{cast, interleave, take};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;

use super::Rule;
use super::ask::{Ask, EntityAsk, Wanted};
use super::join::{Found, NONE};
use super::keys::NO_KEY;
use crate::error::{Error, Result};
use crate::features::clock::at_clock;
use crate::time::Millis;
use crate::topology::{EntityPlan, Plan};

/// How far the partitions of a history have come.
#[derive(Debug, Clone, Default)]
pub struct Marks {
    partitions: BTreeMap<i32, Option<Millis>>,
}

impl Marks {
    /// By partition, the watermark.
    pub fn new(partitions: BTreeMap<i32, Option<Millis>>) -> Self {
        Self { partitions }
    }

    /// Every partition with its watermark.
    pub fn partitions(&self) -> impl Iterator<Item = (i32, Option<Millis>)> {
        self.partitions.iter().map(|(partition, mark)| (*partition, *mark))
    }

    /// The watermark of a partition; of an unknown one the lowest of all.
    pub fn of(&self, partition: Option<i32>) -> Option<Millis> {
        let known = partition.and_then(|partition| self.partitions.get(&partition).copied());
        known.unwrap_or_else(|| self.partitions.values().copied().min().flatten())
    }
}

/// What one entity's history gave for a round.
pub struct Answered<'a> {
    pub asked: &'a EntityAsk,
    pub keys: Vec<u32>,
    pub found: Found,
    pub marks: &'a Marks,
}

/// One batch of a round's labels.
pub struct Slice<'a> {
    pub labels: &'a RecordBatch,
    /// Which labels of the round they are.
    pub rows: Range<usize>,
    /// Their times in microseconds.
    pub times: &'a [i64],
}

/// The rows of the answer for these labels, and how many of them are incomplete.
pub fn rows(
    plan: &Plan,
    ask: &Ask,
    schema: &SchemaRef,
    rule: Rule,
    answers: &[Answered<'_>],
    slice: &Slice<'_>,
) -> Result<(RecordBatch, u64)> {
    let of_entities: Vec<Values> = answers
        .iter()
        .map(|answer| answer.values(&plan.entities[answer.asked.entity], slice))
        .collect::<Result<_, ArrowError>>()
        .map_err(|error| mistyped(&error))?;
    let mut columns = slice.labels.columns().to_vec();
    columns.extend(ask.columns.iter().map(|(entity, wanted)| Arc::clone(&of_entities[*entity].wanted[*wanted])));
    columns.extend(of_entities.iter().flat_map(|values| values.position.iter().cloned()));
    let incomplete: Vec<bool> = slice
        .rows
        .clone()
        .zip(slice.times)
        .map(|(row, time)| answers.iter().any(|of| of.is_open(row, *time, rule)))
        .collect();
    let open = incomplete.iter().filter(|open| **open).count() as u64;
    columns.push(Arc::new(BooleanArray::from(incomplete)));
    let rows = RecordBatch::try_new(Arc::clone(schema), columns).map_err(|error| mistyped(&error))?;
    Ok((rows, open))
}

/// The columns of one entity.
struct Values {
    wanted: Vec<ArrayRef>,
    position: Vec<ArrayRef>,
}

impl Answered<'_> {
    /// Whether a row may still come that this label would get.
    fn is_open(&self, row: usize, time: i64, rule: Rule) -> bool {
        if self.keys[row] == NO_KEY {
            return false;
        }
        let number = self.found.of_label[row];
        let partition = (number != NONE).then(|| self.found.partitions[number as usize]);
        match self.marks.of(partition).map(|watermark| watermark.saturating_mul(1000)) {
            None => true,
            // What is still to come is as of the watermark, or later.
            Some(watermark) => {
                if rule.strict {
                    time > watermark
                } else {
                    time >= watermark
                }
            }
        }
    }

    fn values(&self, entity: &EntityPlan, slice: &Slice<'_>) -> Result<Values, ArrowError> {
        // The labels that have a row, one after the other; and where each label is among them.
        let numbers = &self.found.of_label[slice.rows.clone()];
        let rows: Vec<u32> = numbers.iter().copied().filter(|number| *number != NONE).collect();
        let mut next = 0;
        let at: Vec<Option<u32>> = numbers
            .iter()
            .map(|number| {
                let here = (*number != NONE).then_some(next);
                next += u32::from(here.is_some());
                here
            })
            .collect();
        let read = self.read(&rows)?;
        let clocks = slice.times.iter().zip(numbers).filter(|(_, number)| **number != NONE);
        let clocks: Vec<Millis> = clocks.map(|(time, _)| time.div_euclid(1000)).collect();
        let event_times: Vec<Millis> =
            rows.iter().map(|row| self.found.event_times[*row as usize].div_euclid(1000)).collect();
        let computed = match self.asked.computes {
            true => self.computed(entity, &read, &event_times, &clocks)?,
            false => Vec::new(),
        };
        let value = |wanted: &Wanted| {
            let column = match wanted.computed {
                true => cast(&computed[wanted.place], &wanted.data_type)?,
                false => self.stored(entity, wanted.place, &read),
            };
            let is_old = |row: &u32| {
                wanted
                    .max_age
                    .is_some_and(|most| clocks[*row as usize].saturating_sub(event_times[*row as usize]) > most)
            };
            if at.len() == rows.len() && wanted.max_age.is_none() {
                return Ok(column);
            }
            take(&column, &UInt32Array::from_iter(at.iter().map(|row| row.filter(|row| !is_old(row)))), None)
        };
        let wanted = self.asked.wanted.iter().map(value).collect::<Result<_, ArrowError>>()?;
        let positions = read.len() - self.asked.stored.iter().flatten().count();
        let places = UInt32Array::from(at.clone());
        let position = read[..positions].iter().map(|column| take(column, &places, None));
        Ok(Values { wanted, position: position.collect::<Result<_, _>>()? })
    }

    /// What was read, of these rows.
    fn read(&self, rows: &[u32]) -> Result<Vec<ArrayRef>, ArrowError> {
        let fields = self.asked.read.fields();
        let places: Vec<(usize, usize)> = rows
            .iter()
            .map(|row| self.found.places[*row as usize])
            .map(|(batch, row)| (batch as usize, row as usize))
            .collect();
        let column = |(index, field): (usize, &Arc<arrow::datatypes::Field>)| {
            if places.is_empty() {
                return Ok(new_null_array(field.data_type(), 0));
            }
            let columns: Vec<&dyn Array> =
                self.found.batches.iter().map(|batch| batch.column(index).as_ref()).collect();
            interleave(&columns, &places)
        };
        fields.iter().enumerate().map(column).collect()
    }

    /// The column of a stored value.
    fn stored(&self, entity: &EntityPlan, place: usize, read: &[ArrayRef]) -> ArrayRef {
        // Stored places: the features, then what is derived with each row, without what is derived as it is read.
        let index = (0..place).filter(|before| stored_at(entity, *before)).count();
        self.asked.stored[index].map_or_else(|| new_null_array(&DataType::Null, 0), |at| Arc::clone(&read[at]))
    }

    /// Everything that the entity shows at these clocks, by place.
    fn computed(
        &self,
        entity: &EntityPlan,
        read: &[ArrayRef],
        event_times: &[Millis],
        clocks: &[Millis],
    ) -> Result<Vec<ArrayRef>, ArrowError> {
        let column = |((_, ty), at): ((&str, &crate::topology::OutputType), &Option<usize>)| match at {
            Some(at) => cast(&read[*at], &ty.data_type()),
            None => Ok(new_null_array(&ty.data_type(), clocks.len())),
        };
        let stored = entity.columns().zip(&self.asked.stored).map(column).collect::<Result<Vec<_>, _>>()?;
        at_clock(entity, &self.asked.needed, &stored, event_times, clocks)
            .map_err(|error| ArrowError::ComputeError(error.to_string()))
    }
}

fn stored_at(entity: &EntityPlan, place: usize) -> bool {
    super::ask::is_stored(entity, place)
}

fn mistyped(error: &ArrowError) -> Error {
    Error::internal(format!("the columns of a training set do not fit together: {error}"))
}
