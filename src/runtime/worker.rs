//! A worker thread: decodes, folds and commits the tasks of its partitions.
//!
//! An epoch ends when the queue is empty (at most every `epoch.interval`, and less often where that costs much), when it
//! is full, or a second after its first record under a backlog, so that no load hides a row for long.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::clock;
use super::online::Job;
use super::outbox::{Cursor, Outbox};
use super::priority::Rank;
use super::shared::Shared;
use crate::config::EpochSettings;
use crate::decode::Decoder;
use crate::error::Result;
use crate::metrics::{EntityMetrics, Metrics, OutboxMetrics, TaskMetrics};
use crate::source::Batch;
use crate::state::{Epoch, RocksStore, Store};
use crate::task::Task;
use crate::time::Millis;
use crate::topology::Plan;

/// The longest that an epoch may last under a backlog.
const LONGEST_EPOCH: Duration = Duration::from_secs(1);
/// Between the ends of two epochs lies at least so many times as long as the first of them took to end: on a machine that
/// is short of time, or on a slow disk, epochs become fewer rather than records late.
const EPOCH_SHARE: u32 = 4;
/// But no more than about so many intervals: the one before may have ended a backlog.
const LONGEST_INTERVALS: u32 = 10;
/// Entities that are refreshed or published in one page.
const PAGE: usize = 4_096;

/// What a worker is told.
#[derive(Debug)]
pub enum Command {
    Records(Batch),
    /// The partition had no more below this offset.
    End {
        partition: i32,
        next_offset: i64,
    },
}

/// One task and what belongs to it.
#[derive(Debug)]
pub struct Running {
    pub task: Task,
    pub store: Arc<RocksStore>,
    pub outbox: Arc<Outbox>,
    pub target: i64,
    at_end: bool,
    caught_up: bool,
    epoch_began: Option<Instant>,
    last_epoch: Instant,
    /// How long it took to end.
    epoch_cost: Duration,
    epoch_records: usize,
    watermark: Option<Millis>,
    watermark_moved: Instant,
    refreshed: Instant,
    metrics: TaskMetrics,
    outbox_metrics: [(Cursor, OutboxMetrics); 2],
    measured: Instant,
}

/// A worker and its tasks.
pub struct Worker {
    pub plan: Arc<Plan>,
    pub shared: Arc<Shared>,
    pub epoch: EpochSettings,
    pub idle_after: Option<Duration>,
    pub jobs: Sender<Job>,
    pub metrics: Metrics,
    decoder: Decoder,
    entities: Vec<EntityMetrics>,
    tasks: BTreeMap<i32, Running>,
}

impl Running {
    /// A task that is ready to fold.
    pub fn new(task: Task, store: Arc<RocksStore>, outbox: Arc<Outbox>, target: i64, metrics: &Metrics) -> Self {
        let now = Instant::now();
        let outbox_metrics = Cursor::ALL.map(|cursor| (cursor, metrics.outbox(task.partition(), cursor.name())));
        let metrics = metrics.task(task.partition());
        let mut running = Self {
            watermark: task.meta().watermark,
            task,
            store,
            outbox,
            target,
            at_end: false,
            caught_up: false,
            epoch_began: None,
            last_epoch: now,
            epoch_cost: Duration::ZERO,
            epoch_records: 0,
            watermark_moved: now,
            refreshed: now,
            metrics,
            outbox_metrics,
            measured: now,
        };
        running.count(&Default::default());
        running
    }

    /// How long after the end of an epoch the next one ends at the earliest, while the queue is empty.
    fn shortest_epoch(&self, interval: Duration) -> Duration {
        (self.epoch_cost * EPOCH_SHARE).min(interval * LONGEST_INTERVALS).max(interval)
    }

    /// Whether the partition is caught up and its watermark has stood still: then the wall clock goes on for it.
    fn is_idle(&self, idle_after: Option<Duration>) -> bool {
        let still = idle_after.is_some_and(|idle| self.watermark_moved.elapsed() >= idle);
        still && self.at_end && self.caught_up
    }

    /// Adds to the counters what the state has beyond `before`.
    fn count(&mut self, before: &crate::task::Counts) {
        let counts = self.task.meta().counts;
        for ((counter, (_, now)), (_, before)) in
            self.metrics.records.iter().zip(counts.classes()).zip(before.classes())
        {
            counter.add(now - before);
        }
        self.metrics.null_keys.add(counts.null_keys - before.null_keys);
        self.metrics.expression_failures.add(counts.expression_failures - before.expression_failures);
        self.metrics.dead_letters.add(counts.dead_letters() - before.dead_letters());
    }
}

impl Worker {
    /// A worker over these tasks.
    pub fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        epoch: EpochSettings,
        idle_after: Option<Duration>,
        jobs: Sender<Job>,
        metrics: Metrics,
        tasks: Vec<Running>,
    ) -> Self {
        let entities = plan.entities.iter();
        let entities = entities.map(|e| metrics.entity(&e.name, e.features.iter().map(|f| f.name.as_str()))).collect();
        Self {
            decoder: Decoder::new(&plan.source, &plan.entity_keys()),
            entities,
            tasks: tasks.into_iter().map(|running| (running.task.partition(), running)).collect(),
            plan,
            shared,
            epoch,
            idle_after,
            jobs,
            metrics,
        }
    }

    /// Works until it is told to stop; then commits what it has folded.
    pub fn run(mut self, commands: &Receiver<Command>) {
        self.tasks.values_mut().for_each(|running| show(running, &self.shared));
        let result = self.work(commands).and_then(|()| self.end_epochs(|_| true));
        if let Err(error) = result {
            self.shared.fail(error);
        }
    }

    fn work(&mut self, commands: &Receiver<Command>) -> Result<()> {
        let interval = Duration::from_millis(self.epoch.interval.millis().max(1) as u64);
        let mut rank = Rank::default();
        loop {
            rank.follow(self.shared.is_live());
            let command = match commands.try_recv() {
                Ok(command) => Some(command),
                Err(_) => {
                    // The queue is empty: what is folded becomes visible, unless the epoch before it has only just ended.
                    self.end_epochs(|running| running.last_epoch.elapsed() >= running.shortest_epoch(interval))?;
                    match commands.recv_timeout(interval) {
                        Ok(command) => Some(command),
                        Err(RecvTimeoutError::Timeout) => None,
                        Err(RecvTimeoutError::Disconnected) => return Ok(()),
                    }
                }
            };
            if self.shared.stopping() {
                return Ok(());
            }
            match command {
                Some(Command::Records(batch)) => self.fold(&batch)?,
                Some(Command::End { partition, next_offset }) => self.at_end(partition, next_offset),
                None => self.tick()?,
            }
            for running in self.tasks.values_mut().filter(|running| running.outbox.is_all_wanted()) {
                let at = running.is_idle(self.idle_after).then(|| clock::now() - self.plan.source.lateness);
                publish_all(running, at, &self.shared, &self.jobs, &self.metrics, &self.entities)?;
            }
            self.end_epochs(|running| running.epoch_began.is_some_and(|began| began.elapsed() >= LONGEST_EPOCH))?;
        }
    }

    fn fold(&mut self, batch: &Batch) -> Result<()> {
        let Some(running) = self.tasks.get_mut(&batch.partition()) else { return Ok(()) };
        let batch = batch.raw();
        let decoded = self.decoder.decode(batch);
        let evaluated = self.plan.exprs.evaluate(&decoded.rows);
        running.at_end = false;
        let mut next = 0;
        while next < batch.len() {
            running.epoch_began.get_or_insert_with(Instant::now);
            let before = running.task.meta().counts;
            let reached = running.task.step(batch, &decoded, &evaluated, next)?;
            running.count(&before);
            running.epoch_records += reached - next;
            self.shared.add_records((reached - next) as u64);
            let full = reached < batch.len() || running.task.is_full();
            next = reached;
            if full || running.epoch_records >= self.epoch.max_records {
                end_epoch(running, &self.shared, &self.metrics, &self.entities)?;
            }
            if running.outbox.is_all_wanted() {
                publish_all(running, None, &self.shared, &self.jobs, &self.metrics, &self.entities)?;
            }
            if self.shared.stopping() {
                break;
            }
        }
        Ok(())
    }

    fn at_end(&mut self, partition: i32, next_offset: i64) {
        if let Some(running) = self.tasks.get_mut(&partition) {
            running.task.skip_to(next_offset);
            running.at_end = true;
            if running.task.has_changes() {
                running.epoch_began.get_or_insert_with(Instant::now);
            }
            self.shared.update(partition, |standing| standing.end = standing.end.max(next_offset));
            show(running, &self.shared);
        }
    }

    fn end_epochs(&mut self, which: impl Fn(&Running) -> bool) -> Result<()> {
        for running in self.tasks.values_mut() {
            if running.task.has_changes() && which(running) {
                end_epoch(running, &self.shared, &self.metrics, &self.entities)?;
            }
        }
        Ok(())
    }

    /// The queue was empty for a while: refreshes what time alone has changed, and measures.
    fn tick(&mut self) -> Result<()> {
        for running in self.tasks.values_mut() {
            if running.task.meta().watermark != running.watermark {
                running.watermark = running.task.meta().watermark;
                running.watermark_moved = Instant::now();
            }
            let due = running.refreshed.elapsed() >= Duration::from_millis(200);
            if due && running.is_idle(self.idle_after) && !running.task.has_changes() {
                refresh(running, &self.plan, &self.shared, &self.jobs)?;
                running.refreshed = Instant::now();
            }
            measure_on_time(running, &self.shared);
        }
        Ok(())
    }
}

/// Sends every entity's last row to the online store, or what it shows at `at`, and then that they were all.
fn publish_all(
    running: &mut Running,
    at: Option<Millis>,
    shared: &Shared,
    jobs: &Sender<Job>,
    metrics: &Metrics,
    entities: &[EntityMetrics],
) -> Result<()> {
    // While they are wanted the outbox has room, whatever its bound: the publisher waits for this worker now.
    if running.task.has_changes() {
        end_epoch(running, shared, metrics, entities)?;
    }
    if !running.outbox.begin_all() {
        return Ok(());
    }
    let (partition, mut from) = (running.task.partition(), None);
    loop {
        let page = running.task.publish(from.as_deref(), PAGE, at)?;
        for (rows, at) in [(page.rows, None), (page.refreshed, at)] {
            if !rows.is_empty() && !send(jobs, shared, Job::Last { partition, rows, at }) {
                return Ok(());
            }
        }
        match page.next {
            Some(next) => from = Some(next),
            None => break,
        }
    }
    running.task.forget_refreshes();
    send(jobs, shared, Job::Published { partition, epoch: running.task.meta().epoch });
    Ok(())
}

/// Waits for room at the online publisher; false when the run ends first.
fn send(jobs: &Sender<Job>, shared: &Shared, mut job: Job) -> bool {
    loop {
        match jobs.try_send(job) {
            Ok(()) => return true,
            Err(TrySendError::Full(back)) if !shared.stopping() => job = back,
            Err(_) => return false,
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn refresh(running: &mut Running, plan: &Plan, shared: &Shared, jobs: &Sender<Job>) -> Result<()> {
    let Some(watermark) = running.task.meta().watermark else { return Ok(()) };
    let at = clock::now() - plan.source.lateness;
    if at <= watermark || running.outbox.is_fenced() || running.outbox.waiting(Cursor::Online).1 > 0 {
        return Ok(());
    }
    loop {
        let (rows, until) = running.task.refresh(at, PAGE)?;
        let partition = running.task.partition();
        if !rows.is_empty() && !send(jobs, shared, Job::Refresh { partition, rows, at: until }) {
            return Ok(());
        }
        if until >= at {
            return Ok(());
        }
    }
}

fn end_epoch(running: &mut Running, shared: &Shared, metrics: &Metrics, entities: &[EntityMetrics]) -> Result<()> {
    while !running.outbox.wait_for_room(Duration::from_millis(200)) && !shared.stopping() {
        measure_on_time(running, shared);
    }
    let (began, ending) = (running.epoch_began.take(), Instant::now());
    let epoch = running.task.end_epoch()?;
    running.epoch_cost = ending.elapsed();
    count_rows(&epoch, entities);
    count_tally(running, entities);
    running.outbox.push(epoch);
    shared.grown.notify_waiters();
    running.last_epoch = Instant::now();
    running.epoch_records = 0;
    running.metrics.epochs.add(1);
    if let Some(began) = began {
        metrics.epoch_seconds.observe_since(began);
    }
    show(running, shared);
    measure_on_time(running, shared);
    Ok(())
}

/// A task that waits is measured all the same: its lag grows.
fn measure_on_time(running: &mut Running, shared: &Shared) {
    if running.measured.elapsed() >= Duration::from_secs(1) {
        measure(running, shared);
    }
}

fn count_rows(epoch: &Epoch, entities: &[EntityMetrics]) {
    for rows in &epoch.rows {
        let (metrics, count) = (&entities[rows.entity], rows.rows.num_rows() as u64);
        metrics.rows.add(count);
        let columns = &rows.rows.columns()[crate::state::ROW_COLUMNS.len()..];
        for (feature, column) in metrics.features.iter().zip(columns) {
            let nulls = column.null_count() as u64;
            feature.nulls.add(nulls);
            feature.updates.add(count - nulls);
        }
    }
}

/// What the task has counted beside its state.
fn count_tally(running: &mut Running, entities: &[EntityMetrics]) {
    let tally = running.task.take_tally();
    running.metrics.cache_hits.add(tally.hits);
    running.metrics.cache_misses.add(tally.misses);
    for (metrics, lost) in entities.iter().zip(&tally.lost) {
        metrics.features.iter().zip(lost).for_each(|(feature, rows)| feature.lost.add(*rows));
    }
}

fn show(running: &mut Running, shared: &Shared) {
    let meta = running.task.meta();
    running.caught_up |= meta.pending.is_none() && meta.next_offset >= running.target;
    let (caught_up, at_end) = (running.caught_up && !running.task.has_changes(), running.at_end);
    shared.update(running.task.partition(), |standing| {
        standing.start_offset = meta.start_offset;
        standing.next_offset = meta.next_offset;
        standing.end = standing.end.max(meta.next_offset);
        standing.watermark = meta.watermark;
        standing.rows = meta.next_ordinal;
        standing.dead_letters = meta.next_dead_letter;
        standing.epoch = meta.epoch;
        standing.caught_up |= caught_up;
        standing.at_end = at_end;
        standing.gaps = meta.gaps();
        standing.counts = meta.counts;
    });
}

fn measure(running: &mut Running, shared: &Shared) {
    running.measured = Instant::now();
    let standing = shared.partition(running.task.partition());
    let metrics = &running.metrics;
    metrics.lag.set((standing.end - standing.next_offset).max(0));
    metrics.caught_up.set_flag(running.caught_up);
    if let Some(watermark) = standing.watermark {
        metrics.watermark.set(watermark as f64 / 1e3);
        metrics.watermark_delay.set((clock::now() - watermark) as f64 / 1e3);
    }
    let (entities, bytes) = running.task.cache_size();
    metrics.cache_entities.set(entities as i64);
    metrics.cache_bytes.set(bytes as i64);
    metrics.state_bytes.set(running.store.bytes() as i64);
    let (stopped, rate) = running.store.stalls();
    metrics.write_stopped.set_flag(stopped);
    metrics.delayed_write_rate.set(rate as i64);
    for (cursor, metrics) in &running.outbox_metrics {
        let (bytes, epochs) = running.outbox.waiting(*cursor);
        metrics.bytes.set(bytes as i64);
        metrics.epochs.set(epochs as i64);
    }
}
