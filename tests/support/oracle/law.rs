//! The law: per partition, in offset order, and after every single record,
//!
//! > value(entity) = aggregate over the set of records of that entity folded so far, of those that the window holds
//! > at `T = max(largest event time folded into the entity, watermark of the partition)`.
//!
//! Always holds: a value is computed from the list of the entity's records. Timers are any times at which something
//! might leave: one at which nothing changes writes no row, so too many do no harm.
//!
//! Questions that the page leaves open, and what is done here:
//! 1. A timer is pending while `tau > T` of its entity, so a record folded late-in-grace arms only what still lies
//!    ahead of `T`; nothing fires in arrears.
//! 2. A session is over at `last + G + 1` where `last` is the entity's largest event time; a record that joins two
//!    runs may make the current one longer at its front. At `T >= last + G + 1` it is empty.
//! 3. Phase (a) needs no "own record" exception in `known_at`: there the record's Kafka time is at least `tau + lateness`.
//! 4. The sequence runs on over (a), (b) and (c); ordinals count the rows of all entities of the partition.
//! 5. A record without a Kafka time under `max_future: off` has its event time as Kafka time everywhere.
//! 6. "The previous row" is the last row written; an evaluation that writes none leaves no trace.
//! 7. A sum of doubles beyond the largest double is null, and so is the avg made of it.
//! 8. Null keys are counted for each entity.
//! 9. A record whose bucket is null neither enters nor leaves the window of a feature with `by`.
//! 10. An inexact feature that is null for more buckets than it may have still has a row due when an input enters.
//! 11. A standard deviation is null where its variance is beyond the largest double.
//! 12. An average of decimals is made of the exact sum, also when that has more than 38 digits.
//! 13. `share` leaves a value that is null out of the map; a map of nulls alone has the sum 0.
//! 14. A bucket with one input has no variance: it is left out of the map, as one with no value.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use super::json::{Judged, judge};
use super::subject::Subject;
use super::topology::Topology;
use super::{FeatureRow, LogRecord, Value};

/// How many records of a partition are of each class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    pub delivered: u64,
    pub tombstone: u64,
    pub over_limit: u64,
    pub malformed: u64,
    pub filtered: u64,
    pub future: u64,
    pub late: u64,
    pub applied: u64,
    /// Applied records whose key is null, for each entity of the topology.
    pub null_keys: Vec<u64>,
}

/// One record that goes to the dead letters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    /// `over limit`, `malformed`, `future` or `late`.
    pub class: String,
}

/// What a partition's log means.
#[derive(Debug)]
pub struct PartitionRun {
    pub partition: i32,
    /// In the order of ordinals.
    pub rows: Vec<FeatureRow>,
    pub counts: Counts,
    pub dead_letters: Vec<DeadLetter>,
    pub watermark: Option<i64>,
    /// One more than the last offset; 0 for an empty log.
    pub next_offset: i64,
    subjects: BTreeMap<(usize, Arc<str>), Subject>,
}

impl PartitionRun {
    /// The law at `max(T, t)` after the whole log, as a wall-clock refresh shows it, with what is derived with a row;
    /// `None` for an unknown entity.
    pub fn values_at(&self, topology: &Topology, entity: usize, key: &Arc<str>, t: i64) -> Option<Vec<Value>> {
        let subject = self.subjects.get(&(entity, key.clone()))?;
        Some(subject.values_at(&topology.entities[entity], t.max(subject.time(self.watermark))))
    }

    /// How many entities have folded a record.
    pub fn entities(&self) -> usize {
        self.subjects.len()
    }

    /// Forgets all rows but the last of every entity, and what [`Self::values_at`] needs: millions of them are too many
    /// for a log that is long.
    pub fn keep_last_rows(&mut self) {
        let mut seen = HashSet::new();
        let mut rows: Vec<FeatureRow> = std::mem::take(&mut self.rows)
            .into_iter()
            .rev()
            .filter(|row| seen.insert((row.entity, row.key.clone())))
            .collect();
        rows.reverse();
        rows.shrink_to_fit();
        self.rows = rows;
        self.subjects = BTreeMap::new();
    }
}

/// Runs whole partitions, on as many threads as there are cores.
pub fn run(topology: &Topology, partitions: &[(i32, Vec<LogRecord>)]) -> Vec<PartitionRun> {
    run_each(topology, partitions, |run| run)
}

/// The same; of each partition's run stays what `then` makes of it, in the order of the partitions given.
pub fn run_each<T: Send>(
    topology: &Topology,
    partitions: &[(i32, Vec<LogRecord>)],
    then: impl Fn(PartitionRun) -> T + Sync,
) -> Vec<T> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(vec![]));
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(partitions.len());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some((partition, records)) = partitions.get(index) else { return };
                    let made = then(run_partition(topology, *partition, records));
                    done.lock().expect("no thread panics while it holds the lock").push((index, made));
                }
            });
        }
    });
    let mut made = done.into_inner().expect("all threads have ended");
    made.sort_by_key(|(index, _)| *index);
    made.into_iter().map(|(_, made)| made).collect()
}

/// Runs one partition's log.
pub fn run_partition(topology: &Topology, partition: i32, records: &[LogRecord]) -> PartitionRun {
    let mut oracle = Oracle::new(topology, partition);
    for record in records {
        oracle.step(record);
    }
    oracle.finish()
}

/// Why an entity is evaluated: decides `known_at`.
enum Cause {
    /// The watermark reached a tau.
    Watermark,
    /// The entity's own record, with this Kafka time, reached a tau.
    Own(i64),
    Fold,
}

/// Folds one partition, record by record.
#[derive(Debug)]
pub struct Oracle<'a> {
    topology: &'a Topology,
    subjects: BTreeMap<(usize, Arc<str>), Subject>,
    /// (tau, entity, key): every time at which something might leave a window.
    timers: BTreeSet<(i64, usize, Arc<str>)>,
    watermark: Option<i64>,
    run: PartitionRun,
    /// Of the next row of this offset.
    sequence: i32,
}

impl<'a> Oracle<'a> {
    pub fn new(topology: &'a Topology, partition: i32) -> Self {
        let counts = Counts { null_keys: vec![0; topology.entities.len()], ..Counts::default() };
        let run = PartitionRun {
            partition,
            rows: vec![],
            counts,
            dead_letters: vec![],
            watermark: None,
            next_offset: 0,
            subjects: BTreeMap::new(),
        };
        Self { topology, subjects: BTreeMap::new(), timers: BTreeSet::new(), watermark: None, run, sequence: 0 }
    }

    /// One record. Panics where the engine stops: no Kafka time although `max_future` needs one.
    pub fn step(&mut self, record: &LogRecord) {
        assert!(record.offset >= self.run.next_offset, "offsets rise");
        self.run.next_offset = record.offset + 1;
        self.run.counts.delivered += 1;
        self.sequence = 0;
        match judge(self.topology, record) {
            Judged::Tombstone => self.run.counts.tombstone += 1,
            Judged::OverLimit => {
                self.run.counts.over_limit += 1;
                self.reject(record, "over limit");
            }
            Judged::Malformed => {
                self.run.counts.malformed += 1;
                self.reject(record, "malformed");
            }
            Judged::Row { values, event_time, keys } => self.well_formed(record, &values, event_time, &keys),
        }
    }

    /// Ends the log.
    pub fn finish(mut self) -> PartitionRun {
        self.run.watermark = self.watermark;
        self.run.subjects = self.subjects;
        self.run
    }

    /// The rows so far.
    pub fn rows(&self) -> &[FeatureRow] {
        &self.run.rows
    }

    fn reject(&mut self, record: &LogRecord, class: &str) {
        let letter = DeadLetter { partition: self.run.partition, offset: record.offset, class: class.into() };
        self.run.dead_letters.push(letter);
    }

    fn well_formed(&mut self, record: &LogRecord, values: &[Value], t: i64, keys: &[Option<Arc<str>>]) {
        let kafka = match (record.kafka_time, self.topology.max_future) {
            (Some(time), _) => time,
            (None, None) => t,
            (None, Some(_)) => panic!("offset {}: no Kafka time, and max_future is not off", record.offset),
        };
        let filtered = self.topology.filter.as_ref().is_some_and(|filter| !filter.holds(values));
        let future = self.topology.max_future.is_some_and(|ahead| t > kafka + ahead);
        let late = self.watermark.is_some_and(|watermark| t < watermark - self.topology.grace);
        match (filtered, future, late) {
            (true, _, _) => self.run.counts.filtered += 1,
            (_, true, _) => {
                self.run.counts.future += 1;
                self.reject(record, "future");
            }
            (_, _, true) => {
                self.run.counts.late += 1;
                self.reject(record, "late");
            }
            _ => self.run.counts.applied += 1,
        }
        if future || late {
            return;
        }
        self.advance(t.min(kafka) - self.topology.lateness, record.offset);
        if !filtered {
            self.own_timers(t, kafka, keys, record.offset);
            self.fold(values, t, kafka, keys, record.offset);
        }
    }

    /// (a) The watermark moves and fires the timers of all entities.
    fn advance(&mut self, to: i64, offset: i64) {
        let watermark = self.watermark.map_or(to, |watermark| watermark.max(to));
        self.watermark = Some(watermark);
        while self.timers.first().is_some_and(|timer| timer.0 <= watermark) {
            let (tau, entity, key) = self.timers.pop_first().expect("just seen");
            self.fire(tau, entity, key, Cause::Watermark, offset);
        }
    }

    /// (b) The record's own entities' timers up to its event time.
    fn own_timers(&mut self, t: i64, kafka: i64, keys: &[Option<Arc<str>>], offset: i64) {
        let mut due = vec![];
        for (entity, key) in keys.iter().enumerate() {
            let Some(key) = key else { continue };
            let Some(subject) = self.subjects.get(&(entity, key.clone())) else { continue };
            due.extend(subject.timers.range(..=t).map(|tau| (*tau, entity, key.clone())));
        }
        due.sort();
        for (tau, entity, key) in due {
            self.timers.remove(&(tau, entity, key.clone()));
            self.fire(tau, entity, key, Cause::Own(kafka), offset);
        }
    }

    fn fire(&mut self, tau: i64, entity: usize, key: Arc<str>, cause: Cause, offset: i64) {
        let subject = self.subjects.get_mut(&(entity, key.clone())).expect("timers belong to entities");
        assert!(subject.timers.remove(&tau));
        self.evaluate(entity, key, tau, cause, offset);
    }

    /// (c) The record joins the lists of its entities.
    fn fold(&mut self, values: &[Value], t: i64, kafka: i64, keys: &[Option<Arc<str>>], offset: i64) {
        for (index, key) in keys.iter().enumerate() {
            let entity = &self.topology.entities[index];
            let Some(key) = key else {
                self.run.counts.null_keys[index] += 1;
                continue;
            };
            let subject = self.subjects.entry((index, key.clone())).or_insert_with(|| Subject::new(entity));
            let taus = subject.fold(entity, values, t, kafka, offset);
            let at = subject.time(self.watermark);
            for tau in taus.into_iter().filter(|tau| *tau > at) {
                if subject.timers.insert(tau) {
                    self.timers.insert((tau, index, key.clone()));
                }
            }
            self.evaluate(index, key.clone(), at, Cause::Fold, offset);
        }
    }

    /// Evaluates one entity at `at` and writes a row when one is due.
    fn evaluate(&mut self, entity: usize, key: Arc<str>, at: i64, cause: Cause, offset: i64) {
        let plan = &self.topology.entities[entity];
        let subject = self.subjects.get_mut(&(entity, key.clone())).expect("the caller has it");
        if !subject.evaluate(plan, at) {
            return;
        }
        let reached = at + self.topology.lateness;
        let known = match cause {
            Cause::Watermark => reached,
            Cause::Own(kafka) => reached.min(kafka),
            Cause::Fold => self.watermark.expect("an applied record has moved it"),
        };
        let known_at = known.max(subject.largest_kafka_time).max(subject.known_at.unwrap_or(i64::MIN));
        subject.known_at = Some(known_at);
        self.run.rows.push(FeatureRow {
            entity,
            key,
            event_time: at,
            known_at,
            partition: self.run.partition,
            offset,
            sequence: self.sequence,
            ordinal: self.run.rows.len() as i64,
            values: subject.row(plan),
            slack: subject.slack(),
        });
        self.sequence += 1;
    }
}
