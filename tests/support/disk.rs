//! A disk that can be full, where a run keeps its state or its history.
//!
//! Two kinds. As root a small tmpfs is mounted, and a ballast fills it: then writes fail for want of space. Who may not
//! mount gets the nearest thing that an ordinary user has: a bound on the size of every file that the process writes,
//! beyond which writes fail in the same way, and with nearly the same words.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Megabytes of the tmpfs. Less than RocksDB asks for in advance for one log (70), so that it gets none of it; enough
/// for the manifests of eight databases (4 each).
const MEGABYTES: u32 = 64;

/// What a process says when it meets a full disk: the system's words for both kinds.
pub const FULL: [&str; 2] = ["No space left on device", "File too large"];

/// A folder that can be made full; unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
    is_mounted: bool,
}

impl SmallDisk {
    /// Makes `folder` a small disk, if this user may mount.
    pub fn at(folder: &str) -> Self {
        let folder = PathBuf::from(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let size = format!("size={MEGABYTES}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "kappa-test"]).arg(&folder).output();
        let is_mounted = mount.is_ok_and(|mount| mount.status.success());
        Self { folder, is_mounted }
    }

    /// Whether it is a disk of its own; otherwise files are bounded instead.
    pub fn is_mounted(&self) -> bool {
        self.is_mounted
    }

    /// Makes it full, for a running process and for those that [`Self::command`] starts from now on.
    pub fn fill(&self, process: Option<u32>) {
        if self.is_mounted {
            let mut ballast = File::options().create(true).append(true).open(self.ballast()).unwrap();
            // Whole blocks, then what is left of the last ones.
            for block in [vec![0u8; 1 << 20], vec![0; 4096]] {
                while ballast.write_all(&block).is_ok() {}
            }
        } else if let Some(process) = process {
            prlimit(process, "4096");
        }
    }

    /// Makes room again.
    pub fn free(&self, process: Option<u32>) {
        if self.is_mounted {
            std::fs::remove_file(self.ballast()).unwrap();
        } else if let Some(process) = process {
            prlimit(process, "unlimited");
        }
    }

    /// The same command, as it must be started where files are bounded: it is to hear of a write that fails, not to be
    /// killed for it. With `is_full` its files may not grow at all.
    pub fn command(&self, command: &Command, is_full: bool) -> Command {
        let limit = if is_full && !self.is_mounted { "ulimit -S -f 8; " } else { "" };
        let mut wrapped = Command::new("sh");
        wrapped.args(["-c", &format!("trap '' XFSZ; {limit}exec \"$@\""), "sh"]);
        wrapped.arg(command.get_program()).args(command.get_args()).stdin(std::process::Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        wrapped
    }

    fn ballast(&self) -> PathBuf {
        Path::new(&self.folder).join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if self.is_mounted {
            let unmounted = Command::new("umount").arg("--lazy").arg(&self.folder).status();
            assert!(
                std::thread::panicking() || unmounted.is_ok_and(|status| status.success()),
                "the disk stays mounted"
            );
        }
    }
}

/// Bounds the files of a running process; the soft limit alone, so that it can be raised again.
fn prlimit(process: u32, bytes: &str) {
    let limit = format!("--fsize={bytes}:");
    let done = Command::new("prlimit").args(["--pid", &process.to_string(), &limit]).status();
    assert!(done.expect("prlimit (util-linux) is on the path").success(), "prlimit {limit} {process}");
}
