//! `kappa manifests`: which manifests of training files keep states of the history readable; registering and forgetting
//! them.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::ask::AskArgs;
use super::{block_on, instant, open, output, tidy};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::runtime;
use crate::sink::offline::{self, Manifest};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Register this manifest: vacuum and the log then keep what it names
    #[arg(long, value_name = "FILE", conflicts_with = "forget")]
    register: Option<PathBuf>,
    /// Forget a manifest: its file, or its name as this command lists it
    #[arg(long, value_name = "FILE|NAME")]
    forget: Option<String>,
    /// The topology [default: the only one in ./topologies]
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// Only this version [default: all that data_dir or the running process knows]
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
    #[command(flatten)]
    ask: AskArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let settings = args.ask.load()?;
    match (&args.register, &args.forget) {
        (Some(file), _) => {
            let manifest = read(&settings, file)?;
            block_on(offline::register(&settings.offline, &manifest, runtime::now()))?;
            output::print(&format!("{} is registered with {} tables", manifest.name, manifest.tables.len()))
        }
        (None, Some(which)) => forget(args, &settings, which),
        (None, None) => list(args, &settings),
    }
}

/// A manifest as far as it concerns the tables.
pub(super) fn read(settings: &Settings, file: &Path) -> Result<Manifest> {
    let wrong = |e: std::io::Error| Error::configuration(format!("`{}`: {e}", file.display()));
    let text = std::fs::read_to_string(file).map_err(wrong)?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Manifest::read(&settings.offline, &name, &text)
}

fn forget(args: &Args, settings: &Settings, which: &str) -> Result<()> {
    let file = Path::new(which);
    let (name, paths) = if file.is_file() {
        let manifest = read(settings, file)?;
        (manifest.name, manifest.tables.into_keys().collect())
    } else {
        (which.to_string(), paths(args, settings)?)
    };
    let forgotten = offline::forget(&settings.offline, &name, paths.iter().map(String::as_str));
    match block_on(forgotten)? {
        0 => Err(Error::configuration(format!("no table knows a manifest `{name}` (kappa manifests lists them)"))),
        tables => output::print(&format!("{name} is forgotten by {tables} tables; a vacuum may remove what it kept")),
    }
}

/// The tables of the versions that are meant.
fn paths(args: &Args, settings: &Settings) -> Result<Vec<String>> {
    Ok(registered(args, settings)?.into_iter().map(|(path, _)| path).collect())
}

/// What their tables keep for manifests.
fn registered(args: &Args, settings: &Settings) -> Result<Vec<(String, Vec<offline::Registered>)>> {
    let versions = tidy::versions(settings, open::plan_or_only(args.topology.as_deref())?, args.version)?;
    block_on(async {
        let mut found = Vec::new();
        for (version, plan) in versions {
            found.extend(offline::registered(&settings.offline, &plan, version).await?);
        }
        Ok(found)
    })
}

fn list(args: &Args, settings: &Settings) -> Result<()> {
    let found = registered(args, settings)?;
    let each = found.iter().flat_map(|(path, kept)| kept.iter().map(move |registered| (path, registered)));
    if args.ask.json {
        let one = |(path, registered): (&String, &offline::Registered)| json!({"table": path, "manifest": registered.manifest, "table_version": registered.table_version, "registered_at": registered.registered_at});
        return output::tree(&json!(each.map(one).collect::<Vec<_>>()), true);
    }
    let mut rows = vec![["manifest", "table", "table version", "registered"].map(String::from).to_vec()];
    rows.extend(each.map(|(path, registered)| {
        let at = instant::show_instant(registered.registered_at);
        vec![registered.manifest.clone(), path.clone(), registered.table_version.to_string(), at]
    }));
    output::print(&output::table(&rows))
}
