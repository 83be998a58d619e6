//! Opening what the commands need: plans, and the stores without a running process.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::config::{OnlineKind, Settings};
use crate::error::{Error, Result};
use crate::features::{Reader, StoreDoor};
use crate::runtime;
use crate::sink::online::{EmbeddedStore, OnlineStore, RedisStore};
use crate::state::{RocksShared, RocksStore};
use crate::topology::{EntityPlan, Plan};

/// Where topologies are looked for.
const FOLDER: &str = "topologies";

/// The plan of a topology file.
pub fn plan(file: &Path) -> Result<Plan> {
    crate::topology::load(file)
}

/// The plan of `file`, or of the only topology in ./topologies.
pub fn plan_or_only(file: Option<&Path>) -> Result<Plan> {
    match file {
        Some(file) => plan(file),
        None => plan(&only_in(Path::new(FOLDER))?),
    }
}

fn only_in(folder: &Path) -> Result<PathBuf> {
    let is_yaml = |path: &PathBuf| {
        path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") && !is_cases(path)
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).filter(is_yaml).collect();
    match (found.pop(), found.len()) {
        (Some(only), 0) => Ok(only),
        (found, _) => Err(Error::configuration(format!(
            "which topology? ./{FOLDER} holds {}: name one with --topology FILE",
            if found.is_none() { "none" } else { "several" }
        ))),
    }
}

/// Whether a file is named as one of cases of a topology, `shop.test.yaml`.
pub fn is_cases(path: &Path) -> bool {
    path.file_stem().is_some_and(|stem| stem.to_string_lossy().ends_with(".test"))
}

/// The entity of this name.
pub fn entity<'a>(plan: &'a Plan, name: &str) -> Result<&'a EntityPlan> {
    plan.entities.iter().find(|entity| entity.name == name).ok_or_else(|| {
        let known: Vec<&str> = plan.entities.iter().map(|entity| entity.name.as_str()).collect();
        Error::configuration(format!("{} has no entity `{name}`; it has: {}", plan.topology, known.join(", ")))
    })
}

/// The online store as the settings name it, to read from. An embedded one is opened read-only, and shows what it held
/// then; Redis is asked first with the first read.
pub fn online_to_read(settings: &Settings, plan: &Plan) -> Result<Arc<dyn OnlineStore>> {
    match settings.online.store {
        OnlineKind::None => Err(Error::configuration("`online.store` is none: there is nothing to get from")),
        OnlineKind::Redis => Ok(Arc::new(RedisStore::to_read(&settings.online.redis, &plan.topology)?)),
        OnlineKind::Embedded => {
            let bounds = &settings.bounds;
            let shared = RocksShared::new(bounds.block_cache_bytes, bounds.write_buffer_bytes, bounds.open_files);
            let path = runtime::embedded_dir(&settings.data_dir, &plan.topology);
            if !path.exists() {
                let at = path.display();
                return Err(Error::configuration(format!("no embedded store at {at}: name its data_dir")));
            }
            let store = RocksStore::open_read_only(&path, &shared)?;
            Ok(Arc::new(EmbeddedStore::new(Box::new(store), Box::new(runtime::now))))
        }
    }
}

/// A reader of features by the wall clock, for a server.
pub fn reader(plan: &Plan, settings: &Settings, store: StoreDoor) -> Arc<Reader> {
    let timeout = Duration::from_millis(settings.http.read_timeout.millis().max(0) as u64);
    Arc::new(Reader::new(Arc::new(plan.clone()), store, Box::new(runtime::now), timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_only_topology_of_a_folder_needs_no_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(only_in(folder.path()).unwrap_err().to_string().contains("holds none"));
        std::fs::write(folder.path().join("a.yaml"), "").unwrap();
        std::fs::write(folder.path().join("notes.md"), "").unwrap();
        std::fs::write(folder.path().join("a.test.yaml"), "").unwrap();
        assert_eq!(only_in(folder.path()).unwrap(), folder.path().join("a.yaml"));
        std::fs::write(folder.path().join("b.yml"), "").unwrap();
        assert!(only_in(folder.path()).unwrap_err().to_string().contains("holds several"));
    }
}
