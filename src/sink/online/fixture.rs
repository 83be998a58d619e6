//! An entity with a feature of every type, and rows of it, for the tests of this room.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};

use crate::state::ROW_COLUMNS;
use crate::time::Millis;
use crate::topology::{Aggregate, EntityPlan, FeaturePlan, ValueType, Window};

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
        }
    }

    /// Every feature is at its empty value.
    pub fn empty(key: &str, offset: i64) -> Self {
        Self { count: Some(0), sum: Some(0.0), category: None, flag: None, at: None, ..Self::full(key, offset) }
    }
}

fn feature(name: &str, aggregate: Aggregate, ty: ValueType) -> FeaturePlan {
    FeaturePlan {
        name: name.to_string(),
        aggregate,
        input: None,
        filter: None,
        window: Window::Lifetime,
        input_type: ty,
        output_type: ty,
    }
}

/// The entity of these rows; online under `t:{id}`.
pub fn entity() -> EntityPlan {
    EntityPlan {
        name: "user".to_string(),
        key: vec![0],
        online_key: "t:{id}".to_string(),
        empty_ttl: 86_400_000,
        history: true,
        features: vec![
            feature("count", Aggregate::Count, ValueType::Int64),
            feature("sum", Aggregate::Sum, ValueType::Double),
            feature("category", Aggregate::Last, ValueType::String),
            feature("flag", Aggregate::Last, ValueType::Bool),
            feature("at", Aggregate::Max, ValueType::Timestamp),
        ],
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
    let features: [(&str, ArrayRef); 5] = [
        ("count", column::<Int64Array, _>(rows, |row| row.count)),
        ("sum", column::<Float64Array, _>(rows, |row| row.sum)),
        ("category", column::<StringArray, _>(rows, |row| row.category.clone())),
        ("flag", column::<BooleanArray, _>(rows, |row| row.flag)),
        ("at", Arc::new(at.with_timezone("UTC"))),
    ];
    let columns = ROW_COLUMNS.into_iter().zip(fixed).chain(features);
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, array)| (name, array, true))).unwrap()
}

/// A count feature.
pub fn count(name: &str) -> FeaturePlan {
    feature(name, Aggregate::Count, ValueType::Int64)
}

/// One row of an entity with `width` counts `f0`, `f1` ... of these values.
pub fn wide(key: &str, offset: i64, width: usize) -> RecordBatch {
    let narrow = rows(&[Row::full(key, offset)]);
    let fixed = ROW_COLUMNS.into_iter().map(String::from).zip(narrow.columns().iter().cloned());
    let counts = (0..width).map(|at| (format!("f{at}"), Arc::new(Int64Array::from(vec![at as i64])) as ArrayRef));
    RecordBatch::try_from_iter_with_nullable(fixed.chain(counts).map(|(name, array)| (name, array, true))).unwrap()
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
    let features = named.iter().map(|(name, aggregate, ty)| feature(name, *aggregate, *ty)).collect();
    let entity = EntityPlan { online_key: "features:{id}".to_string(), features, ..entity() };
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
