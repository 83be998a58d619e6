//! Opening a task's database to read while whoever owns it goes on writing.
//!
//! Always holds: what is read is the state at the end of one epoch, whole. RocksDB reads its list of tables first and
//! the logs behind it then; a log that its owner removes between the two would leave a hole. So the folder is looked at
//! before and after, and opened again when a log is gone. All tables are open from then on: the owner may remove their
//! files, and they can still be read.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use super::{RocksShared, RocksStore};
use crate::error::{Error, Result};

/// How often it is tried, and the pause between: an owner that flushes does so for moments.
const TRIES: u32 = 20;
const PAUSE: Duration = Duration::from_millis(50);
/// Memory for what is written no more; read-only databases replay their logs into it and flush nothing.
const WRITE_BUFFER_BYTES: u64 = 64 << 20;
/// Every table at once.
const ALL_FILES: i32 = -1;

/// The database at `path` as it stands now, with a cache of so many bytes.
///
/// # Errors
/// State: there is none, or it cannot be read.
pub fn open_beside(path: &Path, cache_bytes: u64) -> Result<RocksStore> {
    if !path.is_dir() {
        let remedy = "it was dropped, has not begun, or lies under another data_dir";
        return Err(Error::state(format!("no state at {}: {remedy}", path.display())));
    }
    let shared = RocksShared::new(cache_bytes, WRITE_BUFFER_BYTES, ALL_FILES);
    let mut failed = Error::state(format!("state at {}: it changes faster than it is read; try again", path.display()));
    for attempt in 0..TRIES {
        if attempt > 0 {
            std::thread::sleep(PAUSE);
        }
        let before = logs(path)?;
        match RocksStore::open_read_only(path, &shared) {
            Ok(store) if before.is_subset(&logs(path)?) => return Ok(store),
            Ok(_) => {}
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The names of the write-ahead logs in a folder.
fn logs(path: &Path) -> Result<BTreeSet<OsString>> {
    let unread = |e: std::io::Error| Error::state(format!("{}: {e}; mend the permissions", path.display()));
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(path).map_err(unread)? {
        let name = entry.map_err(unread)?.file_name();
        if Path::new(&name).extension().is_some_and(|extension| extension == "log") {
            names.insert(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Batch, Store};

    fn write(store: &RocksStore, number: u32) {
        let mut batch = Batch::default();
        batch.put(b"a", &number.to_be_bytes());
        batch.put(b"b", &number.to_be_bytes());
        store.write(&batch).unwrap();
    }

    #[test]
    fn what_is_read_beside_its_owner_is_one_state_that_stays() {
        let dir = tempfile::tempdir().unwrap();
        let owner = RocksStore::open(dir.path(), &RocksShared::new(1 << 20, 1 << 20, 64)).unwrap();
        write(&owner, 1);
        let beside = open_beside(dir.path(), 1 << 20).unwrap();
        write(&owner, 2);
        let read = |store: &RocksStore| (store.get(b"a").unwrap(), store.get(b"b").unwrap());
        let both = |number: u32| (Some(number.to_be_bytes().to_vec()), Some(number.to_be_bytes().to_vec()));
        assert_eq!(read(&beside), both(1));
        assert_eq!(read(&open_beside(dir.path(), 1 << 20).unwrap()), both(2));
    }

    #[test]
    fn a_state_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = open_beside(&dir.path().join("p0"), 1 << 20).unwrap_err().to_string();
        assert!(error.contains("no state at") && error.contains("p0"), "{error}");
    }
}
