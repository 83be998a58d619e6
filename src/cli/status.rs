//! `kappa status`: where a running process stands.

use super::ask::AskArgs;
use super::output;
use super::process::Process;
use crate::error::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ask: AskArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let settings = args.ask.load()?;
    match Process::find(&settings)? {
        Some(process) => output::tree(&process.status, args.ask.json),
        None => Err(Error::unavailable(format!(
            "no process answers at `{}`: start one with kappa run, or name where it listens with --listen",
            settings.http.listen
        ))),
    }
}
