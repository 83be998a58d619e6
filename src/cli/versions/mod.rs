//! `kappa versions`, and what may be wanted of one: promote, rollback, drop, pause, resume.
//!
//! Each writes what it wants into the registry below `data_dir`. The process that runs does it within a second and this
//! waits for it; without one the next run does it.

mod list;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::ask::AskArgs;
use super::{open, output};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::runtime::{Standing, Versions};

pub use list::run as list;

/// How often the registry is read while a command waits.
const LOOK: Duration = Duration::from_millis(100);

/// The arguments of all of them.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology, for its name [default: the running process's, or the only one in ./topologies]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    #[command(flatten)]
    pub ask: AskArgs,
}

#[derive(Debug, clap::Args)]
pub struct OneArgs {
    /// The version's number, as kappa versions lists it
    number: u32,
    /// How long to wait for the running process, in seconds; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    args: Args,
}

#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// How long to wait for the running process, in seconds; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    #[command(flatten)]
    args: Args,
}

impl Args {
    /// Settings, registry and name of the topology; an error when it has no version.
    pub fn open(&self) -> Result<(Settings, Versions, String)> {
        let settings = self.ask.load()?;
        let topology = match (&self.topology, super::process::Process::find(&settings)) {
            (None, Ok(Some(process))) if process.topology().is_some() => {
                process.topology().unwrap_or_default().to_string()
            }
            (file, _) => open::plan_or_only(file.as_deref())?.topology,
        };
        let versions = Versions::open(&settings.data_dir, &topology)?;
        if versions.all().is_empty() {
            return Err(Error::configuration(format!(
                "{topology} has no version below {}: run it first, or name its data_dir",
                settings.data_dir.display()
            )));
        }
        Ok((settings, versions, topology))
    }
}

/// `kappa promote N`: it takes over from the version that serves.
pub fn promote(args: &OneArgs) -> Result<()> {
    let (_, mut versions, _) = args.args.open()?;
    versions.change(|versions| versions.want(args.number))?;
    await_live(&mut versions, args.number, args.wait)
}

/// `kappa rollback`: back to the version that was live before.
pub fn rollback(args: &RollbackArgs) -> Result<()> {
    let (_, mut versions, _) = args.args.open()?;
    let number = versions.change(|versions| {
        let previous = versions.previous().ok_or_else(|| {
            Error::refused(
                "there is no version to go back to: none was live before, or it was dropped (kappa versions)",
            )
        })?;
        versions.want(previous).map(|()| previous)
    })?;
    await_live(&mut versions, number, args.wait)
}

fn await_live(versions: &mut Versions, number: u32, wait: u64) -> Result<()> {
    let is_live = |versions: &Versions| versions.live().is_some_and(|live| live.number == number);
    if !is_live(versions) && !is_run(versions)? {
        return output::print(&format!(
            "version {number} is wanted; no process runs: the next kappa run makes it live"
        ));
    }
    await_(versions, wait, is_live, &format!("version {number} is not live yet; it stays wanted: kappa versions"))?;
    output::print(&format!("version {number} is live"))
}

/// `kappa drop N`: its state is removed.
pub fn drop_version(args: &OneArgs) -> Result<()> {
    let (_, mut versions, topology) = args.args.open()?;
    let number = args.number;
    versions.change(|versions| {
        if versions.known(number)?.standing == Standing::Live {
            return Err(Error::refused(format!("version {number} is live: promote another one first")));
        }
        if versions.wanted() == Some(number) {
            versions.want_none();
        }
        versions.edit(number, |version| version.dropped = true);
        Ok(())
    })?;
    let gone = |versions: &Versions| versions.get(number).is_none();
    if let Some(_claim) = versions.claim(number)? {
        versions.change(|versions| versions.remove(number))?;
    } else {
        await_(&mut versions, args.wait, gone, &format!("version {number} is still being taken down"))?;
    }
    output::print(&format!(
        "version {number} is dropped; its history stays in the offline store below {topology}/*/v{number}"
    ))
}

/// `kappa pause N`: it is not fed any more, until it is resumed.
pub fn pause(args: &OneArgs) -> Result<()> {
    set_paused(args, true)
}

/// `kappa resume N`: it is fed again, also after a failure.
pub fn resume(args: &OneArgs) -> Result<()> {
    set_paused(args, false)
}

fn set_paused(args: &OneArgs, paused: bool) -> Result<()> {
    let (_, mut versions, _) = args.args.open()?;
    let number = args.number;
    versions.change(|versions| {
        if paused && versions.known(number)?.standing == Standing::Live {
            return Err(Error::refused(format!("version {number} is live: stop the process instead")));
        }
        versions.known(number)?;
        versions.edit(number, |version| {
            version.paused = paused;
            version.failure = version.failure.take().filter(|_| paused);
        });
        Ok(())
    })?;
    output::print(&format!("version {number} is {}", if paused { "paused" } else { "resumed" }))
}

/// Whether a process runs the version that serves.
fn is_run(versions: &Versions) -> Result<bool> {
    match versions.live() {
        Some(live) => Ok(versions.claim(live.number)?.is_none()),
        None => Ok(false),
    }
}

fn await_(versions: &mut Versions, wait: u64, is_so: impl Fn(&Versions) -> bool, or_else: &str) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(wait);
    while !is_so(versions) {
        if Instant::now() >= until {
            return Err(Error::unavailable(or_else.to_string()));
        }
        std::thread::sleep(LOOK);
        versions.refresh()?;
    }
    Ok(())
}
