//! One topic, read by manual assignment from exact offsets.
//!
//! What always holds:
//! 1. Within a partition, batches come in offset order, each beginning at or after the end of the one before; gaps
//!    (markers, aborted records, compaction) are nothing, a step back is an error.
//! 2. A record is given out once, aborted ones never; the end of a partition is told by position, never by a count.
//! 3. An offset that the log does not hold stops the source: nothing jumps to another one.
//!
//! Not here: which offsets are right (the state knows), and a group protocol.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::bindings::rd_kafka_resp_err_t as Code;
use rdkafka::error::KafkaError;

use super::batch::Batch;
use super::native::{Consumer, Fault, KafkaBatch, Message};
use super::options::client_config;
use super::topic::{ANSWER, PartitionInfo, TRY, TopicHandle, is_refusal, is_unknown};
use crate::config::KafkaSettings;
use crate::error::{Error, Result};

/// One topic as a source of batches. One thread polls; a [`TopicHandle`] serves the others.
#[derive(Debug)]
pub struct KafkaSource {
    handle: TopicHandle,
    /// By partition number; `None` is not assigned.
    partitions: Vec<Option<Assigned>>,
    /// Messages of the current poll; kept for its room.
    messages: Vec<Message>,
}

/// An assigned partition.
#[derive(Debug)]
struct Assigned {
    /// No record below it is expected any more.
    next: i64,
    /// Its records in the current poll.
    open: Vec<Message>,
    /// Not read yet: its past comes first, from elsewhere.
    held: bool,
}

/// What a poll brings.
#[derive(Debug)]
pub enum Polled {
    /// Records of one partition, in offset order.
    Records(Batch),
    /// The partition has no more now: everything below `next_offset` was given out, is a gap, or is aborted.
    Eof { partition: i32, next_offset: i64 },
}

impl KafkaSource {
    /// Connects, and sees that the topic is there. Errors: configuration (settings, credentials) or unavailable (no such
    /// topic: it may yet be created; no broker answers within 15 s).
    pub fn open(settings: &KafkaSettings, topic: &str, group: &str) -> Result<Self> {
        Self::open_unless(settings, topic, group, &|| false)
    }

    /// The same, given up as soon as `is_over` says so: asked every 1.5 s.
    pub fn open_unless(settings: &KafkaSettings, topic: &str, group: &str, is_over: &dyn Fn() -> bool) -> Result<Self> {
        let consumer = Consumer::new(&client_config(settings, group)?).map_err(|error| {
            let what = match error {
                KafkaError::ClientConfig(_, text, name, _) => format!("`{name}`: {text}"),
                other => other.to_string(),
            };
            Error::configuration(format!("kafka: the client refuses its settings: {what}; mend kafka.options"))
        })?;
        let handle = TopicHandle::new(consumer, &settings.brokers, topic);
        let source = Self { handle, partitions: Vec::new(), messages: Vec::new() };
        source.connect(is_over)?;
        Ok(source)
    }

    /// For other threads: questions and commits.
    pub fn handle(&self) -> TopicHandle {
        self.handle.clone()
    }

    /// Every partition with what its log holds now, by number; within 15 s.
    pub fn describe(&self) -> Result<Vec<PartitionInfo>> {
        self.handle.describe()
    }

    /// Reads these partitions from exactly these offsets. Once: a second call is a defect of the caller.
    pub fn assign(&mut self, starts: &[(i32, i64)]) -> Result<()> {
        if !self.partitions.is_empty() {
            return Err(Error::internal("kafka: partitions are assigned once, and were assigned already"));
        }
        let list = self.handle.list(starts)?;
        for &(partition, next) in starts {
            let index = usize::try_from(partition).map_err(|_| self.no_partition(partition))?;
            if self.partitions.len() <= index {
                self.partitions.resize_with(index + 1, || None);
            }
            self.partitions[index] = Some(Assigned { next, open: Vec::new(), held: false });
        }
        let failed = |fault| Error::unavailable(format!("kafka: topic `{}` not assigned: {fault}", self.handle.topic));
        self.handle.consumer.assign(&list).map_err(failed)
    }

    /// Up to `max_messages` messages in batches by partition; waits at most `wait` for the first, and for no second.
    ///
    /// Connections that fail are logged, counted and tried again by the client; errors here are final: stopped (the
    /// log lost the offset, a record cannot be read), or configuration (no permission).
    pub fn poll(&mut self, max_messages: usize, wait: Duration) -> Result<Vec<Polled>> {
        let mut messages = std::mem::take(&mut self.messages);
        let consumer = &self.handle.consumer;
        consumer.consume(max_messages, Duration::ZERO, &mut messages);
        if messages.is_empty() && !wait.is_zero() {
            consumer.consume(1, wait, &mut messages);
            if !messages.is_empty() && max_messages > 1 {
                consumer.consume(max_messages - 1, Duration::ZERO, &mut messages);
            }
        }
        let mut polled = Vec::new();
        for message in messages.drain(..) {
            if message.code() == 0 {
                self.take(message)?;
            } else {
                self.on_fault(&message, &mut polled)?;
            }
        }
        self.messages = messages;
        for slot in self.partitions.iter_mut().flatten() {
            polled.extend(slot.close(&self.handle.consumer));
        }
        Ok(polled)
    }

    /// Stops fetching these partitions, and drops what was fetched ahead of them.
    pub fn pause(&self, partitions: &[i32]) -> Result<()> {
        let list = self.positions(partitions)?;
        let failed = |fault| Error::internal(format!("kafka: topic `{}` not paused: {fault}", self.handle.topic));
        self.handle.consumer.pause(&list).map_err(failed)
    }

    /// Fetches these partitions again, from where the polls stopped.
    pub fn resume(&self, partitions: &[i32]) -> Result<()> {
        // The client would go on after the last message that it gave out, and the end of a partition is such a
        // message, one offset too far. So the position is said, before the partition wakes.
        let list = self.positions(partitions)?;
        let failed = |fault| Error::internal(format!("kafka: topic `{}` not resumed: {fault}", self.handle.topic));
        self.handle.consumer.seek(&list).map_err(failed)?;
        self.handle.consumer.resume(&list).map_err(failed)
    }

    /// Nothing of these partitions, which have just been assigned, is given out before they are released.
    pub fn hold(&mut self, partitions: &[i32]) -> Result<()> {
        for &partition in partitions {
            if let Some(slot) = self.slot(partition) {
                slot.held = true;
            }
        }
        self.pause(partitions)
    }

    /// Reads a partition that was held, from this offset on; not before the one that it was assigned.
    pub fn release(&mut self, partition: i32, next: i64) -> Result<()> {
        if let Some(slot) = self.slot(partition) {
            (slot.held, slot.next) = (false, slot.next.max(next));
        }
        self.resume(&[partition])
    }

    /// See [`TopicHandle::commit`].
    pub fn commit(&self, next_offsets: &[(i32, i64)]) {
        self.handle.commit(next_offsets);
    }

    /// See [`TopicHandle::high_watermark`].
    pub fn high_watermark(&self, partition: i32) -> Option<i64> {
        self.handle.high_watermark(partition)
    }

    /// See [`TopicHandle::partitions_now`].
    pub fn partitions_now(&self) -> Result<usize> {
        self.handle.partitions_now()
    }

    /// Leaves the brokers. False when that is not done by the deadline, or batches or handles still hold the client; it
    /// then goes on by itself.
    pub fn close(self, deadline: Duration) -> bool {
        let (sender, receiver) = mpsc::channel();
        self.handle.consumer.tell_when_closed(sender);
        drop(self);
        receiver.recv_timeout(deadline) == Err(mpsc::RecvTimeoutError::Disconnected)
    }

    /// Waits for the topic's metadata; what the client reports meanwhile explains a failure.
    fn connect(&self, is_over: &dyn Fn() -> bool) -> Result<()> {
        let mut seen = None;
        let until = Instant::now() + ANSWER;
        loop {
            let answer = self.handle.metadata(TRY);
            // Nothing is assigned yet, so this serves events alone.
            self.handle.consumer.consume(16, Duration::ZERO, &mut Vec::new());
            seen = self.handle.consumer.take_last_fault().or(seen);
            match answer {
                Ok(metadata) => match self.handle.topic_error(&metadata)? {
                    None => return Ok(()),
                    Some(code) if is_unknown(code) => return Err(self.handle.no_topic()),
                    Some(code) => seen = seen.or(Some(Fault { code: code as i32, text: format!("{code:?}") })),
                },
                Err(error) => {
                    if let Some(fault) = seen.as_ref().filter(|fault| is_refusal(fault.code)) {
                        return Err(self.handle.refusal(fault));
                    }
                    let error = Fault { code: 0, text: error.to_string() };
                    seen = seen.or(Some(error));
                }
            }
            if Instant::now() > until || is_over() {
                return Err(self.handle.unreachable(&seen.map_or_else(String::new, |fault| fault.text)));
            }
        }
    }

    fn take(&mut self, message: Message) -> Result<()> {
        let (partition, offset) = (message.partition(), message.offset());
        let slot = usize::try_from(partition).ok().and_then(|index| self.partitions.get_mut(index)?.as_mut());
        let Some(slot) = slot else { return Err(self.no_partition(partition)) };
        if slot.held {
            // Fetched before the client heard of the hold; it comes again.
            return Ok(());
        }
        if offset < slot.next {
            return Err(Error::stopped(format!(
                "kafka: topic `{}` partition {partition}: offset {offset} came after offset {}: the log was rewritten; \
                 restart, and if it comes again rebuild with --replay-from 0 --again",
                self.handle.topic,
                slot.next - 1
            )));
        }
        slot.next = offset + 1;
        slot.open.push(message);
        Ok(())
    }

    /// What an error among the messages means: the end of a partition, something that passes, or the end of the run.
    fn on_fault(&mut self, message: &Message, polled: &mut Vec<Polled>) -> Result<()> {
        let (partition, offset, fault) = (message.partition(), message.offset(), message.fault());
        let slot = usize::try_from(partition).ok().and_then(|index| self.partitions.get_mut(index)?.as_mut());
        let at = format!("kafka: topic `{}` partition {partition}", self.handle.topic);
        if fault.code == Code::RD_KAFKA_RESP_ERR__PARTITION_EOF as i32 {
            if let Some(slot) = slot.filter(|slot| !slot.held) {
                polled.extend(slot.close(&self.handle.consumer));
                slot.next = slot.next.max(offset);
                polled.push(Polled::Eof { partition, next_offset: slot.next });
            }
            return Ok(());
        }
        if is_out_of_range(fault.code) {
            let next = slot.map_or(offset, |slot| slot.next);
            return Err(self.out_of_range(partition, next, &fault));
        }
        if is_refusal(fault.code) {
            return Err(self.handle.refusal(&fault));
        }
        if is_unreadable(fault.code) {
            return Err(Error::stopped(format!(
                "{at}: the record at offset {offset} cannot be read: {fault}; nothing is skipped: restore it on the \
                 broker, or start behind it (--replay-from offset:{partition}={})",
                offset + 1
            )));
        }
        if is_topic_gone(fault.code) {
            return Err(Error::stopped(format!(
                "{at}: the topic or partition is gone from the cluster: {fault}; recreate it and start with \
                 --replay-from 0 --again, or mend source.topic"
            )));
        }
        if fault.code == Code::RD_KAFKA_RESP_ERR__FATAL as i32 {
            return Err(Error::unavailable(format!("{at}: the client gave up: {fault}; restart")));
        }
        tracing::warn!(target: "kafka", partition, code = fault.code, "{}", fault.text);
        Ok(())
    }

    fn out_of_range(&self, partition: i32, next: i64, fault: &Fault) -> Error {
        let topic = &self.handle.topic;
        let at = format!("kafka: topic `{topic}` partition {partition}: offset {next} is not in the log");
        let watermarks = self.handle.consumer.client().fetch_watermarks(topic, partition, TRY * 2);
        Error::stopped(match watermarks {
            Ok((low, high)) if next < low => format!(
                "{at}, which holds {low} to {high}: records were deleted before they were read (retention). Rebuild \
                 from what is left with --replay-from earliest --again, or from the archive; keep records longer \
                 (retention.ms) than Kappa may be down"
            ),
            Ok((low, high)) if next > high => format!(
                "{at}, which holds {low} to {high}: the topic was truncated or recreated. Rebuild with --replay-from 0 \
                 --again, or point source.topic at the topic that the state was built from"
            ),
            Ok((low, high)) => format!(
                "{at}, which holds {low} to {high}: {fault}. Restart; if it comes again, rebuild with --replay-from 0 \
                 --again, or from what is left with --replay-from earliest --again"
            ),
            Err(_) => format!(
                "{at}: {fault}. Restart; if it comes again, rebuild with --replay-from 0 --again, or from what is left \
                 with --replay-from earliest --again"
            ),
        })
    }

    fn slot(&mut self, partition: i32) -> Option<&mut Assigned> {
        usize::try_from(partition).ok().and_then(|index| self.partitions.get_mut(index)?.as_mut())
    }

    fn no_partition(&self, partition: i32) -> Error {
        Error::internal(format!("kafka: topic `{}`: partition {partition} is not assigned", self.handle.topic))
    }

    /// The partitions with the offsets where their polls stopped.
    fn positions(&self, partitions: &[i32]) -> Result<TopicPartitionList> {
        let next = |&partition: &i32| {
            let slot = usize::try_from(partition).ok().and_then(|index| self.partitions.get(index)?.as_ref());
            slot.map(|slot| (partition, slot.next)).ok_or_else(|| self.no_partition(partition))
        };
        self.handle.list(&partitions.iter().map(next).collect::<Result<Vec<_>>>()?)
    }
}

impl Assigned {
    /// The records of the current poll as a batch, when there are any.
    fn close(&mut self, consumer: &Arc<Consumer>) -> Option<Polled> {
        if self.open.is_empty() {
            return None;
        }
        let room = Vec::with_capacity(self.open.len());
        let messages = std::mem::replace(&mut self.open, room);
        Some(Polled::Records(Batch::Kafka(KafkaBatch::new(messages, consumer.clone()))))
    }
}

fn is_out_of_range(code: i32) -> bool {
    let codes = [
        Code::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE,
        Code::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET,
        Code::RD_KAFKA_RESP_ERR__LOG_TRUNCATION,
    ];
    codes.iter().any(|&known| known as i32 == code)
}

fn is_unreadable(code: i32) -> bool {
    let codes = [
        Code::RD_KAFKA_RESP_ERR__BAD_MSG,
        Code::RD_KAFKA_RESP_ERR__BAD_COMPRESSION,
        Code::RD_KAFKA_RESP_ERR_INVALID_MSG,
        Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    ];
    codes.iter().any(|&known| known as i32 == code)
}

fn is_topic_gone(code: i32) -> bool {
    let codes = [
        Code::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART,
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC,
        Code::RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION,
    ];
    codes.iter().any(|&known| known as i32 == code)
}
