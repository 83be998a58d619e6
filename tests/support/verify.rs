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

use super::compare::{
    Conservation, Differences, compare_dead_letters, compare_online, compare_rows, read_dead_letters, read_redis,
    read_rows,
};
use super::engine::conservation;
use super::generate::{Shop, ShopOptions};
use super::kafka::Kafka;
use super::oracle::{self, LogRecord, PartitionRun, Topology};
use super::producer;
use super::redis::RedisServer;

/// A log and what it means.
pub struct Case {
    pub topology_file: PathBuf,
    pub topology: Topology,
    pub expected: Vec<PartitionRun>,
    records: u64,
}

/// Where one line of versions runs.
pub struct Place<'a> {
    pub kafka: &'a Kafka,
    pub redis: RedisServer,
    dir: tempfile::TempDir,
}

impl Case {
    /// Writes `events` of the shop's log to a topic of its own and lets the oracle read it.
    pub fn shop(kafka: &Kafka, yaml: &str, events: u64, seed: u64, dir: &Path) -> Self {
        let options = ShopOptions::new(events, seed);
        let topic = kafka.new_topic("shop", options.partitions);
        let yaml = yaml.replace("topic: shop.events", &format!("topic: {topic}"));
        let topology_file = dir.join("shop.yaml");
        std::fs::write(&topology_file, &yaml).unwrap();
        let topology = Topology::from_yaml(&yaml);
        let partitions = Shop::partitions(options.clone());
        for (partition, records) in &partitions {
            let record = |record| as_record(*partition, record);
            producer::write(kafka, &topic, Codec::Lz4, records.iter().map(record));
        }
        let records = partitions.iter().map(|(_, records)| records.len() as u64).sum();
        Self { expected: oracle::run(&topology, &partitions), topology, topology_file, records }
    }
}

fn as_record(partition: i32, record: &LogRecord) -> Record<'_> {
    Record {
        partition: Some(partition),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        time: record.kafka_time,
        headers: &[],
    }
}

impl<'a> Place<'a> {
    /// A fresh data folder and an empty Redis.
    pub fn new(kafka: &'a Kafka) -> Self {
        Self { kafka, redis: RedisServer::start(&[]), dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// The real binary with this place's settings.
    pub fn kappa(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
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
        let file = case.topology_file.display().to_string();
        let mut arguments = vec!["run", &file, "--until-caught-up"];
        arguments.extend(more);
        let output = self.kappa(&arguments).stderr(Stdio::piped()).output().expect("kappa starts");
        assert!(output.status.success(), "kappa run: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        output.status
    }

    /// Starts a run and kills it with SIGKILL after a random time, this many times.
    pub fn kill_nine(&self, case: &Case, times: u32, longest: Duration, seed: u64) {
        let rng = &mut SmallRng::seed_from_u64(seed);
        let file = case.topology_file.display().to_string();
        for _ in 0..times {
            let command = &mut self.kappa(&["run", &file]);
            let mut child = Killed(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("kappa starts"));
            std::thread::sleep(rng.random_range(Duration::from_millis(300)..longest));
            assert!(child.0.try_wait().unwrap().is_none(), "the run ended before it was killed");
            child.0.kill().expect("SIGKILL");
            child.0.wait().expect("the killed process is reaped");
        }
    }

    /// Everything that a version has written against the oracle; what differs.
    pub fn check(&self, case: &Case, version: u32) -> Report {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let mut report = Report { records: case.records, ..Report::default() };
        for (entity, described) in case.topology.entities.iter().enumerate() {
            let url = self.path(&format!("offline/{}/{}/v{version}", case.topology.name, described.name));
            for run in &case.expected {
                let rows = runtime.block_on(read_rows(&url, &case.topology, entity, Some(run.partition)));
                let rows = rows.unwrap_or_else(|error| panic!("{url}: {error}"));
                let expected: Vec<_> = run.rows.iter().filter(|row| row.entity == entity).cloned().collect();
                report.rows += rows.len() as u64;
                report.history.merge(compare_rows(&case.topology, &expected, &rows));
            }
        }
        let stored = read_redis(&self.redis.url(), &case.topology).expect("Redis answers");
        report.entities = stored.len() as u64;
        let online = compare_online(&case.topology, &case.expected, &stored);
        if !online.is_none() {
            report.problems.push(format!("online: {online}"));
        }
        let url = self.path(&format!("offline/{}/dead_letters/v{version}", case.topology.name));
        let letters = runtime.block_on(read_dead_letters(&url)).unwrap_or_else(|error| panic!("{url}: {error}"));
        let expected: Vec<_> = case.expected.iter().flat_map(|run| run.dead_letters.clone()).collect();
        report.problems.extend(compare_dead_letters(&expected, &letters));
        for run in &case.expected {
            let letters = letters.iter().filter(|letter| letter.partition == run.partition).count() as u64;
            let found = self.conservation(case, version, run.partition, letters);
            if let Err(problems) = found.check_against(&Conservation::expected(run, 0)) {
                report.problems.extend(problems.into_iter().map(|p| format!("partition {}: {p}", run.partition)));
            }
        }
        report
    }

    fn conservation(&self, case: &Case, version: u32, partition: i32, dead_letters: u64) -> Conservation {
        let versions = Versions::open(Path::new(&self.path("data")), &case.topology.name).unwrap();
        let shared = RocksShared::new(1 << 20, 1 << 20, 64);
        let store = RocksStore::open_read_only(&versions.state_dir(version, partition), &shared).unwrap();
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
    pub rows: u64,
    pub entities: u64,
    pub history: Differences,
    pub problems: Vec<String>,
}

impl Report {
    /// Fails with everything that differs.
    pub fn assert_clean(&self, what: &str) {
        assert!(self.history.is_none() && self.problems.is_empty(), "{what}: {}\n{:#?}", self.history, self.problems);
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { records, rows, entities, history, problems } = self;
        write!(
            f,
            "{records} records, {rows} history rows, {entities} entities online: {} rows differ, {} other differences",
            history.total(),
            problems.len()
        )
    }
}
