//! What takes the place of entities that a version does not know: rows that show nothing.
//!
//! A new version may know fewer entities than the one it follows (a later start, a narrower `where`). Their hashes would
//! stay as the old one left them; such a row, outranking them, takes their place and expires like that of any entity
//! whose features are all empty.

use arrow::array::RecordBatch;

use super::cache::Id;
use super::entity::EntityState;
use super::heads::Heads;
use super::lookahead::OnlineRows;
use super::program::Program;
use super::rows::{RowBuilder, RowHead};
use crate::error::{Error, Result};
use crate::state::Store;
use crate::time::Millis;
use crate::topology::{EntityPlan, Plan};

/// One page of a task's entities that have a row: their index in its plan, and their ids.
#[derive(Debug)]
pub struct Known {
    pub ids: Vec<(usize, Id)>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Vec<u8>>,
}

/// The entities that have a row in a task's state of `plan`, in the order of their keys; `from` is where the page before
/// ended.
///
/// # Errors
/// State: the store cannot be read, or is of another plan.
pub fn known(plan: &Plan, store: &dyn Store, from: Option<&[u8]>, limit: usize) -> Result<Known> {
    let programs: Vec<Program> = plan.entities.iter().map(Program::new).collect();
    let heads = Heads::read(store, None, from, limit)?;
    let mut ids = Vec::new();
    for (entity, id, bytes) in heads.each() {
        let program = programs.get(entity);
        let program = program.ok_or_else(|| Error::state("the state has an entity that its topology has not"))?;
        if EntityState::decode(program, bytes)?.last_row.is_some() {
            ids.push((entity, id.into()));
        }
    }
    Ok(Known { ids, next: heads.next })
}

/// A row that shows nothing for each of these entities of `plan`, in front of all rows of its generation.
///
/// # Errors
/// Internal: an id is not UTF-8.
pub fn vacant(plan: &Plan, entity: usize, ids: &[Id], at: Millis) -> Result<OnlineRows> {
    Ok(OnlineRows { entity, rows: rows(&plan.entities[entity], ids, at)? })
}

fn rows(entity: &EntityPlan, ids: &[Id], at: Millis) -> Result<RecordBatch> {
    let program = Program::new(entity);
    let nothing = EntityState::new(&program);
    let head = RowHead { event_time: at, known_at: at, offset: 0, sequence: 0, ordinal: 0 };
    let mut builder = RowBuilder::new(entity);
    ids.iter().try_for_each(|id| builder.push(&program, id, &nothing, head))?;
    builder.finish()
}
