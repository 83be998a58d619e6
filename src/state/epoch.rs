//! A frozen epoch: the rows and dead letters of one atomic commit of a task, as both sinks see them.
//!
//! Frozen before any sink sees it, so a retry sends the same bytes.

use std::io::Cursor;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::Millis;

/// The fixed columns before the features in [`EntityRows::rows`]: entity key text, `T`, known time, and where the row
/// comes from. Utf8, Int64 (ms), Int64 (ms), Int64, Int32, Int64.
pub const ROW_COLUMNS: [&str; 6] = ["key", "event_time", "known_at", "offset", "sequence", "ordinal"];

/// The columns of [`Epoch::dead_letters`]: Int64 ordinal (0, 1, 2 ... within the task), Int64 offset, Int64 Kafka time
/// in ms (nullable), Utf8 class, Utf8 reason, Binary key (nullable), Binary value (nullable).
pub const DEAD_LETTER_COLUMNS: [&str; 7] = ["ordinal", "offset", "kafka_time", "class", "reason", "key", "value"];

/// One epoch of a task.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// 1, 2, 3 ... within the task.
    pub number: u64,
    pub partition: i32,
    /// Where the task stands after the epoch.
    pub next_offset: i64,
    pub watermark: Option<Millis>,
    /// The ordinal of the next row (of any entity) and of the next dead letter.
    pub next_ordinal: i64,
    pub next_dead_letter: i64,
    /// Rows by entity, entities in the topology's order, only those with rows; rows in the order of their ordinals.
    pub rows: Vec<EntityRows>,
    pub dead_letters: Option<RecordBatch>,
}

/// Feature rows of one entity.
#[derive(Debug, Clone)]
pub struct EntityRows {
    /// Index in the plan's entities.
    pub entity: usize,
    /// [`ROW_COLUMNS`], then those of `EntityPlan::columns`, each of its `OutputType`'s Arrow type.
    pub rows: RecordBatch,
}

/// What an encoded epoch says before its Arrow streams.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    number: u64,
    partition: i32,
    next_offset: i64,
    watermark: Option<Millis>,
    next_ordinal: i64,
    next_dead_letter: i64,
    /// The entity of each stream of rows.
    entities: Vec<usize>,
    dead_letters: bool,
}

impl Epoch {
    /// The size of its rows in memory, in bytes.
    pub fn bytes(&self) -> u64 {
        let batches = self.rows.iter().map(|rows| &rows.rows).chain(&self.dead_letters);
        batches.map(|batch| batch.get_array_memory_size() as u64).sum()
    }

    /// Its bytes in the outbox: a JSON header, then one Arrow stream for each entity and for the dead letters.
    ///
    /// # Errors
    /// Internal: never in practice; every column type has an Arrow encoding.
    pub fn encode(&self) -> Result<Vec<u8>> {
        let header = Header {
            number: self.number,
            partition: self.partition,
            next_offset: self.next_offset,
            watermark: self.watermark,
            next_ordinal: self.next_ordinal,
            next_dead_letter: self.next_dead_letter,
            entities: self.rows.iter().map(|rows| rows.entity).collect(),
            dead_letters: self.dead_letters.is_some(),
        };
        let header = serde_json::to_vec(&header).map_err(|e| Error::internal(format!("an epoch's header: {e}")))?;
        let mut out = Vec::with_capacity(512 + self.bytes() as usize);
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(&header);
        for batch in self.rows.iter().map(|rows| &rows.rows).chain(&self.dead_letters) {
            let at = out.len();
            out.extend_from_slice(&[0; 8]);
            write_stream(batch, &mut out).map_err(|e| Error::internal(format!("an epoch does not encode: {e}")))?;
            let len = (out.len() - at - 8) as u64;
            out[at..at + 8].copy_from_slice(&len.to_le_bytes());
        }
        Ok(out)
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// State: the bytes are damaged or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let damaged = || Error::state("an outbox entry does not decode; rebuild the state with --replay-from 0");
        let (len, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (header, mut rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
        let header: Header = serde_json::from_slice(header).map_err(|_| damaged())?;
        let mut next = || {
            let (len, tail) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
            let (stream, tail) = tail.split_at_checked(u64::from_le_bytes(*len) as usize).ok_or_else(damaged)?;
            rest = tail;
            read_stream(stream).map_err(|_| damaged())?.ok_or_else(damaged)
        };
        let rows = header.entities.iter().map(|entity| Ok(EntityRows { entity: *entity, rows: next()? }));
        let rows = rows.collect::<Result<_>>()?;
        let dead_letters = header.dead_letters.then(&mut next).transpose()?;
        Ok(Self {
            number: header.number,
            partition: header.partition,
            next_offset: header.next_offset,
            watermark: header.watermark,
            next_ordinal: header.next_ordinal,
            next_dead_letter: header.next_dead_letter,
            rows,
            dead_letters,
        })
    }
}

fn write_stream(batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let mut writer = StreamWriter::try_new(out, &batch.schema())?;
    writer.write(batch)?;
    writer.finish()
}

fn read_stream(bytes: &[u8]) -> Result<Option<RecordBatch>, ArrowError> {
    StreamReader::try_new(Cursor::new(bytes), None)?.next().transpose()
}
