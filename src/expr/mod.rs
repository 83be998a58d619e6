//! SQL expressions over the declared fields, compiled once and evaluated over whole batches (DataFusion's only room).
//!
//! Always holds: an expression has the value it has on the record alone. A batch that fails is evaluated again in ever
//! smaller parts, down to the single row; a row that fails, or gives NaN or infinity, is null and listed among the
//! failures. Arithmetic is checked, -0.0 is 0.0 in every step, and nothing volatile is let in.
//!
//! `syntax` reads the text and judges every name in it; `compile` plans it and makes its arithmetic checked; `normal`
//! turns what DataFusion gives into the few types that the engine knows. There are no aggregates, windows or
//! subqueries here: those are the topology's own words.

mod compile;
mod functions;
mod normal;
mod syntax;
#[cfg(test)]
mod tests;
mod zero;

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array, new_null_array};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;

use normal::Normal;
pub use syntax::NOW;

/// Names one compiled expression of an [`ExprSet`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExprId(pub usize);

/// The compiled expressions of a topology.
#[derive(Debug)]
pub struct ExprSet {
    schema: SchemaRef,
    exprs: Vec<Compiled>,
    by_text: HashMap<String, ExprId>,
}

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
    /// One array an expression, by id: Utf8, Int64, Float64 (finite, no -0.0), Boolean, Timestamp(ms, "UTC") or
    /// Decimal128; lists and maps where the declared fields hold them.
    pub columns: Vec<ArrayRef>,
    /// (expression, row) of every value that failed and is null for it, in the order of expressions, then rows.
    pub failures: Vec<(ExprId, u32)>,
}

impl ExprSet {
    /// No expressions yet, over this schema of declared fields.
    pub fn new(schema: SchemaRef) -> Self {
        Self { schema, exprs: Vec::new(), by_text: HashMap::new() }
    }

    /// Compiles `sql`; the same canonical text gives the same id. The type is one of those named at
    /// [`Evaluated::columns`].
    ///
    /// Refused, with place and remedy: what is not SQL, names that are not declared, subqueries, aggregates, window
    /// functions, functions whose answer may change from call to call, types that the engine does not know, and
    /// constants that fail.
    pub fn add(&mut self, sql: &str) -> Result<ExprId, ExprProblem> {
        let parsed = syntax::parse(sql, &self.schema)?;
        if let Some(id) = self.by_text.get(&parsed.canonical) {
            return Ok(*id);
        }
        let id = ExprId(self.exprs.len());
        let canonical = parsed.canonical.clone();
        let compiled = compile::compile(parsed, &self.schema)?;
        self.exprs.push(compiled);
        self.by_text.insert(canonical, id);
        Ok(id)
    }

    /// Adds a field after those declared: expressions added from now on may read it.
    pub fn declare(&mut self, field: Field) {
        let fields = self.schema.fields().iter().cloned().chain([Arc::new(field)]);
        self.schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    }

    /// Evaluates one expression over columns of the first declared fields, among which are all that it reads; also
    /// answers the rows that failed and are null for it.
    ///
    /// # Errors
    /// A text: the columns are of other types or lengths.
    pub fn evaluate_one(&self, id: ExprId, columns: &[ArrayRef], rows: usize) -> Result<(ArrayRef, Vec<u32>), String> {
        let schema = Arc::new(Schema::new(self.schema.fields()[..columns.len()].to_vec()));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(schema, columns.to_vec(), &options)
            .map_err(|error| format!("columns do not fit the declared fields: {error}"))?;
        let mut failed = Vec::new();
        Ok((self.exprs[id.0].evaluate(&batch, &mut failed), failed))
    }

    /// How many expressions there are; their ids are 0 to this.
    pub fn len(&self) -> usize {
        self.exprs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.exprs.is_empty()
    }

    /// The schema of declared fields that every batch has.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The type of an expression's column.
    pub fn data_type(&self, id: ExprId) -> DataType {
        self.exprs[id.0].normal.data_type()
    }

    /// The expression's text, whatever the white space, the comments and the letter case of keywords and function
    /// names that it was written with: what a fingerprint is made of.
    pub fn canonical(&self, id: ExprId) -> &str {
        &self.exprs[id.0].canonical
    }

    /// Indices of the declared fields that the expression reads, ascending.
    pub fn fields(&self, id: ExprId) -> &[usize] {
        &self.exprs[id.0].fields
    }

    /// Evaluates all expressions over a batch of declared fields (of [`ExprSet::schema`]).
    pub fn evaluate(&self, batch: &RecordBatch) -> Evaluated {
        let mut columns = Vec::with_capacity(self.exprs.len());
        let mut failures = Vec::new();
        let mut failed = Vec::new();
        for (index, expr) in self.exprs.iter().enumerate() {
            columns.push(expr.evaluate(batch, &mut failed));
            failures.extend(failed.drain(..).map(|row| (ExprId(index), row)));
        }
        Evaluated { columns, failures }
    }
}

/// One expression, ready to run.
#[derive(Debug)]
struct Compiled {
    canonical: String,
    /// The declared fields it reads, ascending.
    fields: Vec<usize>,
    body: Body,
    normal: Normal,
}

#[derive(Debug)]
enum Body {
    /// A plain field of one of the engine's own types: its column as it is.
    Field(usize),
    /// Anything else, over a schema of just the fields that it reads: DataFusion copies whole batches when it
    /// evaluates a branch for some rows only, and so copies no more than it needs.
    Computed { expr: Arc<dyn PhysicalExpr>, reads: SchemaRef },
}

impl Compiled {
    /// The column over `batch`; the rows that failed are added to `failed`, ascending.
    fn evaluate(&self, batch: &RecordBatch, failed: &mut Vec<u32>) -> ArrayRef {
        let (expr, reads) = match &self.body {
            Body::Field(index) => return Arc::clone(batch.column(*index)),
            Body::Computed { expr, reads } => (expr, reads),
        };
        if batch.num_rows() == 0 {
            return new_empty_array(&self.normal.data_type());
        }
        let columns = self.fields.iter().map(|index| Arc::clone(batch.column(*index))).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let narrow = RecordBatch::try_new_with_options(Arc::clone(reads), columns, &options)
            .expect("a batch has the schema of declared fields that its expressions were compiled for");
        let mut parts = Vec::with_capacity(1);
        self.in_parts(expr.as_ref(), &narrow, 0, &mut parts, failed);
        match parts.as_slice() {
            [one] => Arc::clone(one),
            many => {
                let parts: Vec<&dyn Array> = many.iter().map(AsRef::as_ref).collect();
                concat(&parts).expect("all parts have the expression's one type, and are no more rows than the batch")
            }
        }
    }

    /// Evaluates `batch`, whose first row is row `first` of the whole. Where DataFusion fails, some row of it fails:
    /// halves are tried until that row stands alone. A batch evaluates at least what its rows evaluate alone (it may
    /// short-cut only what every row short-cuts), so a batch that succeeds has the values of its rows alone.
    fn in_parts(
        &self,
        expr: &dyn PhysicalExpr,
        batch: &RecordBatch,
        first: u32,
        parts: &mut Vec<ArrayRef>,
        failed: &mut Vec<u32>,
    ) {
        let rows = batch.num_rows();
        match self.attempt(expr, batch) {
            Some((array, rows)) => {
                parts.push(array);
                failed.extend(rows.into_iter().map(|row| first + row));
            }
            None if rows == 1 => {
                parts.push(new_null_array(&self.normal.data_type(), 1));
                failed.push(first);
            }
            None => {
                let half = rows / 2;
                self.in_parts(expr, &batch.slice(0, half), first, parts, failed);
                self.in_parts(expr, &batch.slice(half, rows - half), first + half as u32, parts, failed);
            }
        }
    }

    /// The values and the rows that have none, or `None` when the evaluation as a whole fails. A kernel that panics
    /// has failed on a record's values like one that answers with an error: it must not take the task with it.
    fn attempt(&self, expr: &dyn PhysicalExpr, batch: &RecordBatch) -> Option<(ArrayRef, Vec<u32>)> {
        let answer = catch_unwind(AssertUnwindSafe(|| expr.evaluate(batch)?.into_array(batch.num_rows())));
        self.normal.apply(answer.ok()?.ok()?)
    }
}
