//! The integration tests: the real parts together, one file a room.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod generator_cases;
mod law;
mod oracle_cases;
mod live;
mod pipeline;
mod source;
mod verifier_cases;
