//! Feature rows as they are written: Arrow columns, built row by row, frozen at the end of an epoch.

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::builder::ColumnBuilder;
use super::derived::Derived;
use super::entity::EntityState;
use super::program::{Place, Program, Reading};
use super::shown::Shown;
use crate::error::{Error, Result};
use crate::state::{DEAD_LETTER_COLUMNS, ROW_COLUMNS};
use crate::time::Millis;
use crate::topology::EntityPlan;

/// What a row says besides the features.
#[derive(Debug, Clone, Copy)]
pub struct RowHead {
    pub event_time: Millis,
    pub known_at: Millis,
    pub offset: i64,
    pub sequence: i32,
    pub ordinal: i64,
}

/// Rows of one entity, being written.
#[derive(Debug)]
pub struct RowBuilder {
    schema: SchemaRef,
    keys: StringBuilder,
    event_times: Int64Builder,
    known_ats: Int64Builder,
    offsets: Int64Builder,
    sequences: Int32Builder,
    ordinals: Int64Builder,
    features: Vec<ColumnBuilder>,
    derived: Derived,
    rows: usize,
    bytes: usize,
    /// By feature: values that are null for a sum out of range, or for a bound that is passed.
    pub lost: Vec<u64>,
}

/// The columns of an entity's rows: [`ROW_COLUMNS`], then its features.
pub fn row_schema(entity: &EntityPlan) -> SchemaRef {
    let head = ROW_COLUMNS.iter().map(|name| {
        let ty = match *name {
            "key" => DataType::Utf8,
            "sequence" => DataType::Int32,
            _ => DataType::Int64,
        };
        Field::new(*name, ty, false)
    });
    let features = entity.columns().map(|(name, ty)| Field::new(name, ty.data_type(), true));
    Arc::new(Schema::new(head.chain(features).collect::<Vec<_>>()))
}

impl RowBuilder {
    /// No rows of `entity`.
    pub fn new(entity: &EntityPlan) -> Self {
        Self {
            schema: row_schema(entity),
            keys: StringBuilder::new(),
            event_times: Int64Builder::new(),
            known_ats: Int64Builder::new(),
            offsets: Int64Builder::new(),
            sequences: Int32Builder::new(),
            ordinals: Int64Builder::new(),
            features: entity.features.iter().map(|feature| ColumnBuilder::new(&feature.output_type)).collect(),
            derived: Derived::new(entity),
            rows: 0,
            bytes: 0,
            lost: vec![0; entity.features.len()],
        }
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Their size in bytes, approximately.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a row that shows `state` at `head.event_time`.
    ///
    /// # Errors
    /// Internal: the key is not UTF-8.
    pub fn push(&mut self, program: &Program, id: &[u8], state: &EntityState, head: RowHead) -> Result<()> {
        let key = std::str::from_utf8(id).map_err(|_| Error::internal("an entity key is not UTF-8"))?;
        self.keys.append_value(key);
        self.event_times.append_value(head.event_time);
        self.known_ats.append_value(head.known_at);
        self.offsets.append_value(head.offset);
        self.sequences.append_value(head.sequence);
        self.ordinals.append_value(head.ordinal);
        for (index, reading) in program.readings.iter().enumerate() {
            let lost = push(&mut self.features[index], program, reading, state, head.event_time);
            self.lost[index] += u64::from(lost);
        }
        self.rows += 1;
        self.bytes += key.len() + 44 + self.features.iter_mut().map(ColumnBuilder::pushed_bytes).sum::<usize>();
        Ok(())
    }

    /// The rows, frozen; the builder is empty again.
    ///
    /// # Errors
    /// Internal: the columns do not fit together.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.keys.finish()),
            Arc::new(self.event_times.finish()),
            Arc::new(self.known_ats.finish()),
            Arc::new(self.offsets.finish()),
            Arc::new(self.sequences.finish()),
            Arc::new(self.ordinals.finish()),
        ];
        let features = self.features.iter_mut().map(ColumnBuilder::finish).collect::<Result<Vec<_>>>()?;
        columns.extend(self.derived.with(features, self.rows)?);
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Error::internal(format!("feature rows do not form a batch: {e}")))
    }
}

/// Appends what a feature shows; answers whether it is null for a bound or an overflow.
fn push(column: &mut ColumnBuilder, program: &Program, reading: &Reading, state: &EntityState, at: Millis) -> bool {
    match reading.place {
        Place::Extreme(index) => match state.extreme(index) {
            value if value.is_null() => column.push(&reading.empty),
            value => column.push_value(value),
        },
        place => match state.acc(program, place, at) {
            None => column.push(&reading.empty),
            Some(acc) if column.push_plain(&reading.output, acc) => {}
            Some(acc) => {
                let shown = reading.output.show(acc, at);
                column.push(&shown);
                return shown == Shown::Null && reading.output.null_is_lost(acc);
            }
        },
    }
    false
}

/// Dead letters, being written: the columns of [`DEAD_LETTER_COLUMNS`].
#[derive(Debug)]
pub struct DeadLetterBuilder {
    ordinals: Int64Builder,
    offsets: Int64Builder,
    kafka_times: Int64Builder,
    classes: StringBuilder,
    reasons: StringBuilder,
    keys: BinaryBuilder,
    values: BinaryBuilder,
    rows: usize,
    bytes: usize,
}

impl Default for DeadLetterBuilder {
    fn default() -> Self {
        Self {
            ordinals: Int64Builder::new(),
            offsets: Int64Builder::new(),
            kafka_times: Int64Builder::new(),
            classes: StringBuilder::new(),
            reasons: StringBuilder::new(),
            keys: BinaryBuilder::new(),
            values: BinaryBuilder::new(),
            rows: 0,
            bytes: 0,
        }
    }
}

impl DeadLetterBuilder {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Their size in bytes, approximately.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends a record that is not applied, as it was, with its class and the reason.
    pub fn push(&mut self, ordinal: i64, record: crate::decode::RawRecord<'_>, class: &str, reason: &str) {
        self.ordinals.append_value(ordinal);
        self.offsets.append_value(record.offset);
        self.kafka_times.append_option(record.kafka_time);
        self.classes.append_value(class);
        self.reasons.append_value(reason);
        self.keys.append_option(record.key);
        self.values.append_option(record.value);
        self.rows += 1;
        self.bytes += 64 + reason.len() + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    }

    /// The dead letters, frozen; the builder is empty again.
    ///
    /// # Errors
    /// Internal: the columns do not fit together.
    pub fn finish(&mut self) -> Result<RecordBatch> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.ordinals.finish()),
            Arc::new(self.offsets.finish()),
            Arc::new(self.kafka_times.finish()),
            Arc::new(self.classes.finish()),
            Arc::new(self.reasons.finish()),
            Arc::new(self.keys.finish()),
            Arc::new(self.values.finish()),
        ];
        (self.rows, self.bytes) = (0, 0);
        let nullable = |name: &str| ["kafka_time", "key", "value"].contains(&name);
        let fields = DEAD_LETTER_COLUMNS.iter().zip(&columns);
        let fields = fields.map(|(name, column)| Field::new(*name, column.data_type().clone(), nullable(name)));
        RecordBatch::try_new(Arc::new(Schema::new(fields.collect::<Vec<_>>())), columns)
            .map_err(|e| Error::internal(format!("dead letters do not form a batch: {e}")))
    }
}
