//! The offline store: every feature row exactly once, in a Delta table per (topology, entity, version), and every dead
//! letter likewise.
//!
//! A writer takes frozen epochs ([`OfflineWriter::append`]), encodes their rows as Parquet in memory, and writes them
//! with one commit a table ([`OfflineWriter::commit`]).
//!
//! Always holds: each row is in its table once, whatever is repeated, lost or raced, because a commit carries for every
//! task the ordinal of its next row as a Delta transaction, and rows below it are dropped; `table` says how. Appending
//! the same epochs again, from any earlier one on, changes nothing.
//!
//! Beside the writer, and safe with it: `compact` makes large files of small ones, `vacuum` removes those that no version
//! needs (also those that were uploaded and never committed), `manifests` says what must stay for training files.
//! `newest` reads the tables for an online store.

mod compact;
mod data;
pub(super) mod files;
pub(super) mod form;
mod manifests;
mod newest;
mod progress;
mod read;
mod rows;
mod scan;
pub(super) mod schema;
pub(super) mod stats;
pub(super) mod table;
#[cfg(test)]
mod tests;
mod tidy;
mod vacuum;

use std::collections::BTreeMap;

use futures::future::join_all;

pub use compact::{CompactHow, Compacted};
pub use data::StoredFile;
pub use manifests::{Manifest, Registered, forget, register, registered};
pub use newest::{History, HistoryFile, Places};
pub use progress::{Progress, TaskProgress};
pub use read::{HistoryQuery, query, read_history, read_progress, sweep_history, table_versions};
pub use scan::{HistoryTable, Part, stored_type};
pub use schema::{DEAD_DATE, DEAD_LETTERS, EVENT_DATE, HISTORY_COLUMNS};
pub use tidy::{Tidied, Tidying, tidy};
pub use vacuum::Vacuumed;

use self::files::Encoder;
use self::rows::{Staged, ordinals, rows_from};
use self::schema::Kind;
use self::table::{OfflineTable, Pending};
use crate::config::OfflineSettings;
use crate::error::{Error, Result};
use crate::lake::Place;
use crate::state::Epoch;
use crate::topology::Plan;

/// What is durable of a task, in all tables.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Rows below this ordinal are in their tables; epochs whose `next_ordinal` is not above it hold no row that is
    /// missing. Without any entity with history: what was committed last by this writer.
    pub next_ordinal: i64,
    /// The same for dead letters.
    pub next_dead_letter: i64,
    /// The smallest next offset that the tables' newest records name; `None` when one has none.
    pub next_offset: Option<i64>,
}

/// What one commit wrote.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitSummary {
    pub rows: u64,
    /// Parquet bytes.
    pub bytes: u64,
    pub files: u64,
    /// By partition: how far the last epoch reaches that is now durable in all tables. The outbox may forget it and
    /// all before.
    pub tasks: BTreeMap<i32, TaskProgress>,
}

/// Writes the epochs of some tasks of one version.
pub struct OfflineWriter {
    tables: Vec<OfflineTable>,
    /// By partition: how far epochs were appended here.
    appended: BTreeMap<i32, TaskProgress>,
    /// By partition: what [`Self::appended`] was at the last commit that succeeded.
    written: BTreeMap<i32, TaskProgress>,
    partitions: Vec<i32>,
}

impl OfflineWriter {
    /// Opens the version's tables for the tasks of these partitions, making those that are missing.
    ///
    /// Errors: configuration (the url, names that a table cannot have), refused (a table with other columns or of other
    /// logic), unavailable.
    pub async fn open(settings: &OfflineSettings, plan: &Plan, version: u32, partitions: &[i32]) -> Result<Self> {
        Self::open_at(&Place::new(settings), plan, version, partitions).await
    }

    async fn open_at(place: &Place, plan: &Plan, version: u32, partitions: &[i32]) -> Result<Self> {
        let specs = schema::tables(plan, version)?;
        let opening = specs.into_iter().map(|spec| OfflineTable::open(place, spec, Encoder::new, partitions));
        let tables = join_all(opening).await.into_iter().collect::<Result<Vec<_>>>()?;
        Ok(Self { tables, appended: BTreeMap::new(), written: BTreeMap::new(), partitions: partitions.to_vec() })
    }

    /// What is durable of every task: from where on the outbox must be read. Reading from further back is harmless.
    pub fn committed(&self) -> BTreeMap<i32, Committed> {
        self.partitions.iter().map(|&partition| (partition, self.committed_of(partition))).collect()
    }

    fn committed_of(&self, partition: i32) -> Committed {
        let (dead, histories): (Vec<_>, Vec<_>) =
            self.tables.iter().partition(|table| table.spec.kind == Kind::DeadLetters);
        let written = self.written.get(&partition).map_or(0, |progress| progress.next_ordinal);
        let recorded = |table: &&OfflineTable| table.recorded(partition).map(|progress| progress.next_offset);
        Committed {
            next_ordinal: histories.iter().map(|table| table.durable(partition)).min().unwrap_or(written),
            next_dead_letter: dead.iter().map(|table| table.durable(partition)).min().unwrap_or(0),
            next_offset: histories.iter().map(recorded).min().flatten(),
        }
    }

    /// Takes an epoch's rows: skips what is durable or was appended before, and encodes the rest. Epochs of one task
    /// come in their order; repeating some is harmless.
    ///
    /// Errors: refused, when rows between the durable ones and this epoch's are missing.
    pub fn append(&mut self, epoch: &Epoch) -> Result<()> {
        let progress = TaskProgress {
            epoch: epoch.number,
            next_offset: epoch.next_offset,
            watermark: epoch.watermark,
            next_ordinal: epoch.next_ordinal,
            next_dead_letter: epoch.next_dead_letter,
        };
        let partition = epoch.partition;
        if !self.partitions.contains(&partition) {
            return Err(Error::internal(format!("the offline writer was not opened for partition {partition}")));
        }
        let appended = self.appended.get(&partition).copied();
        let next = self.next_of(partition, appended);
        self.check_gap(epoch, next)?;
        for table in &mut self.tables {
            let (rows, next) = match table.spec.kind {
                Kind::DeadLetters => (epoch.dead_letters.as_ref(), next.1),
                Kind::History { entity, .. } => {
                    (epoch.rows.iter().find(|rows| rows.entity == entity).map(|rows| &rows.rows), next.0)
                }
                // Not among a version's tables.
                Kind::RawLog => continue,
            };
            let from = table.durable(partition).max(if appended.is_some() { next } else { 0 });
            let Some(rows) = rows.map(|rows| rows_from(&table.spec, rows, from)).transpose()?.flatten() else {
                continue;
            };
            table.encoder.push(Staged { partition, rows })?;
        }
        if appended.is_none_or(|appended| progress.reaches(&appended)) {
            self.appended.insert(partition, progress);
        }
        Ok(())
    }

    /// The ordinals of the next row and dead letter of which nothing was appended yet.
    fn next_of(&self, partition: i32, appended: Option<TaskProgress>) -> (i64, i64) {
        let committed = self.committed_of(partition);
        let appended = appended.unwrap_or_default();
        (committed.next_ordinal.max(appended.next_ordinal), committed.next_dead_letter.max(appended.next_dead_letter))
    }

    /// An epoch that begins above what is durable and appended would leave a hole for ever.
    fn check_gap(&self, epoch: &Epoch, next: (i64, i64)) -> Result<()> {
        let mut first = epoch.next_ordinal;
        let mut first_dead = epoch.next_dead_letter;
        for table in &self.tables {
            match table.spec.kind {
                Kind::DeadLetters => {
                    if let Some(rows) = &epoch.dead_letters {
                        first_dead = ordinals(&table.spec, rows)?.iter().flatten().next().unwrap_or(first_dead);
                    }
                }
                Kind::History { .. } => {
                    for rows in &epoch.rows {
                        first = first.min(ordinals(&table.spec, &rows.rows)?.iter().flatten().next().unwrap_or(first));
                    }
                }
                Kind::RawLog => {}
            }
        }
        let has_history = self.tables.len() > 1;
        for (what, first, next) in [("row", first, next.0), ("dead letter", first_dead, next.1)] {
            if first > next && (has_history || what != "row") {
                return Err(Error::refused(format!(
                    "partition {}: the offline tables have every {what} up to ordinal {next}, but epoch {} begins with \
                     {first}: the ones between are in no table and no longer in the outbox; bring the tables back, or \
                     rebuild with --replay-from 0 --again",
                    epoch.partition, epoch.number
                )));
            }
        }
        Ok(())
    }

    /// Bytes in memory that wait for a commit.
    pub fn pending_bytes(&self) -> u64 {
        self.tables.iter().map(|table| table.encoder.pending_bytes()).sum()
    }

    /// Rows and dead letters that wait for a commit.
    pub fn pending_rows(&self) -> u64 {
        self.tables.iter().map(|table| table.encoder.pending_rows()).sum()
    }

    /// Writes all that was appended, one commit a table, all tables at once. Nothing is written where nothing is new.
    ///
    /// Errors: unavailable, when a table could not be written or the answer was lost; nothing is lost, and the call is
    /// to be repeated. Refused, when a table went back.
    pub async fn commit(&mut self) -> Result<CommitSummary> {
        let appended = &self.appended;
        let commits = join_all(self.tables.iter_mut().map(|table| table.commit(appended))).await;
        let mut summary = CommitSummary { tasks: self.appended.clone(), ..Default::default() };
        for written in commits {
            let written = written?;
            summary.rows += written.rows;
            summary.bytes += written.bytes;
            summary.files += written.files;
        }
        self.written = self.appended.clone();
        Ok(summary)
    }

    /// How many files each table has, as last seen, by its entity or `dead_letters`.
    pub fn files<'a>(&'a self, plan: &'a Plan) -> impl Iterator<Item = (&'a str, usize)> {
        self.tables.iter().map(|table| (read::name_of(plan, &table.spec), table.files()))
    }

    /// Waits for what goes on beside the commits (checkpoints): before an orderly exit.
    pub async fn settle(&mut self) {
        for table in &mut self.tables {
            table.settle().await;
        }
    }
}
