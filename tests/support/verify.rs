//! The whole way: a log in a real Kafka through the real binary to a real Redis and Delta, held against the oracle.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use kappa::runtime::Versions;
use kappa::source::{Codec, Record};
use kappa::state::keys::Key;
use kappa::state::{RocksShared, RocksStore, Store};
use kappa::task::Meta;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use tokio::runtime::Runtime;

use super::compare::{
    Conservation, Differences, compare_dead_letters, compare_online, compare_rows, compare_tables, read_dead_letters,
    read_redis, read_rows,
};
use super::engine::conservation;
use super::generate::{SHOP, Story, Stream};
use super::kafka::Kafka;
use super::oracle::{self, LogRecord, PartitionRun, Topology};
use super::producer;
use super::redis::RedisServer;

/// A log and what it means.
pub struct Case {
    pub topology_file: PathBuf,
    pub topology: Topology,
    /// By partition; empty as long as the oracle has not read the log.
    pub expected: Vec<PartitionRun>,
    logs: Vec<(i32, Vec<LogRecord>)>,
    records: u64,
    /// The first offset of each partition.
    pub start: i64,
}

/// Where one line of versions runs.
pub struct Place<'a> {
    pub kafka: &'a Kafka,
    pub redis: RedisServer,
    dir: tempfile::TempDir,
}

impl Case {
    /// Writes `events` of a story to a topic of its own, lets `yaml` read it, and the oracle.
    pub fn new(kafka: &Kafka, story: &'static Story, yaml: &str, events: u64, seed: u64, dir: &Path) -> Self {
        let mut case = Self::unread(kafka, story, yaml, events, seed, dir);
        case.expected = oracle::run(&case.topology, &std::mem::take(&mut case.logs));
        case
    }

    /// The same, not yet read by the oracle.
    pub fn unread(kafka: &Kafka, story: &'static Story, yaml: &str, events: u64, seed: u64, dir: &Path) -> Self {
        let logs = Stream::partitions(story, events, seed);
        let topic = kafka.new_topic(story.name, logs.len() as i32);
        let yaml = yaml.replace(&format!("topic: {}", story.topic), &format!("topic: {topic}"));
        let topology_file = dir.join(format!("{}.yaml", story.name));
        std::fs::write(&topology_file, &yaml).unwrap();
        for (partition, records) in &logs {
            let record = |record| as_record(*partition, record);
            producer::write(kafka, &topic, Codec::Lz4, records.iter().map(record));
        }
        let records = logs.iter().map(|(_, records)| records.len() as u64).sum();
        Self { topology: Topology::from_yaml(&yaml), expected: vec![], topology_file, logs, records, start: 0 }
    }

    /// [`Self::new`] of the shop's story.
    pub fn shop(kafka: &Kafka, yaml: &str, events: u64, seed: u64, dir: &Path) -> Self {
        Self::new(kafka, &SHOP, yaml, events, seed, dir)
    }

    /// What a log means under a topology, which is written to a file.
    pub fn over(logs: &[(i32, Vec<LogRecord>)], yaml: &str, file: &Path) -> Self {
        std::fs::write(file, yaml).unwrap();
        let topology = Topology::from_yaml(yaml);
        let records = logs.iter().map(|(_, records)| records.len() as u64).sum();
        let (expected, topology_file) = (oracle::run(&topology, logs), file.to_path_buf());
        Self { topology, expected, topology_file, logs: vec![], records, start: 0 }
    }

    fn histories(&self) -> impl Iterator<Item = (usize, &str)> {
        let entities = self.topology.entities.iter().enumerate();
        entities.filter(|(_, entity)| entity.history).map(|(index, entity)| (index, entity.name.as_str()))
    }
}

/// As a producer sends it.
pub fn as_record(partition: i32, record: &LogRecord) -> Record<'_> {
    Record {
        partition: Some(partition),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        time: record.kafka_time,
        headers: &[],
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

impl<'a> Place<'a> {
    /// A fresh data folder and an empty Redis.
    pub fn new(kafka: &'a Kafka) -> Self {
        Self { kafka, redis: RedisServer::start(&[]), dir: tempfile::tempdir().unwrap() }
    }

    /// Where states and versions are.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A name in this place's folder: `data` has the state, `offline` the history.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The real binary with this place's settings.
    pub fn kappa(&self, arguments: &[&str]) -> Command {
        let mut command = self.binary(Path::new(env!("CARGO_BIN_EXE_kappa")), arguments);
        command.args(["--set", &format!("archive.url={}", self.path("archive"))]);
        command
    }

    /// Any build of it that knows these settings.
    pub fn binary(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments);
        // By their keys, so that a test may say them again: the last one counts.
        for (key, value) in [
            ("kafka.brokers", self.kafka.brokers()),
            ("online.redis.url", self.redis.url()),
            ("data_dir", self.path("data")),
            ("offline.url", self.path("offline")),
            ("http.listen", String::new()),
        ] {
            command.args(["--set", &format!("{key}={value}")]);
        }
        // Refreshed values are the wall clock's; here the log's are compared. Small commits, so that kills find many.
        command.args(["--set", "idle_after=off", "--set", "offline.commit_interval=500ms", "--set", "log.level=warn"]);
        // Settings in the environment win over the file, and unknown ones are refused: the tests' own stay outside.
        std::env::vars().filter(|(name, _)| name.starts_with("KAPPA_")).for_each(|(name, _)| {
            command.env_remove(name);
        });
        command.stdin(Stdio::null());
        command
    }

    /// Runs to the end of the log.
    pub fn run(&self, case: &Case, more: &[&str]) -> ExitStatus {
        let (status, said) = self.attempt(case, more);
        assert!(status.success(), "kappa run: {status}\n{said}");
        status
    }

    /// The same, well or not: how it ended, and what it said on stderr.
    pub fn attempt(&self, case: &Case, more: &[&str]) -> (ExitStatus, String) {
        let file = case.topology_file.display().to_string();
        let mut command = self.kappa(&["run", &file, "--until-caught-up"]);
        let output = command.args(more).stderr(Stdio::piped()).output().expect("kappa starts");
        (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
    }

    /// Starts a run and kills it with SIGKILL after a random time, this many times.
    pub fn kill_nine(&self, case: &Case, times: u32, longest: Duration, seed: u64) {
        let rng = &mut SmallRng::seed_from_u64(seed);
        for _ in 0..times {
            self.kill_after(case, &[], rng.random_range(Duration::from_millis(300)..longest));
        }
    }

    /// Starts a run that does not end by itself, and kills it with SIGKILL.
    fn kill_after(&self, case: &Case, more: &[&str], after: Duration) {
        let file = case.topology_file.display().to_string();
        let mut command = self.kappa(&["run", &file]);
        command.args(more).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = Killed(command.spawn().expect("kappa starts"));
        std::thread::sleep(after);
        assert!(child.0.try_wait().unwrap().is_none(), "the run ended before it was killed");
        child.0.kill().expect("SIGKILL");
        child.0.wait().expect("the killed process is reaped");
    }

    /// Replays the log from its beginning as a new version of the same logic, with `--set` of these settings, killed so
    /// often on the way; answers the version's number.
    pub fn replay(&self, case: &Case, settings: &[&str], kills: u32, seed: u64) -> u32 {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let number = self.versions(case).live().expect("a version is live").number + 1;
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
        // Once it has a number, the same command without --again goes on with it.
        let arguments = || {
            let begun = self.versions(case).get(number).is_some();
            let again: &[&str] = if begun { &[] } else { &["--again"] };
            [&["--replay-from", "0"][..], again, &settings[..]].concat()
        };
        for _ in 0..kills {
            let after = rng.random_range(Duration::from_millis(500)..Duration::from_millis(2_500));
            self.kill_after(case, &arguments(), after);
        }
        self.run(case, &arguments());
        let live = self.versions(case).live().map(|version| version.number);
        assert_eq!(live, Some(number), "the replay is live");
        number
    }

    /// Removes what a version that is no longer live has on the disk.
    pub fn forget(&self, case: &Case, version: u32) {
        let state = self.versions(case).state_dir(version, 0);
        std::fs::remove_dir_all(state.parent().expect("partitions have folders of their own")).unwrap();
        for name in case.histories().map(|(_, name)| name).chain(["dead_letters"]) {
            std::fs::remove_dir_all(self.history_url(case, name, version)).unwrap();
        }
    }

    fn versions(&self, case: &Case) -> Versions {
        Versions::open(Path::new(&self.path("data")), &case.topology.name).unwrap()
    }

    /// Everything that a version has written against the oracle; what differs.
    pub fn check(&self, case: &Case, version: u32) -> Report {
        let runtime = runtime();
        let mut report = self.check_all_but_rows(case, version, &runtime);
        report.history = self.check_history(case, version);
        report
    }

    /// The same for a log that the oracle has not read yet. It reads partition after partition, and what the other
    /// checks do not need is not kept: millions of rows are too many.
    pub fn check_first(&self, case: &mut Case, version: u32) -> Report {
        let (runtime, logs) = (runtime(), std::mem::take(&mut case.logs));
        let runs = oracle::run_each(&case.topology, &logs, |mut run| {
            let found = self.check_rows(case, version, &run, &runtime);
            run.keep_last_rows();
            (run, found)
        });
        let (runs, found): (Vec<_>, Vec<_>) = runs.into_iter().unzip();
        case.expected = runs;
        let mut report = self.check_all_but_rows(case, version, &runtime);
        found.into_iter().for_each(|found| report.history.merge(found));
        report
    }

    /// The same, with the rows against those of a version that was checked: they must be equal to the last bit.
    pub fn check_like(&self, case: &Case, version: u32, checked: (&Place<'_>, u32)) -> Report {
        let runtime = runtime();
        let mut report = self.check_all_but_rows(case, version, &runtime);
        report.history = self.compare_histories(case, version, checked);
        report
    }

    /// All rows and dead letters of a version against those of another, which is expected; of dead letters only the
    /// differences are counted.
    pub fn compare_histories(&self, case: &Case, version: u32, expected: (&Place<'_>, u32)) -> Differences {
        let compare = |name: &str, date: &str| {
            let tables = [expected.0.history_url(case, name, expected.1), self.history_url(case, name, version)];
            let found = runtime().block_on(compare_tables(&tables[0], &tables[1], date));
            found.unwrap_or_else(|error| panic!("{}: {error}", tables[1]))
        };
        let mut found = Differences::default();
        case.histories().for_each(|(_, name)| found.merge(compare(name, "event_date")));
        let letters = compare("dead_letters", "dead_date");
        found.merge(Differences { expected: 0, actual: 0, ..letters });
        found
    }

    /// The history of a version against the oracle.
    pub fn check_history(&self, case: &Case, version: u32) -> Differences {
        let (runtime, mut history) = (runtime(), Differences::default());
        for run in &case.expected {
            history.merge(self.check_rows(case, version, run, &runtime));
        }
        history
    }

    /// One partition's rows against the oracle.
    fn check_rows(&self, case: &Case, version: u32, run: &PartitionRun, runtime: &Runtime) -> Differences {
        let mut rows = vec![];
        for (entity, name) in case.histories() {
            let url = self.history_url(case, name, version);
            let found = runtime.block_on(read_rows(&url, &case.topology, entity, Some(run.partition)));
            rows.extend(found.unwrap_or_else(|error| panic!("{url}: {error}")));
        }
        compare_rows(&case.topology, &run.rows, &rows)
    }

    fn check_all_but_rows(&self, case: &Case, version: u32, runtime: &Runtime) -> Report {
        let mut report = Report { records: case.records, ..Report::default() };
        let (entities, online) = self.online(case);
        report.entities = entities;
        report.problems.extend(online.map(|online| format!("online: {online}")));
        let url = self.history_url(case, "dead_letters", version);
        let letters = runtime.block_on(read_dead_letters(&url)).unwrap_or_else(|error| panic!("{url}: {error}"));
        report.dead_letters = letters.len() as u64;
        let expected: Vec<_> = case.expected.iter().flat_map(|run| run.dead_letters.clone()).collect();
        report.problems.extend(compare_dead_letters(&expected, &letters));
        for run in &case.expected {
            let letters = letters.iter().filter(|letter| letter.partition == run.partition).count() as u64;
            let found = self.conservation(case, version, run.partition, letters);
            if let Err(problems) = found.check_against(&Conservation::expected(run, case.start)) {
                report.problems.extend(problems.into_iter().map(|p| format!("partition {}: {p}", run.partition)));
            }
        }
        report
    }

    /// Where the history of an entity, or `dead_letters`, lies.
    pub fn history_url(&self, case: &Case, name: &str, version: u32) -> String {
        self.path(&format!("offline/{}/{name}/v{version}", case.topology.name))
    }

    /// How many entities the online store has, and what of them differs from the oracle.
    pub fn online(&self, case: &Case) -> (u64, Option<String>) {
        let stored = read_redis(&self.redis.url(), &case.topology).expect("Redis answers");
        let online = compare_online(&case.topology, &case.expected, &stored);
        (stored.len() as u64, (!online.is_none()).then(|| online.to_string()))
    }

    fn conservation(&self, case: &Case, version: u32, partition: i32, dead_letters: u64) -> Conservation {
        let shared = RocksShared::new(1 << 20, 1 << 20, 64);
        let store = RocksStore::open_read_only(&self.versions(case).state_dir(version, partition), &shared).unwrap();
        let meta = Meta::decode(&store.get(&Key::Meta.bytes()).unwrap().expect("the task has committed")).unwrap();
        conservation(&meta, dead_letters)
    }
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a version wrote, and what of it is wrong.
#[derive(Debug, Default)]
pub struct Report {
    pub records: u64,
    pub entities: u64,
    pub dead_letters: u64,
    pub history: Differences,
    pub problems: Vec<String>,
}

impl Report {
    /// Fails with everything that differs.
    pub fn assert_clean(&self, what: &str) {
        assert!(self.history.is_none() && self.problems.is_empty(), "{what}: {}\n{:#?}", self.history, self.problems);
    }

    /// Adds those of another version.
    pub fn add(&mut self, other: Report) {
        self.records += other.records;
        self.entities += other.entities;
        self.dead_letters += other.dead_letters;
        self.history.merge(other.history);
        self.problems.extend(other.problems);
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, entities, dead_letters, history, problems } = self;
        write!(
            f,
            "{records} records, {} history rows, {entities} entities online, {dead_letters} dead letters: {} rows \
             differ, {} other differences",
            history.actual,
            history.total(),
            problems.len()
        )
    }
}
