//! `kappa verify served`: what was served, held against what a model is trained on.
//!
//! A log of reads has one answer of `/v1/features` a line. Each read names the row that it came from, so each is held
//! against that row of the history, brought to the moment of the read as readers and training data bring it. A row that
//! was refreshed by the clock is in no history: its values are the law at its T', folded anew from the entity's own
//! records in the log. Then the join that training data makes is made for the moment of the read, with what could be
//! known then; where it has a newer row than the read, that row was still on its way to the reader, and for how long is
//! said. Nothing is changed anywhere.

mod check;
mod heads;
mod law;
mod reads;
mod report;
mod rows;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use super::ask::AskArgs;
use super::{block_on, history, open, output};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::topology::Plan;
use check::Checker;
use law::Law;
use reads::Served;
use report::Report;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// A log of reads against the history, the log, and what training data says of their moments
    Served(ServedArgs),
}

#[derive(Debug, clap::Args)]
struct ServedArgs {
    /// Answers of /v1/features/{entity}/{id}, one a line; of an entity with nothing stored its `entity`, `id` and `read_at`
    /// (ms since 1970)
    reads: PathBuf,
    /// The topology [default: the only one in ./topologies]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Print at most so many of the reads that differ
    #[arg(long, value_name = "READS", default_value_t = 20)]
    limit: usize,
    #[command(flatten)]
    ask: AskArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let What::Served(args) = &args.what;
    let settings = args.ask.load()?;
    let plan = Arc::new(open::plan_or_only(args.topology.as_deref())?);
    let reads = reads::read(&args.reads, &plan)?;
    let report = verify(&settings, &plan, &reads, args.limit)?;
    match args.ask.json {
        true => output::print(&format!("{}\n", report.json()))?,
        false => output::print(&report.text())?,
    }
    match report.different() {
        0 => Ok(()),
        different => Err(Error::unmet(format!(
            "{different} of {} reads differ from the history or the log: is the topology the one that was run, and is \
             data_dir its own? If so this is a defect of kappa",
            reads.len()
        ))),
    }
}

fn verify(settings: &Settings, plan: &Arc<Plan>, reads: &[Served], limit: usize) -> Result<Report> {
    let law = Law::read(settings, plan, reads)?;
    let tables = by_table(settings, plan, reads)?;
    let mut report = Report::new(reads.len(), limit);
    block_on(async {
        for ((version, entity), reads) in tables {
            let checker = Checker { settings, plan, law: &law, version, entity };
            checker.check(&reads, &mut report).await?;
        }
        Ok(())
    })?;
    Ok(report)
}

/// The reads by the history that they belong to: version and entity. A read that found nothing names no version: it is
/// that of the read before it.
fn by_table<'r>(
    settings: &Settings,
    plan: &Plan,
    reads: &'r [Served],
) -> Result<BTreeMap<(u32, usize), Vec<&'r Served>>> {
    let named = |read: &Served| read.row.as_ref().map(|row| row.version);
    let mut version = reads.iter().find_map(named);
    if version.is_none() {
        version = history::live_version(settings, plan)?;
    }
    let mut version = version.ok_or_else(|| {
        let data_dir = settings.data_dir.display();
        Error::configuration(format!("no read names a version, and none is live in `{data_dir}`: name its --data-dir"))
    })?;
    let mut tables: BTreeMap<(u32, usize), Vec<&Served>> = BTreeMap::new();
    for read in reads {
        version = named(read).unwrap_or(version);
        tables.entry((version, read.entity)).or_default().push(read);
    }
    let without: BTreeSet<&str> = tables
        .keys()
        .map(|(_, entity)| &plan.entities[*entity])
        .filter(|entity| !entity.history)
        .map(|entity| entity.name.as_str())
        .collect();
    match without.first() {
        None => Ok(tables),
        Some(name) => Err(Error::configuration(format!("{name} has `history: off`: take its reads out of the log"))),
    }
}
