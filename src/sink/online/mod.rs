//! The online store: the newest row of every entity, newer-wins, for readers in milliseconds.
//!
//! One port, two stores behind it ([`RedisStore`], [`EmbeddedStore`]), one suite over both. What is stored is plain
//! text ([`text`], a value by `column`), what wins is decided by [`Position`] inside the store, and only the newest of what is pending is
//! sent ([`newest`]). Left out: retrying, which is the caller's, and any clock.

mod coalesce;
mod column;
mod embedded;
#[cfg(test)]
mod fixture;
mod position;
mod redis;
mod rows;
#[cfg(test)]
mod suite;
pub mod text;

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;

pub use self::coalesce::{Picks, newest};
pub use self::column::{Column, quoted};
pub use self::embedded::{Clock, EmbeddedStore};
pub use self::position::Position;
pub use self::redis::RedisStore;
pub use self::rows::{OnlineRow, OnlineRows, OnlineRowsBuilder};
use crate::error::Result;
use crate::time::Millis;
use crate::topology::{EntityPlan, SourcePlan};

/// Newest rows of one entity to be published. A row wins over what is stored when its position is greater:
/// (generation, offset, sequence, refresh), compared inside the store; an equal position changes nothing.
#[derive(Debug)]
pub struct OnlineBatch<'a> {
    /// Of the entity's topology: the fields that its key is made of.
    pub source: &'a SourcePlan,
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

/// What is stored for an entity: name to plain text, of every feature and what is derived with the row, and
/// `_event_time`, `_version`, `_position`.
pub type OnlineHash = BTreeMap<String, String>;

/// The port. Publishing is idempotent and never takes a value back: a repetition, a retry after a lost answer and a
/// zombie's late write leave the newest position in place. After an error any part of the batch may have been applied.
/// An error of kind `Unavailable` is retried by the caller; the store reconnects by itself.
pub trait OnlineStore: Send + Sync + std::fmt::Debug {
    /// Applies the picked rows. An entity whose features are all empty is kept for its plan's `empty_ttl`.
    fn publish<'a>(&'a self, batch: &'a OnlineBatch<'a>) -> BoxFuture<'a, Result<()>>;
    /// The hash stored under an online key (`features:u42`), or `None`.
    fn get<'a>(&'a self, online_key: &'a str) -> BoxFuture<'a, Result<Option<OnlineHash>>>;
    /// These fields of many hashes, in one round trip: a row for each online key, in their order, and `None` where
    /// nothing is stored. A hash without a readable `_event_time` is not Kappa's, and as good as none.
    fn get_many<'a>(&'a self, online_keys: &'a [String], fields: &'a [&'a str]) -> BoxFuture<'a, Result<OnlineRows>>;
    /// Publishes how far a partition has come: (generation, next offset, watermark); never takes it back. Also the
    /// store's own watermark: written after the rows, on the same connection. A store that is found to have lost what
    /// it acknowledged keeps showing so, and nothing is written, until [`Self::check`] has named the partition.
    fn set_progress<'a>(&'a self, partition: i32, progress: Progress) -> BoxFuture<'a, Result<()>>;
    /// What [`Self::set_progress`] stored last.
    fn progress<'a>(&'a self, partition: i32) -> BoxFuture<'a, Result<Option<Progress>>>;
    /// The partitions of `expected` (what was acknowledged, from the caller's own state) whose rows the store may have
    /// lost: their stored progress is missing or behind, or a server of a cluster is not the one that took them. They
    /// must be published again from state, and only then their progress: it vouches for the rows before it. Asked at
    /// start, after an `Unavailable`, and now and then. Refused: by now it would evict what it holds.
    fn check<'a>(&'a self, expected: &'a [(i32, Progress)]) -> BoxFuture<'a, Result<Vec<i32>>>;
}

/// The published progress of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    pub generation: u64,
    pub next_offset: i64,
    pub watermark: Option<Millis>,
}

impl Progress {
    /// Whether `other` has come further, by generation, then offset, then watermark (none is the least).
    pub fn is_behind(&self, other: &Self) -> bool {
        let rank = |progress: &Self| (progress.generation, progress.next_offset, progress.watermark);
        rank(self) < rank(other)
    }
}
