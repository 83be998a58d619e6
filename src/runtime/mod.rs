//! The runtime: threads, pace, commit, restore, replay, cut-over, shutdown; and the only clock.
//!
//! A process runs a fleet of versions; each is a pipeline of its own, from the log to the stores. The registry of
//! versions says which are to run and which one serves.
//!
//! - `fleet`: brings versions up and down, watches them; `cut_over` switches from one to another;
//! - `pipeline`: one version's parts; `feeder`, `watcher`, `worker`, `outbox`, `online`, `offline` are they;
//! - `versions`: the registry, with which commands beside the process say what they want;
//! - `board`, `observer`, `shared`: what others may see of it.

mod board;
mod clock;
mod cut_over;
mod feeder;
mod fleet;
mod keeper;
mod observer;
mod offline;
mod online;
mod origin;
mod outbox;
mod patience;
mod pipeline;
mod priority;
mod redrive;
mod refusals;
mod replay_from;
mod shared;
mod spot;
mod tidier;
mod versions;
mod watcher;
mod worker;

use tokio::sync::watch;

pub use clock::now;
pub use keeper::{Kept, keep};
pub use observer::{Observer, Progress};
pub use pipeline::{embedded_dir, open_online};
pub use redrive::{Reason, Redrive, dead_letters, still_dead};
pub use refusals::begins_late;
pub use replay_from::ReplayFrom;
pub use versions::{Held, Standing, Version, Versions};

use crate::config::Settings;
use crate::error::Result;
use crate::metrics::Metrics;
use crate::topology::Plan;

/// How to run.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub replay_from: Option<ReplayFrom>,
    /// Replay although nothing has changed.
    pub again: bool,
    /// End once everything that the log held at the start is processed and stored.
    pub until_caught_up: bool,
    /// A version that has caught up takes over.
    pub promote: bool,
    /// Records a second that a replay may read; `None`: as fast as it goes.
    pub max_rate: Option<u64>,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self { replay_from: None, again: false, until_caught_up: false, promote: true, max_rate: None }
    }
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
    let board = std::sync::Arc::clone(&observer.0);
    match fleet::Fleet::open(plan, settings, options, metrics, board, stop).await? {
        Some(fleet) => fleet.run().await,
        None => Ok(RunSummary::default()),
    }
}
