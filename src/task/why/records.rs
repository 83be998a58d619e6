//! The records of one entity as a partition's log brings them, with what each brings to the traced features.
//!
//! Every record of the partition is decoded and judged, for they all move the watermark; the SQL is evaluated over the
//! entity's own, and only what the traced features need.

use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;

use super::brings::{Brings, Features, Mine};
use super::{Moment, TOMBSTONE, Verdict};
use crate::decode::{Decoded, Decoder, Outcome, RawBatch, RawRecord};
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
    id: Vec<u8>,
    decoder: Decoder,
    features: Features,
    watermark: Option<Millis>,
    /// The largest event time folded since the entity was emptied last.
    newest: Millis,
    /// How often the entity was emptied.
    era: usize,
    records: Vec<Traced>,
    read: u64,
}

impl Trace {
    /// Of the entity (its index in the plan) with this key, for these features (their indices in the entity's list).
    pub fn new(plan: &Arc<Plan>, entity: usize, id: &str, features: &[usize]) -> Self {
        Self {
            decoder: Decoder::new(&plan.source, &plan.entity_keys()),
            features: Features::new(plan, entity, features),
            plan: Arc::clone(plan),
            entity,
            id: id.as_bytes().to_vec(),
            watermark: None,
            newest: NEVER,
            era: 0,
            records: Vec::new(),
            read: 0,
        }
    }

    /// Reads on: the next records of the partition.
    ///
    /// # Errors
    /// Stopped: a record without a Kafka time, at which a task stops too.
    pub fn add(&mut self, raw: &dyn RawBatch) -> Result<()> {
        let decoded = self.decoder.decode(raw);
        let own = self.own_rows(&decoded)?;
        let rows = filter_record_batch(&decoded.rows, &own)
            .map_err(|e| Error::internal(format!("records cannot be chosen: {e}")))?;
        let mut brings = self.features.read(&self.plan, &rows)?.into_iter();
        for (index, outcome) in decoded.outcomes.iter().enumerate() {
            let record = raw.record(index);
            self.read += 1;
            match outcome {
                Outcome::Row(row) => {
                    let mine = own.value(*row as usize).then(|| brings.next()).flatten();
                    self.well_formed(record, decoded.event_times[*row as usize], mine)?;
                }
                Outcome::Tombstone => self.no_row(record, TOMBSTONE, ""),
                Outcome::OverLimit(reason) => self.no_row(record, "over limit", reason),
                Outcome::Malformed(reason) => self.no_row(record, "malformed", reason),
            }
        }
        Ok(())
    }

    fn own_rows(&self, decoded: &Decoded) -> Result<BooleanArray> {
        let mut keys = KeyColumn::new(&self.entity().key, &decoded.rows)?;
        Ok((0..decoded.rows.num_rows()).map(|row| Some(keys.get(row) == Some(self.id.as_slice()))).collect())
    }

    /// A record whose value is no row is the entity's when its Kafka key says so.
    fn no_row(&mut self, record: RawRecord<'_>, class: &'static str, reason: &str) {
        let source = &self.plan.source;
        if self.entity().key.len() == 1 && !source.trusts_partitioning && record.key == Some(self.id.as_slice()) {
            let fate = Fate::Refused(Verdict::NoRow { class, reason: reason.to_string() });
            let brings = (0..self.features.len()).map(|_| Brings::nothing()).collect();
            let (offset, kafka_time) = (record.offset, record.kafka_time);
            self.records.push(Traced { offset, event_time: None, kafka_time, fate, brings });
        }
    }

    fn well_formed(&mut self, record: RawRecord<'_>, t: Millis, mine: Option<Mine>) -> Result<()> {
        let source = &self.plan.source;
        let Some(kafka_time) = judge::kafka_time(source, record.kafka_time, t) else {
            let [what, remedy] = judge::NO_KAFKA_TIME;
            return Err(Error::stopped(format!("{}, offset {}: {what}; {remedy}", source.topic, record.offset)));
        };
        let (times, before) = ([t, kafka_time], self.watermark);
        let filtered = mine.as_ref().is_some_and(|mine| mine.filtered);
        let judged = judge::judge(source, before, times, filtered, false);
        if judged.on_time {
            self.watermark = Some(judge::moved(source, before, times));
        }
        let Some(Mine { brings, .. }) = mine else { return Ok(()) };
        let fate = match judged.class {
            Class::Filtered => Fate::Refused(Verdict::Filtered),
            Class::Future => Fate::Refused(Verdict::Future),
            Class::Late => Fate::Refused(Verdict::Late { watermark: before.unwrap_or(NEVER) }),
            Class::Applied => self.folded(t),
        };
        let (offset, event_time) = (record.offset, Some(t));
        self.records.push(Traced { offset, event_time, kafka_time: record.kafka_time, fate, brings });
        Ok(())
    }

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
