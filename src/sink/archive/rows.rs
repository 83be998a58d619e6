//! Raw records as columns, built record by record: offset, timestamp, key, value, headers.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Int64Builder, ListArray, RecordBatch, StringBuilder, StructArray};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Fields};
use arrow::error::ArrowError;

use crate::decode::RawBatch;
use crate::error::{Error, Result};
use crate::lake::stored_columns;

/// Rows that are encoded together: fewer cost more for each.
const ROWS: usize = 8192;
/// Bytes that are.
const BYTES: usize = 8 << 20;

/// Records that wait to be encoded.
#[derive(Default)]
pub struct RawRows {
    offsets: Int64Builder,
    times: Int64Builder,
    keys: BinaryBuilder,
    values: BinaryBuilder,
    header_names: StringBuilder,
    header_values: BinaryBuilder,
    /// How many headers each record has.
    header_counts: Vec<usize>,
    bytes: usize,
}

impl RawRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.header_counts.len()
    }

    /// Their size, approximately.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether they are worth encoding.
    pub fn is_full(&self) -> bool {
        self.len() >= ROWS || self.bytes >= BYTES
    }

    /// Appends a record of a batch.
    pub fn push(&mut self, records: &dyn RawBatch, index: usize) {
        let record = records.record(index);
        self.offsets.append_value(record.offset);
        self.times.append_option(record.kafka_time);
        self.keys.append_option(record.key);
        self.values.append_option(record.value);
        self.bytes += 32 + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let mut count = 0;
        let (names, values, bytes) = (&mut self.header_names, &mut self.header_values, &mut self.bytes);
        records.headers(index, &mut |name, value| {
            names.append_value(name);
            values.append_option(value);
            *bytes += name.len() + value.map_or(0, <[u8]>::len);
            count += 1;
        });
        self.header_counts.push(count);
    }

    /// The records as they are stored; there are none afterwards.
    ///
    /// # Errors
    /// Internal: never in practice; the columns fit together.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        self.columns().map_err(|e| Error::internal(format!("raw records do not form a batch: {e}")))
    }

    fn columns(&mut self) -> Result<RecordBatch, ArrowError> {
        self.bytes = 0;
        let counts = std::mem::take(&mut self.header_counts);
        let columns = stored_columns();
        let DataType::List(item) = columns.field(4).data_type() else {
            return Err(ArrowError::SchemaError("headers are no list".into()));
        };
        let entries = self.entries(item.data_type())?;
        let nulls: NullBuffer = counts.iter().map(|count| *count > 0).collect::<Vec<bool>>().into();
        let headers = ListArray::try_new(Arc::clone(item), OffsetBuffer::from_lengths(counts), entries, Some(nulls))?;
        let arrays: Vec<ArrayRef> = vec![
            Arc::new(self.offsets.finish()),
            Arc::new(self.times.finish()),
            Arc::new(self.keys.finish()),
            Arc::new(self.values.finish()),
            Arc::new(headers),
        ];
        RecordBatch::try_new(Arc::clone(&columns), arrays)
    }

    fn entries(&mut self, ty: &DataType) -> Result<ArrayRef, ArrowError> {
        let fields: Fields = match ty {
            DataType::Struct(fields) => fields.clone(),
            other => return Err(ArrowError::SchemaError(format!("a header is {other}"))),
        };
        let parts: Vec<ArrayRef> = vec![Arc::new(self.header_names.finish()), Arc::new(self.header_values.finish())];
        Ok(Arc::new(StructArray::try_new(fields, parts, None)?))
    }
}
