//! The source: partitions of a topic read by manual assignment (rdkafka's only room).
//!
//! - `kafka`: one topic read from exact offsets, with its errors named by what the user must do;
//! - `topic`: what any thread may ask about it, and commits for lag tools;
//! - `native`: librdkafka's batch call, the only unsafe code of the project;
//! - `options`: the client's settings and the allow-list for the user's own;
//! - `producer` and `mock`: what the demo needs, records to a topic and an embedded broker to hold them.
//!
//! Kafka's group protocol has no part in it: offsets live with the state, partitions are assigned by hand.

mod kafka;
mod mock;
mod native;
mod options;
mod producer;
mod topic;

pub use kafka::{KafkaSource, Polled};
pub use mock::EmbeddedBroker;
pub use native::KafkaBatch;
pub use producer::{Codec, Producer, Record};
pub use topic::{PartitionInfo, TopicHandle};
