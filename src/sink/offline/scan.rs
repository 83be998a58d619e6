//! A history at one version of its table, read as a whole: by columns, file after file, on as many threads as wanted.
//!
//! Always holds: what is read is one snapshot, whatever is written meanwhile; a row has a place (file, number within
//! it) by which it is found again in the same snapshot. What the tasks' progress says is never ahead of the snapshot.

use std::ops::RangeInclusive;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, SchemaRef};
use deltalake::logstore::object_store::path::Path;
use deltalake::{DeltaTable, DeltaTableError};
use futures::TryStreamExt;

use super::progress::{self, Progress};
use super::rows::day;
use super::schema::{self, EVENT_DATE, FINGERPRINT, TableSpec};
use crate::config::OfflineSettings;
use crate::error::{Error, Result};
use crate::lake::{ColumnsFile, Place, unavailable};
use crate::topology::Plan;

/// A larger file is read by row groups, several at once.
const SPLIT_BYTES: u64 = 16 << 20;

/// A history as it was at one version of its table.
pub struct HistoryTable {
    table: DeltaTable,
    spec: TableSpec,
    files: Vec<File>,
    progress: Progress,
}

#[derive(Debug, Clone)]
struct File {
    path: Path,
    bytes: u64,
    rows: u64,
    /// The date of all its rows, in days since 1970.
    day: Option<i32>,
}

/// Some row groups of one file.
pub struct Part {
    file: u32,
    /// One of them, of a large file, which is open already.
    group: Option<(ColumnsFile, usize)>,
    rows: u64,
}

impl Part {
    /// How many rows it has.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Its file's number.
    pub fn file(&self) -> u32 {
        self.file
    }
}

impl HistoryTable {
    /// The history of an entity, as it is now or at a version of its table; `None` when there is none.
    ///
    /// # Errors
    /// Refused: it is of other logic, or the version is gone. Unavailable; configuration (the url).
    pub async fn open(
        settings: &OfflineSettings,
        plan: &Plan,
        entity: usize,
        version: u32,
        at: Option<u64>,
    ) -> Result<Option<Self>> {
        let spec = schema::history(plan, entity, version)?;
        let Some(mut table) = Place::new(settings).load(&spec.path).await? else { return Ok(None) };
        let url = table.table_url().clone();
        // First what the tasks say, then the snapshot: it may only be newer.
        let progress = if at.is_none() { progress::newest(&table).await? } else { Progress::default() };
        match at {
            None => table.update_state().await.map_err(|e| unavailable(&url, "read", &e))?,
            Some(at) => table.load_version(at).await.map_err(|e| gone(&table, at, &e))?,
        }
        check(&table, &spec)?;
        let files = list(&table)?;
        Ok(Some(Self { table, spec, files, progress }))
    }

    /// The version of the table.
    pub fn table_version(&self) -> u64 {
        self.table.version().unwrap_or(0)
    }

    /// Its place below the url.
    pub fn path(&self) -> &str {
        &self.spec.path
    }

    /// Where it is.
    pub fn url(&self) -> String {
        self.table.table_url().to_string()
    }

    /// All columns of its files: the key's, the fixed ones, the features and what is derived with them.
    pub fn columns(&self) -> &SchemaRef {
        &self.spec.columns
    }

    /// How many of them are the key's.
    pub fn key_columns(&self) -> usize {
        self.spec.key_columns()
    }

    /// Where the tasks stood, no later than the snapshot; nothing for a version that was asked for by its number, of
    /// which the one who asks knows it.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// What has to be read for the rows with event times in this range (microseconds), as far as dates tell.
    ///
    /// # Errors
    /// As [`ColumnsFile::open`].
    pub async fn parts(&self, times: &RangeInclusive<i64>) -> Result<Vec<Part>> {
        let (from, to) = (day(times.start().div_euclid(1000)), day(times.end().div_euclid(1000)));
        let mut parts = Vec::new();
        for (index, file) in self.files.iter().enumerate() {
            if file.day.is_some_and(|day| day < from || day > to) {
                continue;
            }
            let index = index as u32;
            if file.bytes < SPLIT_BYTES {
                parts.push(Part { file: index, group: None, rows: file.rows });
                continue;
            }
            let open = ColumnsFile::open(&self.table, &file.path, file.bytes).await?;
            parts.extend((0..open.groups()).map(|group| {
                let rows = u64::from(open.rows(group).end - open.rows(group).start);
                Part { file: index, group: Some((open.clone(), group)), rows }
            }));
        }
        Ok(parts)
    }

    /// Calls `each` with the wanted columns of a part's rows, and the number of the first of them within its file. Row
    /// groups without a row in this range of event times are left out.
    ///
    /// # Errors
    /// As [`ColumnsFile::open`], and what `each` answers.
    pub async fn read(
        &self,
        part: &Part,
        wanted: &SchemaRef,
        times: &RangeInclusive<i64>,
        mut each: impl FnMut(u32, &RecordBatch) -> Result<()>,
    ) -> Result<()> {
        let (open, groups) = match &part.group {
            Some((open, group)) => (open.clone(), *group..*group + 1),
            None => {
                let open = self.open_file(part.file).await?;
                let groups = 0..open.groups();
                (open, groups)
            }
        };
        for group in groups {
            let bounds = open.bounds(group, "event_time");
            if bounds.is_some_and(|(low, high)| high < *times.start() || low > *times.end()) {
                continue;
            }
            let mut first = open.rows(group).start;
            let mut batches = open.read(group, wanted, None)?;
            while let Some(batch) = batches.try_next().await? {
                each(first, &batch)?;
                first += batch.num_rows() as u32;
            }
        }
        Ok(())
    }

    /// The wanted columns of these rows of a file; their numbers ascend.
    ///
    /// # Errors
    /// As [`ColumnsFile::open`].
    pub async fn rows(&self, file: u32, rows: &[u32], wanted: &SchemaRef) -> Result<Vec<RecordBatch>> {
        let open = self.open_file(file).await?;
        let (mut found, mut rest) = (Vec::new(), rows);
        for group in 0..open.groups() {
            let of_group = open.rows(group);
            let (here, after) = rest.split_at(rest.partition_point(|row| *row < of_group.end));
            rest = after;
            if here.is_empty() {
                continue;
            }
            let places: Vec<u32> = here.iter().map(|row| row - of_group.start).collect();
            let mut batches = open.read(group, wanted, Some(&places))?;
            while let Some(batch) = batches.try_next().await? {
                found.push(batch);
            }
        }
        Ok(found)
    }

    async fn open_file(&self, file: u32) -> Result<ColumnsFile> {
        let file = &self.files[file as usize];
        ColumnsFile::open(&self.table, &file.path, file.bytes).await
    }
}

/// The type that a table has for values of this type of a row.
pub fn stored_type(data_type: &DataType) -> DataType {
    schema::stored(data_type)
}

fn list(table: &DeltaTable) -> Result<Vec<File>> {
    let url = table.table_url();
    let snapshot = table.snapshot().map_err(|e: DeltaTableError| unavailable(url, "read", &e))?;
    let mut files = Vec::new();
    for file in snapshot.log_data().iter() {
        if file.deletion_vector_descriptor().is_some() {
            return Err(Error::refused(format!(
                "the table {url} was changed by something else than Kappa: rows of {} were deleted. Restore the table to a \
                 version before that",
                file.path()
            )));
        }
        let date = file.partition_values_map().remove(EVENT_DATE).flatten();
        let date: Option<jiff::civil::Date> = date.and_then(|date| date.parse().ok());
        files.push(File {
            path: file.object_store_path(),
            bytes: u64::try_from(file.size()).unwrap_or(0),
            rows: file.num_records().unwrap_or(0) as u64,
            day: date.and_then(first_moment).map(day),
        });
    }
    // Of one snapshot always the same places.
    files.sort_by(|a, b| a.path.as_ref().cmp(b.path.as_ref()));
    Ok(files)
}

/// The first moment of a date, in ms.
fn first_moment(date: jiff::civil::Date) -> Option<i64> {
    let moment = jiff::tz::TimeZone::UTC.to_timestamp(date.at(0, 0, 0, 0));
    moment.ok().map(jiff::Timestamp::as_millisecond)
}

/// The columns that the topology knows are there, and of its logic.
fn check(table: &DeltaTable, spec: &TableSpec) -> Result<()> {
    let url = table.table_url();
    let snapshot = table.snapshot().map_err(|e| unavailable(url, "read", &e))?;
    let remedy = "name the topology that this version was begun with, or another --version (kappa versions lists them)";
    let written = snapshot.metadata().configuration().get(FINGERPRINT);
    if let Some(written) = written.filter(|written| **written != spec.fingerprint) {
        return Err(Error::refused(format!(
            "the history {url} was written by other logic (fingerprint {written}) than the topology's ({}): {remedy}",
            spec.fingerprint
        )));
    }
    let schema = snapshot.schema();
    for field in spec.delta_fields()? {
        let found = schema.field(field.name()).map(|found| found.data_type().to_string());
        let expected = field.data_type().to_string();
        if found.as_ref() != Some(&expected) {
            let found = found.unwrap_or_else(|| "missing".into());
            return Err(Error::refused(format!(
                "the history {url} has another column `{}` than the topology: it should be {expected}, and is {found}; \
                 {remedy}",
                field.name()
            )));
        }
    }
    Ok(())
}

fn gone(table: &DeltaTable, at: u64, error: &DeltaTableError) -> Error {
    Error::refused(format!(
        "the table {} cannot be read as it was at version {at}: {error}; its log no longer reaches back so far, or it was \
         replaced",
        table.table_url()
    ))
}

impl std::fmt::Debug for HistoryTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryTable").field("path", &self.spec.path).field("files", &self.files.len()).finish()
    }
}
