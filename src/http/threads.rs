//! The threads that answer: one for each core, each with a runtime of its own.
//!
//! Always holds: what is spawned on a thread stays on it. A request is read, sent on to the store over that thread's own
//! connection, and answered, without another thread being woken; and a pipeline in the same process, whose runtime may be
//! busy for milliseconds, does not make it wait. Dropped, the threads end with all that runs on them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;

use crate::error::{Error, Result};

pub(super) struct Threads {
    handles: Vec<Handle>,
    next: AtomicUsize,
    /// Dropped, it ends them.
    _alive: watch::Sender<()>,
}

impl std::fmt::Debug for Threads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Threads").field("threads", &self.handles.len()).finish_non_exhaustive()
    }
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// State: the system gives no more threads.
    pub(super) fn start() -> Result<Self> {
        let (alive, ends) = watch::channel(());
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let handles = (0..cores).map(|index| start(index, ends.clone())).collect::<Result<_>>()?;
        Ok(Self { handles, next: AtomicUsize::new(0), _alive: alive })
    }

    /// The one whose turn it is.
    pub(super) fn next(&self) -> &Handle {
        &self.handles[self.next.fetch_add(1, Ordering::Relaxed) % self.handles.len()]
    }
}

fn start(index: usize, mut ends: watch::Receiver<()>) -> Result<Handle> {
    let cannot = |error: std::io::Error| Error::state(format!("no thread to answer HTTP: {error}; raise the limits"));
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let handle = runtime.handle().clone();
    // Nothing is ever sent: it waits for the sender to be dropped.
    let run = move || runtime.block_on(async move { while ends.changed().await.is_ok() {} });
    thread::Builder::new().name(format!("http-{index}")).spawn(run).map_err(cannot)?;
    Ok(handle)
}
