//! A running pipeline seen from outside: status, readiness, health, progress.

use std::sync::Arc;

use serde_json::json;

use super::shared::Shared;
use crate::error::Result;
use crate::sink::online::OnlineHash;

/// How far bounded work has come, in records.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    pub done: u64,
    pub total: u64,
    /// Records a second since the run began.
    pub rate: f64,
}

/// A running pipeline; made before it, shared with it, cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Observer(pub(super) Arc<Shared>);

impl Observer {
    /// Whether the first record has been read.
    pub fn has_begun(&self) -> bool {
        self.0.has_begun()
    }

    /// How far the work has come.
    pub fn progress(&self) -> Progress {
        let mut progress = Progress::default();
        for standing in self.0.partitions().values() {
            let total = (standing.target - standing.start_offset).max(0) as u64;
            progress.total += total;
            progress.done += ((standing.next_offset - standing.start_offset).max(0) as u64).min(total);
        }
        let seconds = self.0.seconds();
        progress.rate = if seconds > 0.0 { self.0.records() as f64 / seconds } else { 0.0 };
        progress
    }

    /// Where everything stands.
    pub fn status(&self) -> serde_json::Value {
        let sinks = self.0.sinks().into_iter().map(|(sink, answer)| {
            (
                sink.to_string(),
                answer.map_or_else(|error| json!({"up": false, "error": error}), |()| json!({"up": true})),
            )
        });
        json!({
            "version": self.0.version(),
            "records": self.0.records(),
            "seconds": self.0.seconds(),
            "partitions": self.0.partitions(),
            "sinks": sinks.collect::<serde_json::Map<_, _>>(),
            "waiting": self.0.waiting(),
            "failure": self.0.failure().map(|error| error.to_string()),
        })
    }

    /// Ok once every partition is caught up and the sinks answer; otherwise what is missing.
    pub fn ready(&self) -> Result<(), String> {
        self.health()?;
        if let Some(waiting) = self.0.waiting() {
            return Err(format!("the run has not begun: {waiting}"));
        }
        let behind: Vec<String> =
            self.0.partitions().iter().filter(|(_, s)| !s.caught_up).map(|(p, _)| p.to_string()).collect();
        if !behind.is_empty() {
            return Err(format!("partitions still behind: {}", behind.join(", ")));
        }
        if !self.0.caught_up() {
            return Err("the run has not begun".to_string());
        }
        if self.0.is_refilling() {
            return Err("the online store is asked what it has lost, or gets it again".to_string());
        }
        self.0.sinks().into_iter().try_for_each(|(sink, answer)| answer.map_err(|error| format!("{sink}: {error}")))
    }

    /// Ok while every task works; otherwise why not.
    pub fn health(&self) -> Result<(), String> {
        self.0.failure().map_or(Ok(()), |error| Err(error.to_string()))
    }

    /// What the online store holds under an online key.
    ///
    /// # Errors
    /// Unavailable: it does not answer.
    pub async fn get(&self, online_key: &str) -> Result<Option<OnlineHash>> {
        self.0.get(online_key).await
    }
}
