//! The flags that every command with settings has, and how they become [`Settings`].

use std::path::{Path, PathBuf};

use super::{logging, open};
use crate::config::{Override, Settings};
use crate::error::{Error, Result};
use crate::topology::Plan;

/// Where settings come from, besides the defaults and the environment.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct SettingsArgs {
    /// A YAML file of settings (kappa config --defaults prints one)
    #[arg(long, value_name = "FILE", env = "KAPPA_CONFIG")]
    config: Option<PathBuf>,
    /// Any setting: --set epoch.interval=50ms
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// kafka.brokers
    #[arg(long, value_name = "HOST:PORT,...")]
    brokers: Option<String>,
    /// online.redis.url
    #[arg(long, value_name = "URL")]
    redis_url: Option<String>,
    /// data_dir
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// offline.url
    #[arg(long, value_name = "URL")]
    offline_url: Option<String>,
    /// http.listen
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
}

impl SettingsArgs {
    /// Whether the command line says itself where the history is.
    pub fn names_offline_url(&self) -> bool {
        self.offline_url.is_some() || self.set.iter().any(|pair| pair.trim_start().starts_with("offline.url"))
    }

    /// The effective settings; flags of their own win over `--set`.
    pub fn load(&self) -> Result<Settings> {
        let mut overrides = self.set.iter().map(|pair| parse_set(pair)).collect::<Result<Vec<_>>>()?;
        for (key, flag, value) in [
            ("kafka.brokers", "--brokers", &self.brokers),
            ("online.redis.url", "--redis-url", &self.redis_url),
            ("data_dir", "--data-dir", &self.data_dir),
            ("offline.url", "--offline-url", &self.offline_url),
            ("http.listen", "--listen", &self.listen),
        ] {
            if let Some(value) = value {
                overrides.push(Override { key: key.into(), value: value.clone(), from: flag.into() });
            }
        }
        Settings::load(self.config.as_deref(), &overrides)
    }

    /// What a command that works on a topology begins with: the settings, with the log as they want it, and the plan.
    pub fn begin(&self, topology: &Path) -> Result<(Settings, Plan)> {
        let settings = self.load()?;
        logging::start(&settings.log)?;
        Ok((settings, open::plan(topology)?))
    }
}

fn parse_set(pair: &str) -> Result<Override> {
    match pair.split_once('=') {
        Some((key, value)) => {
            Ok(Override { key: key.trim().into(), value: value.into(), from: format!("--set {key}") })
        }
        None => Err(Error::configuration(format!("--set {pair}: write it as KEY=VALUE"))),
    }
}
