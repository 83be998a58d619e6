//! The columns of a batch, filled row by row from records that are known to be good: nothing is ever taken back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMillisecondBuilder,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::projection::{Row, Slot};

/// Bytes of text that a string column makes room for at first, for each row.
const TEXT_GUESS: usize = 16;

/// The columns under construction.
#[derive(Debug)]
pub(super) struct Columns {
    columns: Vec<Column>,
    rows: usize,
}

#[derive(Debug)]
enum Column {
    Text(StringBuilder),
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMillisecondBuilder),
    Decimal(Decimal128Builder),
}

impl Columns {
    /// Empty, with room for `rows`.
    pub fn new(schema: &Schema, rows: usize) -> Self {
        let column = |field: &Arc<Field>| match field.data_type() {
            DataType::Utf8 => Column::Text(StringBuilder::with_capacity(rows, rows * TEXT_GUESS)),
            DataType::Int64 => Column::Int(Int64Builder::with_capacity(rows)),
            DataType::Float64 => Column::Double(Float64Builder::with_capacity(rows)),
            ty @ DataType::Decimal128(..) => {
                Column::Decimal(Decimal128Builder::with_capacity(rows).with_data_type(ty.clone()))
            }
            DataType::Boolean => Column::Bool(BooleanBuilder::with_capacity(rows)),
            // Declared fields have no other type.
            _ => Column::Time(TimestampMillisecondBuilder::with_capacity(rows).with_timezone("UTC")),
        };
        Self { columns: schema.fields().iter().map(column).collect(), rows: 0 }
    }

    /// Appends a good record, whose slots have their field's type or are null; answers its row.
    #[inline]
    pub fn push(&mut self, row: &Row<'_>) -> u32 {
        for (column, slot) in self.columns.iter_mut().zip(&row.slots) {
            match (column, *slot) {
                (Column::Text(column), slot) => match row.text(slot) {
                    Some(text) => column.append_value(text),
                    None => column.append_null(),
                },
                (Column::Int(column), Slot::Int(value)) => column.append_value(value),
                (Column::Time(column), Slot::Int(value)) => column.append_value(value),
                (Column::Double(column), Slot::Double(value)) => column.append_value(value),
                (Column::Bool(column), Slot::Bool(value)) => column.append_value(value),
                (Column::Decimal(column), Slot::Decimal { hi, lo }) => {
                    column.append_value((i128::from(hi) << 64) | i128::from(lo));
                }
                (Column::Decimal(column), _) => column.append_null(),
                (Column::Int(column), _) => column.append_null(),
                (Column::Time(column), _) => column.append_null(),
                (Column::Double(column), _) => column.append_null(),
                (Column::Bool(column), _) => column.append_null(),
            }
        }
        self.rows += 1;
        // A batch of 2^32 records would not fit in memory.
        (self.rows - 1) as u32
    }

    /// The finished batch.
    pub fn finish(self, schema: SchemaRef) -> RecordBatch {
        let array = |column: Column| -> ArrayRef {
            match column {
                Column::Text(mut column) => Arc::new(column.finish()),
                Column::Int(mut column) => Arc::new(column.finish()),
                Column::Double(mut column) => Arc::new(column.finish()),
                Column::Bool(mut column) => Arc::new(column.finish()),
                Column::Time(mut column) => Arc::new(column.finish()),
                Column::Decimal(mut column) => Arc::new(column.finish()),
            }
        };
        RecordBatch::try_new(schema, self.columns.into_iter().map(array).collect())
            .expect("the columns were made from this schema, and every row was appended to each")
    }
}
