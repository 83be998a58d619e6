//! `make bench-training`: labels joined with a history, in every mode: held against DuckDB and against brute force, and
//! measured beside DuckDB, Polars and, where FEAST_PYTHON names a Python that has it, Feast.
//!
//! A history of 8 features as the engine writes it (a commit a day, 4 partitions, skewed users), labels of the same users
//! at random moments, one in five at the very time of a row, some of strangers. Each program runs once a round in a
//! process of its own, to a Parquet file; CPU is user and system time, memory the largest resident set; the figures are
//! of the round with the least CPU.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use arrow::array::{
    ArrayRef, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
    TimestampMillisecondArray,
};
use kappa::config::Settings;
use kappa::lake::TrainingFile;
use kappa::sink::offline::OfflineWriter;
use kappa::state::{EntityRows, Epoch};
use kappa::task::row_schema;
use kappa::topology::{self, Plan};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use crate::support::duckdb::offer_delta_to_duckdb;

#[derive(clap::Args)]
pub struct Arguments {
    #[arg(long, default_value_t = 10_000_000)]
    rows: i64,
    #[arg(long, default_value_t = 1_000_000)]
    labels: usize,
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// The share of labels that is looked up by brute force.
    #[arg(long, default_value_t = 0.002)]
    sample: f64,
    /// Only measure, in this one mode, without the comparisons.
    #[arg(long)]
    only_measure: bool,
}

const TOPOLOGY: &str = r#"
topology: bench
source:
  topic: bench
  format: json
  event_time: ts
  schema: {user_id: string, event: string, item_id: string, category: string, price: double, ts: timestamp_ms}
entities:
  user:
    key: user_id
    features:
      views_1h:       {count: "*", window: 1h}
      clicks_24h:     {count: "*", window: 24h}
      items_session:  {distinct: item_id, window: {session: 30m}}
      avg_price:      {avg: price, window: 90d}
      lifetime_value: {sum: price, window: lifetime}
      largest:        {max: price, window: 30d}
      last_category:  {last: category, window: lifetime}
      last_click_at:  {last: ts, window: lifetime}
"#;
const DAYS: i64 = 30;
const PARTITIONS: i64 = 4;
const USERS: f64 = 100_000.0;
const DAY: i64 = 86_400_000;
/// 2026-01-01.
const START: i64 = 1_767_225_600_000;

/// A rule as the command line, and as the comparison, has it.
const MODES: [(&str, &[&str], &str); 6] = [
    ("as known then", &[], r#"{"strict": false, "lookback": null, "by_event_time": false}"#),
    ("--strict", &["--strict"], r#"{"strict": true, "lookback": null, "by_event_time": false}"#),
    ("--by-event-time", &["--by-event-time"], r#"{"strict": false, "lookback": null, "by_event_time": true}"#),
    (
        "--by-event-time --strict",
        &["--by-event-time", "--strict"],
        r#"{"strict": true, "lookback": null, "by_event_time": true}"#,
    ),
    ("--lookback 1h", &["--lookback", "1h"], r#"{"strict": false, "lookback": 3600000, "by_event_time": false}"#),
    (
        "--lookback 1h --by-event-time --strict",
        &["--lookback", "1h", "--by-event-time", "--strict"],
        r#"{"strict": true, "lookback": 3600000, "by_event_time": true}"#,
    ),
];

/// Prints two tables; every line is measured in this run.
pub fn run(arguments: &Arguments) -> String {
    let place = Place::new();
    let began = Instant::now();
    place.write_history(arguments.rows);
    place.write_labels(arguments.labels);
    eprintln!("written in {:.0} s: {} bytes of history", began.elapsed().as_secs_f64(), size(&place.path("offline")));
    let compared = if arguments.only_measure { String::new() } else { place.compare(arguments.sample) };
    compared + &place.measure(arguments.rounds)
}

/// What a program took.
#[derive(Debug, Clone, Copy)]
struct Took {
    cpu_seconds: f64,
    seconds: f64,
    peak_mib: f64,
}

struct Place {
    dir: tempfile::TempDir,
    plan: Plan,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let plan = topology::parse("bench.yaml", TOPOLOGY).unwrap_or_else(|problems| panic!("{problems}"));
        std::fs::write(dir.path().join("bench.yaml"), TOPOLOGY).expect("the topology is written");
        Self { dir, plan }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// As the engine writes it: a commit a day, of every partition.
    fn write_history(&self, rows: i64) {
        let runtime = tokio::runtime::Runtime::new().expect("threads");
        let mut settings = Settings::load(None, &[]).expect("settings").offline;
        settings.url = self.text("offline");
        let partitions: Vec<i32> = (0..PARTITIONS as i32).collect();
        let of_a_day = rows / DAYS / PARTITIONS;
        runtime.block_on(async {
            let mut writer = OfflineWriter::open(&settings, &self.plan, 1, &partitions).await.expect("a table");
            for day in 0..DAYS {
                for &partition in &partitions {
                    for part in split(of_a_day) {
                        writer.append(&self.epoch(partition, day, of_a_day, part)).expect("rows are taken");
                    }
                }
                writer.commit().await.expect("a commit");
            }
            writer.settle().await;
        });
    }

    /// Some rows of a day of a partition, `part` of `of_a_day`.
    fn epoch(&self, partition: i32, day: i64, of_a_day: i64, part: std::ops::Range<i64>) -> Epoch {
        let mut random = SmallRng::seed_from_u64((partition as u64) << 40 | (day as u64) << 32 | part.start as u64);
        let count = (part.end - part.start) as usize;
        let from = day * of_a_day + part.start;
        let users: Vec<i64> = (0..count).map(|_| user(&mut random) * PARTITIONS + i64::from(partition)).collect();
        let times: Vec<i64> = (part.start..part.end).map(|row| START + day * DAY + row * DAY / of_a_day).collect();
        // Monotone, as known times of an entity are: the Kafka time, a little after.
        let known: Vec<i64> = times.iter().map(|time| time + 1_500).collect();
        let int = |f: &dyn Fn(usize) -> i64| Arc::new(Int64Array::from_iter_values((0..count).map(f))) as ArrayRef;
        let mut draw = |top: i64| {
            let drawn: Vec<i64> = (0..count).map(|_| random.random_range(0..top)).collect();
            drawn
        };
        let (views, clicks, items, cents, category) = (draw(30), draw(200), draw(12), draw(100_000), draw(12));
        let money = |f: &dyn Fn(usize) -> f64| {
            let some = |row: usize| (users[row] % 5 != 0).then(|| f(row));
            Arc::new(Float64Array::from_iter((0..count).map(some))) as ArrayRef
        };
        let categories = category.iter().map(|category| format!("category-{category}"));
        let clicked = times.iter().map(|time| time - 40_000);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from_iter_values(users.iter().map(|user| format!("u{user}")))),
            int(&|row| times[row]),
            int(&|row| known[row]),
            int(&|row| (from + row as i64) / 2),
            Arc::new(Int32Array::from_iter_values((0..count as i32).map(|row| (from as i32 + row) % 2))),
            int(&|row| from + row as i64),
            int(&|row| views[row]),
            int(&|row| clicks[row]),
            int(&|row| items[row]),
            money(&|row| cents[row] as f64 / 300.0),
            money(&|row| cents[row] as f64 / 10.0),
            money(&|row| (cents[row] % 500) as f64),
            Arc::new(StringArray::from_iter_values(categories)),
            Arc::new(TimestampMillisecondArray::from_iter_values(clicked).with_timezone("UTC")),
        ];
        let rows = RecordBatch::try_new(row_schema(&self.plan.entities[0]), columns).expect("rows");
        let next = from + count as i64;
        Epoch {
            number: next as u64,
            partition,
            next_offset: next / 2 + 1,
            watermark: times.last().map(|time| time - 5_000),
            next_ordinal: next,
            next_dead_letter: 0,
            rows: vec![EntityRows { entity: 0, rows }],
            dead_letters: None,
        }
    }

    fn write_labels(&self, count: usize) {
        let mut random = SmallRng::seed_from_u64(7);
        let users = (0..count).map(|_| {
            let partition = random.random_range(0..PARTITIONS);
            let stranger = random.random_bool(0.02);
            format!("{}{}", if stranger { "s" } else { "u" }, user(&mut random) * PARTITIONS + partition)
        });
        let users: Vec<String> = users.collect();
        let at = (0..count).map(|_| {
            let at = random.random_range(START * 1000 - 1_000_000..(START + DAYS * DAY) * 1000);
            // Rows lie at whole milliseconds; some labels lie on them, and some at their known times.
            if random.random_bool(0.2) { at / 1000 * 1000 } else { at }
        });
        let at: Vec<i64> = at.collect();
        let columns: [(&str, ArrayRef); 3] = [
            ("user_id", Arc::new(StringArray::from(users))),
            ("event_timestamp", Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC"))),
            ("amount", Arc::new(Float64Array::from_iter_values((0..count).map(|row| row as f64 / 8.0)))),
        ];
        let labels = RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)));
        let labels = labels.expect("labels");
        let mut file = TrainingFile::create(&self.path("labels.parquet"), &labels.schema()).expect("a file");
        file.write(&labels).expect("labels are written");
        file.finish().expect("labels are written");
        file.publish().expect("labels are written");
    }

    fn table(&self) -> String {
        self.text("offline/bench/user/v1")
    }

    fn kappa(&self, more: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
        let (topology, labels) = (self.text("bench.yaml"), self.text("labels.parquet"));
        command.args(["training-data", "--topology", &topology, "--version", "1", "--labels", &labels]);
        command.args(["--features", "user", "--out", &self.text("kappa.parquet"), "--listen", ""]);
        command.args(["--offline-url", &self.text("offline"), "--data-dir", &self.text("data")]).args(more);
        command
    }

    fn peer(python: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/training_peers.py")).args(arguments);
        command
    }

    /// Every mode against the printed SQL in DuckDB, and against brute force.
    fn compare(&self, share: f64) -> String {
        let mut text =
            "| Mode | Labels | Differ from DuckDB | Looked up by brute force | Differ |\n|---|---:|---:|---:|---:|\n"
                .to_string();
        let (found, sql) = (self.text("kappa.parquet"), self.text("join.sql"));
        for (mode, flags, rule) in MODES {
            answer(self.kappa(flags));
            let printed = answer(self.kappa(&[flags, &["--print-sql", "duckdb"]].concat()));
            std::fs::write(&sql, printed).expect("the statement is written");
            let all = difference(Self::peer(&python(), &["compare", &sql, &found]));
            let (labels, share) = (self.text("labels.parquet"), share.to_string());
            let some = difference(Self::peer(&python(), &["sample", &labels, &self.table(), &found, rule, &share]));
            eprintln!("{mode}: {all} {some}");
            text += &format!(
                "| {mode} | {} | {} | {} | {} |\n",
                all["rows"], all["different"], some["rows"], some["different"]
            );
            assert_eq!((&all["different"], &some["different"]), (&json!(0), &json!(0)), "{mode}: {all} {some}");
        }
        text + "\n"
    }

    /// The default mode beside the other tools.
    fn measure(&self, rounds: usize) -> String {
        let feast = std::env::var("FEAST_PYTHON").ok();
        let (labels, out) = (self.text("labels.parquet"), self.text("peer.parquet"));
        let peer = |python: &str, tool: &str| Self::peer(python, &[tool, &labels, &self.table(), &out]);
        let mut lines: Vec<(&str, Vec<Took>)> =
            ["Kappa", "DuckDB", "Polars, streaming", "Feast on DuckDB"].map(|tool| (tool, Vec::new())).into();
        for round in 1..=rounds {
            lines[0].1.push(took(self.kappa(&[])));
            lines[1].1.push(took(peer(&python(), "duckdb")));
            lines[2].1.push(took(peer(&python(), "polars")));
            if let Some(feast) = feast.as_ref().filter(|_| round == 1) {
                let home = tempfile::tempdir().expect("a temporary directory");
                offer_delta_to_duckdb(Path::new(feast), home.path());
                let mut command = peer(feast, "feast");
                command.env("HOME", home.path());
                lines[3].1.push(took(command));
            }
            let last = lines.iter().map(|(tool, took)| format!("{tool} {:?}", took.last()));
            eprintln!("round {round}: {}", last.collect::<Vec<_>>().join(", "));
        }
        let mut text = "| Program | CPU seconds | Seconds | Peak memory, MiB |\n|---|---:|---:|---:|\n".to_string();
        for (tool, took) in lines {
            let Some(best) = took.iter().min_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds)) else { continue };
            let peak = took.iter().map(|took| took.peak_mib).fold(0.0, f64::max);
            text += &format!("| {tool} | {:.1} | {:.1} | {peak:.0} |\n", best.cpu_seconds, best.seconds);
        }
        text
    }
}

/// 1 to 100,000, the small ones often.
fn user(random: &mut SmallRng) -> i64 {
    USERS.powf(random.random::<f64>().sqrt()) as i64
}

/// Parts of at most 65,536 rows.
fn split(rows: i64) -> impl Iterator<Item = std::ops::Range<i64>> {
    (0..rows).step_by(1 << 16).map(move |start| start..rows.min(start + (1 << 16)))
}

fn python() -> String {
    std::env::var("READER_PYTHON").expect("READER_PYTHON names a Python with duckdb, polars and deltalake")
}

fn answer(mut command: Command) -> String {
    let output = command.stderr(Stdio::inherit()).output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

fn difference(command: Command) -> Value {
    serde_json::from_str(&answer(command)).expect("an answer in JSON")
}

/// Runs a program to its end.
#[expect(clippy::zombie_processes, reason = "wait4 waits for it, and says what it used")]
fn took(mut command: Command) -> Took {
    let began = Instant::now();
    let child = command.stdout(Stdio::null()).spawn().expect("it starts");
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both pointers are to memory of this frame, and nobody else waits for this child.
    let waited = unsafe { libc::wait4(child.id() as i32, &mut status, 0, usage.as_mut_ptr()) };
    assert!(waited == child.id() as i32 && status == 0, "{command:?} ended with {status}");
    // SAFETY: wait4 has filled it in; zeroes are valid, too.
    let usage = unsafe { usage.assume_init() };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Took {
        cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
        seconds: began.elapsed().as_secs_f64(),
        peak_mib: usage.ru_maxrss as f64 / 1024.0,
    }
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    };
    entries.map(of).sum()
}
