//! The values of the rows that reads are held against.

use std::collections::{HashMap, HashSet};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt32Array};
use arrow::compute::{cast, concat, filter_record_batch, take};
use arrow::datatypes::{Int32Type, Int64Type};
use arrow::error::ArrowError;

use super::heads::Head;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::features::shown_at;
use crate::sink::offline;
use crate::time::Millis;
use crate::topology::{EntityPlan, Plan};

/// Rows that are brought to their clocks at once.
const CHUNK: usize = 8_192;

/// Some rows of one history, in memory.
pub struct Rows<'p> {
    entity: &'p EntityPlan,
    /// The columns of `EntityPlan::columns`, in the engine's types.
    columns: Vec<ArrayRef>,
    /// Partition and ordinal to place.
    places: HashMap<(i32, i64), u32>,
}

impl<'p> Rows<'p> {
    /// Those of these partitions and ordinals.
    ///
    /// # Errors
    /// Unavailable: the history cannot be read. Configuration: it is of other logic.
    pub async fn read(
        settings: &Settings,
        plan: &Plan,
        version: u32,
        entity: &'p EntityPlan,
        wanted: &HashSet<(i32, i64)>,
    ) -> Result<Self> {
        let names: Vec<&str> = entity.columns().map(|(name, _)| name).collect();
        let columns = [&["partition", "ordinal"], names.as_slice()].concat();
        let (mut kept, mut places) = (Vec::new(), HashMap::with_capacity(wanted.len()));
        let mut each = |rows: RecordBatch| {
            let named = named(&rows)?;
            let is_wanted: BooleanArray = named.iter().map(|name| Some(wanted.contains(name))).collect();
            if is_wanted.true_count() == 0 {
                return Ok(());
            }
            for name in named.into_iter().filter(|name| wanted.contains(name)) {
                places.insert(name, places.len() as u32);
            }
            kept.push(filter_record_batch(&rows, &is_wanted).map_err(defect)?);
            Ok(())
        };
        offline::sweep_history(&settings.offline, plan, version, &entity.name, &columns, &mut each).await?;
        let columns = entity.columns().enumerate().map(|(index, (name, ty))| {
            let parts: Vec<&dyn Array> = kept.iter().map(|rows| rows.column(2 + index).as_ref()).collect();
            let ty = ty.data_type();
            let foreign = |e: ArrowError| {
                Error::configuration(format!("the history's `{name}` is no {ty}: it was written by other logic ({e})"))
            };
            match parts.is_empty() {
                true => Ok(arrow::array::new_empty_array(&ty)),
                false => concat(&parts).and_then(|column| cast(&column, &ty)).map_err(foreign),
            }
        });
        Ok(Self { entity, columns: columns.collect::<Result<_>>()?, places })
    }

    /// What readers get of these rows, each at its clock: for each of them the texts of everything that the entity shows;
    /// nothing for a row that is not there.
    ///
    /// # Errors
    /// Internal: the columns are not those of the entity.
    pub fn at(&self, wanted: &[(Head, Millis)]) -> Result<Vec<Option<Vec<Option<String>>>>> {
        let mut all = Vec::with_capacity(wanted.len());
        for wanted in wanted.chunks(CHUNK) {
            let there: Vec<(u32, Millis, Millis)> = wanted
                .iter()
                .filter_map(|(head, clock)| Some((*self.places.get(&head.name())?, head.event_time, *clock)))
                .collect();
            let indices: UInt32Array = there.iter().map(|(place, ..)| *place).collect();
            let taken = self.columns.iter().map(|column| take(column, &indices, None));
            let taken: Vec<ArrayRef> = taken.collect::<Result<_, _>>().map_err(defect)?;
            let event_times: Vec<Millis> = there.iter().map(|(_, at, _)| *at).collect();
            let clocks: Vec<Millis> = there.iter().map(|(.., clock)| *clock).collect();
            let mut shown = shown_at(self.entity, &taken, &event_times, &clocks)?;
            let mut row = 0;
            all.extend(wanted.iter().map(|(head, _)| {
                self.places.contains_key(&head.name()).then(|| {
                    row += 1;
                    shown.iter_mut().map(|column| column[row - 1].take()).collect()
                })
            }));
        }
        Ok(all)
    }
}

fn named(rows: &RecordBatch) -> Result<Vec<(i32, i64)>> {
    let (partitions, ordinals) =
        (rows.column(0).as_primitive_opt::<Int32Type>(), rows.column(1).as_primitive_opt::<Int64Type>());
    let (Some(partitions), Some(ordinals)) = (partitions, ordinals) else {
        return Err(Error::internal("the history's `partition` and `ordinal` have other types"));
    };
    Ok(partitions.values().iter().copied().zip(ordinals.values().iter().copied()).collect())
}

fn defect(error: ArrowError) -> Error {
    Error::internal(format!("rows of the history: {error}"))
}
