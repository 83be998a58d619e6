//! One version's parts: brought up, fenced or open, and taken down again.
//!
//! ```text
//! feeder (one thread) -> workers (tasks by partition) -> outboxes -> online publisher (one thread)
//!                                                                 -> offline writer (one thread)
//! ```
//! and a watcher (one thread) beside the feeder. A version shares no thread of its own with another one, so that one
//! that writes much holds up no one that serves. It ends in that order: intake first, then workers with their last
//! epoch, then the sinks within a deadline.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use super::clock;
use super::feeder::{Feeder, Pace};
use super::offline::Archivist;
use super::online::{Job, Publisher};
use super::origin;
use super::outbox::{Cursor, Outbox};
use super::priority::Rank;
use super::refusals::{check_position, check_starts, check_topic};
use super::replay_from::ReplayFrom;
use super::shared::{Drain, Shared};
use super::spot::SpotChecks;
use super::tidier::Tidier;
use super::versions::{Held, Standing, Version, Versions, folder};
use super::watcher::Watcher;
use super::worker::{Command, Running, Worker};
use crate::config::{OfflineKind, OnlineKind, Settings};
use crate::error::{Error, Result};
use crate::metrics::Metrics;
use crate::sink::offline::OfflineWriter;
use crate::sink::online::{self, OnlineStore};
use crate::source::{KafkaSource, PartitionInfo, Source, Topic};
use crate::state::{RocksShared, RocksStore};
use crate::task::{Limits, Task};
use crate::topology::Plan;

/// Batches that wait for a worker.
const QUEUE: usize = 16;
/// Pages that wait for the online publisher.
const JOBS: usize = 16;

/// What every pipeline of a process shares.
#[derive(Clone)]
pub struct House {
    pub settings: Arc<Settings>,
    pub rocks: RocksShared,
    /// The embedded online store is opened once for all.
    pub embedded: Option<Arc<dyn OnlineStore>>,
    pub stop: watch::Receiver<bool>,
}

/// How a version is to be run.
pub struct Orders {
    pub plan: Arc<Plan>,
    /// The right to run it.
    pub claim: Held,
    /// Partitions that another version has taken over from this one, the live one.
    pub taken: Vec<i32>,
    pub metrics: Metrics,
    /// Records a second at most; `None`: as fast as it goes.
    pub max_rate: Option<u64>,
    /// How long what does not answer is waited for; `None` for ever.
    pub patience: Option<Duration>,
}

/// A version that runs.
pub struct Pipeline {
    pub version: Version,
    pub plan: Arc<Plan>,
    pub shared: Arc<Shared>,
    pub metrics: Metrics,
    pub online: Option<Arc<dyn OnlineStore>>,
    drain: watch::Sender<Drain>,
    /// The threads that end first: feeder, watcher and workers.
    intake: Vec<JoinHandle<()>>,
    senders: BTreeMap<i32, SyncSender<Command>>,
    jobs: mpsc::Sender<Job>,
    /// The threads that end last.
    sinks: Vec<JoinHandle<()>>,
    outboxes: Vec<Arc<Outbox>>,
    stores: BTreeMap<i32, Arc<RocksStore>>,
    /// When, and at how many records, its rate was told last.
    told: (Instant, u64),
    _claim: Held,
}

/// What lies outside the process, open.
pub struct Outside {
    pub version: Version,
    source: Source,
    log: Vec<PartitionInfo>,
    /// Where each partition begins when its state is new.
    starts: BTreeMap<i32, i64>,
    online: Option<Arc<dyn OnlineStore>>,
    writer: Option<OfflineWriter>,
}

impl Outside {
    /// Opens the online store first: it is the quickest to say that it is not there.
    ///
    /// # Errors
    /// Configuration, refused or unavailable; nothing has been read then.
    pub async fn open(
        house: &House,
        versions: &Versions,
        plan: &Plan,
        version: &Version,
        metrics: &Metrics,
    ) -> Result<Self> {
        let online = match &house.embedded {
            Some(store) => Some(Arc::clone(store)),
            None => open_online(&house.settings, plan).await?,
        };
        let serves = version.standing == Standing::Live;
        let asked = open_source(house, plan, version.start.clone(), serves).await;
        metrics.source_up().set_flag(asked.is_ok());
        let Asked { source, log, mut starts, topic } = asked?;
        let (mut version, is_new) = (version.clone(), version.partitions == 0);
        check_topic(plan, versions, &mut version, &topic, &log)?;
        let source = origin::with_past(&house.settings, plan, &version, source).await?;
        if matches!(version.start, ReplayFrom::Archive | ReplayFrom::Redrive(_)) {
            let first = |info: &PartitionInfo| Some((info.partition, source.first_offset(info.partition)?));
            starts.extend(log.iter().filter_map(first));
        }
        if is_new {
            check_starts(plan, &source, &log, &starts)?;
        }
        let partitions: Vec<i32> = log.iter().map(|info| info.partition).collect();
        let offline = &house.settings.offline;
        let writer = match offline.store {
            OfflineKind::None => None,
            OfflineKind::Delta => Some(OfflineWriter::open(offline, plan, version.number, &partitions).await?),
        };
        Ok(Self { version, source, log, starts, online, writer })
    }
}

struct Asked {
    source: KafkaSource,
    log: Vec<PartitionInfo>,
    starts: BTreeMap<i32, i64>,
    topic: Topic,
}

/// A thread of its own asks, and hears the stop too. The client's threads have the rank of the thread that makes them.
async fn open_source(house: &House, plan: &Plan, start: ReplayFrom, serves: bool) -> Result<Asked> {
    let settings = house.settings.kafka.clone();
    let group = settings.group.replace("{topology}", &plan.topology);
    let (topic, stop) = (plan.source.topic.clone(), house.stop.clone());
    let (answer, asked) = oneshot::channel();
    let open = move || {
        Rank::default().follow(serves);
        let open = || {
            let source = KafkaSource::open_unless(&settings, &topic, &group, &|| *stop.borrow())?;
            let (log, handle) = (source.describe()?, source.handle());
            let starts = starts(&source, &log, &start)?;
            Ok(Asked { source, log, starts, topic: handle.about() })
        };
        // Whoever asked may have ended.
        let _ = answer.send(open());
    };
    thread("source-open", open)?;
    asked.await.unwrap_or_else(|_| Err(Error::internal("opening the source: its thread ended")))
}

/// Where each partition begins.
fn starts(source: &KafkaSource, log: &[PartitionInfo], start: &ReplayFrom) -> Result<BTreeMap<i32, i64>> {
    let partitions: Vec<i32> = log.iter().map(|info| info.partition).collect();
    Ok(match start {
        ReplayFrom::Beginning => partitions.iter().map(|&partition| (partition, 0)).collect(),
        // Of what has a past the first record may lie before the log.
        ReplayFrom::Earliest | ReplayFrom::Archive | ReplayFrom::Redrive(_) => {
            log.iter().map(|info| (info.partition, info.low)).collect()
        }
        ReplayFrom::Time(time) => source.handle().offsets_at(&partitions, *time)?.into_iter().collect(),
        ReplayFrom::Offsets(offsets) => {
            if let Some(unknown) = offsets.keys().find(|partition| !partitions.contains(partition)) {
                return Err(Error::configuration(format!(
                    "--replay-from {start}: there is no partition {unknown}; the topic has {} of them, from 0",
                    partitions.len()
                )));
            }
            partitions.iter().map(|partition| (*partition, offsets.get(partition).copied().unwrap_or(0))).collect()
        }
    })
}

impl Pipeline {
    /// Records a second since this was asked last.
    pub fn rate(&mut self) -> f64 {
        let (now, records) = (Instant::now(), self.shared.records());
        let (since, before) = std::mem::replace(&mut self.told, (now, records));
        let seconds = now.duration_since(since).as_secs_f64();
        if seconds > 0.0 { (records - before) as f64 / seconds } else { 0.0 }
    }

    /// Opens the state, and starts the threads.
    ///
    /// # Errors
    /// Refused: the log does not have what comes next. State: the disk. Nothing has been read then.
    pub fn start(house: &House, versions: &Versions, orders: Orders, outside: Outside) -> Result<Self> {
        let Orders { plan, claim, taken, metrics, max_rate, patience, .. } = orders;
        let Outside { version, mut source, log, starts, online, writer } = outside;
        let (settings, shared) = (Arc::clone(&house.settings), Arc::new(Shared::default()));
        shared.set_live(version.standing == Standing::Live);
        let partitions = log.len();
        let tasks = open_tasks(house, &plan, versions, &version, &log, &starts, &metrics)?;
        let mut positions = Vec::new();
        for (running, info) in tasks.iter().zip(&log) {
            let (partition, meta) = (running.task.partition(), running.task.meta());
            if !source.has_all_from(partition, meta.next_offset)? {
                check_position(&plan, info, meta.next_offset, meta.start_offset)?;
            }
            positions.push((partition, meta.next_offset));
            shared.update(partition, |standing| {
                (standing.target, standing.end) = (info.high, info.high);
                (standing.start_offset, standing.next_offset) = (meta.start_offset, meta.next_offset);
                standing.watermark = meta.watermark;
            });
        }
        shared.set_redriven(source.redriven());
        source.assign(&positions)?;
        shared.set_started();
        let outboxes: Vec<_> = tasks.iter().map(|running| Arc::clone(&running.outbox)).collect();
        let stores = tasks.iter().map(|running| (running.task.partition(), Arc::clone(&running.store))).collect();
        for outbox in &outboxes {
            outbox.set_fenced(version.standing != Standing::Live || taken.contains(&outbox.partition()));
            if online.is_none() {
                outbox.without(Cursor::Online);
            }
            if writer.is_none() {
                outbox.without(Cursor::Offline);
            }
        }
        let (drain, draining) = watch::channel(Drain::default());
        let (jobs, job_queue) = mpsc::channel(JOBS);
        let (mut intake, senders) = spawn_workers(&plan, &settings, &shared, &metrics, tasks, &jobs)?;
        let (mut sinks, runtime) = (Vec::new(), Handle::current());
        if let Some(store) = online.clone() {
            shared.set_online(Arc::clone(&store));
            // Until the publisher has asked it.
            shared.set_refilling(version.standing == Standing::Live);
            let identity = (version.generation, version.number);
            let (plan, shared, outboxes) = (Arc::clone(&plan), Arc::clone(&shared), outboxes.clone());
            let publisher = Publisher::new(plan, shared, store, identity, outboxes, metrics.clone(), draining.clone());
            let runtime = runtime.clone();
            sinks.push(thread("online", move || runtime.block_on(publisher.run(job_queue)))?);
        }
        if let Some(writer) = writer {
            let count = settings.offline.check_entities;
            let checks =
                online.as_ref().and_then(|store| SpotChecks::new(&plan, store, version.number, count, &metrics));
            let archivist = Archivist {
                plan: Arc::clone(&plan),
                shared: Arc::clone(&shared),
                settings: settings.offline.clone(),
                writer,
                outboxes: outboxes.clone(),
                metrics: metrics.clone(),
                checks,
                draining: draining.clone(),
                runtime: runtime.clone(),
            };
            sinks.push(thread("offline", move || archivist.run())?);
            if settings.offline.compact_interval.is_some() {
                let (plan, shared, settings) = (Arc::clone(&plan), Arc::clone(&shared), settings.offline.clone());
                let (version, metrics) = (version.number, metrics.clone());
                let tidier = Tidier { plan, version, shared, settings, metrics, draining, runtime };
                sinks.push(thread("tidy", move || tidier.run())?);
            }
        }
        let watcher = Watcher {
            shared: Arc::clone(&shared),
            topic: source.handle(),
            partitions,
            topic_id: version.topic_id.clone(),
            patience,
            up: metrics.source_up(),
        };
        intake.push(thread("source-watch", move || watcher.run())?);
        let feeder = Feeder {
            shared: Arc::clone(&shared),
            source,
            workers: senders.clone(),
            poll_records: settings.kafka.poll_records,
            pace: Pace::of(max_rate),
        };
        intake.push(thread("source", move || feeder.run())?);
        Ok(Self {
            version,
            plan,
            shared,
            metrics,
            online,
            drain,
            intake,
            senders,
            jobs,
            sinks,
            outboxes,
            stores,
            told: (Instant::now(), 0),
            _claim: claim,
        })
    }

    /// The partitions.
    pub fn partitions(&self) -> Vec<i32> {
        self.outboxes.iter().map(|outbox| outbox.partition()).collect()
    }

    /// The outbox of a partition.
    pub fn outbox(&self, partition: i32) -> Option<&Arc<Outbox>> {
        self.outboxes.iter().find(|outbox| outbox.partition() == partition)
    }

    /// The state of a partition.
    pub fn store(&self, partition: i32) -> Option<Arc<RocksStore>> {
        self.stores.get(&partition).cloned()
    }

    /// Tells the publisher; false when it has ended.
    pub async fn tell(&self, job: Job) -> bool {
        self.jobs.send(job).await.is_ok()
    }

    /// Ends it: nothing more is read, what is folded is committed, and the sinks get until `deadline`.
    pub async fn end(&mut self, deadline: Instant) {
        self.shared.stop();
        self.drain.send_replace(Drain { deadline: Some(deadline), finish: false });
        self.senders.clear();
        join(std::mem::take(&mut self.intake)).await;
        self.drain.send_replace(Drain { deadline: Some(deadline), finish: true });
        join(std::mem::take(&mut self.sinks)).await;
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

fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    let built = std::thread::Builder::new().name(name.to_string()).spawn(work);
    built.map_err(|e| Error::state(format!("thread {name} cannot be started: {e}; raise the process limits")))
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

fn open_tasks(
    house: &House,
    plan: &Arc<Plan>,
    versions: &Versions,
    version: &Version,
    log: &[PartitionInfo],
    starts: &BTreeMap<i32, i64>,
    metrics: &Metrics,
) -> Result<Vec<Running>> {
    let bounds = &house.settings.bounds;
    let cache_bytes = bounds.cache_bytes as usize / log.len().max(1);
    let limits = Limits { epoch_rows: house.settings.epoch.max_rows, cache_bytes };
    let open = |info: &PartitionInfo| {
        let store = Arc::new(RocksStore::open(&versions.state_dir(version.number, info.partition), &house.rocks)?);
        let start = starts.get(&info.partition).copied().unwrap_or(info.low);
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
    jobs: &mpsc::Sender<Job>,
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
