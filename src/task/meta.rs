//! What a task knows of itself: its position, watermark, ordinals and counts, stored with every epoch.

use serde::{Deserialize, Serialize};

use super::entity::NEVER;
use crate::error::{Error, Result};
use crate::time::Millis;

/// The layout of state; another one is refused.
pub const STATE_FORMAT: u32 = 1;

/// A task's own state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    pub format: u32,
    /// The fingerprint of the topology that this state is of.
    pub fingerprint: String,
    /// Where the version began in this partition.
    pub start_offset: i64,
    /// Everything before it is in the state.
    pub next_offset: i64,
    /// `None` before the first on-time record.
    pub watermark: Option<Millis>,
    /// The ordinal of the next feature row, over all entities.
    pub next_ordinal: i64,
    pub next_dead_letter: i64,
    /// The number of the last epoch.
    pub epoch: u64,
    /// Set when the epoch ended among the timers of the record at `next_offset`.
    pub pending: Option<Pending>,
    pub counts: Counts,
}

/// A record whose watermark is in the state, and which is not folded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    pub offset: i64,
    /// The sequence of its next row.
    pub sequence: i32,
}

/// Records by class, and what is counted beside them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub tombstone: u64,
    pub over_limit: u64,
    pub malformed: u64,
    pub filtered: u64,
    pub future: u64,
    pub late: u64,
    pub applied: u64,
    /// Entity keys of applied records that are null: one for each entity of the topology.
    pub null_keys: u64,
    /// Values of applied records whose expression failed, and which are null; and records that are filtered because the
    /// source's `where` failed.
    pub expression_failures: u64,
    /// Row values that are null for a sum out of range.
    pub overflows: u64,
}

impl Counts {
    /// The classes with their names, in the order in which they are tested.
    pub fn classes(&self) -> [(&'static str, u64); 7] {
        [
            ("tombstone", self.tombstone),
            ("over_limit", self.over_limit),
            ("malformed", self.malformed),
            ("filtered", self.filtered),
            ("future", self.future),
            ("late", self.late),
            ("applied", self.applied),
        ]
    }

    /// All records: each has exactly one class.
    pub fn delivered(&self) -> u64 {
        self.classes().iter().map(|(_, count)| count).sum()
    }

    /// What must be among the dead letters.
    pub fn dead_letters(&self) -> u64 {
        self.over_limit + self.malformed + self.future + self.late
    }
}

impl Meta {
    /// A task that has seen nothing and begins at `start_offset`.
    pub fn new(fingerprint: &str, start_offset: i64) -> Self {
        Self {
            format: STATE_FORMAT,
            fingerprint: fingerprint.to_string(),
            start_offset,
            next_offset: start_offset,
            watermark: None,
            next_ordinal: 0,
            next_dead_letter: 0,
            epoch: 0,
            pending: None,
            counts: Counts::default(),
        }
    }

    /// The watermark, or before everything.
    pub fn watermark_or_never(&self) -> Millis {
        self.watermark.unwrap_or(NEVER)
    }

    /// Offsets that carried no record: transaction markers, aborted and compacted records.
    pub fn gaps(&self) -> u64 {
        ((self.next_offset - self.start_offset) as u64).saturating_sub(self.counts.delivered())
    }

    /// Its bytes.
    ///
    /// # Errors
    /// Internal: never in practice; the types serialize.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|e| Error::internal(format!("a task's meta does not serialize: {e}")))
    }

    /// Reads them.
    ///
    /// # Errors
    /// State: of another layout.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let remedy = "run the version of Kappa that wrote it, or rebuild with --replay-from 0";
        let meta: Self = serde_json::from_slice(bytes)
            .map_err(|e| Error::state(format!("the task's meta does not decode: {e}; {remedy}")))?;
        if meta.format != STATE_FORMAT {
            let found = meta.format;
            return Err(Error::state(format!("state has format {found}, this Kappa reads {STATE_FORMAT}; {remedy}")));
        }
        Ok(meta)
    }
}
