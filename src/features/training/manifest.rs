//! What a training file was made of, as JSON beside it: enough to make the same bytes again.
//!
//! Always holds: it says nothing of the day, the machine or the memory, so that the same file has the same manifest. It
//! holds the topology as it was written, the versions of the tables and how far their partitions had come; what it is
//! rebuilt from is compared with it before and after.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Question;
use super::output::Marks;
use crate::error::{Error, Result};
use crate::lake::{Format, Labels, Written};
use crate::sink::offline::HistoryTable;
use crate::time::Millis;
use crate::topology::{self, Plan};

/// Manifests of another form are not understood.
const FORM: u32 = 1;

/// What a training file was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The form of this file.
    pub manifest: u32,
    pub topology: Topology,
    /// The version of the logic.
    pub version: u32,
    #[serde(rename = "arguments")]
    pub question: Question,
    pub labels: LabelFile,
    /// Where the history is.
    pub offline_url: String,
    pub tables: Vec<Table>,
    pub out: OutFile,
}

/// The logic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topology {
    pub name: String,
    pub fingerprint: String,
    /// The file, as it was written.
    pub text: String,
}

/// The labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelFile {
    pub path: String,
    pub format: Format,
    pub rows: u64,
    /// Of a table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_version: Option<u64>,
    /// Of the file's bytes; of a table of its files' names and sizes.
    pub sha256: String,
}

/// The history of one entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub entity: String,
    pub path: String,
    /// `None` when there was no table yet.
    pub table_version: Option<u64>,
    pub partitions: Vec<Partition>,
}

/// How far a partition had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    pub partition: i32,
    /// The last offset that was processed; `None` before the first.
    pub max_offset: Option<i64>,
    /// In ms since 1970.
    pub watermark: Option<Millis>,
}

/// The training file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutFile {
    pub path: String,
    pub rows: u64,
    pub bytes: u64,
    pub sha256: String,
}

/// Whether a rebuilt file is the one that the manifest is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebuilt {
    Same,
    Other { expected: String, found: String },
}

impl Manifest {
    pub(super) fn new(plan: &Plan, version: u32, question: &Question, offline_url: &str, labels: &Labels) -> Self {
        Self {
            manifest: FORM,
            topology: Topology {
                name: plan.topology.clone(),
                fingerprint: plan.fingerprint.clone(),
                text: plan.text.to_string(),
            },
            version,
            question: question.clone(),
            labels: LabelFile {
                path: labels.place().to_string(),
                format: labels.format(),
                rows: 0,
                table_version: labels.table_version(),
                sha256: labels.digest().to_string(),
            },
            offline_url: offline_url.to_string(),
            tables: Vec::new(),
            out: OutFile { path: String::new(), rows: 0, bytes: 0, sha256: String::new() },
        }
    }

    pub(super) fn wrote(&mut self, out: &Path, written: &Written) {
        let Written { rows, bytes, sha256 } = written.clone();
        self.labels.rows = rows;
        self.out = OutFile { path: out.display().to_string(), rows, bytes, sha256 };
    }

    /// The manifest beside a training file: `train.parquet.manifest.json`.
    pub fn path_of(out: &Path) -> PathBuf {
        let mut name = out.as_os_str().to_os_string();
        name.push(".manifest.json");
        PathBuf::from(name)
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// Configuration: it is none, or of another release's form.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: &dyn std::fmt::Display| {
            Error::configuration(format!(
                "{}: {what}; name the manifest that kappa training-data wrote",
                path.display()
            ))
        };
        let text = fs::read(path).map_err(|error| wrong(&error))?;
        let found: Self = serde_json::from_slice(&text).map_err(|error| wrong(&error))?;
        if found.manifest != FORM {
            return Err(wrong(&format!("its form is {}, and this release knows {FORM}", found.manifest)));
        }
        Ok(found)
    }

    /// Writes it beside its training file, whole or not at all.
    ///
    /// # Errors
    /// Unavailable: the disk.
    pub fn write(&self, path: &Path) -> Result<()> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::unavailable(format!("{} could not be written: {error}; make room and run it again", path.display()))
        };
        let mut text = serde_json::to_string_pretty(self).map_err(|error| failed(&error))?;
        text.push('\n');
        let mut partial = path.as_os_str().to_os_string();
        partial.push(".partial");
        fs::write(&partial, text).and_then(|()| fs::rename(&partial, path)).map_err(|error| failed(&error))
    }

    /// The plan of the topology that it holds.
    ///
    /// # Errors
    /// Refused: this release does not read it as the same logic.
    pub fn plan(&self) -> Result<Plan> {
        let Topology { name, fingerprint, text } = &self.topology;
        let refused = |what: &str| {
            Error::refused(format!("the manifest's topology {name} {what}: rebuild with the release that wrote it"))
        };
        let plan = topology::parse("the manifest's topology", text)
            .map_err(|problems| refused(&format!("is none to this release ({problems})")))?;
        match plan.fingerprint == *fingerprint {
            true => Ok(plan),
            false => Err(refused(&format!("has the fingerprint {} here, and had {fingerprint}", plan.fingerprint))),
        }
    }

    /// Whether this is the manifest of the same file.
    pub fn compare(&self, rebuilt: &Self) -> Rebuilt {
        let (expected, found) = (self.out.sha256.clone(), rebuilt.out.sha256.clone());
        if expected == found { Rebuilt::Same } else { Rebuilt::Other { expected, found } }
    }

    /// Refuses labels that are not those of the manifest.
    pub(super) fn check_labels(&self, labels: &Labels) -> Result<()> {
        if labels.digest() == self.labels.sha256 {
            return Ok(());
        }
        Err(Error::refused(format!(
            "the labels {} have changed since the manifest was written (SHA-256 {}, now {}): bring the old ones back, or make \
             a new training set",
            labels.place(),
            self.labels.sha256,
            labels.digest()
        )))
    }

    pub(super) fn table(&self, entity: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.entity == entity)
    }
}

impl Table {
    /// What a history that was opened as it is now says of itself.
    pub(super) fn of(entity: &str, path: &str, history: Option<&HistoryTable>) -> Self {
        let partitions = history.map(|history| &history.progress().partitions);
        let partition = |(partition, progress): (&i32, &crate::sink::offline::TaskProgress)| Partition {
            partition: *partition,
            max_offset: (progress.next_offset > 0).then(|| progress.next_offset - 1),
            watermark: progress.watermark,
        };
        Self {
            entity: entity.to_string(),
            path: path.to_string(),
            table_version: history.map(HistoryTable::table_version),
            partitions: partitions.into_iter().flatten().map(partition).collect(),
        }
    }

    pub(super) fn marks(&self) -> Marks {
        let of = |partition: &Partition| (partition.partition, partition.watermark);
        Marks::new(self.partitions.iter().map(of).collect::<BTreeMap<_, _>>())
    }
}
