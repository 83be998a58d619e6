//! The integration tests in one binary.

#[path = "../support/mod.rs"]
mod support;

mod generator_cases;
mod oracle_cases;
mod verifier_cases;
