//! One feature's column of a batch of rows, being written, of any output type.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BooleanBuilder, Decimal128Builder, Float64Builder, Int64Builder, ListArray, MapArray,
    StringBuilder, StructArray, TimestampMillisecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;

use super::shown::{Output, Shown};
use crate::aggregate::{Acc, Value};
use crate::error::{Error, Result};
use crate::topology::{OutputType, ValueType};

/// A column, being written.
#[derive(Debug)]
pub struct ColumnBuilder {
    cells: Cells,
    bytes: usize,
}

#[derive(Debug)]
enum Cells {
    Int(Int64Builder),
    Double(Float64Builder),
    Bool(BooleanBuilder),
    Time(TimestampMillisecondBuilder),
    Str(StringBuilder),
    Decimal(Decimal128Builder),
    List { lists: Nested, items: Box<Cells> },
    Counted { lists: Nested, values: Box<Cells>, counts: Int64Builder },
    Map { maps: Nested, keys: StringBuilder, values: Box<Cells> },
}

/// Where lists or maps end, and which are null.
#[derive(Debug)]
struct Nested {
    ty: DataType,
    lengths: Vec<usize>,
    valid: Vec<bool>,
}

impl ColumnBuilder {
    /// No rows.
    pub fn new(ty: &OutputType) -> Self {
        Self { cells: Cells::new(ty), bytes: 0 }
    }

    /// Appends a value.
    pub fn push(&mut self, shown: &Shown) {
        self.bytes += self.cells.push(shown);
    }

    /// Appends a single value.
    pub fn push_value(&mut self, value: &Value) {
        self.bytes += self.cells.push_value(value);
    }

    /// Appends what a number shows without a detour; answers whether it did. An overflow takes the detour.
    pub fn push_plain(&mut self, output: &Output, acc: &Acc) -> bool {
        match (&mut self.cells, output, acc) {
            (Cells::Int(column), Output::Count, acc) => column.append_value(acc.count() as i64),
            (Cells::Int(column), Output::IntSum, acc) => match acc.int_sum() {
                Some(sum) => column.append_value(sum),
                None => return false,
            },
            (Cells::Double(column), Output::DoubleSum, Acc::Exact { sum, .. }) => match sum.value() {
                Some(sum) => column.append_value(sum),
                None => return false,
            },
            (Cells::Double(column), Output::Mean { scale: 0 }, acc) => match acc.mean() {
                Some(mean) => column.append_value(mean),
                None => return false,
            },
            (cells, Output::Kept, Acc::Min(value) | Acc::Max(value) | Acc::Newest { value, .. }) => {
                self.bytes += cells.push_value(value);
            }
            _ => return false,
        }
        self.bytes += 9;
        true
    }

    /// Bytes since the last question, approximately.
    pub fn pushed_bytes(&mut self) -> usize {
        std::mem::take(&mut self.bytes)
    }

    /// The column; the builder is empty again.
    ///
    /// # Errors
    /// Internal: never in practice; the parts are built together.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        self.bytes = 0;
        self.cells.finish().map_err(|e| Error::internal(format!("a feature's column does not form an array: {e}")))
    }
}

impl Cells {
    fn new(ty: &OutputType) -> Self {
        let nested = || Nested { ty: ty.data_type(), lengths: Vec::new(), valid: Vec::new() };
        match ty {
            OutputType::Scalar(ty) => Self::scalar(*ty),
            OutputType::List(item) => Self::List { lists: nested(), items: Box::new(Self::scalar(*item)) },
            OutputType::Counted(value) => {
                let values = Box::new(Self::scalar(*value));
                Self::Counted { lists: nested(), values, counts: Int64Builder::new() }
            }
            OutputType::Map(value) => {
                Self::Map { maps: nested(), keys: StringBuilder::new(), values: Box::new(Self::new(value)) }
            }
        }
    }

    fn scalar(ty: ValueType) -> Self {
        match ty {
            ValueType::String => Self::Str(StringBuilder::new()),
            ValueType::Int64 => Self::Int(Int64Builder::new()),
            ValueType::Double => Self::Double(Float64Builder::new()),
            ValueType::Bool => Self::Bool(BooleanBuilder::new()),
            ValueType::Timestamp => {
                Self::Time(TimestampMillisecondBuilder::new().with_data_type(ValueType::Timestamp.data_type()))
            }
            ValueType::Decimal { .. } => Self::Decimal(Decimal128Builder::new().with_data_type(ty.data_type())),
        }
    }

    fn push(&mut self, shown: &Shown) -> usize {
        match (self, shown) {
            (cells, Shown::Value(value)) => cells.push_value(value),
            (Self::List { lists, items }, Shown::List(values)) => {
                lists.push(Some(values.len()));
                values.iter().map(|value| items.push_value(value)).sum::<usize>() + 4
            }
            (Self::Counted { lists, values, counts }, Shown::Counted(all)) => {
                lists.push(Some(all.len()));
                counts.extend(all.iter().map(|(_, n)| Some(*n as i64)));
                all.iter().map(|(value, _)| values.push_value(value) + 8).sum::<usize>() + 4
            }
            (Self::Map { maps, keys, values }, Shown::Map(all)) => {
                maps.push(Some(all.len()));
                let mut one = |(key, shown): &(Box<str>, Shown)| {
                    keys.append_value(key);
                    key.len() + 4 + values.push(shown)
                };
                all.iter().map(&mut one).sum::<usize>() + 4
            }
            (cells, _) => cells.push_value(&Value::Null),
        }
    }

    fn push_value(&mut self, value: &Value) -> usize {
        match (self, value) {
            (Self::Int(column), Value::Int(n)) => column.append_value(*n),
            (Self::Double(column), Value::Double(x)) => column.append_value(*x),
            (Self::Bool(column), Value::Bool(b)) => column.append_value(*b),
            (Self::Time(column), Value::Time(t)) => column.append_value(*t),
            (Self::Decimal(column), Value::Decimal(n)) => column.append_value((*n).into()),
            (Self::Str(column), Value::Str(s)) => {
                column.append_value(s);
                return s.len() + 5;
            }
            (Self::Int(column), _) => column.append_null(),
            (Self::Double(column), _) => column.append_null(),
            (Self::Bool(column), _) => column.append_null(),
            (Self::Time(column), _) => column.append_null(),
            (Self::Str(column), _) => column.append_null(),
            (Self::Decimal(column), _) => column.append_null(),
            (Self::List { lists: nested, .. } | Self::Counted { lists: nested, .. }, _) => nested.push(None),
            (Self::Map { maps, .. }, _) => maps.push(None),
        }
        9
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Int(column) => Arc::new(column.finish()),
            Self::Double(column) => Arc::new(column.finish()),
            Self::Bool(column) => Arc::new(column.finish()),
            Self::Time(column) => Arc::new(column.finish()),
            Self::Str(column) => Arc::new(column.finish()),
            Self::Decimal(column) => Arc::new(column.finish()),
            Self::List { lists, items } => lists.list(items.finish()?)?,
            Self::Counted { lists, values, counts } => {
                let item = lists.item();
                let DataType::Struct(fields) = item.data_type() else { return Err(misbuilt()) };
                let entries =
                    StructArray::try_new(fields.clone(), vec![values.finish()?, Arc::new(counts.finish())], None)?;
                lists.list(Arc::new(entries))?
            }
            Self::Map { maps, keys, values } => {
                let entry = maps.item();
                let DataType::Struct(fields) = entry.data_type() else { return Err(misbuilt()) };
                let entries =
                    StructArray::try_new(fields.clone(), vec![Arc::new(keys.finish()), values.finish()?], None)?;
                let (offsets, nulls) = maps.take();
                Arc::new(MapArray::try_new(entry, offsets, entries, nulls, false)?)
            }
        })
    }
}

fn misbuilt() -> ArrowError {
    ArrowError::SchemaError("entries are not a struct".into())
}

impl Nested {
    fn push(&mut self, len: Option<usize>) {
        self.lengths.push(len.unwrap_or(0));
        self.valid.push(len.is_some());
    }

    /// The field of its items or entries.
    fn item(&self) -> FieldRef {
        match &self.ty {
            DataType::List(item) | DataType::Map(item, _) => Arc::clone(item),
            other => Arc::new(Field::new("item", other.clone(), true)),
        }
    }

    fn take(&mut self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let valid = std::mem::take(&mut self.valid);
        let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
        (offsets, nulls)
    }

    fn list(&mut self, items: Arc<dyn Array>) -> Result<ArrayRef, ArrowError> {
        let item = self.item();
        let (offsets, nulls) = self.take();
        Ok(Arc::new(ListArray::try_new(item, offsets, items, nulls)?))
    }
}
