//! The online store: the newest row of every entity, newer-wins, for readers in milliseconds.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;

use crate::error::Result;
use crate::time::Millis;
use crate::topology::EntityPlan;

/// Newest rows of one entity to be published. A row wins over what is stored when its position is greater:
/// (generation, offset, sequence, refresh), compared inside the store; an equal position changes nothing.
#[derive(Debug)]
pub struct OnlineBatch<'a> {
    pub entity: &'a EntityPlan,
    /// As in [`crate::state::EntityRows::rows`].
    pub rows: &'a RecordBatch,
    /// Which rows of it, each entity at most once.
    pub picks: &'a [u32],
    pub partition: i32,
    pub generation: u64,
    pub version: u32,
    /// Set for a wall-clock refresh: `T'`, which is `_event_time` and the last part of the position.
    pub refresh: Option<Millis>,
}

/// What is stored for an entity: feature name to plain text, and `_event_time`, `_version`, `_position`.
pub type OnlineHash = BTreeMap<String, String>;

/// The port. Publishing is idempotent and never takes a value back: a repetition, a retry after a lost answer and a
/// zombie's late write leave the newest position in place. After an error any part of the batch may have been applied.
pub trait OnlineStore: Send + Sync {
    /// Applies the picked rows.
    fn publish<'a>(&'a self, batch: &'a OnlineBatch<'a>) -> BoxFuture<'a, Result<()>>;
    /// The hash stored under an online key (`features:u42`), or `None`.
    fn get<'a>(&'a self, online_key: &'a str) -> BoxFuture<'a, Result<Option<OnlineHash>>>;
    /// Publishes how far a partition has come: (generation, next offset, watermark). Also the store's own watermark:
    /// written after the rows, on the same connection, so that a store which lost data shows an older one.
    fn set_progress<'a>(&'a self, partition: i32, progress: Progress) -> BoxFuture<'a, Result<()>>;
    /// What [`Self::set_progress`] stored last.
    fn progress<'a>(&'a self, partition: i32) -> BoxFuture<'a, Result<Option<Progress>>>;
}

/// The published progress of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    pub generation: u64,
    pub next_offset: i64,
    pub watermark: Option<Millis>,
}
