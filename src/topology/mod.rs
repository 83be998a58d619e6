//! The topology: one YAML file, validated without I/O into a typed [`Plan`].

mod plan;

pub use plan::*;
