//! One entity key: its records as each feature sees them, and its last row.
//!
//! Always holds: what is remembered between evaluations is only which records were held the last time, so that an equal
//! set is not aggregated again; a set that differs is aggregated from nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Value;
use super::aggregate::{Input, Slack, value_of};
use super::topology::{Entity, Feature, Window};

/// One entity key: the list of its records, seen by each feature, and its last row.
#[derive(Debug)]
pub(super) struct Subject {
    /// The event times of all its records, sorted.
    times: Vec<i64>,
    /// One a feature.
    lists: Vec<List>,
    pub(super) largest_kafka_time: i64,
    /// The features' values and the known time of the last row.
    row: Vec<Value>,
    pub(super) known_at: Option<i64>,
    pub(super) timers: BTreeSet<i64>,
}

/// The records that a feature's `where` takes, by (event time, offset): those with an input and a bucket that are not
/// null, for `last: N` all of them.
#[derive(Debug)]
struct List {
    times: Vec<i64>,
    offsets: Vec<i64>,
    inputs: Vec<Value>,
    /// As long as the others with `by`, else empty.
    buckets: Vec<Option<Arc<str>>>,
    /// The newest record that meets the condition of a `since` window.
    since: Option<(i64, i64)>,
    /// What the window held at the last evaluation, and what came of it.
    held: Held,
    value: Value,
    slack: Slack,
}

/// Which inputs a window held when it was last looked at.
#[derive(Debug, Default)]
struct Held {
    /// Their indices as they are now: from, to.
    range: (usize, usize),
    /// Another came in the midst of them: they are no range any more.
    torn: bool,
    /// Of `last: N`, where nulls have a place too: their offsets.
    offsets: Vec<i64>,
}

impl Held {
    /// An input comes in at this index.
    fn shift(&mut self, place: usize) {
        let (from, to) = &mut self.range;
        if place <= *from {
            *from += 1;
            *to += 1;
        } else if place < *to {
            *to += 1;
            self.torn = true;
        }
    }
}

impl List {
    fn new(feature: &Feature) -> Self {
        Self {
            times: vec![],
            offsets: vec![],
            inputs: vec![],
            buckets: vec![],
            since: None,
            held: Held::default(),
            value: feature.empty_value(),
            slack: vec![],
        }
    }

    fn fold(&mut self, feature: &Feature, values: &[Value], t: i64, offset: i64) {
        if let Window::Since(condition) = &feature.window
            && condition.holds(values)
        {
            self.since = self.since.max(Some((t, offset)));
        }
        if feature.filter.as_ref().is_some_and(|filter| !filter.holds(values)) {
            return;
        }
        let input = feature.input.as_ref().map_or(Value::Int(1), |input| input.value(values));
        let bucket = feature.by.as_ref().map(|by| by.bucket.value(values).text().map(Arc::from));
        let nothing = input.is_null() || bucket == Some(None);
        if nothing && !matches!(feature.window, Window::Last(_)) {
            return;
        }
        // Offsets rise, so a tie in event time goes behind.
        let place = self.times.partition_point(|time| *time <= t);
        self.held.shift(place);
        self.times.insert(place, t);
        self.offsets.insert(place, offset);
        self.inputs.insert(place, input);
        if let Some(bucket) = bucket {
            self.buckets.insert(place, bucket);
        }
    }

    /// The part of the list, as a range of indices, that the window holds at `at`; `all` are the times of all records.
    fn range(&self, window: &Window, all: &[i64], at: i64) -> (usize, usize) {
        let before = |t: i64| self.times.partition_point(|time| *time < t);
        let now = self.times.partition_point(|time| *time <= at);
        match window {
            Window::Lifetime => (0, now),
            Window::Sliding { size, slide } => (before((at - size).div_euclid(*slide) * slide), now),
            Window::Tumbling { size, offset, complete } => {
                let begin = (at - offset).div_euclid(*size) * size + offset;
                if *complete { (before(begin - size), before(begin)) } else { (before(begin), now) }
            }
            Window::Session { gap } => match all.last() {
                Some(last) if at <= last + gap => {
                    let breaks = all.windows(2).rposition(|pair| pair[1] - pair[0] > *gap);
                    (before(all[breaks.map_or(0, |index| index + 1)]), now)
                }
                _ => (0, 0),
            },
            Window::Since(_) => {
                let Some(newest) = self.since else { return (0, now) };
                let passed = |index: &usize| (self.times[*index], self.offsets[*index]) > newest;
                ((before(newest.0)..now).find(passed).unwrap_or(now), now)
            }
            Window::Last(n) => (now.saturating_sub(*n), now),
        }
    }

    /// The indices of the inputs that the window holds.
    fn inputs(&self, window: &Window, all: &[i64], at: i64) -> impl Iterator<Item = usize> + '_ {
        let (from, to) = self.range(window, all, at);
        (from..to).filter(|index| !self.inputs[*index].is_null() && self.buckets.get(*index) != Some(&None))
    }

    /// Whether the window holds other inputs than when this was last asked.
    fn moved(&mut self, window: &Window, all: &[i64], at: i64) -> bool {
        if let Window::Last(_) = window {
            let offsets: Vec<i64> = self.inputs(window, all, at).map(|index| self.offsets[index]).collect();
            let moved = offsets != self.held.offsets;
            self.held.offsets = offsets;
            return moved;
        }
        // No input of another window is null, so a set of them is a range, and another range is another set.
        let (range, before) = (self.range(window, all, at), self.held.range);
        let both_empty = range.0 >= range.1 && before.0 >= before.1;
        let moved = self.held.torn || (range != before && !both_empty);
        (self.held.range, self.held.torn) = (range, false);
        moved
    }

    fn evaluated(&self, feature: &Feature, all: &[i64], at: i64) -> (Value, Slack) {
        let inputs: Vec<Input> = self
            .inputs(&feature.window, all, at)
            .map(|index| Input {
                time: self.times[index],
                value: &self.inputs[index],
                bucket: self.buckets.get(index).and_then(Option::as_ref),
            })
            .collect();
        value_of(feature, &inputs, at)
    }
}

impl Subject {
    pub(super) fn new(entity: &Entity) -> Self {
        Self {
            times: vec![],
            lists: entity.features.iter().map(List::new).collect(),
            largest_kafka_time: i64::MIN,
            row: entity.features.iter().map(Feature::empty_value).collect(),
            known_at: None,
            timers: BTreeSet::new(),
        }
    }

    /// Its `T`.
    pub(super) fn time(&self, watermark: Option<i64>) -> i64 {
        self.times.last().copied().unwrap_or(i64::MIN).max(watermark.unwrap_or(i64::MIN))
    }

    /// Adds a record to its lists; returns the times at which something might leave because of it.
    pub(super) fn fold(&mut self, entity: &Entity, values: &[Value], t: i64, kafka: i64, offset: i64) -> Vec<i64> {
        self.largest_kafka_time = self.largest_kafka_time.max(kafka);
        let place = self.times.partition_point(|time| *time <= t);
        self.times.insert(place, t);
        let last = self.times[self.times.len() - 1];
        let mut taus: Vec<i64> = entity.forget_after.map(|after| last + after).into_iter().collect();
        for (feature, list) in entity.features.iter().zip(&mut self.lists) {
            list.fold(feature, values, t, offset);
            match feature.window {
                Window::Sliding { size, slide } => taus.push(t.div_euclid(slide) * slide + slide + size),
                Window::Tumbling { size, offset, .. } => {
                    let end = (t - offset).div_euclid(size) * size + offset + size;
                    taus.extend([end, end + size]);
                }
                Window::Session { gap } => taus.push(last + gap + 1),
                Window::Lifetime | Window::Since(_) | Window::Last(_) => {}
            }
        }
        taus
    }

    fn is_forgotten(&self, entity: &Entity, at: i64) -> bool {
        entity.forget_after.zip(self.times.last()).is_some_and(|(after, last)| at >= last + after)
    }

    /// Evaluates every feature at `at`; whether a row is due, which the subject then takes for its last.
    pub(super) fn evaluate(&mut self, entity: &Entity, at: i64) -> bool {
        if self.is_forgotten(entity, at) {
            self.forget();
        }
        let mut due = false;
        for ((feature, list), shown) in entity.features.iter().zip(&mut self.lists).zip(&self.row) {
            let moved = list.moved(&feature.window, &self.times, at);
            if moved {
                (list.value, list.slack) = list.evaluated(feature, &self.times, at);
            }
            due |= if feature.is_exact() { list.value != *shown } else { moved };
        }
        if due {
            for (feature, list) in entity.features.iter().zip(&mut self.lists).filter(|of| of.0.half_life.is_some()) {
                (list.value, list.slack) = list.evaluated(feature, &self.times, at);
            }
            self.row = self.lists.iter().map(|list| list.value.clone()).collect();
        }
        due
    }

    /// Every window forgets everything; the last row, its known time and the largest Kafka time stay.
    fn forget(&mut self) {
        self.times.clear();
        for list in &mut self.lists {
            list.times.clear();
            list.offsets.clear();
            list.inputs.clear();
            list.buckets.clear();
            list.since = None;
        }
    }

    /// The features and what is derived with them, of the last row.
    pub(super) fn row(&self, entity: &Entity) -> Box<[Value]> {
        self.row.iter().cloned().chain(entity.derive(&self.row)).collect()
    }

    /// The slack of the last row, when that of some double exceeds 1e-12 of it.
    pub(super) fn slack(&self) -> Option<Box<[Slack]>> {
        let above = |value: &Value, slack: &f64| matches!(value, Value::Double(v) if *slack > 1e-12 * v.abs());
        let matters = |list: &List| match &list.value {
            Value::Map(pairs) => pairs.iter().zip(&list.slack).any(|((_, value), slack)| above(value, slack)),
            value => list.slack.iter().any(|slack| above(value, slack)),
        };
        self.lists.iter().any(matters).then(|| self.lists.iter().map(|list| list.slack.clone()).collect())
    }

    /// The law at `at`, no earlier than its `T`, beside all rows.
    pub(super) fn values_at(&self, entity: &Entity, at: i64) -> Vec<Value> {
        let mut values: Vec<Value> = if self.is_forgotten(entity, at) {
            entity.features.iter().map(Feature::empty_value).collect()
        } else {
            let lists = entity.features.iter().zip(&self.lists);
            lists.map(|(feature, list)| list.evaluated(feature, &self.times, at).0).collect()
        };
        values.extend(entity.derive(&values));
        values
    }
}
