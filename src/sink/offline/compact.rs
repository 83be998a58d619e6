//! Compaction: many small files of a date become few large ones with the same rows.
//!
//! Always holds:
//! 1. A compaction changes no row and no time: its commit says of every file that it takes out and puts in that no data
//!    changes, and a file that it takes out stays where it is until a vacuum, so whoever reads an older state goes on.
//! 2. It is committed against a snapshot that still has every file which it replaces, never against a newer one: when
//!    another commit came between, the snapshot is read and looked through again. (The library's own retries do not
//!    notice that another compaction has replaced the same files, and every row would be there twice.)
//! 3. Rows of one task stay in the order of their ordinals within a file, and files keep the house's own encodings.
//! 4. Whatever dies between an upload and its commit leaves a file that no version names.
//!
//! Left out: sorting by anything else, and touching a file that is large enough already.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties, TableReference};
use deltalake::kernel::{Action, Add};
use deltalake::protocol::DeltaOperation;
use futures::{StreamExt, TryStreamExt};

use super::data::{self, OpenedFile, StoredFile};
use super::files::{DataFile, FILE_BYTES, OpenFile, WriterMark};
use super::form::Form;
use super::schema::TableSpec;
use super::table::{ATTEMPTS, UPLOADS, add, came_between, check};
use crate::error::{Error, Result};
use crate::lake::{self, Place, unavailable};
use crate::time::Millis;

/// A file of this size is left alone.
const LARGE_BYTES: u64 = FILE_BYTES as u64 / 4 * 3;
/// So many small files of a date are worth a rewrite while rows still come.
const MANY: usize = 8;
/// A date to which nothing was written for so long is taken for complete.
const QUIET: Millis = 3_600_000;
/// Files whose descriptions are read at once.
const OPENINGS: usize = 8;

/// What is worth a rewrite.
#[derive(Debug, Clone, Copy)]
pub struct CompactHow {
    /// Every date with more than one small file, also one that rows still come to.
    pub all: bool,
    /// Only say what would be done.
    pub dry_run: bool,
    pub now: Millis,
}

/// What was done to a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files of the table before.
    pub files: u64,
    /// Files that were replaced, and those in their place.
    pub replaced: u64,
    pub written: u64,
    /// Bytes of both.
    pub replaced_bytes: u64,
    pub written_bytes: u64,
    pub rows: u64,
    /// The work was stopped before its end.
    pub stopped: bool,
}

/// Files that were rewritten and wait for their commit.
struct Rewritten {
    replaced: Vec<StoredFile>,
    files: Vec<DataFile>,
}

/// Compacts a table; `None` when there is none. `stop` is asked often: when it says so, what is finished is committed.
///
/// # Errors
/// Refused: the table is not the one that the topology describes. Unavailable: the store; nothing is lost.
pub async fn compact(
    place: &Place,
    spec: &TableSpec,
    how: CompactHow,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Option<Compacted>> {
    let Some(table) = place.load(&spec.path).await? else { return Ok(None) };
    check(&table, spec)?;
    let files = data::list(&table, spec)?;
    let mut done = Compacted { files: files.len() as u64, ..Compacted::default() };
    let mut work = Work { form: Form::new(spec)?, spec, table, writer: WriterMark::fresh(), waiting: Vec::new() };
    for bin in worthwhile(files, how) {
        if how.dry_run {
            done.replaced += bin.len() as u64;
            done.replaced_bytes += bytes(&bin);
            done.rows += bin.iter().map(|file| file.rows).sum::<u64>();
            continue;
        }
        match work.rewrite(bin, stop).await? {
            Some(rewritten) => work.waiting.push(rewritten),
            None => done.stopped = true,
        }
        if work.waiting_bytes() >= FILE_BYTES || done.stopped {
            work.commit(&mut done).await?;
        }
        if done.stopped {
            break;
        }
    }
    work.commit(&mut done).await?;
    Ok(Some(done))
}

fn bytes(files: &[StoredFile]) -> u64 {
    files.iter().map(|file| file.bytes).sum()
}

/// The groups of small files that become one each, date by date.
fn worthwhile(files: Vec<StoredFile>, how: CompactHow) -> Vec<Vec<StoredFile>> {
    let mut dates: BTreeMap<String, Vec<StoredFile>> = BTreeMap::new();
    for file in files {
        dates.entry(file.date.clone()).or_default().push(file);
    }
    dates.into_values().flat_map(|files| bins(files, how)).collect()
}

/// The groups of one date, about in the order in which they were written.
fn bins(mut files: Vec<StoredFile>, how: CompactHow) -> Vec<Vec<StoredFile>> {
    let is_quiet = files.iter().all(|file| how.now - file.modified >= QUIET);
    files.retain(|file| file.bytes < LARGE_BYTES);
    files.sort_by(|a, b| (a.modified, &a.path).cmp(&(b.modified, &b.path)));
    let mut bins: Vec<Vec<StoredFile>> = Vec::new();
    for file in files {
        match bins.last_mut() {
            Some(bin) if bytes(bin) + file.bytes <= FILE_BYTES as u64 => bin.push(file),
            _ => bins.push(vec![file]),
        }
    }
    bins.retain(|bin| is_worth(bin, is_quiet, how.all));
    bins
}

/// A rewrite must at least double its largest file, or every few late rows would cost a large one: so a row is rewritten
/// a number of times that grows with the logarithm of a date's size. Beside a complete date a few stragglers may stay.
fn is_worth(bin: &[StoredFile], is_quiet: bool, all: bool) -> bool {
    let largest = bin.iter().map(|file| file.bytes).max().unwrap_or(0);
    let (doubles, many) = (largest * 2 <= bytes(bin), bin.len() >= MANY);
    let worth = if is_quiet { doubles || many } else { doubles && many };
    bin.len() > 1 && (all || worth)
}

/// A compaction of one table.
struct Work<'a> {
    spec: &'a TableSpec,
    form: Form,
    table: DeltaTable,
    writer: WriterMark,
    waiting: Vec<Rewritten>,
}

impl Work<'_> {
    /// Reads the rows of these files, which are of one date, and writes them to new ones; `None` when it is to stop first.
    async fn rewrite(&self, files: Vec<StoredFile>, stop: &(dyn Fn() -> bool + Sync)) -> Result<Option<Rewritten>> {
        let opening = files.iter().map(|file| async move {
            let opened = OpenedFile::open(&self.table, self.spec, file).await?;
            let ordinals = opened.ordinals(self.spec).await?;
            Ok::<_, Error>((opened, ordinals))
        });
        let opening = opening.collect::<Vec<_>>();
        let opened: Vec<_> = futures::stream::iter(opening).buffered(OPENINGS).try_collect().await?;
        let (opened, ordinals): (Vec<_>, Vec<_>) = opened.into_iter().unzip();
        let rows: usize = opened.iter().map(OpenedFile::rows).sum();
        let (mut written, mut out, mut left) = (Vec::new(), OpenFile::new(&self.form, rows)?, rows);
        let date = files.first().map(|file| file.date.clone()).unwrap_or_default();
        for index in in_order(&ordinals) {
            let mut batches = opened[index].read(None, None)?;
            while let Some(batch) = batches.try_next().await? {
                if stop() {
                    return Ok(None);
                }
                left = left.saturating_sub(batch.num_rows());
                out.write(&batch)?;
                if out.bytes() >= FILE_BYTES && left > 0 {
                    let full = std::mem::replace(&mut out, OpenFile::new(&self.form, left)?);
                    written.push(full.seal(self.spec, date.clone(), self.writer)?);
                }
            }
        }
        written.push(out.seal(self.spec, date, self.writer)?);
        let found = written.iter().map(|file| file.rows).sum::<u64>();
        if found != rows as u64 {
            return Err(Error::internal(format!("{} of {rows} rows of {} were read", found, self.spec.path)));
        }
        Ok(Some(Rewritten { replaced: files, files: written }))
    }

    fn waiting_bytes(&self) -> usize {
        self.waiting.iter().flat_map(|rewritten| &rewritten.files).map(|file| file.payload.content_length()).sum()
    }

    /// Uploads what waits and puts it in the place of what it was made from, where that is still there.
    async fn commit(&mut self, done: &mut Compacted) -> Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.upload().await?;
        let url = self.table.table_url().clone();
        for attempt in 0..ATTEMPTS {
            tokio::time::sleep(Duration::from_millis(u64::from(attempt) * 10)).await;
            self.table.update_state().await.map_err(|e| unavailable(&url, "read", &e))?;
            self.drop_overtaken()?;
            if self.waiting.is_empty() {
                return Ok(());
            }
            match self.write().await {
                Ok(()) => {
                    self.waiting.drain(..).for_each(|rewritten| done.count(&rewritten));
                    return Ok(());
                }
                Err(error) if came_between(&error) => continue,
                Err(error) => return Err(unavailable(&url, "commit a compaction to", &error)),
            }
        }
        Err(unavailable(&url, "commit a compaction to", &format!("others came between {ATTEMPTS} times")))
    }

    async fn upload(&mut self) -> Result<()> {
        let table = &self.table;
        let files: Vec<&mut DataFile> = self.waiting.iter_mut().flat_map(|rewritten| &mut rewritten.files).collect();
        let uploads = files.iter().map(|file| lake::upload(table, &file.path, &file.payload)).collect::<Vec<_>>();
        let stored: Vec<i64> = futures::stream::iter(uploads).buffered(UPLOADS).try_collect().await?;
        lake::sync(table, files.iter().map(|file| file.path.clone()).collect()).await?;
        for (file, at) in files.into_iter().zip(stored) {
            file.set_uploaded(at);
        }
        Ok(())
    }

    /// Another compaction has replaced some of the same files: what was made of them has no place any more.
    fn drop_overtaken(&mut self) -> Result<()> {
        let active: HashSet<String> = data::list(&self.table, self.spec)?.into_iter().map(|file| file.path).collect();
        self.waiting.retain(|rewritten| rewritten.replaced.iter().all(|file| active.contains(&file.path)));
        Ok(())
    }

    /// Commits against the snapshot that was looked through last.
    async fn write(&mut self) -> Result<(), deltalake::DeltaTableError> {
        let replaced = self.waiting.iter().flat_map(|rewritten| &rewritten.replaced);
        let written = self.waiting.iter().flat_map(|rewritten| &rewritten.files);
        let mut actions: Vec<Action> = replaced.map(|file| Action::Remove(file.remove.clone())).collect();
        actions.extend(written.map(|file| Action::Add(Add { data_change: false, ..add(self.spec, file) })));
        let properties = CommitProperties::default().with_max_retries(0).with_cleanup_expired_logs(Some(false));
        let operation = DeltaOperation::Optimize { predicate: None, target_size: FILE_BYTES as i64 };
        let snapshot: &dyn TableReference = self.table.snapshot()?;
        let commit = CommitBuilder::from(properties).with_actions(actions);
        let committed = commit.build(Some(snapshot), self.table.log_store(), operation).await?;
        self.table.state = Some(committed.snapshot());
        let synced = lake::sync(&self.table, vec![lake::commit_path(committed.version())]).await;
        synced.map_err(|e| deltalake::DeltaTableError::Generic(e.to_string()))
    }
}

impl Compacted {
    fn count(&mut self, rewritten: &Rewritten) {
        self.replaced += rewritten.replaced.len() as u64;
        self.replaced_bytes += bytes(&rewritten.replaced);
        self.written += rewritten.files.len() as u64;
        self.written_bytes += rewritten.files.iter().map(|file| file.payload.content_length() as u64).sum::<u64>();
        self.rows += rewritten.files.iter().map(|file| file.rows).sum::<u64>();
    }

    /// Adds what was done to another table.
    pub fn add(&mut self, other: &Self) {
        self.files += other.files;
        self.replaced += other.replaced;
        self.written += other.written;
        self.replaced_bytes += other.replaced_bytes;
        self.written_bytes += other.written_bytes;
        self.rows += other.rows;
        self.stopped |= other.stopped;
    }
}

/// An order of files, given the first and last ordinal of each task in them, in which the ordinals of every task ascend.
/// There is one as long as only Kappa has written them; otherwise those that do not fit come as they are given.
fn in_order(ordinals: &[BTreeMap<i32, (i64, i64)>]) -> Vec<usize> {
    let mut tasks: BTreeMap<i32, Vec<(i64, usize)>> = BTreeMap::new();
    for (file, ranges) in ordinals.iter().enumerate() {
        ranges.iter().for_each(|(partition, range)| tasks.entry(*partition).or_default().push((range.0, file)));
    }
    let mut after: HashMap<usize, Vec<usize>> = HashMap::new();
    let mut before = vec![0_usize; ordinals.len()];
    for files in tasks.values_mut() {
        files.sort_unstable();
        for pair in files.windows(2) {
            after.entry(pair[0].1).or_default().push(pair[1].1);
            before[pair[1].1] += 1;
        }
    }
    let mut left: BTreeSet<usize> = (0..ordinals.len()).collect();
    let mut free: BTreeSet<usize> = left.iter().copied().filter(|file| before[*file] == 0).collect();
    let mut order = Vec::with_capacity(ordinals.len());
    while let Some(file) = free.pop_first().or_else(|| left.first().copied()) {
        if !left.remove(&file) {
            continue;
        }
        order.push(file);
        for &next in after.get(&file).into_iter().flatten() {
            before[next] = before[next].saturating_sub(1);
            if before[next] == 0 {
                free.insert(next);
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(path: &str, bytes: u64, modified: Millis) -> StoredFile {
        let remove = deltalake::kernel::Remove { path: path.into(), ..Default::default() };
        StoredFile { path: path.into(), date: "2024-02-29".into(), bytes, rows: 1, modified, remove }
    }

    fn how(all: bool, now: Millis) -> CompactHow {
        CompactHow { all, dry_run: false, now }
    }

    fn paths(bins: &[Vec<StoredFile>]) -> Vec<String> {
        bins.iter().map(|bin| bin.iter().map(|file| file.path.as_str()).collect()).collect()
    }

    #[test]
    fn small_files_are_grouped_as_they_were_written_up_to_a_full_file() {
        let mb = 1 << 20;
        let files = vec![
            stored("c", 60 * mb, 3),
            stored("a", 50 * mb, 1),
            stored("L", 100 * mb, 2),
            stored("b", 60 * mb, 2),
            stored("d", 60 * mb, 4),
        ];
        assert_eq!(paths(&bins(files, how(true, 5))), ["ab", "cd"]);
        assert!(bins(vec![stored("a", mb, 1), stored("L", 96 * mb, 2)], how(true, 5)).is_empty());
    }

    #[test]
    fn a_date_that_rows_still_come_to_waits_for_many_and_a_large_file_for_as_much_again() {
        let small = |n: i64| (0..n).map(|at| stored(&at.to_string(), 10, at)).collect::<Vec<_>>();
        let (now, quiet) = (how(false, 100), how(false, QUIET + 100));
        assert!(bins(small(7), now).is_empty());
        assert_eq!(paths(&bins(small(8), now)), ["01234567"]);
        assert_eq!(paths(&bins(small(2), quiet)), ["01"]);
        let with_large = |n: i64| [small(n), vec![stored("L", 1000, 50)]].concat();
        assert!(bins(with_large(8), now).is_empty(), "all of the large one for 80 bytes");
        assert!(bins(with_large(3), quiet).is_empty());
        assert_eq!(bins(with_large(8), quiet).len(), 1, "so many are merged once rows have stopped coming");
        assert_eq!(bins(with_large(1), how(true, 100)).len(), 1);
    }

    #[test]
    fn every_tasks_ordinals_ascend_through_the_files() {
        let file = |ranges: &[(i32, i64, i64)]| ranges.iter().map(|(p, low, high)| (*p, (*low, *high))).collect();
        // Two tasks; task 1's second file lies before task 0's second.
        let files = [
            file(&[(0, 10, 19)]),
            file(&[(1, 5, 9)]),
            file(&[(0, 0, 9), (1, 0, 4)]),
            file(&[(0, 20, 29), (1, 10, 11)]),
        ];
        assert_eq!(in_order(&files), [2, 0, 1, 3]);
        // No order fits: none is lost.
        let torn = [file(&[(0, 0, 4), (1, 5, 9)]), file(&[(0, 5, 9), (1, 0, 4)])];
        assert_eq!(in_order(&torn), [0, 1]);
        assert_eq!(in_order(&[]), Vec::<usize>::new());
    }
}
