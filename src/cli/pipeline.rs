//! One running pipeline with its surroundings: metrics, the HTTP door, the progress line.
//!
//! The only place that calls `runtime::run`; `kappa run` and `kappa demo` both come here.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::watch;

use super::open;
use super::progress::ProgressLine;
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
    let server = match settings.http.listen.as_str() {
        "" => None,
        listen => Some(http::serve(listen, metrics.clone(), door).await?),
    };
    if let Some(server) = &server {
        listening(server.address);
    }
    let _line = options.until_caught_up.then(|| ProgressLine::show(observer.clone()));
    runtime::run(plan, settings, options, metrics, observer, stop).await
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
        ("epoch_rows", settings.epoch.max_rows as u64),
        ("epoch_records", settings.epoch.max_records as u64),
        ("commit_bytes", settings.offline.commit_bytes),
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

    fn get(&self, entity: &str, id: &str) -> BoxFuture<'_, Result<Option<BTreeMap<String, String>>>> {
        let key = open::online_key(&self.plan, entity, id);
        Box::pin(async move { self.observer.get(&key?).await })
    }
}
