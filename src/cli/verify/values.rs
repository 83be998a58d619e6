//! Whether the values of a read are those of a row.

use super::reads::{Served, ServedRow};
use super::report::Different;
use crate::cli::why::is_near;
use crate::error::Result;
use crate::sink::online::text;
use crate::task::{ColumnBuilder, Shown};
use crate::time::Millis;
use crate::topology::{EntityPlan, OutputType, ValueType};

/// Everything that an entity shows, by place.
pub struct Values<'p> {
    entity: &'p EntityPlan,
    all: Vec<Shape<'p>>,
    /// What the features show when nothing is left.
    empty: Vec<Option<String>>,
}

struct Shape<'p> {
    name: &'p str,
    ty: &'p OutputType,
    max_age: Option<Millis>,
    is_exact: bool,
}

impl<'p> Values<'p> {
    /// # Errors
    /// Internal: a constant of the plan is of another type.
    pub fn new(entity: &'p EntityPlan) -> Result<Self> {
        let shape = |(place, (name, ty)): (usize, (&'p str, &'p OutputType))| match entity.features.get(place) {
            Some(feature) => Shape { name, ty, max_age: feature.max_age, is_exact: feature.is_exact() },
            // As exact as it happens to be.
            None => Shape { name, ty, max_age: entity.derived[place - entity.features.len()].max_age, is_exact: false },
        };
        let all = entity.shown().enumerate().map(shape).collect();
        let empty = entity.features.iter().map(|feature| {
            let mut column = ColumnBuilder::new(&feature.output_type);
            column.push(&Shown::of(&feature.empty));
            Ok(text::value(&column.finish()?, &feature.output_type, 0))
        });
        Ok(Self { entity, all, empty: empty.collect::<Result<_>>()? })
    }

    /// The first value of a read that is not the row's. `near`: inexact ones may differ in their last digits.
    pub fn difference(
        &self,
        read: &Served,
        row: &ServedRow,
        shown: &[Option<String>],
        near: bool,
    ) -> Option<Different> {
        row.cells.iter().find_map(|(place, served)| {
            let shape = &self.all[*place];
            let expected = json(shown[*place].as_deref(), shape.ty);
            let is_old = shape.max_age.is_some_and(|max_age| read.at - row.event_time > max_age);
            let is_same = match served.status.as_str() {
                "OUTSIDE_MAX_AGE" => is_old,
                "PRESENT" | "NULL_VALUE" => !is_old && is_value(served.json(), &expected, near && !shape.is_exact),
                _ => false,
            };
            (!is_same).then(|| Different {
                feature: shape.name.to_string(),
                served: format!("{} ({})", served.json(), served.status),
                expected,
                ..self.different(read)
            })
        })
    }

    /// A read that differs as a whole.
    pub fn different(&self, read: &Served) -> Different {
        let row = read.row.as_ref();
        Different {
            line: read.line,
            entity: self.entity.name.clone(),
            id: read.id.clone(),
            position: row.map_or_else(String::new, |row| row.position.to_string()),
            feature: String::new(),
            served: String::new(),
            expected: String::new(),
        }
    }

    /// Whether every feature shows what it does when nothing is left.
    pub fn is_empty(&self, shown: &[Option<String>]) -> bool {
        self.empty.iter().zip(shown).all(|(empty, shown)| empty == shown)
    }
}

/// A stored text as JSON.
fn json(text: Option<&str>, ty: &OutputType) -> String {
    match (text, ty) {
        (None, _) => "null".to_string(),
        (Some(text), OutputType::Scalar(ValueType::String)) => serde_json::Value::from(text).to_string(),
        (Some(text), _) => text.to_string(),
    }
}

/// Whether what was served is this value, whoever wrote the log in between.
fn is_value(served: &str, expected: &str, may_be_near: bool) -> bool {
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).ok();
    served == expected
        || parsed(served).is_some_and(|served| Some(served) == parsed(expected))
        || (may_be_near && is_near(Some(served), Some(expected)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_the_same_in_whatever_form_a_log_has_it() {
        assert!(is_value("12.0", "12.0", false) && is_value("[1, 2]", "[1,2]", false));
        assert!(is_value(r#""a""#, r#""a""#, false) && !is_value(r#""a""#, r#""b""#, true));
        assert!(!is_value("1.0000000000000002", "1.0", false) && is_value("1.0000000000000002", "1.0", true));
        assert!(!is_value("null", "0", true) && !is_value("1.1", "1.0", true));
    }

    #[test]
    fn text_is_quoted_and_nothing_is_null() {
        assert_eq!(json(Some("a\"b"), &OutputType::Scalar(ValueType::String)), r#""a\"b""#);
        assert_eq!(json(None, &OutputType::Scalar(ValueType::String)), "null");
        assert_eq!(json(Some("1.50"), &OutputType::Scalar(ValueType::Decimal { precision: 5, scale: 2 })), "1.50");
    }
}
