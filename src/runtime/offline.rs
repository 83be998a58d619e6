//! The offline writer's thread: a cursor over every task's outbox, encoding as rows come, one commit for all tasks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::outbox::{Cursor, Outbox};
use super::priority::Rank;
use super::shared::{Drain, Shared};
use super::spot::SpotChecks;
use crate::config::OfflineSettings;
use crate::error::{ErrorKind, Result};
use crate::metrics::{Metrics, SinkMetrics};
use crate::sink::offline::OfflineWriter;
use crate::topology::Plan;

/// Bytes of epochs that are taken from one outbox at once.
const BUDGET: u64 = 32 << 20;

/// The offline writer of one run.
pub struct Archivist {
    pub plan: Arc<Plan>,
    pub shared: Arc<Shared>,
    pub settings: OfflineSettings,
    pub writer: OfflineWriter,
    pub outboxes: Vec<Arc<Outbox>>,
    pub metrics: Metrics,
    /// What is served, held against what is written here.
    pub checks: Option<SpotChecks>,
    /// How the run comes to its end.
    pub draining: watch::Receiver<Drain>,
    pub runtime: Handle,
}

/// What was appended and waits for a commit.
#[derive(Debug, Default)]
struct Waiting {
    /// The last epoch appended, by partition.
    appended: BTreeMap<i32, u64>,
    bytes: u64,
    since: Option<Instant>,
}

impl Archivist {
    /// Writes until the run drains and everything is committed, or the deadline passes.
    pub fn run(mut self) {
        if let Err(error) = self.work() {
            self.shared.fail(error);
        }
    }

    fn work(&mut self) -> Result<()> {
        let (sink, mut rank) = (self.metrics.sink("offline"), Rank::default());
        // Its tables are open.
        sink.up.set_flag(true);
        self.shared.set_sink("offline", Ok(()));
        self.show_files();
        let mut waiting = Waiting::default();
        for outbox in &self.outboxes {
            waiting.appended.insert(outbox.partition(), outbox.acknowledged(Cursor::Offline));
        }
        loop {
            rank.follow(self.shared.is_live());
            let draining = *self.draining.borrow();
            let took = self.append(&mut waiting)?;
            let pressed = self.outboxes.iter().any(|outbox| outbox.pressure(Cursor::Offline) > 0.4);
            let due = waiting.since.is_some_and(|since| {
                let interval = Duration::from_millis(self.settings.commit_interval.millis().max(0) as u64);
                since.elapsed() >= interval || waiting.bytes >= self.settings.commit_bytes || pressed
            });
            if due || (draining.finish && !took && waiting.since.is_some()) {
                self.commit(&sink, &mut waiting)?;
            }
            if draining.finish && !took && (waiting.since.is_none() || draining.is_over()) {
                self.runtime.block_on(self.writer.settle());
                return Ok(());
            }
            if !took {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    fn show_files(&self) {
        for (entity, files) in self.writer.files(&self.plan) {
            self.metrics.set_offline_files(entity, files);
        }
    }

    /// Takes what the outboxes have; answers whether there was anything.
    fn append(&mut self, waiting: &mut Waiting) -> Result<bool> {
        let mut took = false;
        for outbox in &self.outboxes {
            let from = waiting.appended.entry(outbox.partition()).or_default();
            for epoch in outbox.read(*from, BUDGET)? {
                self.writer.append(&epoch)?;
                self.checks.as_mut().map_or(Ok(()), |checks| checks.append(&epoch))?;
                waiting.bytes += epoch.bytes();
                *from = epoch.number;
                waiting.since.get_or_insert_with(Instant::now);
                took = true;
            }
        }
        Ok(took)
    }

    /// Commits, again and again while the store does not answer; past a drain's deadline the outbox keeps it.
    fn commit(&mut self, sink: &SinkMetrics, waiting: &mut Waiting) -> Result<()> {
        // State must never be behind what the table says: it survives the machine first.
        self.outboxes.iter().try_for_each(|outbox| outbox.sync())?;
        let mut pause = Duration::from_millis(100);
        loop {
            let began = Instant::now();
            let answer = self.runtime.block_on(self.writer.commit());
            sink.seconds.observe_since(began);
            let error = match answer {
                Ok(summary) => {
                    sink.up.set_flag(true);
                    self.shared.set_sink("offline", Ok(()));
                    self.metrics.offline_rows.add(summary.rows);
                    self.metrics.offline_bytes.add(summary.bytes);
                    self.metrics.offline_commits.add(1);
                    self.show_files();
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => error,
                Err(error) => return Err(error),
            };
            sink.errors.add(1);
            sink.up.set_flag(false);
            self.shared.set_sink("offline", Err(error.to_string()));
            tracing::warn!(pause_ms = pause.as_millis() as u64, "offline store: {error}; committing again");
            if self.draining.borrow().is_over() {
                return Ok(());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_secs(5));
        }
        for outbox in &self.outboxes {
            let number = waiting.appended.get(&outbox.partition()).copied().unwrap_or(0);
            outbox.acknowledge(Cursor::Offline, number)?;
        }
        (waiting.bytes, waiting.since) = (0, None);
        match &mut self.checks {
            Some(checks) => self.runtime.block_on(checks.committed()),
            None => Ok(()),
        }
    }
}
