//! The connection that readers share: opened by whoever comes first, and whole whether or not they wait for it.
//!
//! Always holds: each runtime has a connection of its own, whose answers wake nobody elsewhere. At most one is being
//! opened in it, on a task of its own, so that a reader who gives up (its time is short) leaves it to the next one.
//! Readers never wait behind a batch that is written.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::RedisResult;
use tokio::runtime::{Handle, Id};

use super::link::{Door, Link, is_lost};
use crate::error::{Error, Result};

pub(super) struct Reader {
    door: Door,
    states: Arc<Mutex<States>>,
}

/// By runtime; one that is not there is closed. A process has as many as it has threads that answer, and its own.
type States = HashMap<Id, State>;

enum State {
    /// Ends when the task that opens it has set the state anew.
    Opening(Shared<BoxFuture<'static, Result<()>>>),
    Open(Link),
}

fn lock(states: &Mutex<States>) -> MutexGuard<'_, States> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// Opens nothing yet.
    pub(super) fn new(door: Door) -> Self {
        Self { door, states: Arc::default() }
    }

    /// The connection, opened if there is none.
    pub(super) async fn link(&self) -> Result<Link> {
        let here = Handle::current().id();
        loop {
            let opening = {
                let mut states = lock(&self.states);
                match states.get(&here) {
                    Some(State::Open(link)) => return Ok(link.clone()),
                    Some(State::Opening(opening)) => opening.clone(),
                    None => {
                        let opening = self.open(here);
                        states.insert(here, State::Opening(opening.clone()));
                        opening
                    }
                }
            };
            opening.await?;
        }
    }

    fn open(&self, here: Id) -> Shared<BoxFuture<'static, Result<()>>> {
        let (door, states) = (self.door.clone(), Arc::clone(&self.states));
        let opening = tokio::spawn(async move {
            let opened = door.connect().await;
            let mut states = lock(&states);
            match opened {
                Ok(link) => {
                    states.insert(here, State::Open(link));
                    Ok(())
                }
                Err(e) => {
                    states.remove(&here);
                    Err(door.unread(&e))
                }
            }
        });
        let opened = async move {
            opening.await.unwrap_or_else(|e| Err(Error::internal(format!("opening a connection to Redis: {e}"))))
        };
        opened.boxed().shared()
    }

    /// The outcome of what was asked; a connection that cannot be trusted any more is thrown away.
    pub(super) fn settle<T>(&self, outcome: RedisResult<T>) -> Result<T> {
        outcome.map_err(|e| {
            if is_lost(&e) {
                lock(&self.states).remove(&Handle::current().id());
            }
            self.door.unread(&e)
        })
    }
}
