//! One Delta table and its commits: exactly once by row ordinal, or by offset where it is the raw log's.
//!
//! Always holds:
//! 1. A commit is written against the snapshot on which its transactions were read and compared, never a newer one:
//!    when another commit came between, it fails, and everything is read and compared again.
//! 2. Rows whose ordinals are below the table's transaction of their task are dropped before a commit, so a repeated
//!    commit, one whose answer was lost and one that another writer made first all end with each row once.
//! 3. Transactions never go back.
//!
//! The library's own retries are off (they would commit against a newer snapshot), its checkpoints too (they would
//! run inside the commit): this file makes one every 100 commits, on a blocking thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add, Transaction};
use deltalake::operations::create::CreateBuilder;
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::{DeltaTable, DeltaTableError, checkpoints};
use futures::{StreamExt, TryStreamExt};
use tokio::task::JoinHandle;

use super::files::{DataFile, Encoder};
use super::manifests;
use super::progress::{self, Progress, TaskProgress};
use super::schema::{Kind, TableSpec};
use crate::error::{Error, Result};
use crate::lake::{self, Place, unavailable};

/// Commits between two checkpoints.
pub const CHECKPOINT_INTERVAL: u64 = 100;
/// How often a commit is tried while others come between.
pub const ATTEMPTS: u32 = 20;
/// Files on their way to the store at once.
pub const UPLOADS: usize = 4;

/// How long an uploaded file may wait for its commit; a vacuum keeps files for longer than that.
const LONGEST_UPLOAD: Duration = Duration::from_secs(1800);

/// What one table's commit made durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub bytes: u64,
    pub files: u64,
}

/// Rows that wait for a table's next commit, and the files that they become. "Ordinals" are offsets in a raw log.
pub trait Pending {
    /// How many rows wait.
    fn pending_rows(&self) -> u64;

    /// Closes every file and gives all finished ones, oldest first.
    fn finish(&mut self) -> Result<&mut Vec<DataFile>>;

    /// Drops the rows of a task whose ordinals are below `from`, which are in the table already.
    fn drop_below(&mut self, partition: i32, from: i64) -> Result<()>;

    /// Forgets the finished files: they are in the table.
    fn clear_finished(&mut self);
}

/// A table that is open for appending.
pub struct OfflineTable<E = Encoder> {
    pub spec: Arc<TableSpec>,
    pub encoder: E,
    table: DeltaTable,
    partitions: Vec<i32>,
    /// By partition: the transaction on `seen`, the ordinal of the next row.
    durable: BTreeMap<i32, i64>,
    /// By partition: the newest record that is durable.
    recorded: BTreeMap<i32, TaskProgress>,
    /// The table's version on which `durable` was read.
    seen: Option<u64>,
    checkpoint: Option<JoinHandle<()>>,
}

impl<E: Pending> OfflineTable<E> {
    /// Opens the table, making it when it is missing. Two that make it at once end with the same table.
    ///
    /// Errors: unavailable; configuration when the store does not let us in; refused when the table there has other columns
    /// or was written by other logic.
    pub async fn open(
        place: &Place,
        spec: TableSpec,
        encoder: impl FnOnce(Arc<TableSpec>) -> Result<E>,
        partitions: &[i32],
    ) -> Result<Self> {
        let spec = Arc::new(spec);
        let mut table = place.table(&spec.path)?;
        let url = table.table_url().clone();
        let failed = |e: DeltaTableError| lake::not_opened(&url, "open", &e);
        if !table.verify_deltatable_existence().await.map_err(failed)? {
            create(&table, &spec).await?;
        }
        table.load().await.map_err(failed)?;
        check(&table, &spec)?;
        let mut opened = Self {
            encoder: encoder(spec.clone())?,
            spec,
            table,
            partitions: partitions.to_vec(),
            durable: partitions.iter().map(|partition| (*partition, 0)).collect(),
            recorded: BTreeMap::new(),
            seen: None,
            checkpoint: None,
        };
        opened.refresh().await?;
        opened.recorded = progress::newest(&opened.table).await?.partitions;
        Ok(opened)
    }

    /// The ordinal of the task's next row in this table, as far as known.
    pub fn durable(&self, partition: i32) -> i64 {
        self.durable.get(&partition).copied().unwrap_or(0)
    }

    /// The newest durable record of a task.
    pub fn recorded(&self, partition: i32) -> Option<TaskProgress> {
        self.recorded.get(&partition).copied()
    }

    /// Writes all that waits in one commit, with the transactions and the record of every task; nothing when nothing
    /// is new. After an error nothing is lost and the call may be repeated, whether or not the commit came through.
    pub async fn commit(&mut self, appended: &BTreeMap<i32, TaskProgress>) -> Result<Written> {
        if self.encoder.pending_rows() == 0 && !self.is_news(&self.record(appended)) {
            return Ok(Written::default());
        }
        for attempt in 0..ATTEMPTS {
            tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 10)).await;
            self.upload().await?;
            self.refresh().await?;
            let record = self.record(appended);
            let files = self.encoder.finish()?;
            if files.iter().any(|file| file.uploaded.is_none()) {
                // Refreshing rewrote a file.
                continue;
            }
            let written = Written {
                rows: files.iter().map(|file| file.rows).sum(),
                bytes: files.iter().map(|file| file.payload.content_length() as u64).sum(),
                files: files.len() as u64,
            };
            if files.is_empty() && !self.is_news(&record) {
                return Ok(written);
            }
            match self.write(&record).await {
                Ok(()) => {
                    self.encoder.clear_finished();
                    return Ok(written);
                }
                Err(error) if came_between(&error) => continue,
                Err(error) => return Err(unavailable(self.table.table_url(), "commit to", &error)),
            }
        }
        Err(unavailable(self.table.table_url(), "commit to", &format!("others came between {ATTEMPTS} times")))
    }

    /// How many files the table has, as last seen.
    pub fn files(&self) -> usize {
        self.table.snapshot().map_or(0, |snapshot| snapshot.log_data().num_files())
    }

    /// Waits for a checkpoint that is being made.
    pub async fn settle(&mut self) {
        if let Some(checkpoint) = self.checkpoint.take() {
            // It reports its own failure.
            let _ = checkpoint.await;
        }
    }

    /// Brings every finished file to the store, and of a local one to disk.
    async fn upload(&mut self) -> Result<()> {
        let table = &self.table;
        self.encoder.finish()?.iter_mut().for_each(|file| file.expire_upload(LONGEST_UPLOAD));
        let mut waiting: Vec<_> = self.encoder.finish()?.iter_mut().filter(|file| file.uploaded.is_none()).collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let uploads = waiting.iter().map(|file| lake::upload(table, &file.path, &file.payload)).collect::<Vec<_>>();
        let stored: Vec<i64> = futures::stream::iter(uploads).buffered(UPLOADS).try_collect().await?;
        lake::sync(table, waiting.iter().map(|file| file.path.clone()).collect()).await?;
        for (file, at) in waiting.iter_mut().zip(stored) {
            file.set_uploaded(at);
        }
        Ok(())
    }

    /// Brings the snapshot up to date, reads the transactions on it, and drops the rows that are in the table already.
    async fn refresh(&mut self) -> Result<()> {
        let url = self.table.table_url().clone();
        let failed = |e: DeltaTableError| unavailable(&url, "read", &e);
        if self.checkpoint.as_ref().is_some_and(JoinHandle::is_finished) {
            self.settle().await;
            // A snapshot that was only ever extended keeps more than one read from the checkpoint.
            self.table = DeltaTable::new(self.table.log_store());
        }
        self.table.update_state().await.map_err(failed)?;
        if self.seen == self.table.version() {
            return Ok(());
        }
        let snapshot = self.table.snapshot().map_err(failed)?;
        let log_store = self.table.log_store();
        let mut read = Vec::with_capacity(self.partitions.len());
        for &partition in &self.partitions {
            let next = snapshot.transaction_version(log_store.as_ref(), self.spec.app_id(partition)).await;
            read.push((partition, next.map_err(failed)?.unwrap_or(0)));
        }
        for (partition, next) in read {
            let before = self.durable(partition);
            if next < before {
                return Err(Error::refused(format!(
                    "the table {url} went back: partition {partition} had rows up to ordinal {before} and now \
                     only up to {next}; it was restored or replaced while Kappa ran: restart, and replay if rows are lost"
                )));
            }
            if next > before {
                // First the rows: when that fails, the next refresh drops them again.
                self.encoder.drop_below(partition, next)?;
                self.durable.insert(partition, next);
            }
        }
        self.seen = self.table.version();
        Ok(())
    }

    /// What a commit says of every task: where it stands now, and never behind what is durable.
    fn record(&self, appended: &BTreeMap<i32, TaskProgress>) -> Progress {
        let newest = |partition: &i32| {
            let durable = self.recorded(*partition).unwrap_or_default();
            let now = appended.get(partition).copied().unwrap_or_default();
            (*partition, if now.reaches(&durable) { now } else { durable })
        };
        Progress { partitions: self.partitions.iter().map(newest).collect() }
    }

    /// Whether a record without rows is worth a commit. Only a history's tells of more than its own ordinals.
    fn is_news(&self, record: &Progress) -> bool {
        record.partitions.iter().any(|(partition, now)| {
            let recorded = self.recorded(*partition).unwrap_or_default();
            let is_history = matches!(self.spec.kind, Kind::History { .. });
            self.next(now) > self.durable(*partition) || (is_history && *now != recorded)
        })
    }

    /// The ordinal that this table counts by.
    fn next(&self, progress: &TaskProgress) -> i64 {
        match self.spec.kind {
            Kind::History { .. } => progress.next_ordinal,
            Kind::DeadLetters => progress.next_dead_letter,
            Kind::RawLog => progress.next_offset,
        }
    }

    /// Commits the finished files against the snapshot that was read last.
    async fn write(&mut self, record: &Progress) -> Result<(), DeltaTableError> {
        let next = |(partition, now): (&i32, &TaskProgress)| (*partition, self.next(now).max(self.durable(*partition)));
        let next: BTreeMap<i32, i64> = record.partitions.iter().map(next).collect();
        let transactions = next.iter().map(|(partition, next)| Transaction::new(self.spec.app_id(*partition), *next));
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false))
            .with_application_transactions(transactions.collect())
            .with_metadata([(progress::KEY.to_string(), serde_json::to_value(record)?)]);
        let files = self.encoder.finish().map_err(|e| DeltaTableError::Generic(e.to_string()))?;
        let adds = files.iter().map(|file| Action::Add(add(&self.spec, file))).collect();
        let operation = DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: Some(vec![self.spec.partition_column.to_string()]),
            predicate: None,
        };
        let snapshot: &dyn TableReference = self.table.snapshot()?;
        let commit = CommitBuilder::from(properties).with_actions(adds);
        let done = commit.build(Some(snapshot), self.table.log_store(), operation).await?;
        let version = done.version();
        self.table.state = Some(done.snapshot());
        let synced = lake::sync(&self.table, vec![lake::commit_path(version)]).await;
        synced.map_err(|e| DeltaTableError::Generic(e.to_string()))?;
        self.seen = Some(version);
        self.durable.extend(next);
        self.recorded.extend(record.partitions.iter().map(|(partition, now)| (*partition, *now)));
        if (version + 1).is_multiple_of(CHECKPOINT_INTERVAL) && self.checkpoint.is_none() {
            self.checkpoint = Some(checkpoint(self.table.clone()));
        }
        Ok(())
    }
}

/// Makes a checkpoint and removes log files that are past their retention and that no manifest needs, away from the
/// commits.
fn checkpoint(table: DeltaTable) -> JoinHandle<()> {
    tokio::task::spawn_blocking(move || {
        let made = tokio::runtime::Handle::current().block_on(async {
            checkpoints::create_checkpoint(&table, None).await.map_err(|e| e.to_string())?;
            manifests::trim_log(&table).await.map_err(|e| e.to_string())
        });
        if let Err(error) = made {
            tracing::warn!(table = %table.table_url(), %error, "checkpoint failed, the next one comes later");
        }
    })
}

/// Another commit took the version, or the same task: read and compare again.
pub fn came_between(error: &DeltaTableError) -> bool {
    matches!(error, DeltaTableError::VersionAlreadyExists(_) | DeltaTableError::Transaction { .. })
}

/// Makes the table; that another made it first is no error.
async fn create(table: &DeltaTable, spec: &TableSpec) -> Result<()> {
    let made = CreateBuilder::new()
        .with_log_store(table.log_store())
        .with_columns(spec.delta_fields()?)
        .with_partition_columns([spec.partition_column])
        .with_configuration(spec.properties())
        .with_raise_if_key_not_exists(false)
        .with_commit_properties(CommitProperties::default().with_max_retries(0))
        .await;
    match made {
        Ok(_) => Ok(()),
        Err(error) if table.verify_deltatable_existence().await.unwrap_or(false) => {
            tracing::debug!(table = %table.table_url(), %error, "table was made by another writer");
            Ok(())
        }
        Err(error) => Err(lake::not_opened(table.table_url(), "create", &error)),
    }
}

/// Refuses a table that is not the one that the topology describes.
pub fn check(table: &DeltaTable, spec: &TableSpec) -> Result<()> {
    let url = table.table_url();
    let snapshot = table.snapshot().map_err(|e| unavailable(url, "read", &e))?;
    let remedy = spec.remedy();
    let expected: Vec<String> = spec.delta_fields()?.iter().map(column_text).collect();
    let found: Vec<String> = snapshot.schema().fields().map(column_text).collect();
    if expected != found {
        let missing: Vec<_> = expected.iter().filter(|column| !found.contains(column)).cloned().collect();
        let extra: Vec<_> = found.iter().filter(|column| !expected.contains(column)).cloned().collect();
        let wanted = if spec.kind == Kind::RawLog { "an archive" } else { "the topology" };
        return Err(Error::refused(format!(
            "the table {url} has other columns than {wanted}: missing [{}], not in {wanted} [{}]{}; {remedy}",
            missing.join(", "),
            extra.join(", "),
            if missing.is_empty() && extra.is_empty() { ", another order" } else { "" },
        )));
    }
    if *snapshot.metadata().partition_columns() != [spec.partition_column] {
        return Err(Error::refused(format!(
            "the table {url} is partitioned by {:?}, not by {}; {remedy}",
            snapshot.metadata().partition_columns(),
            spec.partition_column
        )));
    }
    let now = &spec.fingerprint;
    match snapshot.metadata().configuration().get(spec.identity()) {
        Some(before) if !now.is_empty() && before != now => Err(Error::refused(match spec.kind {
            Kind::RawLog => format!(
                "the archive {url} is of another topic of this name (its id was {before} and is {now}): it was deleted and \
                 made again, or lies in another cluster; {remedy}"
            ),
            _ => format!(
                "the offline table {url} was written by other logic (fingerprint {before}, now {now}); {remedy}"
            ),
        })),
        _ => Ok(()),
    }
}

fn column_text(field: &deltalake::kernel::StructField) -> String {
    format!("{} {}{}", field.name(), field.data_type(), if field.is_nullable() { "" } else { " not null" })
}

/// What puts a file into the table.
pub fn add(spec: &TableSpec, file: &DataFile) -> Add {
    Add {
        path: file.path.clone(),
        partition_values: [(spec.partition_column.to_string(), Some(file.partition_value.clone()))].into(),
        size: file.payload.content_length() as i64,
        modification_time: file.uploaded.unwrap_or_default(),
        data_change: true,
        stats: Some(file.stats.clone()),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}
