//! What several tests share: the oracle, the generators, the comparison.
#![allow(dead_code, unused_imports)] // Each test binary uses its own part.

pub mod compare;
pub mod generate;
pub mod oracle;
