//! The tables as DuckDB, Polars and the deltalake package read them, through `tests/support/read_delta.py`.
//!
//! Runs where KAPPA_PYTHON names a Python that has them; the end-to-end tests set it.

use std::process::Command;

use serde_json::{Value, json};

use super::tidy::tidy_all;
use super::*;
use crate::time::{MAX_EVENT_TIME, MIN_EVENT_TIME};

fn read(settings: &OfflineSettings, table: &str) -> Vec<Value> {
    let python = std::env::var("KAPPA_PYTHON").expect("KAPPA_PYTHON names a Python with duckdb, polars and deltalake");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/read_delta.py");
    let path = format!("{}/shop/{table}/v1", settings.url);
    let output = Command::new(python).args([script, "all", &path]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn expected_user(ordinal: i64, time: i64, date: &str) -> Value {
    let some = ordinal % 4 != 0;
    let if_some = |value: Value| if some { value } else { Value::Null };
    json!({
        "user_id": format!("u{}", ordinal % 10),
        "event_time": time * 1000, "known_at": (time + 7) * 1000,
        "partition": 4, "offset": 1000 + ordinal / 2, "sequence": ordinal % 2, "ordinal": ordinal, "version": 1,
        "views": if_some(json!(ordinal * 3 - 5)),
        "total": if_some(json!(ordinal as f64 / 3.0)),
        "label": if_some(json!(format!("é{}", ordinal % 3))),
        "flag": if_some(json!(ordinal % 3 == 0)),
        "last_at": if_some(json!((time - 1) * 1000)),
        // At scale 2 and 3: 10^30 times the ordinal less 5 is 10^28 times the ordinal less 0.05.
        "spent": if_some(json!(format!("{}.95", i128::from(ordinal) * 10i128.pow(28) - 1))),
        "fee": if_some(json!(thousandths(5 - ordinal))),
        "recent": if_some(json!(recent(ordinal, time).iter().map(|t| t.map(|t| t * 1000)).collect::<Vec<_>>())),
        "top": if_some(json!([{"value": format!("é{}", ordinal % 3), "n": ordinal}, {"value": "", "n": 1}])),
        "by_label": if_some(json!({"": null, "é": ordinal as f64 / 3.0})),
        "prices": if_some(json!({"a": [format!("0.{ordinal:04}"), null], "b": null})),
        "ratio": if_some(json!(ordinal as f64 / 7.0)),
        "event_date": date,
    })
}

fn thousandths(value: i64) -> String {
    format!("{}{}.{:03}", if value < 0 { "-" } else { "" }, value.abs() / 1000, value.abs() % 1000)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAPPA_PYTHON"]
async fn duckdb_polars_and_deltalake_read_the_same_values() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[4]).await;
    let times = [
        (MIN_EVENT_TIME + 1, "0001-01-01"),
        (MAX_EVENT_TIME - 7, "9999-12-31"),
        (-1, "1969-12-31"),
        (0, "1970-01-01"),
        (START, "2024-02-28"),
        (START + 7_200_000, "2024-02-29"),
    ];
    let rows: Vec<_> = (0..6000).map(|ordinal: i64| (ordinal, times[ordinal as usize % 6])).collect();
    for (number, half) in [(1, 0..3000), (2, 3000..6000)] {
        let users: Vec<_> = rows[half.clone()].iter().map(|(ordinal, (time, _))| (*ordinal, *time)).collect();
        let mut of_users = epoch(number, 4, 0..0, if number == 1 { 0..4 } else { 4..4 });
        (of_users.next_ordinal, of_users.rows) = (half.end as i64, vec![entity_rows(0, &users)]);
        writer.append(&of_users).unwrap();
        writer.commit().await.unwrap();
    }
    writer.append(&epoch(3, 4, 6000..6500, 4..4)).unwrap();
    writer.commit().await.unwrap();

    let late = (6000..6500).filter(|o| entity_of(*o) == 0).map(|o| (o, (time_of(o), "")));
    let all: Vec<_> = rows.into_iter().chain(late).collect();
    assert_reads(&settings, &all);
    // The same after compaction and vacuum.
    let done = tidy_all(&settings, Some(Span(0))).await;
    assert!(done.iter().any(|table| table.compacted.unwrap().replaced > 0), "{done:?}");
    assert!(done.iter().any(|table| !table.vacuumed.as_ref().unwrap().files.is_empty()), "{done:?}");
    assert_reads(&settings, &all);
}

fn assert_reads(settings: &OfflineSettings, all: &[(i64, (i64, &str))]) {
    let users = read(settings, "user");
    assert_eq!(users.len(), all.len());
    for (read, (ordinal, (time, date))) in users.iter().zip(all) {
        let date = if date.is_empty() { rows::date_text(rows::day(*time)) } else { date.to_string() };
        assert_eq!(*read, expected_user(*ordinal, *time, &date));
    }
    let pairs = read(settings, "pair");
    assert_eq!((&pairs[0]["user_id"], &pairs[0]["order_id"]), (&json!("u\"3"), &json!(0)), "{}", pairs[0]);
    let dead = read(settings, DEAD_LETTERS);
    let expected = json!({
        "ordinal": 1, "partition": 4, "offset": 501, "kafka_time": time_of(1) * 1000, "class": "malformed",
        "reason": "no event time in 1", "key": "ff01", "value": "7b31", "dead_date": "2024-02-28",
    });
    assert_eq!((dead.len(), &dead[1]), (4, &expected));
    assert_eq!((&dead[0]["kafka_time"], &dead[0]["key"]), (&Value::Null, &Value::Null));
}

/// docs/offline.md: the tables of two versions side by side, the newer one with a feature more.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAPPA_PYTHON"]
async fn two_versions_are_read_side_by_side_where_one_has_a_feature_more() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut narrow = plan();
    (narrow.fingerprint, narrow.entities[1].features[0].name) = ("f0".into(), "before".into());
    let mut wide = plan();
    wide.entities[1].features.push(feature("more", ValueType::Double));
    for (version, plan) in [(1, &narrow), (2, &wide)] {
        let mut writer = OfflineWriter::open(&settings, plan, version, &[0]).await.unwrap();
        let mut epoch = epoch(1, 0, 0..10, 0..0);
        if version == 2 {
            let rows = &mut epoch.rows.iter_mut().find(|rows| rows.entity == 1).unwrap().rows;
            let mut columns: Vec<(String, ArrayRef, bool)> = rows
                .schema()
                .fields()
                .iter()
                .zip(rows.columns())
                .enumerate()
                .map(|(index, (field, column))| (field.name().clone(), column.clone(), index >= 6))
                .collect();
            let values: ArrayRef = Arc::new(Float64Array::from(vec![1.5; rows.num_rows()]));
            columns.push(("more".into(), values, true));
            *rows = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
        }
        writer.append(&epoch).unwrap();
        writer.commit().await.unwrap();
    }
    let python = std::env::var("KAPPA_PYTHON").expect("KAPPA_PYTHON names a Python with duckdb");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/read_delta.py");
    let tables = [1, 2].map(|version| format!("{}/shop/order/v{version}", settings.url));
    let output = Command::new(python).args([script, "duckdb", &tables[0], "--union", &tables[1]]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut lines = lines;
    lines.sort_by_key(|row| row["version"].as_i64());
    let seen: Vec<_> =
        lines.iter().map(|row| (row["version"].clone(), row["before"].is_null(), row["more"].clone())).collect();
    let expected = |version: i64| (json!(version), version == 2, if version == 2 { json!(1.5) } else { Value::Null });
    assert_eq!(seen, [expected(1), expected(1), expected(2), expected(2)], "{lines:?}");
}
