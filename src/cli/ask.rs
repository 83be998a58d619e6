//! What the commands that ask have in common: how the answer looks, of whom, and where the settings come from.

use std::path::PathBuf;

use super::settings::SettingsArgs;
use crate::config::Settings;
use crate::error::Result;

/// The arguments of every command that prints what it finds.
#[derive(Debug, clap::Args)]
pub struct AskArgs {
    /// As JSON; rows as one object a line
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

impl AskArgs {
    /// The effective settings.
    pub fn load(&self) -> Result<Settings> {
        self.settings.load()
    }
}

/// The arguments of every command that asks about one entity.
#[derive(Debug, clap::Args)]
pub struct EntityArgs {
    /// The entity's name in the topology: user
    pub entity: String,
    /// Its key: u42
    #[arg(allow_hyphen_values = true)]
    pub id: String,
    /// The topology [default: the running process's (get), or the only one in ./topologies]
    #[arg(long, value_name = "FILE")]
    pub topology: Option<PathBuf>,
    #[command(flatten)]
    pub ask: AskArgs,
}
