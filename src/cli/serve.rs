//! `kappa serve`: features over HTTP, without a pipeline.
//!
//! The same server as inside `kappa run`, over a Redis that another process fills (a replica serves, and a user who may
//! only read), or over an embedded store as it was when this process began. It changes nothing anywhere.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::settings::SettingsArgs;
use super::{block_on, open};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::features::Reader;
use crate::http::{self, Door};
use crate::metrics::Metrics;
use crate::topology::Plan;

/// Between two questions whether the store answers.
const CHECK: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology
    topology: PathBuf,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let (settings, plan) = args.settings.begin(&args.topology)?;
    if settings.http.listen.is_empty() {
        return Err(Error::configuration("`http.listen` is empty: name an address with --listen"));
    }
    block_on(serve(&plan, &settings))
}

/// Serves until SIGTERM or Ctrl-C.
async fn serve(plan: &Plan, settings: &Settings) -> Result<()> {
    let cannot = |error: std::io::Error| Error::internal(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let store = open::online_to_read(settings, plan)?;
    let reader = open::reader(plan, settings, Box::new(move || Ok(store.clone())));
    let door = Arc::new(ServingDoor::new(plan));
    let asking = tokio::spawn(keep_asking(Arc::clone(&door), Arc::clone(&reader)));
    let server = http::serve(&settings.http, Metrics::new(), door, reader).await?;
    tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
    tracing::info!("closing");
    asking.abort();
    server.close().await;
    Ok(())
}

async fn keep_asking(door: Arc<ServingDoor>, reader: Arc<Reader>) {
    loop {
        let answer = reader.check().await.map_err(|error| error.to_string());
        *door.store.lock().unwrap_or_else(PoisonError::into_inner) = answer;
        tokio::time::sleep(CHECK).await;
    }
}

/// A process that only serves, behind the HTTP routes.
struct ServingDoor {
    topology: String,
    fingerprint: String,
    /// What the store last answered.
    store: Mutex<Result<(), String>>,
}

impl ServingDoor {
    fn new(plan: &Plan) -> Self {
        let (topology, fingerprint) = (plan.topology.clone(), plan.fingerprint.clone());
        Self { topology, fingerprint, store: Mutex::new(Err("the online store has not been asked yet".into())) }
    }
}

impl Door for ServingDoor {
    fn status(&self) -> serde_json::Value {
        let store = match self.ready() {
            Ok(()) => serde_json::json!({"up": true}),
            Err(error) => serde_json::json!({"up": false, "error": error}),
        };
        serde_json::json!({
            "topology": self.topology,
            "fingerprint": self.fingerprint,
            "serves_only": true,
            "online": store,
        })
    }

    fn ready(&self) -> Result<(), String> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn health(&self) -> Result<(), String> {
        Ok(())
    }
}
