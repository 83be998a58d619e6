//! Vacuum: data files that no state of a table within the retention needs are removed.
//!
//! Always holds: what stays are the files of the newest version, those that a compaction replaced within the retention,
//! those of the versions that registered manifests name, and files younger than the retention, which may be on their way
//! to a commit. What goes: files that were replaced longer ago, and files older than that which no version names (of a
//! writer that died between an upload and its commit). Nothing whose name begins with `_` or `.` is looked at.
//!
//! After it a state of the table from before the retention cannot be read any more, unless a manifest keeps it.

use std::collections::HashSet;

use deltalake::DeltaTable;
use deltalake::logstore::object_store::ObjectStore;
use deltalake::operations::vacuum::VacuumMode;
use futures::TryStreamExt;

use super::manifests;
use super::schema::TableSpec;
use super::table::check;
use crate::error::{Error, Result};
use crate::lake::{Place, TableAt, unavailable};
use crate::time::Span;

/// What was removed from a table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Vacuumed {
    /// Paths within the table.
    pub files: Vec<String>,
    /// How many versions manifests keep.
    pub kept_versions: usize,
}

/// Removes what is not needed any more, or with `dry_run` only says what; `None` when there is no table.
///
/// # Errors
/// Refused: a manifest names a version that cannot be read. Unavailable: the store.
pub async fn vacuum(place: &Place, spec: &TableSpec, retention: Span, dry_run: bool) -> Result<Option<Vacuumed>> {
    let Some(table) = place.load(&spec.path).await? else { return Ok(None) };
    check(&table, spec)?;
    let url = table.table_url().clone();
    let registered = manifests::kept(&table).await?;
    for kept in &registered {
        place.load_at(&spec.path, TableAt::Version(kept.table_version)).await.map_err(|e| {
            Error::new(e.kind(), format!("{e} (the manifest {} needs it: kappa manifests --forget)", kept.manifest))
        })?;
    }
    let mut versions: Vec<u64> = registered.iter().map(|kept| kept.table_version).collect();
    versions.sort_unstable();
    versions.dedup();
    let retention = arrow::temporal_conversions::try_duration_ms_to_duration(retention.millis())
        .ok_or_else(|| Error::configuration(format!("a retention of {retention} is too long")))?;
    let vacuum = |table: DeltaTable, dry_run: bool| {
        let vacuum = table
            .vacuum()
            .with_mode(VacuumMode::Full)
            .with_retention_period(retention)
            .with_enforce_retention_duration(false)
            .with_dry_run(dry_run);
        if versions.is_empty() { vacuum } else { vacuum.with_keep_versions(&versions) }
    };
    let failed = |e: &dyn std::fmt::Display| unavailable(&url, "vacuum", e);
    // The library names a file that the log says was replaced as long as the log says so, also when it went long ago.
    let there: HashSet<String> = {
        let listed = table.object_store().list(None).map_ok(|file| file.location.to_string());
        listed.try_collect().await.map_err(|e| failed(&e))?
    };
    let (table, planned) = vacuum(table, true).await.map_err(|e| failed(&e))?;
    let is_there = |file: &String| there.contains(file);
    let mut removed = planned.files_deleted;
    if !dry_run && removed.iter().any(is_there) {
        removed = vacuum(table, false).await.map_err(|e| failed(&e))?.1.files_deleted;
    }
    removed.retain(is_there);
    Ok(Some(Vacuumed { files: removed, kept_versions: versions.len() }))
}
