//! A running process seen from outside: status, readiness, health, progress.

use std::sync::Arc;

use serde_json::json;

use super::board::{Board, Run};
use crate::error::{Error, Result};
use crate::sink::online::OnlineStore;
use crate::source::RedrivenCounts;

/// How far bounded work has come, in records.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The version that is on its way.
    pub version: u32,
    pub standing: &'static str,
    pub done: u64,
    pub total: u64,
    /// Records a second since it began.
    pub rate: f64,
    /// The same for each partition: its number, done, total.
    pub partitions: Vec<(i32, u64, u64)>,
}

impl Progress {
    fn of(run: &Run) -> Self {
        let (done, total) = run.shared.progress();
        let seconds = run.shared.seconds();
        let partitions = run.shared.partitions().into_iter().map(|(partition, standing)| {
            let total = (standing.target - standing.start_offset).max(0) as u64;
            (partition, ((standing.next_offset - standing.start_offset).max(0) as u64).min(total), total)
        });
        Self {
            version: run.version.number,
            standing: run.version.standing.name(),
            done,
            total,
            rate: if seconds > 0.0 { run.shared.records() as f64 / seconds } else { 0.0 },
            partitions: partitions.collect(),
        }
    }

    /// How long the rest takes at this rate, in seconds; `None` when nothing is left, or nothing is known.
    pub fn seconds_left(&self) -> Option<f64> {
        let left = self.total.saturating_sub(self.done);
        (left > 0 && self.rate >= 1.0).then(|| left as f64 / self.rate)
    }
}

/// A running process; made before it, shared with it, cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Observer(pub(super) Arc<Board>);

impl Observer {
    /// Whether the first record has been read.
    pub fn has_begun(&self) -> bool {
        self.0.has_begun()
    }

    /// How far the work has come: of the version that is built, or else of the one that serves.
    pub fn progress(&self) -> Progress {
        self.0.foremost().as_ref().map(Progress::of).unwrap_or_default()
    }

    /// How many dead letters have entered a replay again, and from where: of the version that is built, or else of the one
    /// that serves.
    pub fn redriven(&self) -> RedrivenCounts {
        self.0.foremost().map(|run| run.shared.redriven()).unwrap_or_default()
    }

    /// Where everything stands: the version that serves (or is all there is) first, then every version.
    pub fn status(&self) -> serde_json::Value {
        let mut status = json!({
            "waiting": self.0.waiting(),
            "failure": self.0.failure().map(|error| error.to_string()),
            "versions": self.0.runs().iter().map(standing).collect::<Vec<_>>(),
        });
        let first = self.0.live().or_else(|| self.0.foremost());
        if let (Some(own), Some(serde_json::Value::Object(seen))) =
            (status.as_object_mut(), first.as_ref().map(standing))
        {
            own.extend(seen);
        }
        status
    }

    /// Ok once every partition of the version that serves is caught up and the sinks answer; otherwise what is missing.
    pub fn ready(&self) -> Result<(), String> {
        self.health()?;
        if let Some(waiting) = self.0.waiting() {
            return Err(format!("the run has not begun: {waiting}"));
        }
        let Some(Run { shared, .. }) = self.0.live() else { return Err("no version serves here".to_string()) };
        let behind: Vec<String> =
            shared.partitions().iter().filter(|(_, s)| !s.caught_up).map(|(p, _)| p.to_string()).collect();
        if !behind.is_empty() {
            return Err(format!("partitions still behind: {}", behind.join(", ")));
        }
        if !shared.caught_up() {
            return Err("the run has not begun".to_string());
        }
        if shared.is_refilling() {
            return Err("the online store is asked what it has lost, or gets it again".to_string());
        }
        shared.sinks().into_iter().try_for_each(|(sink, answer)| answer.map_err(|error| format!("{sink}: {error}")))
    }

    /// Ok while the process works; otherwise why not.
    pub fn health(&self) -> Result<(), String> {
        self.0.failure().map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// The online store, to read from.
    ///
    /// # Errors
    /// Unavailable: no version serves here yet, or it has none.
    pub fn online(&self) -> Result<Arc<dyn OnlineStore>> {
        let live = self.0.live().ok_or_else(|| Error::unavailable("no version serves here yet; try again"))?;
        live.shared.online()
    }
}

fn standing(run: &Run) -> serde_json::Value {
    let (shared, progress) = (&run.shared, Progress::of(run));
    let sinks = shared.sinks().into_iter().map(|(sink, answer)| {
        let answer = answer.map_or_else(|error| json!({"up": false, "error": error}), |()| json!({"up": true}));
        (sink.to_string(), answer)
    });
    json!({
        "version": run.version,
        "records": shared.records(),
        "seconds": shared.seconds(),
        "lag": shared.lag(),
        "rate": progress.rate,
        "progress": {"done": progress.done, "total": progress.total, "seconds_left": progress.seconds_left()},
        "partitions": shared.partitions(),
        "sinks": sinks.collect::<serde_json::Map<_, _>>(),
    })
}
