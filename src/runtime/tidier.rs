//! Keeping a version's tables tidy while it runs: compaction every so often, a vacuum once a day.
//!
//! It gives way to everything else: its thread stands behind, one version of a process tidies at a time, and what fails is
//! tried again at its next turn and never ends the run. When the run ends it stops within a batch of rows; what it had not
//! committed is seen by nobody.

use std::sync::{Arc, Mutex, MutexGuard, TryLockError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::clock;
use super::priority::Rank;
use super::shared::{Drain, Shared};
use crate::config::OfflineSettings;
use crate::metrics::Metrics;
use crate::sink::offline::{CompactHow, Tidied, Tidying, tidy};
use crate::topology::Plan;

/// How often a vacuum looks for files.
const VACUUM_INTERVAL: Duration = Duration::from_secs(24 * 3600);
/// How soon the end of the run is noticed between two turns.
const LOOK: Duration = Duration::from_millis(100);

/// Held by the version that tidies: two would need twice the memory.
static TURN: Mutex<()> = Mutex::new(());

/// `None` while another version has it: to wait for it would hold up the end of this one.
fn take_turn() -> Option<MutexGuard<'static, ()>> {
    match TURN.try_lock() {
        Ok(turn) => Some(turn),
        Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// The tidier of one version.
pub struct Tidier {
    pub plan: Arc<Plan>,
    pub version: u32,
    pub shared: Arc<Shared>,
    pub settings: OfflineSettings,
    pub metrics: Metrics,
    pub draining: watch::Receiver<Drain>,
    pub runtime: Handle,
}

impl Tidier {
    /// Tidies until the run ends.
    pub fn run(self) {
        Rank::default().follow(false);
        let Some(interval) = self.settings.compact_interval else { return };
        let interval = Duration::from_millis(interval.millis().max(1) as u64);
        let (mut turned, mut vacuumed) = (Instant::now(), None::<Instant>);
        while !self.is_ending() {
            let turn = if turned.elapsed() < interval { None } else { take_turn() };
            let Some(_turn) = turn else {
                std::thread::sleep(LOOK.min(interval));
                continue;
            };
            let vacuums = vacuumed.is_none_or(|at| at.elapsed() >= VACUUM_INTERVAL);
            if self.turn(vacuums) && vacuums {
                vacuumed = Some(Instant::now());
            }
            turned = Instant::now();
        }
    }

    fn is_ending(&self) -> bool {
        self.draining.borrow().deadline.is_some() || self.shared.stopping()
    }

    /// Whether it was done, or there was nothing to do.
    fn turn(&self, vacuums: bool) -> bool {
        let what = Tidying {
            names: &[],
            compact: Some(CompactHow { all: false, dry_run: false, now: clock::now() }),
            vacuum: self.settings.vacuum_retention.filter(|_| vacuums),
            dry_run: false,
        };
        let stop = || self.is_ending();
        match self.runtime.block_on(tidy(&self.settings, &self.plan, self.version, what, &stop)) {
            Ok(tables) => {
                tables.iter().for_each(|table| self.count(table));
                true
            }
            Err(error) => {
                self.metrics.tidy_errors.add(1);
                tracing::warn!(version = self.version, "the history is not tidied: {error}; it is tried again");
                false
            }
        }
    }

    fn count(&self, table: &Tidied) {
        let compacted = table.compacted.unwrap_or_default();
        let vacuumed = table.vacuumed.as_ref().map_or(0, |vacuumed| vacuumed.files.len());
        self.metrics.compacted_files.add(compacted.replaced);
        self.metrics.vacuumed_files.add(vacuumed as u64);
        if compacted.replaced > 0 || vacuumed > 0 {
            let (name, replaced, written, rows) = (&table.name, compacted.replaced, compacted.written, compacted.rows);
            tracing::info!(table = %name, replaced, written, rows, vacuumed, "history tidied");
        }
    }
}
