//! The thread that reads the archive: a batch of each partition in turn, ahead of who takes them, by a few batches.
//!
//! Always holds: a partition's batches come in offset order from exactly the offset asked for, and end with
//! [`Read::Over`], whose offset is where Kafka takes over. Before that the table is looked at once more: whoever keeps
//! the archive may have gone on meanwhile, and the log may have lost what it had at the start.
//!
//! A store that does not answer is asked again for as long as somebody waits for the batches.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use tokio::runtime::Handle;

use super::batch::ArchiveBatch;
use crate::decode::RawBatch;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{KeptLog, SegmentReader};

/// Batches that wait to be taken.
const AHEAD: usize = 8;
/// Partitions that are read at once: each holds up to two row groups in memory.
const OPEN: usize = 8;
/// The pause after a store did not answer, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// What the thread brings.
#[derive(Debug)]
pub enum Read {
    Records(Box<ArchiveBatch>),
    /// The archive of the partition has been read up to this offset.
    Over {
        partition: i32,
        next_offset: i64,
    },
}

/// A reader under way; dropping it ends it.
#[derive(Debug)]
pub struct ArchiveReader {
    coming: Receiver<Result<Read>>,
    /// Partitions that are not over.
    open: usize,
}

impl ArchiveReader {
    /// Reads these partitions from these offsets, all of them covered by the archive.
    ///
    /// # Errors
    /// State: no thread can be had.
    pub fn start(kept: KeptLog, starts: &[(i32, i64)], runtime: Handle) -> Result<Self> {
        let (sender, coming) = sync_channel(AHEAD);
        let leg = |&(partition, next): &(i32, i64)| Leg { partition, next, reader: None };
        let work = Work { kept, runtime, waiting: starts.iter().map(leg).collect(), open: VecDeque::new(), sender };
        let thread = std::thread::Builder::new().name("archive".into()).spawn(move || work.run());
        thread.map_err(|e| Error::state(format!("thread archive cannot be started: {e}; raise the process limits")))?;
        Ok(Self { coming, open: starts.len() })
    }

    /// Whether every partition is over.
    pub fn is_over(&self) -> bool {
        self.open == 0
    }

    /// The next batch or end; `None` when none comes in time, or all are over.
    ///
    /// # Errors
    /// Stopped: a file is gone or damaged; refused: the table was changed by something else.
    pub fn take(&mut self, wait: Duration) -> Result<Option<Read>> {
        if self.is_over() {
            return Ok(None);
        }
        match self.coming.recv_timeout(wait) {
            Ok(Ok(read)) => {
                self.open -= usize::from(matches!(read, Read::Over { .. }));
                Ok(Some(read))
            }
            Ok(Err(error)) => Err(error),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(Error::internal("the archive's thread ended before its work")),
        }
    }
}

/// The thread's own side.
struct Work {
    kept: KeptLog,
    runtime: Handle,
    waiting: VecDeque<Leg>,
    open: VecDeque<Leg>,
    sender: SyncSender<Result<Read>>,
}

/// A partition on its way through the archive.
struct Leg {
    partition: i32,
    next: i64,
    /// The file at hand, and where it ends.
    reader: Option<(SegmentReader, i64)>,
}

impl Work {
    fn run(mut self) {
        let mut pause = PAUSES.0;
        loop {
            while self.open.len() < OPEN
                && let Some(leg) = self.waiting.pop_front()
            {
                self.open.push_back(leg);
            }
            let Some(mut leg) = self.open.pop_front() else { return };
            let sent = match self.step(&mut leg) {
                Ok(Some(batch)) => {
                    pause = PAUSES.0;
                    self.open.push_back(leg);
                    self.sender.send(Ok(Read::Records(Box::new(batch))))
                }
                Ok(None) => self.sender.send(Ok(Read::Over { partition: leg.partition, next_offset: leg.next })),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    tracing::warn!(
                        pause_ms = pause.as_millis() as u64,
                        "the archive is not read: {error}; trying again"
                    );
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(PAUSES.1);
                    leg.reader = None;
                    self.open.push_front(leg);
                    continue;
                }
                Err(error) => {
                    let _ = self.sender.send(Err(error));
                    return;
                }
            };
            if sent.is_err() {
                // Nobody takes them any more.
                return;
            }
        }
    }

    /// The next batch of a partition; `None` at the end of what the archive has.
    fn step(&mut self, leg: &mut Leg) -> Result<Option<ArchiveBatch>> {
        let mut looked = false;
        loop {
            if let Some((reader, end)) = &mut leg.reader {
                if let Some(rows) = reader.next_batch()? {
                    let batch = ArchiveBatch::new(leg.partition, &rows)?;
                    let (first, next) = (batch.record(0).offset, batch.next_offset());
                    if first < leg.next || next > *end {
                        return Err(Error::stopped(format!(
                            "the archive {}: a file of partition {} that ends at {end} has the offsets {first} to {next}, and \
                             {} was to come; restore the table to a version before that",
                            self.kept.url(),
                            leg.partition,
                            leg.next
                        )));
                    }
                    leg.next = next;
                    return Ok(Some(batch));
                }
                leg.next = *end;
                leg.reader = None;
            }
            match self.kept.segment_at(leg.partition, leg.next) {
                Some(segment) => {
                    leg.reader = Some((self.kept.read(segment, leg.next, &self.runtime)?, segment.covers.end));
                }
                None if looked => return Ok(None),
                None => {
                    self.runtime.block_on(self.kept.refresh())?;
                    looked = true;
                }
            }
        }
    }
}
