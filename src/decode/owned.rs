//! A batch of raw records that owns its bytes: for archives, tools and tests.

use super::{RawBatch, RawRecord};
use crate::time::Millis;

/// Records pushed one by one, in offset order.
#[derive(Debug, Clone, Default)]
pub struct OwnedBatch {
    records: Vec<Owned>,
}

#[derive(Debug, Clone)]
struct Owned {
    offset: i64,
    kafka_time: Option<Millis>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

impl OwnedBatch {
    /// No records yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a record. A `value` of `None` is a tombstone; of headers with one name the last counts, and one
    /// without a value is as good as absent.
    pub fn push(
        &mut self,
        offset: i64,
        kafka_time: Option<Millis>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        let headers = headers.iter().map(|(name, value)| (name.to_string(), value.map(<[u8]>::to_vec))).collect();
        let (key, value) = (key.map(<[u8]>::to_vec), value.map(<[u8]>::to_vec));
        self.records.push(Owned { offset, kafka_time, key, value, headers });
    }
}

impl RawBatch for OwnedBatch {
    fn len(&self) -> usize {
        self.records.len()
    }

    fn record(&self, index: usize) -> RawRecord<'_> {
        let record = &self.records[index];
        RawRecord {
            offset: record.offset,
            kafka_time: record.kafka_time,
            key: record.key.as_deref(),
            value: record.value.as_deref(),
        }
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        let headers = &self.records[index].headers;
        headers.iter().rev().find(|(of, _)| of == name).and_then(|(_, value)| value.as_deref())
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.records[index].headers.iter().for_each(|(name, value)| each(name, value.as_deref()));
    }
}
