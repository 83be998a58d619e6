//! One running pipeline with its surroundings: metrics, the HTTP door, the progress line, the archive.
//!
//! The only place that calls `runtime::run`; `kappa run`, `kappa redrive` and `kappa demo` come here.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;

use super::open;
use super::progress::ProgressLines;
use crate::config::Settings;
use crate::error::Result;
use crate::http::{self, Door};
use crate::metrics::Metrics;
use crate::runtime::{self, Observer, RunOptions, RunSummary};
use crate::topology::Plan;

/// Runs until the work is done or `stop` turns true. `listening` is told the HTTP address, when there is one.
pub async fn run(
    plan: Plan,
    settings: Settings,
    options: RunOptions,
    observer: Observer,
    stop: watch::Receiver<bool>,
    listening: impl FnOnce(SocketAddr),
) -> Result<RunSummary> {
    let metrics = Metrics::new();
    show_bounds(&metrics, &settings);
    let door = Arc::new(ProcessDoor { plan: plan.clone(), observer: observer.clone() });
    let online = observer.clone();
    let reader = open::reader(&plan, &settings, Box::new(move || online.online()));
    let server = match settings.http.listen.as_str() {
        "" => None,
        _ => Some(http::serve(&settings.http, metrics.clone(), door, reader).await?),
    };
    if let Some(server) = &server {
        listening(server.address);
    }
    let bounded = options.until_caught_up || options.replay_from.is_some();
    let lines = bounded.then(|| ProgressLines::show(observer.clone()));
    let outcome = if settings.archive.enabled {
        run_and_keep(plan, settings, options, metrics, observer, stop).await
    } else {
        runtime::run(plan, settings, options, metrics, observer, stop).await
    };
    drop(lines);
    if let Some(server) = server {
        server.close().await;
    }
    outcome
}

/// The pipeline, and beside it the archive of its topic. They share nothing but their end: bounded work ends when both
/// have done theirs; the failure of one ends the other.
async fn run_and_keep(
    plan: Plan,
    settings: Settings,
    options: RunOptions,
    metrics: Metrics,
    observer: Observer,
    mut stop: watch::Receiver<bool>,
) -> Result<RunSummary> {
    let (end, ending) = watch::channel(false);
    let (topic, kept_settings) = (plan.clone(), settings.clone());
    // Of its own: the run's counts the run's records, and says what the run waits for.
    let seen = Observer::default();
    let keep = runtime::keep(&topic, &kept_settings, options.until_caught_up, metrics.clone(), &seen, ending.clone());
    let bounded = options.until_caught_up;
    let run = runtime::run(plan, settings, options, metrics, observer, ending);
    let ended_by = |failed: bool| {
        if failed || !bounded {
            end.send_replace(true);
        }
    };
    let run = async {
        let summary = run.await;
        ended_by(summary.is_err());
        summary
    };
    let keep = async {
        let kept = keep.await;
        ended_by(kept.is_err());
        kept
    };
    let asked = async {
        // Nobody can ask any more: the work ends by itself.
        if stop.wait_for(|stop| *stop).await.is_err() {
            std::future::pending::<()>().await;
        }
        end.send_replace(true);
        std::future::pending().await
    };
    let (summary, kept) = tokio::select! {
        both = async { tokio::join!(run, keep) } => both,
        // Never: it only passes a stop on.
        both = asked => both,
    };
    kept.and(summary)
}

fn show_bounds(metrics: &Metrics, settings: &Settings) {
    let bounds = &settings.bounds;
    for (name, value) in [
        ("outbox_bytes", bounds.outbox_bytes),
        ("cache_bytes", bounds.cache_bytes),
        ("block_cache_bytes", bounds.block_cache_bytes),
        ("write_buffer_bytes", bounds.write_buffer_bytes),
        ("open_files", bounds.open_files.max(0) as u64),
        ("queue_bytes", u64::from(settings.kafka.queue_kbytes) * 1024),
        ("poll_records", settings.kafka.poll_records as u64),
        ("epoch_rows", settings.epoch.max_rows as u64),
        ("epoch_records", settings.epoch.max_records as u64),
        ("commit_bytes", settings.offline.commit_bytes),
        ("check_entities", settings.offline.check_entities as u64),
        ("archive_commit_bytes", settings.archive.commit_bytes),
        ("shutdown_ms", bounds.shutdown.millis().max(0) as u64),
    ] {
        metrics.set_bound(name, value);
    }
}

/// The running process behind the HTTP routes.
struct ProcessDoor {
    plan: Plan,
    observer: Observer,
}

impl Door for ProcessDoor {
    fn status(&self) -> serde_json::Value {
        let mut status = serde_json::json!({"topology": self.plan.topology, "fingerprint": self.plan.fingerprint});
        if let (Some(own), serde_json::Value::Object(seen)) = (status.as_object_mut(), self.observer.status()) {
            own.extend(seen);
        }
        status
    }

    fn ready(&self) -> Result<(), String> {
        self.observer.ready()
    }

    fn health(&self) -> Result<(), String> {
        self.observer.health()
    }
}
