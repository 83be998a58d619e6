//! The settings: typed, unknown keys refused, file < environment < flags, every key commented in `config/default.yaml`.
//!
//! Settings never change a value: what decides values stands in the topology.

mod check;
mod load;
mod redact;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::time::Span;

pub use check::{MIN_RETENTION, token_problem};
pub use load::Override;

/// The defaults, which are also their documentation.
pub const DEFAULTS: &str = include_str!("../../config/default.yaml");

/// All settings.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    pub data_dir: PathBuf,
    pub kafka: KafkaSettings,
    pub online: OnlineSettings,
    pub offline: OfflineSettings,
    pub archive: ArchiveSettings,
    pub epoch: EpochSettings,
    /// `None` is `off`.
    #[serde(with = "span_or_off")]
    pub idle_after: Option<Span>,
    pub workers: usize,
    pub start_timeout: Span,
    pub bounds: Bounds,
    pub http: HttpSettings,
    pub log: LogSettings,
}

/// See `config/default.yaml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaSettings {
    pub brokers: String,
    pub group: String,
    pub queue_kbytes: u32,
    pub poll_records: usize,
    pub options: BTreeMap<String, String>,
}

/// See `config/default.yaml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnlineSettings {
    pub store: OnlineKind,
    pub redis: RedisSettings,
}

/// Which online store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnlineKind {
    Redis,
    Embedded,
    None,
}

/// See `config/default.yaml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    pub url: String,
    pub cluster: bool,
    pub username: Option<String>,
    pub password: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub cert_file: Option<PathBuf>,
    pub key_file: Option<PathBuf>,
    pub timeout: Span,
    pub entities_per_call: usize,
    pub calls_per_pipeline: usize,
    #[serde(deserialize_with = "list_or_text")]
    pub formats: Vec<RedisFormat>,
    pub feast_project: Option<String>,
}

/// How an entity is written to Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisFormat {
    /// A hash of plain text.
    Hash,
    /// As Feast's own Redis store keeps it.
    Feast,
}

impl RedisSettings {
    /// Feast's project: the topology, unless the settings name another.
    pub fn feast_project_of<'a>(&'a self, topology: &'a str) -> &'a str {
        self.feast_project.as_deref().unwrap_or(topology)
    }
}

/// See `config/default.yaml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OfflineSettings {
    pub store: OfflineKind,
    pub url: String,
    pub options: BTreeMap<String, String>,
    pub commit_interval: Span,
    pub commit_bytes: u64,
    /// `None` is `off`.
    #[serde(with = "span_or_off")]
    pub compact_interval: Option<Span>,
    /// `None` is `off`.
    #[serde(with = "span_or_off")]
    pub vacuum_retention: Option<Span>,
    pub check_entities: usize,
}

/// Which offline store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfflineKind {
    Delta,
    None,
}

/// See `config/default.yaml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveSettings {
    pub enabled: bool,
    pub url: String,
    pub options: BTreeMap<String, String>,
    pub commit_interval: Span,
    pub commit_bytes: u64,
}

/// See `config/default.yaml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EpochSettings {
    pub interval: Span,
    pub max_rows: usize,
    pub max_records: usize,
}

/// See `config/default.yaml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub outbox_bytes: u64,
    pub cache_bytes: u64,
    pub block_cache_bytes: u64,
    pub write_buffer_bytes: u64,
    pub open_files: i32,
    pub shutdown: Span,
    pub materialize_bytes: u64,
}

/// See `config/default.yaml`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    pub listen: String,
    pub tokens: Option<String>,
    pub tokens_file: Option<PathBuf>,
    pub tls_cert_file: Option<PathBuf>,
    pub tls_key_file: Option<PathBuf>,
    pub read_timeout: Span,
    pub request_timeout: Span,
    pub head_timeout: Span,
    pub connection_age: Span,
    pub max_connections: usize,
    pub max_head_bytes: usize,
    pub max_body_bytes: usize,
    pub max_entities: usize,
}

/// See `config/default.yaml`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSettings {
    pub level: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Text,
    Json,
}

/// Secrets never reach a log by way of `Debug`: it prints what `kappa config` prints.
macro_rules! debug_is_redacted {
    ($($ty:ty),*) => {$(
        impl fmt::Debug for $ty {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", redact::redacted(self))
            }
        }
    )*};
}

debug_is_redacted!(
    Settings,
    KafkaSettings,
    OnlineSettings,
    RedisSettings,
    OfflineSettings,
    ArchiveSettings,
    HttpSettings
);

/// Items of a list; in the environment and in flags, which hold text, separated by commas.
fn list_or_text<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        List(Vec<String>),
        Text(String),
    }
    let texts = match Given::deserialize(deserializer)? {
        Given::List(texts) => texts,
        Given::Text(text) => text.split(',').map(|item| item.trim().to_string()).collect(),
    };
    texts.into_iter().map(|text| T::deserialize(serde::de::value::StringDeserializer::new(text))).collect()
}

/// A duration, or `off`.
mod span_or_off {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::time::Span;

    pub fn serialize<S: Serializer>(span: &Option<Span>, serializer: S) -> Result<S::Ok, S::Error> {
        match span {
            Some(span) => serializer.collect_str(span),
            None => serializer.serialize_str("off"),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Span>, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.as_str() {
            "off" => Ok(None),
            _ => text.parse().map(Some).map_err(|error| serde::de::Error::custom(format!("{error}, or off"))),
        }
    }
}
