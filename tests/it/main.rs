//! The integration tests: the real parts together, one file a room.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod generator_cases;
mod oracle_cases;
mod source;
mod verifier_cases;
