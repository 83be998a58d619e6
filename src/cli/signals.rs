//! SIGTERM and Ctrl-C: the first drains, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::error::{Error, Result};
use crate::runtime::Observer;

/// As a shell reports a process that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Signals this close together are one.
const SAME: Duration = Duration::from_millis(500);

/// Turns true when the process is asked to stop. Needs tokio's threads.
///
/// Ctrl-C before any work has begun ends the process at once (130), and so does any second signal: what is committed
/// is safe at every moment.
pub fn stop_on_signal(observer: Observer) -> Result<watch::Receiver<bool>> {
    let cannot = |error: std::io::Error| Error::internal(format!("signals cannot be received: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
    let (stop, stopped) = watch::channel(false);
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: draining"),
            _ = interrupt.recv() => {
                if !observer.has_begun() {
                    std::process::exit(INTERRUPTED);
                }
                tracing::info!("interrupted: draining; once more ends at once");
            }
        }
        // Nobody listens any more when the run has ended by itself.
        let _ = stop.send(true);
        // A terminal and a wrapper may both pass on the same Ctrl-C: what comes at once is the same one.
        tokio::time::sleep(SAME).await;
        let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
        else {
            return;
        };
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        std::process::exit(INTERRUPTED);
    });
    Ok(stopped)
}
