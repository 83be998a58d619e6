//! What lies before the log: its archive, and dead letters that enter a replay again.
//!
//! - `batch`: records in the columns of an archive's file;
//! - `reader`: a thread that reads the archive of several partitions at once;
//! - `held`: what log and archive hold of a partition, and so where it is read from;
//! - `letters`: dead letters, merged by offset with what log and archive still have.
//!
//! `joined` makes one source of these and Kafka.

mod batch;
mod held;
mod letters;
mod reader;

pub use batch::ArchiveBatch;
pub use held::{Course, Held};
pub(super) use letters::Merge;
pub use letters::{Letters, Redriven, RedrivenCounts};
pub use reader::{ArchiveReader, Read};
