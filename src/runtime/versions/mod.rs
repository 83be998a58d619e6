//! The versions of a topology: which logic, from which start, how far each has come, and which one is live.
//!
//! One small JSON file beside the state, replaced atomically, changed only under a lock: the process that runs and the
//! commands beside it both write it. What a command wants (`wanted`, `paused`, `dropped`) is written here and done by the
//! process that runs, at once or when one starts. A version is (number, fingerprint); the same fingerprint and start
//! resume, or do nothing when already done; `--again` makes a new number. Its generation orders it in the online store:
//! each cut-over raises it.
//!
//! ```text
//! building --caught up--> ready --cut-over--> live --another's cut-over--> retired --cut-over (rollback)--> live
//! ```

mod lock;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use lock::Held;

use super::ReplayFrom;
use crate::error::{Error, Result};
use crate::time::Millis;
use crate::topology::{Difference, Plan};

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Reading the past; the online store sees nothing of it.
    Building,
    /// Caught up; it has never served.
    Ready,
    /// The one that serves.
    Live,
    /// Was live; its state and history are kept, and fed unless it is paused.
    Retired,
}

impl Standing {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Live => "live",
            Self::Retired => "retired",
        }
    }
}

/// One version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// When it was begun, in ms since 1970.
    #[serde(default)]
    pub created_at: Millis,
    /// Not fed until it is resumed.
    #[serde(default)]
    pub paused: bool,
    /// To be removed: its state goes as soon as nothing runs it.
    #[serde(default)]
    pub dropped: bool,
    /// Why it stopped, when it did.
    #[serde(default)]
    pub failure: Option<String>,
    /// While it takes over: for each partition that the version before it no longer publishes, the offset up to which
    /// that one did.
    #[serde(default)]
    pub cut: BTreeMap<i32, i64>,
    /// Records a second while it was built; for estimates.
    #[serde(default)]
    pub built_at_rate: Option<f64>,
}

impl Version {
    /// Whether it is to be fed.
    pub fn is_fed(&self) -> bool {
        !self.paused && !self.dropped
    }
}

/// All versions of one topology.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Versions {
    versions: Vec<Version>,
    /// The largest number ever given: a dropped one is not given again.
    #[serde(default)]
    last: u32,
    #[serde(default)]
    last_generation: u64,
    /// The version that is to be live as soon as it can.
    #[serde(default)]
    wanted: Option<u32>,
    /// The version that was live before the present one: where a rollback goes.
    #[serde(default)]
    previous: Option<u32>,
    #[serde(skip)]
    folder: PathBuf,
}

/// What a run is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// Nothing but the live version; it may be the first, and then new.
    Live(Version),
    /// Beside the live one build this one, or finish it.
    Build(Version),
    /// It was asked for a replay that this version is the result of, and that has served already.
    Done(Version),
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
        Self::read(folder(data_dir, topology))
    }

    fn read(folder: PathBuf) -> Result<Self> {
        let file = folder.join("versions.json");
        let text = match std::fs::read(&file) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Self { folder, ..Self::default() }),
            Err(e) => return Err(Error::state(format!("{}: {e}; mend the permissions", file.display()))),
        };
        let mut versions: Self = serde_json::from_slice(&text).map_err(|e| {
            Error::state(format!("{}: {e}; restore it, or move the folder away to begin anew", file.display()))
        })?;
        let numbers = versions.versions.iter().map(|version| version.number);
        versions.last = numbers.max().unwrap_or(0).max(versions.last);
        let generations = versions.versions.iter().map(|version| version.generation);
        versions.last_generation = generations.max().unwrap_or(0).max(versions.last_generation);
        versions.folder = folder;
        Ok(versions)
    }

    /// Reads it again.
    ///
    /// # Errors
    /// State, as [`Self::open`].
    pub fn refresh(&mut self) -> Result<()> {
        *self = Self::read(std::mem::take(&mut self.folder))?;
        Ok(())
    }

    /// Changes the registry: reads what others have written, changes it, writes it, all under its lock.
    ///
    /// # Errors
    /// State: the files; or what `change` answers, and then nothing is written.
    pub fn change<T>(&mut self, change: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        std::fs::create_dir_all(&self.folder).map_err(|e| self.unwritten(&e))?;
        let _held = Held::wait(&self.folder.join("versions.lock"))?;
        let mut newest = Self::read(self.folder.clone())?;
        let answer = change(&mut newest)?;
        newest.save()?;
        *self = newest;
        Ok(answer)
    }

    /// All, oldest first.
    pub fn all(&self) -> &[Version] {
        &self.versions
    }

    /// The version that serves.
    pub fn live(&self) -> Option<&Version> {
        self.versions.iter().rfind(|version| version.standing == Standing::Live)
    }

    /// A version by its number.
    pub fn get(&self, number: u32) -> Option<&Version> {
        self.versions.iter().find(|version| version.number == number)
    }

    /// The same, or what there is instead.
    ///
    /// # Errors
    /// Configuration: there is none of this number.
    pub fn known(&self, number: u32) -> Result<&Version> {
        self.get(number).ok_or_else(|| {
            let known: Vec<String> = self.versions.iter().map(|version| version.number.to_string()).collect();
            let known = if known.is_empty() { "none".to_string() } else { known.join(", ") };
            Error::configuration(format!("there is no version {number}; there is: {known} (kappa versions)"))
        })
    }

    /// How many partitions a topic had when a version began on it.
    pub fn partitions_of(&self, topic_id: Option<&str>) -> impl Iterator<Item = usize> {
        let of_it = move |version: &&Version| topic_id.is_some() && version.topic_id.as_deref() == topic_id;
        self.versions.iter().filter(of_it).map(|version| version.partitions)
    }

    /// The version that is to be live as soon as it can.
    pub fn wanted(&self) -> Option<u32> {
        self.wanted
    }

    /// Where a rollback goes.
    pub fn previous(&self) -> Option<u32> {
        self.previous.filter(|number| self.get(*number).is_some_and(|version| !version.dropped))
    }

    /// Where a version keeps what it has.
    pub fn version_dir(&self, number: u32) -> PathBuf {
        self.folder.join(format!("v{number}"))
    }

    /// Where a task of a version keeps its state.
    pub fn state_dir(&self, number: u32, partition: i32) -> PathBuf {
        self.version_dir(number).join(format!("p{partition}"))
    }

    /// The right to run a version; `None` while another process has it.
    ///
    /// # Errors
    /// State: the lock's file cannot be made.
    pub fn claim(&self, number: u32) -> Result<Option<Held>> {
        Held::try_now(&self.version_dir(number).join("run.lock"))
    }

    /// The topology that a version was begun with, as it was written.
    ///
    /// # Errors
    /// State: it cannot be read; or it is no topology to this program any more.
    pub fn plan(&self, number: u32) -> Result<Plan> {
        let file = self.version_dir(number).join("topology.yaml");
        crate::topology::load(&file).map_err(|error| {
            Error::state(format!("version {number}'s own topology: {error}; start it once with its own file"))
        })
    }

    /// Keeps the topology of a version beside its state: whoever runs it later needs no other file.
    ///
    /// # Errors
    /// State: the file cannot be written.
    pub fn keep_plan(&self, number: u32, plan: &Plan) -> Result<()> {
        replace(&self.version_dir(number).join("topology.yaml"), plan.text.as_bytes())
    }

    /// The version to run for this topology: the live one, one to resume, or a new one.
    ///
    /// # Errors
    /// Refused: the logic differs from the live version's and no replay was asked for.
    pub fn choose(&self, given: &Plan, replay: Option<&ReplayFrom>, again: bool) -> Result<Choice> {
        let fingerprint = given.fingerprint.as_str();
        let Some(live) = self.live() else {
            let start = replay.cloned().unwrap_or(ReplayFrom::Beginning);
            return Ok(Choice::Live(self.next(fingerprint, start, Standing::Live)));
        };
        let Some(start) = replay else {
            return if live.fingerprint == fingerprint {
                Ok(Choice::Live(live.clone()))
            } else {
                Err(self.differs(live, given))
            };
        };
        let same = |version: &&Version| version.fingerprint == fingerprint && version.start == *start;
        // One that is ready is this replay's result: to build it again is to build another one.
        let goes_on = |version: &&Version| match version.standing {
            Standing::Building => true,
            Standing::Ready => !again,
            Standing::Live | Standing::Retired => false,
        };
        let kept = || self.versions.iter().rev().filter(|version| !version.dropped).filter(same);
        if let Some(version) = kept().find(goes_on) {
            return Ok(Choice::Build(version.clone()));
        }
        if again {
            return Ok(Choice::Build(self.next(fingerprint, start.clone(), Standing::Building)));
        }
        Ok(match kept().find(|version| version.standing == Standing::Live).or_else(|| kept().next()) {
            Some(version) if version.standing == Standing::Live => Choice::Live(version.clone()),
            Some(version) => Choice::Done(version.clone()),
            None => Choice::Build(self.next(fingerprint, start.clone(), Standing::Building)),
        })
    }

    fn differs(&self, live: &Version, given: &Plan) -> Error {
        let fingerprint = &given.fingerprint;
        let difference = match self.plan(live.number) {
            Ok(kept) => Difference::between(&kept, &live.fingerprint, given).to_string(),
            Err(error) => format!("in what is not known: {error}"),
        };
        let mut remedies =
            "run with --replay-from 0 to rebuild it as a new version, or bring the old file back".to_string();
        if let Some(known) = self.versions.iter().rfind(|v| v.fingerprint == *fingerprint && !v.dropped) {
            let (number, standing) = (known.number, known.standing.name());
            remedies =
                format!("version {number}, which is {standing}, has this logic: kappa promote {number}; or {remedies}");
        }
        Error::refused(format!(
            "the topology's logic differs from version {} that is live ({difference}; fingerprint {}, now {fingerprint}): \
             its state does not fit; kappa plan says more; {remedies}",
            live.number, live.fingerprint
        ))
    }

    fn next(&self, fingerprint: &str, start: ReplayFrom, standing: Standing) -> Version {
        Version {
            number: self.last + 1,
            fingerprint: fingerprint.to_string(),
            start,
            standing,
            generation: self.last_generation + 1,
            partitions: 0,
            topic_id: None,
            created_at: super::now(),
            paused: false,
            dropped: false,
            failure: None,
            cut: BTreeMap::new(),
            built_at_rate: None,
        }
    }

    /// Records a version as it is.
    pub fn put(&mut self, version: &Version) {
        self.last = self.last.max(version.number);
        self.last_generation = self.last_generation.max(version.generation);
        match self.versions.iter_mut().find(|known| known.number == version.number) {
            Some(known) => *known = version.clone(),
            None => self.versions.push(version.clone()),
        }
    }

    /// Changes one version, if it is still there.
    pub fn edit(&mut self, number: u32, edit: impl FnOnce(&mut Version)) {
        if let Some(version) = self.versions.iter_mut().find(|version| version.number == number) {
            edit(version);
        }
    }

    /// Wants a version to be live; a paused one is fed again for it.
    ///
    /// # Errors
    /// Configuration: no such version. Refused: it is to be dropped.
    pub fn want(&mut self, number: u32) -> Result<()> {
        let version = self.known(number)?;
        if version.dropped {
            return Err(Error::refused(format!("version {number} is being dropped; rebuild it with --replay-from 0")));
        }
        if let Some(other) = self.versions.iter().find(|other| !other.cut.is_empty() && other.number != number) {
            return Err(Error::refused(format!(
                "version {} is taking over just now: wait until it is live, then ask again",
                other.number
            )));
        }
        if version.standing == Standing::Live {
            self.wanted = None;
            return Ok(());
        }
        self.edit(number, |version| version.paused = false);
        self.wanted = Some(number);
        Ok(())
    }

    /// Wants no other version any more.
    pub fn want_none(&mut self) {
        self.wanted = None;
    }

    /// The wanted version begins to take over: it outranks all before it. The same rank when it had begun already.
    pub fn begin_cut_over(&mut self, number: u32) -> u64 {
        let outranks = self.get(number).is_some_and(|version| !version.cut.is_empty());
        if !outranks
            && self.get(number).is_some_and(|version| {
                version.generation < self.last_generation || version.standing == Standing::Retired
            })
        {
            self.last_generation += 1;
            let generation = self.last_generation;
            self.edit(number, |version| version.generation = generation);
        }
        self.get(number).map_or(self.last_generation, |version| version.generation)
    }

    /// The version has taken over.
    pub fn end_cut_over(&mut self, number: u32) {
        let before = self.live().map(|version| version.number).filter(|live| *live != number);
        if let Some(before) = before {
            self.edit(before, |version| version.standing = Standing::Retired);
            self.previous = Some(before);
        }
        self.edit(number, |version| {
            version.standing = Standing::Live;
            version.cut.clear();
            version.failure = None;
        });
        self.wanted = self.wanted.filter(|wanted| *wanted != number);
    }

    /// Forgets a version and removes its state; the caller holds its claim.
    ///
    /// # Errors
    /// State: the files cannot be removed.
    pub fn remove(&mut self, number: u32) -> Result<()> {
        let dir = self.version_dir(number);
        match std::fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::state(format!("{}: {e}; remove it by hand", dir.display())));
            }
            _ => {}
        }
        self.versions.retain(|version| version.number != number);
        self.wanted = self.wanted.filter(|wanted| *wanted != number);
        Ok(())
    }

    fn unwritten(&self, e: &std::io::Error) -> Error {
        Error::state(format!("{}: {e}; free disk space or mend it", self.folder.join("versions.json").display()))
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(self).map_err(|e| Error::internal(e.to_string()))?;
        replace(&self.folder.join("versions.json"), &text)
    }
}

/// Writes a file as a whole or not at all.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let draft = file.with_extension("new");
    let write = || {
        file.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let mut handle = std::fs::File::create(&draft)?;
        std::io::Write::write_all(&mut handle, bytes)?;
        handle.sync_all()?;
        std::fs::rename(&draft, file)
    };
    write().map_err(|e| Error::state(format!("{}: {e}; free disk space or mend it", file.display())))
}
