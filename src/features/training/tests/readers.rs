//! The statements for other engines, run by them, beside what the join gives.
//!
//! DuckDB's runs where KAPPA_PYTHON names a Python with duckdb and its delta extension, which the end-to-end tests set;
//! Spark's (`spark`) where KAPPA_SPARK_PYTHON names one with pyspark.

use std::path::Path;
use std::process::Command;

use super::*;

/// What a script of the tests answers.
pub fn script(python: &str, name: &str, arguments: &[&Path]) -> String {
    let python = std::env::var(python).unwrap_or_else(|_| panic!("{python} names a Python with what {name} needs"));
    let script = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support")).join(name);
    let mut command = Command::new(python);
    let output = command.arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn peers(arguments: &[&Path]) -> serde_json::Value {
    serde_json::from_str(&script("KAPPA_PYTHON", "training_peers.py", arguments)).unwrap()
}

/// The features that every engine can compute.
pub const PLAIN: [&str; 7] =
    ["user:views", "user:warm", "user:mean", "user:label", "user:seen", "user:twice", "pair:views"];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAPPA_PYTHON"]
async fn duckdb_runs_the_printed_join_and_gets_the_same_rows() {
    let mut world = World::new(21);
    world.live(400, 5).await;
    let labels = world.labels(2_000);
    let file = world.write("labels.parquet", &labels);
    for (strict, lookback, by_event_time) in [
        (false, None, false),
        (true, None, false),
        (false, None, true),
        (true, Some(86_400_000), false),
        (false, Some(60_000), true),
    ] {
        let rule = Rule { strict, lookback, by_event_time };
        let asked = Question { rule, full_names: true, positions: true, ..question(&PLAIN) };
        let job = world.job(&file, asked);
        world.train(&job).await.unwrap();
        let sql = statement(&job, &world.settings, Dialect::DuckDb).await.unwrap();
        let (statement, file) = (world.path("join.sql"), world.path("train.parquet"));
        std::fs::write(&statement, &sql).unwrap();
        let found = peers(&[Path::new("compare"), &statement, &file]);
        assert_eq!((&found["rows"], &found["different"]), (&2_000.into(), &0.into()), "{rule:?}: {found}\n{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_only_kappa_computes_has_no_sql() {
    let mut world = World::new(22);
    world.live(60, 1).await;
    let labels = world.labels(20);
    let file = world.write("labels.parquet", &labels);
    for feature in ["user:age", "user:is_hot", "user:warm_by"] {
        let job = world.job(&file, question(&[feature]));
        let error = statement(&job, &world.settings, Dialect::Spark).await.unwrap_err();
        assert!(error.to_string().contains(&format!("{feature} is computed by Kappa")), "{error}");
    }
}
