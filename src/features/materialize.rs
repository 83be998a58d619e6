//! Materialize: an online store filled from the history, without a replay.
//!
//! For every key the newest row of its history is published through the store's own port, as the pipeline publishes it:
//! the same text under the same position. Newer wins inside the store, so a run beside a pipeline takes nothing back, and
//! running it again changes nothing. What the store has already (a position that is not behind) is neither read in full
//! nor written: so the same command, after whatever ended it, goes on where it was, and the store itself is the only
//! record of how far it came: a store that lost its data again is filled again.
//!
//! Always holds: the memory of one run is bounded, whatever the history's size. Dates are gone through newest first; of a
//! key that was seen in a later date older rows need no look. The two tables of keys share the bound: when the one of a
//! date is full its rows are published and it begins anew, and keys beyond the other's bound are looked up in the store
//! once for every date that has them. Neither changes what the store ends with.
//!
//! Left out: rows that wait in a pipeline's outbox, what only time has changed since an entity's last row, and entities
//! without a history. They are the pipeline's.

use std::time::{Duration, Instant};

use arrow::array::{Array, RecordBatch};
use foldhash::fast::RandomState;
use futures::{StreamExt, TryStreamExt};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use xxhash_rust::xxh3::{xxh3_128, xxh3_128_with_seed};

use crate::error::{ErrorKind, Result};
use crate::sink::offline::{History, Places, StoredFile};
use crate::sink::online::text::{OnlineKey, POSITION_FIELD};
use crate::sink::online::{OnlineBatch, OnlineStore, Position};
use crate::topology::{EntityPlan, Plan};

/// Entities that are looked up or published at once.
const PAGE: usize = 1024;
/// Files that are opened ahead.
const AHEAD: usize = 4;
/// Bytes of memory for one key of a date, and for one that was seen, with what a hash table leaves free.
const NEWEST_BYTES: u64 = 128;
const SEEN_BYTES: u64 = 64;
/// The pause after the first call that failed, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Fills an online store.
pub struct Materializer<'a> {
    pub plan: &'a Plan,
    pub store: &'a dyn OnlineStore,
    /// The rank of the version's rows in the store.
    pub generation: u64,
    pub version: u32,
    /// Memory for keys.
    pub bound_bytes: u64,
    /// How long a store that does not answer is asked again.
    pub patience: Duration,
    /// Told of rows gone through.
    pub progress: &'a (dyn Fn(u64) + Sync),
}

/// What became of one entity's history.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filled {
    /// Rows gone through.
    pub rows: u64,
    /// Keys that were published, and those that the store had (beyond the bound a key may count several times).
    pub written: u64,
    pub present: u64,
    /// Of the ids asked for, those without a row.
    pub missing: Vec<String>,
}

impl Materializer<'_> {
    /// Publishes the newest row of every key of a history, or of these ids.
    ///
    /// # Errors
    /// Unavailable: a store, for longer than the patience; run it again, and it goes on. Others as the port has them.
    pub async fn fill(&self, history: &History, ids: Option<&[String]>) -> Result<Filled> {
        let mut scan = Scan::new(self.bound_bytes, ids);
        let mut filled = Filled::default();
        for files in history.dates() {
            if scan.is_complete() {
                break;
            }
            let opening = files
                .iter()
                .enumerate()
                .map(|(index, file)| async move { history.open_file(file).await.map(|opened| (index, opened)) });
            let opening = opening.collect::<Vec<_>>();
            let mut opened = futures::stream::iter(opening).buffered(AHEAD);
            while let Some((index, file)) = opened.try_next().await? {
                let (mut places, mut at) = (file.places(None)?, 0);
                while let Some(batch) = places.try_next().await? {
                    let rows = batch.keys.len();
                    scan.take(index as u32, at, &batch);
                    at += rows as u32;
                    filled.rows += rows as u64;
                    (self.progress)(rows as u64);
                    if scan.is_full() {
                        self.publish(history, files, scan.drain(), &mut filled).await?;
                    }
                }
            }
            self.publish(history, files, scan.drain(), &mut filled).await?;
            scan.next_date();
        }
        filled.missing = scan.missing();
        Ok(filled)
    }

    async fn publish(
        &self,
        history: &History,
        files: &[StoredFile],
        newest: Vec<Newest>,
        filled: &mut Filled,
    ) -> Result<()> {
        let entity = &self.plan.entities[history.entity];
        for of_file in newest.chunk_by(|a, b| a.file == b.file) {
            let file = history.open_file(&files[of_file[0].file as usize]).await?;
            let rows: Vec<u32> = of_file.iter().map(|newest| newest.row).collect();
            let (mut lacking, mut at) = (Vec::new(), 0);
            let mut places = file.places(Some(&rows))?;
            while let Some(batch) = places.try_next().await? {
                let here = &rows[at..at + batch.keys.len()];
                at += here.len();
                self.lacking(entity, &batch, here, &mut lacking).await?;
            }
            filled.present += (rows.len() - lacking.len()) as u64;
            if lacking.is_empty() {
                continue;
            }
            let mut wanted = file.rows_at(&lacking)?;
            while let Some((partitions, rows)) = wanted.try_next().await? {
                self.send(entity, partitions.values(), &rows).await?;
                filled.written += rows.num_rows() as u64;
            }
        }
        Ok(())
    }

    /// Adds those of the rows that the store lacks or has an older one of.
    async fn lacking(&self, entity: &EntityPlan, places: &Places, rows: &[u32], lacking: &mut Vec<u32>) -> Result<()> {
        let (key, fields) = (OnlineKey::of(entity), [POSITION_FIELD]);
        for from in (0..rows.len()).step_by(PAGE) {
            let page = from..rows.len().min(from + PAGE);
            let keys: Vec<String> = page.clone().map(|row| key.text(places.keys.value(row))).collect();
            let stored = self.patiently(|| self.store.get_many(&keys, &fields)).await?;
            for (row, stored) in page.zip(stored.iter()) {
                let text = stored.and_then(|stored| stored.text(0));
                let stored = text.and_then(|text| text.parse::<Position>().ok());
                if stored.is_none_or(|stored| stored < self.position(places, row)) {
                    lacking.push(rows[row]);
                }
            }
        }
        Ok(())
    }

    fn position(&self, places: &Places, row: usize) -> Position {
        Position {
            generation: self.generation,
            partition: places.partitions.value(row),
            offset: places.offsets.value(row),
            sequence: places.sequences.value(row),
            refresh: None,
        }
    }

    async fn send(&self, entity: &EntityPlan, partitions: &[i32], rows: &RecordBatch) -> Result<()> {
        let mut from = 0;
        for run in partitions.chunk_by(|a, b| a == b) {
            let picks: Vec<u32> = (from..from + run.len()).map(|row| row as u32).collect();
            from += run.len();
            for picks in picks.chunks(PAGE) {
                let (partition, generation, version) = (run[0], self.generation, self.version);
                let (source, refresh) = (&self.plan.source, None);
                let batch = OnlineBatch { source, entity, rows, picks, partition, generation, version, refresh };
                self.patiently(|| self.store.publish(&batch)).await?;
            }
        }
        Ok(())
    }

    /// Calls until it succeeds, or for as long as the patience lasts.
    async fn patiently<T, F>(&self, mut call: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let (began, mut pause) = (Instant::now(), PAUSES.0);
        loop {
            match call().await {
                Err(error) if error.kind() == ErrorKind::Unavailable && began.elapsed() + pause <= self.patience => {
                    tracing::warn!(pause_ms = pause.as_millis() as u64, "online store: {error}; asking again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSES.1);
                }
                outcome => return outcome,
            }
        }
    }
}

/// Where the newest row of a key lies within a date, as far as known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Newest {
    ordinal: i64,
    file: u32,
    row: u32,
}

/// Keys by a digest of 128 bits: two of them do not meet.
type ByKey<T> = HashMap<u128, T, RandomState>;

/// One way through a history, newest date first.
struct Scan {
    /// How many dates were gone through.
    date: u32,
    /// Of this date: by key and partition, where the newest row lies.
    newest: ByKey<Newest>,
    most_newest: usize,
    /// By key and partition: the date in which it was seen first, which is its latest.
    seen: ByKey<u32>,
    most_seen: usize,
    /// Only these ids, each with whether it was found.
    wanted: Option<ByKey<(String, bool)>>,
}

impl Scan {
    fn new(bound_bytes: u64, ids: Option<&[String]>) -> Self {
        let entry = |id: &String| (xxh3_128(id.as_bytes()), (id.clone(), false));
        Self {
            date: 0,
            newest: ByKey::default(),
            most_newest: (bound_bytes / 2 / NEWEST_BYTES).max(1) as usize,
            seen: ByKey::default(),
            most_seen: (bound_bytes / 2 / SEEN_BYTES) as usize,
            wanted: ids.map(|ids| ids.iter().map(entry).collect()),
        }
    }

    /// Takes neighbouring rows of a file, from this row number on.
    fn take(&mut self, file: u32, first: u32, places: &Places) {
        for row in 0..places.keys.len() {
            let key = places.keys.value(row).as_bytes();
            if let Some(wanted) = &mut self.wanted {
                match wanted.get_mut(&xxh3_128(key)) {
                    Some((_, found)) => *found = true,
                    None => continue,
                }
            }
            let digest = xxh3_128_with_seed(key, places.partitions.value(row) as u64);
            if self.seen.get(&digest).is_some_and(|date| *date < self.date) {
                continue;
            }
            let found = Newest { ordinal: places.ordinals.value(row), file, row: first + row as u32 };
            match self.newest.entry(digest) {
                Entry::Occupied(mut known) if known.get().ordinal < found.ordinal => *known.get_mut() = found,
                Entry::Occupied(_) => {}
                Entry::Vacant(free) => drop(free.insert(found)),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.newest.len() >= self.most_newest
    }

    /// What was found since, by file and row.
    fn drain(&mut self) -> Vec<Newest> {
        let mut found = Vec::with_capacity(self.newest.len());
        for (key, newest) in self.newest.drain() {
            if self.seen.len() < self.most_seen || self.seen.contains_key(&key) {
                self.seen.entry(key).or_insert(self.date);
            }
            found.push(newest);
        }
        found.sort_unstable_by_key(|newest| (newest.file, newest.row));
        found
    }

    fn next_date(&mut self) {
        self.date += 1;
    }

    /// Whether every id asked for was found, so that older dates have nothing to tell.
    fn is_complete(&self) -> bool {
        self.wanted.as_ref().is_some_and(|wanted| wanted.values().all(|(_, found)| *found))
    }

    fn missing(self) -> Vec<String> {
        let wanted = self.wanted.unwrap_or_default().into_values();
        let mut missing: Vec<String> = wanted.filter_map(|(id, found)| (!found).then_some(id)).collect();
        missing.sort_unstable();
        missing
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int32Array, Int64Array, StringArray};

    use super::*;

    /// Rows `(key, ordinal)` of partition 0.
    fn places(rows: &[(&str, i64)]) -> Places {
        let ordinals = Int64Array::from_iter_values(rows.iter().map(|row| row.1));
        Places {
            keys: StringArray::from_iter_values(rows.iter().map(|row| row.0)),
            partitions: Int32Array::from(vec![0; rows.len()]),
            offsets: ordinals.clone(),
            sequences: Int32Array::from(vec![0; rows.len()]),
            ordinals,
        }
    }

    fn rows(found: &[Newest]) -> Vec<(u32, u32)> {
        found.iter().map(|newest| (newest.file, newest.row)).collect()
    }

    #[test]
    fn the_newest_row_of_a_date_is_the_one_with_the_largest_ordinal_wherever_it_lies() {
        let mut scan = Scan::new(1 << 20, None);
        scan.take(0, 0, &places(&[("a", 5), ("b", 9), ("a", 3)]));
        scan.take(1, 100, &places(&[("b", 2), ("a", 7), ("c", 1)]));
        assert_eq!(rows(&scan.drain()), [(0, 1), (1, 101), (1, 102)]);
    }

    #[test]
    fn a_key_of_a_later_date_needs_no_look_in_an_older_one() {
        let mut scan = Scan::new(1 << 20, None);
        scan.take(0, 0, &places(&[("a", 50)]));
        scan.drain();
        // The date goes on after its table was full: a newer row of the same key counts.
        scan.take(1, 0, &places(&[("a", 60)]));
        assert_eq!(rows(&scan.drain()), [(1, 0)]);
        scan.next_date();
        scan.take(0, 0, &places(&[("a", 40), ("b", 1)]));
        assert_eq!(rows(&scan.drain()), [(0, 1)]);
    }

    #[test]
    fn beyond_its_bound_a_key_is_looked_at_again_and_never_passed_over() {
        let mut scan = Scan::new(0, None);
        assert_eq!((scan.most_newest, scan.most_seen), (1, 0));
        scan.take(0, 0, &places(&[("a", 50)]));
        assert!(scan.is_full());
        scan.drain();
        scan.next_date();
        scan.take(0, 0, &places(&[("a", 40)]));
        assert_eq!(rows(&scan.drain()), [(0, 0)], "the store itself says then that it has a newer one");
    }

    #[test]
    fn only_the_ids_asked_for_are_taken_and_those_without_a_row_named() {
        let ids = ["a", "x"].map(String::from);
        let mut scan = Scan::new(1 << 20, Some(&ids));
        scan.take(0, 0, &places(&[("b", 1), ("a", 2)]));
        assert_eq!(rows(&scan.drain()), [(0, 1)]);
        assert!(!scan.is_complete());
        assert_eq!(scan.missing(), ["x"]);
        let mut scan = Scan::new(1 << 20, Some(&ids[..1]));
        scan.take(0, 0, &places(&[("a", 2)]));
        assert!(scan.is_complete());
    }
}
