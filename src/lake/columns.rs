//! Some columns of one Parquet file of a table, a row group at a time.
//!
//! Always holds: a batch has the wanted columns, in their order and of their types, whatever the order of the file; a
//! column that the file has not is null in it, so files from before a column was added are read like all others. Only
//! the wanted columns are fetched.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use deltalake::DeltaTable;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutPayload};
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use deltalake::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use deltalake::parquet::file::statistics::Statistics;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryFutureExt};
use url::Url;

use super::place::unavailable;
use crate::error::{Error, Result};

/// What is fetched at first of the end of a file: its description is there.
const TAIL_BYTES: usize = 64 << 10;
/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

type Bytes = <PutPayload as IntoIterator>::Item;

/// One file, described.
#[derive(Clone)]
pub struct ColumnsFile {
    file: Stored,
    metadata: ArrowReaderMetadata,
}

impl ColumnsFile {
    /// Opens a file of a table: fetches what describes it.
    ///
    /// # Errors
    /// Refused: the file is gone. Unavailable. Stopped: it is damaged.
    pub async fn open(table: &DeltaTable, path: &Path, bytes: u64) -> Result<Self> {
        let file = Stored { store: table.object_store(), table: table.table_url().clone(), path: path.clone(), bytes };
        // The types are those that Parquet tells, not what a writer says of its own memory.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = ArrowReaderMetadata::load_async(&mut file.clone(), options).await;
        let metadata = metadata.map_err(|error| file.failed(&error))?;
        Ok(Self { file, metadata })
    }

    /// Its columns, as Parquet tells them.
    pub fn schema(&self) -> &SchemaRef {
        self.metadata.schema()
    }

    /// How many row groups it has.
    pub fn groups(&self) -> usize {
        self.metadata.metadata().num_row_groups()
    }

    /// The rows of a row group, counted through the file.
    pub fn rows(&self, group: usize) -> Range<u32> {
        let rows = |group: &usize| self.metadata.metadata().row_group(*group).num_rows() as u32;
        let first = (0..group).map(|group| rows(&group)).sum();
        first..first + rows(&group)
    }

    /// Minimum and maximum of a column of whole numbers or times in a row group, where it tells them.
    pub fn bounds(&self, group: usize, column: &str) -> Option<(i64, i64)> {
        let index = self.root(column)?;
        // The leaf of a column that is not nested, counted among all leaves.
        let leaf = (0..self.metadata.parquet_schema().num_columns())
            .find(|leaf| self.metadata.parquet_schema().get_column_root_idx(*leaf) == index)?;
        match self.metadata.metadata().row_group(group).column(leaf).statistics()? {
            Statistics::Int64(bounds) => Some((*bounds.min_opt()?, *bounds.max_opt()?)),
            _ => None,
        }
    }

    /// The wanted columns of a row group: of all its rows, or of those at these places counted from its first,
    /// ascending.
    pub fn read(
        &self,
        group: usize,
        wanted: &SchemaRef,
        rows: Option<&[u32]>,
    ) -> Result<BoxStream<'static, Result<RecordBatch>>> {
        let roots = wanted.fields().iter().filter_map(|field| self.root(field.name()));
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), roots);
        let builder = ParquetRecordBatchStreamBuilder::new_with_metadata(self.file.clone(), self.metadata.clone());
        let mut builder = builder.with_row_groups(vec![group]).with_projection(mask).with_batch_size(BATCH_ROWS);
        if let Some(rows) = rows {
            let ranges = rows.iter().map(|row| *row as usize..*row as usize + 1);
            let total = self.metadata.metadata().row_group(group).num_rows() as usize;
            builder = builder.with_row_selection(RowSelection::from_consecutive_ranges(ranges, total));
        }
        let stream = builder.build().map_err(|error| self.file.failed(&error))?;
        let (file, wanted) = (self.file.clone(), Arc::clone(wanted));
        let fitted = move |batch: Result<RecordBatch, ParquetError>| {
            let batch = batch.map_err(|error| file.failed(&error))?;
            fit(&batch, &wanted).map_err(|error| file.damaged(&error))
        };
        Ok(stream.map(fitted).boxed())
    }

    fn root(&self, column: &str) -> Option<usize> {
        self.schema().fields().iter().position(|field| field.name() == column)
    }
}

/// The wanted columns of a batch.
fn fit(batch: &RecordBatch, wanted: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let rows = batch.num_rows();
    let column = |field: &Arc<arrow::datatypes::Field>| match batch.column_by_name(field.name()) {
        None => Ok(new_null_array(field.data_type(), rows)),
        Some(column) if column.data_type() == field.data_type() => Ok(Arc::clone(column)),
        Some(column) => cast(column, field.data_type()),
    };
    let columns = wanted.fields().iter().map(column).collect::<Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::clone(wanted), columns, &options)
}

/// A file in its store, as Parquet's reader asks for it.
#[derive(Clone)]
struct Stored {
    store: Arc<dyn ObjectStore>,
    table: Url,
    path: Path,
    bytes: u64,
}

impl Stored {
    fn failed(&self, error: &ParquetError) -> Error {
        let store = match error {
            ParquetError::External(cause) => cause.downcast_ref::<StoreError>(),
            _ => None,
        };
        match store {
            Some(StoreError::NotFound { .. }) => Error::refused(format!(
                "the table {} names {}, which is gone: a vacuum has removed it, or somebody else. Ask for a newer version of \
                 the table, or bring the file back",
                self.table, self.path
            )),
            Some(error) => unavailable(&self.table, &format!("read {} of", self.path), error),
            None => self.damaged(error),
        }
    }

    /// Time does not mend it.
    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        Error::stopped(format!(
            "the table {}: {} cannot be read: {error}; bring the file back as it was",
            self.table, self.path
        ))
    }
}

impl AsyncFileReader for Stored {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes, ParquetError>> {
        async move { self.store.get_range(&self.path, range).await.map_err(outside) }.boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>, ParquetError>> {
        async move { self.store.get_ranges(&self.path, &ranges).await.map_err(outside) }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        _: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>, ParquetError>> {
        let bytes = self.bytes;
        let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(TAIL_BYTES));
        reader.load_and_finish(self, bytes).map_ok(Arc::new).boxed()
    }
}

fn outside(error: StoreError) -> ParquetError {
    ParquetError::External(Box::new(error))
}
