//! librdkafka's batch call, and the messages it hands out: with `admin`, the only unsafe code of the project.
//!
//! Measured, `rd_kafka_consume_batch_queue` costs half of what a poll for each message costs; it is why this file
//! exists. What always holds:
//!
//! 1. A [`Message`] is owned by exactly one place and destroyed exactly once.
//! 2. A client is destroyed after its queue and after the last of its messages: a [`KafkaBatch`] keeps it alive.
//! 3. Destroying it, which may block, happens on a thread of its own.
//! 4. Events (errors, logs, answers to commits) are served by [`Consumer::consume`], on the caller's thread. They come
//!    as callbacks and never as librdkafka's "events": the batch call aborts on those. So rdkafka's own consumers,
//!    which enable events, are not used here.
//!
//! What an error means, and which offsets are right, is `kafka.rs`'s concern.

#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::fmt;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::{rd_kafka_resp_err_t, rd_kafka_type_t};
use rdkafka::client::Client;
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use smallvec::SmallVec;

use crate::decode::{RawBatch, RawRecord};

/// What the client has told about its connections.
#[derive(Debug, Default)]
pub(super) struct Context {
    last: Mutex<Option<Fault>>,
    count: AtomicU64,
}

impl ClientContext for Context {}

/// An error that librdkafka reports: its code, and its own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: i32,
    pub text: String,
}

/// A consumer without a group protocol, read by the batch call.
pub(super) struct Consumer {
    /// Both are `Some` until the drop.
    queue: Option<Queue>,
    client: Option<Client<Context>>,
    /// Dropped when the client is gone.
    closed: Mutex<Option<Sender<()>>>,
}

/// A queue of librdkafka: the consumer's, or that of a question's answer.
pub(super) struct Queue(pub(super) NonNull<rd::rd_kafka_queue_t>);

// SAFETY: librdkafka's queues are thread-safe (rdkafka.h: "fully thread-safe" API); the pointer is ours alone.
unsafe impl Send for Queue {}
// SAFETY: as above; all calls on a queue lock it.
unsafe impl Sync for Queue {}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: the reference came from librdkafka (get_consumer, or new) and is given back once.
        unsafe { rd::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

impl Consumer {
    pub(super) fn new(config: &ClientConfig) -> KafkaResult<Self> {
        let native = config.create_native_config()?;
        // SAFETY: `native` is alive; the callbacks are plain functions. Client::new sets the opaque pointer to the
        // context, which lives as long as the client, so as long as any callback can be called.
        unsafe {
            rd::rd_kafka_conf_set_error_cb(native.ptr(), Some(on_error));
            rd::rd_kafka_conf_set_log_cb(native.ptr(), Some(on_log));
            rd::rd_kafka_conf_set_offset_commit_cb(native.ptr(), Some(on_commit));
        }
        let client = Client::new(config, native, rd_kafka_type_t::RD_KAFKA_CONSUMER, Context::default())?;
        // SAFETY: the client is alive. The first call forwards the main queue (errors, logs) to the consumer's queue;
        // the second gives a reference of our own to that queue, or null when there is no group.
        let queue = unsafe {
            rd::rd_kafka_poll_set_consumer(client.native_ptr());
            NonNull::new(rd::rd_kafka_queue_get_consumer(client.native_ptr()))
        };
        let queue = queue.ok_or_else(|| KafkaError::ClientCreation("the client has no consumer queue".into()))?;
        Ok(Self { queue: Some(Queue(queue)), client: Some(client), closed: Mutex::new(None) })
    }

    /// The client, for metadata and watermarks.
    pub(super) fn client(&self) -> &Client<Context> {
        self.client.as_ref().expect("the client is taken by drop alone")
    }

    /// The newest error of the client as a whole, taken.
    pub(super) fn take_last_fault(&self) -> Option<Fault> {
        self.client().context().last.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// How many errors the client has reported so far; those that stop nothing.
    pub(super) fn faults(&self) -> u64 {
        self.client().context().count.load(Ordering::Relaxed)
    }

    /// Dropped when the client is destroyed.
    pub(super) fn tell_when_closed(&self, sender: Sender<()>) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    }

    /// Appends up to `max` messages: waits until there are `max` or `wait` is over, so wait for one and take the rest
    /// with no wait.
    pub(super) fn consume(&self, max: usize, wait: Duration, into: &mut Vec<Message>) {
        let queue = self.queue.as_ref().expect("the queue is taken by drop alone");
        into.reserve(max);
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        let spare = into.spare_capacity_mut().as_mut_ptr().cast::<*mut rd::rd_kafka_message_t>();
        // SAFETY: `spare` has room for `max` pointers, and a Message is a non-null pointer (repr(transparent)).
        // librdkafka writes `count` <= `max` of them, each non-null and now ours to destroy.
        unsafe {
            let count = rd::rd_kafka_consume_batch_queue(queue.0.as_ptr(), wait, spare, max);
            into.set_len(into.len() + usize::try_from(count).unwrap_or(0));
        }
    }

    pub(super) fn assign(&self, partitions: &TopicPartitionList) -> Result<(), Fault> {
        // SAFETY: client and list are alive during the call, which copies the list.
        Fault::check(unsafe { rd::rd_kafka_assign(self.client().native_ptr(), partitions.ptr()) })
    }

    pub(super) fn pause(&self, partitions: &TopicPartitionList) -> Result<(), Fault> {
        // SAFETY: client and list are alive during the call.
        Fault::check(unsafe { rd::rd_kafka_pause_partitions(self.client().native_ptr(), partitions.ptr()) })
    }

    pub(super) fn resume(&self, partitions: &TopicPartitionList) -> Result<(), Fault> {
        // SAFETY: client and list are alive during the call.
        Fault::check(unsafe { rd::rd_kafka_resume_partitions(self.client().native_ptr(), partitions.ptr()) })
    }

    /// Sets where the next fetch begins, without waiting for it.
    pub(super) fn seek(&self, partitions: &TopicPartitionList) -> Result<(), Fault> {
        // SAFETY: client and list are alive during the call, which copies what it needs when the timeout is 0. The
        // error, when there is one, is ours: read, then destroyed once.
        unsafe {
            let error = rd::rd_kafka_seek_partitions(self.client().native_ptr(), partitions.ptr(), 0);
            if error.is_null() {
                return Ok(());
            }
            let fault =
                Fault { code: rd::rd_kafka_error_code(error) as i32, text: text(rd::rd_kafka_error_string(error)) };
            rd::rd_kafka_error_destroy(error);
            Err(fault)
        }
    }

    /// Sends a commit; the answer comes to the log.
    pub(super) fn commit(&self, partitions: &TopicPartitionList) -> Result<(), Fault> {
        // SAFETY: client and list are alive during the call, which copies the list.
        Fault::check(unsafe { rd::rd_kafka_commit(self.client().native_ptr(), partitions.ptr(), 1) })
    }

    /// Replaces times in the list by the first offsets at or after them.
    pub(super) fn offsets_for_times(&self, times: &TopicPartitionList, wait: Duration) -> Result<(), Fault> {
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        // SAFETY: client and list are alive during the call, which writes offsets into the list.
        Fault::check(unsafe { rd::rd_kafka_offsets_for_times(self.client().native_ptr(), times.ptr(), wait) })
    }

    /// Low and high watermark as of the last fetch; `None` before the first.
    pub(super) fn cached_watermarks(&self, topic: &CStr, partition: i32) -> Option<(i64, i64)> {
        let (mut low, mut high) = (-1, -1);
        // SAFETY: client, name and both integers are alive during the call.
        let code = unsafe {
            rd::rd_kafka_get_watermark_offsets(
                self.client().native_ptr(),
                topic.as_ptr(),
                partition,
                &mut low,
                &mut high,
            )
        };
        (Fault::check(code).is_ok() && high >= 0).then_some((low, high))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let parts = (self.queue.take(), self.client.take());
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner).take();
        // It can hang in the library. When no thread can be had, the closure is dropped here and closes in place.
        let _ = std::thread::Builder::new().name("kafka-close".into()).spawn(move || {
            let (queue, client) = parts;
            drop(queue);
            drop(client);
            drop(closed);
        });
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Consumer")
    }
}

impl Fault {
    /// An error that comes with librdkafka's own words for it.
    pub(super) fn of(code: rd_kafka_resp_err_t, words: *const c_char) -> Result<(), Self> {
        match code {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(Self { code: code as i32, text: text(words) }),
        }
    }

    fn check(code: rd_kafka_resp_err_t) -> Result<(), Self> {
        match code {
            rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            // SAFETY: the text is static in librdkafka.
            code => Err(Self { code: code as i32, text: text(unsafe { rd::rd_kafka_err2str(code) }) }),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.text, self.code)
    }
}

/// A message of librdkafka: a record, or an error that stands in its place.
#[repr(transparent)]
pub(super) struct Message(NonNull<rd::rd_kafka_message_t>);

// SAFETY: a message belongs to its one owner, and librdkafka lets any thread destroy it. It is not Sync: reading
// headers parses them in place.
unsafe impl Send for Message {}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: owned, so destroyed once; the client is alive (invariant 2).
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Message({}: {})", self.partition(), self.offset())
    }
}

impl Message {
    fn native(&self) -> &rd::rd_kafka_message_t {
        // SAFETY: non-null and alive until drop; librdkafka does not write these fields once handed out.
        unsafe { self.0.as_ref() }
    }

    pub(super) fn partition(&self) -> i32 {
        self.native().partition
    }

    /// Of a record, its own; of an error, the offset it is about.
    pub(super) fn offset(&self) -> i64 {
        self.native().offset
    }

    /// The error code, 0 for a record.
    pub(super) fn code(&self) -> i32 {
        // SAFETY: read as the integer that it is in C, so that a code which the enum lacks is no undefined value.
        unsafe { ptr::addr_of!((*self.0.as_ptr()).err).cast::<i32>().read() }
    }

    /// The error in librdkafka's words; empty for none.
    pub(super) fn fault(&self) -> Fault {
        let text = self.bytes(self.native().payload, self.native().len).map(String::from_utf8_lossy);
        Fault { code: self.code(), text: text.unwrap_or_default().into_owned() }
    }

    fn bytes(&self, start: *const c_void, len: usize) -> Option<&[u8]> {
        // SAFETY: librdkafka gives `len` readable bytes at a non-null `start`, which live as long as the message.
        (!start.is_null()).then(|| unsafe { std::slice::from_raw_parts(start.cast(), len) })
    }

    fn record(&self) -> RawRecord<'_> {
        let native = self.native();
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; `kind` is written during the call.
        let time = unsafe { rd::rd_kafka_message_timestamp(self.0.as_ptr(), &mut kind) };
        let known = kind != rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE && time != -1;
        RawRecord {
            offset: native.offset,
            kafka_time: known.then_some(time),
            key: self.bytes(native.key, native.key_len),
            value: self.bytes(native.payload, native.len),
        }
    }

    fn header(&self, name: &str) -> Option<&[u8]> {
        if name.as_bytes().contains(&0) {
            return None;
        }
        let mut c_name: SmallVec<[u8; 64]> = SmallVec::from_slice(name.as_bytes());
        c_name.push(0);
        let (mut headers, mut value, mut size) = (ptr::null_mut(), ptr::null(), 0);
        // SAFETY: the message is alive and not shared between threads (it is not Sync), so parsing the headers in
        // place is ours to do; the name ends with a NUL; the value lives as long as the message.
        unsafe {
            Fault::check(rd::rd_kafka_message_headers(self.0.as_ptr(), &mut headers)).ok()?;
            Fault::check(rd::rd_kafka_header_get_last(headers, c_name.as_ptr().cast(), &mut value, &mut size)).ok()?;
        }
        self.bytes(value, size)
    }

    /// Kafka's names are UTF-8; what is not is replaced.
    fn headers(&self, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        let (mut headers, mut name, mut value, mut size) = (ptr::null_mut(), ptr::null(), ptr::null(), 0);
        // SAFETY: as in `header`; the list of headers belongs to the message; a name ends with a NUL.
        unsafe {
            if Fault::check(rd::rd_kafka_message_headers(self.0.as_ptr(), &mut headers)).is_err() {
                return;
            }
            for at in 0.. {
                let found = rd::rd_kafka_header_get_all(headers, at, &mut name, &mut value, &mut size);
                if Fault::check(found).is_err() {
                    return;
                }
                each(&CStr::from_ptr(name).to_string_lossy(), self.bytes(value, size));
            }
        }
    }
}

/// Records of one partition in offset order, in librdkafka's own buffers, which it frees when dropped.
pub struct KafkaBatch {
    /// Never empty, never errors; dropped before `_consumer`.
    messages: Vec<Message>,
    /// Keeps the client alive (invariant 2).
    _consumer: Arc<Consumer>,
}

impl KafkaBatch {
    pub(super) fn new(messages: Vec<Message>, consumer: Arc<Consumer>) -> Self {
        Self { messages, _consumer: consumer }
    }

    /// The partition of all its records.
    pub fn partition(&self) -> i32 {
        self.messages[0].partition()
    }

    /// The offset of its first record.
    pub fn first_offset(&self) -> i64 {
        self.messages[0].offset()
    }

    /// One past the offset of its last record.
    pub fn next_offset(&self) -> i64 {
        self.messages[self.messages.len() - 1].offset() + 1
    }
}

impl RawBatch for KafkaBatch {
    fn len(&self) -> usize {
        self.messages.len()
    }

    fn record(&self, index: usize) -> RawRecord<'_> {
        self.messages[index].record()
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        self.messages[index].header(name)
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.messages[index].headers(each);
    }
}

impl fmt::Debug for KafkaBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaBatch({}: {}..{})", self.partition(), self.first_offset(), self.next_offset())
    }
}

/// A name for a C call. Topic names never hold a NUL; one that does has no topic.
pub(super) fn c_string(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

pub(super) fn text(c: *const c_char) -> String {
    // SAFETY: librdkafka's texts are NUL-terminated and alive during the call.
    if c.is_null() { String::new() } else { unsafe { CStr::from_ptr(c) }.to_string_lossy().trim().to_string() }
}

unsafe extern "C" fn on_error(_: *mut rd::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    let fault = Fault { code, text: text(reason) };
    // A connection that fails is in the client's own log already; that all brokers are down follows each of them, dozens
    // of times in a second.
    let all_down = code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN as c_int;
    if all_down || code == rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TRANSPORT as c_int {
        tracing::debug!(target: "kafka", code, "{}", fault.text);
    } else {
        tracing::warn!(target: "kafka", code, "{}", fault.text);
    }
    // SAFETY: Client::new sets the opaque pointer to the client's context, which outlives the client; only shared
    // references to it exist.
    if let Some(context) = unsafe { opaque.cast::<Context>().as_ref() } {
        context.count.fetch_add(1, Ordering::Relaxed);
        // It says less than the error before it.
        if all_down {
            return;
        }
        *context.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }
}

unsafe extern "C" fn on_log(_: *const rd::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    match level {
        ..=4 => tracing::warn!(target: "kafka", facility = text(facility), "{}", text(line)),
        5..=6 => tracing::info!(target: "kafka", facility = text(facility), "{}", text(line)),
        _ => tracing::debug!(target: "kafka", facility = text(facility), "{}", text(line)),
    }
}

unsafe extern "C" fn on_commit(
    _: *mut rd::rd_kafka_t,
    code: rd_kafka_resp_err_t,
    _: *mut rd::rd_kafka_topic_partition_list_t,
    _: *mut c_void,
) {
    if let Err(fault) = Fault::check(code) {
        tracing::warn!(target: "kafka", code = fault.code, "group offsets not committed (lag tools only): {}", fault.text);
    }
}
