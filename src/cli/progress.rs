//! The progress line of bounded work: done of total, rate, lag, and how long still. On a terminal only.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};

use crate::runtime::{Observer, Progress};

const TICK: Duration = Duration::from_millis(200);

/// The line on the screen, which log lines have to go around.
static LINE: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether people watch stderr.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Runs `write` with the line out of the way.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    let line = LINE.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match line {
        Some(line) => line.suspend(write),
        None => write(),
    }
}

/// A line that follows the work until it is dropped; nothing when nobody watches.
pub struct ProgressLine(Option<tokio::task::JoinHandle<()>>);

impl ProgressLine {
    /// Shows the line for what `observer` sees. Needs tokio's threads.
    pub fn show(observer: Observer) -> Self {
        if !is_terminal() {
            return Self(None);
        }
        let line = ProgressBar::new(0);
        // The template is constant; without it the plain bar is shown.
        if let Ok(style) = ProgressStyle::with_template("{bar:28} {percent:>3}%  {msg}") {
            line.set_style(style);
        }
        *LINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(line.clone());
        Self(Some(tokio::spawn(async move {
            loop {
                let progress = observer.progress();
                line.set_length(progress.total);
                line.set_position(progress.done);
                line.set_message(message(&progress));
                tokio::time::sleep(TICK).await;
            }
        })))
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            if let Some(line) = LINE.lock().unwrap_or_else(PoisonError::into_inner).take() {
                line.finish_and_clear();
            }
        }
    }
}

/// `1,234 of 10,000 records · 512/s · lag 8,766 · 17 seconds left`.
fn message(progress: &Progress) -> String {
    let lag = progress.total.saturating_sub(progress.done);
    let known = format!(
        "{} of {} records · {}/s · lag {}",
        HumanCount(progress.done),
        HumanCount(progress.total),
        HumanCount(progress.rate as u64),
        HumanCount(lag)
    );
    if lag == 0 || progress.rate < 1.0 {
        return known;
    }
    format!("{known} · {} left", HumanDuration(Duration::from_secs_f64(lag as f64 / progress.rate)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_rate_lag_and_time_left() {
        let progress = Progress { done: 1_000, total: 11_000, rate: 500.0 };
        assert_eq!(message(&progress), "1,000 of 11,000 records · 500/s · lag 10,000 · 20 seconds left");
        let done = Progress { done: 5, total: 5, rate: 500.0 };
        assert_eq!(message(&done), "5 of 5 records · 500/s · lag 0");
    }
}
