//! Features derived with each row: SQL over the features of the row, evaluated over a whole batch of rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, TimestampMillisecondArray, new_null_array};

use crate::error::{Error, Result};
use crate::expr::{ExprId, ExprSet};
use crate::time::Millis;
use crate::topology::{DerivedOn, EntityPlan};

/// The derived features of one entity.
#[derive(Debug)]
pub struct Derived {
    exprs: Arc<ExprSet>,
    /// Those of rows, in their order; `None` in the place of one that is computed as it is read.
    all: Vec<Option<ExprId>>,
}

impl Derived {
    /// Those of `entity`.
    pub fn new(entity: &EntityPlan) -> Self {
        let row = |derived: &crate::topology::DerivedPlan| (derived.on == DerivedOn::Row).then_some(derived.expr);
        Self { exprs: Arc::clone(&entity.derived_exprs), all: entity.derived.iter().map(row).collect() }
    }

    /// The columns of features, and after them those derived from them.
    ///
    /// # Errors
    /// Internal: the columns are not those that the plan was made for.
    pub fn with(&self, mut features: Vec<ArrayRef>, rows: usize) -> Result<Vec<ArrayRef>> {
        if self.all.iter().all(Option::is_none) {
            return Ok(features);
        }
        // What the expressions see: the clock (null here: it is for reading), the features, and what was derived before.
        let schema = self.exprs.schema();
        let mut seen: Vec<ArrayRef> = vec![new_null_array(schema.field(0).data_type(), rows)];
        seen.extend(features.iter().cloned());
        for derived in &self.all {
            let column = match derived {
                Some(id) => self.exprs.evaluate_one(*id, &seen, rows).map_err(Error::internal)?.0,
                None => new_null_array(schema.field(seen.len()).data_type(), rows),
            };
            if derived.is_some() {
                features.push(Arc::clone(&column));
            }
            seen.push(column);
        }
        Ok(features)
    }
}

/// The indices of the features that a derived feature needs: those that it reads, and those of what it reads.
pub fn features_of(entity: &EntityPlan, derived: usize) -> BTreeSet<usize> {
    let features = entity.features.len();
    let fields = entity.derived_exprs.fields(entity.derived[derived].expr);
    // Column 0 is the clock; then come the features, then what was derived before.
    let needs = fields.iter().filter_map(|field| field.checked_sub(1)).flat_map(|column| match column < features {
        true => BTreeSet::from([column]),
        false => features_of(entity, column - features),
    });
    needs.collect()
}

/// What a derived feature is at `now`, from the (index, value) of the features that it needs, one row each.
///
/// # Errors
/// Internal: the columns are not those that the plan was made for.
pub fn at(entity: &EntityPlan, derived: usize, values: &[(usize, ArrayRef)], now: Millis) -> Result<ArrayRef> {
    let schema = entity.derived_exprs.schema();
    let clock = TimestampMillisecondArray::from(vec![now]).with_data_type(schema.field(0).data_type().clone());
    let mut seen: Vec<ArrayRef> = vec![Arc::new(clock)];
    for feature in 0..entity.features.len() {
        let value = values.iter().find(|(index, _)| *index == feature).map(|(_, value)| Arc::clone(value));
        seen.push(value.unwrap_or_else(|| new_null_array(schema.field(1 + feature).data_type(), 1)));
    }
    for one in &entity.derived[..=derived] {
        let value = entity.derived_exprs.evaluate_one(one.expr, &seen, 1).map_err(Error::internal)?.0;
        seen.push(value);
    }
    seen.pop().ok_or_else(|| Error::internal("a derived feature has no value"))
}
