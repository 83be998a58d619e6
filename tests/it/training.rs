//! `kappa training-data` on the history of a real run: held against the oracle's rows, rebuilt from its manifest after
//! the run went on and after the files were rewritten; and docs/training.md as it stands.

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use datafusion::sql::sqlparser::dialect::BigQueryDialect;
use datafusion::sql::sqlparser::parser::Parser;
use kappa::config::Settings;
use kappa::lake::{LabelColumns, Labels, Place as LakePlace, TrainingFile};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::support::generate::SHOP;
use crate::support::kafka;
use crate::support::log::Log;
use crate::support::oracle::{FeatureRow, Value};
use crate::support::page;
use crate::support::verify::{Case, Place};

const PAGE: &str = include_str!("../../docs/training.md");

/// Labels: who, of which item, and when, in microseconds.
type Label = (String, Option<String>, i64);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

/// Runs a command; its output, after a look at its exit code.
fn kappa(place: &Place<'_>, arguments: &[&str], code: i32) -> Output {
    let output = place.kappa(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Labels about rows of the oracle: at their times, beside them, of strangers.
fn labels(case: &Case, count: usize, seed: u64) -> Vec<Label> {
    let rows: Vec<&FeatureRow> = case.expected.iter().flat_map(|run| &run.rows).collect();
    let mut random = SmallRng::seed_from_u64(seed);
    let label = |_| {
        let row = rows[random.random_range(0..rows.len())];
        let near = [0, 0, 1, -1, 500_000, -60_000_000, 3_600_000_000][random.random_range(0..7)];
        let at = if random.random_bool(0.5) { row.event_time } else { row.known_at } * 1000 + near;
        let (user, item) = match serde_json::from_str::<[String; 2]>(&row.key) {
            Ok([user, item]) => (user, Some(item)),
            Err(_) => (row.key.to_string(), None),
        };
        (if random.random_bool(0.02) { "nobody".into() } else { user }, item, at)
    };
    (0..count).map(label).collect()
}

fn write(path: &str, labels: &[Label]) {
    let at = TimestampMicrosecondArray::from_iter_values(labels.iter().map(|label| label.2)).with_timezone("UTC");
    let columns: [(&str, ArrayRef); 4] = [
        ("user_id", Arc::new(StringArray::from_iter_values(labels.iter().map(|label| &label.0)))),
        ("item_id", Arc::new(StringArray::from_iter(labels.iter().map(|label| label.1.clone())))),
        ("event_timestamp", Arc::new(at)),
        ("number", Arc::new(Int64Array::from_iter_values(0..labels.len() as i64))),
    ];
    let batch = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true))).unwrap();
    let mut file = TrainingFile::create(Path::new(path), &batch.schema()).unwrap();
    file.write(&batch).unwrap();
    file.finish().unwrap();
    file.publish().unwrap();
}

fn read(path: &str) -> RecordBatch {
    let settings = Settings::load(None, &[]).unwrap().offline;
    runtime().block_on(async {
        let place = LakePlace::of_labels(path, &settings);
        let mut file = Labels::open(path, place, &LabelColumns::default(), None).await.unwrap();
        let mut batches = Vec::new();
        while let Some(batch) = file.next().await.unwrap() {
            batches.push(batch);
        }
        concat_batches(file.schema(), &batches).unwrap()
    })
}

/// The last row of an entity in the order of its partition that was known at this time.
fn answer<'a>(case: &'a Case, entity: usize, key: &str, at: i64) -> Option<&'a FeatureRow> {
    let known = |row: &&FeatureRow| row.event_time * 1000 <= at && row.known_at * 1000 <= at;
    let of_key = |row: &&FeatureRow| row.entity == entity && &*row.key == key;
    case.expected.iter().find_map(|run| run.rows.iter().rev().filter(of_key).find(known))
}

fn assert_rows(case: &Case, labels: &[Label], rows: &RecordBatch) {
    assert_eq!(rows.num_rows(), labels.len());
    let int = |column: &str, row: usize| {
        let column = rows[column].as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let time = |column: &str, row: usize| {
        let column = rows[column].as_primitive::<TimestampMicrosecondType>();
        column.is_valid(row).then(|| column.value(row) / 1000)
    };
    let names = ["user", "user_item"].map(|name| case.topology.entities.iter().position(|of| of.name == name).unwrap());
    let mut found = 0;
    for (row, (user, item, at)) in labels.iter().enumerate() {
        let pair = item.as_ref().map(|item| serde_json::to_string(&[user, item]).unwrap());
        let expected = [Some(user.clone()), pair].map(|key| key.map(|key| key.to_string()));
        let expected: Vec<Option<&FeatureRow>> =
            names.iter().zip(&expected).map(|(entity, key)| answer(case, *entity, key.as_deref()?, *at)).collect();
        assert_eq!(int("number", row), Some(row as i64), "every label once, in its order");
        for (entity, expected) in ["user", "user_item"].iter().zip(&expected) {
            let position = (
                time(&format!("{entity}__event_time"), row),
                time(&format!("{entity}__known_at"), row),
                int(&format!("{entity}__offset"), row),
            );
            let of_oracle = expected.map(|row| (row.event_time, row.known_at, row.offset));
            assert_eq!(
                position,
                (of_oracle.map(|o| o.0), of_oracle.map(|o| o.1), of_oracle.map(|o| o.2)),
                "{row} {entity}"
            );
            found += u64::from(expected.is_some());
        }
        let value = |feature: &str| {
            let index = case.topology.entities[names[0]].features.iter().position(|of| of.name == feature).unwrap();
            expected[0].map(|row| row.values[index].clone())
        };
        let views =
            value("views_24h").map(|value| if let Value::Int(views) = value { views } else { panic!("{value}") });
        assert_eq!(int("views_24h", row), views, "label {row}");
        let clicked = value("last_click_at").and_then(|value| if let Value::Ts(at) = value { Some(at) } else { None });
        assert_eq!(time("last_click_at", row), clicked, "label {row}");
        let since = clicked.map(|clicked| at.div_euclid(1000) - clicked);
        assert_eq!(int("time_since_last_click", row), since, "label {row}");
    }
    assert!(found > labels.len() as u64 / 2, "{found}");
}

/// Rewrites the files of a table into few.
fn compact(url: &str) {
    runtime().block_on(async {
        let url = deltalake::ensure_table_uri(url).unwrap();
        let table = deltalake::open_table(url).await.unwrap();
        let (_, metrics) = table.optimize().await.unwrap();
        assert!(metrics.num_files_removed > metrics.num_files_added, "{metrics:?}");
    });
}

#[test]
fn a_real_history_gives_every_label_what_was_known_and_its_manifest_gives_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(kafka::shared(), 6_000, 3);
    log.write_part(kafka::shared(), 0..60);
    let case = log.case(SHOP.yaml, dir.path());
    let place = Place::new(kafka::shared());
    place.run(&case, &[]);
    let asked = labels(&case, 3_000, 5);
    let (file, out) = (place.path("labels.parquet"), place.path("train.parquet"));
    write(&file, &asked);
    let topology = case.topology_file.display().to_string();
    let arguments = [
        "training-data",
        "--topology",
        &topology,
        "--labels",
        &file,
        "--out",
        &out,
        "--positions",
        "--features",
        "user:views_24h,user:last_click_at,user:time_since_last_click,user_item",
    ];
    kappa(&place, &arguments, 0);
    let first = std::fs::read(&out).unwrap();
    let manifest = place.path("first.json");
    std::fs::copy(format!("{out}.manifest.json"), &manifest).unwrap();
    let refused = kappa(&place, &[&arguments[..], &["--complete-only"]].concat(), 3);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("later than their partition's watermark"));
    assert_eq!(std::fs::read(&out).unwrap(), first, "a refusal leaves what stood there");

    log.write_part(kafka::shared(), 60..100);
    place.run(&case, &["--set", "offline.commit_interval=50ms"]);
    kappa(&place, &arguments, 0);
    assert_rows(&case, &asked, &read(&out));
    let whole = std::fs::read(&out).unwrap();
    assert_ne!(whole, first);
    for entity in ["user", "user_item"] {
        compact(&place.history_url(&case, entity, 1));
    }
    kappa(&place, &arguments, 0);
    assert_eq!(std::fs::read(&out).unwrap(), whole, "the same rows in other files");

    // From before the run went on, and before the files were rewritten.
    kappa(&place, &["training-data", "--from-manifest", &manifest], 0);
    assert_eq!(std::fs::read(&out).unwrap(), first);
    let kept = std::fs::read_to_string(&manifest).unwrap();
    let mut forged: serde_json::Value = serde_json::from_str(&kept).unwrap();
    forged["out"]["sha256"] = "0000".into();
    std::fs::write(&manifest, forged.to_string()).unwrap();
    let refused = kappa(&place, &["training-data", "--from-manifest", &manifest], 3);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("the rebuilt file is another one"));
    assert_eq!(std::fs::read_to_string(format!("{out}.manifest.json")).unwrap(), kept);
    bigquery(&place, &arguments);
    page(&place, &case, &asked);
}

/// Every command of docs/training.md, in a folder with what it names.
fn page(place: &Place<'_>, case: &Case, asked: &[Label]) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("topologies")).unwrap();
    std::fs::copy(&case.topology_file, folder.path().join("topologies/shop.yaml")).unwrap();
    write(&folder.path().join("labels.parquet").display().to_string(), asked);
    let orders =
        asked.iter().map(|(user, _, at)| format!("{user},{}\n", jiff::Timestamp::from_microsecond(*at).unwrap()));
    std::fs::write(folder.path().join("orders.csv"), format!("customer,ordered_at\n{}", orders.collect::<String>()))
        .unwrap();
    let mut ran = 0;
    for command in page::blocks_of(PAGE, "sh") {
        let arguments: Vec<&str> = command.split_whitespace().collect();
        assert_eq!(arguments[0], "kappa", "{command}");
        let output = place.kappa(&arguments[1..]).current_dir(folder.path()).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        ran += 1;
    }
    assert_eq!(ran, 5);
    for file in ["train.parquet", "orders.parquet", "both.parquet"] {
        let rows = read(&folder.path().join(file).display().to_string());
        assert_eq!(rows.num_rows(), asked.len(), "{file}");
    }
}

/// No BigQuery runs here: its statement is only parsed, in its own dialect.
fn bigquery(place: &Place<'_>, arguments: &[&str]) {
    let printed = kappa(
        place,
        &[
            "training-data",
            "--print-sql",
            "bigquery",
            "--strict",
            "--lookback",
            "7d",
            "--positions",
            arguments[1],
            arguments[2],
            arguments[3],
            arguments[4],
            "--features",
            "user:views_24h,user:lifetime_value,user_item",
        ],
        0,
    );
    let sql = String::from_utf8(printed.stdout).unwrap();
    let statements = Parser::parse_sql(&BigQueryDialect {}, &sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    assert_eq!(statements.len(), 1, "{sql}");
}
