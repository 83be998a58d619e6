//! Where labels come from, and what is wrong with them.

use super::*;
use crate::error::ErrorKind;

/// The column `views` of a training set.
async fn views(world: &World, labels: &str, question: Question) -> Vec<Option<i64>> {
    world.train(&world.job(labels, question)).await.unwrap_or_else(|error| panic!("{error}"));
    let rows = read(&world.path("train.parquet"), &world.settings).await;
    (0..rows.num_rows()).map(|row| int(&rows, "views", row)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_csv_file_and_a_parquet_file_are_the_same_labels() {
    let mut world = World::new(3);
    world.live(200, 2).await;
    let labels: Vec<Label> = world.labels(300).into_iter().filter(|label| label.id.is_some()).collect();
    let parquet = world.write("labels.parquet", &labels);
    let expected = views(&world, &parquet, question(&["user:views"])).await;
    let mut text = "when,who,007,note\n".to_string();
    for label in &labels {
        let at = jiff::Timestamp::from_microsecond(label.at).unwrap();
        text += &format!("{at},{},007,\n", label.id.as_deref().unwrap());
    }
    let csv = world.path("labels.csv");
    std::fs::write(&csv, text).unwrap();
    let keys = [("id".to_string(), "who".to_string())].into();
    let asked = Question { timestamp: "when".into(), keys, ..question(&["user:views"]) };
    assert_eq!(views(&world, &csv.display().to_string(), asked).await, expected);
    let rows = read(&world.path("train.parquet"), &world.settings).await;
    assert_eq!(rows["007"].as_primitive::<arrow::datatypes::Int64Type>().value(0), 7, "a number is a number");
    assert!(matches!(rows["when"].data_type(), arrow::datatypes::DataType::Timestamp(..)));
}

/// A history is itself a table with keys and times: at its own time each row gets itself, or the last of its moment.
#[tokio::test(flavor = "multi_thread")]
async fn a_delta_table_is_read_with_its_partition_column_at_one_version() {
    let mut world = World::new(4);
    world.live(200, 3).await;
    let table = format!("{}/reads/pair/v1", world.settings.url);
    let rule = Rule { by_event_time: true, ..Rule::default() };
    let asked = Question { timestamp: "event_time".into(), rule, full_names: true, ..question(&["pair:views"]) };
    let report = world.train(&world.job(&table, asked)).await.unwrap();
    let rows = read(&world.path("train.parquet"), &world.settings).await;
    let pairs = world.past.values().flatten().filter(|row| row.entity == 1).count();
    assert_eq!((rows.num_rows(), report.entities[0].found), (pairs, pairs as u64));
    assert_eq!(report.manifest.labels.format, crate::lake::Format::Delta);
    assert!(rows["event_date"].is_valid(0), "the partition column is not in the files");
    for row in 0..pairs {
        assert!(int(&rows, "pair__views", row) >= int(&rows, "ordinal", row));
    }
    let before = report.manifest.out.sha256.clone();
    world.live(60, 2).await;
    let again = Job { rebuild: Some(report.manifest), ..world.job(&table, question(&[])) };
    let again = Job { question: again.rebuild.clone().unwrap().question, ..again };
    assert_eq!(world.train(&again).await.unwrap().manifest.out.sha256, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_named() {
    let mut world = World::new(5);
    world.live(60, 1).await;
    let labels = world.labels(20);
    let file = world.write("labels.parquet", &labels);
    let keyed = |field: &str, column: &str| Question {
        keys: [(field.to_string(), column.to_string())].into(),
        ..question(&["user:views"])
    };
    let timed = |column: &str| Question { timestamp: column.into(), ..question(&["user:views"]) };
    let twice = [("user", "user:views"), ("user:views", "user:views")];
    for (wrong, says) in [
        (question(&["users"]), "has no entity `users`"),
        (question(&["views"]), "write user:views"),
        (question(&["user:view"]), "did you mean `views`?"),
        (question(&[twice[0].0, twice[0].1]), "user:views is asked for twice"),
        (question(&[twice[1].0, twice[1].1]), "user:views is asked for twice"),
        (question(&["user:views", "pair:views"]), "two columns would be named `views`"),
        (question(&[]), "--features names nothing"),
        (timed("at"), "no column `at` with their time"),
        (timed("amount"), "`amount` is Float64"),
        (keyed("id", "who"), "no column `who` for the key field `id`"),
        (keyed("id", "n"), "`n` is Int64, but the key field `id` is a string"),
        (keyed("who", "id"), "no entity in --features has the key field `who`"),
    ] {
        let error = world.train(&world.job(&file, wrong)).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains(says)), (ErrorKind::Configuration, true), "{error}");
    }
    std::fs::write(world.path("text.parquet"), "no such thing").unwrap();
    for (place, says) in [
        (world.path("nothing.parquet"), "No such file"),
        (world.path("text.parquet"), "it is no Parquet file"),
        (world.dir.path().to_path_buf(), "a directory without a Delta table"),
    ] {
        let place = place.display().to_string();
        let error = world.train(&world.job(&place, question(&["user"]))).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().contains(says)), (ErrorKind::Configuration, true), "{error}");
    }
    let error = world.train(&Job { version: 2, ..world.job(&file, question(&["user"])) }).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("in version 2"), "{error}");
    let left: Vec<_> = std::fs::read_dir(world.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("train")), "{left:?}");
}
