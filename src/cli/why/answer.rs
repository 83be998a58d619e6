//! The answer: what the log says at `T`, what the state keeps where the log is cut, and what the stores say.

use arrow::array::ArrayRef;

use super::compare::{Said, compare};
use super::kept;
use super::log::Log;
use super::stored::Stored;
use super::{Question, Subject};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::source::PartitionInfo;
use crate::task::{Kept, Moment, Trace, Verdict, Why};
use crate::time::Millis;

/// All that is printed.
pub struct Answer<'a> {
    pub question: &'a Question,
    pub partition: PartitionInfo,
    pub trace: Trace,
    pub at: Millis,
    /// What the log comes to, one row.
    pub value: ArrayRef,
    /// One for each feature that the question takes.
    pub features: Vec<Why>,
    /// Whether the log has lost records that the version has folded.
    pub is_cut: bool,
    /// The entity in the state, where the log is cut.
    pub kept: Option<Kept>,
    pub history: Said,
    pub online: Said,
    pub notes: Vec<String>,
}

impl<'a> Answer<'a> {
    /// Folds what was read.
    ///
    /// # Errors
    /// Configuration: nothing knows the entity. Internal.
    pub fn new(
        settings: &Settings,
        question: &'a Question,
        stored: &Stored,
        logs: Vec<Log>,
        at: Option<Millis>,
    ) -> Result<Self> {
        let mut notes = stored.notes.clone();
        notes.extend(several(&logs));
        let (Log { partition, trace }, state) = kept::choose(settings, question, stored.version, logs)?;
        let lost = kept::lost(&partition, &state);
        notes.extend(lost.map(|lost| gone(partition.partition, lost, &state)));
        let kept = state.and_then(Result::ok).and_then(|state| state.entity).filter(|_| lost.is_some());
        let at = at.or(stored.newest()).or(trace.clock()).or(kept.as_ref().map(|kept| kept.at));
        let Some(at) = at else { return Err(unknown(question)) };
        let moment = Moment::at(at);
        let explained = (0..question.features.len()).map(|feature| trace.why(feature, moment));
        let features = explained.collect::<Result<Vec<Why>>>()?;
        let value = value(question, &trace, moment)?;
        let (history, online) = compare(question, &trace, stored)?;
        Ok(Self {
            question,
            partition,
            trace,
            at,
            value,
            features,
            is_cut: lost.is_some(),
            kept,
            history,
            online,
            notes,
        })
    }

    /// The records of a feature to print, in the order of event time, then offset: those that count before others,
    /// those outside the window last, of each the newest.
    pub fn records(&self, why: &Why, limit: usize) -> Vec<usize> {
        let rank = |verdict: &Verdict| match verdict {
            Verdict::Counted(_) => 0,
            Verdict::Outside(_) => 2,
            _ => 1,
        };
        let time = |record: &usize| {
            let of = &self.trace.records()[*record];
            (of.event_time.or(of.kafka_time), of.offset)
        };
        let mut all: Vec<usize> = (0..why.verdicts.len()).collect();
        all.sort_by_key(|record| (rank(&why.verdicts[*record]), std::cmp::Reverse(time(record))));
        all.truncate(limit);
        all.sort_by_key(time);
        all
    }
}

/// What the log comes to at a moment, one row.
pub fn value(question: &Question, trace: &Trace, moment: Moment) -> Result<ArrayRef> {
    match question.subject {
        Subject::Feature(_) => Ok(trace.why(0, moment)?.value),
        Subject::Derived(index) => trace.derived(index, moment),
    }
}

/// A key must lie in one partition; a note if it does not.
fn several(logs: &[Log]) -> Option<String> {
    let found = logs.iter().filter(|log| !log.trace.records().is_empty());
    let found: Vec<i32> = found.map(|log| log.partition.partition).collect();
    let first = found.first().filter(|_| found.len() > 1)?;
    Some(format!(
        "partitions {found:?} all have records of this key; values are per partition: here is that of {first}"
    ))
}

/// What the topic no longer has of a partition.
fn gone(partition: i32, (from, to): (i64, i64), state: &kept::Asked) -> String {
    let gone = format!(
        "partition {partition}: offsets {from} to {} are gone from the topic (retention): what they held is not in what \
         the log comes to",
        to - 1
    );
    match state {
        Some(Err(why)) => format!("{gone}, and the state was not asked: {why}"),
        _ => format!("{gone}; the state keeps it in tiles, without offsets"),
    }
}

fn unknown(question: &Question) -> Error {
    Error::configuration(format!(
        "{} has no record of {} {:?}: look whether the key is written as in the topic",
        question.plan.source.topic,
        question.entity().name,
        question.id
    ))
}
