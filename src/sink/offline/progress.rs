//! How far tasks had come at a commit: recorded in the commit's own info under the key `kappa`, as JSON.
//!
//! Always holds: a record says only what its commit made durable, and names only the writer's own partitions. The
//! newest record of a partition is the one in the newest commit that names it.

use std::collections::BTreeMap;

use deltalake::DeltaTable;
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::lake::unavailable;
use crate::time::Millis;

/// The key in the commit info.
pub const KEY: &str = "kappa";
/// How many of the newest commits are looked through.
const COMMITS: usize = 256;

/// Where a task stood at a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskProgress {
    /// The epoch's number within the task.
    pub epoch: u64,
    pub next_offset: i64,
    pub watermark: Option<Millis>,
    pub next_ordinal: i64,
    pub next_dead_letter: i64,
}

impl TaskProgress {
    /// Whether `other` is not behind this one. An epoch may end between two timers of one offset.
    pub fn reaches(&self, other: &Self) -> bool {
        (self.next_offset, self.next_ordinal, self.next_dead_letter)
            >= (other.next_offset, other.next_ordinal, other.next_dead_letter)
    }
}

/// The record of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// By partition.
    pub partitions: BTreeMap<i32, TaskProgress>,
}

/// The newest record of every partition named in the table's newest commits.
pub async fn newest(table: &DeltaTable) -> Result<Progress> {
    let failed = |e| unavailable(table.table_url(), "read the history of", &e);
    let mut found = Progress::default();
    let mut history = table.history(Some(COMMITS));
    while let Some(mut info) = history.try_next().await.map_err(failed)? {
        let Some(record) = info.info.remove(KEY).and_then(|value| serde_json::from_value::<Progress>(value).ok())
        else {
            continue;
        };
        let before = found.partitions.len();
        for (partition, progress) in record.partitions {
            found.partitions.entry(partition).or_insert(progress);
        }
        // A single writer names all its partitions in every commit.
        if found.partitions.len() == before {
            break;
        }
    }
    Ok(found)
}
