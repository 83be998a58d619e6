//! Kappa turns Kafka topics into machine-learning features with one code path.
//!
//! A record's way, and the order of the rooms from the top down: `cli` assembles and runs; `http` answers beside it;
//! `features` is the read side; `runtime` owns threads and the only clock; `task` is the pure core; `sink` and `source`
//! are the edges; `lake` is Delta tables in a store; `state` keeps what a restart needs; `aggregate` and `window` are the
//! folds; `decode` and `expr` turn bytes into columns; `topology` is the meaning; `config`, `metrics`, `time` and `error`
//! are the ground. Imports point down only.

pub mod aggregate;
pub mod cli;
pub mod config;
pub mod decode;
pub mod error;
pub mod expr;
pub mod features;
pub mod http;
pub mod lake;
pub mod metrics;
pub mod runtime;
pub mod sink;
pub mod source;
pub mod state;
pub mod task;
pub mod time;
pub mod topology;
pub mod window;
