//! An entity with a feature of every type and one derived value, and rows of it, for the tests of this room.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMillisecondArray,
};
use arrow::datatypes::Schema;

use crate::expr::{ExprId, ExprSet};
use crate::sink::arrays::{counted, lists, maps};
use crate::state::ROW_COLUMNS;
use crate::time::Millis;
use crate::topology::{
    Aggregate, DerivedOn, DerivedPlan, EntityPlan, FeaturePlan, Field, FieldSource, FieldType, Literal, OutputType,
    SourcePlan, ValueType, Window,
};

/// The list under one key of a map.
pub type Numbers = Option<Vec<Option<i64>>>;

/// One row: `None` is null.
#[derive(Debug, Clone)]
pub struct Row {
    pub key: String,
    pub offset: i64,
    pub sequence: i32,
    pub event_time: Millis,
    pub count: Option<i64>,
    pub sum: Option<f64>,
    pub category: Option<String>,
    pub flag: Option<bool>,
    pub at: Option<Millis>,
    /// In hundredths.
    pub price: Option<i128>,
    pub tags: Option<Vec<Option<String>>>,
    pub top: Option<Vec<(i64, i64)>>,
    pub by: Option<Vec<(String, Numbers)>>,
    pub ratio: Option<f64>,
}

impl Row {
    /// Every feature has a value.
    pub fn full(key: &str, offset: i64) -> Self {
        Self {
            key: key.to_string(),
            offset,
            sequence: 0,
            event_time: 1_000 + offset,
            count: Some(offset),
            sum: Some(offset as f64 + 0.5),
            category: Some(format!("category {offset}")),
            flag: Some(true),
            at: Some(1_700_000_000_000 + offset),
            price: Some(i128::from(offset) * 100 + 25),
            tags: Some(vec![Some(format!("tag {offset}")), None]),
            top: Some(vec![(offset, 2), (7, 1)]),
            by: Some(vec![("x".to_string(), Some(vec![Some(offset)])), ("y".to_string(), None)]),
            ratio: Some(offset as f64 / 4.0),
        }
    }

    /// Every feature is at its empty value.
    pub fn empty(key: &str, offset: i64) -> Self {
        let full = Self::full(key, offset);
        let zero = Self { count: Some(0), sum: Some(0.0), price: Some(0), ..full };
        Self { category: None, flag: None, at: None, tags: None, top: None, by: None, ratio: None, ..zero }
    }
}

fn feature(name: &str, aggregate: Aggregate, output_type: OutputType) -> FeaturePlan {
    let empty = match (&aggregate, &output_type) {
        (Aggregate::Count, _) => Literal::Int(0),
        (Aggregate::Sum, OutputType::Scalar(ValueType::Double)) => Literal::Double(0.0),
        (Aggregate::Sum, _) => Literal::Decimal(0),
        _ => Literal::Null,
    };
    FeaturePlan {
        name: name.to_string(),
        aggregate,
        input: None,
        filter: None,
        by: None,
        window: Window::Lifetime,
        input_type: ValueType::Int64,
        output_type,
        empty,
        max_age: None,
    }
}

/// The source of these rows: their key is the string `id`.
pub fn source() -> SourcePlan {
    let field = |name: &str, ty| Field {
        name: name.to_string(),
        from: FieldSource::Value(vec![name.to_string()]),
        ty,
        null_on_error: false,
    };
    SourcePlan {
        topic: "t".to_string(),
        fields: vec![field("id", FieldType::String), field("ts", FieldType::TimestampText)],
        event_time: 1,
        lateness: 0,
        grace: 0,
        max_future: None,
        filter: None,
        partition_field: 0,
        trusts_partitioning: false,
        max_record_bytes: 1 << 20,
        max_key_bytes: 1 << 10,
    }
}

/// The entity of these rows; online under `t:{id}`.
pub fn entity() -> EntityPlan {
    use OutputType::{Counted, List, Map, Scalar};
    let price = ValueType::Decimal { precision: 10, scale: 2 };
    let ratio = DerivedPlan {
        name: "ratio".to_string(),
        expr: ExprId(0),
        on: DerivedOn::Row,
        output_type: Scalar(ValueType::Double),
        max_age: None,
    };
    let asked = DerivedPlan { name: "asked".to_string(), on: DerivedOn::Read, ..ratio.clone() };
    EntityPlan {
        name: "user".to_string(),
        key: vec![0],
        online_key: "t:{id}".to_string(),
        empty_ttl: 86_400_000,
        history: true,
        features: vec![
            feature("count", Aggregate::Count, Scalar(ValueType::Int64)),
            feature("sum", Aggregate::Sum, Scalar(ValueType::Double)),
            feature("category", Aggregate::Last, Scalar(ValueType::String)),
            feature("flag", Aggregate::Last, Scalar(ValueType::Bool)),
            feature("at", Aggregate::Max, Scalar(ValueType::Timestamp)),
            feature("price", Aggregate::Sum, Scalar(price)),
            feature("tags", Aggregate::LastK { k: 10 }, List(ValueType::String)),
            feature("top", Aggregate::TopK { k: 10, limit: 10 }, Counted(ValueType::Int64)),
            feature("by", Aggregate::FirstK { k: 10 }, Map(Box::new(List(ValueType::Int64)))),
        ],
        derived: vec![asked, ratio],
        derived_exprs: Arc::new(ExprSet::new(Arc::new(Schema::empty()))),
        forget_after: None,
        horizon_records: 100_000,
    }
}

/// The batch of these rows, in the form of an epoch's.
pub fn rows(rows: &[Row]) -> RecordBatch {
    fn column<A: FromIterator<T> + arrow::array::Array + 'static, T>(rows: &[Row], of: impl Fn(&Row) -> T) -> ArrayRef {
        Arc::new(rows.iter().map(of).collect::<A>())
    }
    let fixed: [ArrayRef; 6] = [
        column::<StringArray, _>(rows, |row| Some(row.key.clone())),
        column::<Int64Array, _>(rows, |row| Some(row.event_time)),
        column::<Int64Array, _>(rows, |row| Some(row.event_time)),
        column::<Int64Array, _>(rows, |row| Some(row.offset)),
        column::<Int32Array, _>(rows, |row| Some(row.sequence)),
        column::<Int64Array, _>(rows, |row| Some(row.offset)),
    ];
    let at: TimestampMillisecondArray = rows.iter().map(|row| row.at).collect();
    let price: Decimal128Array = rows.iter().map(|row| row.price).collect();
    let tags: Vec<_> = rows.iter().map(|row| row.tags.clone()).collect();
    let top: Vec<_> = rows.iter().map(|row| row.top.clone()).collect();
    let by: Vec<_> = rows.iter().map(|row| row.by.clone()).collect();
    let numbers = |all: Vec<Numbers>| lists(&all, |items| Arc::new(Int64Array::from(items)));
    let columns: [(&str, ArrayRef); 10] = [
        ("count", column::<Int64Array, _>(rows, |row| row.count)),
        ("sum", column::<Float64Array, _>(rows, |row| row.sum)),
        ("category", column::<StringArray, _>(rows, |row| row.category.clone())),
        ("flag", column::<BooleanArray, _>(rows, |row| row.flag)),
        ("at", Arc::new(at.with_timezone("UTC"))),
        ("price", Arc::new(price.with_precision_and_scale(10, 2).unwrap())),
        ("tags", lists(&tags, |items| Arc::new(StringArray::from(items)))),
        ("top", counted(&top, |values| Arc::new(Int64Array::from(values)))),
        ("by", maps(&by, numbers)),
        ("ratio", column::<Float64Array, _>(rows, |row| row.ratio)),
    ];
    let columns = ROW_COLUMNS.into_iter().zip(fixed).chain(columns);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

/// The same entity with these features alone.
fn with(features: Vec<FeaturePlan>) -> EntityPlan {
    EntityPlan { features, derived: vec![], ..entity() }
}

/// An entity with `width` counts `f0`, `f1` ... and one row of it, of the values 0, 1 ...
pub fn wide(key: &str, offset: i64, width: usize) -> (EntityPlan, RecordBatch) {
    let count = |at| feature(&format!("f{at}"), Aggregate::Count, OutputType::Scalar(ValueType::Int64));
    let entity = with((0..width).map(count).collect());
    let narrow = rows(&[Row::full(key, offset)]);
    let fixed = ROW_COLUMNS.into_iter().map(String::from).zip(narrow.columns().iter().cloned());
    let counts = (0..width).map(|at| (format!("f{at}"), Arc::new(Int64Array::from(vec![at as i64])) as ArrayRef));
    let batch = RecordBatch::try_from_iter_with_nullable(fixed.chain(counts).map(|(name, array)| (name, array, true)));
    (entity, batch.unwrap())
}

/// `keys` rows of an entity with the eight features of a web shop's users.
pub fn shop(keys: usize) -> (EntityPlan, RecordBatch) {
    let named = [
        ("views_1h", Aggregate::Count, ValueType::Int64),
        ("clicks_24h", Aggregate::Count, ValueType::Int64),
        ("user_avg_purchase_90d", Aggregate::Avg, ValueType::Double),
        ("lifetime_value", Aggregate::Sum, ValueType::Double),
        ("largest_purchase_30d", Aggregate::Max, ValueType::Double),
        ("items_this_session", Aggregate::Count, ValueType::Int64),
        ("last_category", Aggregate::Last, ValueType::String),
        ("last_click_at", Aggregate::Last, ValueType::Timestamp),
    ];
    let features = named.iter().map(|(name, aggregate, ty)| feature(name, aggregate.clone(), OutputType::Scalar(*ty)));
    let entity = EntityPlan { online_key: "features:{id}".to_string(), ..with(features.collect()) };
    let list: Vec<Row> = (0..keys).map(|at| Row::full(&format!("u{at}"), 1_000_000 + at as i64)).collect();
    let narrow = rows(&list);
    let fixed = ROW_COLUMNS.into_iter().zip(narrow.columns().iter().cloned());
    let ints = |step: i64| Arc::new((0..keys as i64).map(|at| at * step % 997).collect::<Int64Array>()) as ArrayRef;
    let doubles = |by: f64| {
        Arc::new((0..keys).map(|at| (at % 5 > 0).then(|| (at as f64 * by).round() / 100.0)).collect::<Float64Array>())
            as ArrayRef
    };
    let texts = (0..keys).map(|at| Some(format!("category {}", at % 20))).collect::<StringArray>();
    let columns: [ArrayRef; 8] = [
        ints(3),
        ints(7),
        Arc::new((0..keys).map(|at| Some(at as f64 / 7.0)).collect::<Float64Array>()),
        doubles(123.0),
        doubles(17.0),
        ints(1),
        Arc::new(texts),
        narrow.column(ROW_COLUMNS.len() + 4).clone(),
    ];
    let columns = named.iter().map(|(name, ..)| *name).zip(columns);
    let batch = RecordBatch::try_from_iter_with_nullable(fixed.chain(columns).map(|(name, array)| (name, array, true)));
    (entity, batch.unwrap())
}
