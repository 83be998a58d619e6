//! One topic as the runtime reads it: what is kept of its past first, then Kafka, without a seam.
//!
//! Always holds: of each partition every record from the assigned offset on is given out once, in offset order, whether
//! it comes from the archive, from Kafka, or is a dead letter that neither has. Without a past it is [`KafkaSource`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;

use super::archive::{ArchiveReader, Held, Letters, Merge, Read, Redriven};
use super::batch::Batch;
use super::kafka::{KafkaSource, Polled};
use super::topic::{PartitionInfo, TopicHandle};
use crate::decode::RawBatch;
use crate::error::Result;
use crate::lake::KeptLog;

/// How long a poll waits for one of two when it may come from the other.
const GLANCE: Duration = Duration::from_millis(5);

/// What lies before the log.
#[derive(Debug)]
pub struct Past {
    /// The archive, if there is one.
    pub kept: Option<KeptLog>,
    /// Dead letters that enter again; of none, nothing enters.
    pub letters: Letters,
    /// Whether what both have is read from the archive: it is faster; but whoever is live needs no store for it.
    pub prefers_archive: bool,
    /// Where the archive's store is asked.
    pub runtime: Handle,
}

/// A topic with its past.
#[derive(Debug)]
pub struct Source {
    kafka: KafkaSource,
    past: Option<Past>,
    held: BTreeMap<i32, Held>,
    /// What the archive's reader is to read, until the first poll.
    to_read: Option<ToRead>,
    reader: Option<ArchiveReader>,
    merges: BTreeMap<i32, Merge>,
    redriven: Arc<Redriven>,
}

#[derive(Debug)]
struct ToRead {
    kept: KeptLog,
    legs: Vec<(i32, i64)>,
    runtime: Handle,
}

impl From<KafkaSource> for Source {
    fn from(kafka: KafkaSource) -> Self {
        let (held, merges) = (BTreeMap::new(), BTreeMap::new());
        Self { kafka, past: None, held, to_read: None, reader: None, merges, redriven: Arc::default() }
    }
}

impl Source {
    /// A topic that begins with its past; `log` is what Kafka has of it.
    pub fn with_past(kafka: KafkaSource, log: &[PartitionInfo], past: Past) -> Self {
        let held = |info: &PartitionInfo| {
            let archive = past.kept.as_ref().and_then(|kept| kept.covers(info.partition));
            (info.partition, Held { low: info.low, high: info.high, archive })
        };
        let held = log.iter().map(held).collect();
        Self { held, past: Some(past), ..Self::from(kafka) }
    }

    /// For other threads: questions and commits.
    pub fn handle(&self) -> TopicHandle {
        self.kafka.handle()
    }

    /// Where its dead letters are taken from.
    pub fn redriven(&self) -> Arc<Redriven> {
        Arc::clone(&self.redriven)
    }

    /// The first record that there is of a partition, dead letters too; `None` for one that has no past.
    pub fn first_offset(&self, partition: i32) -> Option<i64> {
        let first = self.held.get(&partition)?.first();
        let letter = self.past.as_ref().and_then(|past| past.letters.first(partition));
        Some(letter.map_or(first, |letter| letter.min(first)))
    }

    /// Whether it has every record of a partition from `next` on. Before the first record of a past with dead letters
    /// there are only these, and that is all that was asked for.
    ///
    /// # Errors
    /// Refused: a hole between the archive and the log, or an archive of another log.
    pub fn has_all_from(&self, partition: i32, next: i64) -> Result<bool> {
        let Some(held) = self.held.get(&partition) else { return Ok(false) };
        let redrives = self.past.as_ref().is_some_and(|past| past.letters.count() > 0);
        held.has_all_from(if redrives { next.max(held.first()) } else { next })
    }

    /// How many dead letters would have to be taken from their table, if all partitions began at their first record.
    pub fn letters_without_log(&self) -> usize {
        let Some(past) = &self.past else { return 0 };
        let before = |(partition, offset): &(i32, i64)| self.held.get(partition).is_some_and(|h| *offset < h.first());
        past.letters.places().filter(before).count()
    }

    /// Reads these partitions from exactly these offsets. Once.
    ///
    /// # Errors
    /// As [`KafkaSource::assign`].
    pub fn assign(&mut self, starts: &[(i32, i64)]) -> Result<()> {
        let Some(mut past) = self.past.take() else { return self.kafka.assign(starts) };
        let (mut legs, mut kafka) = (Vec::new(), Vec::new());
        for &(partition, next) in starts {
            let course = self.held.get(&partition).map(|held| held.course(next, past.prefers_archive));
            legs.extend(course.and_then(|course| Some((partition, course.archive?))));
            kafka.push((partition, course.map_or(next, |course| course.kafka)));
            if let Some(merge) = past.letters.take(partition, next, &self.redriven) {
                self.merges.insert(partition, merge);
            }
        }
        self.kafka.assign(&kafka)?;
        if let Some(kept) = past.kept.filter(|_| !legs.is_empty()) {
            let partitions: Vec<i32> = legs.iter().map(|(partition, _)| *partition).collect();
            self.kafka.hold(&partitions)?;
            tracing::info!(?partitions, archive = %kept.url(), "reading the archive first");
            self.to_read = Some(ToRead { kept, legs, runtime: past.runtime });
        }
        Ok(())
    }

    /// As [`KafkaSource::poll`]; in partitions whose past is being read, from there.
    ///
    /// # Errors
    /// As [`KafkaSource::poll`] and [`ArchiveReader::take`].
    pub fn poll(&mut self, max_messages: usize, wait: Duration) -> Result<Vec<Polled>> {
        // The thread that polls starts it, so that it has that one's rank.
        if let Some(ToRead { kept, legs, runtime }) = self.to_read.take() {
            self.reader = Some(ArchiveReader::start(kept, &legs, runtime)?);
        }
        if self.reader.is_none() && self.merges.is_empty() {
            return self.kafka.poll(max_messages, wait);
        }
        let mut out = Vec::new();
        self.poll_archive(max_messages, wait.min(GLANCE), &mut out)?;
        // Kafka is always asked, for what it has to tell; waited for only when nothing else is there.
        let wait = match (&self.reader, out.is_empty()) {
            (_, false) => Duration::ZERO,
            (Some(_), true) => GLANCE,
            (None, true) => wait,
        };
        for polled in self.kafka.poll(max_messages, wait)? {
            self.give(polled, &mut out);
        }
        Ok(out)
    }

    /// What the archive's reader has ready.
    fn poll_archive(&mut self, max_messages: usize, mut wait: Duration, out: &mut Vec<Polled>) -> Result<()> {
        let mut records = 0;
        while records < max_messages
            && let Some(reader) = &mut self.reader
            && let Some(read) = reader.take(wait)?
        {
            let over = reader.is_over();
            wait = Duration::ZERO;
            match read {
                Read::Records(batch) => {
                    records += batch.len();
                    self.give(Polled::Records(Batch::Archive(batch)), out);
                }
                Read::Over { partition, next_offset } => {
                    tracing::info!(partition, next_offset, "the archive has been read: on with Kafka");
                    self.enter(partition, |merge| merge.reached(next_offset, out));
                    self.kafka.release(partition, next_offset)?;
                }
            }
            if over {
                self.reader = None;
            }
        }
        Ok(())
    }

    /// Gives something out, with the dead letters that belong before and into it.
    fn give(&mut self, polled: Polled, out: &mut Vec<Polled>) {
        match polled {
            Polled::Records(batch) if self.merges.contains_key(&batch.partition()) => {
                self.enter(batch.partition(), |merge| merge.records(batch, out));
            }
            Polled::Records(_) => out.push(polled),
            Polled::Eof { partition, next_offset } => {
                self.enter(partition, |merge| merge.reached(next_offset, out));
                out.push(polled);
            }
        }
    }

    /// Does something to the dead letters of a partition, if it has any left.
    fn enter(&mut self, partition: i32, what: impl FnOnce(&mut Merge)) {
        let Some(merge) = self.merges.get_mut(&partition) else { return };
        what(merge);
        if merge.is_over() {
            self.merges.remove(&partition);
        }
        if self.merges.is_empty() {
            tracing::info!(counts = ?self.redriven.counts(), "every dead letter has entered the replay");
        }
    }

    /// See [`KafkaSource::close`].
    pub fn close(self, deadline: Duration) -> bool {
        drop(self.reader);
        self.kafka.close(deadline)
    }
}
