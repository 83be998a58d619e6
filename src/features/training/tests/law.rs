//! Every rule, held against brute force on generated rows and labels.

use arrow::array::Array;
use arrow::datatypes::Float64Type;

use super::*;
use crate::aggregate::Value;
use crate::features::fixture::HOUR;

const RULES: [Rule; 7] = [
    Rule { strict: false, lookback: None, by_event_time: false },
    Rule { strict: true, lookback: None, by_event_time: false },
    Rule { strict: false, lookback: None, by_event_time: true },
    Rule { strict: true, lookback: None, by_event_time: true },
    Rule { strict: false, lookback: Some(60_000), by_event_time: false },
    Rule { strict: true, lookback: Some(86_400_000), by_event_time: true },
    Rule { strict: false, lookback: Some(0), by_event_time: true },
];

#[tokio::test(flavor = "multi_thread")]
async fn every_label_gets_the_row_of_the_law_whatever_the_rule() {
    for seed in 0..6 {
        let mut world = World::new(seed);
        world.live(300, 4).await;
        let labels = world.labels(700);
        let file = world.write("labels.parquet", &labels);
        for rule in RULES {
            let question = Question { rule, positions: true, full_names: true, ..question(&["user", "pair:views"]) };
            let report = world.train(&world.job(&file, question)).await.unwrap();
            let rows = read(&world.path("train.parquet"), &world.settings).await;
            assert_eq!(rows.num_rows(), labels.len());
            let found = |entity: usize| {
                (0..labels.len())
                    .filter(|row| {
                        key(entity, &labels[*row])
                            .is_some_and(|key| world.answer(entity, &key, labels[*row].at, rule).is_some())
                    })
                    .count() as u64
            };
            assert_eq!(report.entities.iter().map(|entity| entity.found).collect::<Vec<_>>(), [found(0), found(1)]);
            let mut open = 0;
            for (row, label) in labels.iter().enumerate() {
                let of =
                    [0, 1].map(|entity| key(entity, label).and_then(|key| world.answer(entity, &key, label.at, rule)));
                let at = format!("seed {seed}, {rule:?}, label {row} {label:?}");
                assert_eq!(amount(&rows, row), row as f64 / 4.0, "{at}");
                assert_position(&rows, row, "user", of[0], &at);
                assert_position(&rows, row, "pair", of[1], &at);
                assert_eq!(int(&rows, "pair__views", row), of[1].map(|past| past.ordinal), "{at}");
                assert_user(&rows, row, label.at.div_euclid(1000), of[0], &at);
                let incomplete = (0..2).any(|entity| is_open(&world, key(entity, label), of[entity], label.at, rule));
                assert_eq!(rows["_incomplete"].as_boolean().value(row), incomplete, "{at}");
                open += u64::from(incomplete);
            }
            assert_eq!(report.incomplete, open);
        }
    }
}

fn key(entity: usize, label: &Label) -> Option<String> {
    let id = label.id.clone()?;
    if entity == 0 { Some(id) } else { Some(format!("[\"{id}\",{}]", label.n?)) }
}

fn amount(rows: &RecordBatch, row: usize) -> f64 {
    rows["amount"].as_primitive::<Float64Type>().value(row)
}

/// The columns that say which row it was.
fn assert_position(rows: &RecordBatch, row: usize, entity: &str, past: Option<&Past>, at: &str) {
    use arrow::datatypes::{Int32Type, TimestampMicrosecondType};
    let column = |name: &str| &rows[format!("{entity}__{name}").as_str()];
    let time = |name: &str| {
        let column = column(name).as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| column.value(row) / 1000)
    };
    let small = |name: &str| {
        let column = column(name).as_primitive::<Int32Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let found =
        (time("event_time"), time("known_at"), small("partition"), int(rows, &format!("{entity}__offset"), row));
    let expected =
        (past.map(|p| p.event_time), past.map(|p| p.known_at), past.map(|p| p.partition), past.map(|p| p.offset));
    assert_eq!((found, small("sequence")), (expected, past.map(|p| p.sequence)), "{entity}: {at}");
}

/// All that `user` shows, computed here once more from the row's values.
fn assert_user(rows: &RecordBatch, row: usize, now: i64, past: Option<&Past>, at: &str) {
    let name = |feature: &str| format!("user__{feature}");
    let double = |feature: &str| {
        let column = rows[name(feature).as_str()].as_primitive::<Float64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let age_of_row = past.map(|past| now - past.event_time);
    let left = age_of_row.map(|age| (-(age.max(0) as f64) / HOUR as f64).exp2());
    let value = |index: usize| past.map(|past| past.values[index].clone());
    let number = |index: usize| match value(index) {
        Some(Shown::Value(Value::Int(number) | Value::Time(number))) => Some(number),
        _ => None,
    };
    let warm = match value(1) {
        Some(Shown::Value(Value::Double(warm))) => left.map(|left| warm * left),
        _ => None,
    };
    assert_eq!(int(rows, &name("views"), row), past.map(|past| past.ordinal), "{at}");
    assert_eq!(double("warm"), warm, "{at}");
    assert_eq!(double("mean"), past.map(|_| 3.5), "{at}");
    let by = rows["user__warm_by"].as_map();
    assert_eq!(by.is_valid(row), past.is_some(), "{at}");
    if past.is_some() {
        let values = by.value(row);
        let values = values.column(1).as_primitive::<Float64Type>();
        assert_eq!((values.len(), values.value(0), values.is_valid(1)), (2, 8.0 * left.unwrap(), false), "{at}");
    }
    let label = rows["user__label"].as_string::<i32>();
    assert_eq!(label.is_valid(row), age_of_row.is_some_and(|age| age <= 60_000), "max_age: {at}");
    assert_eq!(int(rows, &name("twice"), row), past.map(|past| past.ordinal * 2), "{at}");
    let age = number(5).map(|seen| now - seen);
    assert_eq!(int(rows, &name("age"), row), age, "{at}");
    let hot = rows["user__is_hot"].as_boolean();
    let is_hot = warm.zip(age).map(|(warm, age)| warm > 1.0 && age < 3 * HOUR);
    let shown = is_hot.filter(|_| age_of_row.is_some_and(|age| age <= 3 * HOUR));
    assert_eq!(hot.is_valid(row).then(|| hot.value(row)), shown, "{at}");
}

/// Whether a row may still come, by the watermark of the row's partition, or the lowest where there is none.
fn is_open(world: &World, key: Option<String>, past: Option<&Past>, at: i64, rule: Rule) -> bool {
    let lowest = world.watermarks.values().copied().min().unwrap();
    let watermark = past.map_or(lowest, |past| world.watermarks[&past.partition]) * 1000;
    key.is_some() && if rule.strict { at > watermark } else { at >= watermark }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_int64_key_is_found_by_its_number() {
    let yaml = r#"
topology: numbers
source:
  topic: t
  format: json
  event_time: at
  schema: {n: int64, at: timestamp_ms}
entities:
  thing:
    key: n
    features: {views: {count: "*", window: 1h}}
"#;
    let plan = crate::topology::parse("numbers.yaml", yaml).unwrap_or_else(|problems| panic!("{problems}"));
    let mut world = World::of(1, plan);
    world.live(200, 2).await;
    let times: Vec<(i64, i64)> =
        world.past.values().flatten().map(|row| (row.key.parse().unwrap(), row.event_time)).collect();
    let labels: Vec<Label> =
        times.iter().map(|(n, at)| Label { id: None, n: Some(*n), at: at * 1000 + 5_000_000 }).collect();
    let file = world.write("labels.parquet", &labels);
    world.train(&world.job(&file, question(&["thing"]))).await.unwrap();
    let rows = read(&world.path("train.parquet"), &world.settings).await;
    for (row, label) in labels.iter().enumerate() {
        let expected = world.answer(0, &label.n.unwrap().to_string(), label.at, Rule::default());
        assert_eq!(int(&rows, "views", row), expected.map(|past| past.ordinal), "{label:?}");
    }
    assert!((0..labels.len()).any(|row| int(&rows, "views", row).is_some()));
}
