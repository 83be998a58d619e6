//! The rank of a thread among the machine's others: what rebuilds the past gives way to what serves.
//!
//! A thread may always put itself behind; to come back it needs a right (root, or `LimitNICE`). Without it the threads of
//! a version that has taken over stay behind those of other programs on the same machine until the next start.

#![allow(unsafe_code)]

/// How far behind, as `nice` counts.
const BEHIND: i32 = 10;

/// The calling thread's rank.
#[derive(Debug, Default)]
pub struct Rank {
    behind: bool,
}

impl Rank {
    /// Of the version that serves: as any other. Of another: behind. Threads that it starts begin with its rank.
    pub fn follow(&mut self, serves: bool) {
        if self.behind == serves {
            self.behind = !serves;
            // SAFETY: plain numbers, no memory. On Linux who = 0 means the calling thread alone.
            let done = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, if serves { 0 } else { BEHIND }) };
            if done != 0 {
                tracing::info!("a thread keeps its rank: {}", std::io::Error::last_os_error());
            }
        }
    }
}
