//! A topic as any thread may ask about it: its partitions, their offsets, its id; and commits for lag tools.
//!
//! Every question has a bound, 15 s, and its errors say which brokers, which topic, and what to do.

use std::ffi::CString;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};

use super::native::{Consumer, Fault, c_string};
use crate::error::{Error, Result};
use crate::time::Millis;

/// How long one question to the brokers may take in all.
pub(super) const ANSWER: Duration = Duration::from_secs(15);
/// How long one try of it may take, before the client's own errors are looked at.
pub(super) const TRY: Duration = Duration::from_millis(1500);

/// A partition and what its log holds: offsets from `low`, up to and without `high`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionInfo {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
}

/// What the brokers tell of a topic as a whole, as far as they do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topic {
    /// The cluster's own id of it: another one than before means that the topic was deleted and made again.
    pub id: Option<String>,
    /// What is done with old records: `delete`, `compact`, both or neither.
    pub cleanup_policy: Option<String>,
}

/// Questions about a topic, and commits for lag tools, from any thread.
#[derive(Debug, Clone)]
pub struct TopicHandle {
    pub(super) topic: Arc<str>,
    c_topic: Arc<CString>,
    brokers: Arc<str>,
    pub(super) consumer: Arc<Consumer>,
}

impl TopicHandle {
    pub(super) fn new(consumer: Consumer, brokers: &str, topic: &str) -> Self {
        Self {
            topic: topic.into(),
            c_topic: Arc::new(c_string(topic)),
            brokers: brokers.into(),
            consumer: Arc::new(consumer),
        }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.topic
    }

    /// Every partition with what its log holds now, by number; within 15 s.
    pub fn describe(&self) -> Result<Vec<PartitionInfo>> {
        let until = Instant::now() + ANSWER;
        let metadata = self.metadata(ANSWER).map_err(|error| self.unreachable(&error.to_string()))?;
        self.expect_topic(&metadata)?;
        let mut found = Vec::new();
        for topic in metadata.topics().iter().filter(|topic| topic.name() == &*self.topic) {
            for partition in topic.partitions() {
                let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
                let (low, high) =
                    self.consumer.client().fetch_watermarks(&self.topic, partition.id(), wait).map_err(|error| {
                        self.unreachable(&format!("offsets of partition {}: {error}", partition.id()))
                    })?;
                found.push(PartitionInfo { partition: partition.id(), low, high });
            }
        }
        found.sort_by_key(|info| info.partition);
        Ok(found)
    }

    /// The cluster's own id of the topic: another one than before means that the topic was deleted and made again.
    /// `None` when the brokers do not tell.
    pub fn topic_id(&self) -> Option<String> {
        self.consumer.topic_id(&self.c_topic, self.leader(), TRY * 2)
    }

    /// The topic as a whole; within 7.5 s.
    pub fn about(&self) -> Topic {
        let leader = self.leader();
        let id = self.consumer.topic_id(&self.c_topic, leader, TRY * 2);
        Topic { id, cleanup_policy: self.cleanup_policy(leader) }
    }

    /// A broker that leads a partition of the topic: it is connected to anyway.
    fn leader(&self) -> Option<i32> {
        let metadata = self.metadata(TRY).ok()?;
        let partitions = metadata.topics().iter().flat_map(|topic| topic.partitions());
        partitions.map(|partition| partition.leader()).find(|leader| *leader >= 0)
    }

    /// `None`, with a line in the log, when the brokers do not tell.
    fn cleanup_policy(&self, leader: Option<i32>) -> Option<String> {
        let fault = match self.consumer.topic_setting(&self.c_topic, "cleanup.policy", leader, TRY * 2) {
            Ok(policy) => return Some(policy),
            Err(fault) => fault,
        };
        if fault.code == Code::RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE as i32 {
            tracing::debug!(target: "kafka", "cleanup.policy of topic `{}`: {fault}", self.topic);
        } else {
            tracing::warn!(
                target: "kafka",
                "the brokers do not tell the cleanup.policy of topic `{}`: {fault}; grant the user DescribeConfigs on it, \
                 or make sure that it is not compacted: a replay would read fewer records",
                self.topic
            );
        }
        None
    }

    /// How many partitions the topic has now: more than before changes where a key lives. Asked while records flow, so
    /// within 3 s.
    pub fn partitions_now(&self) -> Result<usize> {
        let metadata = self.metadata(TRY * 2).map_err(|error| self.unreachable(&error.to_string()))?;
        match self.topic_error(&metadata)? {
            // It was there when the run began: waiting would hide that it was deleted.
            Some(code) if is_unknown(code) => {
                return Err(Error::configuration(format!(
                    "{}. It was there when the run began: when it has been made again, rebuild from it with --replay-from 0 \
                     --again",
                    self.no_topic()
                )));
            }
            _ => self.expect_topic(&metadata)?,
        }
        Ok(metadata
            .topics()
            .iter()
            .filter(|topic| topic.name() == &*self.topic)
            .map(|topic| topic.partitions().len())
            .sum())
    }

    /// For each partition the first offset whose Kafka time is `time` or later; its end when there is none.
    pub fn offsets_at(&self, partitions: &[i32], time: Millis) -> Result<Vec<(i32, i64)>> {
        let list = self.list(&partitions.iter().map(|&partition| (partition, time)).collect::<Vec<_>>())?;
        let failed = |fault| self.unreachable(&format!("offsets by time: {fault}"));
        self.consumer.offsets_for_times(&list, ANSWER).map_err(failed)?;
        let mut found = Vec::new();
        for element in list.elements() {
            element.error().map_err(|error| self.unreachable(&format!("offsets by time: {error}")))?;
            let offset = match element.offset() {
                Offset::Offset(offset) => offset,
                _ => {
                    self.consumer
                        .client()
                        .fetch_watermarks(&self.topic, element.partition(), ANSWER)
                        .map_err(|error| self.unreachable(&error.to_string()))?
                        .1
                }
            };
            found.push((element.partition(), offset));
        }
        Ok(found)
    }

    /// Shows these next offsets as the group's, for lag tools. Sent and forgotten: a failure is only logged.
    pub fn commit(&self, next_offsets: &[(i32, i64)]) {
        let sent = self.list(next_offsets).map(|list| self.consumer.commit(&list));
        if let Ok(Err(fault)) = sent {
            tracing::warn!(target: "kafka", "group offsets not committed (lag tools only): {fault}");
        }
    }

    /// The end of the partition as of the last fetch, for lag; `None` before the first.
    pub fn high_watermark(&self, partition: i32) -> Option<i64> {
        self.consumer.cached_watermarks(&self.c_topic, partition).map(|(_, high)| high)
    }

    /// How many errors the client has reported that stopped nothing (lost connections and the like).
    pub fn transient_errors(&self) -> u64 {
        self.consumer.faults()
    }

    pub(super) fn list(&self, offsets: &[(i32, i64)]) -> Result<TopicPartitionList> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for &(partition, offset) in offsets {
            list.add_partition_offset(&self.topic, partition, Offset::Offset(offset)).map_err(|error| {
                Error::internal(format!("kafka: partition {partition} at offset {offset}: {error}"))
            })?;
        }
        Ok(list)
    }

    pub(super) fn metadata(&self, wait: Duration) -> Result<Metadata, KafkaError> {
        self.consumer.client().fetch_metadata(Some(&self.topic), wait)
    }

    /// Fails unless the topic is there and well.
    fn expect_topic(&self, metadata: &Metadata) -> Result<()> {
        match self.topic_error(metadata)? {
            None => Ok(()),
            Some(code) if is_unknown(code) => Err(self.no_topic()),
            Some(code) => Err(self.unreachable(&format!("{code:?}"))),
        }
    }

    /// The topic's own error: final ones as errors, one that passes (no leader yet, no such topic yet) as its code.
    pub(super) fn topic_error(&self, metadata: &Metadata) -> Result<Option<RDKafkaErrorCode>> {
        let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == &*self.topic) else {
            return Ok(Some(RDKafkaErrorCode::UnknownTopic));
        };
        let code = topic.error().map(RDKafkaErrorCode::from);
        match code {
            Some(RDKafkaErrorCode::InvalidTopic) => {
                Err(Error::configuration(format!("source.topic: `{}` is not a topic name; mend it", self.topic)))
            }
            Some(RDKafkaErrorCode::TopicAuthorizationFailed) => {
                Err(self.refusal(&Fault { code: 0, text: "no permission to read the topic".into() }))
            }
            other => Ok(other),
        }
    }

    pub(super) fn no_topic(&self) -> Error {
        let all = self.consumer.client().fetch_metadata(None, TRY * 2);
        let names: Vec<String> =
            all.iter().flat_map(|all| all.topics()).map(|topic| topic.name().to_string()).collect();
        let alike = alike(&self.topic, &names);
        let hint = if alike.is_empty() {
            format!("the cluster shows {} topics, none with a name like it", names.len())
        } else {
            format!("there are `{}`", alike.join("`, `"))
        };
        Error::unavailable(format!(
            "source.topic: no topic `{}` at kafka.brokers {}; {hint}. Create it, or mend the name",
            self.topic, self.brokers
        ))
    }

    pub(super) fn unreachable(&self, reason: &str) -> Error {
        Error::unavailable(format!(
            "kafka: {} does not answer for topic `{}`: {reason}. See that the brokers run, and that kafka.brokers and \
             security.protocol in kafka.options fit them",
            self.brokers, self.topic
        ))
    }

    pub(super) fn refusal(&self, fault: &Fault) -> Error {
        Error::configuration(format!(
            "kafka: {} refuses this client for topic `{}`: {}. Mend sasl.* and ssl.* in kafka.options, or have the user \
             given Read and Describe on the topic",
            self.brokers, self.topic, fault.text
        ))
    }
}

/// The cluster does not know the topic.
pub(super) fn is_unknown(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic)
}

/// Waiting does not help: credentials, certificates, permissions.
pub(super) fn is_refusal(code: i32) -> bool {
    let codes = [
        Code::RD_KAFKA_RESP_ERR__AUTHENTICATION,
        Code::RD_KAFKA_RESP_ERR__SSL,
        Code::RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED,
        Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
        Code::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED,
    ];
    codes.iter().any(|&known| known as i32 == code)
}

/// Up to five names that someone may have meant by `wanted`, nearest first.
fn alike<'a>(wanted: &str, names: &'a [String]) -> Vec<&'a str> {
    let mut near: Vec<(usize, &str)> = names
        .iter()
        .filter(|name| !name.starts_with("__"))
        .map(|name| (distance(wanted, name), name.as_str()))
        .filter(|&(steps, name)| steps <= wanted.len() / 3 + 1 || name.contains(wanted) || wanted.contains(name))
        .collect();
    near.sort();
    near.into_iter().take(5).map(|(_, name)| name).collect()
}

/// Edit distance, by bytes, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let change = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_alike_are_named_nearest_first() {
        let names: Vec<String> =
            ["orders", "shop.event", "shop-events", "__consumer_offsets", "zzz"].map(String::from).into();
        assert_eq!(alike("shop.events", &names), ["shop-events", "shop.event"]);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
