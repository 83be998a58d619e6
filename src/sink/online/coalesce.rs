//! Coalescing: of everything that is pending for an entity, only the newest row goes to the online store.
//!
//! Always holds: every key that occurs in the epochs is picked exactly once, in its newest row. Pure; what is picked
//! borrows nothing, so that the caller may keep the epochs as they are.

use std::borrow::Borrow;

use arrow::array::{Array, StringArray};
use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::error::{Error, Result};
use crate::state::Epoch;

/// The newest rows of one batch of pending rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picks {
    /// Index into the epochs given.
    pub epoch: usize,
    /// Index into that epoch's [`Epoch::rows`].
    pub rows: usize,
    /// Rows of it, ascending.
    pub picks: Vec<u32>,
}

/// The newest row of every key of entity `entity` in `epochs` (of one task, oldest first); batches without one are left
/// out. Oldest batch first.
pub fn newest<E: Borrow<Epoch>>(epochs: &[E], entity: usize) -> Result<Vec<Picks>> {
    let mut seen: HashSet<&[u8], RandomState> = HashSet::default();
    let mut found = Vec::new();
    for (epoch, pending) in epochs.iter().enumerate().rev() {
        for (rows, batch) in pending.borrow().rows.iter().enumerate().rev().filter(|(_, batch)| batch.entity == entity)
        {
            let keys = batch.rows.columns().first().and_then(|keys| keys.as_any().downcast_ref::<StringArray>());
            let keys = keys.ok_or_else(|| Error::internal("pending rows do not begin with their keys"))?;
            seen.reserve(keys.len());
            let newest = |row: &u32| seen.insert(keys.value(*row as usize).as_bytes());
            let mut picks: Vec<u32> = (0..keys.len() as u32).rev().filter(newest).collect();
            if !picks.is_empty() {
                picks.reverse();
                found.push(Picks { epoch, rows, picks });
            }
        }
    }
    found.reverse();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::fixture::{Row, rows};
    use super::*;
    use crate::state::EntityRows;

    fn epoch(batches: &[(usize, &[String])]) -> Epoch {
        let batch = |keys: &[String]| rows(&keys.iter().map(|key| Row::full(key, 1)).collect::<Vec<_>>());
        Epoch {
            number: 1,
            partition: 0,
            next_offset: 0,
            watermark: None,
            next_ordinal: 0,
            next_dead_letter: 0,
            rows: batches.iter().map(|(entity, keys)| EntityRows { entity: *entity, rows: batch(keys) }).collect(),
            dead_letters: None,
        }
    }

    fn keys(text: &str) -> Vec<String> {
        text.chars().map(String::from).collect()
    }

    #[test]
    fn only_the_newest_row_of_a_key_is_picked() {
        let epochs =
            [epoch(&[(0, &keys("abca")), (1, &keys("a"))]), epoch(&[(1, &keys("bb"))]), epoch(&[(0, &keys("b"))])];
        let picks = |epoch, rows, picks: &[u32]| Picks { epoch, rows, picks: picks.to_vec() };
        assert_eq!(newest(&epochs, 0).unwrap(), [picks(0, 0, &[2, 3]), picks(2, 0, &[0])]);
        assert_eq!(newest(&epochs, 1).unwrap(), [picks(0, 1, &[0]), picks(1, 0, &[1])]);
        assert_eq!(newest(&epochs, 2).unwrap(), []);
    }

    proptest! {
        #[test]
        fn picks_are_the_last_occurrence_of_every_key(log in prop::collection::vec(prop::collection::vec("[a-f]", 0..12), 0..6)) {
            let epochs: Vec<Epoch> = log.iter().map(|keys| epoch(&[(0, keys)])).collect();
            let mut last = BTreeMap::new();
            for (at, keys) in log.iter().enumerate() {
                keys.iter().enumerate().for_each(|(row, key)| { last.insert(key.clone(), (at, row as u32)); });
            }
            let mut expected: Vec<_> = last.into_values().collect();
            expected.sort_unstable();
            let found = newest(&epochs, 0).unwrap();
            let found: Vec<_> = found.iter().flat_map(|p| p.picks.iter().map(|row| (p.epoch, *row))).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
