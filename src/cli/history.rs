//! `kappa history`: what the features of one entity were, row by row, from the offline store.

use super::ask::EntityArgs;
use super::instant::read_instant;
use super::process::Process;
use super::{block_on, open, output, rows};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::lake::TableAt;
use crate::runtime::Versions;
use crate::sink::offline::{self, HistoryQuery};
use crate::time::Millis;
use crate::topology::Plan;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    of: EntityArgs,
    /// Only the newest so many rows
    #[arg(long, value_name = "ROWS", default_value_t = 1000)]
    limit: usize,
    /// A version [default: the running process's, or the live one in data_dir]
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
    /// The table as it was after its commit of this number, not as it is
    #[arg(long, value_name = "NUMBER", conflicts_with = "as_of")]
    at_version: Option<u64>,
    /// The table as it was at this time: 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    as_of: Option<Millis>,
}

pub fn run(args: &Args) -> Result<()> {
    let EntityArgs { entity, id, topology, ask } = &args.of;
    let settings = ask.load()?;
    let plan = open::plan_or_only(topology.as_deref())?;
    open::entity(&plan, entity)?;
    let version = version(args, &settings, &plan)?;
    let at = args.at_version.map(TableAt::Version).or(args.as_of.map(TableAt::Time));
    let query = HistoryQuery { key: id.clone(), limit: Some(args.limit), at, ..HistoryQuery::default() };
    let batches = block_on(offline::read_history(&settings.offline, &plan, version, entity, &query))?;
    if batches.iter().all(|batch| batch.num_rows() == 0) {
        eprintln!("version {version} has no row of {entity} {id:?}");
        return Ok(());
    }
    output::print(&if ask.json { rows::as_json_lines(&batches)? } else { rows::as_table(&batches)? })
}

fn parse_time(text: &str) -> Result<Millis, String> {
    read_instant(text).ok_or_else(|| "write an RFC 3339 time: 2026-01-31T00:00:00Z".into())
}

fn version(args: &Args, settings: &Settings, plan: &Plan) -> Result<u32> {
    if let Some(version) = args.version {
        return Ok(version);
    }
    live_version(settings, plan)?.ok_or_else(|| {
        Error::configuration(format!(
            "no version of {} is live in `{}`: name one with --version, or the place with --data-dir",
            plan.topology,
            settings.data_dir.display()
        ))
    })
}

/// The version that serves: the running process's, or the live one in `data_dir`.
pub fn live_version(settings: &Settings, plan: &Plan) -> Result<Option<u32>> {
    let of_process = |process: Process| {
        let version = process.status.get("version")?.get("number")?.as_u64()?;
        (process.topology() == Some(plan.topology.as_str())).then(|| u32::try_from(version).ok())?
    };
    if let Some(version) = Process::find(settings)?.and_then(of_process) {
        return Ok(Some(version));
    }
    let versions = Versions::open(&settings.data_dir, &plan.topology)?;
    Ok(versions.live().map(|version| version.number))
}
