//! Keeping the raw log: a consumer of its own, a thread of its own, and the archive's writer.
//!
//! Always holds: where it goes on stands in the archive itself, so nothing else has to be kept, and it holds nobody up;
//! a record that the log has lost before it was kept is an error with both offsets, never a silent hole.
//!
//! Partitions that are added are seen within half a minute, and kept from their first record on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use super::observer::Observer;
use super::patience::patiently;
use super::priority::Rank;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, SinkMetrics};
use crate::sink::archive::{ArchiveCommit, ArchiveWriter};
use crate::source::{KafkaSource, PartitionInfo, Polled};
use crate::topology::Plan;

/// How often the topic is asked for its partitions.
const LOOK: Duration = Duration::from_secs(30);
/// The longest pause between two tries of a commit.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What was kept by one call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    pub records: u64,
    /// Of Parquet.
    pub bytes: u64,
    pub commits: u64,
}

impl std::fmt::Display for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, bytes, commits } = self;
        write!(f, "archive: {records} records kept in {commits} commits, {bytes} bytes of Parquet")
    }
}

/// Keeps the raw log of the plan's topic until `stop` turns true, or, with `until_caught_up`, until everything that the
/// log held at the start is kept. `observer` sees whether it has begun.
///
/// # Errors
/// Configuration, refused (a hole would be the result; another topic), stopped (the log); unavailable for bounded work
/// alone.
pub async fn keep(
    plan: &Plan,
    settings: &Settings,
    until_caught_up: bool,
    metrics: Metrics,
    observer: &Observer,
    stop: watch::Receiver<bool>,
) -> Result<Kept> {
    let board = &observer.0;
    let start_timeout = Duration::from_millis(settings.start_timeout.millis().max(0) as u64);
    let patience = until_caught_up.then_some(start_timeout);
    let mut kept = Kept::default();
    loop {
        let opened = patiently(board, &stop, patience, || open(plan, settings, &stop)).await?;
        let Some((source, writer, log)) = opened else { return Ok(kept) };
        // From now on an interruption is no reason to lose what is at hand.
        board.set_begun();
        let keeper = Keeper {
            targets: until_caught_up.then(|| log.iter().map(|info| (info.partition, info.high)).collect()),
            sink: metrics.sink("archive"),
            partitions: log.iter().map(|info| info.partition).collect(),
            settings: settings.clone(),
            metrics: metrics.clone(),
            stop: stop.clone(),
            runtime: Handle::current(),
            kept,
            source,
            writer,
        };
        let (tell, told) = oneshot::channel();
        let thread = std::thread::Builder::new().name("archive-keeper".into()).spawn(move || {
            let _ = tell.send(keeper.run());
        });
        thread.map_err(|e| {
            Error::state(format!("thread archive-keeper cannot be started: {e}; raise the process limits"))
        })?;
        let ended = told.await.map_err(|_| Error::internal("the archive's keeper panicked"))?;
        let (again, so_far) = ended?;
        kept = so_far;
        if !again {
            return Ok(kept);
        }
    }
}

type Opened = (KafkaSource, ArchiveWriter, Vec<PartitionInfo>);

/// The topic from where the archive ends.
async fn open(plan: &Plan, settings: &Settings, stop: &watch::Receiver<bool>) -> Result<Opened> {
    let group = format!("{}-archive", settings.kafka.group.replace("{topology}", &plan.topology));
    let (mut source, log, topic_id) = connect(settings, plan, group, stop).await?;
    let (archive, topic) = (&settings.archive, &plan.source.topic);
    let partitions: Vec<i32> = log.iter().map(|info| info.partition).collect();
    let mut writer = ArchiveWriter::open(archive, topic, topic_id.as_deref(), &partitions).await?;
    // Asked after the archive: another keeper may have gone on meanwhile, and then the log has too.
    let mut log = describe_again(&source).await?;
    log.retain(|info| partitions.contains(&info.partition));
    let mut starts = Vec::with_capacity(log.len());
    for info in &log {
        let next = match writer.durable(info.partition) {
            Some(next) => next,
            None => {
                writer.begin(info.partition, info.low);
                info.low
            }
        };
        adjoins(&format!("the archive of {topic} at `{}`", archive.url), info, next)?;
        starts.push((info.partition, next));
    }
    source.assign(&starts)?;
    Ok((source, writer, log))
}

type Connected = (KafkaSource, Vec<PartitionInfo>, Option<String>);

/// The topic, what its log holds, and its id. A thread of its own asks, and hears the stop too.
async fn connect(settings: &Settings, plan: &Plan, group: String, stop: &watch::Receiver<bool>) -> Result<Connected> {
    let (settings, topic, stop) = (settings.kafka.clone(), plan.source.topic.clone(), stop.clone());
    let connect = move || {
        let source = KafkaSource::open_unless(&settings, &topic, &group, &|| *stop.borrow())?;
        let (log, handle) = (source.describe()?, source.handle());
        Ok((source, log, handle.topic_id()))
    };
    let connected = tokio::task::spawn_blocking(connect).await;
    connected.map_err(|e| Error::internal(format!("opening the source: {e}")))?
}

/// What the log of the topic holds now.
pub(super) async fn describe_again(source: &KafkaSource) -> Result<Vec<PartitionInfo>> {
    let handle = source.handle();
    let described = tokio::task::spawn_blocking(move || handle.describe()).await;
    described.map_err(|e| Error::internal(format!("asking the source: {e}")))?
}

/// The log must have what comes next in the archive.
fn adjoins(archive: &str, info: &PartitionInfo, next: i64) -> Result<()> {
    let PartitionInfo { partition, low, high } = info;
    if next < *low {
        return Err(Error::refused(format!(
            "{archive} ends at offset {next} of partition {partition} and the log begins at {low}: {} records were deleted \
             before they were kept, and an archive has no holes. Give another archive.url, where a new one begins with what \
             is left, and lengthen the topic's retention",
            low - next
        )));
    }
    if next > *high {
        return Err(Error::refused(format!(
            "{archive} ends at offset {next} of partition {partition} and the log at {high}: the topic was recreated or \
             truncated. Give another archive.url"
        )));
    }
    Ok(())
}

/// The thread's own side.
struct Keeper {
    source: KafkaSource,
    writer: ArchiveWriter,
    partitions: Vec<i32>,
    /// By partition: where bounded work ends.
    targets: Option<BTreeMap<i32, i64>>,
    settings: Settings,
    metrics: Metrics,
    sink: SinkMetrics,
    stop: watch::Receiver<bool>,
    runtime: Handle,
    kept: Kept,
}

impl Keeper {
    /// Keeps until it is told to stop, the targets are reached, or partitions were added: then true, for once more.
    fn run(mut self) -> Result<(bool, Kept)> {
        // Keeping gives way to serving.
        Rank::default().follow(false);
        let again = self.work()?;
        self.runtime.block_on(self.writer.settle());
        self.source.close(Duration::from_secs(3));
        Ok((again, self.kept))
    }

    fn work(&mut self) -> Result<bool> {
        let interval = Duration::from_millis(self.settings.archive.commit_interval.millis().max(0) as u64);
        let (mut looked, mut committed) = (Instant::now(), Instant::now());
        let mut open: BTreeMap<i32, i64> = self.targets.clone().unwrap_or_default();
        loop {
            let done = self.targets.is_some() && open.is_empty();
            if done || *self.stop.borrow() {
                self.commit()?;
                return Ok(false);
            }
            for polled in self.source.poll(self.settings.kafka.poll_records, Duration::from_millis(100))? {
                let (partition, next_offset) = match polled {
                    Polled::Records(batch) => {
                        self.writer.append(batch.partition(), batch.raw())?;
                        (batch.partition(), batch.next_offset())
                    }
                    Polled::Eof { partition, next_offset } => {
                        self.writer.skip_to(partition, next_offset);
                        (partition, next_offset)
                    }
                };
                open.retain(|of, target| *of != partition || next_offset < *target);
            }
            if committed.elapsed() >= interval || self.writer.pending_bytes() >= self.settings.archive.commit_bytes {
                self.commit()?;
                committed = Instant::now();
            }
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.measure();
                if self.has_new_partitions()? {
                    self.commit()?;
                    return Ok(true);
                }
            }
        }
    }

    fn has_new_partitions(&self) -> Result<bool> {
        match self.source.partitions_now() {
            Ok(now) => Ok(now != self.partitions.len()),
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                tracing::warn!("{error}; trying again");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Commits, again and again while the store does not answer; once asked to stop only what goes on may go on, for as
    /// long as a shutdown may take: what is not committed then is read again by the next run.
    fn commit(&mut self) -> Result<()> {
        let shutdown = Duration::from_millis(self.settings.bounds.shutdown.millis().max(0) as u64);
        let mut pause = Duration::from_millis(100);
        while self.writer.has_news() {
            let began = Instant::now();
            // A stop is heard during a commit too, which is safe to give up: it is repeated or was done.
            let mut stop = self.stop.clone();
            let answer = self.runtime.block_on(async {
                let late = async {
                    let nobody_is_left = stop.wait_for(|stop| *stop).await.is_err();
                    if nobody_is_left {
                        std::future::pending::<()>().await;
                    }
                    tokio::time::sleep(shutdown).await;
                };
                tokio::select! {
                    answer = self.writer.commit() => answer,
                    () = late => Err(Error::unavailable("the archive takes too long")),
                }
            });
            self.sink.seconds.observe_since(began);
            match answer {
                Ok(written) => self.count(written),
                Err(error) if error.kind() == ErrorKind::Unavailable => {
                    self.sink.errors.add(1);
                    self.sink.up.set_flag(false);
                    if *self.stop.borrow() {
                        tracing::warn!("{error}; what the archive lacks is read again by the next run");
                        return Ok(());
                    }
                    tracing::warn!(pause_ms = pause.as_millis() as u64, "{error}; committing again");
                    std::thread::sleep(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                Err(error) => return Err(error),
            }
        }
        self.measure();
        Ok(())
    }

    fn count(&mut self, written: ArchiveCommit) {
        self.sink.up.set_flag(true);
        self.kept.records += written.records;
        self.kept.bytes += written.bytes;
        self.kept.commits += 1;
        self.metrics.archive_records.add(written.records);
        self.metrics.archive_bytes.add(written.bytes);
        self.metrics.archive_commits.add(1);
        tracing::info!(records = written.records, bytes = written.bytes, files = written.files, "archive committed");
    }

    /// How far behind the log it is, for metrics and for lag tools.
    fn measure(&self) {
        let position = |&partition: &i32| Some((partition, self.writer.durable(partition)?));
        let positions: Vec<(i32, i64)> = self.partitions.iter().filter_map(position).collect();
        let behind = |(partition, next): &(i32, i64)| Some((self.source.high_watermark(*partition)? - next).max(0));
        self.metrics.archive_lag.set(positions.iter().filter_map(behind).sum());
        self.source.commit(&positions);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_refused_with_both_offsets() {
        let info = PartitionInfo { partition: 3, low: 100, high: 200 };
        assert!(adjoins("the archive", &info, 100).is_ok() && adjoins("the archive", &info, 200).is_ok());
        let hole = adjoins("the archive", &info, 90).unwrap_err();
        assert_eq!(hole.kind(), ErrorKind::Refused);
        assert!(
            hole.to_string().contains("ends at offset 90") && hole.to_string().contains("begins at 100: 10 records")
        );
        assert!(adjoins("the archive", &info, 201).unwrap_err().to_string().contains("recreated"));
    }
}
