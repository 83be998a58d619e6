//! A store that fails: before an upload, before a commit, and after a commit whose answer is lost.

use std::fmt;
use std::sync::Mutex;

use deltalake::logstore::object_store::local::LocalFileSystem;
use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{
    CopyOptions, Error as StoreError, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result as StoreResult,
};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use super::*;
use crate::error::ErrorKind;

/// What happens to the next write that it fits; afterwards the store works again.
pub enum Fault {
    /// A data file is not written.
    Upload,
    /// A commit is not written.
    Commit,
    /// A commit is written, and its answer lost.
    Answer,
    /// Something else is done first.
    Before(BoxFuture<'static, ()>),
}

/// A local directory with faults.
pub struct Faulty {
    store: LocalFileSystem,
    pub faults: Mutex<Vec<Fault>>,
}

impl Faulty {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { store: LocalFileSystem::new(), faults: Mutex::new(vec![]) })
    }

    fn next(&self, location: &Path) -> Option<Fault> {
        let is_commit = location.as_ref().contains("/user/") && location.as_ref().ends_with(".json");
        let is_data = location.as_ref().contains("/user/") && location.as_ref().ends_with(".parquet");
        let mut faults = self.faults.lock().unwrap();
        let fits = faults.first().is_some_and(|f| if matches!(f, Fault::Upload) { is_data } else { is_commit });
        fits.then(|| faults.remove(0))
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("faulty")
    }
}

fn lost() -> StoreError {
    StoreError::Generic { store: "faulty", source: "the connection was reset".into() }
}

type Answer<'a, T> = BoxFuture<'a, StoreResult<T>>;

impl ObjectStore for Faulty {
    fn put_opts<'a: 'c, 'b: 'c, 'c>(
        &'a self,
        location: &'b Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Answer<'c, PutResult> {
        Box::pin(async move {
            match self.next(location) {
                Some(Fault::Upload | Fault::Commit) => return Err(lost()),
                Some(Fault::Answer) => {
                    self.store.put_opts(location, payload, options).await?;
                    return Err(lost());
                }
                Some(Fault::Before(first)) => first.await,
                None => {}
            }
            self.store.put_opts(location, payload, options).await
        })
    }

    fn put_multipart_opts<'a: 'c, 'b: 'c, 'c>(
        &'a self,
        location: &'b Path,
        options: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>> {
        self.store.put_multipart_opts(location, options)
    }

    fn get_opts<'a: 'c, 'b: 'c, 'c>(&'a self, location: &'b Path, options: GetOptions) -> Answer<'c, GetResult> {
        self.store.get_opts(location, options)
    }

    fn delete_stream(&self, locations: BoxStream<'static, StoreResult<Path>>) -> BoxStream<'static, StoreResult<Path>> {
        self.store.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.store.list(prefix)
    }

    fn list_with_delimiter<'a: 'c, 'b: 'c, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult> {
        self.store.list_with_delimiter(prefix)
    }

    fn copy_opts<'a: 'd, 'b: 'd, 'c: 'd, 'd>(
        &'a self,
        from: &'b Path,
        to: &'c Path,
        options: CopyOptions,
    ) -> Answer<'d, ()> {
        self.store.copy_opts(from, to, options)
    }
}

async fn open_through(settings: &OfflineSettings, store: &Arc<Faulty>) -> OfflineWriter {
    let place = Place::new(settings).through(store.clone());
    OfflineWriter::open_at(&place, &plan(), 1, &[0]).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_upload_or_commit_loses_nothing_and_is_repeated() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let store = Faulty::new();
    let mut writer = open_through(&settings, &store).await;
    for (number, fault) in [Fault::Upload, Fault::Commit, Fault::Answer].into_iter().enumerate() {
        let from = number as i64 * 40;
        writer.append(&epoch(number as u64 + 1, 0, from..from + 30, from..from + 2)).unwrap();
        store.faults.lock().unwrap().push(fault);
        let error = writer.commit().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        // More comes in before the repetition.
        writer.append(&epoch(number as u64 + 2, 0, from + 30..from + 40, from + 2..from + 40)).unwrap();
        let summary = writer.commit().await.unwrap();
        assert_eq!(summary.tasks[&0].next_ordinal, from + 40);
        assert_holds(&settings, &[(0, from + 40, from + 40)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_died_with_its_answer_unknown_goes_on_without_doubling() {
    for fault in [Fault::Upload, Fault::Commit, Fault::Answer] {
        let directory = tempfile::tempdir().unwrap();
        let settings = settings(&directory);
        let store = Faulty::new();
        let mut writer = open_through(&settings, &store).await;
        writer.append(&epoch(1, 0, 0..30, 0..2)).unwrap();
        writer.commit().await.unwrap();
        writer.append(&epoch(2, 0, 30..60, 2..4)).unwrap();
        store.faults.lock().unwrap().push(fault);
        writer.commit().await.unwrap_err();
        drop(writer);
        // The state is older than the tables.
        let mut writer = open(&settings, &[0]).await;
        writer.append(&epoch(1, 0, 0..20, 0..1)).unwrap();
        writer.append(&epoch(2, 0, 20..60, 1..4)).unwrap();
        writer.append(&epoch(3, 0, 60..80, 4..5)).unwrap();
        writer.commit().await.unwrap();
        assert_holds(&settings, &[(0, 80, 5)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_between_reading_and_writing_is_found_and_its_rows_skipped() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let store = Faulty::new();
    let mut slow = open_through(&settings, &store).await;
    let mut fast = open(&settings, &[0]).await;
    slow.append(&epoch(1, 0, 0..50, 0..5)).unwrap();
    fast.append(&epoch(1, 0, 0..33, 0..3)).unwrap();
    let overtakes = async move { drop(fast.commit().await.unwrap()) };
    store.faults.lock().unwrap().push(Fault::Before(Box::pin(overtakes)));
    slow.commit().await.unwrap();
    assert!(store.faults.lock().unwrap().is_empty());
    assert_holds(&settings, &[(0, 50, 5)]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_is_gone_is_reported_and_one_that_comes_back_is_used() {
    let directory = tempfile::tempdir().unwrap();
    let settings = settings(&directory);
    let mut writer = open(&settings, &[0]).await;
    writer.append(&epoch(1, 0, 0..30, 0..2)).unwrap();
    writer.commit().await.unwrap();
    let (here, away) = (directory.path().join("offline"), directory.path().join("away"));
    std::fs::rename(&here, &away).unwrap();
    std::fs::write(&here, "not a directory").unwrap();
    writer.append(&epoch(2, 0, 30..60, 2..4)).unwrap();
    assert_eq!(writer.commit().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(writer.pending_rows(), 24 + 2);
    std::fs::remove_file(&here).unwrap();
    std::fs::rename(&away, &here).unwrap();
    writer.commit().await.unwrap();
    assert_holds(&settings, &[(0, 60, 4)]).await;
}
