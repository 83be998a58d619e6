//! The outbox of one task, seen by its writer (the task's worker) and its readers (the sinks' cursors).
//!
//! Invariants: epochs are appended in order; an epoch stays in the store until both sinks have acknowledged it; what is
//! in memory is a copy that saves a read. A sink that is down lets it grow to its bound, then the worker waits; not
//! while every last row is wanted, or neither side would come to it.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::state::keys::{Key, parse_outbox};
use crate::state::{Batch, Epoch, RocksStore, Store};

/// A reader of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    Online,
    Offline,
}

impl Cursor {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Online, Self::Offline];

    /// Its name in keys and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
        }
    }
}

/// Bytes of decoded epochs kept in memory for each task.
const HELD_BYTES: u64 = 64 << 20;

/// One task's outbox.
#[derive(Debug)]
pub struct Outbox {
    partition: i32,
    store: Arc<RocksStore>,
    bound: u64,
    state: Mutex<State>,
    room: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    bytes: u64,
    held: u64,
    head: u64,
    acknowledged: [u64; 2],
    /// The next offset that was published with the last epoch that the online store has.
    published_to: i64,
    all: All,
    fenced: bool,
}

/// Every entity's last row, for an online store that lost data or sees a version for the first time.
///
/// ```text
/// no --want_all--> wanted --begin_all (worker)--> under way --end_all (publisher)--> no
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum All {
    #[default]
    No,
    Wanted,
    UnderWay,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    bytes: u64,
    epoch: Option<Arc<Epoch>>,
}

impl Outbox {
    /// Opens what the store holds; `head` is the number of the task's last epoch.
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn open(partition: i32, store: Arc<RocksStore>, head: u64, bound: u64) -> Result<Self> {
        let mut state = State { head, ..State::default() };
        for cursor in Cursor::ALL {
            let stored = store.get(&Key::Cursor { sink: cursor.name() }.bytes())?;
            let stored = stored.unwrap_or_default();
            let number = stored.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
            state.acknowledged[cursor as usize] = number;
            if let (Cursor::Online, Some(next_offset)) = (cursor, stored.get(8..).and_then(<[u8]>::first_chunk)) {
                state.published_to = i64::from_be_bytes(*next_offset);
            }
        }
        let mut from = Key::Outbox { epoch: 0 }.bytes();
        loop {
            let page = store.scan(&from, b"p", 16)?;
            for (key, value) in &page {
                let number = parse_outbox(key).ok_or_else(|| Error::state("the outbox has a key of another kind"))?;
                state.entries.push_back(Entry { number, bytes: value.len() as u64, epoch: None });
                state.bytes += value.len() as u64;
            }
            match page.last() {
                Some((key, _)) => from = [key.as_slice(), &[0]].concat(),
                None => break,
            }
        }
        Ok(Self { partition, store, bound, state: Mutex::new(state), room: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Shows an epoch that the task has just committed to its sinks.
    pub fn push(&self, epoch: Epoch) {
        let bytes = epoch.bytes();
        let mut state = self.state();
        state.head = epoch.number;
        state.bytes += bytes;
        state.held += bytes;
        state.entries.push_back(Entry { number: epoch.number, bytes, epoch: Some(Arc::new(epoch)) });
        let mut index = 0;
        while state.held > HELD_BYTES && index + 1 < state.entries.len() {
            if state.entries[index].epoch.take().is_some() {
                state.held -= state.entries[index].bytes;
            }
            index += 1;
        }
    }

    /// Waits while the outbox is beyond its bound; at most this long.
    pub fn wait_for_room(&self, at_most: Duration) -> bool {
        let state = self.state();
        let (state, _) = self
            .room
            .wait_timeout_while(state, at_most, |state| !has_room(state, self.bound))
            .unwrap_or_else(PoisonError::into_inner);
        has_room(&state, self.bound)
    }

    /// Asks the worker for every entity's last row; until [`Self::end_all`] nothing of the outbox is published.
    pub fn want_all(&self) {
        self.state().all = All::Wanted;
        self.room.notify_all();
    }

    /// Whether the worker is asked for them.
    pub fn is_all_wanted(&self) -> bool {
        self.state().all == All::Wanted
    }

    /// The worker begins to send them; false when they are not wanted any more.
    pub fn begin_all(&self) -> bool {
        let mut state = self.state();
        let wanted = state.all == All::Wanted;
        if wanted {
            state.all = All::UnderWay;
        }
        wanted
    }

    /// The store has them, and says so.
    pub fn end_all(&self) {
        self.state().all = All::No;
    }

    /// Fences the online store off, or opens it: behind the fence the cursor moves and nothing is sent.
    pub fn set_fenced(&self, fenced: bool) {
        self.state().fenced = fenced;
    }

    /// Whether it is fenced off.
    pub fn is_fenced(&self) -> bool {
        self.state().fenced
    }

    /// Whether they are wanted or under way.
    pub fn awaits_all(&self) -> bool {
        self.state().all != All::No
    }

    /// Epochs after `after`, oldest first, at least one if there is one, otherwise up to `budget` bytes.
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn read(&self, after: u64, budget: u64) -> Result<Vec<Arc<Epoch>>> {
        let mut wanted = Vec::new();
        {
            let state = self.state();
            let first = state.entries.partition_point(|entry| entry.number <= after);
            let mut bytes = 0;
            for entry in state.entries.range(first..) {
                if !wanted.is_empty() && bytes + entry.bytes > budget {
                    break;
                }
                bytes += entry.bytes;
                wanted.push((entry.number, entry.epoch.clone()));
            }
        }
        wanted.into_iter().map(|(number, epoch)| epoch.map_or_else(|| self.load(number), Ok)).collect()
    }

    fn load(&self, number: u64) -> Result<Arc<Epoch>> {
        let bytes = self.store.get(&Key::Outbox { epoch: number }.bytes())?.ok_or_else(|| {
            Error::state(format!("epoch {number} of partition {} is missing from the outbox", self.partition))
        })?;
        Ok(Arc::new(Epoch::decode(&bytes)?))
    }

    /// A sink has everything up to and including epoch `number`; what both have is trimmed.
    ///
    /// # Errors
    /// State: the store cannot be written.
    pub fn acknowledge(&self, cursor: Cursor, number: u64) -> Result<()> {
        if number <= self.acknowledged(cursor) {
            return Ok(());
        }
        self.move_cursor(cursor, number, 0)
    }

    /// The online store has everything up to and including epoch `number`, and its progress says `next_offset`: a later
    /// run holds it against that.
    ///
    /// # Errors
    /// State: the store cannot be written.
    pub fn published(&self, number: u64, next_offset: i64) -> Result<()> {
        self.move_cursor(Cursor::Online, number.max(self.acknowledged(Cursor::Online)), next_offset)
    }

    fn move_cursor(&self, cursor: Cursor, number: u64, published_to: i64) -> Result<()> {
        let mut batch = Batch::default();
        {
            let mut state = self.state();
            state.acknowledged[cursor as usize] = number;
            let mut value = number.to_be_bytes().to_vec();
            if cursor == Cursor::Online {
                state.published_to = published_to;
                value.extend_from_slice(&published_to.to_be_bytes());
            }
            batch.put(&Key::Cursor { sink: cursor.name() }.bytes(), &value);
            let both = state.acknowledged.into_iter().min().unwrap_or(0);
            while let Some(entry) = state.entries.pop_front_if(|entry| entry.number <= both) {
                batch.delete(&Key::Outbox { epoch: entry.number }.bytes());
                state.bytes -= entry.bytes;
                state.held -= entry.epoch.map_or(0, |_| entry.bytes);
            }
        }
        self.store.write(&batch)?;
        self.room.notify_all();
        Ok(())
    }

    /// This run has no such sink: nothing waits for it. Its stored cursor stays.
    pub fn without(&self, cursor: Cursor) {
        self.state().acknowledged[cursor as usize] = u64::MAX;
    }

    /// The number of the last epoch.
    pub fn head(&self) -> u64 {
        self.state().head
    }

    /// The last epoch that a sink has.
    pub fn acknowledged(&self, cursor: Cursor) -> u64 {
        self.state().acknowledged[cursor as usize]
    }

    /// The next offset up to which the online store was last told to be; 0 when it was not.
    pub fn published_to(&self) -> i64 {
        self.state().published_to
    }

    /// Bytes and epochs that a sink does not have yet.
    pub fn waiting(&self, cursor: Cursor) -> (u64, u64) {
        let state = self.state();
        let acknowledged = state.acknowledged[cursor as usize];
        let waiting = state.entries.iter().filter(|entry| entry.number > acknowledged);
        waiting.fold((0, 0), |(bytes, epochs), entry| (bytes + entry.bytes, epochs + 1))
    }

    /// How much of the bound a sink does not have yet, from 0 to 1 and beyond.
    pub fn pressure(&self, cursor: Cursor) -> f64 {
        self.waiting(cursor).0 as f64 / self.bound.max(1) as f64
    }

    /// Makes everything that the task has committed survive the machine.
    ///
    /// # Errors
    /// State: the disk.
    pub fn sync(&self) -> Result<()> {
        self.store.sync()
    }
}

fn has_room(state: &State, bound: u64) -> bool {
    state.bytes <= bound || state.all == All::Wanted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::RocksShared;

    fn outbox(dir: &tempfile::TempDir, bound: u64) -> Outbox {
        let store = RocksStore::open(dir.path(), &RocksShared::new(1 << 20, 1 << 20, 64)).unwrap();
        Outbox::open(0, Arc::new(store), 0, bound).unwrap()
    }

    #[test]
    fn what_was_published_is_known_to_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        {
            let outbox = outbox(&dir, 1);
            outbox.acknowledge(Cursor::Offline, 3).unwrap();
            outbox.published(2, 20).unwrap();
        }
        let outbox = outbox(&dir, 1);
        let cursors = Cursor::ALL.map(|cursor| outbox.acknowledged(cursor));
        assert_eq!((cursors, outbox.published_to()), ([2, 3], 20));
    }

    #[test]
    fn a_full_outbox_has_room_while_every_last_row_is_wanted() {
        let dir = tempfile::tempdir().unwrap();
        let outbox = outbox(&dir, 0);
        outbox.state().bytes = 1;
        let waits = || !outbox.wait_for_room(Duration::from_millis(1));
        assert!(waits() && !outbox.awaits_all());
        outbox.want_all();
        assert!(!waits() && outbox.is_all_wanted());
        assert!(outbox.begin_all() && !outbox.begin_all());
        assert!(waits() && outbox.awaits_all());
        outbox.end_all();
        assert!(waits() && !outbox.awaits_all());
    }
}
