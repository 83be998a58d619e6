//! A training file: Parquet, written beside its place and moved there when it is whole.
//!
//! Always holds: the same rows in the same batches give the same bytes, whatever the memory, the threads or the day;
//! what stands at the path is a whole file, the old one or the new one.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use deltalake::parquet::basic::{Compression, Encoding, LogicalType, Type, ZstdLevel};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties};
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// Rows of every batch that is written but the last.
pub const BATCH_ROWS: usize = 1 << 15;
/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 19;

/// A file that takes rows. Nothing of it is left when it is dropped unfinished.
pub struct TrainingFile {
    path: PathBuf,
    partial: PathBuf,
    writer: Option<ArrowWriter<Hashing<BufWriter<File>>>>,
    rows: u64,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub bytes: u64,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
}

impl TrainingFile {
    /// Begins a file that will stand at `path`.
    ///
    /// # Errors
    /// Configuration: it cannot be made there, or a column has a type that Parquet has not.
    pub fn create(path: &Path, schema: &SchemaRef) -> Result<Self> {
        let partial = beside(path, "partial");
        let properties = properties(schema).map_err(|error| unwritten(path, &error))?;
        let file = File::create(&partial).map_err(|error| unwritten(path, &error))?;
        let sink = Hashing { inner: BufWriter::with_capacity(1 << 20, file), hasher: Sha256::new(), bytes: 0 };
        let writer = ArrowWriter::try_new(sink, SchemaRef::clone(schema), Some(properties));
        let writer = Some(writer.map_err(|error| unwritten(path, &error))?);
        Ok(Self { path: path.to_path_buf(), partial, writer, rows: 0 })
    }

    /// Appends rows: always [`BATCH_ROWS`], but for the last ones.
    ///
    /// # Errors
    /// Unavailable: the disk.
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        let Some(writer) = &mut self.writer else { return Ok(()) };
        writer.write(rows).map_err(|error| full(&self.path, &error))?;
        self.rows += rows.num_rows() as u64;
        Ok(())
    }

    /// Ends the file: nothing stands at its path yet.
    ///
    /// # Errors
    /// Unavailable: the disk.
    pub fn finish(&mut self) -> Result<Written> {
        let failed = |error: &dyn std::fmt::Display| full(&self.path, error);
        let Some(writer) = self.writer.take() else {
            return Err(Error::internal(format!("{} was finished twice", self.path.display())));
        };
        let Hashing { mut inner, hasher, bytes } = writer.into_inner().map_err(|error| failed(&error))?;
        inner.flush().and_then(|()| inner.get_ref().sync_all()).map_err(|error| failed(&error))?;
        Ok(Written { rows: self.rows, bytes, sha256: hex(&hasher.finalize()) })
    }

    /// Moves the finished file to its path.
    ///
    /// # Errors
    /// Unavailable: the disk.
    pub fn publish(self) -> Result<()> {
        fs::rename(&self.partial, &self.path).map_err(|error| full(&self.path, &error))
    }
}

impl Drop for TrainingFile {
    fn drop(&mut self) {
        // Published, it is no longer there.
        let _ = fs::remove_file(&self.partial);
    }
}

/// `train.parquet.partial` beside `train.parquet`.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Encodings that are cheap to write and that every reader knows; text has dictionaries.
fn properties(schema: &SchemaRef) -> Result<WriterProperties, ParquetError> {
    let mut builder = WriterProperties::builder()
        .set_created_by(concat!("kappa version ", env!("CARGO_PKG_VERSION")).to_string())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(GROUP_ROWS));
    for leaf in ArrowSchemaConverter::new().convert(schema)?.columns() {
        let path = leaf.path().clone();
        let is_decimal = matches!(leaf.logical_type_ref(), Some(LogicalType::Decimal(_)));
        builder = match leaf.physical_type() {
            Type::INT32 | Type::INT64 if !is_decimal => {
                builder.set_column_encoding(path, Encoding::DELTA_BINARY_PACKED)
            }
            Type::BYTE_ARRAY => builder.set_column_dictionary_enabled(path, true),
            _ => builder,
        };
    }
    Ok(builder.build())
}

/// Passes bytes on and hashes them.
struct Hashing<W> {
    inner: W,
    hasher: Sha256,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Bytes as text.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unwritten(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::configuration(format!("{} cannot be written: {error}; give another --out", path.display()))
}

fn full(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::unavailable(format!("{} could not be written: {error}; make room and run it again", path.display()))
}
