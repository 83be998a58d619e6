//! The integration tests: the real parts together, one file a room.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod commands;
mod generator_cases;
mod law;
mod live;
mod oracle_cases;
mod pipeline;
mod source;
mod verifier_cases;
