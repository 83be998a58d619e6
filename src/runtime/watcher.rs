//! The watch over a topic while it is read: a thread that asks the brokers what the one that reads must not wait for.
//!
//! Once a second it hears the ends, shows positions to lag tools, and sees a topic that is another one or has other
//! partitions. Brokers that are silent are waited for, within the patience of bounded work.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::priority::Rank;
use super::refusals::{partitions_changed, recreated};
use super::shared::Shared;
use crate::error::{ErrorKind, Result};
use crate::metrics::Gauge;
use crate::source::TopicHandle;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Between two looks at the stop.
const STEP: Duration = Duration::from_millis(50);

/// The watch of one run.
pub struct Watcher {
    pub shared: Arc<Shared>,
    pub topic: TopicHandle,
    pub partitions: usize,
    /// The topic's id when the version began, where the brokers tell it.
    pub topic_id: Option<String>,
    /// How long the brokers may be silent; `None` for ever: the client connects again by itself.
    pub patience: Option<Duration>,
    /// Whether the brokers answer.
    pub up: Gauge,
}

impl Watcher {
    /// Watches until the run stops.
    pub fn run(self) {
        if let Err(error) = self.work() {
            self.shared.fail(error);
        }
    }

    fn work(&self) -> Result<()> {
        let (mut asked, mut answered, mut rank) = (Instant::now(), Instant::now(), Rank::default());
        while !self.shared.stopping() {
            rank.follow(self.shared.is_live());
            if asked.elapsed() < INTERVAL {
                std::thread::sleep(STEP);
                continue;
            }
            let looked = self.look();
            let is_silent = looked.as_ref().is_err_and(|error| error.kind() == ErrorKind::Unavailable);
            self.up.set_flag(!is_silent);
            match looked {
                Ok(()) => answered = Instant::now(),
                Err(error) if is_silent && self.waits(answered) => tracing::warn!("{error}; trying again"),
                Err(error) => return Err(error),
            }
            asked = Instant::now();
        }
        Ok(())
    }

    fn waits(&self, answered: Instant) -> bool {
        self.patience.is_none_or(|patience| answered.elapsed() < patience)
    }

    fn look(&self) -> Result<()> {
        let mut positions = Vec::new();
        for (partition, standing) in self.shared.partitions() {
            positions.push((partition, standing.next_offset));
            if let Some(high) = self.topic.high_watermark(partition) {
                self.shared.update(partition, |standing| standing.end = standing.end.max(high));
            }
        }
        if self.shared.is_live() {
            self.topic.commit(&positions);
        }
        let partitions = self.topic.partitions_now()?;
        // First: a topic that was made again may well have another number of partitions.
        if let (Some(before), Some(now)) = (&self.topic_id, self.topic.topic_id())
            && *before != now
        {
            return Err(recreated(self.topic.name(), before, &now));
        }
        if partitions != self.partitions {
            return Err(partitions_changed(self.topic.name(), self.partitions, partitions));
        }
        Ok(())
    }
}
