//! The data files of a table: which a snapshot has, and their rows as they lie: some columns or all, some rows or all.
//!
//! Always holds: rows come in the order of their file, a column chunk at a time; a file that another tool has deleted
//! rows of is refused, for what is left of it is not in the file.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::RecordBatch;
use deltalake::DeltaTable;
use deltalake::kernel::Remove;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use deltalake::parquet::arrow::ProjectionMask;
use deltalake::parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, RowSelection};
use deltalake::parquet::arrow::async_reader::{AsyncFileReader, ParquetRecordBatchStreamBuilder};
use deltalake::parquet::errors::{ParquetError, Result as ParquetResult};
use deltalake::parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use futures::future::BoxFuture;
use futures::stream::{BoxStream, StreamExt, TryStreamExt};
use url::Url;

use super::rows;
use super::schema::TableSpec;
use crate::error::{Error, Result};
use crate::lake::unavailable;
use crate::time::Millis;

/// What is fetched at first of the end of a file: its description is there.
const TAIL_BYTES: usize = 64 << 10;
/// Rows of a batch.
const BATCH_ROWS: usize = 8192;

/// One file of a snapshot.
#[derive(Debug, Clone)]
pub struct StoredFile {
    /// Its path within the table.
    pub path: String,
    /// The value of the partition column.
    pub date: String,
    pub bytes: u64,
    /// As the log says; 0 where it does not.
    pub rows: u64,
    /// When it was written, by the store's clock.
    pub modified: Millis,
    /// What takes it out of the table without changing a row.
    pub remove: Remove,
}

/// The files of the table's snapshot.
///
/// Errors: refused, when rows of one were deleted; unavailable.
pub fn list(table: &DeltaTable, spec: &TableSpec) -> Result<Vec<StoredFile>> {
    let url = table.table_url();
    let snapshot = table.snapshot().map_err(|e| unavailable(url, "read", &e))?;
    let mut files = Vec::new();
    for file in snapshot.log_data().iter() {
        if file.deletion_vector_descriptor().is_some() {
            return Err(Error::refused(format!(
                "the table {url}: rows of {} were deleted by another tool; have that tool rewrite its files (REORG TABLE ... \
                 APPLY (PURGE)), or restore the table to a version before that",
                file.path()
            )));
        }
        let remove = file.remove_action(false);
        let date = remove.partition_values.as_ref().and_then(|values| values.get(spec.partition_column)?.clone());
        files.push(StoredFile {
            path: file.path().into_owned(),
            date: date.unwrap_or_default(),
            bytes: u64::try_from(file.size()).unwrap_or(0),
            rows: file.num_records().unwrap_or(0) as u64,
            modified: file.modification_time(),
            remove,
        });
    }
    Ok(files)
}

/// A file that is open: its description has been read.
pub struct OpenedFile {
    reader: InStore,
    metadata: ArrowReaderMetadata,
    table: Url,
    path: String,
}

impl OpenedFile {
    /// Reads what describes a file.
    ///
    /// Errors: unavailable, also when it is gone or damaged.
    pub async fn open(table: &DeltaTable, spec: &TableSpec, file: &StoredFile) -> Result<Self> {
        let (url, path) = (table.table_url().clone(), file.path.clone());
        let mut reader = InStore { store: table.object_store(), path: Path::from(path.as_str()), bytes: file.bytes };
        // The types of the table's columns, whoever wrote the file; pages that no wanted row is in are not fetched.
        let options = ArrowReaderOptions::new()
            .with_schema(Arc::clone(&spec.columns))
            .with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata = ArrowReaderMetadata::load_async(&mut reader, options).await;
        let metadata = metadata.map_err(|e| unavailable(&url, &format!("read {path} of"), &e))?;
        Ok(Self { reader, metadata, table: url, path })
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        usize::try_from(self.metadata.metadata().file_metadata().num_rows()).unwrap_or(0)
    }

    /// The rows: of these columns (in the table's order) and these row numbers (ascending), or of all.
    pub fn read(
        &self,
        columns: Option<&[usize]>,
        wanted: Option<&[u32]>,
    ) -> Result<BoxStream<'_, Result<RecordBatch>>> {
        let failed = |e: &dyn std::fmt::Display| unavailable(&self.table, &format!("read {} of", self.path), e);
        let mut builder =
            ParquetRecordBatchStreamBuilder::new_with_metadata(self.reader.clone(), self.metadata.clone())
                .with_batch_size(BATCH_ROWS);
        if let Some(columns) = columns {
            let mask = ProjectionMask::roots(builder.parquet_schema(), columns.iter().copied());
            builder = builder.with_projection(mask);
        }
        if let Some(wanted) = wanted {
            builder = builder.with_row_selection(selection(wanted, self.rows()));
        }
        let stream = builder.build().map_err(|e| failed(&e))?;
        Ok(stream.map_err(move |e| failed(&e)).boxed())
    }

    /// First and last ordinal of each task in it.
    pub async fn ordinals(&self, spec: &TableSpec) -> Result<BTreeMap<i32, (i64, i64)>> {
        let mut found: BTreeMap<i32, (i64, i64)> = BTreeMap::new();
        let mut batches = self.read(Some(&positions(spec, &["partition", "ordinal"])), None)?;
        while let Some(batch) = batches.try_next().await? {
            for run in rows::runs(&batch) {
                let range = found.entry(run.partition).or_insert((run.first, run.last));
                *range = (range.0.min(run.first), range.1.max(run.last));
            }
        }
        Ok(found)
    }
}

/// A file in its store, as Parquet's reader asks for its bytes.
#[derive(Clone)]
struct InStore {
    store: Arc<dyn ObjectStore>,
    path: Path,
    bytes: u64,
}

type Bytes = <PutPayload as IntoIterator>::Item;

impl AsyncFileReader for InStore {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        Box::pin(async move { self.store.get_range(&self.path, range).await.map_err(unread) })
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        Box::pin(async move { self.store.get_ranges(&self.path, &ranges).await.map_err(unread) })
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        Box::pin(async move {
            let pages = options.map_or(PageIndexPolicy::Skip, ArrowReaderOptions::offset_index_policy);
            let bytes = self.bytes;
            let reader = ParquetMetaDataReader::new()
                .with_offset_index_policy(pages)
                .with_prefetch_hint(Some(TAIL_BYTES.min(bytes as usize)));
            reader.load_and_finish(self, bytes).await.map(Arc::new)
        })
    }
}

fn unread(error: deltalake::ObjectStoreError) -> ParquetError {
    ParquetError::External(Box::new(error))
}

/// Where the columns of these names stand in the table's order.
pub fn positions(spec: &TableSpec, names: &[&str]) -> Vec<usize> {
    names.iter().filter_map(|name| spec.columns.index_of(name).ok()).collect()
}

fn selection(wanted: &[u32], rows: usize) -> RowSelection {
    let runs = wanted.chunk_by(|a, b| a + 1 == *b);
    let ranges = runs.map(|run| run[0] as usize..run[run.len() - 1] as usize + 1);
    RowSelection::from_consecutive_ranges(ranges, rows)
}
