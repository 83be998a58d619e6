//! The file as a whole: rounds, manifests, refusals.

use super::*;
use crate::error::ErrorKind;

/// Labels of more than two batches.
fn many(world: &mut World) -> Vec<Label> {
    let some = world.labels(1_000);
    (0..70_000).map(|row| some[row % some.len()].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rounds_show_in_nothing_but_time() {
    let mut world = World::new(7);
    world.live(300, 3).await;
    let labels = many(&mut world);
    let file = world.write("labels.parquet", &labels);
    let asked = || Question { full_names: true, positions: true, ..question(&["user", "pair"]) };
    let whole = world.train(&world.job(&file, asked())).await.unwrap();
    let rounds = world.train(&Job { memory: 1, ..world.job(&file, asked()) }).await.unwrap();
    assert_eq!(whole.manifest, rounds.manifest);
    assert_eq!((whole.labels, whole.incomplete), (70_000, rounds.incomplete));
    let entities = |report: &Report| report.entities.iter().map(|of| (of.found, of.passed_over)).collect::<Vec<_>>();
    assert_eq!(entities(&whole), entities(&rounds));
    let rows = read(&world.path("train.parquet"), &world.settings).await;
    let first_and_again = [0, 1_000, 69_000].map(|row| int(&rows, "user__views", row));
    assert!(first_and_again.iter().all(|value| *value == first_and_again[0]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_makes_the_same_bytes_again_after_fifty_more_commits() {
    let mut world = World::new(8);
    world.live(300, 3).await;
    let labels = world.labels(500);
    let file = world.write("labels.parquet", &labels);
    let asked = Question { full_names: true, ..question(&["user", "pair:views"]) };
    let made = world.train(&world.job(&file, asked.clone())).await.unwrap();
    let kept = Manifest::read(&made.manifest_path).unwrap();
    assert_eq!(kept, made.manifest);
    assert_eq!(kept.tables.iter().map(|table| table.table_version).collect::<Vec<_>>(), [Some(3), Some(3)]);
    let offsets = |partition: &i32| world.past[partition].last().map(|row| row.offset);
    for partition in &kept.tables[0].partitions {
        assert_eq!(partition.max_offset, offsets(&partition.partition));
        assert_eq!(partition.watermark, world.watermarks.get(&partition.partition).copied());
    }
    world.live(300, 50).await;
    let again = Job { rebuild: Some(kept.clone()), plan: kept.plan().unwrap(), ..world.job(&file, asked.clone()) };
    let rebuilt = world.train(&again).await.unwrap();
    assert_eq!(rebuilt.manifest, kept);
    let now = world.train(&world.job(&file, asked)).await.unwrap();
    assert_ne!(now.manifest.out.sha256, kept.out.sha256, "what came since is seen without the manifest");

    std::fs::write(world.path("other.parquet"), std::fs::read(&file).unwrap()).unwrap();
    world.write("labels.parquet", &labels[1..]);
    let error = world.train(&again).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("have changed"), "{error}");
    let mut forged = kept;
    forged.out.sha256 = "00".into();
    let labels = world.path("other.parquet").display().to_string();
    let error = world.train(&Job { rebuild: Some(forged), labels, ..again }).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("is another one"), "{error}");
    assert_eq!(Manifest::read(&made.manifest_path).unwrap(), now.manifest, "what stood there stands there");
}

#[tokio::test(flavor = "multi_thread")]
async fn incomplete_labels_are_refused_where_none_may_be() {
    let mut world = World::new(9);
    world.live(100, 1).await;
    let lowest = *world.watermarks.values().min().unwrap();
    let label = |at: i64| Label { id: Some("nobody".into()), n: None, at };
    let asked = Question { complete_only: true, ..question(&["user"]) };
    let complete = world.write("labels.parquet", &[label(lowest * 1000 - 1)]);
    assert_eq!(world.train(&world.job(&complete, asked.clone())).await.unwrap().incomplete, 0);
    std::fs::remove_file(world.path("train.parquet")).unwrap();
    let open = world.write("labels.parquet", &[label(lowest * 1000 - 1), label(lowest * 1000)]);
    let error = world.train(&world.job(&open, asked)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("1 of 2 labels"), "{error}");
    assert!(!world.path("train.parquet").exists() && !world.path("train.parquet.partial").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_that_was_loaded_afterwards_is_told_with_the_flag_that_takes_it() {
    let mut world = World::new(10);
    world.live(300, 2).await;
    let labels = world.labels(500);
    let file = world.write("labels.parquet", &labels);
    let report = world.train(&world.job(&file, question(&["user:views"]))).await.unwrap();
    let views = |rule: Rule, label: &Label| {
        label.id.as_deref().and_then(|key| world.answer(0, key, label.at, rule)).map(|past| past.event_time)
    };
    let known = Rule::default();
    let happened = Rule { by_event_time: true, ..known };
    // Also what was known an hour after it happened, of which a later row of the same moment may be known already.
    let passed = labels.iter().filter(|label| views(known, label) < views(happened, label)).count() as u64;
    let of_user = &report.entities[0];
    assert!(of_user.passed_over > 0 && of_user.passed_over <= passed, "{} of {passed}", of_user.passed_over);
    let note = of_user.note(report.labels).unwrap();
    assert!(note.contains("--by-event-time") && note.contains("by up to 4d4h"), "{note}");
    let all = world.train(&world.job(&file, Question { rule: happened, ..question(&["user:views"]) })).await.unwrap();
    assert_eq!(all.entities[0].note(all.labels), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_label_and_a_label_of_nobody_are_files_too() {
    let mut world = World::new(11);
    world.live(60, 1).await;
    let none = world.write("labels.parquet", &[]);
    assert_eq!(world.train(&world.job(&none, question(&["user"]))).await.unwrap().labels, 0);
    let nobody = Label { id: None, n: None, at: START * 1000 };
    let one = world.write("labels.parquet", &[nobody]);
    let report = world.train(&world.job(&one, question(&["user", "pair:views"])).named()).await.unwrap();
    assert_eq!((report.labels, report.entities[0].found, report.incomplete), (1, 0, 0));
    let rows = read(&world.path("train.parquet"), &world.settings).await;
    use arrow::array::Array;
    assert!(rows.columns()[4..12].iter().all(|column| column.is_null(0)));
}

impl Job {
    fn named(mut self) -> Self {
        self.question.full_names = true;
        self
    }
}
