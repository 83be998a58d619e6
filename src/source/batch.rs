//! Records of one partition as the runtime gets them, wherever their bytes live.

use super::archive::ArchiveBatch;
use super::native::KafkaBatch;
use crate::decode::{OwnedBatch, RawBatch, RawRecord};

/// Records of one partition in offset order; never empty.
#[derive(Debug)]
pub enum Batch {
    /// In librdkafka's buffers.
    Kafka(KafkaBatch),
    /// In the columns of an archive's file.
    Archive(Box<ArchiveBatch>),
    /// Put together one by one: dead letters.
    Owned { partition: i32, records: OwnedBatch },
}

impl Batch {
    /// The records themselves: asked for once a batch, so that what looks at each record pays for no choice.
    pub fn raw(&self) -> &dyn RawBatch {
        match self {
            Self::Kafka(batch) => batch,
            Self::Archive(batch) => batch.as_ref(),
            Self::Owned { records, .. } => records,
        }
    }

    /// The partition of all its records.
    pub fn partition(&self) -> i32 {
        match self {
            Self::Kafka(batch) => batch.partition(),
            Self::Archive(batch) => batch.partition(),
            Self::Owned { partition, .. } => *partition,
        }
    }

    /// The offset of its first record.
    pub fn first_offset(&self) -> i64 {
        self.raw().record(0).offset
    }

    /// One past the offset of its last record.
    pub fn next_offset(&self) -> i64 {
        let raw = self.raw();
        raw.record(raw.len() - 1).offset + 1
    }
}

impl RawBatch for Batch {
    fn len(&self) -> usize {
        self.raw().len()
    }

    fn record(&self, index: usize) -> RawRecord<'_> {
        self.raw().record(index)
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        self.raw().header(index, name)
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.raw().headers(index, each);
    }
}
