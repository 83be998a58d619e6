//! Values for readers that no record wrote: the law evaluated at a wall-clock `T'`, and every entity's last row.
//!
//! Neither changes the task: state and history wait for the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::RecordBatch;

use super::cache::{ChunkAccess, ChunkOverlay, Id};
use super::entity::{EntityState, LastRow};
use super::heads::Heads;
use super::program::Program;
use super::rows::{RowBuilder, RowHead};
use super::step::Task;
use crate::error::Result;
use crate::state::keys::Key;
use crate::time::Millis;

/// Rows of one entity for the online store only, each entity at most once.
#[derive(Debug)]
pub struct OnlineRows {
    /// Index in the plan's entities.
    pub entity: usize,
    /// As in [`crate::state::EntityRows::rows`].
    pub rows: RecordBatch,
}

/// One page of all entities' last rows.
#[derive(Debug)]
pub struct Published {
    pub rows: Vec<OnlineRows>,
    /// Of entities whose values time alone has changed since: what they show at the moment that was asked for.
    pub refreshed: Vec<OnlineRows>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Vec<u8>>,
}

/// How far an idle partition has been looked ahead.
#[derive(Debug, Default)]
pub(super) struct LookAhead {
    until: Option<Millis>,
    /// Timers that come after a timer which has fired only here.
    timers: BTreeMap<Millis, Vec<(u16, Id)>>,
}

impl Task {
    /// The entities whose values differ at `at` (the wall clock less lateness) from what was last shown, without
    /// changing anything: their timers up to `at` fire on a copy. About `limit` entities a call: the rows are as of the
    /// returned `T'`, and while that is before `at` the next call gives more. Any step begins anew.
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn refresh(&mut self, at: Millis, limit: usize) -> Result<(Vec<OnlineRows>, Millis)> {
        let mut builders: Vec<RowBuilder> = self.plan.entities.iter().map(RowBuilder::new).collect();
        let mut ahead = std::mem::take(&mut self.look_ahead);
        let after = ahead.until.unwrap_or_else(|| self.meta.watermark_or_never());
        let mut due: BTreeMap<Millis, Vec<(u16, Id)>> = BTreeMap::new();
        let (mut count, mut until) = (0, at);
        let store = Arc::clone(&self.store);
        for (tau, entries) in self.timers.peek(after, at, store.as_store())? {
            due.entry(tau).or_default().extend(entries.iter().cloned());
            count += entries.len();
            if count >= limit {
                until = tau;
                break;
            }
        }
        let later = ahead.timers.split_off(&until.saturating_add(1));
        for (tau, entries) in std::mem::replace(&mut ahead.timers, later) {
            due.entry(tau).or_default().extend(entries);
        }
        let mut seen: hashbrown::HashSet<(u16, Id), foldhash::fast::FixedState> = Default::default();
        for (entity, id) in due.into_values().flatten() {
            if seen.insert((entity, Arc::clone(&id)))
                && let Some(next) = self.look(entity, &id, (after, until), &mut builders)?
            {
                ahead.timers.entry(next).or_default().push((entity, id));
            }
        }
        ahead.until = Some(until.max(after));
        self.look_ahead = ahead;
        Ok((finish(builders)?, until))
    }

    /// Fires an entity's timers up to `until` on a copy and shows it if a row is due after `after`; answers its next.
    fn look(
        &self,
        entity: u16,
        id: &Id,
        (after, until): (Millis, Millis),
        builders: &mut [RowBuilder],
    ) -> Result<Option<Millis>> {
        let program = &self.programs[usize::from(entity)];
        let mut state = match self.cache.find(entity, id) {
            Some(slot) => self.cache.slot(slot).state.clone(),
            None => match self.store.get(&Key::Head { entity, id }.bytes())? {
                Some(bytes) => EntityState::decode(program, &bytes)?,
                None => return Ok(None),
            },
        };
        let mut scratch = ChunkOverlay::default();
        let mut chunks =
            ChunkAccess { overlay: &mut scratch, beneath: Some(&self.chunks), store: self.store.as_ref(), entity, id };
        let mut due = false;
        while let Some(tau) = state.timer.filter(|tau| *tau <= until) {
            due |= state.fire(program, tau, &mut chunks)? && tau > after;
        }
        if let (true, Some(LastRow { offset, sequence, ordinal, .. })) = (due, state.last_row) {
            let head = RowHead { event_time: until, known_at: state.known_at, offset, sequence, ordinal };
            builders[usize::from(entity)].push(program, id, &state, head)?;
        }
        Ok(state.timer)
    }

    /// Lets the next [`Self::refresh`] begin at the watermark again: the online store has lost what was refreshed.
    pub fn forget_refreshes(&mut self) {
        self.look_ahead = LookAhead::default();
    }

    /// A page of every entity's last row, from state: for cut-over, and for a store that lost data. Between epochs
    /// only. With `at` (the wall clock less lateness), entities whose timers have passed by then show what they are at
    /// that moment, as [`Self::refresh`] would.
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn publish(&self, from: Option<&[u8]>, limit: usize, at: Option<Millis>) -> Result<Published> {
        let empty = || self.plan.entities.iter().map(RowBuilder::new).collect::<Vec<_>>();
        let (mut builders, mut refreshed) = (empty(), empty());
        let heads = Heads::read(self.store.as_store(), None, from, limit)?;
        for (entity, id, bytes) in heads.each() {
            let program = &self.programs[entity];
            let state = EntityState::decode(program, bytes)?;
            if let Some(at) = at.filter(|at| state.timer.is_some_and(|tau| tau <= *at)) {
                let before = refreshed[entity].len();
                self.look(entity as u16, &id.into(), (self.meta.watermark_or_never(), at), &mut refreshed)?;
                if refreshed[entity].len() > before {
                    continue;
                }
            }
            push_last_row(program, id, &state, &mut builders[entity])?;
        }
        Ok(Published { rows: finish(builders)?, refreshed: finish(refreshed)?, next: heads.next })
    }
}

/// Appends an entity's last row; nothing where it has none.
pub(super) fn push_last_row(program: &Program, id: &[u8], state: &EntityState, rows: &mut RowBuilder) -> Result<()> {
    let Some(LastRow { event_time, offset, sequence, ordinal }) = state.last_row else { return Ok(()) };
    rows.push(program, id, state, RowHead { event_time, known_at: state.known_at, offset, sequence, ordinal })
}

fn finish(builders: Vec<RowBuilder>) -> Result<Vec<OnlineRows>> {
    let rows = builders.into_iter().enumerate().filter(|(_, builder)| builder.len() > 0);
    rows.map(|(entity, mut builder)| Ok(OnlineRows { entity, rows: builder.finish()? })).collect()
}
