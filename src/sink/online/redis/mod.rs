//! The online store on Redis, the real one: plain hashes, Feast's own form, or both; newer-wins in one script each,
//! progress beside them.
//!
//! Always holds:
//! 1. An entity is replaced whole, inside Redis, and only by a row of a greater position: whoever repeats, is late, or
//!    was believed dead changes nothing. Each form has its own position, so it holds for each of them alone.
//! 2. One connection writes, one batch after the other, progress after the rows; an error throws the connection away.
//! 3. Progress is never written over a gap: when the server shows less than it acknowledged, [`OnlineStore::check`]
//!    names the partitions, and their rows come again from state.
//!
//! Offsets and generations are compared as Lua's doubles: exact below 2^53. Retrying is the caller's.

mod direct;
mod encode;
mod feast;
mod link;
mod reader;
mod resp;
mod script;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;
use redis::cluster_routing::Slot;
use redis::{Pipeline, RedisResult, Value};

use self::encode::{Encoder, Form};
use self::feast::FeastView;
use self::link::{Door, Link};
use self::reader::Reader;
use self::script::Script;
use super::text::{OnlineKey, RowText};
use super::{OnlineBatch, OnlineHash, OnlineRows, OnlineStore, Progress};
use crate::config::{RedisFormat, RedisSettings};
use crate::error::{Error, Result};
use crate::topology::EntityPlan;

/// The one policy that never evicts.
const NO_EVICTION: &str = "noeviction";

/// The port on a Redis server or cluster.
pub struct RedisStore {
    door: Door,
    /// Held while a batch is on its way: one writer, in order.
    writer: tokio::sync::Mutex<Option<Link>>,
    reader: Reader,
    /// The forms that are written, in this order, each with its script.
    forms: Vec<(RedisFormat, Script)>,
    /// Feast's project.
    project: String,
    progress: Script,
    progress_key: String,
    entities_per_call: usize,
    calls_per_pipeline: usize,
    /// What the server acknowledged of each partition and has not been found to have lost.
    acknowledged: Mutex<HashMap<i32, Progress>>,
    /// This user may see the `maxmemory-policy`.
    policy_is_shown: AtomicBool,
    /// Of a cluster: which masters there were at the last check. Each may lose its own part of the rows. And the forms that
    /// are written, if not just the plain one: progress vouches for these.
    servers: Mutex<String>,
}

impl std::fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisStore").field("door", &self.door.name).finish_non_exhaustive()
    }
}

impl RedisStore {
    /// Connects, and refuses a server that would evict features.
    ///
    /// # Errors
    /// Configuration: URL, PEM files, user or permissions are wrong. Unavailable: nobody answers at the URL. Refused:
    /// its `maxmemory-policy` evicts (also found by every check).
    pub async fn connect(settings: &RedisSettings, topology: &str, entities: &[EntityPlan]) -> Result<Self> {
        let progress_key = progress_key(topology);
        if let Some(entity) = entities.iter().find(|entity| OnlineKey::of(entity).can_be(&progress_key)) {
            return Err(Error::configuration(format!(
                "entity `{}`: its online key `{}` can be `{progress_key}`, where progress is kept; choose another",
                entity.name, entity.online_key
            )));
        }
        if settings.formats.contains(&RedisFormat::Feast) {
            feast::refuse_collisions(entities)?;
        }
        let door = Door::new(settings)?;
        let link = door.open().await.map_err(|e| {
            let start =
                format!("online store: {e}; start Redis there, set online.redis.url, or online.store: embedded");
            Error::new(e.kind(), start)
        })?;
        let store = Self::new(door, Some(link), settings, topology);
        store.prepare().await?;
        // The first reader has little time.
        store.reader.connection().await?;
        Ok(store)
    }

    /// A store to read from: nothing is asked of the server but what is read, so a replica serves, and a user who may
    /// only read. Connects with the first read.
    ///
    /// # Errors
    /// Configuration: URL or PEM files are wrong, or only Feast's form is written, which is not for us to read.
    pub fn to_read(settings: &RedisSettings, topology: &str) -> Result<Self> {
        let store = Self::new(Door::new(settings)?, None, settings, topology);
        store.refuse_to_read().map_or(Ok(store), Err)
    }

    fn new(door: Door, link: Option<Link>, settings: &RedisSettings, topology: &str) -> Self {
        Self {
            reader: Reader::new(door.clone()),
            door,
            writer: tokio::sync::Mutex::new(link),
            forms: settings.formats.iter().map(|format| (*format, Script::of(*format))).collect(),
            project: settings.feast_project_of(topology).to_string(),
            progress: Script::progress(),
            progress_key: progress_key(topology),
            entities_per_call: settings.entities_per_call.clamp(1, 1024),
            calls_per_pipeline: settings.calls_per_pipeline.clamp(1, 1024),
            acknowledged: Mutex::default(),
            policy_is_shown: AtomicBool::new(false),
            servers: Mutex::default(),
        }
    }

    /// What must be known before the first row: that nothing is evicted, the scripts, and who the servers are.
    async fn prepare(&self) -> Result<()> {
        let mut slot = self.writer.lock().await;
        let link = self.door.ready(&mut slot).await?;
        let is_shown = self.refuse_eviction(link).await?;
        self.policy_is_shown.store(is_shown, Ordering::Relaxed);
        if !is_shown {
            tracing::warn!(
                redis = self.door.name,
                "the server shows neither INFO memory nor CONFIG GET to this user: make sure that its maxmemory-policy \
                 is noeviction, or features may vanish"
            );
        }
        let prepared = async {
            for (_, script) in &self.forms {
                script.load(link).await?;
            }
            self.progress.load(link).await?;
            servers(link).await
        };
        let outcome = prepared.await;
        let servers = self.vouched(self.door.settle(&mut slot, outcome)?);
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
        Ok(())
    }

    /// Refuses a policy that evicts; answers whether the server shows it at all.
    async fn refuse_eviction(&self, link: &mut Link) -> Result<bool> {
        let policies = policies(link).await.unwrap_or_default();
        match policies.iter().find(|policy| *policy != NO_EVICTION) {
            None => Ok(!policies.is_empty()),
            Some(policy) => Err(Error::refused(format!(
                "Redis at {} has maxmemory-policy {policy}, which evicts: features would vanish, and old rows could \
                 come back. Set it to noeviction (CONFIG SET maxmemory-policy noeviction, and in its configuration), \
                 or use another Redis",
                self.door.name
            ))),
        }
    }

    async fn publish_rows(&self, batch: &OnlineBatch<'_>) -> Result<()> {
        let text = RowText::new(batch.entity, batch.rows)?;
        let mut slot = self.writer.lock().await;
        for (format, script) in &self.forms {
            let form = match format {
                RedisFormat::Hash => Form::Hash(OnlineKey::of(batch.entity)),
                RedisFormat::Feast => Form::Feast(FeastView::new(&self.project, batch.source, batch.entity)),
            };
            let encoder = Encoder::new(batch, &text, form, &script.sha);
            self.send(&mut slot, script, encoder, batch.picks).await?;
        }
        Ok(())
    }

    /// Sends the picked rows in one form.
    async fn send(
        &self,
        slot: &mut Option<Link>,
        script: &Script,
        mut encoder: Encoder<'_>,
        picks: &[u32],
    ) -> Result<()> {
        let is_cluster = self.door.ready(slot).await?.is_cluster();
        let groups = if is_cluster { by_slot(&encoder, picks)? } else { vec![picks.to_vec()] };
        let mut calls = Vec::new();
        for group in &groups {
            calls.extend(group.chunks(self.entities_per_call));
        }
        let mut calls = calls.into_iter().peekable();
        while calls.peek().is_some() {
            let mut pipeline = Pipeline::with_capacity(self.calls_per_pipeline);
            let mut entities = 0;
            while entities < self.entities_per_call * self.calls_per_pipeline {
                let Some(call) = calls.next() else { break };
                pipeline.add_command(encoder.call(call)?);
                entities += call.len();
            }
            let link = self.door.ready(slot).await?;
            let outcome = script.calls(link, &pipeline).await;
            self.door.settle(slot, outcome)?;
        }
        Ok(())
    }

    /// What progress vouches for: rows on these servers, in the forms that are written now. A form that is new has
    /// everything to come.
    fn vouched(&self, servers: String) -> String {
        let forms: Vec<RedisFormat> = self.forms.iter().map(|(format, _)| *format).collect();
        match forms.as_slice() {
            [RedisFormat::Hash] => servers,
            forms => format!("{servers};{forms:?};{}", self.project),
        }
    }

    /// Why nothing can be read from here, if so.
    fn refuse_to_read(&self) -> Option<Error> {
        let has_text = self.forms.iter().any(|(format, _)| *format == RedisFormat::Hash);
        (!has_text).then(|| {
            Error::configuration(
                "online.redis.formats has only feast, which Feast's clients read: add hash for kappa get, kappa serve and \
                 the pages of features",
            )
        })
    }

    async fn read(&self, online_key: &str) -> Result<Option<OnlineHash>> {
        if let Some(refused) = self.refuse_to_read() {
            return Err(refused);
        }
        Ok(Some(self.reader.hash(online_key).await?).filter(|hash| !hash.is_empty()))
    }

    async fn read_many(&self, online_keys: &[String], fields: &[&str]) -> Result<OnlineRows> {
        match self.refuse_to_read() {
            Some(refused) => Err(refused),
            None if online_keys.is_empty() => Ok(OnlineRows::default()),
            None => self.reader.rows(online_keys, fields).await,
        }
    }

    async fn advance(&self, partition: i32, progress: Progress) -> Result<()> {
        let before = self.acknowledged().get(&partition).copied();
        let servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.progress.sha).arg(1).arg(&self.progress_key).arg(partition).arg(json(&progress)?);
        call.arg(before.as_ref().map(json).transpose()?.unwrap_or_default()).arg(servers);
        let mut slot = self.writer.lock().await;
        let link = self.door.ready(&mut slot).await?;
        let outcome = self.progress.call(link, &call).await;
        let answer = self.door.settle(&mut slot, outcome)?;
        if answer == Value::Int(-1) {
            // Nothing is written over the gap: it must still show when it is asked for, also after a restart of ours.
            tracing::warn!(redis = self.door.name, partition, "the server has lost what it acknowledged");
            return Ok(());
        }
        self.acknowledged().insert(partition, progress);
        Ok(())
    }

    /// The progress of these partitions, each with the servers that were there when it was written.
    async fn stored(&self, slot: &mut Option<Link>, partitions: &[i32]) -> Result<Vec<(Option<Progress>, String)>> {
        let mut command = redis::cmd("HMGET");
        command.arg(&self.progress_key);
        partitions.iter().for_each(|partition| {
            command.arg(partition).arg(format!("{partition}:servers"));
        });
        let link = self.door.ready(slot).await?;
        let read = async { Ok(redis::from_redis_value::<Vec<Option<String>>>(link.command(&command).await?)?) };
        let outcome = read.await;
        let texts = self.door.settle(slot, outcome)?;
        let progress = |text: &Option<String>| text.as_deref().and_then(|text| serde_json::from_str(text).ok());
        Ok(texts.chunks(2).map(|pair| (progress(&pair[0]), pair[1].clone().unwrap_or_default())).collect())
    }

    async fn find_lost(&self, expected: &[(i32, Progress)]) -> Result<Vec<i32>> {
        if expected.is_empty() {
            return Ok(Vec::new());
        }
        let mut slot = self.writer.lock().await;
        let link = self.door.ready(&mut slot).await?;
        // It may have been changed, or be another server's. One that does not show it is not asked again and again.
        if self.policy_is_shown.load(Ordering::Relaxed) {
            self.refuse_eviction(link).await?;
        }
        let outcome = servers(link).await;
        let servers = self.vouched(self.door.settle(&mut slot, outcome)?);
        let partitions: Vec<i32> = expected.iter().map(|(partition, _)| *partition).collect();
        let stored = self.stored(&mut slot, &partitions).await?;
        let mut lost = Vec::new();
        for ((partition, expected), (stored, written_by)) in expected.iter().zip(stored) {
            let mut acknowledged = self.acknowledged();
            let known = acknowledged.get(partition).filter(|known| expected.is_behind(known)).unwrap_or(expected);
            if stored.is_none_or(|stored| stored.is_behind(known)) || written_by != servers {
                acknowledged.remove(partition);
                lost.push(*partition);
            } else {
                let known = *known;
                acknowledged.insert(*partition, known);
            }
        }
        *self.servers.lock().unwrap_or_else(PoisonError::into_inner) = servers;
        Ok(lost)
    }

    fn acknowledged(&self) -> std::sync::MutexGuard<'_, HashMap<i32, Progress>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OnlineStore for RedisStore {
    fn publish<'a>(&'a self, batch: &'a OnlineBatch<'a>) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.publish_rows(batch))
    }

    fn get<'a>(&'a self, online_key: &'a str) -> BoxFuture<'a, Result<Option<OnlineHash>>> {
        Box::pin(self.read(online_key))
    }

    fn get_many<'a>(&'a self, online_keys: &'a [String], fields: &'a [&'a str]) -> BoxFuture<'a, Result<OnlineRows>> {
        Box::pin(self.read_many(online_keys, fields))
    }

    fn set_progress<'a>(&'a self, partition: i32, progress: Progress) -> BoxFuture<'a, Result<()>> {
        Box::pin(self.advance(partition, progress))
    }

    fn progress<'a>(&'a self, partition: i32) -> BoxFuture<'a, Result<Option<Progress>>> {
        Box::pin(async move {
            let mut slot = self.writer.lock().await;
            Ok(self.stored(&mut slot, &[partition]).await?.pop().and_then(|(progress, _)| progress))
        })
    }

    fn check<'a>(&'a self, expected: &'a [(i32, Progress)]) -> BoxFuture<'a, Result<Vec<i32>>> {
        Box::pin(self.find_lost(expected))
    }
}

/// Where the progress of a topology's partitions is kept.
fn progress_key(topology: &str) -> String {
    format!("kappa:{topology}:progress")
}

fn json(progress: &Progress) -> Result<String> {
    serde_json::to_string(progress).map_err(|e| Error::internal(format!("progress {progress:?}: {e}")))
}

/// The picks by slot: a call of the script must not span two.
fn by_slot(encoder: &Encoder<'_>, picks: &[u32]) -> Result<Vec<Vec<u32>>> {
    let mut slots: HashMap<Slot, usize> = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    for pick in picks {
        let group = *slots.entry(Slot::for_key(encoder.key(*pick)?)).or_insert_with(|| {
            groups.push(Vec::new());
            groups.len() - 1
        });
        groups[group].push(*pick);
    }
    Ok(groups)
}

/// The `maxmemory-policy` of every master, as far as this user may see them.
async fn policies(link: &mut Link) -> RedisResult<Vec<String>> {
    let infos = link.every_master(redis::cmd("INFO").arg("memory")).await;
    let infos = infos
        .and_then(|infos| Ok(infos.into_iter().map(redis::from_redis_value).collect::<Result<Vec<String>, _>>()?));
    let found: Vec<String> = infos.iter().flatten().filter_map(|info| info_field(info, "maxmemory_policy")).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let answers = link.every_master(redis::cmd("CONFIG").arg("GET").arg("maxmemory-policy")).await?;
    let answers =
        answers.into_iter().map(redis::from_redis_value).collect::<Result<Vec<HashMap<String, String>>, _>>()?;
    Ok(answers.into_iter().flat_map(HashMap::into_values).collect())
}

/// Of a cluster, its masters' run ids in order; a single server needs none, its progress tells.
async fn servers(link: &mut Link) -> RedisResult<String> {
    if !link.is_cluster() {
        return Ok(String::new());
    }
    let infos = link.every_master(redis::cmd("INFO").arg("server")).await?;
    let infos = infos.into_iter().map(redis::from_redis_value).collect::<Result<Vec<String>, _>>()?;
    let mut ids: Vec<String> = infos.iter().filter_map(|info| info_field(info, "run_id")).collect();
    ids.sort_unstable();
    Ok(ids.join(","))
}

fn info_field(info: &str, name: &str) -> Option<String> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(|value| value.trim().to_string())
}
