//! The cut-over: from the version that serves to another, partition by partition, with no gap and no step back.
//!
//! For each partition: the serving version is fenced, and what it published up to is written down; the new one passes
//! that offset, then publishes every entity's last row under a higher generation; entities that only the old one knows
//! are shown as empty under it too; from there on the new one's outbox is published. So a reader sees the old or the
//! new hash of an entity, each whole, and never an older state of the log. What has been fenced is in the registry:
//! after a crash the next run goes on with those partitions, and the others are still served by the old version.
//! A rollback is the same, back to the version before. A version that serves and cannot go on (its log is gone) is
//! stranded: what it published stays online until the one that is built for it has caught up.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::fleet::{Fleet, Started};
use super::online::Job;
use super::pipeline::Pipeline;
use crate::error::{Error, Result};
use crate::state::RocksStore;
use crate::task::{Known, OnlineRows, known, vacant};
use crate::topology::{FieldType, Plan};

/// Entities that are looked up in one page.
const PAGE: usize = 4_096;

impl Fleet {
    /// Makes this version the one that serves. Comes back early when the run is to stop or a version has failed: a
    /// switch may be cut short wherever it waits, and whoever begins it again goes on, as after a crash.
    ///
    /// # Errors
    /// State: the registry or a state. What the version that serves reports ends the process elsewhere.
    pub(super) async fn cut_over(&mut self, number: u32) -> Result<()> {
        let ended = self.ended();
        tokio::select! {
            done = self.switch_to(number) => done,
            () = ended => Ok(()),
        }
    }

    /// Comes when the run is to stop, or a version has failed.
    fn ended(&self) -> impl Future<Output = ()> + use<> {
        let stop = self.house.stop.clone();
        let all: Vec<_> = self.pipelines.values().map(|pipeline| Arc::clone(&pipeline.shared)).collect();
        wait_until(move || *stop.borrow() || all.iter().any(|shared| shared.stopping()))
    }

    async fn switch_to(&mut self, number: u32) -> Result<()> {
        let generation = self.versions.change(|versions| Ok(versions.begin_cut_over(number)))?;
        let Some(next) = self.pipelines.get(&number) else { return Ok(()) };
        tracing::info!(version = number, generation, "taking over");
        let (partitions, publishes) = (next.partitions(), next.online.is_some());
        if publishes {
            next.tell(Job::Lead { generation }).await;
            for partition in partitions {
                if !self.cut_over_partition(number, partition).await? {
                    return Ok(());
                }
            }
            if let (Some(lost), Some(next)) = (self.stranded, self.pipelines.get(&number)) {
                self.vacate_stranded(lost, next).await?;
            }
        }
        self.stranded = None;
        let before = self.live().map(|live| live.version.number);
        self.versions.change(|versions| {
            versions.end_cut_over(number);
            Ok(())
        })?;
        for number in before.into_iter().chain([number]) {
            self.put_on_board(number);
        }
        if let Some(next) = self.pipelines.get(&number) {
            next.metrics.show();
        }
        tracing::info!(version = number, before, "the version is live; kappa rollback takes it back");
        Ok(())
    }

    /// False when a publisher has ended: then so does the run, or the version.
    async fn cut_over_partition(&mut self, number: u32, partition: i32) -> Result<bool> {
        let passed = match self.versions.get(number).and_then(|version| version.cut.get(&partition)) {
            Some(offset) => *offset,
            None => {
                let fenced = match self.live() {
                    Some(live) => fence(live, partition).await,
                    None => Some(0),
                };
                let Some(offset) = fenced else { return Ok(false) };
                self.versions.change(|versions| {
                    versions.edit(number, |version| {
                        version.cut.insert(partition, offset);
                    });
                    Ok(offset)
                })?
            }
        };
        let Some(next) = self.pipelines.get(&number) else { return Ok(false) };
        wait_until(|| next.shared.partition(partition).next_offset >= passed).await;
        next.shared.update(partition, |standing| standing.published = false);
        let Some(outbox) = next.outbox(partition) else { return Ok(false) };
        outbox.want_all();
        wait_until(|| next.shared.published(partition)).await;
        if let Some(live) = self.live()
            && let Some(store) = live.store(partition)
        {
            vacate(next, partition, &live.plan, store).await?;
        }
        Ok(true)
    }

    /// The version that serves was refused, and another one is to be built in its place: what is wrong with it is noted,
    /// and it stays as it is.
    ///
    /// # Errors
    /// State: the registry.
    pub(super) fn strand(&mut self, number: u32, error: &Error) -> Result<Started> {
        tracing::warn!(
            version = number,
            "the version that serves is not fed while another one is built for it: {error}"
        );
        self.stranded = Some(number);
        self.versions.change(|versions| {
            versions.edit(number, |version| version.failure = Some(error.to_string()));
            Ok(Started::Stranded)
        })
    }

    /// Shows what only the stranded version knew as empty, from its state as it stands.
    async fn vacate_stranded(&self, number: u32, next: &Pipeline) -> Result<()> {
        let (plan, lanes) = (Arc::new(self.versions.plan(number)?), next.partitions());
        let partitions = self.versions.get(number).map_or(0, |version| version.partitions);
        for partition in 0..partitions as i32 {
            let dir = self.versions.state_dir(number, partition);
            // Any lane will do for one that the topic has no more.
            let lane = lanes.iter().find(|lane| **lane == partition).or(lanes.first());
            if let (true, Some(lane)) = (dir.exists(), lane) {
                let store = RocksStore::open_read_only(&dir, &self.house.rocks)?;
                vacate(next, *lane, &plan, Arc::new(store)).await?;
            }
        }
        Ok(())
    }
}

/// Comes when it is so.
async fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Fences a partition of the version that serves; answers up to which offset it was published.
async fn fence(live: &Pipeline, partition: i32) -> Option<i64> {
    let (published_to, answer) = oneshot::channel();
    if live.tell(Job::Fence { partition, published_to }).await { answer.await.ok() } else { None }
}

/// Shows the entities that the version before knew as empty ones, wherever the new one has not published a row: such a
/// row is behind every other one of its generation.
async fn vacate(next: &Pipeline, partition: i32, old: &Arc<Plan>, store: Arc<RocksStore>) -> Result<()> {
    let mut from: Option<Vec<u8>> = None;
    loop {
        let (old, new, store) = (Arc::clone(old), Arc::clone(&next.plan), Arc::clone(&store));
        let at = next.shared.partition(partition).watermark.unwrap_or(0);
        let page = tokio::task::spawn_blocking(move || {
            let page = known(&old, store.as_ref(), from.as_deref(), PAGE)?;
            Ok::<_, Error>((empties(&page, &old, &new, at)?, page.next))
        });
        let page = page.await.map_err(|e| Error::internal(format!("a page of entities: {e}")))?;
        let (rows, following) = page?;
        for (plan, rows) in rows {
            let (done, sent) = oneshot::channel();
            if next.tell(Job::Vacated { partition, plan, rows, done: Some(done) }).await {
                // The publisher has ended only when the run is ending.
                let _ = sent.await;
            }
        }
        match following {
            Some(following) => from = Some(following),
            None => return Ok(()),
        }
    }
}

/// The page's entities as the new plan shows them when empty; those that it has no more, as the old one does. An entity that
/// is now called or keyed otherwise is shown in both ways: Feast's form has another place for each, and where it is one
/// place, the first stands.
fn empties(page: &Known, old: &Arc<Plan>, new: &Arc<Plan>, at: i64) -> Result<Vec<(Arc<Plan>, OnlineRows)>> {
    let mut found = Vec::new();
    for (index, entity) in old.entities.iter().enumerate() {
        let ids: Vec<_> = page.ids.iter().filter(|(of, _)| *of == index).map(|(_, id)| Arc::clone(id)).collect();
        if ids.is_empty() {
            continue;
        }
        let now = new.entities.iter().position(|other| other.online_key == entity.online_key);
        if let Some(now) = now {
            found.push((Arc::clone(new), vacant(new, now, &ids, at)?));
        }
        if now.is_none_or(|now| view(new, now) != view(old, index)) {
            found.push((Arc::clone(old), vacant(old, index, &ids, at)?));
        }
    }
    Ok(found)
}

/// What Feast's form is found by: the entity's name, and its key fields.
fn view(plan: &Plan, entity: usize) -> (&str, Vec<(&str, FieldType)>) {
    let entity = &plan.entities[entity];
    let fields = entity.key.iter().map(|field| &plan.source.fields[*field]);
    (&entity.name, fields.map(|field| (field.name.as_str(), field.ty)).collect())
}
