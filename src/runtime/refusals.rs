//! What a version is held against before it reads: the topic it began with, whose records stay as they were, and a log
//! that still has its place. And while it reads: that the topic is still the same.

use std::collections::BTreeMap;

use super::versions::{Version, Versions};
use crate::error::{Error, Result};
use crate::source::{PartitionInfo, Source, Topic};
use crate::topology::Plan;

/// The topic must be the one that the version began with, with every key in one partition, and not compacted.
///
/// # Errors
/// Refused, with the remedy; nothing has been written for the version then.
pub fn check_topic(
    plan: &Plan,
    versions: &Versions,
    version: &mut Version,
    topic: &Topic,
    log: &[PartitionInfo],
) -> Result<()> {
    let name = &plan.source.topic;
    if let Some(policy) = topic.cleanup_policy.as_deref().filter(|policy| policy.contains("compact")) {
        return Err(compacted(name, policy));
    }
    if version.partitions == 0 {
        if let Some(before) = versions.partitions_of(topic.id.as_deref()).find(|before| *before != log.len()) {
            return Err(partitions_changed(name, before, log.len()));
        }
        (version.partitions, version.topic_id) = (log.len(), topic.id.clone());
        return Ok(());
    }
    // First: a topic that was made again may well have another number of partitions.
    if let (Some(before), Some(now)) = (&version.topic_id, &topic.id)
        && before != now
    {
        return Err(recreated(name, before, now));
    }
    if version.partitions != log.len() {
        return Err(partitions_changed(name, version.partitions, log.len()));
    }
    Ok(())
}

/// The log, or what is kept of it, must have all that a new version is to begin with.
///
/// # Errors
/// Refused, with what is lost and the remedy; nothing has been written for the version then.
pub fn check_starts(plan: &Plan, source: &Source, log: &[PartitionInfo], starts: &BTreeMap<i32, i64>) -> Result<()> {
    for info in log {
        let start = starts.get(&info.partition).copied().unwrap_or(info.low);
        if start < info.low && !source.has_all_from(info.partition, start)? {
            return Err(begins_late(&plan.source.topic, info, start));
        }
    }
    Ok(())
}

/// The log must still have what comes next.
///
/// # Errors
/// Refused, with what is lost and the remedy.
pub fn check_position(plan: &Plan, info: &PartitionInfo, next_offset: i64, start_offset: i64) -> Result<()> {
    let (topic, PartitionInfo { partition, low, high }) = (&plan.source.topic, info);
    if next_offset > *high {
        return Err(Error::refused(format!(
            "{topic}, partition {partition}: the state is at offset {next_offset} and the log ends at {high}: the topic was \
             recreated or truncated. Run with --replay-from 0 --again to rebuild from it, or point data_dir elsewhere"
        )));
    }
    if next_offset >= *low {
        return Ok(());
    }
    if next_offset == start_offset {
        return Err(begins_late(topic, info, start_offset));
    }
    let lost = low - next_offset;
    Err(Error::refused(format!(
        "{topic}, partition {partition}: the state is at offset {next_offset} and the log begins at {low}: {lost} records \
         were deleted before they were read. Say --replay-from earliest --again to rebuild from what is left, and \
         lengthen the topic's retention"
    )))
}

/// More partitions change where a key lives, so values would silently begin anew.
pub fn partitions_changed(topic: &str, before: usize, now: usize) -> Error {
    Error::refused(format!(
        "{topic} has {now} partitions now and had {before} when the version began: keys live in other partitions, so \
         their windows would be wrong, and a replay would not mend them. Create a topic with {now} partitions, copy the \
         log into it keyed as before, name it in source.topic, and run that with --replay-from 0"
    ))
}

/// Offsets of a topic that was made again mean other records.
pub fn recreated(topic: &str, before: &str, now: &str) -> Error {
    Error::refused(format!(
        "{topic} was deleted and created again (its id was {before} and is {now}): offsets mean other records now. Run \
         with --replay-from 0 --again to rebuild from the new topic, or point data_dir elsewhere"
    ))
}

/// A replay would compute other values than the first reading.
fn compacted(topic: &str, policy: &str) -> Error {
    Error::refused(format!(
        "{topic} has cleanup.policy={policy}: compaction deletes all but the newest record of a key, so a replay would \
         compute other values than the first reading. Set cleanup.policy=delete (kafka-configs.sh --alter --topic {topic} \
         --add-config cleanup.policy=delete), or have the events written to a topic that is not compacted, and name that \
         in source.topic"
    ))
}

/// A version that is to begin where the log does not begin any more.
pub fn begins_late(topic: &str, PartitionInfo { partition, low, .. }: &PartitionInfo, start: i64) -> Error {
    let lost = low - start;
    Error::refused(format!(
        "{topic}, partition {partition}: the log begins at offset {low}, not {start}: {lost} records are gone, so windows \
         and totals could not be whole. Say --replay-from earliest to begin with what is left, or --replay-from archive if they are \
         kept there"
    ))
}
