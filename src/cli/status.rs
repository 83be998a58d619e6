//! `kappa status`: where a running process stands.

use super::output;
use super::process::Process;
use super::settings::SettingsArgs;
use crate::error::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let settings = args.settings.load()?;
    match Process::find(&settings)? {
        Some(process) => output::tree(&process.status, args.json),
        None => Err(Error::unavailable(format!(
            "no process answers at `{}`: start one with kappa run, or name where it listens with --listen",
            settings.http.listen
        ))),
    }
}
