//! The records of one file of an archive, a row group at a time, the next one on its way while one is read.
//!
//! Always holds: batches come in the order of the file, none of them empty, without the rows below the wanted offset;
//! at most two row groups are in memory as they lie in the store.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutPayload};
use deltalake::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder,
};
use deltalake::parquet::errors::ParquetError;
use deltalake::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use deltalake::parquet::file::reader::{ChunkReader, Length};
use deltalake::parquet::file::statistics::Statistics;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use url::Url;

use super::kept::Segment;
use super::layout::read_columns;
use super::place::unavailable;
use crate::error::{Error, Result};

/// A smaller file is fetched as a whole.
const WHOLE_BYTES: u64 = 8 << 20;
/// What is fetched at first of the end of a larger one: its description is there.
const TAIL_BYTES: u64 = 64 << 10;
/// Bytes of a batch, about, as they are after decompression.
const BATCH_BYTES: i64 = 2 << 20;
/// Rows of a batch at most.
const BATCH_ROWS: i64 = 8192;

type Bytes = <PutPayload as IntoIterator>::Item;

/// Reads one file.
pub struct SegmentReader {
    file: File,
    runtime: Handle,
    metadata: ArrowReaderMetadata,
    /// The row groups that are still to come.
    groups: VecDeque<usize>,
    /// The next one's bytes, on their way.
    coming: Option<(usize, JoinHandle<Result<Chunk>>)>,
    batches: Option<ParquetRecordBatchReader>,
    from: i64,
}

impl SegmentReader {
    /// Opens a file from an offset on: fetches what describes it.
    pub(super) fn open(
        store: Arc<dyn ObjectStore>,
        table: &Url,
        segment: &Segment,
        from: i64,
        runtime: &Handle,
    ) -> Result<Self> {
        let path = Path::from(segment.path.as_str());
        let mut file = File { store, table: table.clone(), path, bytes: segment.bytes, whole: None };
        let metadata = runtime.block_on(file.describe())?;
        let options = ArrowReaderOptions::new().with_schema(read_columns());
        let metadata = ArrowReaderMetadata::try_new(Arc::new(metadata), options).map_err(|e| file.damaged(&e))?;
        let wanted = |group: &usize| ends_at(metadata.metadata(), *group).is_none_or(|last| last >= from);
        let groups = (0..metadata.metadata().num_row_groups()).filter(wanted).collect();
        let mut reader = Self { file, runtime: runtime.clone(), metadata, groups, coming: None, batches: None, from };
        reader.fetch_next();
        Ok(reader)
    }

    /// The next batch: offset, timestamp, key, value, headers; `None` at the end of the file. Waits for the store.
    ///
    /// # Errors
    /// Unavailable; stopped: the file is gone or damaged.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batches) = &mut self.batches {
                match batches.next() {
                    Some(batch) => {
                        let batch = batch.map_err(|e| self.file.damaged(&e))?;
                        let offsets = batch.column(0).as_primitive::<Int64Type>().values();
                        let skip = offsets.partition_point(|offset| *offset < self.from);
                        if skip < batch.num_rows() {
                            return Ok(Some(batch.slice(skip, batch.num_rows() - skip)));
                        }
                        continue;
                    }
                    None => self.batches = None,
                }
            }
            let Some((group, coming)) = self.coming.take() else { return Ok(None) };
            let fetched = self.runtime.block_on(coming);
            let chunk = fetched.map_err(|e| Error::internal(format!("fetching {}: {e}", self.file.path)))??;
            self.fetch_next();
            let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(chunk, self.metadata.clone());
            let builder = builder.with_row_groups(vec![group]).with_batch_size(batch_rows(&self.metadata, group));
            self.batches = Some(builder.build().map_err(|e| self.file.damaged(&e))?);
        }
    }

    fn fetch_next(&mut self) {
        let Some(group) = self.groups.pop_front() else { return };
        let columns = self.metadata.metadata().row_group(group).columns();
        let ranges = columns.iter().map(|column| column.byte_range());
        let (start, end) =
            ranges.fold((u64::MAX, 0), |(low, high), (start, len)| (low.min(start), high.max(start + len)));
        let file = self.file.clone();
        self.coming = Some((group, self.runtime.spawn(async move { file.fetch(start, end).await })));
    }
}

/// Rows of a batch: few where they are large.
fn batch_rows(metadata: &ArrowReaderMetadata, group: usize) -> usize {
    let group = metadata.metadata().row_group(group);
    let row = group.total_byte_size() / group.num_rows().max(1);
    (BATCH_BYTES / row.max(1)).clamp(1, BATCH_ROWS) as usize
}

/// The last offset of a row group; `None` when it does not tell.
fn ends_at(metadata: &ParquetMetaData, group: usize) -> Option<i64> {
    match metadata.row_group(group).column(0).statistics()? {
        Statistics::Int64(offsets) => offsets.max_opt().copied(),
        _ => None,
    }
}

/// A file in its store.
#[derive(Clone)]
struct File {
    store: Arc<dyn ObjectStore>,
    table: Url,
    path: Path,
    bytes: u64,
    /// All of it, when it is small.
    whole: Option<Chunk>,
}

impl File {
    async fn describe(&mut self) -> Result<ParquetMetaData> {
        let small = self.bytes <= WHOLE_BYTES;
        let mut wanted = if small { self.bytes } else { TAIL_BYTES };
        loop {
            let tail = self.fetch(self.bytes - wanted, self.bytes).await?;
            let mut reader = ParquetMetaDataReader::new();
            match reader.try_parse_sized(&tail.bytes, self.bytes) {
                Ok(()) => {
                    self.whole = small.then_some(tail);
                    return reader.finish().map_err(|e| self.damaged(&e));
                }
                Err(ParquetError::NeedMoreData(more)) if (more as u64) > wanted && (more as u64) <= self.bytes => {
                    wanted = more as u64;
                }
                Err(error) => return Err(self.damaged(&error)),
            }
        }
    }

    async fn fetch(&self, start: u64, end: u64) -> Result<Chunk> {
        if let Some(whole) = &self.whole {
            return Ok(whole.clone());
        }
        let error = match self.store.get_range(&self.path, start..end).await {
            Ok(bytes) if bytes.len() as u64 == end - start => {
                return Ok(Chunk { start, bytes, file_bytes: self.bytes });
            }
            Ok(_) => return Err(self.damaged(&format!("it ends before byte {end}"))),
            Err(error @ StoreError::NotFound { .. }) => return Err(self.damaged(&error)),
            Err(error) => error,
        };
        // A range that the file does not have is an error like that of a store that does not answer.
        match self.store.head(&self.path).await {
            Ok(found) if found.size != self.bytes => {
                Err(self.damaged(&format!("it has {} bytes and should have {}", found.size, self.bytes)))
            }
            _ => Err(unavailable(&self.table, &format!("read {} of", self.path), &error)),
        }
    }

    /// Time does not mend it.
    fn damaged(&self, error: &dyn std::fmt::Display) -> Error {
        Error::stopped(format!(
            "the archive {}: {} cannot be read: {error}; bring the file back as it was, or replay from what the log has \
             (--replay-from earliest)",
            self.table, self.path
        ))
    }
}

/// Some bytes of a file, as Parquet's reader asks for them.
#[derive(Clone)]
struct Chunk {
    start: u64,
    bytes: Bytes,
    file_bytes: u64,
}

impl Chunk {
    fn part(&self, start: u64, len: Option<usize>) -> Result<Bytes, ParquetError> {
        let from = start.checked_sub(self.start).and_then(|from| usize::try_from(from).ok());
        let range = from.and_then(|from| Some(from..len.map_or(Some(self.bytes.len()), |len| from.checked_add(len))?));
        match range {
            Some(range) if range.start <= range.end && range.end <= self.bytes.len() => Ok(self.bytes.slice(range)),
            _ => Err(ParquetError::EOF(format!("byte {start} lies outside the row group"))),
        }
    }
}

impl Length for Chunk {
    fn len(&self) -> u64 {
        self.file_bytes
    }
}

impl ChunkReader for Chunk {
    type T = Cursor<Bytes>;

    fn get_read(&self, start: u64) -> Result<Self::T, ParquetError> {
        Ok(Cursor::new(self.part(start, None)?))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        self.part(start, Some(length))
    }
}
