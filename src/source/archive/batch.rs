//! Records of one partition in the columns of an archive's file.

use std::fmt;

use arrow::array::{Array, AsArray, BinaryArray, BinaryViewArray, Int64Array, ListArray, RecordBatch, StringArray};
use arrow::datatypes::Int64Type;

use crate::decode::{RawBatch, RawRecord};
use crate::error::{Error, Result};

/// Some rows of a file, ascending by offset; never empty.
pub struct ArchiveBatch {
    partition: i32,
    offsets: Int64Array,
    times: Int64Array,
    keys: BinaryViewArray,
    values: BinaryViewArray,
    headers: ListArray,
    header_names: StringArray,
    header_values: BinaryArray,
}

impl ArchiveBatch {
    /// The rows of a batch as a file's reader gives it: offset, timestamp, key, value, headers.
    ///
    /// # Errors
    /// Stopped: there are none, or they do not ascend: somebody has sorted them otherwise. Internal: other columns.
    pub fn new(partition: i32, rows: &RecordBatch) -> Result<Self> {
        let batch = Self::read(partition, rows)
            .ok_or_else(|| Error::internal(format!("a batch of an archive has other columns: {}", rows.schema())))?;
        let offsets = batch.offsets.values();
        if offsets.is_empty() || !offsets.is_sorted_by(|a, b| a < b) {
            return Err(Error::stopped(format!(
                "the archive's rows of partition {partition} are not in the order of their offsets (at {:?}): another tool \
                 has written them; restore the table to a version before that",
                offsets.first()
            )));
        }
        Ok(batch)
    }

    fn read(partition: i32, rows: &RecordBatch) -> Option<Self> {
        let column = |index: usize| rows.columns().get(index);
        let headers = column(4)?.as_list_opt::<i32>()?;
        let entries = headers.values().as_struct_opt()?;
        Some(Self {
            partition,
            offsets: column(0)?.as_primitive_opt::<Int64Type>()?.clone(),
            times: column(1)?.as_primitive_opt::<Int64Type>()?.clone(),
            keys: column(2)?.as_binary_view_opt()?.clone(),
            values: column(3)?.as_binary_view_opt()?.clone(),
            headers: headers.clone(),
            header_names: entries.columns().first()?.as_string_opt::<i32>()?.clone(),
            header_values: entries.columns().get(1)?.as_binary_opt::<i32>()?.clone(),
        })
    }

    /// The partition of all its records.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// One past the offset of its last record.
    pub fn next_offset(&self) -> i64 {
        self.offsets.value(self.offsets.len() - 1) + 1
    }

    /// Where the headers of a record are.
    fn entries(&self, index: usize) -> std::ops::Range<usize> {
        let ends = self.headers.value_offsets();
        ends[index] as usize..ends[index + 1] as usize
    }

    fn header_value(&self, entry: usize) -> Option<&[u8]> {
        self.header_values.is_valid(entry).then(|| self.header_values.value(entry))
    }
}

impl RawBatch for ArchiveBatch {
    fn len(&self) -> usize {
        self.offsets.len()
    }

    fn record(&self, index: usize) -> RawRecord<'_> {
        RawRecord {
            offset: self.offsets.value(index),
            kafka_time: self.times.is_valid(index).then(|| self.times.value(index)),
            key: self.keys.is_valid(index).then(|| self.keys.value(index)),
            value: self.values.is_valid(index).then(|| self.values.value(index)),
        }
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        let last = self.entries(index).rev().find(|entry| self.header_names.value(*entry) == name)?;
        self.header_value(last)
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.entries(index).for_each(|entry| each(self.header_names.value(entry), self.header_value(entry)));
    }
}

impl fmt::Debug for ArchiveBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ArchiveBatch({}: {}..{})", self.partition, self.offsets.value(0), self.next_offset())
    }
}
