//! Manifests of training files: which states of the tables must stay readable, and for whom.
//!
//! A manifest (JSON, beside a training file) names the versions of the Delta tables that the file was read from:
//! `{"tables": [{"path": "shop/user/v1", "table_version": 42}]}`. Once registered it has a small file of its own
//! below each of these tables, at `_kappa/manifests/`, which Delta's readers do not look at. As long as that is there a
//! vacuum keeps the files of that version, and the log is not trimmed beyond it: the training file can be rebuilt, after
//! whatever appends and compactions.
//!
//! Left out: finding manifests by itself. One that was never registered is kept by nothing.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use deltalake::logstore::object_store::path::Path;
use deltalake::logstore::object_store::{Error as StoreError, ObjectStore, ObjectStoreExt, PutPayload};
use deltalake::table::config::TablePropertiesExt;
use deltalake::{DeltaTable, DeltaTableError, checkpoints};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::schema;
use crate::config::OfflineSettings;
use crate::error::{Error, Result};
use crate::lake::{Place, TableAt, unavailable};
use crate::time::Millis;
use crate::topology::Plan;

/// Where they are, below a table.
const FOLDER: &str = "_kappa/manifests";

/// A manifest as far as it concerns the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it is registered as: its file's name and a digest of its text, so that a changed one is another.
    pub name: String,
    /// By the table's path below the url: the version read.
    pub tables: BTreeMap<String, u64>,
}

/// One table's side of a registered manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// [`Manifest::name`].
    pub manifest: String,
    pub table_version: u64,
    /// In ms since 1970.
    pub registered_at: Millis,
}

#[derive(Deserialize)]
struct Written {
    tables: Vec<WrittenTable>,
}

#[derive(Deserialize)]
struct WrittenTable {
    path: String,
    /// Null when there was no table yet.
    table_version: Option<u64>,
}

impl Manifest {
    /// From the text of a manifest's file.
    ///
    /// # Errors
    /// Configuration: it is no manifest.
    pub fn read(settings: &OfflineSettings, file_name: &str, text: &str) -> Result<Self> {
        let written: Written = serde_json::from_str(text).map_err(|e| {
            Error::configuration(format!(
                "`{file_name}` is no manifest of a training file ({e}): it must be JSON with tables: [{{path, \
                 table_version}}]"
            ))
        })?;
        let place = Place::new(settings);
        let read = |table: WrittenTable| Some((place.below(&table.path).to_string(), table.table_version?));
        let tables = written.tables.into_iter().filter_map(read).collect();
        Ok(Self { name: format!("{}-{:016x}", plain(file_name), xxh3_64(text.as_bytes())), tables })
    }
}

/// A name that every store takes.
fn plain(name: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    name.chars().map(allowed).take(120).collect()
}

/// Registers a manifest with its tables; once more is harmless.
///
/// # Errors
/// Configuration: a table or a version is not there. Refused: a version cannot be read any more. Unavailable.
pub async fn register(settings: &OfflineSettings, manifest: &Manifest, now: Millis) -> Result<()> {
    let place = Place::new(settings);
    for (path, version) in &manifest.tables {
        let missing = || {
            Error::configuration(format!(
                "the manifest {} names the table `{path}`, which is not below offline.url `{}`",
                manifest.name, settings.url
            ))
        };
        let table = place.load_at(path, TableAt::Version(*version)).await?.ok_or_else(missing)?;
        let registered = Registered { manifest: manifest.name.clone(), table_version: *version, registered_at: now };
        let text = serde_json::to_vec(&registered).map_err(|e| Error::internal(e.to_string()))?;
        let stored = table.object_store().put(&place_of(&manifest.name), PutPayload::from(text)).await;
        stored.map_err(|e| unavailable(table.table_url(), "register a manifest with", &e))?;
    }
    Ok(())
}

/// Forgets a manifest in these tables (paths below the url); how many of them knew it.
///
/// # Errors
/// Unavailable.
pub async fn forget<'a>(
    settings: &OfflineSettings,
    name: &str,
    paths: impl IntoIterator<Item = &'a str>,
) -> Result<usize> {
    let (place, mut known) = (Place::new(settings), 0);
    for path in paths {
        let Some(table) = place.load(path).await? else { continue };
        if !kept(&table).await?.iter().any(|registered| registered.manifest == name) {
            continue;
        }
        let deleted = table.object_store().delete(&place_of(name)).await;
        match deleted {
            Ok(()) | Err(StoreError::NotFound { .. }) => known += 1,
            Err(e) => return Err(unavailable(table.table_url(), "forget a manifest of", &e)),
        }
    }
    Ok(known)
}

/// The manifests that are registered with a version's tables, by the table's path.
///
/// # Errors
/// Unavailable.
pub async fn registered(
    settings: &OfflineSettings,
    plan: &Plan,
    version: u32,
) -> Result<BTreeMap<String, Vec<Registered>>> {
    let (place, mut found) = (Place::new(settings), BTreeMap::new());
    for spec in schema::tables(plan, version)? {
        if let Some(table) = place.load(&spec.path).await? {
            let kept = kept(&table).await?;
            found.insert(spec.path, kept);
        }
    }
    Ok(found)
}

fn place_of(name: &str) -> Path {
    Path::from(format!("{FOLDER}/{name}.json"))
}

/// The manifests that are registered with a table, by name.
pub async fn kept(table: &DeltaTable) -> Result<Vec<Registered>> {
    let (store, url) = (table.object_store(), table.table_url());
    let failed = |e: &dyn std::fmt::Display| unavailable(url, "read the manifests of", e);
    let listed: Vec<_> = store.list(Some(&Path::from(FOLDER))).try_collect().await.map_err(|e| failed(&e))?;
    let mut found = Vec::with_capacity(listed.len());
    for file in listed {
        let text = match store.get(&file.location).await {
            Ok(text) => text.bytes().await.map_err(|e| failed(&e))?,
            // Forgotten just now.
            Err(StoreError::NotFound { .. }) => continue,
            Err(e) => return Err(failed(&e)),
        };
        let registered: Registered = serde_json::from_slice(&text).map_err(|e| {
            Error::refused(format!(
                "the table {url}: {} is no registered manifest ({e}); nothing is removed as long as it cannot be read: mend \
                 it, or delete it by hand",
                file.location
            ))
        })?;
        found.push(registered);
    }
    found.sort_by(|a, b| a.manifest.cmp(&b.manifest));
    Ok(found)
}

/// Removes log files that are past the log's retention and that no registered manifest needs.
pub async fn trim_log(table: &DeltaTable) -> Result<()> {
    let failed = |e: DeltaTableError| unavailable(table.table_url(), "trim the log of", &e);
    let kept = kept(table).await?.into_iter().map(|registered| registered.table_version).min();
    let snapshot = table.snapshot().map_err(failed)?;
    let oldest = kept.map_or(snapshot.version(), |kept| kept.min(snapshot.version()));
    let retention = snapshot.table_config().log_retention_duration();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let cutoff = now.saturating_sub(retention).as_millis() as i64;
    let log = table.log_store();
    checkpoints::cleanup_expired_logs_for(oldest, log.as_ref(), cutoff, None).await.map_err(failed)?;
    Ok(())
}
