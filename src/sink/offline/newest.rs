//! The rows of an entity's history as an online store wants them: where the newest row of each key lies, and the rows
//! themselves in the form of an epoch.
//!
//! Always holds: dates come newest first, and the newest row of a key lies in the latest date that has one of it: the
//! event times of an entity's rows never go back (they are its `T`). Within a date nothing is promised of the order of
//! files and rows: whoever looks for the newest compares ordinals.

use std::collections::BTreeMap;

use arrow::array::{AsArray, Int32Array, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type};
use deltalake::DeltaTable;
use futures::stream::{BoxStream, StreamExt};

use super::data::{self, OpenedFile, StoredFile};
use super::progress::{self, Progress};
use super::rows;
use super::schema::{self, KeyType, Kind, TableSpec};
use super::table::check;
use crate::config::OfflineSettings;
use crate::error::{Error, Result};
use crate::lake::Place;
use crate::topology::Plan;

/// The columns that say where a row stands, after the key's.
const PLACE_COLUMNS: [&str; 4] = ["partition", "offset", "sequence", "ordinal"];

/// The history of one entity, as it stood when it was opened.
pub struct History {
    /// Index of the entity in the plan.
    pub entity: usize,
    table: DeltaTable,
    spec: TableSpec,
    key: Vec<KeyType>,
    types: Vec<(String, DataType)>,
    dates: BTreeMap<String, Vec<StoredFile>>,
    /// How far the tasks had come at its newest commits.
    pub progress: Progress,
}

impl History {
    /// Opens the history of the entity of this index; `None` when its table is not there yet.
    ///
    /// # Errors
    /// Refused: the table is not the one that the topology describes. Configuration; unavailable.
    pub async fn open(settings: &OfflineSettings, plan: &Plan, version: u32, entity: usize) -> Result<Option<Self>> {
        let spec = schema::history(plan, entity, version)?;
        let Some(table) = Place::new(settings).load(&spec.path).await? else { return Ok(None) };
        check(&table, &spec)?;
        let mut dates: BTreeMap<String, Vec<StoredFile>> = BTreeMap::new();
        for file in data::list(&table, &spec)? {
            dates.entry(file.date.clone()).or_default().push(file);
        }
        let progress = progress::newest(&table).await?;
        let Kind::History { key, .. } = spec.kind.clone() else {
            return Err(Error::internal(format!("{} is no history", spec.path)));
        };
        let columns = plan.entities[entity].columns();
        let types = columns.map(|(name, ty)| (name.to_string(), ty.data_type())).collect();
        Ok(Some(Self { entity, table, spec, key, types, dates, progress }))
    }

    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.dates.values().flatten().map(|file| file.rows).sum()
    }

    /// The files of each date, newest first.
    pub fn dates(&self) -> impl Iterator<Item = &[StoredFile]> {
        self.dates.values().rev().map(Vec::as_slice)
    }

    /// Opens one of its files.
    ///
    /// # Errors
    /// Unavailable.
    pub async fn open_file(&self, file: &StoredFile) -> Result<HistoryFile<'_>> {
        Ok(HistoryFile { history: self, opened: OpenedFile::open(&self.table, &self.spec, file).await? })
    }
}

/// One file of a history.
pub struct HistoryFile<'a> {
    history: &'a History,
    opened: OpenedFile,
}

/// Keys and positions of neighbouring rows.
pub struct Places {
    pub keys: StringArray,
    pub partitions: Int32Array,
    pub offsets: Int64Array,
    pub sequences: Int32Array,
    pub ordinals: Int64Array,
}

impl HistoryFile<'_> {
    /// Where the rows of these numbers (ascending), or all, stand, in the order of the file.
    ///
    /// # Errors
    /// Unavailable.
    pub fn places(&self, wanted: Option<&[u32]>) -> Result<BoxStream<'_, Result<Places>>> {
        let History { spec, key, .. } = self.history;
        let mut columns: Vec<usize> = (0..key.len()).collect();
        columns.extend(data::positions(spec, &PLACE_COLUMNS));
        let batches = self.opened.read(Some(&columns), wanted)?;
        Ok(batches.map(move |batch| places(key, &batch?)).boxed())
    }

    /// The rows of these numbers (ascending), each with its partition, in the form of an epoch.
    ///
    /// # Errors
    /// Unavailable.
    pub fn rows_at(&self, wanted: &[u32]) -> Result<BoxStream<'_, Result<(Int32Array, RecordBatch)>>> {
        let History { key, types, .. } = self.history;
        let batches = self.opened.read(None, Some(wanted))?;
        let rows = move |batch: Result<RecordBatch>| {
            let batch = batch?;
            Ok::<_, Error>((int32(&batch, "partition")?, rows::epoch_rows(key, &batch, types)?))
        };
        Ok(batches.map(rows).boxed())
    }
}

fn places(key: &[KeyType], batch: &RecordBatch) -> Result<Places> {
    Ok(Places {
        keys: rows::key_texts(key, batch)?,
        partitions: int32(batch, "partition")?,
        offsets: int64(batch, "offset")?,
        sequences: int32(batch, "sequence")?,
        ordinals: int64(batch, "ordinal")?,
    })
}

fn int32(batch: &RecordBatch, name: &str) -> Result<Int32Array> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int32Type>());
    column.cloned().ok_or_else(|| Error::internal(format!("the column {name} of a history is no int")))
}

fn int64(batch: &RecordBatch, name: &str) -> Result<Int64Array> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<Int64Type>());
    column.cloned().ok_or_else(|| Error::internal(format!("the column {name} of a history is no bigint")))
}
