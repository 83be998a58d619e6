//! SQL expressions over the declared fields, compiled once and evaluated over whole batches (DataFusion's only room).
//!
//! Always holds: an expression has the value it has on the record alone. A batch that fails is evaluated again row by
//! row; a row that fails, or gives NaN or infinity, is null and listed among the failures. Arithmetic is checked.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, SchemaRef};

/// Names one compiled expression of an [`ExprSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprId(pub usize);

/// The compiled expressions of a topology.
#[derive(Debug)]
pub struct ExprSet {}

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExprProblem {
    /// Byte offset in the SQL text where it shows, when that is known.
    pub at: Option<usize>,
    pub message: String,
    pub remedy: String,
}

/// The values of every expression over a batch.
#[derive(Debug)]
pub struct Evaluated {
    /// One array an expression, by id: Utf8, Int64, Float64 (finite, no -0.0), Boolean or Timestamp(ms, "UTC").
    pub columns: Vec<ArrayRef>,
    /// (expression, row) of every value that failed and is null for it, in the order of expressions, then rows.
    pub failures: Vec<(ExprId, u32)>,
}

impl ExprSet {
    /// No expressions yet, over this schema of declared fields.
    pub fn new(_schema: SchemaRef) -> Self {
        Self {}
    }

    /// Compiles `sql`; the same text gives the same id. The type is one of those named at [`Evaluated::columns`].
    pub fn add(&mut self, _sql: &str) -> Result<ExprId, ExprProblem> {
        Ok(ExprId(0))
    }

    /// The type of an expression's column.
    pub fn data_type(&self, _id: ExprId) -> DataType {
        DataType::Null
    }

    /// Evaluates all expressions over a batch of declared fields.
    pub fn evaluate(&self, _batch: &RecordBatch) -> Evaluated {
        Evaluated { columns: vec![], failures: vec![] }
    }
}
