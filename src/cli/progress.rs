//! The progress of bounded work and of replays: a bar for each partition, then done of total, rate, lag, and how long
//! still. On a terminal only; gone when the work is done.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, HumanDuration, MultiProgress, ProgressBar, ProgressStyle};

use crate::runtime::{Observer, Progress};

const TICK: Duration = Duration::from_millis(200);
/// Partitions beyond these have no bar of their own.
const BARS: usize = 16;

/// The lines on the screen, which log lines have to go around.
static LINES: Mutex<Option<MultiProgress>> = Mutex::new(None);

/// Whether people watch stderr.
pub fn is_terminal() -> bool {
    std::io::stderr().is_terminal()
}

/// Runs `write` with the lines out of the way.
pub fn aside<T>(write: impl FnOnce() -> T) -> T {
    let lines = LINES.lock().unwrap_or_else(PoisonError::into_inner).clone();
    match lines {
        Some(lines) => lines.suspend(write),
        None => write(),
    }
}

/// Lines that follow the work until they are dropped; nothing when nobody watches.
pub struct ProgressLines(Option<tokio::task::JoinHandle<()>>);

impl ProgressLines {
    /// Shows the lines for what `observer` sees. Needs tokio's threads.
    pub fn show(observer: Observer) -> Self {
        if !is_terminal() {
            return Self(None);
        }
        let lines = take_the_screen();
        Self(Some(tokio::spawn(async move {
            let mut screen = Screen { total: lines.add(bar("{bar:28} {percent:>3}%  {msg}")), lines, bars: Vec::new() };
            loop {
                screen.draw(&observer.progress());
                tokio::time::sleep(TICK).await;
            }
        })))
    }
}

impl Drop for ProgressLines {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.abort();
            leave_the_screen();
        }
    }
}

fn take_the_screen() -> MultiProgress {
    let lines = MultiProgress::new();
    *LINES.lock().unwrap_or_else(PoisonError::into_inner) = Some(lines.clone());
    lines
}

fn leave_the_screen() {
    if let Some(lines) = LINES.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Nothing to be done when the terminal is gone.
        let _ = lines.clear();
    }
}

/// A line for work on this thread, which says itself how far it is; nothing when nobody watches.
pub struct Bar {
    line: Option<ProgressBar>,
    total: u64,
    began: Instant,
}

impl Bar {
    /// For so many records.
    pub fn new(total: u64) -> Self {
        let line = is_terminal().then(|| take_the_screen().add(bar("{bar:28} {percent:>3}%  {msg}")));
        Self { line, total, began: Instant::now() }
    }

    /// So many are still to come.
    pub fn left(&self, left: u64) {
        let Some(line) = &self.line else { return };
        let done = self.total.saturating_sub(left);
        line.set_length(self.total);
        line.set_position(done);
        let rate = done as f64 / self.began.elapsed().as_secs_f64().max(0.001);
        line.set_message(message(&Progress { done, total: self.total, rate, ..Progress::default() }));
    }

    /// So many rows are done, of so many.
    pub fn rows(&self, done: u64, total: u64) {
        let Some(line) = &self.line else { return };
        line.set_length(total);
        line.set_position(done);
        line.set_message(format!("{} of {} rows", HumanCount(done), HumanCount(total)));
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if self.line.is_some() {
            leave_the_screen();
        }
    }
}

/// What is drawn.
struct Screen {
    lines: MultiProgress,
    total: ProgressBar,
    /// By partition, above the total.
    bars: Vec<ProgressBar>,
}

impl Screen {
    fn draw(&mut self, progress: &Progress) {
        let shown = if progress.done < progress.total { progress.partitions.len().min(BARS) } else { 0 };
        while self.bars.len() > shown {
            self.bars.pop().iter().for_each(ProgressBar::finish_and_clear);
        }
        while self.bars.len() < shown {
            self.bars.push(self.lines.insert_before(&self.total, bar("  {msg:>4} {bar:23} {percent:>3}%")));
        }
        for (bar, (partition, done, total)) in self.bars.iter().zip(&progress.partitions) {
            bar.set_length(*total);
            bar.set_position(*done);
            bar.set_message(format!("p{partition}"));
        }
        self.total.set_length(progress.total);
        self.total.set_position(progress.done);
        self.total.set_message(message(progress));
    }
}

fn bar(template: &str) -> ProgressBar {
    let bar = ProgressBar::new(0);
    // The templates are constant; without them the plain bar is shown.
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
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
    match progress.seconds_left() {
        Some(seconds) => format!("{known} · {} left", HumanDuration(Duration::from_secs_f64(seconds))),
        None => known,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_rate_lag_and_time_left() {
        let progress = Progress { done: 1_000, total: 11_000, rate: 500.0, ..Progress::default() };
        assert_eq!(message(&progress), "1,000 of 11,000 records · 500/s · lag 10,000 · 20 seconds left");
        let done = Progress { done: 5, total: 5, rate: 500.0, ..Progress::default() };
        assert_eq!(message(&done), "5 of 5 records · 500/s · lag 0");
    }
}
