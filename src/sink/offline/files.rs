//! Parquet files in memory: rows are encoded as they come, one open file a date, until a commit takes them.
//!
//! Always holds: what is in a finished file never changes, and its name follows from its bytes, so that a repeated
//! upload writes the same file again; rows of one task are in the order of their ordinals within a file.
//!
//! Encodings are chosen for the writer's CPU and for what every reader knows: numbers are bit-packed
//! differences, keys are plain, other text is a dictionary; see `properties`.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::DataType;
use deltalake::logstore::object_store::PutPayload;
use deltalake::parquet::arrow::ArrowWriter;
use deltalake::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use deltalake::parquet::basic::{Compression, Encoding, ZstdLevel};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use deltalake::parquet::schema::types::ColumnPath;
use xxhash_rust::xxh3::xxh3_128;

use super::rows::{self, Staged};
use super::schema::TableSpec;
use super::stats;
use crate::error::{Error, Result};

/// Rows that are encoded together: fewer cost more for each.
const CHUNK_ROWS: usize = 8192;
/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 20;
/// A file is closed at this size.
const FILE_BYTES: usize = 128 << 20;
/// Dates that are open at once; the one longest untouched is closed for the next.
const OPEN_DATES: usize = 32;

/// A finished file, waiting for its commit.
#[derive(Debug, Clone)]
pub struct DataFile {
    /// Its path within the table.
    pub path: String,
    pub date: String,
    pub payload: PutPayload,
    pub rows: u64,
    /// Delta's statistics, as JSON.
    pub stats: String,
    /// First and last ordinal of each partition in it.
    pub ordinals: BTreeMap<i32, (i64, i64)>,
    /// When it was uploaded by the store's clock, in ms; `None` before.
    pub uploaded: Option<i64>,
}

struct OpenFile {
    writer: ArrowWriter<Vec<u8>>,
    ordinals: BTreeMap<i32, (i64, i64)>,
    rows: u64,
    /// When it was last written to, counted in chunks.
    touched: u64,
}

/// Encodes the rows of one table.
pub struct Encoder {
    spec: Arc<TableSpec>,
    properties: WriterProperties,
    staged: Vec<Staged>,
    staged_rows: usize,
    open: BTreeMap<i32, OpenFile>,
    finished: Vec<DataFile>,
    chunks: u64,
    encoded_bytes: usize,
}

impl Encoder {
    pub fn new(spec: Arc<TableSpec>) -> Self {
        let properties = properties(&spec);
        Self {
            spec,
            properties,
            staged: vec![],
            staged_rows: 0,
            open: BTreeMap::new(),
            finished: vec![],
            chunks: 0,
            encoded_bytes: 0,
        }
    }

    /// Takes rows of one task; encodes when enough have come together.
    pub fn push(&mut self, staged: Staged) -> Result<()> {
        self.staged_rows += staged.rows.num_rows();
        self.staged.push(staged);
        if self.staged_rows < CHUNK_ROWS {
            return Ok(());
        }
        self.encode()
    }

    /// Bytes in memory that wait for a commit: encoded ones, and those of staged rows by their columns' width.
    pub fn pending_bytes(&self) -> u64 {
        (self.encoded_bytes + self.staged_rows * self.spec.columns.fields().len() * 8) as u64
    }

    /// Rows that wait for a commit.
    pub fn pending_rows(&self) -> u64 {
        let finished = self.finished.iter().map(|file| file.rows).sum::<u64>();
        self.staged_rows as u64 + finished + self.open.values().map(|file| file.rows).sum::<u64>()
    }

    /// Closes every open file and gives all finished ones, oldest first.
    pub fn finish(&mut self) -> Result<&mut Vec<DataFile>> {
        self.encode()?;
        while let Some((&date, _)) = self.open.first_key_value() {
            self.close(date)?;
        }
        self.measure();
        Ok(&mut self.finished)
    }

    /// Drops the rows of a task whose ordinals are below `from`, which are in the table already.
    pub fn drop_below(&mut self, partition: i32, from: i64) -> Result<()> {
        self.finish()?;
        let reaches = |file: &DataFile| file.ordinals.get(&partition).is_some_and(|range| range.0 < from);
        if !self.finished.iter().any(reaches) {
            return Ok(());
        }
        let mut left = Vec::with_capacity(self.finished.len());
        for file in &self.finished {
            if !reaches(file) {
                left.push(file.clone());
            } else if let Some(kept) = rewrite(&self.spec, &self.properties, file, partition, from)? {
                left.push(seal(&self.spec, file.date.clone(), kept)?);
            }
        }
        self.finished = left;
        self.measure();
        Ok(())
    }

    /// Forgets the finished files: they are in the table.
    pub fn clear_finished(&mut self) {
        self.finished.clear();
        self.measure();
    }

    fn encode(&mut self) -> Result<()> {
        let staged = std::mem::take(&mut self.staged);
        if staged.is_empty() {
            return Ok(());
        }
        self.staged_rows = 0;
        self.chunks += 1;
        let (columns, dates) = rows::columns_of(&self.spec, &staged)?;
        let groups = dates.groups(columns.num_rows());
        for (date, indices) in groups {
            let (first, last) = (indices[0] as usize, indices[indices.len() - 1] as usize);
            let part = if last - first + 1 == indices.len() {
                columns.slice(first, indices.len())
            } else {
                take_record_batch(&columns, &UInt32Array::from(indices))
                    .map_err(|e| unencodable(&self.spec, e.into()))?
            };
            self.write(date, &part)?;
        }
        self.measure();
        Ok(())
    }

    fn write(&mut self, date: i32, part: &RecordBatch) -> Result<()> {
        if !self.open.contains_key(&date) {
            let idlest = self.open.iter().min_by_key(|(_, file)| file.touched).map(|(date, _)| *date);
            if let Some(idlest) = idlest.filter(|_| self.open.len() >= OPEN_DATES) {
                self.close(idlest)?;
            }
            self.open.insert(date, OpenFile::new(&self.spec, &self.properties)?);
        }
        let Some(file) = self.open.get_mut(&date) else { unreachable!("the date was opened above") };
        file.write(&self.spec, part)?;
        file.touched = self.chunks;
        if file.bytes() >= FILE_BYTES {
            self.close(date)?;
        }
        Ok(())
    }

    fn close(&mut self, date: i32) -> Result<()> {
        if let Some(file) = self.open.remove(&date) {
            self.finished.push(seal(&self.spec, rows::date_text(date), file)?);
        }
        Ok(())
    }

    fn measure(&mut self) {
        let finished = self.finished.iter().map(|file| file.payload.content_length()).sum::<usize>();
        self.encoded_bytes = finished + self.open.values().map(OpenFile::bytes).sum::<usize>();
    }
}

impl OpenFile {
    fn new(spec: &TableSpec, properties: &WriterProperties) -> Result<Self> {
        let writer = ArrowWriter::try_new(Vec::new(), spec.columns.clone(), Some(properties.clone()));
        let writer = writer.map_err(|e| unencodable(spec, e))?;
        Ok(Self { writer, ordinals: BTreeMap::new(), rows: 0, touched: 0 })
    }

    fn write(&mut self, spec: &TableSpec, part: &RecordBatch) -> Result<()> {
        self.writer.write(part).map_err(|e| unencodable(spec, e))?;
        for run in rows::runs(part) {
            let range = self.ordinals.entry(run.partition).or_insert((run.first, run.last));
            *range = (range.0.min(run.first), range.1.max(run.last));
        }
        self.rows += part.num_rows() as u64;
        Ok(())
    }

    fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }
}

/// Closes a file and names it after its bytes.
fn seal(spec: &TableSpec, date: String, mut file: OpenFile) -> Result<DataFile> {
    let metadata = file.writer.finish().map_err(|e| unencodable(spec, e))?;
    let bytes = std::mem::take(file.writer.inner_mut());
    Ok(DataFile {
        path: format!("{}={date}/part-{:032x}.parquet", spec.date_column, xxh3_128(&bytes)),
        date,
        rows: file.rows,
        stats: stats::of(spec, &metadata),
        ordinals: file.ordinals,
        uploaded: None,
        payload: PutPayload::from(bytes),
    })
}

/// The file again without the rows of a task below `from`; `None` when none is left.
fn rewrite(
    spec: &TableSpec,
    properties: &WriterProperties,
    file: &DataFile,
    partition: i32,
    from: i64,
) -> Result<Option<OpenFile>> {
    let mut kept = OpenFile::new(spec, properties)?;
    for bytes in file.payload.iter() {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).and_then(|builder| builder.build());
        for batch in reader.map_err(|e| unencodable(spec, e))? {
            let batch = batch.map_err(|e| unencodable(spec, e.into()))?;
            for run in rows::runs(&batch) {
                let drop = if run.partition == partition { rows::below(&batch, &run, from) } else { 0 };
                if drop < run.len {
                    kept.write(spec, &batch.slice(run.start + drop, run.len - drop))?;
                }
            }
        }
    }
    Ok((kept.rows > 0).then_some(kept))
}

/// How each column is written. Numbers: packed differences, which cost less than a dictionary and, for counters and
/// constants, next to nothing to keep. Keys: plain bytes with packed lengths, because a dictionary of keys overflows.
/// Other text: a dictionary. Doubles: as they are. Over all of it zstd at its lightest.
fn properties(spec: &TableSpec) -> WriterProperties {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("kappa version ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_statistics_truncate_length(Some(32))
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    for (index, field) in spec.columns.fields().iter().enumerate() {
        let column = ColumnPath::from(field.name().as_str());
        builder = match field.data_type() {
            DataType::Int32 | DataType::Int64 | DataType::Timestamp(..) => {
                builder.set_column_encoding(column, Encoding::DELTA_BINARY_PACKED)
            }
            DataType::Utf8 if index < spec.key_columns() => {
                builder.set_column_encoding(column, Encoding::DELTA_LENGTH_BYTE_ARRAY)
            }
            DataType::Utf8 => builder.set_column_dictionary_enabled(column, true),
            DataType::Binary => builder.set_column_statistics_enabled(column, EnabledStatistics::None),
            _ => builder,
        };
    }
    builder.build()
}

fn unencodable(spec: &TableSpec, error: ParquetError) -> Error {
    Error::internal(format!("rows of {} could not be encoded as Parquet: {error}", spec.path))
}
