//! The form of a table's files: how each column is encoded, in large files and in small ones.
//!
//! Always holds: both hold the same columns and read back the same; only bytes and CPU differ. Encodings are chosen for
//! the writer's CPU and for what every reader knows.
//!
//! A large file: numbers are bit-packed differences, which cost less than a dictionary and, for counters and constants,
//! next to nothing to keep; keys are plain with packed lengths, because a dictionary of keys overflows; other text is a
//! dictionary; doubles are as they are. Over all of it zstd at its lightest. A small one, of which a commit may hold
//! one a date, is ruled by what each column costs before its first value (a zstd context, a dictionary, a page index):
//! it has none of these, and snappy over plain values. A raw log has one form: bytes with packed lengths, which are read
//! where they are decompressed, zstd, and row groups of a size to be held in memory, one or two for each partition.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use deltalake::logstore::object_store::PutPayload;
use deltalake::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use deltalake::parquet::arrow::arrow_writer::ArrowWriterOptions;
use deltalake::parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use deltalake::parquet::basic::{Compression, Encoding, LogicalType, Type, ZstdLevel};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::ParquetMetaData;
use deltalake::parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use deltalake::parquet::schema::types::SchemaDescriptor;

use super::schema::{Kind, TableSpec};
use crate::error::{Error, Result};

/// Rows of a row group.
const GROUP_ROWS: usize = 1 << 20;
/// Bytes of a row group of a raw log, compressed.
const RAW_GROUP_BYTES: usize = 8 << 20;
/// Files with fewer rows are small.
pub const SMALL_ROWS: usize = 8192;

/// How the files of one table are written.
pub struct Form {
    path: String,
    columns: SchemaRef,
    parquet: SchemaDescriptor,
    large: WriterProperties,
    small: WriterProperties,
}

impl Form {
    /// # Errors
    /// Internal: a column has a type that Parquet has not, which no table has.
    pub fn new(spec: &TableSpec) -> Result<Self> {
        let parquet = ArrowSchemaConverter::new().convert(&spec.columns).map_err(|e| unencodable(&spec.path, &e))?;
        let (large, small) = match spec.kind {
            Kind::RawLog => (raw(&parquet), raw(&parquet)),
            _ => (large(spec, &parquet), small(spec, &parquet)),
        };
        Ok(Self { path: spec.path.clone(), columns: Arc::clone(&spec.columns), large, small, parquet })
    }

    /// Opens a file that will have `rows` rows or more.
    pub fn open(&self, rows: usize) -> Result<FileWriter> {
        let properties = if rows < SMALL_ROWS { &self.small } else { &self.large };
        // Every reader knows Parquet's own types: Arrow's schema beside them would be in each file again.
        let options = ArrowWriterOptions::new()
            .with_properties(properties.clone())
            .with_parquet_schema(self.parquet.clone())
            .with_skip_arrow_metadata(true);
        let writer = ArrowWriter::try_new_with_options(Vec::new(), Arc::clone(&self.columns), options);
        Ok(FileWriter { path: self.path.clone(), writer: writer.map_err(|e| unencodable(&self.path, &e))? })
    }

    /// Calls `each` with the batches of a finished file, in order.
    pub fn read(&self, file: &PutPayload, mut each: impl FnMut(RecordBatch) -> Result<()>) -> Result<()> {
        for bytes in file.iter() {
            let options = ArrowReaderOptions::new().with_schema(Arc::clone(&self.columns));
            let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes.clone(), options);
            for batch in reader.and_then(|builder| builder.build()).map_err(|e| unencodable(&self.path, &e))? {
                each(batch.map_err(|e| unencodable(&self.path, &e.into()))?)?;
            }
        }
        Ok(())
    }
}

/// A file in memory that takes rows.
pub struct FileWriter {
    path: String,
    writer: ArrowWriter<Vec<u8>>,
}

impl FileWriter {
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.writer.write(rows).map_err(|e| unencodable(&self.path, &e))
    }

    /// Its size so far, about.
    pub fn bytes(&self) -> usize {
        self.writer.bytes_written() + self.writer.in_progress_size()
    }

    /// The whole file.
    pub fn finish(mut self) -> Result<(Vec<u8>, ParquetMetaData)> {
        let metadata = self.writer.finish().map_err(|e| unencodable(&self.path, &e))?;
        Ok((std::mem::take(self.writer.inner_mut()), metadata))
    }
}

fn common() -> WriterPropertiesBuilder {
    WriterProperties::builder()
        .set_created_by(concat!("kappa version ", env!("CARGO_PKG_VERSION")).to_string())
        .set_dictionary_enabled(false)
        .set_statistics_truncate_length(Some(32))
        .set_max_row_group_row_count(Some(GROUP_ROWS))
}

fn large(spec: &TableSpec, parquet: &SchemaDescriptor) -> WriterProperties {
    let mut builder = common()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::Chunk);
    for (index, leaf) in parquet.columns().iter().enumerate() {
        let is_text = matches!(leaf.logical_type_ref(), Some(LogicalType::String));
        let is_decimal = matches!(leaf.logical_type_ref(), Some(LogicalType::Decimal(_)));
        builder = match leaf.physical_type() {
            // Readers keep a decimal in integers of their own width: the plain encoding is the one that all convert.
            _ if is_decimal => builder,
            Type::INT32 | Type::INT64 => {
                builder.set_column_encoding(leaf.path().clone(), Encoding::DELTA_BINARY_PACKED)
            }
            // Key columns come first and are not nested: their leaf is their column.
            Type::BYTE_ARRAY if is_text && index < spec.key_columns() => {
                builder.set_column_encoding(leaf.path().clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY)
            }
            Type::BYTE_ARRAY if is_text => builder.set_column_dictionary_enabled(leaf.path().clone(), true),
            Type::BYTE_ARRAY => builder.set_column_statistics_enabled(leaf.path().clone(), EnabledStatistics::None),
            _ => builder,
        };
    }
    builder.build()
}

fn raw(parquet: &SchemaDescriptor) -> WriterProperties {
    let mut builder = common()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_max_row_group_bytes(Some(RAW_GROUP_BYTES));
    for leaf in parquet.columns() {
        let path = leaf.path().clone();
        builder = match leaf.physical_type() {
            Type::INT64 => builder
                .set_column_encoding(path.clone(), Encoding::DELTA_BINARY_PACKED)
                .set_column_statistics_enabled(path, EnabledStatistics::Chunk),
            // The names of headers repeat.
            _ if matches!(leaf.logical_type_ref(), Some(LogicalType::String)) => {
                builder.set_column_dictionary_enabled(path, true)
            }
            _ => builder.set_column_encoding(path, Encoding::DELTA_LENGTH_BYTE_ARRAY),
        };
    }
    builder.build()
}

/// Statistics only of the columns whose bounds the log wants.
fn small(spec: &TableSpec, parquet: &SchemaDescriptor) -> WriterProperties {
    let mut builder = common()
        .set_compression(Compression::SNAPPY)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true);
    for leaf in parquet.columns().iter().take(spec.stats_columns) {
        builder = builder.set_column_statistics_enabled(leaf.path().clone(), EnabledStatistics::Chunk);
    }
    builder.build()
}

fn unencodable(path: &str, error: &ParquetError) -> Error {
    Error::internal(format!("rows of {path} could not be encoded as Parquet: {error}"))
}
