//! What a process's pipelines have in common: the stop, the failure that ends it, and where every version stands.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shared::Shared;
use super::versions::{Standing, Version};
use crate::error::Error;

/// One version that this process runs.
#[derive(Debug, Clone)]
pub struct Run {
    pub version: Version,
    pub shared: Arc<Shared>,
}

/// What a process's pipelines have in common.
#[derive(Debug, Default)]
pub struct Board {
    begun: AtomicBool,
    waiting: Mutex<Option<String>>,
    failure: Mutex<Option<Error>>,
    runs: Mutex<Vec<Run>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// What the process waits for before it begins; `None` when for nothing.
    pub fn set_waiting(&self, waiting: Option<String>) {
        *lock(&self.waiting) = waiting;
    }

    /// What it waits for.
    pub fn waiting(&self) -> Option<String> {
        lock(&self.waiting).clone()
    }

    /// Records the failure that ends the process.
    pub fn fail(&self, error: Error) {
        lock(&self.failure).get_or_insert(error);
    }

    /// It, or the live version's own.
    pub fn failure(&self) -> Option<Error> {
        lock(&self.failure).clone().or_else(|| self.live()?.shared.failure())
    }

    /// Every version that runs, oldest first.
    pub fn runs(&self) -> Vec<Run> {
        lock(&self.runs).clone()
    }

    /// The version that serves, if it runs here.
    pub fn live(&self) -> Option<Run> {
        lock(&self.runs).iter().find(|run| run.version.standing == Standing::Live).cloned()
    }

    /// The version on its way: what a progress line follows. The live one when there is none.
    pub fn foremost(&self) -> Option<Run> {
        let runs = lock(&self.runs);
        let building = runs.iter().rfind(|run| matches!(run.version.standing, Standing::Building | Standing::Ready));
        building.or_else(|| runs.iter().find(|run| run.version.standing == Standing::Live)).cloned()
    }

    /// Puts a version on the board, or what has changed of it.
    pub fn put(&self, version: &Version, shared: &Arc<Shared>) {
        shared.set_live(version.standing == Standing::Live);
        let mut runs = lock(&self.runs);
        match runs.iter_mut().find(|run| run.version.number == version.number) {
            Some(run) => run.version = version.clone(),
            None => runs.push(Run { version: version.clone(), shared: Arc::clone(shared) }),
        }
        runs.sort_by_key(|run| run.version.number);
    }

    /// Takes a version off it.
    pub fn remove(&self, number: u32) {
        self.begun.fetch_or(self.has_begun(), Ordering::Relaxed);
        lock(&self.runs).retain(|run| run.version.number != number);
    }

    /// Work has begun that an interruption is not to cut short.
    pub fn set_begun(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Whether a record has been read.
    pub fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed) || lock(&self.runs).iter().any(|run| run.shared.has_begun())
    }
}
