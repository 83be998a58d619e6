//! Parquet files in memory: rows are gathered and encoded as they come, by date, until a commit takes them.
//!
//! Always holds: what is in a finished file never changes, and its name follows from its bytes and from who wrote it: a
//! repeated upload writes the same file again, and no other process ever does, so that a vacuum which takes an old file
//! for forgotten cannot take a new one with it; rows of one task are in the order of their ordinals within a file.
//!
//! A date with many rows has an open file, which takes them as they come. The rows of a date with few wait as they are:
//! an open file costs memory and CPU for each column, and a commit may hold hundreds of dates.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::error::ArrowError;
use deltalake::logstore::object_store::PutPayload;
use xxhash_rust::xxh3::xxh3_128;

use super::form::{FileWriter, Form, SMALL_ROWS};
use super::rows::{self, Staged};
use super::schema::TableSpec;
use super::stats;
use super::table::Pending;
use crate::error::{Error, Result};

/// Rows that are encoded together: fewer cost more for each.
const CHUNK_ROWS: usize = 8192;
/// A file is closed at this size.
pub const FILE_BYTES: usize = 128 << 20;
/// Files that are open at once; the one longest untouched is closed for the next.
const OPEN_FILES: usize = 32;

/// A finished file, waiting for its commit.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Its path within the table.
    pub path: String,
    /// The value of the partition column.
    pub partition_value: String,
    pub payload: PutPayload,
    pub rows: u64,
    /// Delta's statistics, as JSON.
    pub stats: String,
    /// First and last ordinal of each partition in it; of a raw log the offsets that it covers.
    pub ordinals: BTreeMap<i32, (i64, i64)>,
    /// When it was uploaded by the store's clock, in ms; `None` before.
    pub uploaded: Option<i64>,
    uploaded_on: Option<Instant>,
}

impl DataFile {
    /// A file of these bytes, not uploaded.
    pub fn new(
        path: String,
        partition_value: String,
        bytes: Vec<u8>,
        rows: u64,
        stats: String,
        ordinals: BTreeMap<i32, (i64, i64)>,
    ) -> Self {
        let payload = PutPayload::from(bytes);
        Self { path, partition_value, payload, rows, stats, ordinals, uploaded: None, uploaded_on: None }
    }

    /// It lies in the store since then, by the store's clock.
    pub fn set_uploaded(&mut self, at: i64) {
        (self.uploaded, self.uploaded_on) = (Some(at), Some(Instant::now()));
    }

    /// A file that has waited for its commit for so long that a vacuum might take it for forgotten is uploaded again, under
    /// another name.
    pub fn expire_upload(&mut self, longest: Duration) {
        if self.uploaded_on.is_some_and(|since| since.elapsed() >= longest) {
            (self.uploaded, self.uploaded_on) = (None, None);
            let stem = self.path.rsplit_once('-').map_or(self.path.as_str(), |(stem, _)| stem);
            self.path = format!("{stem}-{:016x}.parquet", WriterMark::fresh().0);
        }
    }
}

/// The rows of one date that are in no file yet, and the file that is open for them, if there is one.
#[derive(Default)]
struct Date {
    waiting: Vec<RecordBatch>,
    rows: usize,
    bytes: usize,
    file: Option<OpenFile>,
    /// When its file was last written to, counted in chunks.
    touched: u64,
}

/// Encodes the rows of one table.
pub struct Encoder {
    spec: Arc<TableSpec>,
    form: Form,
    writer: WriterMark,
    staged: Vec<Staged>,
    staged_rows: usize,
    dates: BTreeMap<i32, Date>,
    finished: Vec<DataFile>,
    chunks: u64,
    bytes: usize,
}

impl Encoder {
    /// # Errors
    /// Internal: see [`Form::new`].
    pub fn new(spec: Arc<TableSpec>) -> Result<Self> {
        Ok(Self {
            form: Form::new(&spec)?,
            spec,
            writer: WriterMark::fresh(),
            staged: vec![],
            staged_rows: 0,
            dates: BTreeMap::new(),
            finished: vec![],
            chunks: 0,
            bytes: 0,
        })
    }

    /// Takes rows of one task; encodes when enough have come together.
    pub fn push(&mut self, staged: Staged) -> Result<()> {
        self.staged_rows += staged.rows.num_rows();
        self.staged.push(staged);
        if self.staged_rows < CHUNK_ROWS {
            return Ok(());
        }
        self.gather()
    }

    /// Bytes in memory that wait for a commit: of files, and of rows that are in none yet.
    pub fn pending_bytes(&self) -> u64 {
        (self.bytes + self.staged.iter().map(|staged| memory(&staged.rows)).sum::<usize>()) as u64
    }

    /// Brings the staged rows to their dates.
    fn gather(&mut self) -> Result<()> {
        let staged = std::mem::take(&mut self.staged);
        if staged.is_empty() {
            return Ok(());
        }
        self.staged_rows = 0;
        self.chunks += 1;
        let (columns, dates) = rows::columns_of(&self.spec, &staged)?;
        for (date, indices) in dates.groups(columns.num_rows()) {
            let part = part(&columns, indices).map_err(|e| unformed(&self.spec, &e))?;
            self.add(date, part)?;
        }
        self.measure();
        Ok(())
    }

    fn add(&mut self, date: i32, part: RecordBatch) -> Result<()> {
        let rows = self.dates.entry(date).or_default();
        rows.rows += part.num_rows();
        rows.bytes += memory(&part);
        rows.waiting.push(part);
        if rows.rows < SMALL_ROWS && rows.file.is_none() {
            return Ok(());
        }
        if rows.file.is_none() {
            self.close_idlest()?;
        }
        let Some(rows) = self.dates.get_mut(&date) else { return Ok(()) };
        rows.write(&self.spec, &self.form)?;
        rows.touched = self.chunks;
        if rows.file.as_ref().is_some_and(|file| file.writer.bytes() >= FILE_BYTES) {
            self.close(date)?;
        }
        Ok(())
    }

    /// Makes room for one more open file.
    fn close_idlest(&mut self) -> Result<()> {
        let open = self.dates.iter().filter(|(_, rows)| rows.file.is_some());
        let (count, idlest) = (open.clone().count(), open.min_by_key(|(_, rows)| rows.touched).map(|(date, _)| *date));
        match idlest {
            Some(date) if count >= OPEN_FILES => self.close(date),
            _ => Ok(()),
        }
    }

    fn close(&mut self, date: i32) -> Result<()> {
        let Some(mut rows) = self.dates.remove(&date) else { return Ok(()) };
        rows.write(&self.spec, &self.form)?;
        if let Some(file) = rows.file {
            self.finished.push(file.seal(&self.spec, rows::date_text(date), self.writer)?);
        }
        Ok(())
    }

    fn measure(&mut self) {
        let finished = self.finished.iter().map(|file| file.payload.content_length()).sum::<usize>();
        let in_date = |date: &Date| date.bytes + date.file.as_ref().map_or(0, |file| file.writer.bytes());
        self.bytes = finished + self.dates.values().map(in_date).sum::<usize>();
    }
}

impl Pending for Encoder {
    fn pending_rows(&self) -> u64 {
        let finished = self.finished.iter().map(|file| file.rows).sum::<u64>();
        let in_date = |date: &Date| date.rows as u64 + date.file.as_ref().map_or(0, |file| file.rows);
        self.staged_rows as u64 + finished + self.dates.values().map(in_date).sum::<u64>()
    }

    fn finish(&mut self) -> Result<&mut Vec<DataFile>> {
        self.gather()?;
        while let Some((&date, _)) = self.dates.first_key_value() {
            self.close(date)?;
        }
        self.measure();
        Ok(&mut self.finished)
    }

    fn drop_below(&mut self, partition: i32, from: i64) -> Result<()> {
        self.finish()?;
        let reaches = |file: &DataFile| file.ordinals.get(&partition).is_some_and(|range| range.0 < from);
        if !self.finished.iter().any(reaches) {
            return Ok(());
        }
        let mut left = Vec::with_capacity(self.finished.len());
        for file in &self.finished {
            if !reaches(file) {
                left.push(file.clone());
            } else if let Some(kept) = rewrite(&self.form, file, partition, from)? {
                left.push(kept.seal(&self.spec, file.partition_value.clone(), self.writer)?);
            }
        }
        self.finished = left;
        self.measure();
        Ok(())
    }

    fn clear_finished(&mut self) {
        self.finished.clear();
        self.measure();
    }
}

impl Date {
    /// Brings the waiting rows to the open file, which is opened for them if there is none.
    fn write(&mut self, spec: &TableSpec, form: &Form) -> Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        let rows = match waiting.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            [first, ..] => concat_batches(first.schema_ref(), &waiting).map_err(|e| unformed(spec, &e))?,
        };
        (self.rows, self.bytes) = (0, 0);
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenFile::new(form, rows.num_rows())?),
        };
        file.write(&rows)
    }
}

/// Who writes a file: part of its name.
#[derive(Debug, Clone, Copy)]
pub struct WriterMark(u64);

impl WriterMark {
    /// One that no writer has had before: nanoseconds of the clock, which decide nothing else.
    pub fn fresh() -> Self {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
        Self(since_1970.map_or(0, |since| since.as_nanos() as u64))
    }
}

/// A file that rows are being written to.
pub struct OpenFile {
    writer: FileWriter,
    ordinals: BTreeMap<i32, (i64, i64)>,
    rows: u64,
}

impl OpenFile {
    /// A file that will have `rows` rows or more.
    pub fn new(form: &Form, rows: usize) -> Result<Self> {
        Ok(Self { writer: form.open(rows)?, ordinals: BTreeMap::new(), rows: 0 })
    }

    /// Its size so far, about.
    pub fn bytes(&self) -> usize {
        self.writer.bytes()
    }

    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows)?;
        for run in rows::runs(rows) {
            let range = self.ordinals.entry(run.partition).or_insert((run.first, run.last));
            *range = (range.0.min(run.first), range.1.max(run.last));
        }
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Closes it and names it after its bytes and its writer.
    pub fn seal(self, spec: &TableSpec, date: String, writer: WriterMark) -> Result<DataFile> {
        let (bytes, metadata) = self.writer.finish()?;
        let (column, hash) = (spec.partition_column, xxh3_128(&bytes));
        let path = format!("{column}={date}/part-{hash:032x}-{:016x}.parquet", writer.0);
        Ok(DataFile::new(path, date, bytes, self.rows, stats::of(spec, &metadata), self.ordinals))
    }
}

/// The file again without the rows of a task below `from`; `None` when none is left.
fn rewrite(form: &Form, file: &DataFile, partition: i32, from: i64) -> Result<Option<OpenFile>> {
    let mut kept = OpenFile::new(form, file.rows as usize)?;
    form.read(&file.payload, |batch| {
        for run in rows::runs(&batch) {
            let drop = if run.partition == partition { rows::below(&batch, &run, from) } else { 0 };
            if drop < run.len {
                kept.write(&batch.slice(run.start + drop, run.len - drop))?;
            }
        }
        Ok(())
    })?;
    Ok((kept.rows > 0).then_some(kept))
}

/// These rows of a batch; copied, unless they are most of it: a few would keep all of it in memory.
fn part(columns: &RecordBatch, indices: Vec<u32>) -> Result<RecordBatch, ArrowError> {
    let (first, last) = (indices[0] as usize, indices[indices.len() - 1] as usize);
    if last - first + 1 == indices.len() && indices.len() * 2 > columns.num_rows() {
        return Ok(columns.slice(first, indices.len()));
    }
    take_record_batch(columns, &UInt32Array::from(indices))
}

/// The bytes of these rows, without what else their buffers hold.
fn memory(rows: &RecordBatch) -> usize {
    rows.columns().iter().map(|column| column.to_data().get_slice_memory_size().unwrap_or(0)).sum()
}

fn unformed(spec: &TableSpec, error: &ArrowError) -> Error {
    Error::internal(format!("rows of {} could not be brought together: {error}", spec.path))
}
