//! Entities in memory: a bounded cache over the store's heads, and an overlay over its sealed chunks.
//!
//! Invariants: an entity that differs from its stored head is dirty and stays until the epoch is written; a slot's
//! number is valid until the next [`Cache::trim`], which the task calls between epochs only.

use std::sync::Arc;

use hashbrown::HashMap;

use super::entity::{EntityChunks, EntityState};
use super::program::Program;
use crate::error::{Error, Result};
use crate::state::keys::Key;
use crate::state::{Batch, Store};
use crate::time::Millis;
use crate::window::Chunks;

/// The bytes of an entity's key, shared by cache and timers.
pub type Id = Arc<[u8]>;
type Map<K, V> = HashMap<K, V, foldhash::fast::FixedState>;

/// An entity in memory.
#[derive(Debug)]
pub struct Slot {
    pub id: Id,
    pub entity: u16,
    pub state: EntityState,
    /// The timer that the store has for it.
    stored_timer: Option<Millis>,
    dirty: bool,
    recent: bool,
    bytes: u32,
}

/// Entities in memory.
#[derive(Debug)]
pub struct Cache {
    slots_by_id: Vec<Map<Id, u32>>,
    slots: Vec<Slot>,
    dirty: Vec<u32>,
    bytes: usize,
    hand: usize,
}

impl Cache {
    /// Empty, for this many kinds of entity.
    pub fn new(entities: usize) -> Self {
        let slots_by_id = (0..entities).map(|_| Map::default()).collect();
        Self { slots_by_id, slots: Vec::new(), dirty: Vec::new(), bytes: 0, hand: 0 }
    }

    /// The slot of an entity that is in memory.
    pub fn find(&self, entity: u16, id: &[u8]) -> Option<u32> {
        self.slots_by_id[usize::from(entity)].get(id).copied()
    }

    /// The entity in a slot.
    pub fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    /// The entity in a slot, to be changed: it is written with the epoch.
    pub fn slot_mut(&mut self, slot: u32) -> &mut Slot {
        let entry = &mut self.slots[slot as usize];
        entry.recent = true;
        if !entry.dirty {
            entry.dirty = true;
            self.dirty.push(slot);
        }
        entry
    }

    /// How many entities wait to be written.
    pub fn dirty(&self) -> usize {
        self.dirty.len()
    }

    /// How many entities are in memory, and their bytes, approximately.
    pub fn size(&self) -> (usize, usize) {
        (self.slots.len(), self.bytes)
    }

    /// Takes an entity into memory: from its stored head, or new.
    ///
    /// # Errors
    /// State: the head does not decode.
    pub fn insert(&mut self, program: &Program, entity: u16, id: Id, head: Option<&[u8]>) -> Result<u32> {
        let state = match head {
            Some(bytes) => EntityState::decode(program, bytes)?,
            None => EntityState::new(program),
        };
        let bytes = state.bytes() + id.len() + size_of::<Slot>();
        self.bytes += bytes;
        let slot = self.slots.len() as u32;
        self.slots_by_id[usize::from(entity)].insert(Arc::clone(&id), slot);
        let stored_timer = state.timer;
        self.slots.push(Slot { id, entity, state, stored_timer, dirty: false, recent: true, bytes: bytes as u32 });
        Ok(slot)
    }

    /// Writes every dirty entity's head and timer into `batch`, by key: the store then finds the place of each near that
    /// of the one before, which is half of what a write costs it.
    pub fn write(&mut self, programs: &[Program], batch: &mut Batch) {
        let (mut key, mut value) = (Vec::with_capacity(64), Vec::with_capacity(512));
        let mut put = |kind: Key<'_>, value: Option<&[u8]>| {
            key.clear();
            kind.write(&mut key);
            match value {
                Some(value) => batch.put(&key, value),
                None => batch.delete(&key),
            }
        };
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable_by(|a, b| self.name(*a).cmp(&self.name(*b)));
        // Which timers are set, and which are no more.
        let mut timers: Vec<(Millis, u32, bool)> = Vec::new();
        for slot in dirty {
            let Slot { id, entity, state, stored_timer, dirty, bytes, .. } = &mut self.slots[slot as usize];
            *dirty = false;
            value.clear();
            state.encode(&programs[usize::from(*entity)], &mut value);
            put(Key::Head { entity: *entity, id }, Some(&value));
            if state.timer != *stored_timer {
                timers.extend(stored_timer.map(|tau| (tau, slot, false)));
                timers.extend(state.timer.map(|tau| (tau, slot, true)));
                *stored_timer = state.timer;
            }
            let now = state.bytes() + id.len() + size_of::<Slot>();
            self.bytes = self.bytes + now - *bytes as usize;
            *bytes = now as u32;
        }
        timers.sort_unstable_by(|a, b| (a.0, self.name(a.1)).cmp(&(b.0, self.name(b.1))));
        for (tau, slot, is_set) in timers {
            let (entity, id) = self.name(slot);
            put(Key::Timer { tau, entity, id }, is_set.then_some(&[]));
        }
    }

    /// Kind and key of the entity in a slot.
    fn name(&self, slot: u32) -> (u16, &[u8]) {
        let Slot { entity, id, .. } = &self.slots[slot as usize];
        (*entity, id)
    }

    /// Drops clean entities that were not used lately until at most `bound` bytes are held.
    pub fn trim(&mut self, bound: usize) {
        let mut rounds = 2 * self.slots.len();
        while self.bytes > bound && rounds > 0 {
            rounds -= 1;
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let slot = &mut self.slots[self.hand];
            if slot.recent || slot.dirty {
                slot.recent = false;
                self.hand += 1;
                continue;
            }
            self.remove(self.hand);
        }
    }

    fn remove(&mut self, at: usize) {
        let gone = self.slots.swap_remove(at);
        self.bytes -= gone.bytes as usize;
        self.slots_by_id[usize::from(gone.entity)].remove(&gone.id);
        if let Some(moved) = self.slots.get(at) {
            self.slots_by_id[usize::from(moved.entity)].insert(Arc::clone(&moved.id), at as u32);
        }
    }
}

/// Chunks that differ from the store since the last epoch.
#[derive(Debug, Default)]
pub struct ChunkOverlay {
    changed: Map<Vec<u8>, Changed>,
}

#[derive(Debug, Clone)]
struct Changed {
    /// `None`: deleted.
    bytes: Option<Vec<u8>>,
    /// The store has one under this key.
    stored: bool,
}

impl ChunkOverlay {
    /// Writes the changes into `batch`, by key, and forgets them.
    pub fn write(&mut self, batch: &mut Batch) {
        let mut changes: Vec<(Vec<u8>, Changed)> = self.changed.drain().collect();
        changes.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (key, changed) in changes {
            match changed.bytes {
                Some(bytes) => batch.put(&key, &bytes),
                None if changed.stored => batch.delete(&key),
                None => {}
            }
        }
    }

    fn get(&self, key: &[u8], store: &dyn Store) -> Result<(Vec<u8>, bool)> {
        match self.changed.get(key) {
            Some(Changed { bytes: Some(bytes), stored }) => Ok((bytes.clone(), *stored)),
            Some(Changed { bytes: None, .. }) => Err(missing(key)),
            None => Ok((store.get(key)?.ok_or_else(|| missing(key))?, true)),
        }
    }
}

fn missing(key: &[u8]) -> Error {
    Error::state(format!("sealed tiles {key:02x?} are missing; rebuild the state with --replay-from 0"))
}

/// One entity's chunks: over the overlay, or beside it where nothing may change.
#[derive(Debug)]
pub struct ChunkAccess<'a> {
    pub overlay: &'a mut ChunkOverlay,
    /// Read when the overlay does not know: what a look ahead must not change.
    pub beneath: Option<&'a ChunkOverlay>,
    pub store: &'a dyn StoreDebug,
    pub entity: u16,
    pub id: &'a [u8],
}

/// A store that can be shown in debug output.
pub trait StoreDebug: Store + std::fmt::Debug {
    /// As the plain port.
    fn as_store(&self) -> &dyn Store;
}

impl<S: Store + std::fmt::Debug> StoreDebug for S {
    fn as_store(&self) -> &dyn Store {
        self
    }
}

struct QueueChunks<'a, 'b> {
    access: &'a mut ChunkAccess<'b>,
    queue: u16,
}

impl EntityChunks for ChunkAccess<'_> {
    fn queue(&mut self, queue: usize) -> impl Chunks + '_ {
        QueueChunks { queue: queue as u16, access: self }
    }
}

impl QueueChunks<'_, '_> {
    fn key(&self, first: Millis) -> Vec<u8> {
        Key::Chunk { entity: self.access.entity, id: self.access.id, window: self.queue, first }.bytes()
    }
}

impl Chunks for QueueChunks<'_, '_> {
    fn put(&mut self, first: Millis, bytes: Vec<u8>) {
        let key = self.key(first);
        let changed = self.access.overlay.changed.entry(key).or_insert(Changed { bytes: None, stored: false });
        changed.bytes = Some(bytes);
    }

    fn take(&mut self, first: Millis) -> Result<Vec<u8>> {
        let key = self.key(first);
        let store = self.access.store.as_store();
        let (bytes, stored) = match self.access.beneath {
            Some(beneath) if !self.access.overlay.changed.contains_key(&key) => beneath.get(&key, store)?,
            _ => self.access.overlay.get(&key, store)?,
        };
        self.access.overlay.changed.insert(key, Changed { bytes: None, stored });
        Ok(bytes)
    }
}
