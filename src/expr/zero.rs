//! A step of an expression whose -0.0 is 0.0.
//!
//! DataFusion compares doubles by their total order, in which -0.0 is less than 0.0: so a negative zero must not
//! live long enough to be compared. Declared columns never hold one; only some steps can make one, and each of those
//! is wrapped in this.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::{DataType, Float32Type, Float64Type, Schema};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::ColumnarValue;
use datafusion::physical_expr::PhysicalExpr;

/// The value of the step within, with -0.0 as 0.0.
#[derive(Debug, Eq)]
pub(super) struct PositiveZero {
    step: Arc<dyn PhysicalExpr>,
}

impl PositiveZero {
    /// Wraps a step that gives floats.
    pub(super) fn new(step: Arc<dyn PhysicalExpr>) -> Self {
        Self { step }
    }
}

/// The same value, with -0.0 as 0.0.
pub(super) fn positive_scalar(value: ScalarValue) -> ScalarValue {
    match value {
        ScalarValue::Float64(Some(x)) => ScalarValue::Float64(Some(x + 0.0)),
        ScalarValue::Float32(Some(x)) => ScalarValue::Float32(Some(x + 0.0)),
        other => other,
    }
}

// By hand, because derived equality does not compile for `Arc<dyn PhysicalExpr>`.
impl PartialEq for PositiveZero {
    fn eq(&self, other: &Self) -> bool {
        self.step.eq(&other.step)
    }
}

impl Hash for PositiveZero {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.step.hash(state);
    }
}

impl fmt::Display for PositiveZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.step)
    }
}

impl PhysicalExpr for PositiveZero {
    fn data_type(&self, schema: &Schema) -> Result<DataType> {
        self.step.data_type(schema)
    }

    fn nullable(&self, schema: &Schema) -> Result<bool> {
        self.step.nullable(schema)
    }

    fn evaluate(&self, batch: &RecordBatch) -> Result<ColumnarValue> {
        let array = match self.step.evaluate(batch)? {
            ColumnarValue::Scalar(value) => return Ok(ColumnarValue::Scalar(positive_scalar(value))),
            ColumnarValue::Array(array) => array,
        };
        Ok(ColumnarValue::Array(match array.data_type() {
            DataType::Float64 => Arc::new(array.as_primitive::<Float64Type>().unary::<_, Float64Type>(|x| x + 0.0)),
            DataType::Float32 => Arc::new(array.as_primitive::<Float32Type>().unary::<_, Float32Type>(|x| x + 0.0)),
            _ => array,
        }))
    }

    fn children(&self) -> Vec<&Arc<dyn PhysicalExpr>> {
        vec![&self.step]
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn PhysicalExpr>>) -> Result<Arc<dyn PhysicalExpr>> {
        Ok(Arc::new(Self::new(Arc::clone(&children[0]))))
    }

    fn fmt_sql(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.step.fmt_sql(f)
    }
}
