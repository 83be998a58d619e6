//! The demo's producer: some days of history at once, then events as they come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::shop::Shop;
use crate::error::{Error, Result};
use crate::runtime;
use crate::source::{Producer, Record};
use crate::time::Millis;

/// Events of the past.
pub const HISTORY_EVENTS: i64 = 60_000;
/// Over how many days.
pub const HISTORY_DAYS: i64 = 3;
/// Events a second from now on.
pub const LIVE_PER_SECOND: u64 = 300;

const DAY: Millis = 86_400_000;
const LIVE_TICK: Duration = Duration::from_millis(50);
const FLUSH: Duration = Duration::from_secs(20);

/// Live events on a thread of their own, until dropped or stopped.
pub struct Feed {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Feed {
    /// Writes the history, then goes on live.
    pub fn start(producer: Producer) -> Result<Self> {
        let mut shop = Shop::new();
        let (now, span) = (runtime::now(), HISTORY_DAYS * DAY);
        for n in 0..HISTORY_EVENTS {
            send(&producer, &mut shop, now - span + span * n / HISTORY_EVENTS)?;
        }
        producer.flush(FLUSH)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("demo-feed".into())
            .spawn(move || live(&producer, &mut shop, &stopped))
            .map_err(|error| Error::internal(format!("no thread for the demo's events: {error}")))?;
        Ok(Self { stop, thread: Some(thread) })
    }

    /// Ends it, and tells whether all its events reached the broker.
    pub fn stop(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            _ => Err(Error::internal("the demo's producer panicked")),
        }
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn live(producer: &Producer, shop: &mut Shop, stop: &AtomicBool) -> Result<()> {
    let each_tick = LIVE_PER_SECOND * LIVE_TICK.as_millis() as u64 / 1_000;
    while !stop.load(Ordering::Relaxed) {
        for _ in 0..each_tick {
            send(producer, shop, runtime::now())?;
        }
        std::thread::sleep(LIVE_TICK);
    }
    producer.flush(FLUSH)
}

fn send(producer: &Producer, shop: &mut Shop, arrived: Millis) -> Result<()> {
    let event = shop.event(arrived);
    producer.send(&Record {
        key: Some(event.key.as_bytes()),
        value: Some(event.value.as_bytes()),
        time: Some(event.arrived),
        ..Record::default()
    })
}
