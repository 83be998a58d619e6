//! The source thread: polls the topic and hands batches to the worker of their partition. It asks the brokers nothing:
//! an answer may wait behind a fetch, and records would wait for it (`watcher` asks).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::priority::Rank;
use super::shared::Shared;
use super::worker::Command;
use crate::decode::RawBatch;
use crate::error::Result;
use crate::source::{Polled, Source};

/// The source thread of one run.
pub struct Feeder {
    pub shared: Arc<Shared>,
    pub source: Source,
    pub workers: BTreeMap<i32, SyncSender<Command>>,
    /// The most that one poll takes.
    pub poll_records: usize,
    pub pace: Pace,
}

/// How fast records may be handed on.
#[derive(Debug)]
pub struct Pace {
    /// Seconds that each record takes at least.
    seconds: f64,
    /// When the records handed on so far have had their time.
    free_at: Instant,
}

impl Pace {
    /// At most so many records a second; `None`: as fast as it goes.
    pub fn of(max_rate: Option<u64>) -> Self {
        Self { seconds: max_rate.map_or(0.0, |rate| 1.0 / rate.max(1) as f64), free_at: Instant::now() }
    }

    /// Counts records that were handed on, and answers how long the next have to wait. Time that was not used is lost.
    fn after(&mut self, records: usize, now: Instant) -> Duration {
        let taken = Duration::from_secs_f64(self.seconds * records as f64);
        self.free_at = self.free_at.max(now) + taken;
        self.free_at - now
    }
}

impl Feeder {
    /// Polls until the run stops.
    pub fn run(mut self) {
        if let Err(error) = self.work() {
            self.shared.fail(error);
        }
        self.workers.clear();
        self.source.close(Duration::from_secs(3));
    }

    fn work(&mut self) -> Result<()> {
        let mut rank = Rank::default();
        while !self.shared.stopping() {
            rank.follow(self.shared.is_live());
            for polled in self.source.poll(self.poll_records, Duration::from_millis(100))? {
                let (partition, records, command) = match polled {
                    Polled::Records(batch) => (batch.partition(), batch.len(), Command::Records(batch)),
                    Polled::Eof { partition, next_offset } => (partition, 0, Command::End { partition, next_offset }),
                };
                self.give(partition, command);
                self.rest(records);
            }
        }
        Ok(())
    }

    /// Keeps to the pace.
    fn rest(&mut self, records: usize) {
        let until = Instant::now() + self.pace.after(records, Instant::now());
        while !self.shared.stopping() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Waits for room: a worker that is behind holds the source back.
    fn give(&self, partition: i32, mut command: Command) {
        let Some(worker) = self.workers.get(&partition) else { return };
        while !self.shared.stopping() {
            match worker.try_send(command) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => break,
                Err(TrySendError::Full(back)) => command = back,
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_gives_every_record_its_time_and_saves_none() {
        let mut pace = Pace::of(Some(1_000));
        let now = pace.free_at;
        assert_eq!(pace.after(500, now), Duration::from_millis(500));
        assert_eq!(pace.after(500, now), Duration::from_millis(1_000));
        assert_eq!(pace.after(100, now + Duration::from_secs(9)), Duration::from_millis(100));
        assert_eq!(Pace::of(None).after(1_000_000, Instant::now()), Duration::ZERO);
    }
}
