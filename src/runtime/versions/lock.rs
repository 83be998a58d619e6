//! Locks between processes: a file that one process holds, free again when it lets go or dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::error::{Error, Result};

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Held(File);

impl Held {
    /// Waits for it.
    ///
    /// # Errors
    /// State: the file cannot be made or locked.
    pub fn wait(path: &Path) -> Result<Self> {
        let file = open(path)?;
        file.lock().map_err(|e| failed(path, &e))?;
        Ok(Self(file))
    }

    /// Takes it when it is free; `None` while somebody holds it.
    ///
    /// # Errors
    /// State: the file cannot be made or locked.
    pub fn try_now(path: &Path) -> Result<Option<Self>> {
        let file = open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self(file))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(failed(path, &e)),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing the file would do it too.
        let _ = self.0.unlock();
    }
}

fn open(path: &Path) -> Result<File> {
    let made = path.parent().map_or(Ok(()), std::fs::create_dir_all);
    let opened = made.and_then(|()| OpenOptions::new().create(true).append(true).open(path));
    opened.map_err(|e| failed(path, &e))
}

fn failed(path: &Path, e: &std::io::Error) -> Error {
    Error::state(format!("{}: {e}; mend the permissions, or free disk space", path.display()))
}
