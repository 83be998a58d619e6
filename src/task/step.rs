//! The fold itself: classes, watermark, timers, entities, rows, in the order that the law gives them.

use std::sync::Arc;

use super::cache::{Cache, ChunkAccess, ChunkOverlay, Id, StoreDebug};
use super::columns::{InputColumns, KeyColumn, condition, is_true};
use super::entity::Applied;
use super::judge::{self, Class, Judged};
use super::lookahead::LookAhead;
use super::meta::{Meta, Pending};
use super::program::Program;
use super::rows::{DeadLetterBuilder, RowBuilder, RowHead};
use super::tally::Tally;
use super::timers::Timers;
use crate::decode::{Decoded, Outcome, RawBatch, RawRecord};
use crate::error::{Error, Result};
use crate::expr::Evaluated;
use crate::state::Batch;
use crate::state::keys::Key;
use crate::time::Millis;
use crate::topology::{EntityPlan, Plan};

/// Heads fetched together.
const FETCH: usize = 512;

/// The bounds of one task's memory.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Rows, dead letters and changed entities of one epoch; the step stops there, even among one offset's timers.
    pub epoch_rows: usize,
    /// Bytes of entities in memory between epochs.
    pub cache_bytes: usize,
}

/// One partition of one version.
#[derive(Debug)]
pub struct Task {
    pub(super) plan: Arc<Plan>,
    pub(super) partition: i32,
    pub(super) programs: Arc<Vec<Program>>,
    pub(super) store: Arc<dyn StoreDebug>,
    pub(super) meta: Meta,
    pub(super) cache: Cache,
    pub(super) chunks: ChunkOverlay,
    pub(super) timers: Timers,
    pub(super) look_ahead: LookAhead,
    pub(super) rows: Vec<RowBuilder>,
    pub(super) dead_letters: DeadLetterBuilder,
    pub(super) tally: Tally,
    pub(super) sequence: i32,
    pub(super) limits: Limits,
    pub(super) batch: Batch,
    pub(super) changed: bool,
}

/// One decoded batch, as a step reads it.
struct Input<'a> {
    raw: &'a dyn RawBatch,
    decoded: &'a Decoded,
    filter: Option<&'a arrow::array::BooleanArray>,
    columns: Vec<InputColumns<'a>>,
    keys: Vec<KeyColumn<'a>>,
    partition_key: KeyColumn<'a>,
    /// Rows with a failed expression, ascending, once for each failure.
    failures: Vec<u32>,
    /// Rows whose source's `where` failed, ascending: null is not true, so they are filtered.
    unjudged: Vec<u32>,
}

impl Task {
    /// Whether the epoch must end before the next record.
    pub fn is_full(&self) -> bool {
        let bytes = self.rows.iter().map(RowBuilder::bytes).sum::<usize>() + self.dead_letters.bytes();
        let items = self.waiting_rows() + self.dead_letters.len();
        items >= self.limits.epoch_rows || self.cache.dirty() >= self.limits.epoch_rows || bytes >= 64 << 20
    }

    /// Folds the records of a batch from index `from` on; answers the index of the next one: the batch's length, or
    /// less when the epoch is full ([`Self::end_epoch`], then step again from there).
    ///
    /// # Errors
    /// Stopped: a record without a Kafka time, a Kafka key that contradicts the partition field, an offset that goes
    /// back. State: the store. The task is to be dropped then; its store holds the last epoch.
    pub fn step(&mut self, raw: &dyn RawBatch, decoded: &Decoded, evaluated: &Evaluated, from: usize) -> Result<usize> {
        let plan = Arc::clone(&self.plan);
        let programs = Arc::clone(&self.programs);
        let key = |entity: &EntityPlan| KeyColumn::new(&entity.key, &decoded.rows);
        let mut failures: Vec<u32> = evaluated.failures.iter().map(|(_, row)| *row).collect();
        failures.sort_unstable();
        let mut input = Input {
            raw,
            decoded,
            filter: plan.source.filter.map(|id| condition(&evaluated.columns, id)).transpose()?,
            columns: programs.iter().map(|p| InputColumns::new(p, &evaluated.columns)).collect::<Result<_>>()?,
            keys: plan.entities.iter().map(key).collect::<Result<_>>()?,
            partition_key: KeyColumn::new(&[plan.source.partition_field], &decoded.rows)?,
            failures,
            unjudged: evaluated.failures.iter().filter(|of| Some(of.0) == plan.source.filter).map(|of| of.1).collect(),
        };
        self.fetch(&mut input, from)?;
        self.look_ahead = LookAhead::default();
        for index in from..raw.len() {
            if self.is_full() || !self.record(&mut input, index)? {
                return Ok(index);
            }
        }
        Ok(raw.len())
    }

    /// The log has no record before `offset`: what lies between is a gap.
    pub fn skip_to(&mut self, offset: i64) {
        if offset > self.meta.next_offset && self.meta.pending.is_none() {
            self.meta.next_offset = offset;
            self.changed = true;
        }
    }

    /// Brings the heads of the batch's entities into memory, many at once.
    fn fetch(&mut self, input: &mut Input<'_>, from: usize) -> Result<()> {
        for entity in 0..self.programs.len() {
            let mut found = 0;
            let mut missing: Vec<Id> = Vec::new();
            let mut seen: hashbrown::HashSet<Id, foldhash::fast::FixedState> = Default::default();
            for outcome in &input.decoded.outcomes[from..] {
                let Outcome::Row(row) = outcome else { continue };
                if input.filter.is_some_and(|filter| !is_true(filter, *row as usize)) {
                    continue;
                }
                let Some(id) = input.keys[entity].get(*row as usize) else { continue };
                if self.cache.find(entity as u16, id).is_some() || seen.contains(id) {
                    found += 1;
                    continue;
                }
                let id = Id::from(id);
                seen.insert(Arc::clone(&id));
                missing.push(id);
            }
            // A batch that is cut by an epoch's end comes again, with what is left of it.
            self.tally.hits += if from == 0 { found } else { 0 };
            for ids in missing.chunks(FETCH) {
                self.load(entity as u16, ids)?;
            }
        }
        Ok(())
    }

    /// Takes entities that are not in memory into it.
    fn load(&mut self, entity: u16, ids: &[Id]) -> Result<()> {
        self.tally.misses += ids.len() as u64;
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| Key::Head { entity, id }.bytes()).collect();
        let heads = if self.meta.epoch == 0 {
            // Nothing was ever written.
            vec![None; keys.len()]
        } else {
            self.store.multi_get(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>())?
        };
        let program = &self.programs[usize::from(entity)];
        for (id, head) in ids.iter().zip(heads) {
            self.cache.insert(program, entity, Arc::clone(id), head.as_deref())?;
        }
        Ok(())
    }

    fn slot(&mut self, entity: u16, id: &[u8]) -> Result<u32> {
        if let Some(slot) = self.cache.find(entity, id) {
            return Ok(slot);
        }
        self.load(entity, &[Id::from(id)])?;
        self.cache.find(entity, id).ok_or_else(|| Error::internal("an entity that was loaded is not there"))
    }

    /// One record; `false` when the epoch is full before it is folded.
    fn record(&mut self, input: &mut Input<'_>, index: usize) -> Result<bool> {
        let record = input.raw.record(index);
        if record.offset < self.meta.next_offset {
            return Err(self.stopped(record.offset, "the log went back", "see whether the topic was recreated"));
        }
        self.changed = true;
        match &input.decoded.outcomes[index] {
            Outcome::Row(row) => return self.well_formed(input, record, *row as usize),
            Outcome::Tombstone => self.meta.counts.tombstone += 1,
            Outcome::OverLimit(reason) => {
                self.meta.counts.over_limit += 1;
                self.dead_letter(record, "over_limit", reason);
            }
            Outcome::Malformed(reason) => {
                self.meta.counts.malformed += 1;
                self.dead_letter(record, "malformed", reason);
            }
        }
        self.done(record.offset);
        Ok(true)
    }

    fn well_formed(&mut self, input: &mut Input<'_>, record: RawRecord<'_>, row: usize) -> Result<bool> {
        let t = input.decoded.event_times[row];
        let source = &self.plan.source;
        let grace = source.grace;
        let Some(kafka_time) = judge::kafka_time(source, record.kafka_time, t) else {
            let [what, remedy] = judge::NO_KAFKA_TIME;
            return Err(self.stopped(record.offset, what, remedy));
        };
        let filtered = input.filter.is_some_and(|filter| !is_true(filter, row));
        let resumed = self.meta.pending.filter(|pending| pending.offset == record.offset);
        let times = [t, kafka_time];
        let Judged { class, on_time } = judge::judge(source, self.meta.watermark, times, filtered, resumed.is_some());
        if resumed.is_none() {
            self.sequence = 0;
        }
        if matches!(class, Class::Applied) && resumed.is_none() {
            self.check_partition(input, record, row)?;
        }
        if on_time {
            self.meta.watermark = Some(judge::moved(&self.plan.source, self.meta.watermark, times));
            if !self.fire_until(self.meta.watermark_or_never(), record.offset)? {
                self.meta.pending = Some(Pending { offset: record.offset, sequence: self.sequence });
                return Ok(false);
            }
        }
        self.meta.pending = None;
        match class {
            Class::Filtered => {
                self.meta.counts.filtered += 1;
                let failed = input.unjudged.binary_search(&(row as u32)).is_ok();
                self.meta.counts.expression_failures += u64::from(failed);
            }
            Class::Future => {
                self.meta.counts.future += 1;
                let reason = format!("event time {t} is more than max_future after Kafka time {kafka_time} (ms)");
                self.dead_letter(record, "future", &reason);
            }
            Class::Late => {
                self.meta.counts.late += 1;
                let watermark = self.meta.watermark_or_never();
                let reason = format!("event time {t} is before watermark {watermark} less grace {grace} (ms)");
                self.dead_letter(record, "late", &reason);
            }
            Class::Applied => {
                self.meta.counts.applied += 1;
                let failed = input.failures.partition_point(|failed| (*failed as usize) < row);
                let failures = &input.failures[failed..];
                let failures = failures.iter().take_while(|failed| **failed as usize == row).count();
                self.meta.counts.expression_failures += failures as u64;
                let watermark = self.meta.watermark_or_never();
                let oldest_accepted = watermark.saturating_sub(grace);
                let applied = Applied { row, offset: record.offset, t, kafka_time, watermark, oldest_accepted };
                self.apply(input, &applied)?;
            }
        }
        self.done(record.offset);
        Ok(true)
    }

    /// The Kafka key must be the partition field's text, unless the source says that partitioning is to be trusted.
    fn check_partition(&self, input: &mut Input<'_>, record: RawRecord<'_>, row: usize) -> Result<()> {
        if self.plan.source.trusts_partitioning {
            return Ok(());
        }
        let Some(field) = input.partition_key.get(row) else { return Ok(()) };
        if record.key == Some(field) {
            return Ok(());
        }
        let name = &self.plan.source.fields[self.plan.source.partition_field].name;
        let shown = |bytes: &[u8]| String::from_utf8_lossy(&bytes[..bytes.len().min(80)]).into_owned();
        let key = record.key.map_or_else(|| "no Kafka key".to_string(), |key| format!("Kafka key `{}`", shown(key)));
        let what = format!("the record has {key} and {name} `{}`", shown(field));
        let remedy = format!(
            "values would be wrong if one {name} lay in two partitions: key the records by {name}, or say \
             `partitioned_by: {name}` under source if the producer partitions by it in another way"
        );
        Err(self.stopped(record.offset, &what, &remedy))
    }

    /// (b) the record's own entities' timers, then (c) the folds, both in the topology's order.
    fn apply(&mut self, input: &mut Input<'_>, record: &Applied) -> Result<()> {
        let mut slots: smallvec::SmallVec<[u32; 4]> = smallvec::SmallVec::new();
        for entity in 0..self.programs.len() {
            match input.keys[entity].get(record.row) {
                Some(id) => slots.push(self.slot(entity as u16, id)?),
                None => self.meta.counts.null_keys += 1,
            }
        }
        loop {
            let due = slots.iter().filter_map(|slot| Some((self.cache.slot(*slot).state.timer?, *slot)));
            // The first of equal times is the first in the topology's order.
            let Some((tau, slot)) = due.min_by_key(|(tau, _)| *tau).filter(|(tau, _)| *tau <= record.t) else { break };
            self.fire(slot, tau, record.offset, Some(record.kafka_time))?;
        }
        for slot in slots {
            self.fold(input, record, slot)?;
        }
        Ok(())
    }

    fn fold(&mut self, input: &Input<'_>, record: &Applied, slot: u32) -> Result<()> {
        let entry = self.cache.slot_mut(slot);
        let program = &self.programs[usize::from(entry.entity)];
        let before = entry.state.timer;
        let mut chunks = ChunkAccess {
            overlay: &mut self.chunks,
            beneath: None,
            store: self.store.as_ref(),
            entity: entry.entity,
            id: &entry.id,
        };
        let columns = &input.columns[usize::from(entry.entity)];
        let due = entry.state.fold(program, columns, record, &mut chunks).map_err(|error| {
            let (topic, name) = (&self.plan.source.topic, &self.plan.entities[usize::from(entry.entity)].name);
            let id = String::from_utf8_lossy(&entry.id);
            error.within(&format!("{topic}, partition {}, offset {}, {name} `{id}`", self.partition, record.offset))
        })?;
        if let Some(tau) = entry.state.timer.filter(|tau| before != Some(*tau)) {
            self.timers.set(tau, entry.entity, &entry.id);
        }
        if due {
            let state = &entry.state;
            let known_at = state.kafka_time.max(state.known_at).max(record.watermark);
            let event_time = state.at(record.watermark);
            self.write_row(slot, event_time, known_at, record.offset)?;
        }
        Ok(())
    }

    /// (a) the timers of all entities up to the watermark; `false` when the epoch is full before the last.
    fn fire_until(&mut self, watermark: Millis, offset: i64) -> Result<bool> {
        loop {
            if self.is_full() {
                return Ok(false);
            }
            let store = Arc::clone(&self.store);
            let Some((tau, entity, id)) = self.timers.pop(watermark, store.as_store())? else { return Ok(true) };
            match self.cache.find(entity, &id) {
                Some(_) => self.tally.hits += 1,
                None => self.fetch_due(entity, &id)?,
            }
            let slot = self.slot(entity, &id)?;
            if self.cache.slot(slot).state.timer == Some(tau) {
                self.fire(slot, tau, offset, None)?;
            }
        }
    }

    /// Loads an entity whose timer is due, with others that come next.
    fn fetch_due(&mut self, entity: u16, id: &Id) -> Result<()> {
        let next = self.timers.upcoming().filter(|(kind, id)| *kind == entity && self.cache.find(entity, id).is_none());
        let mut ids: Vec<Id> = vec![Arc::clone(id)];
        ids.extend(next.map(|(_, id)| Arc::clone(id)).take(FETCH - 1));
        self.load(entity, &ids)
    }

    /// Fires one entity's timer; `own` is the Kafka time of its own record, where that is what fires it.
    fn fire(&mut self, slot: u32, tau: Millis, offset: i64, own: Option<Millis>) -> Result<()> {
        let entry = self.cache.slot_mut(slot);
        let program = &self.programs[usize::from(entry.entity)];
        let mut chunks = ChunkAccess {
            overlay: &mut self.chunks,
            beneath: None,
            store: self.store.as_ref(),
            entity: entry.entity,
            id: &entry.id,
        };
        let due = entry.state.fire(program, tau, &mut chunks)?;
        if let Some(next) = entry.state.timer {
            self.timers.set(next, entry.entity, &entry.id);
        }
        if due {
            let due_known = tau + self.plan.source.lateness;
            let due_known = own.map_or(due_known, |kafka_time| due_known.min(kafka_time));
            let known_at = entry.state.kafka_time.max(entry.state.known_at).max(due_known);
            self.write_row(slot, tau, known_at, offset)?;
        }
        Ok(())
    }

    fn write_row(&mut self, slot: u32, event_time: Millis, known_at: Millis, offset: i64) -> Result<()> {
        let entry = self.cache.slot_mut(slot);
        let entity = usize::from(entry.entity);
        let (sequence, ordinal) = (self.sequence, self.meta.next_ordinal);
        let head = RowHead { event_time, known_at, offset, sequence, ordinal };
        self.rows[entity].push(&self.programs[entity], &entry.id, &entry.state, head)?;
        entry.state.known_at = known_at;
        entry.state.last_row = Some(super::entity::LastRow { event_time, offset, sequence, ordinal });
        self.sequence += 1;
        self.meta.next_ordinal += 1;
        Ok(())
    }

    fn dead_letter(&mut self, record: RawRecord<'_>, class: &str, reason: &str) {
        self.dead_letters.push(self.meta.next_dead_letter, record, class, reason);
        self.meta.next_dead_letter += 1;
    }

    fn done(&mut self, offset: i64) {
        self.meta.next_offset = offset + 1;
    }

    fn stopped(&self, offset: i64, what: &str, remedy: &str) -> Error {
        let (topic, partition) = (&self.plan.source.topic, self.partition);
        Error::stopped(format!("{topic}, partition {partition}, offset {offset}: {what}; {remedy}"))
    }
}
