//! The online store inside the process, on the state room's store port: for one machine, the demo and tests.
//!
//! Always holds: the same as Redis' (one suite proves it): newer wins, whole hash, all-empty entities expire. The time
//! comes from the clock given at construction; an expired hash is not shown at once and swept a little with every
//! batch. A batch is one atomic write. Left out: losing data behind our back; only a removed directory does that.
//!
//! Keys: `e` + online key to [expiry][position][fields]; `x` + expiry + online key to nothing, for the sweep; `p` +
//! partition to its progress.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;

use super::text::{self, EVENT_TIME_FIELD, OnlineKey, RowText};
use super::{OnlineBatch, OnlineHash, OnlineRows, OnlineRowsBuilder, OnlineStore, Position, Progress};
use crate::error::{Error, Result};
use crate::state::{Batch, Store};
use crate::time::Millis;

const ENTITY: u8 = b'e';
const EXPIRY: u8 = b'x';
const PROGRESS: u8 = b'p';
/// Expired entities removed with one batch, at most.
const SWEEP: usize = 1_000;
const FOREVER: Millis = Millis::MAX;

/// Gives the time, in ms since 1970.
pub type Clock = Box<dyn Fn() -> Millis + Send + Sync>;

/// The port on a [`Store`].
#[derive(Clone)]
pub struct EmbeddedStore {
    inner: Arc<Inner>,
}

struct Inner {
    store: Box<dyn Store>,
    clock: Clock,
    /// Held from reading the old position to writing the new row.
    writing: Mutex<()>,
}

/// A row on its way in.
struct Incoming {
    online_key: String,
    position: Position,
    expiry_after: Option<Millis>,
    hash: OnlineHash,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// On a store of its own, which nothing else writes.
    pub fn new(store: Box<dyn Store>, clock: Clock) -> Self {
        Self { inner: Arc::new(Inner { store, clock, writing: Mutex::new(()) }) }
    }

    /// Runs off the asynchronous threads: the store below blocks.
    fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner) -> Result<T> + Send + 'static,
    ) -> BoxFuture<'static, Result<T>> {
        let inner = self.inner.clone();
        Box::pin(async move {
            let done = tokio::task::spawn_blocking(move || work(&inner)).await;
            done.map_err(|e| Error::internal(format!("embedded online store: {e}")))?
        })
    }
}

impl OnlineStore for EmbeddedStore {
    fn publish<'a>(&'a self, batch: &'a OnlineBatch<'a>) -> BoxFuture<'a, Result<()>> {
        match incoming(batch) {
            Ok(rows) => self.blocking(move |inner| inner.publish(&rows)),
            Err(e) => Box::pin(async { Err(e) }),
        }
    }

    fn get<'a>(&'a self, online_key: &'a str) -> BoxFuture<'a, Result<Option<OnlineHash>>> {
        let online_key = online_key.to_string();
        self.blocking(move |inner| inner.get(&online_key))
    }

    fn get_many<'a>(&'a self, online_keys: &'a [String], fields: &'a [&'a str]) -> BoxFuture<'a, Result<OnlineRows>> {
        Box::pin(async move {
            let keys: Vec<Vec<u8>> = online_keys.iter().map(|key| entity_key(key)).collect();
            // What lies in memory needs no other thread: to wake one costs more than to read.
            let in_memory = self.inner.store.multi_get_in_memory(&slices(&keys))?;
            let stored = match in_memory {
                Some(stored) => stored,
                None => self.blocking(move |inner| inner.store.multi_get(&slices(&keys))).await?,
            };
            self.inner.rows(&stored, fields)
        })
    }

    fn set_progress<'a>(&'a self, partition: i32, progress: Progress) -> BoxFuture<'a, Result<()>> {
        self.blocking(move |inner| inner.set_progress(partition, progress))
    }

    fn progress<'a>(&'a self, partition: i32) -> BoxFuture<'a, Result<Option<Progress>>> {
        self.blocking(move |inner| inner.progress(partition))
    }

    fn check<'a>(&'a self, expected: &'a [(i32, Progress)]) -> BoxFuture<'a, Result<Vec<i32>>> {
        let expected = expected.to_vec();
        self.blocking(move |inner| {
            let mut lost = Vec::new();
            for (partition, expected) in &expected {
                if inner.progress(*partition)?.is_none_or(|stored| stored.is_behind(expected)) {
                    lost.push(*partition);
                }
            }
            Ok(lost)
        })
    }
}

impl Inner {
    fn publish(&self, rows: &[Incoming]) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = (self.clock)();
        let keys: Vec<Vec<u8>> = rows.iter().map(|row| entity_key(&row.online_key)).collect();
        let stored = self.store.multi_get(&slices(&keys))?;
        let mut batch = Batch::default();
        let mut kept: HashMap<&str, Position> = HashMap::new();
        for ((row, key), stored) in rows.iter().zip(&keys).zip(stored) {
            let stored = stored.as_deref().map(Stored::read).transpose()?;
            let shown = stored.as_ref().filter(|stored| stored.expiry > now);
            let mut newest = shown.map(Stored::position).transpose()?;
            newest = newest.max(kept.get(row.online_key.as_str()).copied());
            if newest.is_some_and(|newest| newest >= row.position) {
                continue;
            }
            if let Some(stored) = stored.filter(|stored| stored.expiry != FOREVER) {
                batch.delete(&expiry_key(stored.expiry, &row.online_key));
            }
            let expiry = row.expiry_after.map_or(FOREVER, |ttl| now.saturating_add(ttl));
            if expiry != FOREVER {
                batch.put(&expiry_key(expiry, &row.online_key), &[]);
            }
            batch.put(key, &Stored::write(expiry, row));
            kept.insert(&row.online_key, row.position);
        }
        self.sweep(now, &kept, &mut batch)?;
        if batch.is_empty() { Ok(()) } else { self.store.write(&batch) }
    }

    /// Removes some of what has expired, but for what this batch has just written.
    fn sweep(&self, now: Millis, kept: &HashMap<&str, Position>, batch: &mut Batch) -> Result<()> {
        let due = self.store.scan(&expiry_key(Millis::MIN, ""), &expiry_key(now.saturating_add(1), ""), SWEEP)?;
        for (key, _) in due {
            let online_key = String::from_utf8_lossy(&key[9..]).into_owned();
            if !kept.contains_key(online_key.as_str()) {
                batch.delete(&entity_key(&online_key));
                batch.delete(&key);
            }
        }
        Ok(())
    }

    fn get(&self, online_key: &str) -> Result<Option<OnlineHash>> {
        let Some(value) = self.store.get(&entity_key(online_key))? else { return Ok(None) };
        let stored = Stored::read(&value)?;
        if stored.expiry <= (self.clock)() { Ok(None) } else { stored.hash().map(Some) }
    }

    fn rows(&self, stored: &[Option<Vec<u8>>], fields: &[&str]) -> Result<OnlineRows> {
        let now = (self.clock)();
        let wanted = by_name(fields);
        let mut rows = OnlineRowsBuilder::with_capacity(fields.len(), stored.len());
        let mut texts = Vec::new();
        for value in stored {
            match value.as_deref().map(Stored::read).transpose()? {
                Some(stored) if stored.expiry > now => {
                    stored.pick(&wanted, &mut texts)?;
                    rows.push(texts[0], texts[1..].iter().copied());
                }
                _ => rows.push_none(),
            }
        }
        Ok(rows.finish())
    }

    fn progress(&self, partition: i32) -> Result<Option<Progress>> {
        let stored = self.store.get(&progress_key(partition))?;
        stored.map(|json| serde_json::from_slice(&json).map_err(|e| corrupt(&e))).transpose()
    }

    fn set_progress(&self, partition: i32, progress: Progress) -> Result<()> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.progress(partition)?.is_some_and(|stored| !stored.is_behind(&progress)) {
            return Ok(());
        }
        let mut batch = Batch::default();
        batch.put(&progress_key(partition), &serde_json::to_vec(&progress).map_err(|e| corrupt(&e))?);
        self.store.write(&batch)
    }
}

/// A stored value: `[expiry: 8][length of position: 1][position][fields: (length: 4, bytes), name then text ...]`.
struct Stored<'a> {
    expiry: Millis,
    position: &'a [u8],
    fields: &'a [u8],
}

impl<'a> Stored<'a> {
    fn write(expiry: Millis, row: &Incoming) -> Vec<u8> {
        let mut out = expiry.to_be_bytes().to_vec();
        let mut position = Vec::new();
        row.position.write(&mut position);
        out.push(position.len() as u8);
        out.extend_from_slice(&position);
        for text in row.hash.iter().flat_map(|(name, text)| [name, text]) {
            out.extend_from_slice(&(text.len() as u32).to_be_bytes());
            out.extend_from_slice(text.as_bytes());
        }
        out
    }

    fn read(value: &'a [u8]) -> Result<Self> {
        let parse = || {
            let (expiry, rest) = value.split_first_chunk::<8>()?;
            let (len, rest) = rest.split_first()?;
            let (position, fields) = rest.split_at_checked(usize::from(*len))?;
            Some(Self { expiry: Millis::from_be_bytes(*expiry), position, fields })
        };
        parse().ok_or_else(|| corrupt(&"a value is cut short"))
    }

    fn position(&self) -> Result<Position> {
        let position = std::str::from_utf8(self.position).ok().and_then(|text| text.parse().ok());
        position.ok_or_else(|| corrupt(&"a position is none"))
    }

    fn hash(&self) -> Result<OnlineHash> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| corrupt(&"a field is no text"));
        Fields(self.fields).map(|field| field.and_then(|(name, value)| Ok((text(name)?, text(value)?)))).collect()
    }

    /// The texts of these fields, each put where it is wanted.
    fn pick(&self, wanted: &[(&str, usize)], texts: &mut Vec<Option<&'a [u8]>>) -> Result<()> {
        texts.clear();
        texts.resize(wanted.len(), None);
        let mut wanted = wanted.iter().peekable();
        for field in Fields(self.fields) {
            let (name, text) = field?;
            while let Some((next, place)) = wanted.peek() {
                match next.as_bytes().cmp(name) {
                    Ordering::Greater => break,
                    Ordering::Equal => texts[*place] = Some(text),
                    Ordering::Less => {}
                }
                wanted.next();
            }
        }
        Ok(())
    }
}

/// Names and texts of a stored value, by name: as a hash is ordered.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(&'a [u8], &'a [u8])>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.cut().and_then(|name| Some((name, self.cut()?)));
        Some(field.ok_or_else(|| {
            self.0 = &[];
            corrupt(&"a field is cut short")
        }))
    }
}

impl<'a> Fields<'a> {
    fn cut(&mut self) -> Option<&'a [u8]> {
        let (len, after) = self.0.split_first_chunk::<4>()?;
        let (text, after) = after.split_at_checked(u32::from_be_bytes(*len) as usize)?;
        self.0 = after;
        Some(text)
    }
}

/// The event time and these fields, by name, so that one walk through a hash finds all: with the place of each, the event
/// time's first.
fn by_name<'f>(fields: &[&'f str]) -> Vec<(&'f str, usize)> {
    let mut wanted: Vec<_> = [EVENT_TIME_FIELD].into_iter().chain(fields.iter().copied()).zip(0..).collect();
    wanted.sort_unstable();
    wanted
}

fn incoming(batch: &OnlineBatch<'_>) -> Result<Vec<Incoming>> {
    let text = RowText::new(batch.entity, batch.rows)?;
    let key = OnlineKey::of(batch.entity);
    let row = |pick: &u32| {
        let row = *pick as usize;
        Incoming {
            online_key: key.text(text.key(row)),
            position: text.position(row, batch.partition, batch.generation, batch.refresh),
            expiry_after: text.all_empty(row).then_some(batch.entity.empty_ttl),
            hash: text::hash(batch, &text, row),
        }
    };
    Ok(batch.picks.iter().map(row).collect())
}

fn entity_key(online_key: &str) -> Vec<u8> {
    [&[ENTITY], online_key.as_bytes()].concat()
}

fn slices(keys: &[Vec<u8>]) -> Vec<&[u8]> {
    keys.iter().map(Vec::as_slice).collect()
}

fn expiry_key(expiry: Millis, online_key: &str) -> Vec<u8> {
    // The sign bit is turned, so that bytes sort as numbers do.
    [&[EXPIRY], (expiry ^ Millis::MIN).to_be_bytes().as_slice(), online_key.as_bytes()].concat()
}

fn progress_key(partition: i32) -> Vec<u8> {
    [&[PROGRESS], partition.to_be_bytes().as_slice()].concat()
}

fn corrupt(what: &dyn std::fmt::Display) -> Error {
    Error::state(format!("embedded online store: {what}; remove its directory, it is filled again from state"))
}
