//! The source thread: polls Kafka and hands batches to the worker of their partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::worker::Command;
use crate::error::{Error, ErrorKind, Result};
use crate::source::{KafkaSource, Polled};

/// Messages of one poll.
const POLL: usize = 8_192;

/// The source thread of one run.
pub struct Feeder {
    pub shared: Arc<Shared>,
    pub source: KafkaSource,
    pub workers: BTreeMap<i32, SyncSender<Command>>,
    pub partitions: usize,
    /// How long the brokers may be silent; `None` for ever: the client connects again by itself.
    pub patience: Option<Duration>,
}

/// When the brokers were asked about the topic last, and when they answered.
struct Looks {
    asked: Instant,
    answered: Instant,
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
        let mut looks = Looks { asked: Instant::now(), answered: Instant::now() };
        while !self.shared.stopping() {
            for polled in self.source.poll(POLL, Duration::from_millis(100))? {
                let (partition, command) = match polled {
                    Polled::Records(batch) => (batch.partition(), Command::Records(batch)),
                    Polled::Eof { partition, next_offset } => (partition, Command::End { partition, next_offset }),
                };
                self.give(partition, command, &mut looks)?;
            }
            self.look_on_time(&mut looks)?;
        }
        Ok(())
    }

    /// Looks once a second, also while a worker holds the source back: then the lag grows, and that must show.
    fn look_on_time(&self, looks: &mut Looks) -> Result<()> {
        if looks.asked.elapsed() < Duration::from_secs(1) {
            return Ok(());
        }
        match self.look() {
            Ok(()) => looks.answered = Instant::now(),
            Err(error) if error.kind() == ErrorKind::Unavailable && self.waits(looks.answered) => {
                tracing::warn!("{error}; trying again");
            }
            Err(error) => return Err(error),
        }
        looks.asked = Instant::now();
        Ok(())
    }

    fn waits(&self, answered: Instant) -> bool {
        self.patience.is_none_or(|patience| answered.elapsed() < patience)
    }

    /// Waits for room: a worker that is behind holds the source back.
    fn give(&self, partition: i32, mut command: Command, looks: &mut Looks) -> Result<()> {
        let Some(worker) = self.workers.get(&partition) else { return Ok(()) };
        while !self.shared.stopping() {
            match worker.try_send(command) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => break,
                Err(TrySendError::Full(back)) => command = back,
            }
            std::thread::sleep(Duration::from_micros(500));
            self.look_on_time(looks)?;
        }
        Ok(())
    }

    /// Shows positions to lag tools, hears the ends, and sees a changed number of partitions.
    fn look(&self) -> Result<()> {
        let mut positions = Vec::new();
        for (partition, standing) in self.shared.partitions() {
            positions.push((partition, standing.next_offset));
            if let Some(high) = self.source.high_watermark(partition) {
                self.shared.update(partition, |standing| standing.end = standing.end.max(high));
            }
        }
        self.source.commit(&positions);
        let partitions = self.source.partitions_now()?;
        if partitions != self.partitions {
            return Err(partitions_changed(self.partitions, partitions));
        }
        Ok(())
    }
}

/// More partitions change where a key lives, so values would silently begin anew.
pub fn partitions_changed(before: usize, now: usize) -> Error {
    Error::refused(format!(
        "the topic has {now} partitions now and had {before} when the version began: keys live in other partitions, so \
         their windows would be wrong. Create a topic with {now} partitions, copy the log into it keyed as before, and \
         run a new version on it"
    ))
}
