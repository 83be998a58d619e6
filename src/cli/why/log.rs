//! The log from its beginning to where it ends now, for one entity.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Question;
use crate::cli::follow::follow;
use crate::config::Settings;
use crate::error::Result;
use crate::source::{KafkaSource, PartitionInfo};
use crate::task::{Trace, Traces};

/// What a partition has of the entity.
pub struct Log {
    pub partition: PartitionInfo,
    pub trace: Trace,
}

/// Reads one partition, or all when it is not known which (or is not there): those with the most records of the
/// entity first. What comes after the question is left out.
pub fn read(settings: &Settings, question: &Question, only: Option<i32>) -> Result<Vec<Log>> {
    let plan = &question.plan;
    let group = settings.kafka.group.replace("{topology}", &plan.topology);
    let mut source = KafkaSource::open(&settings.kafka, &plan.source.topic, &group)?;
    let mut log = source.describe()?;
    if log.iter().any(|info| Some(info.partition) == only) {
        log.retain(|info| Some(info.partition) == only);
    }
    let id = question.id.as_str();
    let traces = || Traces::new(plan, question.entity, [id], &question.features);
    let mut all: BTreeMap<i32, Traces> = log.iter().map(|info| (info.partition, traces())).collect();
    follow(&mut source, &log, &mut |partition, records| match all.get_mut(&partition) {
        Some(traces) => traces.add(records),
        None => Ok(()),
    })?;
    source.close(Duration::from_secs(3));
    let of = |info: PartitionInfo| Some(Log { partition: info, trace: all.get_mut(&info.partition)?.take(id)? });
    let mut all: Vec<Log> = log.into_iter().filter_map(of).collect();
    all.sort_by_key(|log| std::cmp::Reverse(log.trace.records().len()));
    Ok(all)
}
