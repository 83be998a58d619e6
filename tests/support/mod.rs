//! What the tests share: the real services, and ways to fill them.
//!
//! Each test binary uses a part of it.
#![allow(dead_code)]

pub mod kafka;
pub mod producer;
