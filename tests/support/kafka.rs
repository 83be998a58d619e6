//! A real Apache Kafka for the tests: one broker that is its own controller (KRaft), started from its Maven jars.
//!
//! It lives in a directory of its own on free ports, with retention off and every timestamp allowed: one port in plain,
//! one with TLS (a certificate of an authority of its own) and SCRAM. It dies with the test process, however that ends:
//! a small shell watches a pipe that only the test process holds. Needs `java` (17 or later), `openssl` and, the first
//! time, `mvn`; the jars stay in `~/.cache/kappa/kafka/<version>/libs`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use super::redis::make_certificates;

/// The version in `tests/support/kafka/pom.xml`.
pub const VERSION: &str = "4.3.0";

/// Who may come in at the secure port.
pub const USER: (&str, &str) = ("kappa", "kappa-secret");

/// Any base64 of 16 bytes: the cluster's id.
const CLUSTER_ID: &str = "a2FwcGEtdGVzdC1rYWZrYQ";

/// Runs its arguments, tells their process id, and kills them when its standard input closes.
const WATCH: &str = r#"log=$1; shift; "$@" >>"$log" 2>&1 </dev/null & pid=$!; echo $pid; exec >&-; cat >/dev/null; kill -9 $pid; wait $pid 2>/dev/null; exit 0"#;

/// A running broker (or one killed, until it is restarted).
pub struct Kafka {
    dir: PathBuf,
    ports: Ports,
    heap_mb: u32,
    process: Mutex<Option<Child>>,
}

/// The broker that all tests of this process share; started at its first use.
pub fn shared() -> &'static Kafka {
    static SHARED: OnceLock<Kafka> = OnceLock::new();
    SHARED.get_or_init(|| {
        sweep();
        Kafka::start()
    })
}

/// A topic name that no other test has.
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

impl Kafka {
    /// Formats a directory of its own, starts the broker and waits until it answers.
    pub fn start() -> Self {
        Self::start_with_heap(512)
    }

    /// The same, with so much memory.
    pub fn start_with_heap(heap_mb: u32) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("{PREFIX}{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        make_certificates(&dir);
        let chain = ["server.key", "server.pem", "ca.pem"].map(|name| fs::read_to_string(dir.join(name)).unwrap());
        fs::write(dir.join("keystore.pem"), chain.concat()).unwrap();
        let ports = Ports::free();
        fs::write(dir.join("server.properties"), properties(&dir, &ports)).unwrap();
        let kafka = Self { dir, ports, heap_mb, process: Mutex::default() };
        let properties = kafka.dir.join("server.properties");
        let formatted = java(64)
            .args(["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c"])
            .arg(&properties)
            .args(["--add-scram", &format!("SCRAM-SHA-512=[name={},password={}]", USER.0, USER.1)])
            .output()
            .expect("java (17 or later) is on the path");
        assert!(formatted.status.success(), "kafka's storage was not formatted: {formatted:?}");
        kafka.restart();
        kafka
    }

    /// For `kafka.brokers`.
    pub fn brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// The same broker where it asks for TLS (trust [`Self::authority`]) and SCRAM-SHA-512 (as [`USER`]).
    pub fn secure_brokers(&self) -> String {
        format!("127.0.0.1:{}", self.ports.secure)
    }

    /// The PEM file of the authority to trust.
    pub fn authority(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// `kill -9`: the directory stays.
    pub fn kill(&self) {
        if let Some(mut process) = self.process.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(process.stdin.take());
            let _ = process.wait();
        }
    }

    /// Starts it again on its directory and ports, and waits until it answers.
    pub fn restart(&self) {
        self.kill();
        let java = java(self.heap_mb);
        let mut process = Command::new("sh")
            .args(["-c", WATCH, "kafka-watch"])
            .arg(self.log())
            .arg(java.get_program())
            .args(java.get_args())
            .arg("kafka.Kafka")
            .arg(self.dir.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut pid).unwrap();
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = Some(process);
        self.wait_until_ready(pid.trim());
    }

    fn wait_until_ready(&self, pid: &str) {
        let client: BaseConsumer = self.config().set("log_level", "0").create().unwrap();
        let until = Instant::now() + Duration::from_secs(120);
        while !client.fetch_metadata(None, Duration::from_secs(1)).is_ok_and(|found| !found.brokers().is_empty()) {
            let alive = Path::new("/proc").join(pid).exists() || !Path::new("/proc/self").exists();
            let log = || fs::read_to_string(self.log()).unwrap_or_default();
            assert!(alive && Instant::now() < until, "kafka did not start:\n{}", log());
        }
    }

    /// What the broker wrote to its standard output.
    pub fn log(&self) -> PathBuf {
        self.dir.join("kafka.log")
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers()).set("reconnect.backoff.max.ms", "500");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    /// Waits until the broker itself shows so many partitions, each with a leader: it answers a creation before that.
    fn wait_for_topic(&self, topic: &str, partitions: usize) {
        let client: BaseConsumer = self.config().create().unwrap();
        let until = Instant::now() + Duration::from_secs(30);
        loop {
            let metadata = client.fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
            let shown = metadata.topics()[0].partitions();
            if shown.len() == partitions && shown.iter().all(|partition| partition.leader() >= 0) {
                return;
            }
            assert!(Instant::now() < until, "topic {topic} does not show {partitions} partitions");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Creates a topic with Kafka's own settings for it, such as `("cleanup.policy", "compact")`.
    pub fn create_topic(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let wanted = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let wanted = settings.iter().fold(wanted, |wanted, (name, value)| wanted.set(name, value));
        let results = block_on(self.admin().create_topics(&[wanted], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        self.wait_for_topic(topic, partitions as usize);
    }

    /// Creates a topic of its own for a test.
    pub fn new_topic(&self, name: &str, partitions: i32) -> String {
        let topic = unique(name);
        self.create_topic(&topic, partitions, &[]);
        topic
    }

    /// Deletes a topic, and waits until the broker does not show it any more.
    pub fn delete_topic(&self, topic: &str) {
        let results = block_on(self.admin().delete_topics(&[topic], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        self.wait_for_topic(topic, 0);
    }

    /// Raises the number of partitions to `total`.
    pub fn add_partitions(&self, topic: &str, total: usize) {
        let wanted = NewPartitions::new(topic, total);
        let results = block_on(self.admin().create_partitions(&[wanted], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        self.wait_for_topic(topic, total);
    }

    /// Gives a topic one setting of its own, in place of all that it had, and waits until the broker shows it.
    pub fn set_topic(&self, topic: &str, name: &str, value: &str) {
        let (admin, specifier) = (self.admin(), ResourceSpecifier::Topic(topic));
        let wanted = AlterConfig::new(specifier).set(name, value);
        let results = block_on(admin.alter_configs(&[wanted], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        let until = Instant::now() + Duration::from_secs(30);
        let is_shown = || {
            let shown = block_on(admin.describe_configs(&[specifier], &AdminOptions::new())).unwrap();
            let shown = shown.into_iter().next().unwrap().unwrap();
            shown.get(name).is_some_and(|entry| entry.value.as_deref() == Some(value))
        };
        while !is_shown() {
            assert!(Instant::now() < until, "topic {topic} does not show {name}={value}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Deletes the records below this offset.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before)).unwrap();
        let result = block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
        result.elements().iter().for_each(|element| element.error().unwrap());
    }

    /// Has Kafka itself delete all that lies in a topic, by its retention, and waits until it has.
    pub fn expire(&self, topic: &str) {
        let wanted = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("retention.ms", "1");
        let results = block_on(self.admin().alter_configs(&[wanted], &AdminOptions::new())).unwrap();
        results.into_iter().for_each(|result| drop(result.unwrap()));
        let until = Instant::now() + Duration::from_secs(60);
        while self.ends(topic).iter().any(|(low, high)| low < high) {
            assert!(Instant::now() < until, "topic {topic} still holds records");
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Low and high watermark of each partition.
    pub fn ends(&self, topic: &str) -> Vec<(i64, i64)> {
        let client: BaseConsumer = self.config().create().unwrap();
        let wait = Duration::from_secs(20);
        let metadata = client.fetch_metadata(Some(topic), wait).unwrap();
        let count = metadata.topics()[0].partitions().len();
        (0..count).map(|partition| client.fetch_watermarks(topic, partition as i32, wait).unwrap()).collect()
    }

    /// The offset that a group shows to lag tools.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let client: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let found = client.committed_offsets(list, Duration::from_secs(20)).unwrap();
        found.elements()[0].offset().to_raw().filter(|&offset| offset >= 0)
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

const PREFIX: &str = "kappa-kafka-";

/// Removes the directories of test processes that are gone: a shared broker is killed, but never dropped.
fn sweep() {
    for entry in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let pid = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if pid.is_some_and(|pid| Path::new("/proc/self").exists() && !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// A Java with Kafka's jars.
fn java(heap_mb: u32) -> Command {
    let mut command = Command::new("java");
    command
        .arg(format!("-Xmx{heap_mb}m"))
        .args(["-XX:+UseSerialGC", "-Djava.awt.headless=true", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp"])
        .arg(format!("{}/*", jars().display()));
    command
}

/// The directory of Kafka's jars; Maven copies them there the first time.
fn jars() -> &'static Path {
    static JARS: OnceLock<PathBuf> = OnceLock::new();
    JARS.get_or_init(|| {
        let libs = cache().join("libs");
        if !libs.is_dir() {
            copy(&["dependency:copy-dependencies"], &libs);
        }
        libs
    })
}

/// Writes the tools that come with Kafka into a folder, as far as tests call them.
pub fn write_tools(folder: &Path) {
    static TOOLS: OnceLock<PathBuf> = OnceLock::new();
    let jars_of_tools = TOOLS.get_or_init(|| {
        let tools = cache().join("tools");
        if !tools.is_dir() {
            copy(&["dependency:copy", &format!("-Dartifact=org.apache.kafka:kafka-tools:{VERSION}")], &tools);
        }
        tools
    });
    for (name, class) in [("kafka-topics.sh", "TopicCommand"), ("kafka-console-producer.sh", "ConsoleProducer")] {
        let class_path = format!("{}/*:{}/*", jars().display(), jars_of_tools.display());
        let java = "exec java -Xmx128m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error";
        let script = format!("#!/bin/sh\n{java} -cp '{class_path}' org.apache.kafka.tools.{class} \"$@\"\n");
        fs::write(folder.join(name), script).unwrap();
        fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").expect("HOME is set");
    PathBuf::from(home).join(".cache/kappa/kafka").join(VERSION)
}

/// Has Maven copy jars into a folder: beside it and then renamed, so that a copy cut short is never taken for a whole one.
fn copy(goal: &[&str], folder: &Path) {
    let partial = folder.with_extension(std::process::id().to_string());
    let pom = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/kafka/pom.xml");
    let copied = Command::new("mvn")
        .args(["-q", "-B", "-f"])
        .arg(pom)
        .args(goal)
        .arg(format!("-DoutputDirectory={}", partial.display()))
        .arg(format!("-Dkafka.version={VERSION}"))
        .status()
        .expect("mvn is on the path (Debian: apt-get install maven)");
    assert!(copied.success(), "maven did not copy kafka's jars: {copied}");
    let _ = fs::rename(&partial, folder).or_else(|_| fs::remove_dir_all(&partial));
}

struct Ports {
    plain: u16,
    secure: u16,
    controller: u16,
}

impl Ports {
    /// Three that were free a moment ago.
    fn free() -> Self {
        let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [plain, secure, controller] = listeners.map(|listener| listener.local_addr().unwrap().port());
        Self { plain, secure, controller }
    }
}

fn properties(dir: &Path, ports: &Ports) -> String {
    let Ports { plain, secure, controller } = ports;
    format!(
        "process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL,CONTROLLER:PLAINTEXT
listener.name.secure.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.secure.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.secure.ssl.keystore.type=PEM
listener.name.secure.ssl.keystore.location={}
log.dirs={}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
log.retention.ms=-1
log.retention.bytes=-1
log.retention.check.interval.ms=500
log.message.timestamp.after.max.ms=9223372036854775807
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=4194304
num.network.threads=2
num.io.threads=2
",
        dir.join("keystore.pem").display(),
        dir.join("logs").display()
    )
}
