//! The integration tests: the real parts together, one file a room.

#[path = "../support/mod.rs"]
mod support;

mod source;
