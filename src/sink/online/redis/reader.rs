//! What readers ask of Redis, and the connection that they share: opened by whoever comes first, and whole whether or
//! not they wait for it.
//!
//! Always holds: each runtime has a connection of its own, whose answers wake nobody elsewhere. At most one is being
//! opened in it, on a task of its own, so that a reader who gives up (its time is short) leaves it to the next one.
//! Readers never wait behind a batch that is written. What finds its connection ended is asked once more: the server may
//! have been restarted, and to read twice is harmless.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::runtime::{Handle, Id};

use super::super::OnlineHash;
use super::super::rows::{OnlineRows, OnlineRowsBuilder};
use super::super::text::EVENT_TIME_FIELD;
use super::direct::Direct;
use super::link::{Door, Link, is_lost};
use super::resp::{self, Answers};
use crate::error::{Error, ErrorKind, Result};

pub(super) struct Reader {
    door: Door,
    states: Arc<Mutex<States>>,
}

/// By runtime; one that is not there is closed. A process has as many as it has threads that answer, and its own.
type States = HashMap<Id, State>;

enum State {
    /// Ends when the task that opens it has set the state anew.
    Opening(Shared<BoxFuture<'static, Result<()>>>),
    Open(Connection),
}

/// An open connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// To one server over plain TCP.
    Direct(Direct),
    /// To a cluster, or over TLS.
    Link(Link),
}

fn lock(states: &Mutex<States>) -> MutexGuard<'_, States> {
    states.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Reader {
    /// Opens nothing yet.
    pub(super) fn new(door: Door) -> Self {
        Self { door, states: Arc::default() }
    }

    /// The hash under an online key; empty when there is none.
    pub(super) async fn hash(&self, online_key: &str) -> Result<OnlineHash> {
        self.read(|connection| connection.hash(online_key)).await
    }

    /// These fields of many hashes.
    pub(super) async fn rows(&self, online_keys: &[String], fields: &[&str]) -> Result<OnlineRows> {
        self.read(|connection| connection.rows(online_keys, fields)).await
    }

    /// Asks, and once more where the connection has ended.
    async fn read<T, F: Future<Output = RedisResult<T>>>(&self, ask: impl Fn(Connection) -> F) -> Result<T> {
        let read = async || self.settle(ask(self.connection().await?).await);
        match read().await {
            Err(error) if error.kind() == ErrorKind::Unavailable => read().await,
            outcome => outcome,
        }
    }

    /// The connection, opened if there is none.
    pub(super) async fn connection(&self) -> Result<Connection> {
        let here = Handle::current().id();
        loop {
            let opening = {
                let mut states = lock(&self.states);
                match states.get(&here) {
                    Some(State::Open(connection)) => return Ok(connection.clone()),
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
            let opened = door.connect_to_read().await;
            let mut states = lock(&states);
            match opened {
                Ok(connection) => {
                    states.insert(here, State::Open(connection));
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
    fn settle<T>(&self, outcome: RedisResult<T>) -> Result<T> {
        outcome.map_err(|e| {
            if is_lost(&e) {
                lock(&self.states).remove(&Handle::current().id());
            }
            self.door.unread(&e)
        })
    }
}

impl Connection {
    async fn hash(self, online_key: &str) -> RedisResult<OnlineHash> {
        match self {
            Self::Direct(direct) => {
                let mut call = Vec::new();
                resp::call(&mut call, 2);
                resp::text(&mut call, b"HGETALL");
                resp::text(&mut call, online_key.as_bytes());
                let answers = direct.ask(call, 1, 0).await?;
                let mut texts = (0..answers.texts.len())
                    .map(|index| String::from_utf8_lossy(answers.text(index).unwrap_or_default()).into_owned());
                Ok(std::iter::from_fn(|| texts.next().zip(texts.next())).collect())
            }
            Self::Link(mut link) => {
                Ok(redis::from_redis_value(link.command(redis::cmd("HGETALL").arg(online_key)).await?)?)
            }
        }
    }

    async fn rows(self, online_keys: &[String], fields: &[&str]) -> RedisResult<OnlineRows> {
        match self {
            Self::Direct(direct) => {
                let (keys, texts) = (online_keys.len(), online_keys.len() * (1 + fields.len()));
                direct_rows(direct.ask(calls(online_keys, fields), keys, texts).await?, keys, fields.len())
            }
            Self::Link(mut link) => {
                let mut rows = OnlineRowsBuilder::with_capacity(fields.len(), online_keys.len());
                for answer in link.answers(&pipeline(online_keys, fields)).await? {
                    let values = if let Value::Array(values) = &answer { values.as_slice() } else { &[] };
                    let mut texts = values.iter().map(|value| match value {
                        Value::BulkString(bytes) => Some(bytes.as_slice()),
                        _ => None,
                    });
                    rows.push(texts.next().flatten(), texts);
                }
                Ok(rows.finish())
            }
        }
    }
}

/// The rows of so many `HMGET`s whose first field is the event time, where the answers' texts lie.
fn direct_rows(answers: Answers, keys: usize, width: usize) -> RedisResult<OnlineRows> {
    let Answers { bytes, texts } = answers;
    if texts.len() != keys * (1 + width) {
        return Err(resp::broken());
    }
    let mut rows = OnlineRowsBuilder::over(bytes, width, keys);
    texts.chunks_exact(1 + width).for_each(|row| rows.push_places(row[0], &row[1..]));
    Ok(rows.finish())
}

/// An `HMGET` of each key, as bytes: what follows the key is the same for all.
fn calls(online_keys: &[String], fields: &[&str]) -> Vec<u8> {
    let (mut head, mut tail) = (Vec::new(), Vec::new());
    resp::call(&mut head, 3 + fields.len());
    resp::text(&mut head, b"HMGET");
    resp::text(&mut tail, EVENT_TIME_FIELD.as_bytes());
    fields.iter().for_each(|field| resp::text(&mut tail, field.as_bytes()));
    let keys: usize = online_keys.iter().map(|key| key.len() + 16).sum();
    let mut out = Vec::with_capacity(online_keys.len() * (head.len() + tail.len()) + keys);
    for online_key in online_keys {
        out.extend_from_slice(&head);
        resp::text(&mut out, online_key.as_bytes());
        out.extend_from_slice(&tail);
    }
    out
}

/// The same as the client's own calls.
fn pipeline(online_keys: &[String], fields: &[&str]) -> Pipeline {
    let mut calls = Pipeline::with_capacity(online_keys.len());
    for online_key in online_keys {
        let mut call = Cmd::new();
        call.arg("HMGET").arg(online_key).arg(EVENT_TIME_FIELD).arg(fields);
        calls.add_command(call);
    }
    calls
}
