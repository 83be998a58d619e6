//! `kappa feast-repo`: the Feast repository of a topology, so that Feast's own clients read what Kappa writes.
//!
//! Three files: the features (the same for all), and the store's settings for each of the two doors to the online values,
//! Redis and our server. Always holds: nothing that is secret is written; what is read at run time comes from the
//! environment. Left out: running Feast; `feast apply` in the folder does that.

mod definitions;
mod store;

use std::path::PathBuf;

use super::history::live_version;
use super::settings::SettingsArgs;
use super::{open, output};
use crate::error::{Error, Result};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// A topology file
    #[arg(value_name = "FILE")]
    topology: PathBuf,
    /// Write the files into this folder instead of printing them
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// The version whose history is the training data [default: the live one, or 1 before there is one]
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// One file of the repository: its name and its text.
type File = (&'static str, String);

pub fn run(args: &Args) -> Result<()> {
    let settings = args.settings.load()?;
    let plan = open::plan(&args.topology)?;
    let version = match args.version {
        Some(version) => version,
        None => live_version(&settings, &plan)?.unwrap_or(1),
    };
    let files: [File; 3] = [
        ("feature_store.yaml", store::through_redis(&plan, &settings)?),
        ("feature_store.http.yaml", store::through_server(&plan, &settings)?),
        ("features.py", definitions::of(&plan, &settings, version)?),
    ];
    match &args.out {
        None => {
            let parts: Vec<String> = files.iter().map(|(name, text)| format!("# --- {name}\n{text}")).collect();
            output::print(&parts.join("\n"))
        }
        Some(folder) => write(folder, &files),
    }
}

fn write(folder: &PathBuf, files: &[File]) -> Result<()> {
    let cannot = |path: &PathBuf, error: std::io::Error| {
        Error::configuration(format!("{}: {error}; name another folder with --out", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| cannot(folder, error))?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| cannot(&path, error))?;
        eprintln!("{} is written", path.display());
    }
    eprintln!("next: cd {} && feast apply", folder.display());
    Ok(())
}
