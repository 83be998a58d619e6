//! Compaction, vacuum, manifests and looking back, against a writer that goes on, faults, and each other.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::faults::{Fault, Faulty};
use super::*;
use crate::error::ErrorKind;
use crate::lake::TableAt;
use crate::sink::offline::compact::compact;
use crate::sink::offline::schema::TableSpec;

const NEVER: &(dyn Fn() -> bool + Sync) = &|| false;

fn all() -> CompactHow {
    CompactHow { all: true, dry_run: false, now: START }
}

/// Compacts every table, and vacuums with this retention.
pub async fn tidy_all(settings: &OfflineSettings, vacuum: Option<Span>) -> Vec<Tidied> {
    let what = Tidying { names: &[], compact: Some(all()), vacuum, dry_run: false };
    tidy(settings, &plan(), 1, what, NEVER).await.unwrap()
}

fn user() -> TableSpec {
    schema::history(&plan(), 0, 1).unwrap()
}

/// So many commits of 20 rows and two dead letters each, in two tasks by turns.
async fn commits(writer: &mut OfflineWriter, numbers: std::ops::Range<i64>) {
    for number in numbers {
        for partition in [0, 1] {
            let (rows, dead) = (number * 20..(number + 1) * 20, number * 2..(number + 1) * 2);
            writer.append(&epoch(number as u64 + 1, partition, rows, dead)).unwrap();
        }
        writer.commit().await.unwrap();
    }
}

async fn assert_has(settings: &OfflineSettings, number: i64) {
    assert_holds(settings, &[(0, number * 20, number * 2), (1, number * 20, number * 2)]).await;
}

/// The data files that lie in a table's folder.
fn on_disk(settings: &OfflineSettings, table: &str) -> BTreeSet<PathBuf> {
    let root = PathBuf::from(&settings.url).join(format!("shop/{table}/v1"));
    let dates = std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let dates = dates.filter(|path| path.file_name().unwrap().to_string_lossy().contains('='));
    dates.flat_map(|date| std::fs::read_dir(date).unwrap().map(|file| file.unwrap().path())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn compaction_leaves_one_file_a_date_with_the_same_rows_in_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    // 400 rows, one a minute, from two hours before midnight on: two dates.
    commits(&mut writer, 0..20).await;
    let row = "select * from \"user\" order by \"partition\", ordinal";
    let before = query(&settings, &plan(), 1, row).await.unwrap();
    let done = tidy_all(&settings, None).await;
    let users = done[0].compacted.unwrap();
    assert_eq!((done[0].name.as_str(), users.files, users.replaced, users.written), ("user", 20, 20, 2));
    assert_eq!(users.rows, 2 * 160);
    assert_eq!(
        done.iter().map(|table| table.name.as_str()).collect::<Vec<_>>(),
        ["user", "order", "pair", DEAD_LETTERS]
    );
    assert_has(&settings, 20).await;
    assert_eq!(query(&settings, &plan(), 1, row).await.unwrap(), before);
    // Nothing more to do, and the writer goes on where it was.
    assert_eq!(tidy_all(&settings, None).await[0].compacted.unwrap().replaced, 0);
    commits(&mut writer, 20..22).await;
    assert_has(&settings, 22).await;
    // A new writer knows what is durable, and how far the tasks had come.
    let reopened = open(&settings, &[0, 1]).await;
    assert_eq!(reopened.committed()[&1].next_ordinal, 440);
    assert_eq!(read_progress(&settings, &plan(), 1, "user").await.unwrap().partitions[&0].next_ordinal, 440);
    // Within a file every task's ordinals ascend, and the log has its true bounds.
    let table = Place::new(&settings).load(&user().path).await.unwrap().unwrap();
    for file in data::list(&table, &user()).unwrap() {
        let opened = data::OpenedFile::open(&table, &user(), &file).await.unwrap();
        assert_eq!(opened.rows() as u64, file.rows);
        let batches: Vec<_> = futures::TryStreamExt::try_collect(opened.read(None, None).unwrap()).await.unwrap();
        let mut last = BTreeMap::new();
        for batch in &batches {
            for run in rows::runs(batch) {
                let before = last.insert(run.partition, run.last);
                assert!(before.is_none_or(|before| before < run.first), "{}: {before:?} {run:?}", file.path);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_between_a_compaction_and_its_commit_is_kept_and_no_row_doubled() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    commits(&mut writer, 0..5).await;
    let store = Faulty::new();
    let place = Place::new(&settings).through(store.clone());
    let writes = async move {
        commits(&mut writer, 5..6).await;
        drop(writer);
    };
    store.faults.lock().unwrap().push(Fault::Before(Box::pin(writes)));
    let done = compact(&place, &user(), all(), NEVER).await.unwrap().unwrap();
    assert!(store.faults.lock().unwrap().is_empty());
    assert_eq!((done.replaced, done.written), (5, 1));
    assert_has(&settings, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_compactions_of_the_same_files_leave_every_row_once() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    commits(&mut writer, 0..12).await;
    let (store, other) = (Faulty::new(), settings.clone());
    let place = Place::new(&settings).through(store.clone());
    let overtakes = async move {
        assert_eq!(tidy_all(&other, None).await[0].compacted.unwrap().replaced, 12);
    };
    store.faults.lock().unwrap().push(Fault::Before(Box::pin(overtakes)));
    let done = compact(&place, &user(), all(), NEVER).await.unwrap().unwrap();
    assert!(store.faults.lock().unwrap().is_empty());
    assert_eq!(done.replaced, 0, "all of it was done by the other");
    assert_has(&settings, 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_dies_between_upload_and_commit_shows_nothing_and_a_vacuum_sweeps_it_up() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    commits(&mut writer, 0..5).await;
    let files = on_disk(&settings, "user");
    let store = Faulty::new();
    let place = Place::new(&settings).through(store.clone());
    for fault in [Fault::Upload, Fault::Commit] {
        store.faults.lock().unwrap().push(fault);
        let error = compact(&place, &user(), all(), NEVER).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_has(&settings, 5).await;
        let table = Place::new(&settings).load(&user().path).await.unwrap().unwrap();
        assert_eq!(data::list(&table, &user()).unwrap().len(), files.len());
    }
    let orphans: Vec<_> = on_disk(&settings, "user").difference(&files).cloned().collect();
    assert_eq!(orphans.len(), 1);
    // A week is not over: it may be on its way to a commit.
    let removed = |done: Vec<Tidied>| done[0].vacuumed.clone().unwrap().files.len();
    let sweep = |retention: i64, dry_run: bool| {
        let settings = settings.clone();
        async move {
            let what = Tidying { names: &[], compact: None, vacuum: Some(Span(retention)), dry_run };
            tidy(&settings, &plan(), 1, what, NEVER).await.unwrap()
        }
    };
    assert_eq!(removed(sweep(7 * 86_400_000, false).await), 0);
    assert_eq!((removed(sweep(0, true).await), on_disk(&settings, "user").len()), (1, files.len() + 1));
    assert_eq!(removed(sweep(0, false).await), 1);
    assert_eq!(on_disk(&settings, "user"), files);
    assert_has(&settings, 5).await;
    // An answer that was lost: the work is done all the same.
    store.faults.lock().unwrap().push(Fault::Answer);
    compact(&place, &user(), all(), NEVER).await.unwrap_err();
    assert_eq!(compact(&place, &user(), all(), NEVER).await.unwrap().unwrap().files, 1);
    assert_has(&settings, 5).await;
    commits(&mut writer, 5..6).await;
    assert_has(&settings, 6).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_is_stopped_keeps_what_is_finished() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    commits(&mut writer, 0..12).await;
    let done = compact(&Place::new(&settings), &user(), all(), &|| true).await.unwrap().unwrap();
    assert_eq!((done.stopped, done.replaced), (true, 0));
    let asked = std::sync::atomic::AtomicU32::new(0);
    // Each file of the first date is one batch: the second date is never finished.
    let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= 8;
    let done = compact(&Place::new(&settings), &user(), all(), &stop).await.unwrap().unwrap();
    assert_eq!((done.stopped, done.replaced, done.written), (true, 6, 1));
    assert_has(&settings, 12).await;
}

async fn users_at(settings: &OfflineSettings, at: TableAt) -> Result<usize> {
    let found = async |key: String| {
        let query = HistoryQuery { key, at: Some(at), ..HistoryQuery::default() };
        let batches = read_history(settings, &plan(), 1, "user", &query).await?;
        Ok::<_, Error>(batches.iter().map(RecordBatch::num_rows).sum::<usize>())
    };
    let mut rows = 0;
    for user in 0..10 {
        rows += found(format!("u{user}")).await?;
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifests_version_reads_the_same_after_50_commits_a_compaction_and_a_vacuum() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    commits(&mut writer, 0..3).await;
    let text = r#"{"tables": [{"path": "shop/user/v1", "table_version": 3}, {"path": "shop/later/v1", "table_version": null}]}"#;
    let manifest = Manifest::read(&settings, "train.manifest.json", text).unwrap();
    register(&settings, &manifest, 1).await.unwrap();
    register(&settings, &manifest, 2).await.unwrap();
    let early = users_at(&settings, TableAt::Version(2)).await.unwrap();
    let kept = users_at(&settings, TableAt::Version(3)).await.unwrap();
    assert_eq!((early, kept), (2 * 16, 3 * 16), "rows of users in 2 and 3 commits");
    commits(&mut writer, 3..53).await;
    let done = tidy_all(&settings, Some(Span(0))).await;
    assert!(
        done[0].vacuumed.as_ref().unwrap().kept_versions == 1 && done[1].vacuumed.as_ref().unwrap().kept_versions == 0
    );
    assert_eq!(users_at(&settings, TableAt::Version(3)).await.unwrap(), kept);
    assert_has(&settings, 53).await;
    // Its files are kept, those of states before and after it are not.
    assert!(users_at(&settings, TableAt::Version(20)).await.is_err());
    let listed = registered(&settings, &plan(), 1).await.unwrap();
    assert_eq!((listed["shop/user/v1"].len(), listed["shop/order/v1"].len()), (1, 0));
    assert_eq!(listed["shop/user/v1"][0].manifest, manifest.name);
    let paths = ["shop/user/v1", "shop/order/v1", "shop/nothing/v1"];
    assert_eq!(forget(&settings, &manifest.name, paths).await.unwrap(), 1);
    assert_eq!(forget(&settings, &manifest.name, paths).await.unwrap(), 0);
    let removed = tidy_all(&settings, Some(Span(0))).await[0].vacuumed.clone().unwrap();
    assert_eq!((removed.files.len(), removed.kept_versions), (3, 0));
    assert!(users_at(&settings, TableAt::Version(3)).await.is_err());
    assert_has(&settings, 53).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_manifest_or_names_what_is_not_there_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    commits(&mut writer, 0..2).await;
    let wrong = Manifest::read(&settings, "a.json", "{}").unwrap_err();
    assert!(wrong.kind() == ErrorKind::Configuration && wrong.to_string().contains("a.json"), "{wrong}");
    let of = |path: &str, version: u64| {
        let text = format!(r#"{{"tables": [{{"path": "{path}", "table_version": {version}}}], "more": 1}}"#);
        Manifest::read(&settings, "odd name.json", &text).unwrap()
    };
    let refused = register(&settings, &of("shop/nothing/v1", 0), 1).await.unwrap_err();
    assert!(refused.to_string().contains("shop/nothing/v1"), "{refused}");
    let refused = register(&settings, &of("shop/user/v1", 3), 1).await.unwrap_err();
    assert!(refused.to_string().contains("its newest is 2"), "{refused}");
    // By its url too.
    let absolute = of(&format!("{}/shop/user/v1", settings.url), 2);
    assert!(absolute.tables.contains_key("shop/user/v1") && absolute.name.starts_with("odd_name.json-"));
    register(&settings, &absolute, 1).await.unwrap();
    // What cannot be read keeps everything.
    let file =
        PathBuf::from(&settings.url).join("shop/user/v1/_kappa/manifests").join(format!("{}.json", absolute.name));
    std::fs::write(file, "{").unwrap();
    let what = Tidying { names: &[], compact: None, vacuum: Some(Span(0)), dry_run: false };
    assert_eq!(tidy(&settings, &plan(), 1, what, NEVER).await.unwrap_err().kind(), ErrorKind::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_read_as_it_was_at_a_version_and_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let began = std::time::SystemTime::now();
    let mut writer = open(&settings, &[0, 1]).await;
    let mut at = Vec::new();
    for number in 0..3 {
        commits(&mut writer, number..number + 1).await;
        let log = PathBuf::from(&settings.url).join(format!("shop/user/v1/_delta_log/{:020}.json", number + 1));
        at.push(std::fs::metadata(log).unwrap().modified().unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let millis = |time: std::time::SystemTime| time.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    for (version, time) in at.iter().enumerate() {
        let by_version = users_at(&settings, TableAt::Version(version as u64 + 1)).await.unwrap();
        assert_eq!(by_version, (version + 1) * 16);
        assert_eq!(users_at(&settings, TableAt::Time(millis(*time) + 1)).await.unwrap(), by_version);
    }
    let error = users_at(&settings, TableAt::Version(9)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Configuration && error.to_string().contains("its newest is 3"), "{error}");
    let error = users_at(&settings, TableAt::Time(millis(began) - 60_000)).await.unwrap_err();
    assert!(error.kind() == ErrorKind::Refused && error.to_string().contains("oldest state"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_another_topology_and_an_unknown_name_are_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0, 1]).await;
    commits(&mut writer, 0..3).await;
    let mut other = plan();
    other.fingerprint = "f2".into();
    let what = Tidying { names: &[], compact: Some(all()), vacuum: None, dry_run: false };
    assert_eq!(tidy(&settings, &other, 1, what, NEVER).await.unwrap_err().kind(), ErrorKind::Refused);
    let names = ["silent".to_string()];
    let unknown = tidy(&settings, &plan(), 1, Tidying { names: &names, ..what }, NEVER).await.unwrap_err();
    assert!(unknown.to_string().contains("user, order, pair, dead_letters"), "{unknown}");
    assert!(tidy(&settings, &plan(), 7, what, NEVER).await.unwrap().is_empty());
    let names = ["pair".to_string()];
    let dry = Tidying { names: &names, dry_run: true, ..what };
    let done = tidy(&settings, &plan(), 1, dry, NEVER).await.unwrap();
    assert_eq!((done.len(), done[0].compacted.unwrap().replaced, on_disk(&settings, "pair").len()), (1, 3, 3));
}
