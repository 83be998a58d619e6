//! The online publisher: a cursor over every task's outbox, one order of writes, newest row per entity.
//!
//! A batch that fails is sent again until it succeeds: positions make that harmless. The partitions of a version that
//! does not serve are fenced: the cursor moves and nothing is sent, until the worker has sent every entity's last row.
//! So it does after the store has lost data. From when they are wanted until the store has them all, the cursor holds
//! still and no progress is written: whatever happens meanwhile, the next run still finds that they are missing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::Receiver;
use tokio::sync::oneshot;

use super::clock;
use super::outbox::{Cursor, Outbox};
use super::priority::Rank;
use super::shared::{Drain, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, SinkMetrics};
use crate::sink::online::{OnlineBatch, OnlineStore, Progress, newest};
use crate::state::Epoch;
use crate::task::OnlineRows;
use crate::time::Millis;
use crate::topology::Plan;

/// What a worker wants published besides its outbox.
#[derive(Debug)]
pub enum Job {
    /// What time alone has changed, at `T'`.
    Refresh { partition: i32, rows: Vec<OnlineRows>, at: Millis },
    /// A page of every entity's last row, as it was written or as it is at `T'`.
    Last { partition: i32, rows: Vec<OnlineRows>, at: Option<Millis> },
    /// Every last row as of this epoch was sent: from here on the outbox is published.
    Published { partition: i32, epoch: u64 },
    /// From here on the version outranks all others.
    Lead { generation: u64 },
    /// Nothing of the partition is published any more; answers the next offset up to which it was.
    Fence { partition: i32, published_to: oneshot::Sender<i64> },
    /// Entities that the version before knew and this one does not, each showing nothing. The plan is the one that they
    /// belong to.
    Vacated { partition: i32, plan: Arc<Plan>, rows: OnlineRows, done: Option<oneshot::Sender<()>> },
}

/// Bytes of epochs that are coalesced at once.
const BUDGET: u64 = 128 << 20;
/// How often a partition that is far behind is published: nobody reads the past, and rows coalesce meanwhile.
const BACKLOG_INTERVAL: Duration = Duration::from_secs(2);
/// The longest pause between two rounds of writing, while something waits.
const LONGEST_REST: Duration = Duration::from_millis(20);
/// The share of an outbox's bytes from which on nothing is put off.
const FULL: f64 = 0.5;
/// How often the store is asked whether it still has what it acknowledged.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The publisher of one run.
pub struct Publisher {
    pub plan: Arc<Plan>,
    pub shared: Arc<Shared>,
    pub store: Arc<dyn OnlineStore>,
    pub generation: u64,
    pub version: u32,
    pub outboxes: Vec<Arc<Outbox>>,
    pub metrics: Metrics,
    sink: SinkMetrics,
    /// Calls that failed so far.
    failures: AtomicU64,
    lanes: BTreeMap<i32, Lane>,
    /// How the run comes to its end: what is pending goes out, then the publisher ends.
    draining: tokio::sync::watch::Receiver<Drain>,
    checked: Instant,
}

/// One partition's cursor.
#[derive(Debug)]
struct Lane {
    sent: u64,
    last: Option<Instant>,
    progress: Option<Progress>,
    /// The failures when every last row was wanted: one more, and the store may have lost some of them again.
    failures: u64,
}

impl Publisher {
    /// A publisher; the outboxes say which partitions are fenced.
    pub fn new(
        plan: Arc<Plan>,
        shared: Arc<Shared>,
        store: Arc<dyn OnlineStore>,
        (generation, version): (u64, u32),
        outboxes: Vec<Arc<Outbox>>,
        metrics: Metrics,
        draining: tokio::sync::watch::Receiver<Drain>,
    ) -> Self {
        let lane = |outbox: &Arc<Outbox>| {
            let sent = outbox.acknowledged(Cursor::Online);
            (outbox.partition(), Lane { sent, last: None, progress: None, failures: 0 })
        };
        let lanes = outboxes.iter().map(lane).collect();
        let sink = metrics.sink("online");
        // It has answered.
        sink.up.set_flag(true);
        shared.set_sink("online", Ok(()));
        let (checked, failures) = (Instant::now(), AtomicU64::new(0));
        Self { plan, shared, store, generation, version, outboxes, metrics, sink, failures, lanes, draining, checked }
    }

    /// Publishes until the run drains and nothing is pending, or the drain's deadline passes.
    pub async fn run(mut self, mut jobs: Receiver<Job>) {
        if let Err(error) = self.work(&mut jobs).await {
            self.shared.fail(error);
        }
    }

    async fn work(&mut self, jobs: &mut Receiver<Job>) -> Result<()> {
        self.expect_what_was_acknowledged();
        let mut rank = Rank::default();
        loop {
            rank.follow(self.shared.is_live());
            // Registered before the outboxes are read, so that no epoch is missed.
            let shared = Arc::clone(&self.shared);
            let grown = shared.grown.notified();
            let mut idle = true;
            while let Ok(job) = jobs.try_recv() {
                self.job(job).await?;
                idle = false;
            }
            self.check().await?;
            let began = Instant::now();
            let mut published = false;
            for outbox in self.outboxes.clone() {
                published |= self.publish_pending(&outbox).await?;
            }
            if published {
                self.rest(began.elapsed(), jobs).await?;
            }
            if published || !idle {
                continue;
            }
            if self.draining.borrow().finish {
                return Ok(());
            }
            tokio::select! {
                job = jobs.recv() => match job {
                    Some(job) => self.job(job).await?,
                    None => tokio::time::sleep(Duration::from_millis(20)).await,
                },
                () = grown => {}
                _ = self.draining.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
            }
        }
    }

    /// Leaves the store to its readers for as long as it was written to, but not for long, and not when rows pile up. What
    /// comes meanwhile is written in fewer calls, and of each entity only the newest row: under load that costs less than
    /// writing at once. Jobs go on meanwhile: a cut-over waits for each of its pages.
    async fn rest(&mut self, worked: Duration, jobs: &mut Receiver<Job>) -> Result<()> {
        let end = tokio::time::Instant::now() + worked.min(LONGEST_REST);
        while self.outboxes.iter().all(|outbox| outbox.pressure(Cursor::Online) < FULL)
            && !self.draining.borrow().finish
        {
            tokio::select! {
                () = tokio::time::sleep_until(end) => break,
                _ = self.draining.changed() => break,
                Some(job) = jobs.recv() => self.job(job).await?,
            }
        }
        Ok(())
    }

    /// What an earlier run published must still be there: where nothing waits, the store is as far as the state; where
    /// something waits, as far as was acknowledged.
    fn expect_what_was_acknowledged(&mut self) {
        for outbox in &self.outboxes {
            let published = outbox.acknowledged(Cursor::Online) > 0 && !outbox.is_fenced();
            let standing = self.shared.partition(outbox.partition());
            if let (true, Some(lane)) = (published, self.lanes.get_mut(&outbox.partition())) {
                let all = outbox.waiting(Cursor::Online).1 == 0;
                let (next_offset, watermark) =
                    if all { (standing.next_offset, standing.watermark) } else { (outbox.published_to(), None) };
                lane.progress = Some(Progress { generation: self.generation, next_offset, watermark });
            }
        }
        // Asked at once, before anything is published over the loss.
        self.checked = Instant::now().checked_sub(CHECK_INTERVAL).unwrap_or(self.checked);
    }

    async fn job(&mut self, job: Job) -> Result<()> {
        match job {
            Job::Refresh { partition, rows, at } => {
                if self.outbox(partition).is_some_and(|outbox| !outbox.is_fenced()) {
                    self.send_all(partition, &rows, Some(at)).await?;
                }
            }
            Job::Last { partition, rows, at } => {
                if self.outbox(partition).is_some_and(|outbox| outbox.awaits_all()) {
                    self.send_all(partition, &rows, at).await?;
                }
            }
            Job::Published { partition, epoch } => {
                if let Some(outbox) = self.outbox(partition) {
                    self.published(&outbox, epoch).await?;
                }
            }
            Job::Lead { generation } => {
                self.generation = generation;
                self.lanes.values_mut().for_each(|lane| lane.progress = None);
            }
            Job::Fence { partition, published_to } => self.fence(partition, published_to),
            Job::Vacated { partition, plan, rows, done } => {
                let picks: Vec<u32> = (0..rows.rows.num_rows() as u32).collect();
                self.send_of(&plan, partition, rows.entity, &rows.rows, &picks, None).await?;
                // Whoever asked may have ended.
                done.map(|done| done.send(()));
            }
        }
        Ok(())
    }

    /// What was sent stays; nothing more is. Between two calls: what the store has is what the cursor says.
    fn fence(&mut self, partition: i32, published_to: oneshot::Sender<i64>) {
        let Some(outbox) = self.outbox(partition) else { return };
        outbox.set_fenced(true);
        outbox.end_all();
        self.shared.update(partition, |standing| standing.published = false);
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.progress = None;
        }
        // Whoever asked may have ended.
        let _ = published_to.send(outbox.published_to());
        self.show_refilling();
    }

    async fn send_all(&self, partition: i32, rows: &[OnlineRows], refresh: Option<Millis>) -> Result<()> {
        for OnlineRows { entity, rows } in rows {
            let picks: Vec<u32> = (0..rows.num_rows() as u32).collect();
            self.send(partition, *entity, rows, &picks, refresh).await?;
        }
        Ok(())
    }

    fn outbox(&self, partition: i32) -> Option<Arc<Outbox>> {
        self.outboxes.iter().find(|outbox| outbox.partition() == partition).cloned()
    }

    /// Every last row as of this epoch was sent. If a call has failed since they were wanted, a store that was restarted
    /// meanwhile may lack the first of them: then they are wanted once more. Their progress is written with one call,
    /// or else by the next round.
    async fn published(&mut self, outbox: &Arc<Outbox>, epoch: u64) -> Result<()> {
        let partition = outbox.partition();
        if !outbox.awaits_all() {
            return Ok(());
        }
        let standing = self.shared.partition(partition);
        let progress =
            Progress { generation: self.generation, next_offset: standing.next_offset, watermark: standing.watermark };
        let before = self.lanes.get(&partition).map(|lane| lane.failures);
        let is_whole = before == Some(self.failures.load(Ordering::Relaxed)) && self.vouch(partition, progress).await?;
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(()) };
        if !is_whole {
            lane.failures = self.failures.load(Ordering::Relaxed);
            outbox.want_all();
            return Ok(());
        }
        lane.progress = Some(progress);
        outbox.set_fenced(false);
        lane.sent = lane.sent.max(epoch);
        outbox.published(lane.sent, progress.next_offset)?;
        outbox.end_all();
        self.show_refilling();
        self.shared.set_published(partition);
        Ok(())
    }

    /// Writes progress with a single call; false when the store does not answer.
    async fn vouch(&self, partition: i32, progress: Progress) -> Result<bool> {
        match self.store.set_progress(partition, progress).await {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.failed(&error, Duration::ZERO);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn show_refilling(&self) {
        self.shared.set_refilling(self.outboxes.iter().any(|outbox| outbox.awaits_all()));
    }

    /// Publishes what an outbox has beyond the cursor; answers whether there was anything.
    async fn publish_pending(&mut self, outbox: &Arc<Outbox>) -> Result<bool> {
        let partition = outbox.partition();
        let Some(lane) = self.lanes.get_mut(&partition) else { return Ok(false) };
        // The head first: an epoch that comes after the last rows were wanted must not be passed by a fenced cursor.
        let head = outbox.head();
        if head <= lane.sent || outbox.awaits_all() {
            return Ok(false);
        }
        if outbox.is_fenced() {
            lane.sent = head;
            outbox.acknowledge(Cursor::Online, lane.sent)?;
            return Ok(false);
        }
        let behind = !self.shared.partition(partition).caught_up;
        let rested = lane.last.is_none_or(|last| last.elapsed() >= BACKLOG_INTERVAL);
        if behind && !rested && outbox.pressure(Cursor::Online) < FULL && !self.draining.borrow().finish {
            return Ok(false);
        }
        let epochs = outbox.read(lane.sent, BUDGET)?;
        lane.last = Some(Instant::now());
        let Some(last) = epochs.last().cloned() else { return Ok(false) };
        self.publish(partition, &epochs).await?;
        if !self.progress(partition, last.next_offset, last.watermark).await? {
            return Ok(false);
        }
        outbox.published(last.number, last.next_offset)?;
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.sent = last.number;
        }
        Ok(true)
    }

    async fn publish(&self, partition: i32, epochs: &[Arc<Epoch>]) -> Result<()> {
        let live = self.shared.partition(partition).caught_up;
        for entity in 0..self.plan.entities.len() {
            for picks in newest(epochs, entity)? {
                let rows = &epochs[picks.epoch].rows[picks.rows].rows;
                self.send(partition, entity, rows, &picks.picks, None).await?;
                self.metrics.online_coalesced.add((rows.num_rows() - picks.picks.len()) as u64);
                if live && let Some(known_at) = last_known_at(rows) {
                    self.metrics.freshness.observe((clock::now() - known_at).max(0) as f64 / 1e3);
                }
            }
        }
        Ok(())
    }

    async fn send(
        &self,
        partition: i32,
        entity: usize,
        rows: &arrow::array::RecordBatch,
        picks: &[u32],
        refresh: Option<Millis>,
    ) -> Result<()> {
        self.send_of(&self.plan, partition, entity, rows, picks, refresh).await
    }

    async fn send_of(
        &self,
        plan: &Plan,
        partition: i32,
        entity: usize,
        rows: &arrow::array::RecordBatch,
        picks: &[u32],
        refresh: Option<Millis>,
    ) -> Result<()> {
        let (generation, version) = (self.generation, self.version);
        let (source, entity) = (&plan.source, &plan.entities[entity]);
        let batch = OnlineBatch { source, entity, rows, picks, partition, generation, version, refresh };
        if self.retried(|| self.store.publish(&batch)).await?.is_some() {
            self.metrics.online_entities.add(picks.len() as u64);
        }
        Ok(())
    }

    /// Publishes a partition's progress; false when the drain's deadline came first.
    async fn progress(&mut self, partition: i32, next_offset: i64, watermark: Option<Millis>) -> Result<bool> {
        let progress = Progress { generation: self.generation, next_offset, watermark };
        let done = self.retried(|| self.store.set_progress(partition, progress)).await?.is_some();
        if let (true, Some(lane)) = (done, self.lanes.get_mut(&partition)) {
            lane.progress = Some(progress);
        }
        Ok(done)
    }

    /// Calls until it succeeds; `None` when the run's drain is over first.
    async fn retried<T, F>(&self, mut call: impl FnMut() -> F) -> Result<Option<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let mut pause = Duration::from_millis(50);
        loop {
            let began = Instant::now();
            let answer = call().await;
            self.sink.seconds.observe_since(began);
            let error = match answer {
                Ok(value) => {
                    self.sink.up.set_flag(true);
                    self.shared.set_sink("online", Ok(()));
                    return Ok(Some(value));
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                Err(error) => return Err(error),
            };
            self.failed(&error, pause);
            if self.draining.borrow().is_over() {
                return Ok(None);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn failed(&self, error: &Error, pause: Duration) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.sink.errors.add(1);
        self.sink.up.set_flag(false);
        self.shared.set_sink("online", Err(error.to_string()));
        tracing::warn!(pause_ms = pause.as_millis() as u64, "online store: {error}; sending again");
    }

    /// Asks the store whether it lost data, and has what it lost sent again from state.
    async fn check(&mut self) -> Result<()> {
        if self.checked.elapsed() < CHECK_INTERVAL || self.draining.borrow().finish {
            return Ok(());
        }
        self.checked = Instant::now();
        let expected = self.expected();
        let lost = match self.store.check(&expected).await {
            Ok(lost) => lost,
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                self.failed(&error, CHECK_INTERVAL);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for partition in lost {
            tracing::warn!(partition, "the online store lost data; publishing every entity again from state");
            if let (Some(outbox), Some(lane)) = (self.outbox(partition), self.lanes.get_mut(&partition)) {
                lane.failures = self.failures.load(Ordering::Relaxed);
                outbox.want_all();
            }
        }
        self.show_refilling();
        Ok(())
    }

    /// What the store should have of each partition that is published.
    fn expected(&self) -> Vec<(i32, Progress)> {
        let asked = |outbox: &&Arc<Outbox>| !outbox.awaits_all() && !outbox.is_fenced();
        let lanes = self.outboxes.iter().filter(asked).filter_map(|outbox| {
            let partition = outbox.partition();
            self.lanes.get(&partition).map(|lane| (partition, lane))
        });
        lanes.filter_map(|(partition, lane)| Some((partition, lane.progress?))).collect()
    }
}

fn last_known_at(rows: &arrow::array::RecordBatch) -> Option<Millis> {
    let known_at: &arrow::array::Int64Array = rows.column(2).as_any().downcast_ref()?;
    known_at.values().last().copied()
}
