//! What the tests share: the real services and ways to fill them; the oracle, the generators, the comparison.
//!
//! Each test binary uses a part of it.
#![allow(dead_code, unused_imports)]

pub mod changed;
pub mod compare;
pub mod determinism;
pub mod disk;
pub mod duckdb;
pub mod engine;
pub mod generate;
pub mod http;
pub mod kafka;
pub mod log;
pub mod oracle;
pub mod page;
pub mod producer;
pub mod redis;
pub mod running;
pub mod served;
pub mod verify;
