//! Rows as plain text: what every online store holds and what `kappa get` prints.
//!
//! Always holds: a field a column of the row, features first, then what is derived with the row; each value as
//! `Column` writes it; null has no text at all. The columns are downcast once a batch.

use arrow::array::{Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};

use super::column::Column;
use super::{OnlineBatch, OnlineHash, Position};
use crate::error::{Error, Result};
use crate::state::ROW_COLUMNS;
use crate::time::Millis;
use crate::topology::{EntityPlan, Literal, OutputType};

/// The event time of the row: `T`, or `T'` of a refresh.
pub const EVENT_TIME_FIELD: &str = "_event_time";
/// The number of the version that wrote it.
pub const VERSION_FIELD: &str = "_version";
/// Its [`Position`].
pub const POSITION_FIELD: &str = "_position";

/// The rows of one entity, ready to be written as text.
#[derive(Debug)]
pub struct RowText<'a> {
    keys: &'a StringArray,
    event_times: &'a Int64Array,
    offsets: &'a Int64Array,
    sequences: &'a Int32Array,
    columns: Vec<Column<'a>>,
    /// What each feature shows when nothing is left; derived columns have none.
    empty: Vec<&'a Literal>,
}

impl<'a> RowText<'a> {
    /// Rows in the form of [`crate::state::EntityRows::rows`]; any other form is a defect of the caller.
    pub fn new(entity: &'a EntityPlan, rows: &'a RecordBatch) -> Result<Self> {
        let expected = ROW_COLUMNS.len() + entity.columns().count();
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
        let columns = (ROW_COLUMNS.len()..)
            .zip(entity.columns())
            .map(|(at, (_, ty))| Column::new(rows.column(at), ty).ok_or_else(mistyped(at)))
            .collect::<Result<_>>()?;
        Ok(Self {
            keys: rows.column(0).as_any().downcast_ref().ok_or_else(mistyped(0))?,
            event_times: rows.column(1).as_any().downcast_ref().ok_or_else(mistyped(1))?,
            offsets: rows.column(3).as_any().downcast_ref().ok_or_else(mistyped(3))?,
            sequences: rows.column(4).as_any().downcast_ref().ok_or_else(mistyped(4))?,
            columns,
            empty: entity.features.iter().map(|feature| &feature.empty).collect(),
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

    /// The columns of [`EntityPlan::columns`], in that order.
    #[inline]
    pub fn columns(&self) -> &[Column<'a>] {
        &self.columns
    }

    /// Whether every feature shows its empty value; what is derived does not count.
    pub fn all_empty(&self, row: usize) -> bool {
        self.columns.iter().zip(&self.empty).all(|(column, empty)| column.is(row, empty))
    }
}

/// The hash of one row of a batch, as every store holds it.
pub fn hash(batch: &OnlineBatch<'_>, text: &RowText<'_>, row: usize) -> OnlineHash {
    let written = |column: &Column<'_>| {
        let mut bytes = Vec::new();
        column.write(row, &mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let values = batch.entity.columns().zip(text.columns()).filter(|(_, column)| !column.is_null(row));
    let mut hash: OnlineHash = values.map(|((name, _), column)| (name.to_string(), written(column))).collect();
    let event_time = batch.refresh.unwrap_or_else(|| text.event_time(row));
    let position = text.position(row, batch.partition, batch.generation, batch.refresh);
    hash.insert(EVENT_TIME_FIELD.to_string(), event_time.to_string());
    hash.insert(VERSION_FIELD.to_string(), batch.version.to_string());
    hash.insert(POSITION_FIELD.to_string(), position.to_string());
    hash
}

/// One value of this type as every store holds it; `None` for null, and for an array of another type.
pub fn value(array: &ArrayRef, ty: &OutputType, row: usize) -> Option<String> {
    let column = Column::new(array, ty).filter(|column| !column.is_null(row))?;
    let mut bytes = Vec::new();
    column.write(row, &mut bytes);
    String::from_utf8(bytes).ok()
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
        let mut text = String::with_capacity(self.before.len() + id.len() + self.after.len());
        [self.before, id, self.after].into_iter().for_each(|part| text.push_str(part));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Row, entity, rows};
    use super::*;
    use crate::topology::ValueType;

    #[test]
    fn an_entity_is_empty_when_every_feature_shows_its_empty_value() {
        let mut entity = entity();
        let derived = Row { ratio: Some(1.0), ..Row::empty("a", 1) };
        let batch = rows(&[derived, Row::full("b", 2), Row { sum: None, ..Row::empty("c", 3) }]);
        let empty = |entity: &EntityPlan| {
            let text = RowText::new(entity, &batch).unwrap();
            [0, 1, 2].map(|row| text.all_empty(row))
        };
        assert_eq!(empty(&entity), [true, false, false]);
        entity.features[1].empty = Literal::Null;
        assert_eq!(empty(&entity), [false, false, true]);
        entity.features[2].empty = Literal::Str("none".into());
        assert_eq!(empty(&entity), [false; 3]);
    }

    #[test]
    fn rows_of_another_form_are_a_defect() {
        let batch = rows(&[Row::full("a", 1)]);
        let mistyped = [
            ("count", OutputType::Scalar(ValueType::Bool)),
            ("price", OutputType::Scalar(ValueType::Decimal { precision: 10, scale: 3 })),
            ("tags", OutputType::List(ValueType::Int64)),
            ("tags", OutputType::Counted(ValueType::String)),
            ("top", OutputType::List(ValueType::Int64)),
            ("by", OutputType::Map(Box::new(OutputType::Scalar(ValueType::Int64)))),
        ];
        for (name, ty) in mistyped {
            let mut entity = entity();
            entity.features.iter_mut().find(|feature| feature.name == name).unwrap().output_type = ty;
            let error = RowText::new(&entity, &batch).unwrap_err().to_string();
            assert!(error.contains("unexpected type") && error.contains(name), "{error}");
        }
        let mut entity = entity();
        entity.derived.clear();
        assert!(RowText::new(&entity, &batch).unwrap_err().to_string().contains("columns, not"));
    }
}
