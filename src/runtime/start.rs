//! Bringing a run up: the version, the log's bounds, state, sinks, threads. And taking it down again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::feeder::{Feeder, partitions_changed};
use super::offline::Archivist;
use super::online::Publisher;
use super::outbox::{Cursor, Outbox};
use super::patience::patiently;
use super::shared::{Drain, Shared};
use super::versions::{Standing, Version, Versions, folder};
use super::worker::{Command, Running, Worker};
use super::{ReplayFrom, RunOptions, clock};
use crate::config::{OfflineKind, OnlineKind, Settings};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::sink::offline::OfflineWriter;
use crate::sink::online::{self, OnlineStore};
use crate::source::{KafkaSource, PartitionInfo};
use crate::state::{RocksShared, RocksStore};
use crate::task::{Limits, Task};
use crate::topology::Plan;

/// Batches that wait for a worker.
const QUEUE: usize = 16;
/// Pages that wait for the online publisher.
const JOBS: usize = 16;

/// A run's parts, in the order in which they end.
pub struct Parts {
    pub version: Version,
    pub drain: watch::Sender<Drain>,
    versions: Versions,
    feeder: Option<JoinHandle<()>>,
    workers: Vec<JoinHandle<()>>,
    senders: BTreeMap<i32, SyncSender<Command>>,
    publisher: Option<tokio::task::JoinHandle<()>>,
    archivist: Option<JoinHandle<()>>,
    outboxes: Vec<Arc<Outbox>>,
    asked_to_publish: bool,
    has_online: bool,
}

impl Parts {
    /// Once caught up: a live version is where it should be, unless the online store has lost data and is being filled
    /// again; a building one publishes every entity's last row, and is live when all of it has gone out. True when there
    /// is nothing left to do.
    pub fn promote(&mut self, shared: &Shared) -> Result<bool> {
        if self.version.standing == Standing::Live {
            return Ok(!shared.is_refilling());
        }
        if self.has_online && !self.asked_to_publish {
            self.outboxes.iter().for_each(|outbox| outbox.want_all());
            self.asked_to_publish = true;
            return Ok(false);
        }
        // The publisher unfences a partition when its last page is out; then the cursor is at the head.
        let published = |outbox: &Arc<Outbox>| shared.published(outbox.partition());
        if self.has_online && !self.outboxes.iter().all(published) {
            return Ok(false);
        }
        self.version.standing = Standing::Live;
        self.versions.record(&self.version)?;
        tracing::info!(version = self.version.number, "the version is live");
        shared.set_version(serde_json::to_value(&self.version).unwrap_or_default());
        Ok(true)
    }

    /// Ends intake: the source, then the workers with their last epochs.
    pub async fn join_intake(&mut self) {
        self.senders.clear();
        let threads: Vec<_> = self.feeder.take().into_iter().chain(self.workers.drain(..)).collect();
        join(threads).await;
    }

    /// Ends the sinks.
    pub async fn join_sinks(&mut self) {
        if let Some(publisher) = self.publisher.take() {
            let _ = publisher.await;
        }
        join(self.archivist.take().into_iter().collect()).await;
    }
}

/// A thread that panicked has logged why; its error is the run's.
async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the run panicked; this is a defect of Kappa");
            }
        }
    });
    let _ = joined.await;
}

/// What lies outside the process, open.
struct Outside {
    version: Version,
    source: KafkaSource,
    log: Vec<PartitionInfo>,
    online: Option<Arc<dyn OnlineStore>>,
    writer: Option<OfflineWriter>,
}

/// Brings everything up, waiting for what does not answer yet; `None` when the run is to stop before that.
///
/// # Errors
/// Configuration, refused, unavailable (bounded work alone) or state: nothing has been read then.
pub async fn start(
    plan: Plan,
    settings: Settings,
    options: RunOptions,
    metrics: Metrics,
    shared: &Arc<Shared>,
    stop: &watch::Receiver<bool>,
) -> Result<Option<Parts>> {
    let plan = Arc::new(plan);
    let mut versions = Versions::open(&settings.data_dir, &plan.topology)?;
    let version = versions.choose(&plan.fingerprint, options.replay_from, options.again)?;
    let start_timeout = Duration::from_millis(settings.start_timeout.millis().max(0) as u64);
    let patience = options.until_caught_up.then_some(start_timeout);
    // One attempt opens everything anew: what the first part said is not old when the last one answers.
    let opened = patiently(shared, stop, patience, || open_outside(&settings, &plan, &version, stop)).await?;
    let Some(Outside { version, mut source, log, online, writer }) = opened else { return Ok(None) };
    let partitions: Vec<i32> = log.iter().map(|info| info.partition).collect();
    versions.record(&version)?;
    shared.set_version(serde_json::to_value(&version).unwrap_or_default());

    let tasks = open_tasks(&plan, &settings, &versions, &version, &log, &metrics)?;
    let starts: Vec<_> =
        tasks.iter().map(|running| (running.task.partition(), running.task.meta().next_offset)).collect();
    for (running, info) in tasks.iter().zip(&log) {
        let (partition, meta) = (running.task.partition(), running.task.meta());
        check_position(&plan, info, meta.next_offset, meta.start_offset)?;
        shared.update(partition, |standing| {
            (standing.target, standing.end) = (info.high, info.high);
            (standing.start_offset, standing.next_offset) = (meta.start_offset, meta.next_offset);
            standing.watermark = meta.watermark;
        });
    }
    source.assign(&starts)?;
    let outboxes: Vec<_> = tasks.iter().map(|running| Arc::clone(&running.outbox)).collect();
    for outbox in &outboxes {
        if online.is_none() {
            outbox.without(Cursor::Online);
        }
        if writer.is_none() {
            outbox.without(Cursor::Offline);
        }
    }

    let (drain, draining) = watch::channel(Drain::default());
    let (jobs, job_queue) = mpsc::channel(JOBS);
    let (workers, senders) = spawn_workers(&plan, &settings, shared, &metrics, tasks, &jobs)?;
    let publisher = online.clone().map(|store| {
        shared.set_online(Arc::clone(&store));
        // Until the publisher has asked it.
        shared.set_refilling(true);
        let identity = (version.generation, version.number);
        let fenced = version.standing == Standing::Building;
        let publisher = Publisher::new(
            Arc::clone(&plan),
            Arc::clone(shared),
            store,
            identity,
            fenced,
            outboxes.clone(),
            metrics.clone(),
            draining.clone(),
        );
        tokio::spawn(publisher.run(job_queue))
    });
    let archivist = writer.map(|writer| {
        let archivist = Archivist {
            shared: Arc::clone(shared),
            settings: settings.offline.clone(),
            writer,
            outboxes: outboxes.clone(),
            metrics: metrics.clone(),
            draining,
            runtime: Handle::current(),
        };
        thread("offline", move || archivist.run())
    });
    let (workers_of_partitions, partitions) = (senders.clone(), partitions.len());
    let feeder = Feeder { shared: Arc::clone(shared), source, workers: workers_of_partitions, partitions, patience };
    Ok(Some(Parts {
        version,
        drain,
        versions,
        feeder: Some(thread("source", move || feeder.run())?),
        workers,
        senders,
        publisher,
        archivist: archivist.transpose()?,
        outboxes,
        asked_to_publish: false,
        has_online: online.is_some(),
    }))
}

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let built = std::thread::Builder::new().name(name.to_string()).spawn(work);
    built.map_err(|e| Error::state(format!("thread {name} cannot be started: {e}; raise the process limits")))
}

/// The online store first: it is the quickest to say that it is not there.
async fn open_outside(
    settings: &Settings,
    plan: &Plan,
    version: &Version,
    stop: &watch::Receiver<bool>,
) -> Result<Outside> {
    let online = open_online(settings, plan).await?;
    let (source, log, topic_id) = open_source(settings, plan, stop).await?;
    let mut version = version.clone();
    check_topic(&mut version, &log, topic_id)?;
    let partitions: Vec<i32> = log.iter().map(|info| info.partition).collect();
    let writer = match settings.offline.store {
        OfflineKind::None => None,
        OfflineKind::Delta => Some(OfflineWriter::open(&settings.offline, plan, version.number, &partitions).await?),
    };
    Ok(Outside { version, source, log, online, writer })
}

type Source = (KafkaSource, Vec<PartitionInfo>, Option<String>);

/// The source, what its log holds, and the topic's id. A thread of its own asks, and hears the stop too.
async fn open_source(settings: &Settings, plan: &Plan, stop: &watch::Receiver<bool>) -> Result<Source> {
    let group = settings.kafka.group.replace("{topology}", &plan.topology);
    let (settings, topic, stop) = (settings.kafka.clone(), plan.source.topic.clone(), stop.clone());
    let open = move || {
        let source = KafkaSource::open_unless(&settings, &topic, &group, &|| *stop.borrow())?;
        let (log, handle) = (source.describe()?, source.handle());
        Ok((source, log, handle.topic_id()))
    };
    let opened = tokio::task::spawn_blocking(open).await;
    opened.map_err(|e| Error::internal(format!("opening the source: {e}")))?
}

/// The online store that the settings name; `None` for none.
///
/// # Errors
/// Unavailable or refused, with the remedy.
pub async fn open_online(settings: &Settings, plan: &Plan) -> Result<Option<Arc<dyn OnlineStore>>> {
    Ok(match settings.online.store {
        OnlineKind::None => None,
        OnlineKind::Redis => {
            let store = online::RedisStore::connect(&settings.online.redis, &plan.topology, &plan.entities).await?;
            Some(Arc::new(store))
        }
        OnlineKind::Embedded => {
            let path = embedded_dir(&settings.data_dir, &plan.topology);
            let store = RocksStore::open(&path, &RocksShared::new(64 << 20, 64 << 20, 64))?;
            Some(Arc::new(online::EmbeddedStore::new(Box::new(store), Box::new(clock::now))))
        }
    })
}

/// Where the embedded online store of a topology lives.
pub fn embedded_dir(data_dir: &Path, topology: &str) -> std::path::PathBuf {
    folder(data_dir, topology).join("online")
}

/// The topic must be the one that the version began with.
fn check_topic(version: &mut Version, log: &[PartitionInfo], topic_id: Option<String>) -> Result<()> {
    if version.partitions == 0 {
        (version.partitions, version.topic_id) = (log.len(), topic_id);
        return Ok(());
    }
    if version.partitions != log.len() {
        return Err(partitions_changed(version.partitions, log.len()));
    }
    match (&version.topic_id, topic_id) {
        (Some(before), Some(now)) if *before != now => Err(Error::refused(format!(
            "the topic was deleted and created again (its id was {before} and is {now}): offsets mean other records now. \
             Run with --replay-from 0 --again to rebuild from the new topic, or point data_dir elsewhere"
        ))),
        _ => Ok(()),
    }
}

fn check_position(plan: &Plan, info: &PartitionInfo, next_offset: i64, start_offset: i64) -> Result<()> {
    let (topic, PartitionInfo { partition, low, high }) = (&plan.source.topic, info);
    if next_offset > *high {
        return Err(Error::refused(format!(
            "{topic}, partition {partition}: the state is at offset {next_offset} and the log ends at {high}: the topic was \
             recreated or truncated. Run with --replay-from 0 --again to rebuild from it, or point data_dir elsewhere"
        )));
    }
    if next_offset >= *low {
        return Ok(());
    }
    let lost = low - next_offset;
    Err(Error::refused(if next_offset == start_offset && next_offset == 0 {
        format!(
            "{topic}, partition {partition}: the log begins at offset {low}, not 0: {lost} records are gone, so windows \
             and totals could not be whole. Say --replay-from earliest to begin with what is left"
        )
    } else {
        format!(
            "{topic}, partition {partition}: the state is at offset {next_offset} and the log begins at {low}: {lost} \
             records were deleted before they were read. Say --replay-from earliest --again to rebuild from what is left, \
             and lengthen the topic's retention"
        )
    }))
}

fn open_tasks(
    plan: &Arc<Plan>,
    settings: &Settings,
    versions: &Versions,
    version: &Version,
    log: &[PartitionInfo],
    metrics: &Metrics,
) -> Result<Vec<Running>> {
    let bounds = &settings.bounds;
    let shared = RocksShared::new(bounds.block_cache_bytes, bounds.write_buffer_bytes, bounds.open_files);
    let cache_bytes = bounds.cache_bytes as usize / log.len().max(1);
    let limits = Limits { epoch_rows: settings.epoch.max_rows, cache_bytes };
    let open = |info: &PartitionInfo| {
        let store = Arc::new(RocksStore::open(&versions.state_dir(version.number, info.partition), &shared)?);
        let start = match version.start {
            ReplayFrom::Beginning => 0,
            ReplayFrom::Earliest => info.low,
        };
        let task = Task::open(Arc::clone(plan), info.partition, Arc::clone(&store), start, limits)?;
        let head = task.meta().epoch;
        let outbox = Outbox::open(info.partition, Arc::clone(&store), head, bounds.outbox_bytes)?;
        Ok(Running::new(task, store, Arc::new(outbox), info.high, metrics))
    };
    log.iter().map(open).collect()
}

type Threads = (Vec<JoinHandle<()>>, BTreeMap<i32, SyncSender<Command>>);

fn spawn_workers(
    plan: &Arc<Plan>,
    settings: &Settings,
    shared: &Arc<Shared>,
    metrics: &Metrics,
    tasks: Vec<Running>,
    jobs: &mpsc::Sender<super::online::Job>,
) -> Result<Threads> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let count = if settings.workers == 0 { cores } else { settings.workers }.min(tasks.len()).max(1);
    let mut shares: Vec<Vec<Running>> = (0..count).map(|_| Vec::new()).collect();
    for (index, running) in tasks.into_iter().enumerate() {
        shares[index % count].push(running);
    }
    let idle_after = settings.idle_after.map(|span| Duration::from_millis(span.millis().max(0) as u64));
    let (mut threads, mut senders) = (Vec::new(), BTreeMap::new());
    for (index, share) in shares.into_iter().enumerate() {
        let (sender, commands) = sync_channel(QUEUE);
        for running in &share {
            senders.insert(running.task.partition(), sender.clone());
        }
        let (plan, shared) = (Arc::clone(plan), Arc::clone(shared));
        let (epoch, jobs, metrics) = (settings.epoch.clone(), jobs.clone(), metrics.clone());
        let worker = Worker::new(plan, shared, epoch, idle_after, jobs, metrics, share);
        threads.push(thread(&format!("worker-{index}"), move || worker.run(&commands))?);
    }
    Ok((threads, senders))
}
