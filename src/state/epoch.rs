//! A frozen epoch: the rows and dead letters of one atomic commit of a task, as both sinks see them.
//!
//! Frozen before any sink sees it, so a retry sends the same bytes.

use arrow::array::RecordBatch;

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
    /// [`ROW_COLUMNS`], then one column a feature in the topology's order, each of its `ValueType`'s Arrow type.
    pub rows: RecordBatch,
}
