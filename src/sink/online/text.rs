//! Rows as plain text: what every online store holds and what `kappa get` prints.
//!
//! Always holds: int64 is decimal, a double its shortest form that reads back the same (as serde_json prints it: 12.0, 1e+300), a
//! bool `true` or `false`, a timestamp whole milliseconds since 1970, a string itself; null has no text at all.
//! The columns are downcast once a batch; a value is written straight into the caller's buffer.

use arrow::array::{
    Array, ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};

use super::{OnlineBatch, OnlineHash, Position};
use crate::error::{Error, Result};
use crate::state::ROW_COLUMNS;
use crate::time::Millis;
use crate::topology::{EntityPlan, ValueType};

/// The event time of the row: `T`, or `T'` of a refresh.
pub const EVENT_TIME_FIELD: &str = "_event_time";
/// The number of the version that wrote it.
pub const VERSION_FIELD: &str = "_version";
/// Its [`Position`].
pub const POSITION_FIELD: &str = "_position";

/// One feature column with its type known.
#[derive(Debug, Clone, Copy)]
pub enum Column<'a> {
    String(&'a StringArray),
    Int64(&'a Int64Array),
    Double(&'a Float64Array),
    Bool(&'a BooleanArray),
    Timestamp(&'a TimestampMillisecondArray),
}

impl<'a> Column<'a> {
    fn new(array: &'a ArrayRef, ty: ValueType) -> Option<Self> {
        let any = array.as_any();
        match ty {
            ValueType::String => any.downcast_ref().map(Self::String),
            ValueType::Int64 => any.downcast_ref().map(Self::Int64),
            ValueType::Double => any.downcast_ref().map(Self::Double),
            ValueType::Bool => any.downcast_ref().map(Self::Bool),
            ValueType::Timestamp => any.downcast_ref().map(Self::Timestamp),
        }
    }

    /// Whether the row has no value here. A double that is not a number cannot occur; it would have no text either.
    #[inline]
    pub fn is_null(&self, row: usize) -> bool {
        match self {
            Self::String(array) => array.is_null(row),
            Self::Int64(array) => array.is_null(row),
            Self::Double(array) => array.is_null(row) || !array.value(row).is_finite(),
            Self::Bool(array) => array.is_null(row),
            Self::Timestamp(array) => array.is_null(row),
        }
    }

    /// Appends the text of a value that is not null.
    #[inline]
    pub fn write(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Self::String(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Self::Int64(array) => out.extend_from_slice(itoa::Buffer::new().format(array.value(row)).as_bytes()),
            Self::Double(array) => {
                out.extend_from_slice(zmij::Buffer::new().format_finite(array.value(row)).as_bytes());
            }
            Self::Bool(array) => out.extend_from_slice(if array.value(row) { b"true" } else { b"false" }),
            Self::Timestamp(array) => out.extend_from_slice(itoa::Buffer::new().format(array.value(row)).as_bytes()),
        }
    }

    #[inline]
    fn is_zero(&self, row: usize) -> bool {
        !self.is_null(row)
            && match self {
                Self::Int64(array) => array.value(row) == 0,
                Self::Double(array) => array.value(row) == 0.0,
                _ => false,
            }
    }
}

/// The rows of one entity, ready to be written as text.
#[derive(Debug)]
pub struct RowText<'a> {
    keys: &'a StringArray,
    event_times: &'a Int64Array,
    offsets: &'a Int64Array,
    sequences: &'a Int32Array,
    features: Vec<Column<'a>>,
    empty_is_zero: Vec<bool>,
}

impl<'a> RowText<'a> {
    /// Rows in the form of [`crate::state::EntityRows::rows`]; any other form is a defect of the caller.
    pub fn new(entity: &EntityPlan, rows: &'a RecordBatch) -> Result<Self> {
        let expected = ROW_COLUMNS.len() + entity.features.len();
        if rows.num_columns() != expected {
            return Err(Error::internal(format!(
                "rows of entity `{}` have {} columns, not {expected}",
                entity.name,
                rows.num_columns()
            )));
        }
        let mistyped = |column: usize| {
            let field = rows.schema_ref().field(column).clone();
            move || Error::internal(format!("column `{}` has an unexpected type {}", field.name(), field.data_type()))
        };
        let features = entity
            .features
            .iter()
            .enumerate()
            .map(|(at, feature)| (at + ROW_COLUMNS.len(), feature.output_type))
            .map(|(at, ty)| Column::new(rows.column(at), ty).ok_or_else(mistyped(at)))
            .collect::<Result<_>>()?;
        Ok(Self {
            keys: rows.column(0).as_any().downcast_ref().ok_or_else(mistyped(0))?,
            event_times: rows.column(1).as_any().downcast_ref().ok_or_else(mistyped(1))?,
            offsets: rows.column(3).as_any().downcast_ref().ok_or_else(mistyped(3))?,
            sequences: rows.column(4).as_any().downcast_ref().ok_or_else(mistyped(4))?,
            features,
            empty_is_zero: entity.features.iter().map(|feature| feature.empty_is_zero()).collect(),
        })
    }

    /// The entity key's text.
    #[inline]
    pub fn key(&self, row: usize) -> &'a str {
        self.keys.value(row)
    }

    /// `T` of the row.
    #[inline]
    pub fn event_time(&self, row: usize) -> Millis {
        self.event_times.value(row)
    }

    /// Where the row stands in the order of its entity's rows.
    #[inline]
    pub fn position(&self, row: usize, partition: i32, generation: u64, refresh: Option<Millis>) -> Position {
        let (offset, sequence) = (self.offsets.value(row), self.sequences.value(row));
        Position { generation, partition, offset, sequence, refresh }
    }

    /// The feature columns, in the topology's order.
    #[inline]
    pub fn features(&self) -> &[Column<'a>] {
        &self.features
    }

    /// Whether every feature is at its empty value: 0 for a count and a sum, null for the others.
    pub fn all_empty(&self, row: usize) -> bool {
        let mut features = self.features.iter().zip(&self.empty_is_zero);
        features.all(|(column, zero)| if *zero { column.is_zero(row) } else { column.is_null(row) })
    }
}

/// The hash of one row of a batch, as every store holds it.
pub fn hash(batch: &OnlineBatch<'_>, text: &RowText<'_>, row: usize) -> OnlineHash {
    let written = |column: &Column<'_>| {
        let mut bytes = Vec::new();
        column.write(row, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let features = batch.entity.features.iter().zip(text.features()).filter(|(_, column)| !column.is_null(row));
    let mut hash: OnlineHash = features.map(|(feature, column)| (feature.name.clone(), written(column))).collect();
    let event_time = batch.refresh.unwrap_or_else(|| text.event_time(row));
    let position = text.position(row, batch.partition, batch.generation, batch.refresh);
    hash.insert(EVENT_TIME_FIELD.to_string(), event_time.to_string());
    hash.insert(VERSION_FIELD.to_string(), batch.version.to_string());
    hash.insert(POSITION_FIELD.to_string(), position.to_string());
    hash
}

/// The online key of an entity: its template with `{id}` replaced.
#[derive(Debug, Clone, Copy)]
pub struct OnlineKey<'a> {
    before: &'a str,
    after: &'a str,
}

impl<'a> OnlineKey<'a> {
    /// Of an entity; a template without `{id}` (which no valid plan has) stands before the key.
    pub fn of(entity: &'a EntityPlan) -> Self {
        let (before, after) = entity.online_key.split_once("{id}").unwrap_or((&entity.online_key, ""));
        Self { before, after }
    }

    /// Appends the online key of this entity key.
    #[inline]
    pub fn write(&self, id: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(self.before.as_bytes());
        out.extend_from_slice(id.as_bytes());
        out.extend_from_slice(self.after.as_bytes());
    }

    /// Whether some entity key has this online key.
    pub fn can_be(&self, online_key: &str) -> bool {
        online_key.strip_prefix(self.before).is_some_and(|rest| rest.ends_with(self.after))
    }

    /// The online key of this entity key.
    pub fn text(&self, id: &str) -> String {
        [self.before, id, self.after].concat()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fixture::{Row, entity, rows};
    use super::*;

    fn double(value: f64) -> String {
        let array = Float64Array::from(vec![value]);
        let mut out = Vec::new();
        Column::Double(&array).write(0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_written_in_their_shortest_form() {
        let shown = [12.0, 0.1, 1e300, 5e-324, -2.5, 1e21, 123456789012345680.0, 0.0].map(double);
        assert_eq!(shown.join(" "), "12.0 0.1 1e+300 5e-324 -2.5 1e+21 1.2345678901234568e+17 0.0");
    }

    proptest! {
        #[test]
        fn a_double_is_written_as_serde_json_prints_it(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(double(value), serde_json::to_string(&value).unwrap());
        }
    }

    #[test]
    fn an_entity_is_empty_when_sums_are_zero_and_the_rest_is_null() {
        let entity = entity();
        let batch = rows(&[Row::empty("a", 1), Row::full("b", 2), Row { sum: None, ..Row::empty("c", 3) }]);
        let text = RowText::new(&entity, &batch).unwrap();
        assert_eq!([0, 1, 2].map(|row| text.all_empty(row)), [true, false, false]);
    }

    #[test]
    fn rows_of_another_form_are_a_defect() {
        let batch = rows(&[Row::full("a", 1)]);
        let mut entity = entity();
        entity.features[0].output_type = ValueType::Bool;
        assert!(RowText::new(&entity, &batch).unwrap_err().to_string().contains("unexpected type"));
        entity.features.pop();
        assert!(RowText::new(&entity, &batch).unwrap_err().to_string().contains("columns, not"));
    }
}
