//! What is written comes back: every part of a record, once, from any offset, whatever is repeated or raced.

use kappa::config::ArchiveSettings;
use kappa::decode::OwnedBatch;
use kappa::error::ErrorKind;
use kappa::sink::archive::ArchiveWriter;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::{Got, open, read, runtime, settings};

const TOPIC: &str = "shop.events";

/// The record at an offset: every kind of key, value, header and time comes by turns.
fn made(offset: i64) -> Got {
    let text = |what: &str| format!("{what} {offset}").into_bytes();
    let headers = match offset % 5 {
        0 => vec![("h".to_string(), Some(text("first"))), ("other".to_string(), None), ("h".to_string(), Some(vec![]))],
        1 => vec![("h\u{e9}".to_string(), Some(vec![0, 255]))],
        _ => vec![],
    };
    Got {
        offset,
        time: match offset % 7 {
            0 => None,
            1 => Some(i64::MAX),
            2 => Some(0),
            _ => Some(1_700_000_000_000 + offset),
        },
        key: (offset % 3 != 0).then(|| if offset % 4 == 0 { vec![] } else { text("key") }),
        value: (offset % 11 != 0).then(|| if offset % 13 == 0 { vec![] } else { text("value").repeat(20) }),
        headers,
    }
}

fn batch(offsets: impl IntoIterator<Item = i64>) -> OwnedBatch {
    let mut batch = OwnedBatch::new();
    for Got { offset, time, key, value, headers } in offsets.into_iter().map(made) {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        batch.push(offset, time, key.as_deref(), value.as_deref(), &headers);
    }
    batch
}

/// No record is at these: a gap.
fn is_gap(offset: i64) -> bool {
    offset % 100 == 99
}

fn log(from: i64, next: i64) -> Vec<i64> {
    (from..next).filter(|offset| !is_gap(*offset)).collect()
}

async fn writer(settings: &ArchiveSettings, partitions: &[i32]) -> ArchiveWriter {
    ArchiveWriter::open(settings, TOPIC, Some("id-1"), partitions).await.unwrap()
}

#[test]
fn every_part_of_a_record_comes_back_from_any_offset() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, runtime) = (settings(&dir.path().display().to_string()), runtime());
    // Partition 3 begins at 40, as the log did; it has several row groups, and three commits.
    runtime.block_on(async {
        let mut writer = writer(&settings, &[0, 3]).await;
        assert_eq!((writer.durable(0), writer.durable(3)), (None, None));
        writer.begin(0, 0);
        writer.begin(3, 40);
        writer.append(3, &batch(log(40, 70_000))).unwrap();
        assert_eq!(writer.commit().await.unwrap().records, log(40, 70_000).len() as u64);
        writer.append(0, &batch(0..5)).unwrap();
        writer.append(3, &batch(log(70_000, 70_500))).unwrap();
        // Nothing but markers follows.
        writer.skip_to(3, 70_510);
        writer.commit().await.unwrap();
        assert!(!writer.has_news());
        writer.skip_to(3, 70_600);
        assert!(writer.has_news());
        assert_eq!(writer.commit().await.unwrap().records, 0);
        assert_eq!((writer.durable(0), writer.durable(3)), (Some(5), Some(70_600)));
        writer.settle().await;
    });
    let kept = open(&runtime, &settings, TOPIC);
    assert_eq!((kept.covers(0), kept.covers(3), kept.covers(1)), (Some(0..5), Some(40..70_600), None));
    assert_eq!(kept.topic_id(), Some("id-1"));
    for from in [40, 41, 99, 35_000, 69_999, 70_000, 70_500, 70_599] {
        let (records, ends) = read(kept.clone(), &[(3, from), (0, 0)], &runtime);
        let wanted: Vec<Got> = log(from, 70_500).into_iter().map(made).collect();
        assert_eq!(records.get(&3).cloned().unwrap_or_default(), wanted, "from {from}");
        assert_eq!(records[&0], (0..5).map(made).collect::<Vec<_>>());
        assert_eq!((ends[&0], ends[&3]), (5, 70_600));
    }
}

#[test]
fn a_large_file_is_read_a_part_at_a_time_from_where_it_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, runtime) = (settings(&dir.path().display().to_string()), runtime());
    // What cannot be compressed: 24 MiB are three row groups at least.
    let rng = &mut SmallRng::seed_from_u64(1);
    let values: Vec<Vec<u8>> = (0..6_000).map(|_| (0..4096).map(|_| rng.random()).collect()).collect();
    runtime.block_on(async {
        let mut writer = writer(&settings, &[0]).await;
        for (offset, value) in values.iter().enumerate() {
            let mut batch = OwnedBatch::new();
            batch.push(offset as i64, None, None, Some(value), &[]);
            writer.append(0, &batch).unwrap();
        }
        writer.commit().await.unwrap();
    });
    let kept = open(&runtime, &settings, TOPIC);
    assert!(kept.segments()[&0].len() == 1 && kept.segments()[&0][0].bytes > 20 << 20, "{:?}", kept.segments());
    for from in [0, 1, 3_000, 5_999] {
        let (records, _) = read(kept.clone(), &[(0, from)], &runtime);
        let found = records[&0].iter().map(|got| (got.offset, got.value.as_deref().unwrap()));
        let wanted = values.iter().enumerate().map(|(offset, value)| (offset as i64, value.as_slice()));
        assert!(found.eq(wanted.skip(from as usize)), "from {from}");
    }
}

#[test]
fn a_writer_that_was_overtaken_and_one_that_begins_again_keep_each_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, runtime) = (settings(&dir.path().display().to_string()), runtime());
    runtime.block_on(async {
        let mut slow = writer(&settings, &[0, 1]).await;
        let mut fast = writer(&settings, &[0]).await;
        // The slow one's file holds records below, across and above what the fast one commits.
        slow.append(0, &batch(log(0, 400))).unwrap();
        slow.append(1, &batch(log(0, 10))).unwrap();
        fast.append(0, &batch(log(0, 203))).unwrap();
        fast.commit().await.unwrap();
        slow.commit().await.unwrap();
        assert_eq!(slow.commit().await.unwrap().records, 0);
        // The fast one is far behind now; what it brings is there.
        fast.append(0, &batch(log(203, 350))).unwrap();
        fast.commit().await.unwrap();
        fast.append(0, &batch(log(350, 500))).unwrap();
        fast.commit().await.unwrap();
        let mut again = writer(&settings, &[0, 1]).await;
        // 499 is a gap.
        assert_eq!((again.durable(0), again.durable(1)), (Some(499), Some(10)));
        again.append(0, &batch(log(480, 520))).unwrap();
        again.commit().await.unwrap();
    });
    let kept = open(&runtime, &settings, TOPIC);
    let (records, ends) = read(kept, &[(0, 0), (1, 0)], &runtime);
    let offsets = |partition| records[&partition].iter().map(|got| got.offset).collect::<Vec<_>>();
    assert_eq!((offsets(0), offsets(1)), (log(0, 520), log(0, 10)));
    assert_eq!((ends[&0], ends[&1]), (520, 10));
}

#[test]
fn a_reader_goes_on_with_what_was_kept_since_it_looked() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, runtime) = (settings(&dir.path().display().to_string()), runtime());
    let mut writer = runtime.block_on(writer(&settings, &[0]));
    writer.append(0, &batch(0..50)).unwrap();
    runtime.block_on(writer.commit()).unwrap();
    let kept = open(&runtime, &settings, TOPIC);
    writer.append(0, &batch(50..80)).unwrap();
    runtime.block_on(writer.commit()).unwrap();
    assert_eq!(kept.covers(0), Some(0..50));
    let (records, ends) = read(kept, &[(0, 10)], &runtime);
    assert_eq!(records[&0], (10..80).map(made).collect::<Vec<_>>());
    assert_eq!(ends[&0], 80);
}

#[test]
fn another_topic_of_the_same_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, runtime) = (settings(&dir.path().display().to_string()), runtime());
    drop(runtime.block_on(writer(&settings, &[0])));
    let open = |id| runtime.block_on(ArchiveWriter::open(&settings, TOPIC, id, &[0])).map(drop);
    // Brokers that tell no id are believed.
    assert!(open(Some("id-1")).is_ok() && open(None).is_ok());
    let error = open(Some("id-2")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Refused);
    assert!(error.to_string().contains("id-1") && error.to_string().contains("archive.url"), "{error}");
}

#[test]
fn a_file_that_is_gone_or_cut_short_ends_the_reading_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let (settings, runtime) = (settings(&dir.path().display().to_string()), runtime());
    let mut writer = runtime.block_on(writer(&settings, &[0]));
    writer.append(0, &batch(0..50)).unwrap();
    runtime.block_on(writer.commit()).unwrap();
    let kept = open(&runtime, &settings, TOPIC);
    let path = kept.segments()[&0][0].path.clone();
    let file = dir.path().join(TOPIC).join(&path);
    let whole = std::fs::read(&file).unwrap();
    for cut in [Some(whole.len() / 2), None] {
        match cut {
            Some(len) => std::fs::write(&file, &whole[..len]).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let mut reader =
            kappa::source::ArchiveReader::start(kept.clone(), &[(0, 0)], runtime.handle().clone()).unwrap();
        let error = reader.take(std::time::Duration::from_secs(60)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Stopped, "{error}");
        assert!(error.to_string().contains(&path), "{error}");
    }
}
