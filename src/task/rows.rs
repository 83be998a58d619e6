//! Feature rows as they are written: Arrow columns, built row by row, frozen at the end of an epoch.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::entity::EntityState;
use super::program::{Output, Place, Program, Reading};
use crate::aggregate::{Acc, Value};
use crate::error::{Error, Result};
use crate::state::{DEAD_LETTER_COLUMNS, ROW_COLUMNS};
use crate::time::Millis;
use crate::topology::{EntityPlan, ValueType};

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
    features: Vec<FeatureBuilder>,
    rows: usize,
    bytes: usize,
    /// Integer sums beyond 64 bits and double sums beyond the largest double, shown as null.
    pub overflows: u64,
}

#[derive(Debug)]
enum FeatureBuilder {
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMillisecondBuilder),
    Str(StringBuilder),
}

/// The Arrow type of a value.
pub fn data_type(ty: ValueType) -> DataType {
    match ty {
        ValueType::String => DataType::Utf8,
        ValueType::Int64 => DataType::Int64,
        ValueType::Double => DataType::Float64,
        ValueType::Bool => DataType::Boolean,
        ValueType::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())),
    }
}

fn builder(ty: ValueType) -> FeatureBuilder {
    match ty {
        ValueType::String => FeatureBuilder::Str(StringBuilder::new()),
        ValueType::Int64 => FeatureBuilder::Int(Int64Builder::new()),
        ValueType::Double => FeatureBuilder::Double(Float64Builder::new()),
        ValueType::Bool => FeatureBuilder::Bool(BooleanBuilder::new()),
        ValueType::Timestamp => {
            FeatureBuilder::Time(TimestampMillisecondBuilder::new().with_data_type(data_type(ValueType::Timestamp)))
        }
    }
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
    let features = entity.features.iter().map(|f| Field::new(&f.name, data_type(f.output_type), true));
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
            features: entity.features.iter().map(|feature| builder(feature.output_type)).collect(),
            rows: 0,
            bytes: 0,
            overflows: 0,
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
        for (column, reading) in self.features.iter_mut().zip(&program.readings) {
            match reading.place {
                Place::Extreme(index) => column.push_value(state.extreme(index)),
                place => {
                    let acc = state.acc(program, place, head.event_time);
                    self.overflows += u64::from(column.push_acc(reading, acc));
                }
            }
        }
        self.rows += 1;
        self.bytes += key.len() + 44 + 9 * self.features.len();
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
        columns.extend(self.features.iter_mut().map(FeatureBuilder::finish));
        (self.rows, self.bytes) = (0, 0);
        RecordBatch::try_new(Arc::clone(&self.schema), columns)
            .map_err(|e| Error::internal(format!("feature rows do not form a batch: {e}")))
    }
}

impl FeatureBuilder {
    fn push_value(&mut self, value: &Value) {
        match (self, value) {
            (Self::Int(column), Value::Int(n)) => column.append_value(*n),
            (Self::Double(column), Value::Double(x)) => column.append_value(*x),
            (Self::Bool(column), Value::Bool(b)) => column.append_value(*b),
            (Self::Time(column), Value::Time(t)) => column.append_value(*t),
            (Self::Str(column), Value::Str(s)) => column.append_value(s),
            (column, _) => column.push_null(),
        }
    }

    fn push_null(&mut self) {
        match self {
            Self::Int(column) => column.append_null(),
            Self::Double(column) => column.append_null(),
            Self::Bool(column) => column.append_null(),
            Self::Time(column) => column.append_null(),
            Self::Str(column) => column.append_null(),
        }
    }

    /// Appends what a feature reads from an accumulator; `None` is an empty one. Answers whether it overflowed.
    fn push_acc(&mut self, reading: &Reading, acc: Option<&Acc>) -> bool {
        match (self, reading.output, acc) {
            (Self::Int(column), Output::Count, acc) => column.append_value(acc.map_or(0, Acc::count) as i64),
            (Self::Int(column), Output::IntSum, acc) => {
                let sum = acc.map_or(Some(0), Acc::int_sum);
                column.append_option(sum);
                return sum.is_none();
            }
            (Self::Double(column), Output::DoubleSum, acc) => {
                let sum = match acc {
                    Some(Acc::Double { sum, .. }) => sum.value(),
                    _ => Some(0.0),
                };
                column.append_option(sum);
                return sum.is_none();
            }
            (Self::Double(column), Output::Mean, acc) => column.append_option(acc.and_then(Acc::mean)),
            (column, _, Some(Acc::Min(value) | Acc::Max(value) | Acc::Newest { value, .. })) => {
                column.push_value(value)
            }
            (column, ..) => column.push_null(),
        }
        false
    }

    fn finish(&mut self) -> ArrayRef {
        match self {
            Self::Int(column) => Arc::new(column.finish()),
            Self::Double(column) => Arc::new(column.finish()),
            Self::Bool(column) => Arc::new(column.finish()),
            Self::Time(column) => Arc::new(column.finish()),
            Self::Str(column) => Arc::new(column.finish()),
        }
    }
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
