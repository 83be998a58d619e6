//! From a syntax tree whose names are known to something that runs: typed, coerced, folded, with checked arithmetic.
//!
//! DataFusion's own simplifier is not used on the tree: it would fold integer constants with arithmetic that wraps.
//! Functions that exist only to be rewritten (coalesce, nvl2, arrow_cast) are rewritten here one by one, and constants
//! are folded at the end, when arithmetic is checked.

use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchemaRef, DataFusionError, ScalarValue, ToDFSchema};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{Expr, ExprSchemable, Operator, Volatility};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::expressions::{BinaryExpr, CastExpr, Column, Literal, NegativeExpr, TryCastExpr};
use datafusion::physical_expr::{PhysicalExpr, PhysicalExprSimplifier, ScalarFunctionExpr, create_physical_expr};

use super::normal::Normal;
use super::syntax::{PLANNER, Parsed, plain};
use super::zero::{PositiveZero, positive_scalar};
use super::{Body, Compiled, ExprProblem};

/// How often functions are rewritten; each pass rewrites what the one before has uncovered.
const REWRITES: usize = 4;

/// Compiles a parsed expression over the declared fields.
pub(super) fn compile(parsed: Parsed, declared: &Schema) -> Result<Compiled, ExprProblem> {
    let Parsed { tree, canonical, fields } = parsed;
    let reads: SchemaRef = Arc::new(
        declared.project(&fields).map_err(|error| problem(format!("the declared fields do not fit: {error}")))?,
    );
    let wrong_type = |error: DataFusionError| problem(plain(&error));
    let schema: DFSchemaRef = Arc::clone(&reads).to_dfschema_ref().map_err(wrong_type)?;
    let logical = PLANNER.create_logical_expr_from_sql_expr(tree, &schema).map_err(wrong_type)?;
    refuse_foreign(&logical)?;
    let logical = coerce(logical, &schema).map_err(wrong_type)?;
    let found = logical.get_type(&schema).map_err(wrong_type)?;
    let normal = Normal::of(&found).ok_or_else(|| unsupported(&found))?;
    let expr = physical(&logical, &schema, &reads).map_err(wrong_type)?;
    let body = match expr.downcast_ref::<Column>() {
        Some(column) if normal == Normal::AsIs(found.clone()) || is_own(&found) => Body::Field(fields[column.index()]),
        _ => Body::Computed { expr, reads },
    };
    let compiled = Compiled { canonical, fields, body, normal };
    refuse_failing_constant(&compiled)?;
    Ok(compiled)
}

/// Types of declared fields whose columns are already normal: the decoder lets no NaN and no -0.0 in.
fn is_own(found: &DataType) -> bool {
    *found == DataType::Float64 || *found == super::normal::timestamp()
}

/// Type coercion, and functions that stand for other expressions replaced by those.
fn coerce(logical: Expr, schema: &DFSchemaRef) -> Result<Expr, DataFusionError> {
    let options = PLANNER.config_options();
    let context =
        SimplifyContext::builder().with_schema(Arc::clone(schema)).with_config_options(Arc::clone(options)).build();
    let simplifier = ExprSimplifier::new(context.clone());
    // Before anything is built from them: `x in (-0.0)` keeps a hash set of its literals.
    let literals = logical.transform_up(|node| match node {
        Expr::Literal(value, metadata) => Ok(Transformed::yes(Expr::Literal(positive_scalar(value), metadata))),
        other => Ok(Transformed::no(other)),
    })?;
    let mut expr = simplifier.coerce(literals.data, schema)?;
    for _ in 0..REWRITES {
        let rewritten = expr.transform_up(|node| match node {
            Expr::ScalarFunction(ScalarFunction { func, args }) => match func.simplify(args, &context)? {
                ExprSimplifyResult::Simplified(other) => Ok(Transformed::yes(other)),
                ExprSimplifyResult::Original(args) => {
                    Ok(Transformed::no(Expr::ScalarFunction(ScalarFunction { func, args })))
                }
            },
            other => Ok(Transformed::no(other)),
        })?;
        expr = rewritten.data;
        if !rewritten.transformed {
            break;
        }
        expr = simplifier.coerce(expr, schema)?;
    }
    Ok(expr)
}

fn physical(logical: &Expr, schema: &DFSchemaRef, reads: &Schema) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    let planning = PhysicalPlanningContext::default();
    let expr = create_physical_expr(logical, schema, PLANNER.execution_props(), &planning)?;
    let checked = expr.transform_up(|step| checked(step, reads))?.data;
    PhysicalExprSimplifier::new(reads).simplify(checked)
}

/// One step made checked: integers do not wrap, and -0.0 does not come out.
fn checked(step: Arc<dyn PhysicalExpr>, reads: &Schema) -> Result<Transformed<Arc<dyn PhysicalExpr>>, DataFusionError> {
    if let Some(negative) = step.downcast_ref::<NegativeExpr>() {
        let found = negative.data_type(reads)?;
        if found.is_integer() || is_float(&found) {
            // DataFusion's negation wraps; the difference from zero does not, and has no -0.0 either.
            let zero = Arc::new(Literal::new(ScalarValue::new_zero(&found)?));
            let difference = BinaryExpr::new(zero, Operator::Minus, Arc::clone(negative.arg()));
            return Ok(Transformed::yes(Arc::new(difference.with_fail_on_overflow(true))));
        }
        return Ok(Transformed::no(step));
    }
    if let Some(binary) = step.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::Plus | Operator::Minus => {
                Ok(Transformed::yes(Arc::new(binary.clone().with_fail_on_overflow(true))))
            }
            Operator::Multiply => {
                let product: Arc<dyn PhysicalExpr> = Arc::new(binary.clone().with_fail_on_overflow(true));
                Ok(Transformed::yes(positive(product, reads)?))
            }
            Operator::Divide | Operator::Modulo => Ok(Transformed::yes(positive(step, reads)?)),
            _ => Ok(Transformed::no(step)),
        };
    }
    if step.is::<ScalarFunctionExpr>() || step.is::<CastExpr>() || step.is::<TryCastExpr>() {
        return Ok(Transformed::yes(positive(step, reads)?));
    }
    Ok(Transformed::no(step))
}

fn positive(step: Arc<dyn PhysicalExpr>, reads: &Schema) -> Result<Arc<dyn PhysicalExpr>, DataFusionError> {
    Ok(if is_float(&step.data_type(reads)?) { Arc::new(PositiveZero::new(step)) } else { step })
}

fn is_float(found: &DataType) -> bool {
    matches!(found, DataType::Float64 | DataType::Float32)
}

/// Refuses what the syntax did not show: operators that became functions of another kind, and nodes of queries.
fn refuse_foreign(logical: &Expr) -> Result<(), ExprProblem> {
    let mut foreign = None;
    let walked = logical.apply(|node| {
        let known = match node {
            Expr::ScalarFunction(call) => call.func.signature().volatility == Volatility::Immutable,
            Expr::Alias(_)
            | Expr::Column(_)
            | Expr::Literal(..)
            | Expr::BinaryExpr(_)
            | Expr::Like(_)
            | Expr::SimilarTo(_)
            | Expr::Not(_)
            | Expr::IsNotNull(_)
            | Expr::IsNull(_)
            | Expr::IsTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsUnknown(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNotUnknown(_)
            | Expr::Negative(_)
            | Expr::Between(_)
            | Expr::Case(_)
            | Expr::Cast(_)
            | Expr::TryCast(_)
            | Expr::InList(_) => true,
            _ => false,
        };
        if known {
            return Ok(TreeNodeRecursion::Continue);
        }
        foreign = Some(node.to_string());
        Ok(TreeNodeRecursion::Stop)
    });
    match (walked, foreign) {
        (Ok(_), None) => Ok(()),
        (Ok(_), Some(node)) => Err(problem(format!("`{node}` is not available in an expression about one record"))),
        (Err(error), _) => Err(problem(plain(&error))),
    }
}

/// A constant that fails would be null for every record: that is a mistake in the text.
fn refuse_failing_constant(compiled: &Compiled) -> Result<(), ExprProblem> {
    if !compiled.fields.is_empty() {
        return Ok(());
    }
    let Body::Computed { expr, reads } = &compiled.body else { return Ok(()) };
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(1));
    let one = arrow::array::RecordBatch::try_new_with_options(Arc::clone(reads), vec![], &options);
    let fails =
        one.map_or(true, |one| !matches!(compiled.attempt(expr.as_ref(), &one), Some((_, lost)) if lost.is_empty()));
    if fails {
        return Err(problem("it reads no field, and fails: it would be null for every record".into()));
    }
    Ok(())
}

fn problem(message: String) -> ExprProblem {
    ExprProblem {
        at: None,
        message,
        remedy: "check the types of the fields and literals in it; `cast(x as double)` converts".into(),
    }
}

fn unsupported(found: &DataType) -> ExprProblem {
    let (message, remedy) = match found {
        DataType::Null => ("its value is always null".to_string(), "give it a type: `cast(null as double)`"),
        other => (
            format!("its type is {other}, which a feature cannot hold"),
            "make it a string, int64, double, boolean or timestamp, for instance with `cast(x as varchar)`",
        ),
    };
    ExprProblem { at: None, message, remedy: remedy.into() }
}
