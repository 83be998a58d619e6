//! State: the store port, its keys, and the frozen epochs of the outbox.

mod epoch;

pub use epoch::*;
