//! Features derived with each row: SQL over the features of the row, evaluated over a whole batch of rows.

use std::sync::Arc;

use arrow::array::{ArrayRef, new_null_array};

use crate::error::{Error, Result};
use crate::expr::{ExprId, ExprSet};
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
