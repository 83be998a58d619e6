//! The sinks: cursors over the outbox. Online (newest row an entity), offline (every row), dead letters.

#[cfg(test)]
mod arrays;
pub mod offline;
pub mod online;
