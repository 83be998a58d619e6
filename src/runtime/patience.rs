//! Waiting at the start: what a run needs may come up after it does.
//!
//! Always holds: only what time can mend is tried again ([`ErrorKind::Unavailable`]), anything else ends the start at
//! once; an attempt that failed is logged once; a stop is heard within an attempt as well as between two.

use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::board::Board;
use crate::error::{Error, ErrorKind, Result};

/// The pause after the first attempt, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Calls `attempt` until it succeeds; `None` when the run is to stop first. `bound` is how long it may go on, `None`
/// for ever.
///
/// # Errors
/// The attempt's own, when waiting does not help or the bound is reached.
pub async fn patiently<T, F>(
    board: &Board,
    stop: &watch::Receiver<bool>,
    bound: Option<Duration>,
    mut attempt: impl FnMut() -> F,
) -> Result<Option<T>>
where
    F: Future<Output = Result<T>>,
{
    let (began, mut pause) = (Instant::now(), PAUSES.0);
    loop {
        let outcome = tokio::select! {
            outcome = attempt() => outcome,
            () = stopped(stop) => return Ok(None),
        };
        let error = match outcome {
            Ok(opened) => {
                board.set_waiting(None);
                return Ok(Some(opened));
            }
            Err(error) if error.kind() == ErrorKind::Unavailable => error,
            Err(error) => return Err(error),
        };
        let waited = began.elapsed();
        if bound.is_some_and(|bound| waited + pause > bound) {
            let waited = waited.as_secs_f64();
            return Err(Error::unavailable(format!("{error} (waited {waited:.1} s; see start_timeout)")));
        }
        board.set_waiting(Some(error.to_string()));
        tracing::warn!(pause_ms = pause.as_millis() as u64, "not begun: {error}; trying again");
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stopped(stop) => return Ok(None),
        }
        pause = (pause * 2).min(PAUSES.1);
    }
}

/// Comes when the run is to stop; never when nobody can ask for it any more.
async fn stopped(stop: &watch::Receiver<bool>) {
    let nobody_is_left = stop.clone().wait_for(|stop| *stop).await.is_err();
    if nobody_is_left {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Fails so many times with this kind, then answers how often it was asked.
    async fn run(kind: ErrorKind, failures: u32, bound: Option<Duration>) -> Result<Option<u32>> {
        let (_sender, stop) = watch::channel(false);
        let (board, asked) = (Board::default(), AtomicU32::new(0));
        let attempt = || async {
            let before = asked.fetch_add(1, Ordering::Relaxed);
            if before < failures { Err(Error::new(kind, "nobody at a:1")) } else { Ok(before + 1) }
        };
        patiently(&board, &stop, bound, attempt).await
    }

    #[tokio::test]
    async fn what_time_can_mend_is_tried_until_it_works() {
        assert_eq!(run(ErrorKind::Unavailable, 2, None).await.unwrap(), Some(3));
    }

    #[tokio::test]
    async fn a_mistake_is_told_at_once() {
        let error = run(ErrorKind::Configuration, 1, None).await.unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Configuration, "nobody at a:1"));
    }

    #[tokio::test]
    async fn a_bound_ends_the_waiting_with_what_was_missing() {
        let error = run(ErrorKind::Unavailable, 1, Some(Duration::ZERO)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().starts_with("nobody at a:1 (waited 0.0 s"), "{error}");
    }

    #[tokio::test]
    async fn a_stop_is_heard_within_an_attempt_and_between_two() {
        for hangs in [true, false] {
            let (sender, stop) = watch::channel(false);
            let board = Arc::new(Board::default());
            let attempt = || async move {
                if hangs {
                    std::future::pending::<()>().await;
                }
                Err::<(), _>(Error::unavailable("nobody"))
            };
            let waiting = patiently(&board, &stop, None, attempt);
            let stopping = async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                sender.send_replace(true);
            };
            let (outcome, ()) = tokio::join!(waiting, stopping);
            assert!(outcome.unwrap().is_none());
            assert_eq!(board.waiting().is_some(), !hangs);
        }
    }
}
