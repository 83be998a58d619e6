//! An embedded broker for the demo: librdkafka's in-process mock cluster.
//!
//! Its bounds are its own and silent: a partition keeps [`EmbeddedBroker::PARTITION_BYTES`] (as compressed) or 100,000
//! batches, and then drops the oldest; nothing is on disk; no transactions, no lookup by time. So it shows the product,
//! and proves nothing: tests use a real Kafka. Whoever fills it checks that each partition still begins at 0.

use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use rdkafka::mocking::MockCluster;

use crate::error::{Error, Result};

/// A broker in this process; gone when dropped.
#[derive(Debug)]
pub struct EmbeddedBroker {
    brokers: String,
    /// The cluster lives on its own thread, until this is dropped.
    _alive: Sender<()>,
}

impl EmbeddedBroker {
    /// What a partition holds before it drops its oldest batches, in bytes as compressed.
    pub const PARTITION_BYTES: u64 = 5 * 1024 * 1024;

    /// Starts a broker with one topic.
    pub fn start(topic: &str, partitions: i32) -> Result<Self> {
        let failed =
            |error: &dyn std::fmt::Display| Error::internal(format!("the embedded broker did not start: {error}"));
        let (alive, gone) = channel::<()>();
        let (tell, told) = channel();
        let topic = topic.to_string();
        // The cluster may not change threads.
        let thread = thread::Builder::new().name("embedded-broker".into());
        let run = move || match start(&topic, partitions) {
            Ok(cluster) => {
                let _ = tell.send(Ok(cluster.bootstrap_servers()));
                let _ = gone.recv();
            }
            Err(error) => drop(tell.send(Err(error))),
        };
        thread.spawn(run).map_err(|error| failed(&error))?;
        let brokers = told.recv().map_err(|error| failed(&error))?.map_err(|error| failed(&error))?;
        Ok(Self { brokers, _alive: alive })
    }

    /// For `kafka.brokers`.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// For `kafka.options`: this broker sleeps through an empty fetch, and gives one batch a fetch.
    pub fn options() -> BTreeMap<String, String> {
        BTreeMap::from([("fetch.wait.max.ms".into(), "10".into())])
    }
}

type Cluster = MockCluster<'static, rdkafka::producer::DefaultProducerContext>;

fn start(topic: &str, partitions: i32) -> rdkafka::error::KafkaResult<Cluster> {
    let cluster = MockCluster::new(1)?;
    cluster.create_topic(topic, partitions, 1)?;
    Ok(cluster)
}
