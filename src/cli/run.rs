//! `kappa run`: the long-running consumer.

use std::path::PathBuf;

use super::settings::SettingsArgs;
use super::{block_on, output, pipeline, signals};
use crate::error::Result;
use crate::runtime::{Observer, ReplayFrom, RunOptions};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology
    topology: PathBuf,
    /// Rebuild as a new version beside the live one, which serves on until it has caught up: from 0, the true beginning
    /// of the log, from the earliest record still there, from the archive (and on from the log where that ends), from a
    /// time, or from offsets
    #[arg(long, value_name = "0|earliest|archive|TIME|offset:P=N,...")]
    pub replay_from: Option<ReplayFrom>,
    /// Replay although nothing has changed: a new version number for the same logic
    #[arg(long, requires = "replay_from")]
    pub again: bool,
    /// Stop, with exit code 0, once everything that is in the log now has been processed and stored
    #[arg(long)]
    pub until_caught_up: bool,
    /// Records a second that a version which does not serve may read [default: as many as it can]
    #[arg(long, value_name = "RECORDS", value_parser = clap::value_parser!(u64).range(1..))]
    max_rate: Option<u64>,
    /// Let the new version catch up and wait: kappa diff to look, kappa promote to switch
    #[arg(long, requires = "replay_from")]
    no_promote: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let (settings, plan) = args.settings.begin(&args.topology)?;
    let options = RunOptions {
        replay_from: args.replay_from.clone(),
        again: args.again,
        until_caught_up: args.until_caught_up,
        promote: !args.no_promote,
        max_rate: args.max_rate,
    };
    let observer = Observer::default();
    let summary = block_on(async {
        let stop = signals::stop_on_signal(observer.clone())?;
        pipeline::run(plan, settings, options, observer, stop, |_| {}).await
    })?;
    output::print(&summary.to_string())
}
