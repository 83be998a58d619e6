//! What the law says of a well-formed record: its class, and where it moves the watermark.
//!
//! Pure functions of the source's plan, the watermark and the record's times: the task folds by them, and whoever
//! explains a value reads the log by them.

use crate::time::Millis;
use crate::topology::SourcePlan;

/// The class of a well-formed record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Filtered,
    Future,
    Late,
    Applied,
}

/// A record judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    pub class: Class,
    /// Neither future nor late: it moves the watermark, filtered or not.
    pub on_time: bool,
}

/// What stops a task at a record without a Kafka time, and what helps.
pub const NO_KAFKA_TIME: [&str; 2] = [
    "the record has no Kafka time",
    "let the producer set timestamps, or say max_future: off, and the event time stands in",
];

/// The Kafka time that counts for a record: its own, or under `max_future: off` the event time. `None` stops the task.
pub fn kafka_time(source: &SourcePlan, own: Option<Millis>, t: Millis) -> Option<Millis> {
    own.or(source.max_future.is_none().then_some(t))
}

/// Judges a record under the watermark before it. `resumed`: it has moved the watermark already, so it was on time.
pub fn judge(
    source: &SourcePlan,
    watermark: Option<Millis>,
    [t, kafka_time]: [Millis; 2],
    filtered: bool,
    resumed: bool,
) -> Judged {
    let future = source.max_future.is_some_and(|ahead| t > kafka_time.saturating_add(ahead));
    let late = watermark.is_some_and(|watermark| t < watermark.saturating_sub(source.grace));
    let on_time = resumed || (!future && !late);
    let class = match (filtered, future, on_time) {
        (true, ..) => Class::Filtered,
        (_, true, false) => Class::Future,
        (_, _, false) => Class::Late,
        _ => Class::Applied,
    };
    Judged { class, on_time }
}

/// The watermark after an on-time record.
pub fn moved(source: &SourcePlan, watermark: Option<Millis>, [t, kafka_time]: [Millis; 2]) -> Millis {
    let reached = t.min(kafka_time) - source.lateness;
    watermark.map_or(reached, |old| old.max(reached))
}
