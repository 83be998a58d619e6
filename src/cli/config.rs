//! `kappa config`: what a run with the same flags would use.

use super::output;
use super::settings::SettingsArgs;
use crate::config::DEFAULTS;
use crate::error::Result;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the defaults with their comments instead: a file to begin with
    #[arg(long)]
    defaults: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<()> {
    if args.defaults {
        return output::print(DEFAULTS);
    }
    output::tree(&args.settings.load()?.redacted(), args.json)
}
