//! A batch's columns as the fold reads them: downcast once, then one index a record.

use arrow::array::{
    Array, ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::compute::cast;
use arrow::datatypes::DataType;

use super::program::Program;
use crate::aggregate::Input;
use crate::error::{Error, Result};
use crate::expr::ExprId;

/// The inputs of one entity's program over a batch.
#[derive(Debug)]
pub struct InputColumns<'a> {
    inputs: Vec<InputColumn<'a>>,
    /// The conditions of its windows since one.
    conditions: Vec<&'a BooleanArray>,
}

#[derive(Debug)]
struct InputColumn<'a> {
    filter: Option<&'a BooleanArray>,
    values: Values<'a>,
    /// The buckets' texts.
    buckets: Option<StringArray>,
}

#[derive(Debug)]
enum Values<'a> {
    Record,
    Int(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
    Time(&'a TimestampMillisecondArray),
    Str(&'a StringArray),
    Decimal(&'a Decimal128Array),
}

/// What a record brings to an input.
#[derive(Debug, Clone, Copy)]
pub enum Entry<'a> {
    /// Its condition is not true.
    Out,
    /// It passes the condition; its input, or its bucket, is null.
    Null,
    /// The input, and the bucket's text (empty where there are none).
    In(Input<'a>, &'a str),
}

impl<'a> InputColumns<'a> {
    /// The program's inputs among the evaluated expressions.
    ///
    /// # Errors
    /// Internal: an expression has a type that the plan does not give it.
    pub fn new(program: &Program, columns: &'a [ArrayRef]) -> Result<Self> {
        let inputs = program.inputs.iter().map(|input| {
            Ok(InputColumn {
                filter: input.filter.map(|id| condition(columns, id)).transpose()?,
                values: input.value.map_or(Ok(Values::Record), |id| values(columns, id))?,
                buckets: input.bucket.map(|id| texts(columns, id)).transpose()?,
            })
        });
        let conditions = program.sinces.iter().map(|since| condition(columns, since.condition));
        Ok(Self { inputs: inputs.collect::<Result<_>>()?, conditions: conditions.collect::<Result<_>>()? })
    }

    /// Whether the record at `row` meets the condition of window `index` since one.
    pub fn condition(&self, index: usize, row: usize) -> bool {
        is_true(self.conditions[index], row)
    }

    /// Input `index` of the record at `row`.
    #[inline]
    pub fn entry(&self, index: usize, row: usize) -> Entry<'_> {
        let InputColumn { filter, values, buckets } = &self.inputs[index];
        if filter.is_some_and(|filter| !is_true(filter, row)) {
            return Entry::Out;
        }
        let bucket = match buckets {
            None => "",
            Some(buckets) if buckets.is_valid(row) => buckets.value(row),
            Some(_) => return Entry::Null,
        };
        let input = match values {
            Values::Record => Some(Input::Record),
            Values::Int(array) => array.is_valid(row).then(|| Input::Int(array.value(row))),
            Values::Double(array) => array.is_valid(row).then(|| Input::Double(array.value(row))),
            Values::Bool(array) => array.is_valid(row).then(|| Input::Bool(array.value(row))),
            Values::Time(array) => array.is_valid(row).then(|| Input::Time(array.value(row))),
            Values::Str(array) => array.is_valid(row).then(|| Input::Str(array.value(row))),
            Values::Decimal(array) => array.is_valid(row).then(|| Input::Decimal(array.value(row).into())),
        };
        input.map_or(Entry::Null, |input| Entry::In(input, bucket))
    }
}

/// A column as text: strings, int64 in decimal, `true` and `false`.
fn texts(columns: &[ArrayRef], id: ExprId) -> Result<StringArray> {
    let text = |column: &ArrayRef| cast(column, &DataType::Utf8).ok()?.as_any().downcast_ref().cloned();
    columns.get(id.0).and_then(text).ok_or_else(|| mistyped(id))
}

/// Whether a condition is true for a record; null is not.
#[inline]
pub fn is_true(condition: &BooleanArray, row: usize) -> bool {
    condition.is_valid(row) && condition.value(row)
}

/// A boolean column.
///
/// # Errors
/// Internal: it is of another type.
pub fn condition(columns: &[ArrayRef], id: ExprId) -> Result<&BooleanArray> {
    columns.get(id.0).and_then(|column| column.as_any().downcast_ref()).ok_or_else(|| mistyped(id))
}

fn mistyped(id: ExprId) -> Error {
    Error::internal(format!("expression {} has another type than the plan says; this is a defect of Kappa", id.0))
}

fn values(columns: &[ArrayRef], id: ExprId) -> Result<Values<'_>> {
    let any = columns.get(id.0).ok_or_else(|| mistyped(id))?.as_any();
    None.or_else(|| any.downcast_ref().map(Values::Int))
        .or_else(|| any.downcast_ref().map(Values::Double))
        .or_else(|| any.downcast_ref().map(Values::Str))
        .or_else(|| any.downcast_ref().map(Values::Time))
        .or_else(|| any.downcast_ref().map(Values::Bool))
        .or_else(|| any.downcast_ref().map(Values::Decimal))
        .ok_or_else(|| mistyped(id))
}

/// The text of one entity's key, record by record.
#[derive(Debug)]
pub struct KeyColumn<'a> {
    parts: Vec<KeyPart<'a>>,
    text: Vec<u8>,
}

#[derive(Debug)]
enum KeyPart<'a> {
    Str(&'a StringArray),
    Int(&'a Int64Array),
}

impl<'a> KeyColumn<'a> {
    /// The key made of these fields of a batch.
    ///
    /// # Errors
    /// Internal: a key field is neither string nor int64.
    pub fn new(key: &[usize], fields: &'a RecordBatch) -> Result<Self> {
        let part = |field: &usize| key_part(fields, *field);
        Ok(Self { parts: key.iter().map(part).collect::<Result<_>>()?, text: Vec::new() })
    }

    /// The key's text at `row`: the field's own, or a JSON list without blanks; `None` when a part is null.
    pub fn get(&mut self, row: usize) -> Option<&[u8]> {
        if let [KeyPart::Str(array)] = self.parts.as_slice() {
            return array.is_valid(row).then(|| array.value(row).as_bytes());
        }
        self.text.clear();
        let single = self.parts.len() == 1;
        for (index, part) in self.parts.iter().enumerate() {
            if !single {
                self.text.push(if index == 0 { b'[' } else { b',' });
            }
            match part {
                KeyPart::Str(array) if array.is_valid(row) => {
                    // Writing a string into a vector cannot fail.
                    serde_json::to_writer(&mut self.text, array.value(row)).ok()?;
                }
                KeyPart::Int(array) if array.is_valid(row) => {
                    self.text.extend_from_slice(itoa::Buffer::new().format(array.value(row)).as_bytes());
                }
                _ => return None,
            }
        }
        if !single {
            self.text.push(b']');
        }
        Some(&self.text)
    }
}

fn key_part(fields: &RecordBatch, field: usize) -> Result<KeyPart<'_>> {
    let any = fields.column(field).as_any();
    None.or_else(|| any.downcast_ref().map(KeyPart::Str))
        .or_else(|| any.downcast_ref().map(KeyPart::Int))
        .ok_or_else(|| Error::internal("a key field is neither string nor int64; this is a defect of Kappa"))
}
