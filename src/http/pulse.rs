//! Keeps the runtime's own alarm clock from being set with every request.
//!
//! A read may take some milliseconds, for which the runtime sets a timer. One that is due before all others makes it wake
//! itself: a call of the system to do so and another to hear of it, of eight that a small read takes in all. So while a
//! thread answers one request soon after another, a task on it sleeps, again and again, for less than a read may take:
//! then none of those timers is the first. It costs a wake-up for many reads, and a thread that answers few does without.
//! Nothing depends on it but the time that reads cost.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Of this thread.
#[derive(Clone, Copy)]
struct Pulse {
    /// When the last request came.
    asked: Option<Instant>,
    beats: bool,
}

thread_local! {
    static PULSE: Cell<Pulse> = const { Cell::new(Pulse { asked: None, beats: false }) };
}

/// A request has come, and a read of it may take so long. Called on a thread with a runtime of its own.
pub(super) fn feel(now: Instant, longest_read: Duration) {
    let between = longest_read / 2;
    // The runtime's timers know whole milliseconds.
    if between < Duration::from_millis(1) {
        return;
    }
    let Pulse { asked, beats } = PULSE.get();
    let is_busy = asked.is_some_and(|before| now.duration_since(before) < between);
    PULSE.set(Pulse { asked: Some(now), beats: beats || is_busy });
    if is_busy && !beats {
        tokio::spawn(beat(between));
    }
}

async fn beat(between: Duration) {
    loop {
        tokio::time::sleep(between).await;
        let Pulse { asked, .. } = PULSE.get();
        if asked.is_none_or(|asked| asked.elapsed() > between) {
            return PULSE.set(Pulse { asked, beats: false });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BETWEEN: Duration = Duration::from_millis(5);

    fn feel_at(now: Instant) -> bool {
        feel(now, BETWEEN * 2);
        PULSE.get().beats
    }

    #[tokio::test]
    async fn it_beats_while_requests_come_soon_after_each_other() {
        let start = Instant::now();
        let beats = [0, 20, 24].map(|millis| feel_at(start + Duration::from_millis(millis)));
        assert_eq!(beats, [false, false, true]);
        // They were in the future; so long it goes on.
        while PULSE.get().beats {
            tokio::time::sleep(BETWEEN).await;
        }
        assert!(start.elapsed() > Duration::from_millis(24));
    }

    #[tokio::test]
    async fn reads_that_must_be_quicker_than_its_clock_do_without() {
        let now = Instant::now();
        (0..2).for_each(|_| feel(now, Duration::from_micros(1_900)));
        assert!(!PULSE.get().beats);
    }
}
