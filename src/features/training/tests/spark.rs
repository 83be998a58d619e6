//! The statement for Spark, run by Spark (`make spark-sql`), beside what the join gives.

use std::path::Path;

use super::readers::{PLAIN, peers, script};
use super::*;

/// Spark takes its time to start: one rule with all there is to it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs KAPPA_SPARK_PYTHON and KAPPA_PYTHON"]
async fn spark_runs_the_printed_join_and_gets_the_same_rows() {
    let mut world = World::new(23);
    world.live(400, 5).await;
    let labels = world.labels(2_000);
    let file = world.write("labels.parquet", &labels);
    let rule = Rule { strict: true, lookback: Some(86_400_000), by_event_time: false };
    let asked = Question { rule, full_names: true, positions: true, ..question(&PLAIN) };
    let job = world.job(&file, asked);
    world.train(&job).await.unwrap();
    let sql = statement(&job, &world.settings, Dialect::Spark).await.unwrap();
    let (statement, folder) = (world.path("join.sql"), world.path("spark"));
    std::fs::write(&statement, &sql).unwrap();
    script("KAPPA_SPARK_PYTHON", "spark_sql.py", &[&statement, &folder]);
    let found = peers(&[Path::new("same"), &folder, &world.path("train.parquet")]);
    assert_eq!((&found["rows"], &found["different"]), (&2_000.into(), &0.into()), "{found}\n{sql}");
}
