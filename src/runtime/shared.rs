//! What the threads of a run share: the stop, the first failure, and where every partition stands.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use crate::error::{Error, Result};
use crate::sink::online::OnlineStore;
use crate::source::{Redriven, RedrivenCounts};
use crate::task::Counts;
use crate::time::Millis;

/// One partition, as the worker last saw it.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Standing {
    pub start_offset: i64,
    pub next_offset: i64,
    /// The end of the partition when the run began: what bounded work goes up to.
    pub target: i64,
    /// The end of the partition as last heard.
    pub end: i64,
    pub watermark: Option<Millis>,
    pub rows: i64,
    pub dead_letters: i64,
    pub epoch: u64,
    /// The position has reached `target`.
    pub caught_up: bool,
    /// There was nothing more to read when last asked.
    pub at_end: bool,
    /// Every last row has gone to the online store: the end of a cut-over.
    pub published: bool,
    pub gaps: u64,
    pub counts: Counts,
}

/// How a run comes to its end.
#[derive(Debug, Clone, Copy, Default)]
pub struct Drain {
    /// When the sinks give up waiting for a store that does not answer; what they have not sent stays in the outbox.
    pub deadline: Option<Instant>,
    /// The workers have ended: send what is left, then end.
    pub finish: bool,
}

impl Drain {
    /// Whether the deadline has passed.
    pub fn is_over(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

/// What a run's threads share.
#[derive(Debug, Default)]
pub struct Shared {
    stop: AtomicBool,
    begun: AtomicBool,
    refilling: AtomicBool,
    records: AtomicU64,
    failure: Mutex<Option<Error>>,
    partitions: Mutex<BTreeMap<i32, Standing>>,
    sinks: Mutex<BTreeMap<&'static str, Result<(), String>>>,
    live: AtomicBool,
    online: Mutex<Option<Arc<dyn OnlineStore>>>,
    redriven: Mutex<Option<Arc<Redriven>>>,
    started: Mutex<Option<Instant>>,
    /// Woken when an epoch was committed.
    pub grown: Notify,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Asks every thread to come to an end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.grown.notify_waiters();
    }

    /// Whether they were asked to.
    pub fn stopping(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Records the first failure and stops.
    pub fn fail(&self, error: Error) {
        tracing::error!(kind = ?error.kind(), "{error}");
        lock(&self.failure).get_or_insert(error);
        self.stop();
    }

    /// The first failure.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone()
    }

    /// Counts records that were folded.
    pub fn add_records(&self, records: u64) {
        self.begun.store(true, Ordering::Relaxed);
        self.records.fetch_add(records, Ordering::Relaxed);
    }

    /// Whether a record has been read.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    /// Records folded by this run.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Changes what is known of a partition.
    pub fn update(&self, partition: i32, change: impl FnOnce(&mut Standing)) {
        change(lock(&self.partitions).entry(partition).or_default());
    }

    /// Every partition.
    pub fn partitions(&self) -> BTreeMap<i32, Standing> {
        lock(&self.partitions).clone()
    }

    /// One partition.
    pub fn partition(&self, partition: i32) -> Standing {
        lock(&self.partitions).get(&partition).cloned().unwrap_or_default()
    }

    /// Records that are not folded yet, by what was last heard of the ends.
    pub fn lag(&self) -> u64 {
        let partitions = lock(&self.partitions);
        partitions.values().map(|standing| (standing.end - standing.next_offset).max(0) as u64).sum()
    }

    /// Records of the bounded work that are folded, and all of them.
    pub fn progress(&self) -> (u64, u64) {
        lock(&self.partitions).values().fold((0, 0), |(done, total), standing| {
            let all = (standing.target - standing.start_offset).max(0) as u64;
            (done + ((standing.next_offset - standing.start_offset).max(0) as u64).min(all), total + all)
        })
    }

    /// Every last row of a partition has gone to the online store.
    pub fn set_published(&self, partition: i32) {
        self.update(partition, |standing| standing.published = true);
    }

    /// Whether it has.
    pub fn published(&self, partition: i32) -> bool {
        self.partition(partition).published
    }

    /// Whether the online store may lack rows: it lost data and gets them again, or has not been asked yet.
    pub fn set_refilling(&self, refilling: bool) {
        self.refilling.store(refilling, Ordering::SeqCst);
    }

    /// Whether it may.
    pub fn is_refilling(&self) -> bool {
        self.refilling.load(Ordering::SeqCst)
    }

    /// Whether every partition has reached its target.
    pub fn caught_up(&self) -> bool {
        let partitions = lock(&self.partitions);
        !partitions.is_empty() && partitions.values().all(|standing| standing.caught_up)
    }

    /// A sink answered, or why it did not.
    pub fn set_sink(&self, sink: &'static str, answer: Result<(), String>) {
        lock(&self.sinks).insert(sink, answer);
    }

    /// What each sink last answered.
    pub fn sinks(&self) -> BTreeMap<&'static str, Result<(), String>> {
        lock(&self.sinks).clone()
    }

    /// Whether the version serves.
    pub fn set_live(&self, live: bool) {
        self.live.store(live, Ordering::SeqCst);
    }

    /// Whether it does: then its positions are the ones that lag tools see.
    pub fn is_live(&self) -> bool {
        self.live.load(Ordering::SeqCst)
    }

    /// The run begins to read.
    pub fn set_started(&self) {
        lock(&self.started).get_or_insert_with(Instant::now);
    }

    /// Where the source counts the dead letters that enter again.
    pub fn set_redriven(&self, redriven: Arc<Redriven>) {
        *lock(&self.redriven) = Some(redriven);
    }

    /// How many have entered, and from where.
    pub fn redriven(&self) -> RedrivenCounts {
        lock(&self.redriven).as_ref().map(|redriven| redriven.counts()).unwrap_or_default()
    }

    /// Seconds since the run began to read.
    pub fn seconds(&self) -> f64 {
        lock(&self.started).map_or(0.0, |started| started.elapsed().as_secs_f64())
    }

    /// The online store, to read from.
    pub fn set_online(&self, store: Arc<dyn OnlineStore>) {
        *lock(&self.online) = Some(store);
    }

    /// The online store.
    ///
    /// # Errors
    /// Unavailable: the run has not opened it yet, or has none.
    pub fn online(&self) -> Result<Arc<dyn OnlineStore>> {
        let store = lock(&self.online).clone();
        store.ok_or_else(|| Error::unavailable("the run has no open online store; try again, or see `online.store`"))
    }
}
