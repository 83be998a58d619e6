//! Raw records in memory, encoded as they come: one open file a partition, until a commit takes them.
//!
//! Always holds: a file's rows ascend by offset; the files of a partition, finished and open, adjoin: each covers the
//! offsets from where the one before ends, also those that carry no record, so that nothing looks missing that is not.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use xxhash_rust::xxh3::xxh3_128;

use super::rows::RawRows;
use crate::decode::RawBatch;
use crate::error::Result;
use crate::lake::file_name;
use crate::sink::offline::files::DataFile;
use crate::sink::offline::form::{FileWriter, Form};
use crate::sink::offline::schema::TableSpec;
use crate::sink::offline::stats;
use crate::sink::offline::table::Pending;

/// A file is closed at this size.
const FILE_BYTES: usize = 128 << 20;

/// Encodes the records of one topic.
pub struct LogEncoder {
    spec: Arc<TableSpec>,
    form: Form,
    logs: BTreeMap<i32, Log>,
    finished: Vec<DataFile>,
}

/// One partition's records that are in no finished file yet.
#[derive(Default)]
struct Log {
    /// The offsets from the last finished file's end up to what was appended.
    covers: Range<i64>,
    rows: RawRows,
    file: Option<OpenFile>,
}

struct OpenFile {
    writer: FileWriter,
    rows: u64,
}

impl LogEncoder {
    /// # Errors
    /// Internal: see [`Form::new`].
    pub fn new(spec: Arc<TableSpec>) -> Result<Self> {
        Ok(Self { form: Form::new(&spec)?, spec, logs: BTreeMap::new(), finished: Vec::new() })
    }

    /// Of a partition of which there is nothing yet: its first file covers from here on.
    pub fn begin(&mut self, partition: i32, offset: i64) {
        let log = self.logs.entry(partition).or_default();
        if log.covers == (0..0) {
            log.covers = offset..offset;
        }
    }

    /// Takes records that come in offset order; those below what it has are skipped.
    pub fn append(&mut self, partition: i32, records: &dyn RawBatch) -> Result<()> {
        let log = self.logs.entry(partition).or_default();
        for index in 0..records.len() {
            let offset = records.record(index).offset;
            if offset < log.covers.end {
                continue;
            }
            log.rows.push(records, index);
            log.covers.end = offset + 1;
            if log.rows.is_full() {
                log.write(&self.form)?;
                if log.file.as_ref().is_some_and(|file| file.writer.bytes() >= FILE_BYTES) {
                    self.finished.extend(log.close(&self.spec, &self.form, partition)?);
                }
            }
        }
        Ok(())
    }

    /// There is no record between what was appended and `offset`.
    pub fn skip_to(&mut self, partition: i32, offset: i64) {
        let log = self.logs.entry(partition).or_default();
        log.covers.end = log.covers.end.max(offset);
    }

    /// How far it has come in each partition.
    pub fn next_offsets(&self) -> BTreeMap<i32, i64> {
        self.logs.iter().map(|(partition, log)| (*partition, log.covers.end)).collect()
    }

    /// Bytes in memory: of files, and of records that are in none yet.
    pub fn pending_bytes(&self) -> u64 {
        let finished = self.finished.iter().map(|file| file.payload.content_length()).sum::<usize>();
        let open = |log: &Log| log.rows.bytes() + log.file.as_ref().map_or(0, |file| file.writer.bytes());
        (finished + self.logs.values().map(open).sum::<usize>()) as u64
    }
}

impl Pending for LogEncoder {
    fn pending_rows(&self) -> u64 {
        let finished = self.finished.iter().map(|file| file.rows).sum::<u64>();
        let open = |log: &Log| log.rows.len() as u64 + log.file.as_ref().map_or(0, |file| file.rows);
        finished + self.logs.values().map(open).sum::<u64>()
    }

    fn finish(&mut self) -> Result<&mut Vec<DataFile>> {
        for (partition, log) in &mut self.logs {
            self.finished.extend(log.close(&self.spec, &self.form, *partition)?);
        }
        Ok(&mut self.finished)
    }

    fn drop_below(&mut self, partition: i32, from: i64) -> Result<()> {
        self.finish()?;
        let mut left = Vec::with_capacity(self.finished.len());
        for file in &self.finished {
            match file.ordinals.get(&partition) {
                Some((_, last)) if *last < from => {}
                Some((first, last)) if *first < from => {
                    left.push(rewrite(&self.spec, &self.form, file, partition, from..last + 1)?);
                }
                _ => left.push(file.clone()),
            }
        }
        self.finished = left;
        let log = self.logs.entry(partition).or_default();
        if log.covers.end < from {
            log.covers = from..from;
        }
        Ok(())
    }

    fn clear_finished(&mut self) {
        self.finished.clear();
    }
}

impl Log {
    /// Brings the waiting rows to the open file, which is opened for them if there is none.
    fn write(&mut self, form: &Form) -> Result<()> {
        let rows = self.rows.finish()?;
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(OpenFile { writer: form.open(0)?, rows: 0 }),
        };
        file.rows += rows.num_rows() as u64;
        file.writer.write(&rows)
    }

    /// Closes the file that covers all up to here; `None` when that is nothing. One without rows says that there are none.
    fn close(&mut self, spec: &TableSpec, form: &Form, partition: i32) -> Result<Option<DataFile>> {
        if self.covers.is_empty() {
            return Ok(None);
        }
        self.write(form)?;
        let Some(file) = self.file.take() else { return Ok(None) };
        let next = self.covers.end;
        let covers = std::mem::replace(&mut self.covers, next..next);
        Ok(Some(seal(spec, partition, covers, file)?))
    }
}

/// Closes a file and names it after what it covers and its bytes.
fn seal(spec: &TableSpec, partition: i32, covers: Range<i64>, file: OpenFile) -> Result<DataFile> {
    let (bytes, metadata) = file.writer.finish()?;
    let path = file_name(partition, &covers, xxh3_128(&bytes));
    let ordinals = BTreeMap::from([(partition, (covers.start, covers.end - 1))]);
    Ok(DataFile::new(path, partition.to_string(), bytes, file.rows, stats::of(spec, &metadata), ordinals))
}

/// The end of a file, from an offset on.
fn rewrite(spec: &TableSpec, form: &Form, file: &DataFile, partition: i32, covers: Range<i64>) -> Result<DataFile> {
    let mut kept = OpenFile { writer: form.open(0)?, rows: 0 };
    form.read(&file.payload, |batch| {
        let offsets = batch.column(0).as_primitive::<Int64Type>().values();
        let skip = offsets.partition_point(|offset| *offset < covers.start);
        let rest = batch.slice(skip, batch.num_rows() - skip);
        kept.rows += rest.num_rows() as u64;
        kept.writer.write(&rest)
    })?;
    seal(spec, partition, covers, kept)
}
