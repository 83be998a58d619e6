//! A task between its steps: restored from its store, looked at, and committed at the end of an epoch.

use std::sync::Arc;

use super::cache::{Cache, ChunkOverlay};
use super::entity::NEVER;
use super::lookahead::LookAhead;
use super::meta::Meta;
use super::program::Program;
use super::rows::{DeadLetterBuilder, RowBuilder};
use super::step::{Limits, Task};
use super::tally::Tally;
use super::timers::Timers;
use crate::error::{Error, Result};
use crate::state::keys::Key;
use crate::state::{Batch, EntityRows, Epoch, Store};
use crate::topology::Plan;

impl Task {
    /// Restores the task from its store, or begins it at `start_offset`.
    ///
    /// # Errors
    /// State: the store cannot be read, or belongs to another topology or layout.
    pub fn open<S: Store + std::fmt::Debug + 'static>(
        plan: Arc<Plan>,
        partition: i32,
        store: Arc<S>,
        start_offset: i64,
        limits: Limits,
    ) -> Result<Self> {
        let meta = match store.get(&Key::Meta.bytes())? {
            Some(bytes) => Meta::decode(&bytes)?,
            None => Meta::new(&plan.fingerprint, start_offset),
        };
        if meta.fingerprint != plan.fingerprint {
            return Err(Error::refused(format!(
                "the state of partition {partition} is of topology {}, not {}: use --replay-from 0 for a new version",
                meta.fingerprint, plan.fingerprint
            )));
        }
        Ok(Self {
            partition,
            programs: Arc::new(plan.entities.iter().map(Program::new).collect()),
            store,
            cache: Cache::new(plan.entities.len()),
            chunks: ChunkOverlay::default(),
            timers: Timers::new(),
            look_ahead: LookAhead::default(),
            rows: plan.entities.iter().map(RowBuilder::new).collect(),
            dead_letters: DeadLetterBuilder::default(),
            tally: Tally::new(&plan),
            sequence: meta.pending.map_or(0, |pending| pending.sequence),
            limits,
            batch: Batch::default(),
            changed: false,
            meta,
            plan,
        })
    }

    /// Position, watermark and counts, the last step included.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The partition.
    pub fn partition(&self) -> i32 {
        self.partition
    }

    /// Entities in memory, and their bytes, approximately.
    pub fn cache_size(&self) -> (usize, usize) {
        self.cache.size()
    }

    /// What was counted since it was last taken. For metrics: no value depends on it, and a restart begins at 0.
    pub fn take_tally(&mut self) -> Tally {
        std::mem::replace(&mut self.tally, Tally::new(&self.plan))
    }

    /// Rows that wait for the end of the epoch.
    pub fn waiting_rows(&self) -> usize {
        self.rows.iter().map(RowBuilder::len).sum()
    }

    /// Whether anything happened since the last epoch.
    pub fn has_changes(&self) -> bool {
        self.changed
    }

    /// Writes everything that changed in one atomic batch and freezes the epoch's rows.
    ///
    /// # Errors
    /// State: the store cannot be written; the task is to be dropped then.
    pub fn end_epoch(&mut self) -> Result<Epoch> {
        self.meta.epoch += 1;
        let mut rows = Vec::new();
        for (entity, builder) in self.rows.iter_mut().enumerate().filter(|(_, builder)| builder.len() > 0) {
            for (all, lost) in self.tally.lost[entity].iter_mut().zip(&mut builder.lost) {
                let lost = std::mem::take(lost);
                self.meta.counts.overflows += lost;
                *all += lost;
            }
            rows.push(EntityRows { entity, rows: builder.finish()? });
        }
        let dead_letters = (self.dead_letters.len() > 0).then(|| self.dead_letters.finish()).transpose()?;
        let epoch = Epoch {
            number: self.meta.epoch,
            partition: self.partition,
            next_offset: self.meta.next_offset,
            watermark: self.meta.watermark.filter(|watermark| *watermark != NEVER),
            next_ordinal: self.meta.next_ordinal,
            next_dead_letter: self.meta.next_dead_letter,
            rows,
            dead_letters,
        };
        let mut batch = std::mem::take(&mut self.batch);
        batch.clear();
        self.cache.write(&self.programs, &mut batch);
        self.chunks.write(&mut batch);
        batch.put(&Key::Meta.bytes(), &self.meta.encode()?);
        batch.put(&Key::Outbox { epoch: epoch.number }.bytes(), &epoch.encode()?);
        self.store.write(&batch)?;
        self.batch = batch;
        self.timers.written();
        self.cache.trim(self.limits.cache_bytes);
        self.changed = false;
        Ok(epoch)
    }
}
