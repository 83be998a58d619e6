//! The integration tests: the real parts together, one file a room.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod archive;
mod backfill;
mod commands;
mod compare;
mod determinism;
mod first_topology;
mod full_disk;
mod generator_cases;
mod law;
mod law_cases;
mod live;
mod metrics;
mod oracle_cases;
mod pipeline;
mod refusals;
mod replay_faults;
mod serve;
mod source;
mod user_tests;
mod verifier_cases;
mod why;
