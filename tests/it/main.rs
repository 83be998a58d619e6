//! The integration tests: the real parts together, one file a room.

#[path = "../support/mod.rs"]
mod support;

mod architecture;
mod archive;
mod backfill;
mod commands;
mod compare;
mod determinism;
mod dvc;
mod feast;
mod first_topology;
mod full_disk;
mod generator_cases;
mod law;
mod law_cases;
mod live;
mod materialize;
mod metrics;
mod oracle_cases;
mod pipeline;
mod python_page;
mod refusals;
mod replay_faults;
mod serve;
mod served;
mod source;
mod tidy;
mod training;
mod user_tests;
mod verifier_cases;
mod why;
