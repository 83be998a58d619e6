//! What records bring to the traced features: their SQL over a batch of the entity's own records.

use arrow::array::{Array, ArrayRef, RecordBatch, new_null_array};
use arrow::datatypes::DataType;

use crate::aggregate::{Input, Item, Value};
use crate::error::{Error, Result};
use crate::expr::ExprId;
use crate::task::columns::{self, InputColumns, condition, is_true};
use crate::task::program::Program;
use crate::time::Millis;
use crate::topology::{EntityPlan, Plan};

/// What a record brings to a feature.
#[derive(Debug)]
pub(super) struct Brings {
    pub entry: Entry,
    /// It meets the condition of a window since one.
    pub meets: bool,
}

/// As [`columns::Entry`], owned, and with what is null.
#[derive(Debug)]
pub(super) enum Entry {
    Out,
    Null { what: &'static str, failed: bool },
    In { value: Value, bucket: Box<str> },
}

/// What one of the entity's own records says.
pub(super) struct Mine {
    /// The source's own `where` is not true.
    pub filtered: bool,
    /// One a traced feature.
    pub brings: Vec<Brings>,
}

/// The traced features and the expressions that they need.
#[derive(Debug)]
pub(super) struct Features {
    all: Vec<Feature>,
    exprs: Vec<ExprId>,
}

#[derive(Debug)]
struct Feature {
    /// In the entity's list.
    index: usize,
    /// Of this feature alone.
    program: Program,
}

impl Brings {
    /// Of a record without values.
    pub fn nothing() -> Self {
        Self { entry: Entry::Out, meets: false }
    }

    /// The input as an accumulator takes it; the record itself where there is none.
    pub fn item(&self, t: Millis, offset: i64) -> Item<'_> {
        match &self.entry {
            Entry::In { value, bucket } => Item { input: Input::of(value), bucket, t, offset },
            _ => Item { input: Input::Record, bucket: "", t, offset },
        }
    }
}

impl Features {
    /// These features of an entity, by their indices in its list.
    pub fn new(plan: &Plan, entity: usize, features: &[usize]) -> Self {
        let alone = |index: &usize| {
            let of = &plan.entities[entity];
            let alone = EntityPlan { features: vec![of.features[*index].clone()], ..of.clone() };
            Feature { index: *index, program: Program::new(&alone) }
        };
        let all: Vec<Feature> = features.iter().map(alone).collect();
        let needed = all.iter().flat_map(|feature| {
            let inputs = feature.program.inputs.iter().flat_map(|input| [input.filter, input.value, input.bucket]);
            inputs.flatten().chain(feature.program.sinces.iter().map(|since| since.condition))
        });
        let mut exprs: Vec<ExprId> = needed.chain(plan.source.filter).collect();
        exprs.sort_unstable();
        exprs.dedup();
        Self { all, exprs }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Where a feature stands in the entity's list.
    pub fn index(&self, feature: usize) -> usize {
        self.all[feature].index
    }

    /// Where the feature of this index in the entity's list stands here.
    pub fn place_of(&self, index: usize) -> Option<usize> {
        self.all.iter().position(|feature| feature.index == index)
    }

    /// What each of these rows, all of the entity, says.
    ///
    /// # Errors
    /// Internal: the rows are not of this plan.
    pub fn read(&self, plan: &Plan, rows: &RecordBatch) -> Result<Vec<Mine>> {
        let values = Evaluated::new(plan, &self.exprs, rows)?;
        let filter = plan.source.filter.map(|id| condition(&values.columns, id)).transpose()?;
        let inputs = self.all.iter().map(|feature| InputColumns::new(&feature.program, &values.columns));
        let inputs: Vec<InputColumns<'_>> = inputs.collect::<Result<_>>()?;
        let of_row = |row: usize| Mine {
            filtered: filter.is_some_and(|filter| !is_true(filter, row)),
            brings: self.all.iter().zip(&inputs).map(|(feature, inputs)| values.of(feature, inputs, row)).collect(),
        };
        Ok((0..rows.num_rows()).map(of_row).collect())
    }
}

/// The expressions that the traced features need, over the entity's own rows of a batch.
struct Evaluated {
    /// By expression; those that are not needed are empty.
    columns: Vec<ArrayRef>,
    /// (expression, row) of those that failed.
    failures: Vec<(ExprId, u32)>,
}

impl Evaluated {
    fn new(plan: &Plan, needed: &[ExprId], rows: &RecordBatch) -> Result<Self> {
        let mut columns = vec![new_null_array(&DataType::Null, 0); plan.exprs.len()];
        let mut failures = Vec::new();
        for &id in needed {
            let evaluated = plan.exprs.evaluate_one(id, rows.columns(), rows.num_rows());
            let (column, failed) = evaluated.map_err(Error::internal)?;
            columns[id.0] = column;
            failures.extend(failed.into_iter().map(|row| (id, row)));
        }
        Ok(Self { columns, failures })
    }

    fn of(&self, feature: &Feature, inputs: &InputColumns<'_>, row: usize) -> Brings {
        let entry = match inputs.entry(0, row) {
            columns::Entry::Out => Entry::Out,
            columns::Entry::In(input, bucket) => Entry::In { value: input.to_value(), bucket: bucket.into() },
            columns::Entry::Null => {
                let spec = &feature.program.inputs[0];
                let null_bucket = spec.bucket.filter(|id| self.columns[id.0].is_null(row));
                let what = if null_bucket.is_some() { "bucket" } else { "input" };
                let of = null_bucket.or(spec.value);
                let failed = of.is_some_and(|id| self.failures.contains(&(id, row as u32)));
                Entry::Null { what, failed }
            }
        };
        Brings { entry, meets: !feature.program.sinces.is_empty() && inputs.condition(0, row) }
    }
}
