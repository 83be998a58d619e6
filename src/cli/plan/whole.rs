//! From when on values are whole, where a replay does not see the beginning of the log.
//!
//! Always holds: the missing records have event times up to `begin` at most (see [`Begin`]), and a value that is said to
//! be whole from a time on has none of them in its window at any later `T`. What can only be told of an entity by itself
//! has no time, and words instead.

use super::words;
use crate::cli::test::times::show_instant;
use crate::time::{Millis, Span, floor_to};
use crate::topology::{EntityPlan, FeaturePlan, Plan, Window};

/// Up to when records may be missing.
///
/// Kafka times do not go back within a partition, and an event time runs ahead of its Kafka time by `max_future` at most:
/// so no missing record has an event time beyond the first kept one's Kafka time and `max_future`. With `max_future: off`
/// the first kept record's own event time stands in, and producers' clocks must be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin(pub Millis);

impl Begin {
    /// By the first record that a replay sees in a partition.
    pub fn of(plan: &Plan, kafka_time: Option<Millis>, event_time: Option<Millis>) -> Option<Self> {
        let by_kafka = kafka_time.map(|time| time.saturating_add(plan.source.max_future.unwrap_or(0)));
        let begin = match plan.source.max_future {
            Some(_) => by_kafka.or(event_time),
            None => by_kafka.into_iter().chain(event_time).max(),
        };
        begin.map(Self)
    }

    /// The first multiple of `step`, counted from `offset`, that comes after it.
    fn next(self, step: Millis, offset: Millis) -> Millis {
        floor_to(self.0.saturating_sub(offset), step).saturating_add(step).saturating_add(offset)
    }

    fn after(self, length: Millis) -> String {
        show_instant(self.0.saturating_add(length))
    }
}

/// From when on a feature's values are whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// For every entity; `None` where it cannot be said for all.
    pub from: Option<Millis>,
    pub words: String,
}

impl Whole {
    fn from(at: Millis) -> Self {
        Self { from: Some(at), words: format!("whole from {}", show_instant(at)) }
    }

    fn never(words: String) -> Self {
        Self { from: None, words }
    }
}

/// Of every feature and everything derived of an entity, in its order.
pub fn of_entity(plan: &Plan, entity: &EntityPlan, begin: Begin) -> Vec<(String, Whole)> {
    let features = entity.features.iter().map(|feature| (feature.name.clone(), of(plan, entity, feature, begin)));
    let mut all: Vec<(String, Whole)> = features.collect();
    for (at, derived) in entity.derived.iter().enumerate() {
        let reads: Vec<&str> = super::changes::reads(entity, at).collect();
        let inputs: Vec<&(String, Whole)> = all.iter().filter(|(name, _)| reads.contains(&name.as_str())).collect();
        let uncertain = inputs.iter().find(|(_, whole)| whole.from.is_none());
        let whole = match (uncertain, inputs.iter().filter_map(|(_, whole)| whole.from).max()) {
            (Some((name, _)), _) => Whole::never(format!("as {name}, which it reads")),
            (None, Some(from)) => Whole::from(from),
            // It reads no feature.
            (None, None) => Whole::from(begin.0),
        };
        all.push((derived.name.clone(), whole));
    }
    all
}

fn of(plan: &Plan, entity: &EntityPlan, feature: &FeaturePlan, begin: Begin) -> Whole {
    let at = show_instant(begin.0);
    let mut whole = match feature.window {
        Window::Sliding { size, slide } => Whole::from(begin.next(slide, 0).saturating_add(size)),
        Window::Tumbling { size, offset, complete } => {
            let first = begin.next(size, offset);
            Whole::from(if complete { first.saturating_add(size) } else { first })
        }
        Window::Session { gap } => Whole::never(format!(
            "for sessions that begin after {}; the front of an earlier one may be missing",
            begin.after(gap)
        )),
        Window::Since { .. } => Whole::never(format!(
            "for an entity once a record after {at} has met {}",
            words::window(plan, &feature.window).trim_start_matches("since ")
        )),
        Window::LastN { n } => Whole::never(format!("for an entity once {n} of its records come after {at}")),
        Window::Lifetime => Whole::never(format!("never: what came before {at} is missing from it")),
    };
    if let Some(after) = entity.forget_after.filter(|_| whole.from.is_none()) {
        let forgotten =
            format!("; or once its first record comes after {} (forget_after {})", begin.after(after), Span(after));
        whole.words.push_str(&forgotten);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology;

    const HOUR: Millis = 3_600_000;
    const DAY: Millis = 24 * HOUR;

    fn plan() -> Plan {
        let text = r#"
topology: t
source:
  topic: t
  format: json
  event_time: ts
  schema: {user: string, event: string, ts: timestamp_ms}
entities:
  user:
    key: user
    features:
      day:    {count: "*", window: 1d, slide: 1h}
      today:  {count: "*", window: {tumbling: 1d}}
      week:   {count: "*", window: {tumbling: 7d, offset: 4d}}
      before: {count: "*", window: {tumbling: 1d, complete: true}}
      visit:  {count: "*", window: {session: 30m}}
      since:  {count: "*", window: {since: "event = 'x'"}}
      few:    {count: "*", window: {last: 3}}
      all:    {count: "*", window: lifetime}
    derived:
      both: "day + today"
      some: 'day + "all"'
      one:  "1 + 1"
  other:
    key: user
    online_key: "other:{id}"
    forget_after: 2d
    features: {all: {count: "*", window: lifetime}}
"#;
        topology::parse("t.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn whole(name: &str, begin: Millis) -> Whole {
        let plan = plan();
        let all = of_entity(&plan, &plan.entities[0], Begin(begin));
        all.into_iter().find(|(of, _)| of == name).unwrap().1
    }

    #[test]
    fn a_window_is_whole_once_no_tile_of_it_can_hold_what_is_missing() {
        // Missing up to 10:30 of day 100: the tile of 10:00 may lack records, that of 11:00 none.
        let begin = 100 * DAY + 10 * HOUR + HOUR / 2;
        assert_eq!(whole("day", begin).from, Some(100 * DAY + 11 * HOUR + DAY));
        // A missing record at 11:00 sharp lies in the tile of 11:00.
        assert_eq!(whole("day", 100 * DAY + 11 * HOUR).from, Some(100 * DAY + 12 * HOUR + DAY));
        assert_eq!(whole("today", begin).from, Some(101 * DAY));
        assert_eq!(whole("before", begin).from, Some(102 * DAY));
        // Weeks from day 4 on: 95, 102, ...
        assert_eq!(whole("week", begin).from, Some(102 * DAY));
    }

    #[test]
    fn what_hangs_on_the_entity_is_said_in_words() {
        assert_eq!(
            whole("visit", 0).words,
            "for sessions that begin after 1970-01-01T00:30:00Z; the front of an earlier one may be missing"
        );
        assert_eq!(
            whole("since", 0).words,
            "for an entity once a record after 1970-01-01T00:00:00Z has met event = 'x'"
        );
        assert_eq!(whole("few", 0).words, "for an entity once 3 of its records come after 1970-01-01T00:00:00Z");
        assert!(whole("all", 0).words.starts_with("never: what came before"));
        let plan = plan();
        let (_, forgets) = of_entity(&plan, &plan.entities[1], Begin(0)).remove(0);
        assert!(
            forgets.from.is_none() && forgets.words.ends_with("1970-01-03T00:00:00Z (forget_after 2d)"),
            "{forgets:?}"
        );
    }

    #[test]
    fn what_is_derived_is_as_whole_as_what_it_reads() {
        assert_eq!(whole("both", HOUR).from, Some(DAY + 2 * HOUR));
        assert_eq!(whole("some", HOUR), Whole { from: None, words: "as all, which it reads".into() });
        assert_eq!(whole("one", HOUR).from, Some(HOUR));
    }

    #[test]
    fn records_may_be_missing_up_to_the_first_ones_kafka_time_and_max_future() {
        let mut plan = plan();
        assert_eq!(Begin::of(&plan, Some(1_000), Some(900)), Some(Begin(61_000)));
        assert_eq!(Begin::of(&plan, None, Some(900)), Some(Begin(900)));
        plan.source.max_future = None;
        assert_eq!(Begin::of(&plan, Some(1_000), Some(1_500)), Some(Begin(1_500)));
        assert_eq!(Begin::of(&plan, None, None), None);
    }
}
