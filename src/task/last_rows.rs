//! Every entity's last row, read from a task's store without the task: for comparing versions beside whoever runs them.
//!
//! Always holds: nothing is written; the rows are those that `Task::publish` gives for the same store, in the order of
//! keys within an entity.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::entity::EntityState;
use super::heads::Heads;
use super::lookahead::push_last_row;
use super::meta::Meta;
use super::program::Program;
use super::rows::RowBuilder;
use crate::error::{Error, Result};
use crate::state::Store;
use crate::state::keys::Key;
use crate::topology::Plan;

/// The last rows in one task's store.
pub struct LastRows {
    plan: Arc<Plan>,
    programs: Vec<Program>,
    store: Arc<dyn Store>,
    meta: Meta,
}

/// Some of an entity's last rows.
#[derive(Debug)]
pub struct RowPage {
    /// As in [`crate::state::EntityRows::rows`], by key; it may be empty before the last page too.
    pub rows: RecordBatch,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Vec<u8>>,
}

impl LastRows {
    /// Of a store that belongs to this plan; `None` when no epoch was ever written to it.
    ///
    /// # Errors
    /// State: it cannot be read, is of another layout, or of another topology.
    pub fn open(plan: Arc<Plan>, store: Arc<dyn Store>) -> Result<Option<Self>> {
        let Some(bytes) = store.get(&Key::Meta.bytes())? else { return Ok(None) };
        let meta = Meta::decode(&bytes)?;
        if meta.fingerprint != plan.fingerprint {
            return Err(Error::state(format!(
                "the state is of topology {}, its version's own file of {}: this Kappa reads the file otherwise than the \
                 one that wrote the state; rebuild it with --replay-from 0",
                meta.fingerprint, plan.fingerprint
            )));
        }
        let programs = plan.entities.iter().map(Program::new).collect();
        Ok(Some(Self { plan, programs, store, meta }))
    }

    /// Position, watermark and counts of the last epoch.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// The last rows of the entity at this index in the plan: of the next `limit` keys those that `keep` takes.
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn page(
        &self,
        entity: usize,
        from: Option<&[u8]>,
        limit: usize,
        keep: &dyn Fn(&[u8]) -> bool,
    ) -> Result<RowPage> {
        let heads = Heads::read(self.store.as_ref(), Some(entity), from, limit)?;
        let mut rows = RowBuilder::new(&self.plan.entities[entity]);
        for (_, id, bytes) in heads.each().filter(|(_, id, _)| keep(id)) {
            let program = &self.programs[entity];
            push_last_row(program, id, &EntityState::decode(program, bytes)?, &mut rows)?;
        }
        Ok(RowPage { rows: rows.finish()?, next: heads.next })
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::compute::concat_batches;

    use super::*;
    use crate::decode::{Decoder, OwnedBatch};
    use crate::state::MemoryStore;
    use crate::task::{Limits, Task};
    use crate::topology;

    const TOPOLOGY: &str = r#"
topology: t
source:
  topic: t
  format: json
  event_time: ts
  schema: {user: string, item: string, ts: timestamp_ms}
entities:
  user:
    key: user
    features: {seen: {count: "*", window: lifetime}}
  pair:
    key: [user, item]
    features: {seen: {count: "*", where: "item <> 'c'", window: lifetime}, last: {last: item, window: 1h}}
"#;

    /// A store after one epoch of users a to f with an item each, and what the task itself publishes.
    fn filled(store: &Arc<MemoryStore>) -> (Arc<Plan>, Vec<RecordBatch>) {
        let plan = Arc::new(topology::parse("t.yaml", TOPOLOGY).unwrap());
        let limits = Limits { epoch_rows: 1000, cache_bytes: 1 << 20 };
        let mut task = Task::open(Arc::clone(&plan), 0, Arc::clone(store), 0, limits).unwrap();
        let mut batch = OwnedBatch::new();
        for (offset, user) in ["d", "a", "f", "b", "e", "c"].into_iter().enumerate() {
            let value = format!(r#"{{"user":"{user}","item":"{user}","ts":{offset}}}"#);
            batch.push(offset as i64, Some(offset as i64), Some(user.as_bytes()), Some(value.as_bytes()), &[]);
        }
        let decoded = Decoder::new(&plan.source, &plan.entity_keys()).decode(&batch);
        let evaluated = plan.exprs.evaluate(&decoded.rows);
        assert_eq!(task.step(&batch, &decoded, &evaluated, 0).unwrap(), 6);
        task.end_epoch().unwrap();
        let published = task.publish(None, 1000, None).unwrap();
        (plan, published.rows.into_iter().map(|rows| rows.rows).collect())
    }

    /// All rows of one entity, in pages of this many keys.
    fn all(rows: &LastRows, entity: usize, limit: usize, keep: &dyn Fn(&[u8]) -> bool) -> RecordBatch {
        let (mut pages, mut from) = (vec![], None);
        loop {
            let page = rows.page(entity, from.as_deref(), limit, keep).unwrap();
            pages.push(page.rows);
            match page.next {
                Some(next) => from = Some(next),
                None => return concat_batches(&pages[0].schema(), &pages).unwrap(),
            }
        }
    }

    #[test]
    fn the_last_rows_are_those_that_the_task_publishes_whatever_the_pages() {
        let store = Arc::new(MemoryStore::default());
        let (plan, published) = filled(&store);
        let rows = LastRows::open(plan, store).unwrap().unwrap();
        assert_eq!((rows.meta().next_offset, published.len()), (6, 2));
        for limit in [1, 2, 6, 7] {
            for (entity, published) in published.iter().enumerate() {
                assert_eq!(&all(&rows, entity, limit, &|_| true), published, "pages of {limit}");
            }
        }
    }

    #[test]
    fn only_the_keys_that_are_asked_for_are_read() {
        let store = Arc::new(MemoryStore::default());
        let (plan, _) = filled(&store);
        let rows = LastRows::open(plan, store).unwrap().unwrap();
        let kept = all(&rows, 0, 2, &|id| id == b"b" || id == b"e");
        let keys: Vec<_> = kept["key"].as_string::<i32>().iter().flatten().collect();
        assert_eq!(keys, ["b", "e"]);
    }

    #[test]
    fn a_store_without_an_epoch_has_no_rows_and_one_of_another_topology_is_refused() {
        let store = Arc::new(MemoryStore::default());
        let plan = Arc::new(topology::parse("t.yaml", TOPOLOGY).unwrap());
        assert!(LastRows::open(plan, Arc::new(MemoryStore::default())).unwrap().is_none());
        filled(&store);
        let other = Arc::new(topology::parse("t.yaml", &TOPOLOGY.replace("1h", "2h")).unwrap());
        let refused = LastRows::open(other, store).err().unwrap().to_string();
        assert!(refused.contains("--replay-from 0"), "{refused}");
    }
}
