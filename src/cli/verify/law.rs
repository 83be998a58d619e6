//! What the law says of a row that was refreshed by the clock: folded anew from the entity's own records in the log.
//!
//! A refresh names its row and T', and not how far the log had been folded: records that changed nothing may have come
//! between that row and the refresh. So it is right when the law gives its values after one of the offsets from that of
//! its row up to the one before the entity's next row.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::ArrayRef;

use super::reads::Served;
use crate::cli::follow::follow;
use crate::config::Settings;
use crate::error::Result;
use crate::features::shown_at;
use crate::runtime::{ReplayFrom, Versions};
use crate::source::KafkaSource;
use crate::task::{Moment, Trace, Traces};
use crate::topology::{DerivedOn, EntityPlan, Plan};

/// The records of the entities that were read after a refresh.
#[derive(Default)]
pub struct Law {
    /// By entity and partition.
    traces: BTreeMap<(usize, i32), Traces>,
    /// Versions that began after the log's beginning, where records are missing.
    late: BTreeSet<u32>,
}

impl Law {
    /// Reads the partitions that refreshes came from, whole; nothing when there was none.
    ///
    /// # Errors
    /// Unavailable: Kafka does not answer.
    pub fn read(settings: &Settings, plan: &Arc<Plan>, reads: &[Served]) -> Result<Self> {
        let mut asked: BTreeMap<(usize, i32), BTreeSet<&str>> = BTreeMap::new();
        let mut numbers = BTreeSet::new();
        for read in reads {
            let Some(row) = read.row.as_ref().filter(|row| row.position.refresh.is_some()) else { continue };
            asked.entry((read.entity, row.position.partition)).or_default().insert(&read.id);
            numbers.insert(row.version);
        }
        if asked.is_empty() {
            return Ok(Self::default());
        }
        let versions = Versions::open(&settings.data_dir, &plan.topology)?;
        let begins_late =
            |number: &u32| versions.get(*number).is_none_or(|version| version.start != ReplayFrom::Beginning);
        let late = numbers.into_iter().filter(begins_late).collect();
        let group = settings.kafka.group.replace("{topology}", &plan.topology);
        let mut source = KafkaSource::open(&settings.kafka, &plan.source.topic, &group)?;
        let mut log = source.describe()?;
        log.retain(|info| info.low == 0 && asked.keys().any(|(_, partition)| *partition == info.partition));
        let of = |((entity, partition), ids): ((usize, i32), BTreeSet<&str>)| {
            let all: Vec<usize> = (0..plan.entities[entity].features.len()).collect();
            let is_whole = log.iter().any(|info| info.partition == partition);
            is_whole.then(|| ((entity, partition), Traces::new(plan, entity, ids, &all)))
        };
        let mut traces: BTreeMap<(usize, i32), Traces> = asked.into_iter().filter_map(of).collect();
        follow(&mut source, &log, &mut |partition, records| {
            let own = traces.iter_mut().filter(|((_, of), _)| *of == partition);
            own.map(|(_, traces)| traces).try_for_each(|traces| traces.add(records))
        })?;
        source.close(Duration::from_secs(3));
        Ok(Self { traces, late })
    }

    /// What a refresh of a row could have shown at `clock`, the likeliest first; `before` is the offset of the entity's
    /// next row. `None`: the log does not have all that the version has folded.
    pub fn shown<'l>(
        &'l self,
        plan: &'l Plan,
        read: &'l Served,
        before: Option<i64>,
    ) -> Option<impl Iterator<Item = Result<Vec<Option<String>>>> + 'l> {
        let row = read.row.as_ref()?;
        let at = row.position.refresh?;
        let trace = self.traces.get(&(read.entity, row.position.partition))?.get(&read.id)?;
        if self.late.contains(&row.version) {
            return None;
        }
        let (first, end) = (row.position.offset, before.unwrap_or(i64::MAX));
        let between =
            trace.records().iter().map(|record| record.offset).filter(move |offset| (first..end).contains(offset));
        let mut through: Vec<i64> = between.chain([first]).collect();
        through.sort_unstable();
        through.dedup();
        let entity = &plan.entities[read.entity];
        let one = move |through| {
            let stored = stored(trace, entity, Moment { at, through })?;
            let shown = shown_at(entity, &stored, &[at], &[read.at])?;
            Ok(shown.into_iter().map(|mut column| column.pop().flatten()).collect())
        };
        Some(through.into_iter().rev().map(one))
    }
}

/// The columns of `EntityPlan::columns`, one row.
fn stored(trace: &Trace, entity: &EntityPlan, moment: Moment) -> Result<Vec<ArrayRef>> {
    let features = (0..entity.features.len()).map(|feature| Ok(trace.why(feature, moment)?.value));
    let of_rows = entity.derived.iter().enumerate().filter(|(_, derived)| derived.on == DerivedOn::Row);
    let derived = of_rows.map(|(index, _)| trace.derived(index, moment));
    features.chain(derived).collect()
}
