//! The records of some entities as a partition's log brings them, with what each brings to the traced features.
//!
//! Every record of the partition is decoded and judged, for they all move the watermark; the SQL is evaluated over the
//! entities' own, and only what the traced features need.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;

use super::brings::{Brings, Features, Mine};
use super::{Moment, TOMBSTONE, Verdict};
use crate::decode::{Decoder, Outcome, RawBatch, RawRecord};
use crate::error::{Error, Result};
use crate::task::columns::KeyColumn;
use crate::task::entity::NEVER;
use crate::task::judge::{self, Class};
use crate::time::Millis;
use crate::topology::{EntityPlan, FeaturePlan, Plan};

/// One record of the entity.
#[derive(Debug)]
pub struct Traced {
    pub offset: i64,
    /// `None` where the value could not be read.
    pub event_time: Option<Millis>,
    pub kafka_time: Option<Millis>,
    pub(super) fate: Fate,
    /// One a traced feature.
    brings: Vec<Brings>,
}

/// What the law does with a record, whatever the feature.
#[derive(Debug)]
pub(super) enum Fate {
    Refused(Verdict),
    /// `clock`: the entity's `T` once it was folded; `era`: how often the entity had been emptied.
    Applied {
        clock: Millis,
        era: usize,
    },
}

/// One entity's way through one partition.
#[derive(Debug)]
pub struct Trace {
    plan: Arc<Plan>,
    entity: usize,
    features: Arc<Features>,
    /// As of the last record read.
    watermark: Option<Millis>,
    /// The largest event time folded since the entity was emptied last.
    newest: Millis,
    /// How often the entity was emptied.
    era: usize,
    records: Vec<Traced>,
    /// Records of the partition.
    read: u64,
}

/// The ways of some entities of one kind through one partition, which is read once for all of them.
#[derive(Debug)]
pub struct Traces {
    plan: Arc<Plan>,
    entity: usize,
    decoder: Decoder,
    features: Arc<Features>,
    watermark: Option<Millis>,
    read: u64,
    by_id: BTreeMap<Box<[u8]>, Trace>,
}

impl Traces {
    /// Of the entities (their index in the plan) with these keys, for these features (their indices in the entity's
    /// list).
    pub fn new<'a>(
        plan: &Arc<Plan>,
        entity: usize,
        ids: impl IntoIterator<Item = &'a str>,
        features: &[usize],
    ) -> Self {
        let features = Arc::new(Features::new(plan, entity, features));
        let trace = || Trace {
            plan: Arc::clone(plan),
            entity,
            features: Arc::clone(&features),
            watermark: None,
            newest: NEVER,
            era: 0,
            records: Vec::new(),
            read: 0,
        };
        let by_id = ids.into_iter().map(|id| (id.as_bytes().into(), trace())).collect();
        let decoder = Decoder::new(&plan.source, &plan.entity_keys());
        Self { plan: Arc::clone(plan), entity, decoder, features, watermark: None, read: 0, by_id }
    }

    /// Reads on: the next records of the partition.
    ///
    /// # Errors
    /// Stopped: a record without a Kafka time, at which a task stops too.
    pub fn add(&mut self, raw: &dyn RawBatch) -> Result<()> {
        let decoded = self.decoder.decode(raw);
        let plan = Arc::clone(&self.plan);
        let mut keys = KeyColumn::new(&plan.entities[self.entity].key, &decoded.rows)?;
        let is_own = |row| Some(keys.get(row).is_some_and(|key| self.by_id.contains_key(key)));
        let own: BooleanArray = (0..decoded.rows.num_rows()).map(is_own).collect();
        let rows = filter_record_batch(&decoded.rows, &own)
            .map_err(|e| Error::internal(format!("records cannot be chosen: {e}")))?;
        let mut brings = self.features.read(&plan, &rows)?.into_iter();
        for (index, outcome) in decoded.outcomes.iter().enumerate() {
            let record = raw.record(index);
            match outcome {
                Outcome::Row(row) => {
                    let row = *row as usize;
                    let mine = if own.value(row) { keys.get(row).zip(brings.next()) } else { None };
                    self.well_formed(record, decoded.event_times[row], mine)?;
                }
                Outcome::Tombstone => self.no_row(record, TOMBSTONE, ""),
                Outcome::OverLimit(reason) => self.no_row(record, "over limit", reason),
                Outcome::Malformed(reason) => self.no_row(record, "malformed", reason),
            }
        }
        self.read += raw.len() as u64;
        for trace in self.by_id.values_mut() {
            (trace.watermark, trace.read) = (self.watermark, self.read);
        }
        Ok(())
    }

    /// The way of the entity with this key, if it is one of them.
    pub fn get(&self, id: &str) -> Option<&Trace> {
        self.by_id.get(id.as_bytes())
    }

    /// The same, alone.
    pub fn take(&mut self, id: &str) -> Option<Trace> {
        self.by_id.remove(id.as_bytes())
    }

    /// A record whose value is no row is the entity's when its Kafka key says so.
    fn no_row(&mut self, record: RawRecord<'_>, class: &'static str, reason: &str) {
        let source = &self.plan.source;
        if self.plan.entities[self.entity].key.len() != 1 || source.trusts_partitioning {
            return;
        }
        if let Some(trace) = record.key.and_then(|key| self.by_id.get_mut(key)) {
            let fate = Fate::Refused(Verdict::NoRow { class, reason: reason.to_string() });
            let brings = (0..self.features.len()).map(|_| Brings::nothing()).collect();
            let (offset, kafka_time) = (record.offset, record.kafka_time);
            trace.records.push(Traced { offset, event_time: None, kafka_time, fate, brings });
        }
    }

    fn well_formed(&mut self, record: RawRecord<'_>, t: Millis, mine: Option<(&[u8], Mine)>) -> Result<()> {
        let source = &self.plan.source;
        let Some(kafka_time) = judge::kafka_time(source, record.kafka_time, t) else {
            let [what, remedy] = judge::NO_KAFKA_TIME;
            return Err(Error::stopped(format!("{}, offset {}: {what}; {remedy}", source.topic, record.offset)));
        };
        let (times, before) = ([t, kafka_time], self.watermark);
        let filtered = mine.as_ref().is_some_and(|(_, mine)| mine.filtered);
        let judged = judge::judge(source, before, times, filtered, false);
        if judged.on_time {
            self.watermark = Some(judge::moved(source, before, times));
        }
        let Some((key, Mine { brings, .. })) = mine else { return Ok(()) };
        let Some(trace) = self.by_id.get_mut(key) else { return Ok(()) };
        trace.watermark = self.watermark;
        let fate = match judged.class {
            Class::Filtered => Fate::Refused(Verdict::Filtered),
            Class::Future => Fate::Refused(Verdict::Future),
            Class::Late => Fate::Refused(Verdict::Late { watermark: before.unwrap_or(NEVER) }),
            Class::Applied => trace.folded(t),
        };
        let (offset, event_time) = (record.offset, Some(t));
        trace.records.push(Traced { offset, event_time, kafka_time: record.kafka_time, fate, brings });
        Ok(())
    }
}

impl Trace {
    fn folded(&mut self, t: Millis) -> Fate {
        let watermark = self.watermark.unwrap_or(NEVER);
        if self.forget_at().is_some_and(|tau| tau <= watermark.max(t)) {
            self.era += 1;
            self.newest = NEVER;
        }
        self.newest = self.newest.max(t);
        Fate::Applied { clock: self.newest.max(watermark), era: self.era }
    }

    fn forget_at(&self) -> Option<Millis> {
        self.entity().forget_after.filter(|_| self.newest != NEVER).map(|after| self.newest + after)
    }

    /// How often the entity has been emptied by a moment.
    pub(super) fn era(&self, Moment { at, through }: Moment) -> usize {
        let folded = |record: &&Traced| record.offset <= through;
        let era = self.records.iter().rev().filter(folded).find_map(|record| match record.fate {
            Fate::Applied { clock, era } if clock <= at => Some(era),
            _ => None,
        });
        let era = era.unwrap_or(0);
        let newest = self.records.iter().filter(folded).filter_map(|record| match record.fate {
            Fate::Applied { clock, era: of } if of == era && clock <= at => record.event_time,
            _ => None,
        });
        let forgotten =
            newest.max().zip(self.entity().forget_after).is_some_and(|(newest, after)| newest + after <= at);
        era + usize::from(forgotten)
    }

    /// The entity's records, in the order of their offsets.
    pub fn records(&self) -> &[Traced] {
        &self.records
    }

    /// How many records of the partition have been read.
    pub fn read(&self) -> u64 {
        self.read
    }

    /// The entity's `T` as of the last record read; `None` before its first record.
    pub fn clock(&self) -> Option<Millis> {
        let applied = self.records.iter().any(|record| matches!(record.fate, Fate::Applied { .. }));
        applied.then(|| self.newest.max(self.watermark.unwrap_or(NEVER)))
    }

    /// The plan of a traced feature.
    pub fn feature(&self, feature: usize) -> &FeaturePlan {
        &self.entity().features[self.features.index(feature)]
    }

    /// The place of a feature (by its index in the entity's list) among those traced.
    pub fn place_of(&self, index: usize) -> Option<usize> {
        self.features.place_of(index)
    }

    /// The plan of the entity.
    pub fn entity(&self) -> &EntityPlan {
        &self.plan.entities[self.entity]
    }

    pub(super) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(super) fn brings(&self, feature: usize, record: usize) -> &Brings {
        &self.records[record].brings[feature]
    }
}
