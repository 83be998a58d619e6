//! What librdkafka's admin calls tell of a topic: its id, and its settings. Unsafe, as `native` is.
//!
//! What always holds: whatever a question makes (names, options, queue, event) is destroyed before it returns, once, and
//! an answer is copied out of its event before that. A question has a bound; the client's own connections serve it.
//!
//! Each goes to the broker that the caller names: any broker knows the answers. Without a name the library asks the
//! controller, and waits in vain for one where the brokers name none.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_int};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;
use rdkafka::bindings::{rd_kafka_admin_op_t, rd_kafka_resp_err_t};

use super::native::{Consumer, Fault, Queue, text};

impl Consumer {
    /// The cluster's id of a topic, in base64; `None` when the brokers are too old to tell, or do not answer in time.
    pub(super) fn topic_id(&self, topic: &CStr, broker: Option<i32>, wait: Duration) -> Option<String> {
        let mut name = topic.as_ptr();
        let api = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        // SAFETY: all arguments are alive; the call copies the names, which are destroyed here, once.
        let ask = |client, options, queue| unsafe {
            let names = rd::rd_kafka_TopicCollection_of_topic_names(&mut name, 1);
            rd::rd_kafka_DescribeTopics(client, names, options, queue);
            rd::rd_kafka_TopicCollection_destroy(names);
        };
        // SAFETY: the event is alive while it is read, or null.
        self.answer(api, broker, wait, ask, |event| unsafe { topic_id_in(event) }).flatten()
    }

    /// One of the topic's settings, as the brokers have it now; empty when they have none of this name.
    pub(super) fn topic_setting(
        &self,
        topic: &CStr,
        name: &str,
        broker: Option<i32>,
        wait: Duration,
    ) -> Result<String, Fault> {
        let api = rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS;
        // SAFETY: all arguments are alive; the call copies the resource, which is destroyed here, once.
        let ask = |client, options, queue| unsafe {
            let kind = rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
            let mut resource = rd::rd_kafka_ConfigResource_new(kind, topic.as_ptr());
            rd::rd_kafka_DescribeConfigs(client, &mut resource, 1, options, queue);
            rd::rd_kafka_ConfigResource_destroy(resource);
        };
        // SAFETY: the event is alive while it is read, or null.
        let answer = self.answer(api, broker, wait, ask, |event| unsafe { setting_in(event, name) });
        answer.unwrap_or_else(|| Err(no_answer()))
    }

    /// Sends a question and reads its answer; `read` gets null when none came in time.
    fn answer<T>(
        &self,
        api: rd_kafka_admin_op_t,
        broker: Option<i32>,
        wait: Duration,
        ask: impl FnOnce(*mut rd::rd_kafka_t, *const rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
        read: impl FnOnce(*mut rd::rd_kafka_event_t) -> T,
    ) -> Option<T> {
        let wait = c_int::try_from(wait.as_millis()).unwrap_or(c_int::MAX);
        let client = self.client().native_ptr();
        let mut error = [0 as c_char; 256];
        // SAFETY: the client is alive. What is made here (queue, options, event) is destroyed here, once, the queue after
        // its event; calls copy the options. A null event is accepted by the destructor.
        unsafe {
            let queue = Queue(NonNull::new(rd::rd_kafka_queue_new(client))?);
            let options = rd::rd_kafka_AdminOptions_new(client, api);
            rd::rd_kafka_AdminOptions_set_request_timeout(options, wait, error.as_mut_ptr(), error.len());
            if let Some(broker) = broker {
                rd::rd_kafka_AdminOptions_set_broker(options, broker, error.as_mut_ptr(), error.len());
            }
            ask(client, options, queue.0.as_ptr());
            let event = rd::rd_kafka_queue_poll(queue.0.as_ptr(), wait);
            let answer = read(event);
            rd::rd_kafka_event_destroy(event);
            rd::rd_kafka_AdminOptions_destroy(options);
            Some(answer)
        }
    }
}

fn no_answer() -> Fault {
    let code = rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT;
    Fault { code: code as i32, text: "no answer in time".into() }
}

/// The id in the answer to a question about one topic.
///
/// # Safety
/// `event` is null, or an event that is alive.
unsafe fn topic_id_in(event: *mut rd::rd_kafka_event_t) -> Option<String> {
    // SAFETY: each pointer is tested before it is followed, and lives as long as the event.
    unsafe {
        let result = NonNull::new(rd::rd_kafka_event_DescribeTopics_result(event).cast_mut())?;
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result.as_ptr(), &mut count);
        if topics.is_null() || count == 0 {
            return None;
        }
        let id = NonNull::new(rd::rd_kafka_TopicDescription_topic_id(*topics).cast_mut())?;
        let id = text(rd::rd_kafka_Uuid_base64str(id.as_ptr()));
        // All zeros: the broker did not tell.
        id.bytes().any(|byte| byte != b'A').then_some(id)
    }
}

/// A setting in the answer to a question about one topic's settings.
///
/// # Safety
/// `event` is null, or an event that is alive.
unsafe fn setting_in(event: *mut rd::rd_kafka_event_t, name: &str) -> Result<String, Fault> {
    // SAFETY: each pointer is tested before it is followed, and lives as long as the event; `count` is how many
    // pointers there are.
    unsafe {
        let result = rd::rd_kafka_event_DescribeConfigs_result(event);
        if result.is_null() {
            return Err(no_answer());
        }
        Fault::of(rd::rd_kafka_event_error(event), rd::rd_kafka_event_error_string(event))?;
        let mut count = 0;
        let resources = rd::rd_kafka_DescribeConfigs_result_resources(result, &mut count);
        if resources.is_null() || count == 0 {
            return Err(no_answer());
        }
        let resource = *resources;
        Fault::of(rd::rd_kafka_ConfigResource_error(resource), rd::rd_kafka_ConfigResource_error_string(resource))?;
        let entries = rd::rd_kafka_ConfigResource_configs(resource, &mut count);
        if entries.is_null() {
            return Ok(String::new());
        }
        let entries = std::slice::from_raw_parts(entries, count);
        let entry = entries.iter().find(|entry| text(rd::rd_kafka_ConfigEntry_name(**entry)) == name);
        Ok(entry.map_or_else(String::new, |entry| text(rd::rd_kafka_ConfigEntry_value(*entry))))
    }
}
