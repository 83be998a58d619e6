//! The timers of a partition: the near ones in memory, all of them in the store.
//!
//! An entity has one timer, its next. Every stored timer before `horizon` is in `near`; later ones are read when the
//! watermark comes close. Entries are not removed when an entity's timer moves: the task compares an entry with the
//! entity's own timer when it comes up, and passes over one that does not agree.
//!
//! Invariant: a timer that was set and not yet written with an epoch is in `near` or in `unwritten`.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::cache::Id;
use crate::error::Result;
use crate::state::Store;
use crate::state::keys::{Key, parse_timer};
use crate::time::Millis;

/// Timers read from the store at once.
const READ_AHEAD: usize = 16_384;
/// Timers kept in memory; beyond it the farthest are dropped from memory (never from the store).
const NEAR_BOUND: usize = 1 << 20;

type Entry = (u16, Id);

/// A partition's timers.
#[derive(Debug)]
pub struct Timers {
    near: BTreeMap<Millis, Vec<Entry>>,
    count: usize,
    /// `None`: everything stored is in memory.
    horizon: Option<Millis>,
    unwritten: Vec<(Millis, Entry)>,
    /// The timers of one instant, in the order in which they fire.
    due: VecDeque<Entry>,
    due_at: Millis,
}

impl Timers {
    /// Nothing read yet.
    pub fn new() -> Self {
        let horizon = Some(Millis::MIN);
        Self { near: BTreeMap::new(), count: 0, horizon, unwritten: Vec::new(), due: VecDeque::new(), due_at: 0 }
    }

    /// An entity's next timer is at `tau` now.
    pub fn set(&mut self, tau: Millis, entity: u16, id: &Id) {
        let entry = (entity, Arc::clone(id));
        if self.horizon.is_none_or(|horizon| tau < horizon) {
            self.near.entry(tau).or_default().push(entry);
            self.count += 1;
        } else {
            self.unwritten.push((tau, entry));
        }
    }

    /// Everything set so far is in the store now.
    pub fn written(&mut self) {
        self.unwritten.clear();
        while self.count > NEAR_BOUND && self.near.len() > 1 {
            let Some((tau, entries)) = self.near.pop_last() else { return };
            self.count -= entries.len();
            self.horizon = Some(tau);
        }
    }

    /// The next entry at or before `until`, by (tau, entity, id).
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn pop(&mut self, until: Millis, store: &dyn Store) -> Result<Option<(Millis, u16, Id)>> {
        if self.due.is_empty() {
            self.read_until(until, store)?;
            let Some(first) = self.near.first_entry().filter(|first| *first.key() <= until) else {
                return Ok(None);
            };
            self.due_at = *first.key();
            let mut entries = first.remove();
            self.count -= entries.len();
            entries.sort_unstable();
            entries.dedup();
            self.due = entries.into();
        }
        Ok(self.due.pop_front().map(|(entity, id)| (self.due_at, entity, id)))
    }

    /// The entries that come after the last popped one at the same instant: what is worth fetching together.
    pub fn upcoming(&self) -> impl Iterator<Item = &Entry> {
        self.due.iter()
    }

    /// Entries with `after < tau <= until`, by tau, without taking them: the look ahead of an idle partition.
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn peek(
        &mut self,
        after: Millis,
        until: Millis,
        store: &dyn Store,
    ) -> Result<impl Iterator<Item = (Millis, &[Entry])>> {
        self.read_until(until, store)?;
        let range = (std::ops::Bound::Excluded(after), std::ops::Bound::Included(until.max(after)));
        let near = (after < until).then(|| self.near.range(range)).into_iter().flatten();
        Ok(near.map(|(tau, entries)| (*tau, entries.as_slice())))
    }

    /// Reads stored timers until all those at or before `until` are in memory.
    fn read_until(&mut self, until: Millis, store: &dyn Store) -> Result<()> {
        while let Some(horizon) = self.horizon.filter(|horizon| *horizon <= until) {
            let from = Key::Timer { tau: horizon, entity: 0, id: &[] }.bytes();
            let pairs = store.scan(&from, b"u", READ_AHEAD)?;
            let full = pairs.len() == READ_AHEAD;
            // A full page may end within an instant: what it has of its last one is read again.
            let last = pairs.last().and_then(|(key, _)| parse_timer(key)).map(|(tau, ..)| tau);
            let next = match last.filter(|_| full) {
                Some(last) if last > horizon => Some(last),
                Some(last) => {
                    // One instant fills the page: it is read whole.
                    self.read_instant(last, store)?;
                    self.move_horizon(last.checked_add(1));
                    continue;
                }
                None => None,
            };
            for (tau, entity, id) in pairs.iter().filter_map(|(key, _)| parse_timer(key)) {
                if next.is_none_or(|next| tau < next) {
                    self.near.entry(tau).or_default().push((entity, Id::from(id)));
                    self.count += 1;
                }
            }
            self.move_horizon(next);
        }
        Ok(())
    }

    fn read_instant(&mut self, tau: Millis, store: &dyn Store) -> Result<()> {
        let mut from = Key::Timer { tau, entity: 0, id: &[] }.bytes();
        let to = tau.checked_add(1).map_or_else(|| b"u".to_vec(), |tau| Key::Timer { tau, entity: 0, id: &[] }.bytes());
        loop {
            let pairs = store.scan(&from, &to, READ_AHEAD)?;
            for (_, entity, id) in pairs.iter().filter_map(|(key, _)| parse_timer(key)) {
                self.near.entry(tau).or_default().push((entity, Id::from(id)));
                self.count += 1;
            }
            match pairs.last() {
                Some((key, _)) if pairs.len() == READ_AHEAD => {
                    from = key.clone();
                    from.push(0);
                }
                _ => return Ok(()),
            }
        }
    }

    fn move_horizon(&mut self, horizon: Option<Millis>) {
        self.horizon = horizon;
        for (tau, (entity, id)) in std::mem::take(&mut self.unwritten) {
            self.set(tau, entity, &id);
        }
    }
}
