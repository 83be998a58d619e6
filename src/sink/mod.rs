//! The sinks: cursors over the outbox. Online (newest row an entity), offline (every row), dead letters.

pub mod offline;
pub mod online;
