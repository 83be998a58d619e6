//! State: the store port and its two stores, every kind of key, and the frozen epochs of the outbox.

mod beside;
mod epoch;
pub mod keys;
mod memory;
mod rocksdb;
mod store;
#[cfg(test)]
mod suite;

pub use self::rocksdb::{RocksShared, RocksStore};
pub use beside::open_beside;
pub use epoch::*;
pub use memory::MemoryStore;
pub use store::{Batch, Pair, Store};
