//! Places: from a url of the settings to a table's own store, and what an object store needs on top of Delta's log.
//!
//! Always holds: in a local directory a data file is on disk before the commit that names it, and the commit is on
//! disk before it is reported: both survive a power cut. Object stores promise that by themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Once};

use deltalake::logstore::object_store::{ObjectStore, ObjectStoreExt, PutPayload, WriteMultipart, path::Path};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError, ensure_table_uri};
use url::Url;

use crate::config::{ArchiveSettings, OfflineSettings};
use crate::error::{Error, Result};
use crate::time::Millis;

/// Larger files go up in parts of this size.
const PART_BYTES: usize = 16 << 20;
/// Parts on their way at once.
const PARTS_IN_FLIGHT: usize = 4;

/// Which state of a table, by the table's own count or by the clock; not to be confused with a version of a topology.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableAt {
    /// After the commit of this number.
    Version(u64),
    /// After the last commit at or before this time.
    Time(Millis),
}

/// Where tables are: the settings, and for tests a store in place of the one that the url names.
#[derive(Debug, Clone)]
pub struct Place {
    /// The section of the settings that names it, for messages.
    section: &'static str,
    url: String,
    options: Vec<(String, String)>,
    store: Option<Arc<dyn ObjectStore>>,
}

impl Place {
    /// Where the settings want the history.
    pub fn new(settings: &OfflineSettings) -> Self {
        Self::named("offline", &settings.url, &settings.options)
    }

    /// Where the settings want the raw log.
    pub fn of_archive(settings: &ArchiveSettings) -> Self {
        Self::named("archive", &settings.url, &settings.options)
    }

    /// Where the labels of a training set are.
    pub fn of_labels(url: &str, settings: &OfflineSettings) -> Self {
        Self::named("labels", url, &settings.options)
    }

    /// The url, as it was given.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn named(section: &'static str, url: &str, options: &BTreeMap<String, String>) -> Self {
        register();
        let options = options.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        Self { section, url: url.trim_end_matches('/').to_string(), options, store: None }
    }

    /// The same place through another store, whose root is the store's root.
    #[cfg(test)]
    pub fn through(mut self, store: Arc<dyn ObjectStore>) -> Self {
        self.store = Some(store);
        self
    }

    /// The table at `path` below the url, not loaded. A local directory is made when it is missing.
    pub fn table(&self, path: &str) -> Result<DeltaTable> {
        self.builder(path)?.build().map_err(|e| self.unusable(&e))
    }

    fn builder(&self, path: &str) -> Result<DeltaTableBuilder> {
        let url = ensure_table_uri(format!("{}/{path}", self.url)).map_err(|e| self.unusable(&e))?;
        let mut builder = DeltaTableBuilder::from_url(url.clone()).map_err(|e| self.unusable(&e))?;
        builder = builder.with_storage_options(self.options.iter().cloned().collect());
        if let Some(store) = &self.store {
            builder = builder.with_storage_backend(store.clone(), url);
        }
        Ok(builder)
    }

    fn unusable(&self, e: &DeltaTableError) -> Error {
        let Self { section, url, .. } = self;
        Error::configuration(format!(
            "{section}.url `{url}` cannot be used: {e}; give a directory, file:///..., s3://, gs:// or az://, and what the \
             store needs in {section}.options or the environment"
        ))
    }

    /// The table at `path` below the url, loaded; `None` when there is none. Makes nothing, not even a directory.
    ///
    /// # Errors
    /// Unavailable; configuration (the url).
    pub async fn load(&self, path: &str) -> Result<Option<DeltaTable>> {
        if !self.may_exist(path) {
            return Ok(None);
        }
        let mut table = self.table(path)?;
        let url = table.table_url().clone();
        let failed = |e| unavailable(&url, "open", &e);
        if !table.verify_deltatable_existence().await.map_err(failed)? {
            return Ok(None);
        }
        table.load().await.map_err(failed)?;
        Ok(Some(table))
    }

    /// The table as it was, loaded; `None` when there is none.
    ///
    /// # Errors
    /// Configuration: the table had no such state yet. Refused: its log does not reach back to it any more.
    pub async fn load_at(&self, path: &str, at: TableAt) -> Result<Option<DeltaTable>> {
        let Some(newest) = self.load(path).await? else { return Ok(None) };
        let (url, last) = (newest.table_url().clone(), newest.version().unwrap_or(0));
        let builder = self.builder(path)?;
        let builder = match at {
            TableAt::Version(version) if version > last => {
                return Err(Error::configuration(format!(
                    "the table {url} has no version {version} yet: its newest is {last}"
                )));
            }
            TableAt::Version(version) => builder.with_version(version),
            TableAt::Time(time) => {
                let instant =
                    jiff::Timestamp::from_millisecond(time).map_err(|e| Error::configuration(e.to_string()))?;
                builder.with_datestring(instant.to_string()).map_err(|e| Error::configuration(e.to_string()))?
            }
        };
        let gone = |e: &dyn std::fmt::Display| {
            Error::refused(format!(
                "the table {url} cannot be read as it was at {at}: {e}; its log keeps 30 days, and what manifests need: ask \
                 for a later state"
            ))
        };
        let table = builder.load().await.map_err(|e| match e {
            DeltaTableError::ObjectStore { ref source } if !is_absent(source) => unavailable(&url, "read", &e),
            e => gone(&e),
        })?;
        if let TableAt::Time(time) = at {
            let version = table.version().unwrap_or(0);
            let commit = table.object_store().head(&Path::from(commit_path(version))).await;
            let made = commit.map_err(|e| gone(&e))?.last_modified.timestamp_millis();
            // The oldest that is known is given for any time before it.
            if made > time {
                return Err(gone(&format!("the oldest state that it knows is version {version}")));
            }
        }
        Ok(Some(table))
    }

    /// A path below the url, without the url before it if it has it.
    pub fn below<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(self.url.as_str()).unwrap_or(path).trim_matches('/')
    }

    /// Whether a local directory stands at `path` below the url; always true for an object store.
    fn may_exist(&self, path: &str) -> bool {
        let local = match Url::parse(&self.url) {
            Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
            Ok(_) => None,
            Err(_) => Some(PathBuf::from(&self.url)),
        };
        local.is_none_or(|directory| directory.join(path).is_dir())
    }
}

impl std::fmt::Display for TableAt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Version(version) => write!(f, "version {version}"),
            Self::Time(time) => match jiff::Timestamp::from_millisecond(*time) {
                Ok(instant) => write!(f, "{instant}"),
                Err(_) => write!(f, "{time} ms"),
            },
        }
    }
}

fn is_absent(error: &deltalake::logstore::object_store::Error) -> bool {
    matches!(error, deltalake::logstore::object_store::Error::NotFound { .. })
}

/// Makes s3://, gs:// and az:// known to the library.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        super::s3::register();
        deltalake::gcp::register_handlers(None);
        deltalake::azure::register_handlers(None);
    });
}

/// Puts a file into the table's store and answers when it was stored, by the store's clock, in ms.
pub async fn upload(table: &DeltaTable, path: &str, payload: &PutPayload) -> Result<i64> {
    let store = table.object_store();
    let location = Path::from(path);
    let sent = async {
        if payload.content_length() <= PART_BYTES {
            store.put(&location, payload.clone()).await?;
        } else {
            let mut parts = WriteMultipart::new_with_chunk_size(store.put_multipart(&location).await?, PART_BYTES);
            for bytes in payload.iter() {
                for start in (0..bytes.len()).step_by(PART_BYTES) {
                    parts.wait_for_capacity(PARTS_IN_FLIGHT).await?;
                    parts.put(bytes.slice(start..bytes.len().min(start + PART_BYTES)));
                }
            }
            parts.finish().await?;
        }
        store.head(&location).await
    };
    let stored = sent.await.map_err(|e| unavailable(table.table_url(), "write a file of", &e))?;
    if stored.size != payload.content_length() as u64 {
        let text = format!("{path} has {} bytes of {}", stored.size, payload.content_length());
        return Err(unavailable(table.table_url(), "write a file of", &text));
    }
    Ok(stored.last_modified.timestamp_millis())
}

/// The path of a commit within its table.
pub fn commit_path(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// Brings files of a local table to disk, and the directories that name them; nothing for an object store.
pub async fn sync(table: &DeltaTable, paths: Vec<String>) -> Result<()> {
    let url = table.table_url();
    let Some(root) = Some(url).filter(|url| url.scheme() == "file").and_then(|url| url.to_file_path().ok()) else {
        return Ok(());
    };
    let synced = tokio::task::spawn_blocking(move || {
        let files: BTreeSet<PathBuf> = paths.iter().map(|path| root.join(path)).collect();
        let above = |file: &PathBuf| file.ancestors().skip(1).map(PathBuf::from).collect::<Vec<_>>();
        let directories: BTreeSet<PathBuf> =
            files.iter().flat_map(above).filter(|dir| dir.starts_with(&root)).collect();
        files.iter().chain(&directories).try_for_each(|path| std::fs::File::open(path)?.sync_all())
    });
    let failed = |e: &dyn std::fmt::Display| unavailable(url, "bring to disk", e);
    synced.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
}

/// Why a table could not be opened: the store does not let us in, or it does not answer (yet).
pub fn not_opened(url: &Url, what: &str, error: &DeltaTableError) -> Error {
    if is_denied(error) {
        return Error::configuration(format!(
            "could not {what} the table {url}: {error}; give this user the right to read and write there, or other \
             credentials in the options beside its url or in the environment"
        ));
    }
    unavailable(url, what, error)
}

/// Waiting does not help: credentials, permissions.
fn is_denied(error: &(dyn std::error::Error + 'static)) -> bool {
    use deltalake::logstore::object_store::Error as Store;
    let is_denied = |error: &(dyn std::error::Error + 'static)| match error.downcast_ref() {
        Some(Store::PermissionDenied { .. } | Store::Unauthenticated { .. }) => true,
        _ => error.downcast_ref::<std::io::Error>().is_some_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied),
    };
    std::iter::successors(Some(error), |error| error.source()).any(is_denied)
}

/// The store did not do what was asked; nothing is lost, and a repetition is safe.
pub fn unavailable(url: &Url, what: &str, error: &(impl std::fmt::Display + ?Sized)) -> Error {
    Error::unavailable(format!("could not {what} the table {url}: {error}; check that the store answers"))
}

#[cfg(test)]
mod tests {
    use deltalake::logstore::object_store::Error as Store;

    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn a_store_that_does_not_let_us_in_is_a_mistake_and_one_that_does_not_answer_is_waited_for() {
        let url = Url::parse("s3://bucket/shop").unwrap();
        let kind = |source: Store| not_opened(&url, "open", &DeltaTableError::ObjectStore { source }).kind();
        let because = || Box::new(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        let path = || "_delta_log".to_string();
        assert_eq!(kind(Store::PermissionDenied { path: path(), source: because() }), ErrorKind::Configuration);
        assert_eq!(kind(Store::Unauthenticated { path: path(), source: because() }), ErrorKind::Configuration);
        assert_eq!(kind(Store::Generic { store: "S3", source: because() }), ErrorKind::Unavailable);
        let denied = Box::new(std::io::Error::from(std::io::ErrorKind::PermissionDenied));
        assert_eq!(kind(Store::Generic { store: "local", source: denied }), ErrorKind::Configuration);
    }
}
