//! The runtime: threads, pace, commit, restore, replay, shutdown; and the only clock.
//!
//! ```text
//! feeder (one thread) -> workers (tasks by partition) -> outboxes -> online publisher (async)
//!                                                                 -> offline writer (one thread)
//! ```
//! The coordinator below starts them, promotes a version that has caught up, and ends them in that order: intake first,
//! then workers with their last epoch, then the sinks within a deadline.

mod clock;
mod feeder;
mod observer;
mod offline;
mod online;
mod outbox;
mod patience;
mod shared;
mod start;
mod versions;
mod worker;

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

pub use clock::now;
pub use observer::{Observer, Progress};
pub use start::{embedded_dir, open_online};
pub use versions::{Standing, Version, Versions};

use crate::config::Settings;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::topology::Plan;
use shared::{Drain, Shared};

/// Where a replay starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayFrom {
    /// Offset 0; refused when the topic no longer has it.
    Beginning,
    /// The earliest record that the topic still has.
    Earliest,
}

/// How to run.
#[derive(Debug, Clone, Copy, Default)]
pub struct RunOptions {
    pub replay_from: Option<ReplayFrom>,
    /// Replay although nothing has changed.
    pub again: bool,
    /// End once everything that the log held at the start is processed and stored.
    pub until_caught_up: bool,
}

/// What a run has done. One that was stopped before it began has no version yet: 0.
#[derive(Debug, Clone, Default)]
pub struct RunSummary {
    pub version: u32,
    /// Records folded by this run.
    pub records: u64,
    /// Rows in the version's history so far.
    pub rows: u64,
    pub dead_letters: u64,
    pub seconds: f64,
}

impl std::fmt::Display for RunSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { version, records, rows, dead_letters, seconds } = self;
        if *version == 0 {
            return f.write_str("stopped before it began: nothing was read");
        }
        write!(
            f,
            "version {version}: {records} records in {seconds:.1} s; {rows} rows, {dead_letters} dead letters so far"
        )
    }
}

/// Runs a pipeline until its work is done or `stop` turns true.
///
/// # Errors
/// The first failure of any part; everything committed before it stays.
pub async fn run(
    plan: Plan,
    settings: Settings,
    options: RunOptions,
    metrics: Metrics,
    observer: Observer,
    stop: watch::Receiver<bool>,
) -> Result<RunSummary> {
    let shared = std::sync::Arc::clone(&observer.0);
    let grace = Duration::from_millis(settings.bounds.shutdown.millis().max(0) as u64);
    let Some(mut parts) = start::start(plan, settings, options, metrics, &shared, &stop).await? else {
        return Ok(RunSummary::default());
    };
    let bounded = supervise(&mut parts, &shared, options, stop).await;
    let deadline = Instant::now() + if bounded { Duration::from_secs(600) } else { grace };
    shared.stop();
    parts.drain.send_replace(Drain { deadline: Some(deadline), finish: false });
    parts.join_intake().await;
    parts.drain.send_replace(Drain { deadline: Some(deadline), finish: true });
    parts.join_sinks().await;
    match shared.failure() {
        Some(error) => Err(error),
        None => Ok(summary(&shared, parts.version.number)),
    }
}

/// Waits until the run is to end; promotes a building version on the way. True when bounded work is done.
async fn supervise(
    parts: &mut start::Parts,
    shared: &Shared,
    options: RunOptions,
    mut stop: watch::Receiver<bool>,
) -> bool {
    loop {
        if shared.stopping() || *stop.borrow() {
            return false;
        }
        if shared.caught_up() {
            match parts.promote(shared) {
                Ok(true) if options.until_caught_up => return true,
                Ok(_) => {}
                Err(error) => shared.fail(error),
            }
        }
        tokio::select! {
            _ = stop.changed() => {}
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
    }
}

fn summary(shared: &Shared, version: u32) -> RunSummary {
    let partitions = shared.partitions();
    RunSummary {
        version,
        records: shared.records(),
        rows: partitions.values().map(|standing| standing.rows as u64).sum(),
        dead_letters: partitions.values().map(|standing| standing.dead_letters as u64).sum(),
        seconds: shared.seconds(),
    }
}
