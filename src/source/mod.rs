//! The source: partitions of a topic read by manual assignment (rdkafka's only room).
//!
//! - `kafka`: one topic read from exact offsets, with its errors named by what the user must do;
//! - `archive`: what lies before the log, its archive and dead letters that enter again, and `joined`: one source of both;
//! - `batch`: records of one partition, wherever their bytes live;
//! - `topic`: what any thread may ask about it, and commits for lag tools;
//! - `native`: librdkafka's batch call, and with `admin` (its admin calls) the only unsafe code of the project;
//! - `options`: the client's settings and the allow-list for the user's own;
//! - `producer` and `mock`: what the demo needs, records to a topic and an embedded broker to hold them.
//!
//! Kafka's group protocol has no part in it: offsets live with the state, partitions are assigned by hand.

mod admin;
mod archive;
mod batch;
mod joined;
mod kafka;
mod mock;
mod native;
mod options;
mod producer;
mod topic;

pub use archive::{ArchiveBatch, ArchiveReader, Course, Held, Letters, Read, Redriven, RedrivenCounts};
pub use batch::Batch;
pub use joined::{Past, Source};
pub use kafka::{KafkaSource, Polled};
pub use mock::EmbeddedBroker;
pub use native::KafkaBatch;
pub use producer::{Codec, Producer, Record};
pub use topic::{PartitionInfo, Topic, TopicHandle};
