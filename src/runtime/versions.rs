//! The versions of a topology: which logic, from which start, and which one is live.
//!
//! One small JSON file beside the state, replaced atomically. A version is (number, fingerprint); the same fingerprint
//! and start resume, or do nothing when already done; `--again` makes a new number. Its generation orders it in the
//! online store: a promotion raises it.
//!
//! ```text
//! building --caught up and published--> live --another becomes live--> retired
//! ```

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ReplayFrom;
use crate::error::{Error, Result};

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Reading the past; the online store sees nothing of it.
    Building,
    /// The one that serves.
    Live,
    /// Was live; its state and history are kept.
    Retired,
}

/// One version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    pub number: u32,
    pub fingerprint: String,
    pub start: ReplayFrom,
    pub standing: Standing,
    pub generation: u64,
    /// How many partitions the topic had; a key lives in another one when that changes.
    pub partitions: usize,
    /// The topic's id, where the broker tells it: a recreated topic has another.
    pub topic_id: Option<String>,
}

/// All versions of one topology.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Versions {
    versions: Vec<Version>,
    #[serde(skip)]
    folder: PathBuf,
}

/// The folder of a topology's versions.
pub fn folder(data_dir: &Path, topology: &str) -> PathBuf {
    data_dir.join(topology)
}

impl Versions {
    /// Reads the registry below `data_dir`; empty when there is none.
    ///
    /// # Errors
    /// State: the file cannot be read or is damaged.
    pub fn open(data_dir: &Path, topology: &str) -> Result<Self> {
        let folder = folder(data_dir, topology);
        let file = folder.join("versions.json");
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self { folder, ..Self::default() }),
            Err(e) => return Err(Error::state(format!("{}: {e}; mend the permissions", file.display()))),
        };
        let mut versions: Self = serde_json::from_slice(&text).map_err(|e| {
            Error::state(format!("{}: {e}; restore it, or move the folder away to begin anew", file.display()))
        })?;
        versions.folder = folder;
        Ok(versions)
    }

    /// The version that serves.
    pub fn live(&self) -> Option<&Version> {
        self.versions.iter().rfind(|version| version.standing == Standing::Live)
    }

    /// A version by its number.
    pub fn get(&self, number: u32) -> Option<&Version> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// Where a task of a version keeps its state.
    pub fn state_dir(&self, number: u32, partition: i32) -> PathBuf {
        self.folder.join(format!("v{number}")).join(format!("p{partition}"))
    }

    /// The version to run: the live one, one to resume, or a new one.
    ///
    /// # Errors
    /// Refused: the logic differs from the live version's and no replay was asked for.
    pub fn choose(&mut self, fingerprint: &str, replay: Option<ReplayFrom>, again: bool) -> Result<Version> {
        if let Some(building) = self.versions.iter().rfind(|v| v.standing == Standing::Building)
            && replay.is_some_and(|start| start == building.start && building.fingerprint == fingerprint)
        {
            return Ok(building.clone());
        }
        match (self.live(), replay) {
            (None, start) => Ok(self.next(fingerprint, start.unwrap_or(ReplayFrom::Beginning), Standing::Live)),
            (Some(live), None) if live.fingerprint == fingerprint => Ok(live.clone()),
            (Some(live), None) => Err(Error::refused(format!(
                "the topology's logic differs from version {} that is live (fingerprint {}, now {fingerprint}): its state \
                 does not fit; run with --replay-from 0 to rebuild it as a new version, or bring the old file back",
                live.number, live.fingerprint
            ))),
            (Some(live), Some(start)) if !again && live.fingerprint == fingerprint && live.start == start => {
                Ok(live.clone())
            }
            (Some(_), Some(start)) => Ok(self.next(fingerprint, start, Standing::Building)),
        }
    }

    fn next(&self, fingerprint: &str, start: ReplayFrom, standing: Standing) -> Version {
        Version {
            number: self.versions.iter().map(|v| v.number).max().unwrap_or(0) + 1,
            fingerprint: fingerprint.to_string(),
            start,
            standing,
            generation: self.versions.iter().map(|v| v.generation).max().unwrap_or(0) + 1,
            partitions: 0,
            topic_id: None,
        }
    }

    /// Records a version; a live one retires the live one before it.
    ///
    /// # Errors
    /// State: the file cannot be written.
    pub fn record(&mut self, version: &Version) -> Result<()> {
        if version.standing == Standing::Live {
            let others = self.versions.iter_mut().filter(|v| v.number != version.number);
            others.filter(|v| v.standing == Standing::Live).for_each(|v| v.standing = Standing::Retired);
        }
        match self.versions.iter_mut().find(|v| v.number == version.number) {
            Some(known) => *known = version.clone(),
            None => self.versions.push(version.clone()),
        }
        self.save()
    }

    fn save(&self) -> Result<()> {
        let file = self.folder.join("versions.json");
        let failed = |e: std::io::Error| Error::state(format!("{}: {e}; free disk space or mend it", file.display()));
        std::fs::create_dir_all(&self.folder).map_err(failed)?;
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::internal(e.to_string()))?;
        let draft = self.folder.join("versions.json.new");
        let write = || {
            let mut handle = std::fs::File::create(&draft)?;
            std::io::Write::write_all(&mut handle, &text)?;
            handle.sync_all()?;
            std::fs::rename(&draft, &file)
        };
        write().map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &tempfile::TempDir) -> Versions {
        Versions::open(dir.path(), "shop").unwrap()
    }

    #[test]
    fn the_first_version_is_live_and_resumes() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(&dir).choose("a", None, false).unwrap();
        assert_eq!((first.number, first.standing, first.generation), (1, Standing::Live, 1));
        open(&dir).record(&first).unwrap();
        assert_eq!(open(&dir).choose("a", None, false).unwrap(), first);
        assert_eq!(open(&dir).choose("a", Some(ReplayFrom::Beginning), false).unwrap(), first);
    }

    #[test]
    fn changed_logic_is_refused_without_a_replay_and_built_beside_with_one() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(&dir).choose("a", None, false).unwrap();
        open(&dir).record(&first).unwrap();
        let refused = open(&dir).choose("b", None, false).unwrap_err();
        assert!(refused.to_string().contains("--replay-from 0"), "{refused}");
        let mut second = open(&dir).choose("b", Some(ReplayFrom::Beginning), false).unwrap();
        assert_eq!((second.number, second.standing, second.generation), (2, Standing::Building, 2));
        open(&dir).record(&second).unwrap();
        assert_eq!(open(&dir).choose("b", Some(ReplayFrom::Beginning), true).unwrap(), second);
        assert_eq!(open(&dir).choose("a", None, false).unwrap(), first);
        second.standing = Standing::Live;
        open(&dir).record(&second).unwrap();
        assert_eq!(open(&dir).live(), Some(&second));
        assert_eq!(open(&dir).get(1).map(|v| v.standing), Some(Standing::Retired));
    }

    #[test]
    fn again_makes_a_new_number_of_the_same_logic() {
        let dir = tempfile::tempdir().unwrap();
        let first = open(&dir).choose("a", None, false).unwrap();
        open(&dir).record(&first).unwrap();
        let again = open(&dir).choose("a", Some(ReplayFrom::Beginning), true).unwrap();
        assert_eq!((again.number, again.standing), (2, Standing::Building));
    }
}
