//! Bytes to Arrow columns: judges each record on its bytes alone (tombstone, over limit, malformed) and projects the
//! declared fields of the rest while parsing.

use arrow::array::RecordBatch;

use crate::time::Millis;
use crate::topology::SourcePlan;

/// One record as it lies in the log.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    pub offset: i64,
    /// The Kafka timestamp, in ms; `None` when the record has none.
    pub kafka_time: Option<Millis>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Records of one partition in offset order, wherever their bytes live (librdkafka's buffers, an archive, a test).
pub trait RawBatch {
    fn len(&self) -> usize;
    fn record(&self, index: usize) -> RawRecord<'_>;
    /// The last header of this name, when there is one.
    fn header(&self, index: usize, name: &str) -> Option<&[u8]>;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A batch of raw records judged and projected.
#[derive(Debug)]
pub struct Decoded {
    /// One for each raw record, in order.
    pub outcomes: Vec<Outcome>,
    /// The well-formed records only, in order; one column for each declared field of the source, by index.
    pub rows: RecordBatch,
    /// The event time of each row, in ms.
    pub event_times: Vec<Millis>,
}

/// What the bytes alone say of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well-formed: its row in [`Decoded::rows`].
    Row(u32),
    /// A null value.
    Tombstone,
    /// Bytes, depth or key length beyond the bound; the text names bound and value.
    OverLimit(String),
    /// The text says what was found where.
    Malformed(String),
}

/// Decodes batches of one source.
#[derive(Debug)]
pub struct Decoder {}

impl Decoder {
    pub fn new(_source: &SourcePlan) -> Self {
        Self {}
    }

    /// Judges and projects a batch.
    pub fn decode(&mut self, _raw: &dyn RawBatch) -> Decoded {
        unimplemented!("the JSON decoder")
    }
}
