//! Tests of the offline store against real Delta tables in a directory of their own, and what they share: a topology
//! with every type and kind of key, and epochs whose values follow from the ordinals alone.

mod bench;
mod exactly_once;
mod faults;
mod newest;
mod readers;
mod shapes;
mod tidy;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, BinaryArray, BooleanArray, Decimal128Array, Float64Array, Int32Array, Int64Array, RecordBatch,
    StringArray, TimestampMillisecondArray,
};
use arrow::datatypes::{Int64Type, Schema};

use super::*;
use crate::config::{OfflineKind, OfflineSettings};
use crate::expr::{ExprId, ExprSet};
use crate::sink::arrays::{counted, lists, maps};
use crate::state::EntityRows;
use crate::time::Span;
use crate::topology::{
    Aggregate, DerivedOn, DerivedPlan, EntityPlan, FeaturePlan, Field, FieldSource, FieldType, Literal, OutputType,
    SourcePlan, ValueType, Window,
};

/// 2024-02-28T22:00:00Z: two hours before a leap day.
pub const START: i64 = 1_709_157_600_000;

pub fn settings(directory: &tempfile::TempDir) -> OfflineSettings {
    OfflineSettings {
        store: OfflineKind::Delta,
        url: directory.path().join("offline").display().to_string(),
        options: BTreeMap::new(),
        commit_interval: Span(60_000),
        commit_bytes: 1 << 28,
        compact_interval: None,
        vacuum_retention: None,
        check_entities: 0,
    }
}

fn feature(name: &str, ty: ValueType) -> FeaturePlan {
    shown(name, OutputType::Scalar(ty))
}

fn shown(name: &str, output_type: OutputType) -> FeaturePlan {
    FeaturePlan {
        name: name.into(),
        aggregate: Aggregate::Last,
        input: None,
        filter: None,
        by: None,
        window: Window::Lifetime,
        input_type: ValueType::Int64,
        output_type,
        empty: Literal::Null,
        max_age: None,
    }
}

fn entity(name: &str, key: &[usize], features: Vec<FeaturePlan>) -> EntityPlan {
    EntityPlan {
        name: name.into(),
        key: key.to_vec(),
        online_key: format!("{name}:{{id}}"),
        empty_ttl: 1,
        history: name != "silent",
        features,
        derived: vec![],
        derived_exprs: Arc::new(ExprSet::new(Arc::new(Schema::empty()))),
        forget_after: None,
        horizon_records: 100_000,
    }
}

fn decimal(precision: u8, scale: u8) -> ValueType {
    ValueType::Decimal { precision, scale }
}

/// `user` by a text with a feature of every type and a derived value, `order` by a number, `pair` by both, `silent` without history.
pub fn plan() -> Plan {
    let field = |name: &str, ty| Field {
        name: name.into(),
        from: FieldSource::Value(vec![name.into()]),
        ty,
        null_on_error: false,
    };
    let every_type = vec![
        feature("views", ValueType::Int64),
        feature("total", ValueType::Double),
        feature("label", ValueType::String),
        feature("flag", ValueType::Bool),
        feature("last_at", ValueType::Timestamp),
        feature("spent", decimal(38, 2)),
        feature("fee", decimal(7, 3)),
        shown("recent", OutputType::List(ValueType::Timestamp)),
        shown("top", OutputType::Counted(ValueType::String)),
        shown("by_label", OutputType::Map(Box::new(OutputType::Scalar(ValueType::Double)))),
        shown("prices", OutputType::Map(Box::new(OutputType::List(decimal(12, 4))))),
    ];
    let derived = |name: &str, on| DerivedPlan {
        name: name.into(),
        expr: ExprId(0),
        on,
        output_type: OutputType::Scalar(ValueType::Double),
        max_age: None,
    };
    let derived = vec![derived("ratio", DerivedOn::Row), derived("age", DerivedOn::Read)];
    let count = || vec![feature("views", ValueType::Int64)];
    Plan {
        topology: "shop".into(),
        source: SourcePlan {
            topic: "events".into(),
            fields: vec![
                field("user_id", FieldType::String),
                field("order_id", FieldType::Int64),
                field("ts", FieldType::TimestampText),
            ],
            event_time: 2,
            lateness: 5000,
            grace: 0,
            max_future: None,
            filter: None,
            partition_field: 0,
            trusts_partitioning: true,
            max_record_bytes: 1 << 20,
            max_key_bytes: 1 << 10,
        },
        entities: vec![
            EntityPlan { derived, ..entity("user", &[0], every_type) },
            entity("order", &[1], count()),
            entity("pair", &[0, 1], count()),
            entity("silent", &[0], count()),
        ],
        exprs: Arc::new(ExprSet::new(Arc::new(Schema::empty()))),
        fingerprint: "f1".into(),
        text: "".into(),
    }
}

/// The entity that the row of an ordinal belongs to, by turns.
pub fn entity_of(ordinal: i64) -> usize {
    [0, 1, 0, 2, 3][ordinal.rem_euclid(5) as usize]
}

/// The event time of a row: one a minute.
pub fn time_of(ordinal: i64) -> i64 {
    START + ordinal * 60_000
}

fn key_of(entity: usize, ordinal: i64) -> String {
    match entity {
        1 => (ordinal % 7 - 3).to_string(),
        2 => format!("[\"u\\\"{}\",{}]", ordinal % 4, ordinal % 3),
        _ => format!("u{}", ordinal % 10),
    }
}

/// The rows of one entity at these ordinals and event times.
pub fn entity_rows(entity: usize, rows: &[(i64, i64)]) -> EntityRows {
    let each = |f: &dyn Fn(i64) -> i64| Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| f(r.0)))) as ArrayRef;
    let some = |ordinal: i64| (ordinal % 4 != 0).then_some(ordinal);
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("key", Arc::new(StringArray::from_iter_values(rows.iter().map(|r| key_of(entity, r.0))))),
        ("event_time", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1)))),
        ("known_at", Arc::new(Int64Array::from_iter_values(rows.iter().map(|r| r.1 + 7)))),
        ("offset", each(&|ordinal| 1000 + ordinal / 2)),
        ("sequence", Arc::new(Int32Array::from_iter_values(rows.iter().map(|r| (r.0 % 2) as i32)))),
        ("ordinal", each(&|ordinal| ordinal)),
        ("views", Arc::new(Int64Array::from_iter(rows.iter().map(|r| some(r.0).map(|o| o * 3 - 5))))),
    ];
    if entity == 0 {
        columns.extend(user_columns(rows));
    }
    let nullable = columns.into_iter().enumerate().map(|(i, (name, column))| (name, column, i >= 6));
    EntityRows { entity, rows: RecordBatch::try_from_iter_with_nullable(nullable).unwrap() }
}

/// The columns of `user` after `views`; null where the ordinal is a multiple of 4.
fn user_columns(rows: &[(i64, i64)]) -> Vec<(&'static str, ArrayRef)> {
    fn each<T>(rows: &[(i64, i64)], of: impl Fn(i64, i64) -> T) -> Vec<Option<T>> {
        rows.iter().map(|(ordinal, time)| (ordinal % 4 != 0).then(|| of(*ordinal, *time))).collect()
    }
    let times = |all: Vec<Option<i64>>| Arc::new(TimestampMillisecondArray::from(all).with_timezone("UTC"));
    let decimals = |all: Vec<Option<i128>>, precision, scale| -> ArrayRef {
        Arc::new(Decimal128Array::from(all).with_precision_and_scale(precision, scale).unwrap())
    };
    let top = |o: i64| vec![(format!("é{}", o % 3), o), (String::new(), 1)];
    let by_label = |o: i64| vec![(String::new(), None), ("é".to_string(), Some(o as f64 / 3.0))];
    let prices = |o: i64| vec![("a".to_string(), Some(vec![Some(i128::from(o)), None])), ("b".to_string(), None)];
    vec![
        ("total", Arc::new(Float64Array::from(each(rows, |o, _| o as f64 / 3.0)))),
        ("label", Arc::new(StringArray::from(each(rows, |o, _| format!("é{}", o % 3))))),
        ("flag", Arc::new(BooleanArray::from(each(rows, |o, _| o % 3 == 0)))),
        ("last_at", times(each(rows, |_, time| time - 1))),
        ("spent", decimals(each(rows, |o, _| i128::from(o) * 10i128.pow(30) - 5), 38, 2)),
        ("fee", decimals(each(rows, |o, _| i128::from(5 - o)), 7, 3)),
        ("recent", lists(&each(rows, recent), |all| times(all))),
        ("top", counted(&each(rows, |o, _| top(o)), |all| Arc::new(StringArray::from(all)))),
        ("by_label", maps(&each(rows, |o, _| by_label(o)), |all| Arc::new(Float64Array::from(all)))),
        ("prices", maps(&each(rows, |o, _| prices(o)), |all| lists(&all, |items| decimals(items, 12, 4)))),
        ("ratio", Arc::new(Float64Array::from(each(rows, |o, _| o as f64 / 7.0)))),
    ]
}

/// None, or the time itself, nothing, and the time before it.
fn recent(ordinal: i64, time: i64) -> Vec<Option<i64>> {
    if ordinal % 3 == 0 { vec![] } else { vec![Some(time), None, Some(time - 1)] }
}

/// Dead letters of these ordinals; every third has neither Kafka time nor key.
pub fn dead_letters(ordinals: std::ops::Range<i64>) -> Option<RecordBatch> {
    let all: Vec<i64> = ordinals.collect();
    let some = |ordinal: i64| ordinal % 3 != 0;
    let keys = all.iter().map(|&o| some(o).then(|| vec![0xff, o as u8]));
    let columns: Vec<(&str, ArrayRef, bool)> = vec![
        ("ordinal", Arc::new(Int64Array::from(all.clone())), false),
        ("offset", Arc::new(Int64Array::from_iter_values(all.iter().map(|o| o + 500))), false),
        ("kafka_time", Arc::new(Int64Array::from_iter(all.iter().map(|&o| some(o).then(|| time_of(o))))), true),
        ("class", Arc::new(StringArray::from_iter_values(all.iter().map(|_| "malformed"))), false),
        ("reason", Arc::new(StringArray::from_iter_values(all.iter().map(|o| format!("no event time in {o}")))), false),
        ("key", Arc::new(BinaryArray::from_iter(keys)), true),
        ("value", Arc::new(BinaryArray::from_iter(all.iter().map(|o| Some(format!("{{{o}"))))), true),
    ];
    (!all.is_empty()).then(|| RecordBatch::try_from_iter_with_nullable(columns).unwrap())
}

/// An epoch with the rows and dead letters of these ordinals.
pub fn epoch(number: u64, partition: i32, rows: std::ops::Range<i64>, dead: std::ops::Range<i64>) -> Epoch {
    let of = |entity| rows.clone().filter(|o| entity_of(*o) == entity).map(|o| (o, time_of(o))).collect::<Vec<_>>();
    let all = (0..4).map(|entity| (entity, of(entity))).filter(|(_, rows)| !rows.is_empty());
    Epoch {
        number,
        partition,
        next_offset: 1000 + rows.end + dead.end,
        watermark: Some(time_of(rows.end) - 5000),
        next_ordinal: rows.end,
        next_dead_letter: dead.end,
        rows: all.map(|(entity, rows)| entity_rows(entity, &rows)).collect(),
        dead_letters: dead_letters(dead),
    }
}

pub async fn open(settings: &OfflineSettings, partitions: &[i32]) -> OfflineWriter {
    OfflineWriter::open(settings, &plan(), 1, partitions).await.unwrap()
}

/// All (partition, ordinal) of a table, in order.
pub async fn stored(settings: &OfflineSettings, table: &str) -> Vec<(i64, i64)> {
    let sql =
        format!("select cast(\"partition\" as bigint) p, ordinal o from \"{table}\" order by \"partition\", ordinal");
    let batches = query(settings, &plan(), 1, &sql).await.unwrap();
    let pairs = |batch: &RecordBatch| {
        let column = |index: usize| batch.column(index).as_primitive::<Int64Type>().values().to_vec();
        column(0).into_iter().zip(column(1)).collect::<Vec<_>>()
    };
    batches.iter().flat_map(pairs).collect()
}

/// Asserts that each table holds exactly the rows and dead letters of these tasks, once.
pub async fn assert_holds(settings: &OfflineSettings, tasks: &[(i32, i64, i64)]) {
    for (entity, name) in ["user", "order", "pair"].iter().enumerate() {
        let rows = tasks
            .iter()
            .flat_map(|(p, rows, _)| (0..*rows).filter(|o| entity_of(*o) == entity).map(|o| (i64::from(*p), o)));
        assert_eq!(stored(settings, name).await, rows.collect::<Vec<_>>(), "rows of {name}");
    }
    let dead = tasks.iter().flat_map(|(p, _, dead)| (0..*dead).map(|o| (i64::from(*p), o)));
    assert_eq!(stored(settings, DEAD_LETTERS).await, dead.collect::<Vec<_>>(), "dead letters");
}
