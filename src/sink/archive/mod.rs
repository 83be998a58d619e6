//! The archive: the raw log of a topic as a Delta table, every record exactly once, kept for as long as one likes.
//!
//! A writer takes records of each partition in offset order ([`ArchiveWriter::append`]), encodes them as Parquet in
//! memory, and writes them with one commit ([`ArchiveWriter::commit`]). `lake` says what the files look like.
//!
//! Always holds: a commit carries for every partition the next offset as a Delta transaction, and records below it are
//! dropped; so a restart reads on from there, and whatever is repeated, lost or raced, each record is in the table once.
//! A record is kept as it was: its key and value, null or empty or not, all headers in their order, its Kafka time or
//! that it has none. Left out: whether an offset is missing (the log knows), and compaction of small files.

mod encoder;
mod rows;

use std::collections::BTreeMap;

use self::encoder::LogEncoder;
use super::offline::TaskProgress;
use super::offline::schema::raw_log;
use super::offline::table::{OfflineTable, Pending};
use crate::config::ArchiveSettings;
use crate::decode::RawBatch;
use crate::error::Result;
use crate::lake::Place;

/// What one commit made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ArchiveCommit {
    pub records: u64,
    /// Of Parquet.
    pub bytes: u64,
    pub files: u64,
}

/// Keeps the records of some partitions of a topic.
pub struct ArchiveWriter {
    table: OfflineTable<LogEncoder>,
}

impl ArchiveWriter {
    /// Opens the topic's archive for these partitions, making it when it is missing. `topic_id` is the cluster's id of
    /// the topic, where the brokers tell it.
    ///
    /// # Errors
    /// Unavailable; configuration (the url, permissions); refused: the table there is of another topic, or no archive.
    pub async fn open(
        settings: &ArchiveSettings,
        topic: &str,
        topic_id: Option<&str>,
        partitions: &[i32],
    ) -> Result<Self> {
        let (place, spec) = (Place::of_archive(settings), raw_log(topic, topic_id));
        Ok(Self { table: OfflineTable::open(&place, spec, LogEncoder::new, partitions).await? })
    }

    /// The next offset of a partition that is not durable; `None` while nothing of it was ever kept.
    pub fn durable(&self, partition: i32) -> Option<i64> {
        Some(self.table.durable(partition)).filter(|next| *next > 0)
    }

    /// Of a partition of which nothing was ever kept: its archive begins here.
    pub fn begin(&mut self, partition: i32, offset: i64) {
        self.table.encoder.begin(partition, offset);
    }

    /// Takes records that come in offset order; those that it has are skipped.
    ///
    /// # Errors
    /// Internal: never in practice; every record has an encoding.
    pub fn append(&mut self, partition: i32, records: &dyn RawBatch) -> Result<()> {
        self.table.encoder.append(partition, records)
    }

    /// The log has no record between what was appended and `offset`: what lies there is a gap.
    pub fn skip_to(&mut self, partition: i32, offset: i64) {
        self.table.encoder.skip_to(partition, offset);
    }

    /// Bytes in memory that wait for a commit.
    pub fn pending_bytes(&self) -> u64 {
        self.table.encoder.pending_bytes()
    }

    /// Whether a commit would make anything durable.
    pub fn has_news(&self) -> bool {
        let next = self.table.encoder.next_offsets();
        self.table.encoder.pending_rows() > 0 || next.iter().any(|(p, next)| *next > self.table.durable(*p))
    }

    /// Writes all that waits in one commit; nothing when there is nothing. After an error nothing is lost and the call
    /// may be repeated, whether or not the commit came through.
    ///
    /// # Errors
    /// Unavailable; refused: the table went back.
    pub async fn commit(&mut self) -> Result<ArchiveCommit> {
        let next = self.table.encoder.next_offsets().into_iter();
        let appended: BTreeMap<i32, TaskProgress> = next
            .map(|(partition, next_offset)| (partition, TaskProgress { next_offset, ..Default::default() }))
            .collect();
        let written = self.table.commit(&appended).await?;
        Ok(ArchiveCommit { records: written.rows, bytes: written.bytes, files: written.files })
    }

    /// Waits for what goes on beside the commits (checkpoints): before an orderly exit.
    pub async fn settle(&mut self) {
        self.table.settle().await;
    }
}
