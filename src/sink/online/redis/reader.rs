//! The connection that all readers share: opened by whoever comes first, and whole whether or not they wait for it.
//!
//! Always holds: at most one connection is being opened, on a task of its own, so that a reader who gives up (its time
//! is short) leaves it to the next one. Readers never wait behind a batch that is written.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::RedisResult;

use super::link::{Door, Link, is_lost};
use crate::error::{Error, Result};

pub(super) struct Reader {
    door: Door,
    state: Arc<Mutex<State>>,
}

enum State {
    Closed,
    /// Ends when the task that opens it has set the state anew.
    Opening(Shared<BoxFuture<'static, Result<()>>>),
    Open(Link),
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// Opens nothing yet.
    pub(super) fn new(door: Door) -> Self {
        Self { door, state: Arc::new(Mutex::new(State::Closed)) }
    }

    /// The connection, opened if there is none.
    pub(super) async fn link(&self) -> Result<Link> {
        loop {
            let opening = {
                let mut state = lock(&self.state);
                match &*state {
                    State::Open(link) => return Ok(link.clone()),
                    State::Opening(opening) => opening.clone(),
                    State::Closed => {
                        let opening = self.open();
                        *state = State::Opening(opening.clone());
                        opening
                    }
                }
            };
            opening.await?;
        }
    }

    fn open(&self) -> Shared<BoxFuture<'static, Result<()>>> {
        let (door, state) = (self.door.clone(), Arc::clone(&self.state));
        let opening = tokio::spawn(async move {
            let opened = door.connect().await;
            let mut state = lock(&state);
            match opened {
                Ok(link) => {
                    *state = State::Open(link);
                    Ok(())
                }
                Err(e) => {
                    *state = State::Closed;
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
                *lock(&self.state) = State::Closed;
            }
            self.door.unread(&e)
        })
    }
}
