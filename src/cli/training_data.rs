//! `kappa training-data`: labels joined with the history, point in time.
//!
//! Always holds: what is printed to stdout is what was made, or the SQL that was asked for; what one should know of it
//! goes to stderr.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::progress::Bar;
use super::settings::SettingsArgs;
use super::{block_on, history, manifests, open, output};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::features::training::{self, Dialect, Job, Manifest, Question, Report, Rule};
use crate::runtime::{self, Versions};
use crate::sink::offline;
use crate::time::Span;
use crate::topology::Plan;

const EXAMPLES: &str = "\
Examples:
  kappa training-data --labels labels.parquet --features user --out train.parquet
      every feature of `user`, for labels with the columns user_id and event_timestamp

  kappa training-data --labels orders.csv --timestamp ordered_at --key user_id=customer \\
      --features user:views_1h,user:lifetime_value,user_item:clicks_24h --out train.parquet
      some features of two entities, for labels whose columns have other names

  kappa training-data --from-manifest train.parquet.manifest.json
      the same file again, byte by byte, whatever was written since

Each label gets the newest row that was known at its time. docs/training.md says what exactly that means.";

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The labels: a Parquet or CSV file, or a Delta table; all their columns are carried through
    #[arg(long, value_name = "FILE_OR_TABLE", required_unless_present = "from_manifest")]
    labels: Option<String>,
    /// Entities (all they show) and single features: user,user_item:clicks_24h
    #[arg(long, value_name = "ENTITY[:FEATURE],...", value_delimiter = ',', required_unless_present = "from_manifest")]
    features: Vec<String>,
    /// The Parquet file to make; its manifest is put beside it, as FILE.manifest.json
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Make the file of this manifest again, and check that it is the same
    #[arg(
        long,
        value_name = "MANIFEST",
        conflicts_with_all = ["labels", "features", "timestamp", "key", "version", "topology", "strict", "lookback",
            "by_event_time", "complete_only", "full_names", "positions", "print_sql"]
    )]
    from_manifest: Option<PathBuf>,
    /// Keep what it is made from out of a vacuum's reach, until `kappa manifests --forget`
    #[arg(long, conflicts_with_all = ["from_manifest", "print_sql"])]
    register: bool,
    /// Print the same join for another engine, and make nothing
    #[arg(long, value_name = "ENGINE", value_enum)]
    print_sql: Option<Engine>,

    /// The labels' column with their time
    #[arg(long, value_name = "COLUMN", default_value = "event_timestamp", help_heading = "Labels")]
    timestamp: String,
    /// The labels' column with a key field, where it has another name; may be given several times
    #[arg(long, value_name = "FIELD=COLUMN", value_parser = parse_key, help_heading = "Labels")]
    key: Vec<(String, String)>,

    /// Only rows before the label's time, not at it
    #[arg(long, help_heading = "Which row")]
    strict: bool,
    /// Only rows that are at most so much older than the label (a row holds until the next one: mostly not needed)
    #[arg(long, value_name = "DURATION", help_heading = "Which row")]
    lookback: Option<Span>,
    /// Rows count from when they happened, also where they were known only later (a history loaded afterwards)
    #[arg(long, help_heading = "Which row")]
    by_event_time: bool,
    /// Refuse labels for which rows may still come, instead of marking them
    #[arg(long, help_heading = "Which row")]
    complete_only: bool,
    /// The topology [default: the only one in ./topologies]
    #[arg(long, value_name = "FILE", help_heading = "Which row")]
    topology: Option<PathBuf>,
    /// A version of the logic [default: the live one]
    #[arg(long, value_name = "NUMBER", help_heading = "Which row")]
    version: Option<u32>,

    /// Name the columns entity__feature
    #[arg(long, help_heading = "Columns")]
    full_names: bool,
    /// Also say which row the values are of: entity__event_time, __known_at, __partition, __offset, __sequence
    #[arg(long, help_heading = "Columns")]
    positions: bool,

    /// Memory for labels in work, about; more of them are joined in several rounds
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    memory: u64,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Engines with a dialect of their own.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Engine {
    Duckdb,
    Spark,
    Bigquery,
}

impl Engine {
    fn dialect(self) -> Dialect {
        match self {
            Self::Duckdb => Dialect::DuckDb,
            Self::Spark => Dialect::Spark,
            Self::Bigquery => Dialect::BigQuery,
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let mut settings = args.settings.load()?;
    let job = match &args.from_manifest {
        Some(manifest) => rebuild(args, &mut settings, Manifest::read(manifest)?)?,
        None => job(args, &settings)?,
    };
    if let Some(engine) = args.print_sql {
        let statement = training::statement(&job, &settings.offline, engine.dialect());
        return output::print(&block_on(statement)?);
    }
    check_out(&job)?;
    let (bar, began) = (Bar::new(0), Instant::now());
    let watch = |done, total| bar.rows(done, total);
    let report = block_on(training::train(&job, &settings.offline, &watch))?;
    drop(bar);
    if args.register {
        let manifest = manifests::read(&settings, &report.manifest_path)?;
        block_on(offline::register(&settings.offline, &manifest, runtime::now()))?;
    }
    report.entities.iter().filter_map(|entity| entity.note(report.labels)).for_each(|note| eprintln!("note: {note}"));
    output::print(&told(&report, &job, began.elapsed().as_secs_f64()))
}

/// What the arguments ask for.
fn job(args: &Args, settings: &Settings) -> Result<Job> {
    let given = open::plan_or_only(args.topology.as_deref())?;
    let (version, plan) = version(args, settings, given)?;
    let out = match (&args.out, args.print_sql) {
        (Some(out), _) => out.clone(),
        (None, Some(_)) => PathBuf::new(),
        (None, None) => {
            return Err(Error::configuration("--out FILE is missing: name the Parquet file to make"));
        }
    };
    let mut keys = BTreeMap::new();
    for (field, column) in &args.key {
        if keys.insert(field.clone(), column.clone()).is_some() {
            return Err(Error::configuration(format!("--key {field}=... is given twice")));
        }
    }
    let rule =
        Rule { strict: args.strict, lookback: args.lookback.map(Span::millis), by_event_time: args.by_event_time };
    let question = Question {
        features: args.features.clone(),
        keys,
        timestamp: args.timestamp.clone(),
        rule,
        full_names: args.full_names,
        positions: args.positions,
        complete_only: args.complete_only,
    };
    let labels = args.labels.clone().unwrap_or_default();
    Ok(Job { plan, version, question, labels, out, memory: bytes(args), rebuild: None })
}

/// The version that is asked for, with the topology that it was begun with where that is kept.
fn version(args: &Args, settings: &Settings, given: Plan) -> Result<(u32, Plan)> {
    let versions = Versions::open(&settings.data_dir, &given.topology)?;
    let version = match args.version {
        Some(version) => version,
        None => history::live_version(settings, &given)?.ok_or_else(|| {
            Error::configuration(format!(
                "no version of {} is live in `{}`: name one with --version, or the place with --data-dir",
                given.topology,
                settings.data_dir.display()
            ))
        })?,
    };
    let plan = if versions.get(version).is_some() { versions.plan(version)? } else { given };
    Ok((version, plan))
}

/// What a manifest asks for again.
fn rebuild(args: &Args, settings: &mut Settings, manifest: Manifest) -> Result<Job> {
    if !args.settings.names_offline_url() {
        settings.offline.url.clone_from(&manifest.offline_url);
    }
    Ok(Job {
        plan: manifest.plan()?,
        version: manifest.version,
        question: manifest.question.clone(),
        labels: manifest.labels.path.clone(),
        out: args.out.clone().unwrap_or_else(|| PathBuf::from(&manifest.out.path)),
        memory: bytes(args),
        rebuild: Some(manifest),
    })
}

fn bytes(args: &Args) -> usize {
    usize::try_from(args.memory << 20).unwrap_or(usize::MAX)
}

/// The answer must not take the place of the labels.
fn check_out(job: &Job) -> Result<()> {
    let same = |a: &Path, b: &Path| matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b);
    match same(&job.out, Path::new(&job.labels)) {
        true => Err(Error::configuration(format!(
            "--out {} would take the place of the labels: give another name",
            job.out.display()
        ))),
        false => Ok(()),
    }
}

fn told(report: &Report, job: &Job, seconds: f64) -> String {
    let Report { labels, incomplete, manifest, .. } = report;
    let mut text = format!("{}: {labels} labels in {seconds:.1} s", job.out.display());
    for entity in &report.entities {
        let _ = write!(text, "; {} with a row of {}", entity.found, entity.entity);
    }
    if *incomplete > 0 {
        let _ = write!(text, "; {incomplete} incomplete: rows for them may still come");
    }
    let sameness = if job.rebuild.is_some() { ", the same as before" } else { "" };
    let _ = write!(text, "\nSHA-256 {}{sameness}", manifest.out.sha256);
    let _ = write!(text, "\nversion {}, manifest {}", manifest.version, report.manifest_path.display());
    text
}

/// `user_id=customer`.
fn parse_key(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((field, column)) if !field.trim().is_empty() && !column.is_empty() => {
            Ok((field.trim().to_string(), column.to_string()))
        }
        _ => Err("write it as FIELD=COLUMN: user_id=customer".into()),
    }
}
