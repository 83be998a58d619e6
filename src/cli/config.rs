//! `kappa config`: what a run with the same flags would use.

use super::ask::AskArgs;
use super::output;
use crate::config::DEFAULTS;
use crate::error::Result;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print the defaults with their comments instead: a file to begin with
    #[arg(long)]
    defaults: bool,
    #[command(flatten)]
    ask: AskArgs,
}

pub fn run(args: &Args) -> Result<()> {
    if args.defaults {
        return output::print(DEFAULTS);
    }
    output::tree(&args.ask.load()?.redacted(), args.ask.json)
}
