//! Every version that a process runs: brought up, watched, switched, taken down.
//!
//! The registry says what is to be; this makes it so. The live version runs, and each other one that is to be fed: one
//! that is being built reads the past behind a fence, one that was live goes on behind it. A version that another
//! process runs is left to it. Whatever goes wrong with a version that does not serve, the one that serves goes on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::board::Board;
use super::patience::patiently;
use super::pipeline::{House, Orders, Outside, Pipeline, open_online};
use super::versions::{Choice, Standing, Version, Versions};
use super::{RunOptions, RunSummary};
use crate::config::{OnlineKind, Settings};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::{Metrics, VersionSeen};
use crate::state::RocksShared;
use crate::topology::Plan;

/// How often the registry is read for what commands have written.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How often the metrics of the versions are set.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);
/// The pause before a version that failed is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));
/// A round of catching up that took no longer than this leaves a lag near zero.
const SHORT_ROUND: Duration = Duration::from_secs(5);
/// How long bounded work may take to store what it has folded.
const LONG_DRAIN: Duration = Duration::from_secs(600);

/// The versions that a process runs.
pub struct Fleet {
    pub(super) board: Arc<Board>,
    pub(super) house: House,
    pub(super) versions: Versions,
    pub(super) pipelines: BTreeMap<u32, Pipeline>,
    /// The topology of the command line.
    given: Arc<Plan>,
    options: RunOptions,
    /// The version that this run is to build.
    target: Option<u32>,
    /// The version that serves, when it cannot go on: the one that is built takes over without it.
    pub(super) stranded: Option<u32>,
    metrics: Metrics,
    failed: BTreeMap<u32, Failed>,
    rounds: BTreeMap<u32, Round>,
    looked: Instant,
    shown: Instant,
    /// What the last version here that was ended had done.
    ended: Option<RunSummary>,
}

/// A version that failed, and when it is tried again.
struct Failed {
    pause: Duration,
    again_at: Option<Instant>,
}

/// One round of catching up: to where the log ended when it began.
struct Round {
    began: Instant,
    goals: BTreeMap<i32, i64>,
}

/// What became of a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Started {
    Runs,
    /// Another process has it.
    Elsewhere,
    /// The run was stopped first.
    Stopped,
    /// It serves, and cannot go on.
    Stranded,
}

impl Fleet {
    /// Brings up what the registry and the options ask for; `None` when the run is to stop before that.
    ///
    /// # Errors
    /// Configuration, refused, unavailable (bounded work alone) or state: nothing has been read then.
    pub async fn open(
        plan: Plan,
        settings: Settings,
        options: RunOptions,
        metrics: Metrics,
        board: Arc<Board>,
        stop: watch::Receiver<bool>,
    ) -> Result<Option<Self>> {
        let given = Arc::new(plan);
        let versions = Versions::open(&settings.data_dir, &given.topology)?;
        let choice = versions.choose(&given, options.replay_from.as_ref(), options.again)?;
        let bounds = &settings.bounds;
        let rocks = RocksShared::new(bounds.block_cache_bytes, bounds.write_buffer_bytes, bounds.open_files);
        let embedded = match settings.online.store {
            OnlineKind::Embedded => open_online(&settings, &given).await?,
            _ => None,
        };
        let (house, now) = (House { settings: Arc::new(settings), rocks, embedded, stop }, Instant::now());
        let mut fleet = Self {
            board,
            house,
            versions,
            pipelines: BTreeMap::new(),
            given,
            options,
            target: None,
            stranded: None,
            metrics,
            failed: BTreeMap::new(),
            rounds: BTreeMap::new(),
            looked: now,
            shown: now,
            ended: None,
        };
        Ok(if fleet.start_chosen(choice).await? { Some(fleet) } else { None })
    }

    /// False when the run is to stop first.
    async fn start_chosen(&mut self, choice: Choice) -> Result<bool> {
        let live = match &choice {
            Choice::Live(version) => version.clone(),
            Choice::Build(_) | Choice::Done(_) => {
                let live = self.versions.live().cloned();
                live.ok_or_else(|| Error::internal("a version is built and none is live"))?
            }
        };
        let is_replaced = matches!(choice, Choice::Build(_));
        let serves = match self.start(live.clone()).await {
            Err(error) if is_replaced && error.kind() == ErrorKind::Refused => self.strand(live.number, &error)?,
            started => started?,
        };
        if serves == Started::Stopped {
            return Ok(false);
        }
        match choice {
            Choice::Build(version) => {
                self.target = Some(version.number);
                let started = self.start(version.clone()).await?;
                if started == Started::Elsewhere {
                    return Err(elsewhere(version.number));
                }
                if started == Started::Runs {
                    self.set_aside_others(version.number)?;
                }
                Ok(started == Started::Runs)
            }
            Choice::Done(version) => {
                let (number, standing) = (version.number, version.standing.name());
                tracing::info!(
                    "version {number} is this replay's, and {standing}: nothing to do. kappa promote {number} makes it \
                     live, --again builds it anew"
                );
                Ok(true)
            }
            Choice::Live(version) if serves == Started::Elsewhere => Err(elsewhere(version.number)),
            Choice::Live(_) => Ok(true),
        }
    }

    /// The version that is built is wanted, and another one that was being built is not any more.
    fn set_aside_others(&mut self, number: u32) -> Result<()> {
        let promote = self.options.promote;
        self.versions.change(|versions| {
            let others: Vec<u32> = versions.all().iter().filter(|v| v.number != number).map(|v| v.number).collect();
            for other in others {
                versions.edit(other, |version| version.paused |= version.standing == Standing::Building);
            }
            if promote { versions.want(number) } else { Ok(()) }
        })
    }

    fn patience(&self) -> Option<Duration> {
        let bound = Duration::from_millis(self.house.settings.start_timeout.millis().max(0) as u64);
        self.options.until_caught_up.then_some(bound)
    }

    /// The topology of a version: the one given, when it means the same, since where values are shown may differ.
    fn plan_of(&self, version: &Version) -> Result<Arc<Plan>> {
        if self.given.fingerprint == version.fingerprint {
            return Ok(Arc::clone(&self.given));
        }
        self.versions.plan(version.number).map(Arc::new)
    }

    async fn start(&mut self, version: Version) -> Result<Started> {
        let Some(claim) = self.versions.claim(version.number)? else { return Ok(Started::Elsewhere) };
        let plan = self.plan_of(&version)?;
        let (patience, board, stop) = (self.patience(), Arc::clone(&self.board), self.house.stop.clone());
        let attempt = || Outside::open(&self.house, &self.versions, &plan, &version, &self.metrics);
        let opened = patiently(&board, &stop, patience, attempt).await?;
        let Some(outside) = opened else { return Ok(Started::Stopped) };
        let version = outside.version.clone();
        let serves = version.standing == Standing::Live;
        let metrics = if serves { self.metrics.clone() } else { self.metrics.beside() };
        let max_rate = if serves { None } else { self.options.max_rate };
        let taken = self.versions.all().iter().flat_map(|other| other.cut.keys().copied()).collect();
        let orders = Orders { plan: Arc::clone(&plan), claim, taken, metrics, max_rate, patience };
        let pipeline = Pipeline::start(&self.house, &self.versions, orders, outside)?;
        self.board.put(&version, &pipeline.shared);
        self.pipelines.insert(version.number, pipeline);
        self.versions.keep_plan(version.number, &plan)?;
        self.versions.change(|versions| {
            match versions.get(version.number).cloned() {
                // Commands may have changed the rest meanwhile.
                Some(_) => versions.edit(version.number, |known| {
                    (known.partitions, known.topic_id) = (version.partitions, version.topic_id.clone());
                    known.failure = None;
                }),
                None => versions.put(&version),
            }
            Ok(())
        })?;
        tracing::info!(version = version.number, standing = version.standing.name(), "a version runs");
        Ok(Started::Runs)
    }

    /// Watches until the work is done or the run is to stop, then takes everything down.
    ///
    /// # Errors
    /// The failure that ends the process; everything committed before it stays.
    pub async fn run(mut self) -> Result<RunSummary> {
        let grace = Duration::from_millis(self.house.settings.bounds.shutdown.millis().max(0) as u64);
        let outcome = self.watch().await;
        if let Err(error) = &outcome {
            self.board.fail(error.clone());
        }
        let bounded = matches!(outcome, Ok(true));
        let deadline = Instant::now() + if bounded { LONG_DRAIN } else { grace };
        futures::future::join_all(self.pipelines.values_mut().map(|pipeline| pipeline.end(deadline))).await;
        let summary = self.summary();
        outcome?;
        let failures = self.pipelines.values().filter(|pipeline| self.must_work(pipeline.version.number));
        match failures.filter_map(|pipeline| pipeline.shared.failure()).next() {
            Some(error) => Err(error),
            None => Ok(summary),
        }
    }

    /// True when bounded work is done, false when the run was stopped.
    async fn watch(&mut self) -> Result<bool> {
        let mut stop = self.house.stop.clone();
        loop {
            if *stop.borrow() {
                return Ok(false);
            }
            self.see_failures().await?;
            if self.looked.elapsed() >= LOOK_INTERVAL {
                self.looked = Instant::now();
                self.follow_registry().await?;
            }
            self.catch_up()?;
            if let Some(number) = self.due() {
                self.cut_over(number).await?;
            }
            if self.shown.elapsed() >= SHOW_INTERVAL {
                self.shown = Instant::now();
                self.show();
            }
            if self.is_done().await? {
                return Ok(true);
            }
            tokio::select! {
                _ = stop.changed() => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    }

    /// The version that serves must work, and in bounded work the one that is built, too.
    fn must_work(&self, number: u32) -> bool {
        let serves = self.pipelines.get(&number).is_some_and(|p| p.version.standing == Standing::Live);
        serves || (self.target == Some(number) && (self.options.until_caught_up || self.live().is_none()))
    }

    async fn see_failures(&mut self) -> Result<()> {
        let failed = self.pipelines.iter().filter_map(|(number, p)| Some((*number, p.shared.failure()?)));
        for (number, error) in failed.collect::<Vec<_>>() {
            if self.must_work(number) {
                return Err(error);
            }
            self.give_up(number, &error).await?;
        }
        Ok(())
    }

    /// Ends a version that failed while another serves; what time can mend is tried again.
    async fn give_up(&mut self, number: u32, error: &Error) -> Result<()> {
        self.end(number).await;
        let pause = self.failed.get(&number).map_or(PAUSES.0, |failed| (failed.pause * 2).min(PAUSES.1));
        let passes = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::State);
        let again_at = passes.then(|| Instant::now() + pause);
        tracing::error!(version = number, again = ?again_at.map(|_| pause), "a version that does not serve stopped: {error}");
        self.failed.insert(number, Failed { pause, again_at });
        self.versions.change(|versions| {
            versions.edit(number, |version| version.failure = Some(error.to_string()));
            Ok(())
        })
    }

    async fn end(&mut self, number: u32) {
        if let Some(mut pipeline) = self.pipelines.remove(&number) {
            pipeline.end(Instant::now() + LONG_DRAIN).await;
            self.ended = Some(summary_of(&pipeline));
        }
        self.board.remove(number);
        self.metrics.forget_version(number);
        self.rounds.remove(&number);
    }

    /// Does what commands have written.
    async fn follow_registry(&mut self) -> Result<()> {
        self.versions.refresh()?;
        let gone = |number: &u32| self.versions.get(*number).is_none_or(|version| !version.is_fed());
        let running: Vec<u32> = self.pipelines.keys().copied().collect();
        for number in running.into_iter().filter(gone).collect::<Vec<_>>() {
            if self.pipelines[&number].version.standing != Standing::Live {
                self.end(number).await;
            }
        }
        for version in self.versions.all().to_vec() {
            let runs = self.pipelines.contains_key(&version.number);
            if version.dropped && !runs {
                self.drop_version(version.number)?;
            } else if !runs && self.is_to_run(&version) {
                self.start_beside(version).await?;
            }
        }
        Ok(())
    }

    fn drop_version(&mut self, number: u32) -> Result<()> {
        if let Some(_claim) = self.versions.claim(number)? {
            self.versions.change(|versions| versions.remove(number))?;
            tracing::info!(version = number, "dropped");
        }
        Ok(())
    }

    /// Versions beside the one that serves here. Bounded work does not feed those that are done.
    fn is_to_run(&self, version: &Version) -> bool {
        let asked = self.versions.wanted() == Some(version.number) || !self.options.until_caught_up;
        let held = self.failed.get(&version.number).is_some_and(|f| f.again_at.is_none_or(|at| at > Instant::now()));
        let resumed = version.failure.is_none();
        version.is_fed() && version.standing != Standing::Live && asked && self.live().is_some() && (!held || resumed)
    }

    async fn start_beside(&mut self, version: Version) -> Result<()> {
        let number = version.number;
        match self.start(version).await {
            Ok(_) => Ok(()),
            Err(error) => self.give_up(number, &error).await,
        }
    }

    /// The version that serves, if it runs here.
    pub(super) fn live(&self) -> Option<&Pipeline> {
        self.pipelines.values().find(|pipeline| pipeline.version.standing == Standing::Live)
    }

    /// A version that has caught up with the log is ready.
    fn catch_up(&mut self) -> Result<()> {
        let building = self.pipelines.values().filter(|pipeline| pipeline.version.standing == Standing::Building);
        for number in building.map(|pipeline| pipeline.version.number).collect::<Vec<_>>() {
            let shared = Arc::clone(&self.pipelines[&number].shared);
            if shared.caught_up() && self.is_near(number) {
                let (seconds, records) = (shared.seconds(), shared.records());
                self.versions.change(|versions| {
                    versions.edit(number, |version| {
                        version.standing = Standing::Ready;
                        if seconds > 0.0 && records > 0 {
                            version.built_at_rate = Some(records as f64 / seconds);
                        }
                    });
                    Ok(())
                })?;
                tracing::info!(version = number, records, seconds, "caught up");
                self.put_on_board(number);
            }
        }
        Ok(())
    }

    /// Whether a version that has come to where the log ended once is near its present end. It goes up to each end in
    /// rounds: a short one leaves little.
    fn is_near(&mut self, number: u32) -> bool {
        let partitions = self.pipelines[&number].shared.partitions();
        let goals = || partitions.iter().map(|(partition, standing)| (*partition, standing.end)).collect();
        let round = self.rounds.entry(number).or_insert_with(|| Round { began: Instant::now(), goals: goals() });
        let reached = |(partition, goal): (&i32, &i64)| {
            partitions.get(partition).is_some_and(|standing| standing.next_offset >= *goal)
        };
        if !round.goals.iter().all(reached) {
            return false;
        }
        let short = round.began.elapsed() <= SHORT_ROUND;
        *round = Round { began: Instant::now(), goals: goals() };
        short
    }

    /// The wanted version, when it can take over here: it is near the end of the log, so that nothing stands still while
    /// it passes where the one that serves was fenced.
    fn due(&mut self) -> Option<u32> {
        let number = self.versions.wanted()?;
        let pipeline = self.pipelines.get(&number)?;
        let can = matches!(pipeline.version.standing, Standing::Ready | Standing::Retired);
        let is_its_turn = self.live().is_some() || self.stranded.is_some();
        (can && is_its_turn && pipeline.shared.caught_up() && self.is_near(number)).then_some(number)
    }

    /// Copies what the registry says of a version to where it runs.
    pub(super) fn put_on_board(&mut self, number: u32) {
        if let (Some(version), Some(pipeline)) = (self.versions.get(number), self.pipelines.get_mut(&number)) {
            pipeline.version = version.clone();
            self.board.put(version, &pipeline.shared);
        }
    }

    /// Whether the work of a run that has an end is done.
    async fn is_done(&mut self) -> Result<bool> {
        if self.live().is_none() && self.stranded.is_none() {
            return self.hand_over().await;
        }
        let is_switching = self.versions.wanted().is_some_and(|wanted| !self.failed.contains_key(&wanted));
        if !self.options.until_caught_up || (is_switching && self.options.promote) {
            return Ok(false);
        }
        let settled = |pipeline: &Pipeline| pipeline.shared.caught_up() && !pipeline.shared.is_refilling();
        Ok(match self.target.and_then(|number| self.pipelines.get(&number)) {
            Some(target) if !self.options.promote => target.version.standing != Standing::Building,
            Some(target) => target.version.standing == Standing::Live && settled(target),
            None => self.live().is_some_and(settled),
        })
    }

    /// The version that serves runs in another process: what is ready here is left to that one, which takes over.
    async fn hand_over(&mut self) -> Result<bool> {
        let Some(number) = self.target else { return Ok(true) };
        let is_ready = self.pipelines.get(&number).is_some_and(|p| p.version.standing == Standing::Ready);
        if is_ready {
            self.end(number).await;
            tracing::info!(version = number, "ready; the process that runs the live version takes over");
            return Ok(!self.options.promote);
        }
        if self.pipelines.contains_key(&number) {
            return Ok(false);
        }
        self.versions.refresh()?;
        Ok(self.versions.get(number).is_none_or(|version| version.standing == Standing::Live))
    }

    fn show(&mut self) {
        for (number, pipeline) in &mut self.pipelines {
            let rate = pipeline.rate();
            let (done, total) = pipeline.shared.progress();
            let progress = if total == 0 { 1.0 } else { done as f64 / total as f64 };
            let seen = VersionSeen { lag: pipeline.shared.lag(), progress, rate };
            self.metrics.set_version(*number, pipeline.version.standing.name(), &seen);
        }
    }

    fn summary(&self) -> RunSummary {
        let number = self.target.or_else(|| self.live().map(|live| live.version.number));
        let pipeline = number.and_then(|number| self.pipelines.get(&number));
        pipeline.map(summary_of).or_else(|| self.ended.clone()).unwrap_or_default()
    }
}

fn summary_of(pipeline: &Pipeline) -> RunSummary {
    let (shared, partitions) = (&pipeline.shared, pipeline.shared.partitions());
    RunSummary {
        version: pipeline.version.number,
        records: shared.records(),
        rows: partitions.values().map(|standing| standing.rows as u64).sum(),
        dead_letters: partitions.values().map(|standing| standing.dead_letters as u64).sum(),
        seconds: shared.seconds(),
    }
}

fn elsewhere(number: u32) -> Error {
    Error::state(format!(
        "version {number} is run by another kappa on this data_dir: use its commands (kappa versions, kappa promote), or \
         stop it first"
    ))
}
