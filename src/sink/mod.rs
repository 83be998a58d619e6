//! The sinks: cursors over the outbox. Online (newest row an entity), offline (every row), dead letters; and the archive,
//! which takes raw records from the source itself.

pub mod archive;
#[cfg(test)]
mod arrays;
pub mod offline;
pub mod online;
