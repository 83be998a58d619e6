//! Each row once, whatever is repeated, interrupted or raced.

use super::*;
use crate::error::ErrorKind;

#[tokio::test(flavor = "multi_thread")]
async fn epochs_appended_twice_are_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    for _ in 0..2 {
        writer.append(&epoch(1, 0, 0..40, 0..3)).unwrap();
        writer.append(&epoch(1, 1, 0..25, 0..0)).unwrap();
        writer.append(&epoch(2, 0, 40..60, 3..5)).unwrap();
    }
    let summary = writer.commit().await.unwrap();
    assert_eq!((summary.rows, summary.tasks[&0].epoch), (48 + 20 + 5, 2));
    assert_eq!(writer.pending_rows(), 0);
    writer.append(&epoch(2, 0, 40..60, 3..5)).unwrap();
    assert_eq!(writer.commit().await.unwrap().rows, 0);
    assert_holds(&settings, &[(0, 60, 5), (1, 25, 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_reads_on_from_what_is_committed_and_skips_what_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    writer.append(&epoch(1, 0, 0..40, 0..3)).unwrap();
    writer.commit().await.unwrap();
    writer.append(&epoch(2, 0, 40..60, 3..4)).unwrap();
    drop(writer);

    let mut writer = open(&settings, &[0, 1]).await;
    let committed = writer.committed();
    assert_eq!(committed[&0], Committed { next_ordinal: 40, next_dead_letter: 3, next_offset: Some(1043) });
    assert_eq!(committed[&1], Committed { next_ordinal: 0, next_dead_letter: 0, next_offset: Some(0) });
    // From an older snapshot, with other epoch borders.
    writer.append(&epoch(1, 0, 0..17, 0..1)).unwrap();
    writer.append(&epoch(2, 0, 17..50, 1..4)).unwrap();
    writer.append(&epoch(3, 0, 50..60, 4..4)).unwrap();
    writer.commit().await.unwrap();
    assert_holds(&settings, &[(0, 60, 4), (1, 0, 0)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_was_overtaken_drops_just_the_rows_that_are_there() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut slow = open(&settings, &[0, 1]).await;
    let mut fast = open(&settings, &[0]).await;
    // The slow one's files hold rows below, across and above what the fast one commits.
    slow.append(&epoch(1, 0, 0..30, 0..2)).unwrap();
    slow.append(&epoch(1, 1, 0..10, 0..1)).unwrap();
    slow.append(&epoch(2, 0, 30..400, 2..6)).unwrap();
    fast.append(&epoch(1, 0, 0..30, 0..2)).unwrap();
    fast.append(&epoch(2, 0, 30..203, 2..4)).unwrap();
    fast.commit().await.unwrap();
    slow.commit().await.unwrap();
    assert_holds(&settings, &[(0, 400, 6), (1, 10, 1)]).await;
    fast.append(&epoch(3, 0, 203..400, 4..6)).unwrap();
    assert_eq!(fast.commit().await.unwrap().rows, 0);
    assert_holds(&settings, &[(0, 400, 6), (1, 10, 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_writers_at_once_write_each_row_once() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let writer = |step: i64| {
        let settings = settings.clone();
        tokio::spawn(async move {
            let mut writer = open(&settings, &[0, 3]).await;
            let mut from = 0;
            while from < 120 {
                let to = (from + step).min(120);
                for partition in [0, 3] {
                    writer.append(&epoch(1, partition, from..to, from / 10..to / 10)).unwrap();
                }
                while writer.commit().await.is_err() {}
                from = to;
            }
        })
    };
    for done in [writer(17), writer(31), writer(40)] {
        done.await.unwrap();
    }
    assert_holds(&settings, &[(0, 120, 12), (3, 120, 12)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn writers_of_different_tasks_share_a_table() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let (mut one, mut two) = (open(&settings, &[0]).await, open(&settings, &[1]).await);
    one.append(&epoch(1, 0, 0..20, 0..1)).unwrap();
    two.append(&epoch(1, 1, 0..30, 0..2)).unwrap();
    let (first, second) = tokio::join!(one.commit(), two.commit());
    first.unwrap();
    second.unwrap();
    assert_holds(&settings, &[(0, 20, 1), (1, 30, 2)]).await;
    let progress = read_progress(&settings, &plan(), 1, "user").await.unwrap();
    assert_eq!(progress.partitions.keys().copied().collect::<Vec<_>>(), [0, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_epoch_that_leaves_a_hole_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0]).await;
    writer.append(&epoch(1, 0, 0..10, 0..2)).unwrap();
    for hole in [epoch(3, 0, 12..20, 2..2), epoch(3, 0, 10..20, 3..4), epoch(3, 0, 15..15, 2..2)] {
        let error = writer.append(&hole).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(error.to_string().contains("--replay-from"), "{error}");
    }
    writer.append(&epoch(2, 0, 10..20, 2..4)).unwrap();
    writer.commit().await.unwrap();
    assert_holds(&settings, &[(0, 20, 4)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_without_rows_is_recorded_and_an_idle_commit_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    writer.append(&epoch(1, 0, 0..10, 0..0)).unwrap();
    writer.commit().await.unwrap();
    let mut quiet = epoch(2, 0, 10..10, 0..0);
    (quiet.next_offset, quiet.watermark) = (5000, Some(START + 9_999_999));
    writer.append(&quiet).unwrap();
    let before = read::table_versions(&settings, &plan(), 1).await.unwrap();
    assert_eq!(writer.commit().await.unwrap().files, 0);
    let after = read::table_versions(&settings, &plan(), 1).await.unwrap();
    assert_eq!((after["user"], after[DEAD_LETTERS]), (before["user"] + 1, before[DEAD_LETTERS]));
    let progress = read_progress(&settings, &plan(), 1, "user").await.unwrap().partitions;
    assert_eq!((progress[&0].next_offset, progress[&0].watermark), (5000, Some(START + 9_999_999)));
    assert_eq!((progress[&0].next_ordinal, progress[&0].epoch), (10, 2));
    assert_eq!(progress[&1], TaskProgress::default());
    writer.commit().await.unwrap();
    assert_eq!(read::table_versions(&settings, &plan(), 1).await.unwrap(), after);
    assert_eq!(open(&settings, &[0]).await.committed()[&0].next_offset, Some(5000));
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_come_every_hundred_commits_and_the_table_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0]).await;
    for number in 0..105 {
        writer.append(&epoch(number as u64 + 1, 0, number * 5..number * 5 + 5, 0..0)).unwrap();
        writer.commit().await.unwrap();
    }
    writer.settle().await;
    let log = directory.path().join("offline/shop/user/v1/_delta_log");
    let names = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<_> = names.collect();
    assert!(names.contains(&"_last_checkpoint".to_string()), "{names:?}");
    drop(writer);
    let mut writer = open(&settings, &[0]).await;
    assert_eq!(writer.committed()[&0].next_ordinal, 525);
    writer.append(&epoch(104, 0, 515..530, 0..0)).unwrap();
    writer.commit().await.unwrap();
    assert_holds(&settings, &[(0, 530, 0)]).await;
}
