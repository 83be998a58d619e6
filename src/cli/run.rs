//! `kappa run`: the long-running consumer.

use std::path::PathBuf;

use super::settings::SettingsArgs;
use super::{asynchronous, logging, open, output, pipeline, signals};
use crate::error::Result;
use crate::runtime::{Observer, ReplayFrom, RunOptions};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology
    topology: PathBuf,
    /// Rebuild as a new version: from 0, the true beginning of the log, or from the earliest record still there
    #[arg(long, value_name = "0|earliest", value_parser = parse_start)]
    pub replay_from: Option<ReplayFrom>,
    /// Replay although nothing has changed: a new version number for the same logic
    #[arg(long, requires = "replay_from")]
    pub again: bool,
    /// Stop, with exit code 0, once everything that is in the log now has been processed and stored
    #[arg(long)]
    pub until_caught_up: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let settings = args.settings.load()?;
    logging::start(&settings.log)?;
    let plan = open::plan(&args.topology)?;
    let options =
        RunOptions { replay_from: args.replay_from, again: args.again, until_caught_up: args.until_caught_up };
    let observer = Observer::default();
    let summary = asynchronous()?.block_on(async {
        let stop = signals::stop_on_signal(observer.clone())?;
        pipeline::run(plan, settings, options, observer, stop, |_| {}).await
    })?;
    output::print(&summary.to_string())
}

fn parse_start(text: &str) -> Result<ReplayFrom, String> {
    match text {
        "0" => Ok(ReplayFrom::Beginning),
        "earliest" => Ok(ReplayFrom::Earliest),
        _ => Err("write 0 or earliest".into()),
    }
}
