//! The entities of a task as they lie in its store: page by page, in the order of their keys.

use crate::error::Result;
use crate::state::keys::{Key, parse_head};
use crate::state::{Pair, Store};

/// One page.
pub(super) struct Heads {
    pairs: Vec<Pair>,
    /// Where the next page begins; `None` after the last.
    pub next: Option<Vec<u8>>,
}

impl Heads {
    /// The first `limit` from where the page before ended: of one entity of the plan, by its index, or of all.
    ///
    /// # Errors
    /// State: the store cannot be read.
    pub fn read(store: &dyn Store, entity: Option<usize>, from: Option<&[u8]>, limit: usize) -> Result<Self> {
        let first_of = |entity: u16| Key::Head { entity, id: &[] }.bytes();
        let all = [b"h".to_vec(), b"i".to_vec()];
        let [first, end] = match entity.map(|entity| entity as u16) {
            Some(entity) => [first_of(entity), entity.checked_add(1).map_or_else(|| all[1].clone(), first_of)],
            None => all,
        };
        let pairs = store.scan(from.unwrap_or(&first), &end, limit)?;
        let next = pairs.last().filter(|_| pairs.len() == limit).map(|(key, _)| [key.as_slice(), &[0]].concat());
        Ok(Self { pairs, next })
    }

    /// Each one's entity, id and encoded state.
    pub fn each(&self) -> impl Iterator<Item = (usize, &[u8], &[u8])> {
        self.pairs.iter().filter_map(|(key, state)| {
            let (entity, id) = parse_head(key)?;
            Some((usize::from(entity), id, state.as_slice()))
        })
    }
}
