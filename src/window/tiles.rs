//! Sums, counts and moments over a sliding window of one entity: running totals, and the tiles that leave them.
//!
//! A record touches the totals and its tile; a tile that leaves is read once and subtracted.
//!
//! Invariant: the totals are the sum of all tiles.

use super::queue::{Accs, Chunks, Queue, Tile, TileSpec};
use crate::aggregate::codec::{Corrupt, Reader};
use crate::aggregate::{Acc, Change, Item};
use crate::error::Result;
use crate::time::Millis;

/// The tiles of one window of one entity, and their totals.
#[derive(Debug, Clone)]
pub struct Tiles {
    totals: Accs,
    queue: Queue,
}

impl Tiles {
    /// No tiles.
    pub fn new(spec: &TileSpec) -> Self {
        Self { totals: spec.empty(), queue: Queue::default() }
    }

    /// The aggregates over the window.
    pub fn totals(&self) -> &[Acc] {
        &self.totals
    }

    /// When the oldest tile leaves.
    pub fn next_timer(&self, spec: &TileSpec) -> Option<Millis> {
        self.queue.oldest().map(|start| start + spec.slide + spec.size)
    }

    /// Folds an input into partial `index`. The caller has seen to it that the window holds its time.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn add(&mut self, spec: &TileSpec, index: usize, item: &Item<'_>, chunks: &mut dyn Chunks) -> Result<Change> {
        let change = self.totals[index].add(item);
        self.queue.add(spec, index, item, chunks)?;
        Ok(change)
    }

    /// Takes away the tile that leaves at `tau`, if one does; answers each partial's change.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn expire(
        &mut self,
        spec: &TileSpec,
        tau: Millis,
        chunks: &mut dyn Chunks,
        mut changed: impl FnMut(usize, Change),
    ) -> Result<()> {
        if self.next_timer(spec) != Some(tau) {
            return Ok(());
        }
        let Some(tile) = self.queue.pop(spec, chunks)? else { return Ok(()) };
        for (index, (total, leaving)) in self.totals.iter_mut().zip(&tile.accs).enumerate() {
            changed(index, total.subtract(leaving));
        }
        Ok(())
    }

    /// The tiles, oldest first.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn into_tiles(mut self, spec: &TileSpec, chunks: &mut dyn Chunks) -> Result<Vec<Tile>> {
        self.queue.drain(spec, chunks)
    }

    /// Empties it.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn clear(&mut self, spec: &TileSpec, chunks: &mut dyn Chunks) -> Result<()> {
        self.totals = spec.empty();
        self.queue.clear(chunks)
    }

    /// Appends what travels with the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.queue.encode(out);
        if self.queue.is_long() {
            self.totals.iter().for_each(|acc| acc.encode(out));
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &TileSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let queue = Queue::decode(spec, input)?;
        let totals = match queue.newest() {
            _ if queue.is_long() => spec.decode_accs(input)?,
            // One tile is its own total.
            Some(tile) => tile.accs.clone(),
            None => spec.empty(),
        };
        Ok(Self { totals, queue })
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        self.queue.heap_bytes()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::{AccKind, Input};
    use crate::window::queue::CHUNK_TILES;

    #[derive(Default)]
    pub struct Kept(pub BTreeMap<Millis, Vec<u8>>);

    impl Chunks for Kept {
        fn put(&mut self, first: Millis, bytes: Vec<u8>) {
            self.0.insert(first, bytes);
        }
        fn take(&mut self, first: Millis) -> Result<Vec<u8>> {
            self.0.remove(&first).ok_or_else(|| crate::error::Error::state("no such chunk"))
        }
    }

    proptest! {
        /// Against the plain list: after every record and every timer the totals are those of the tiles in the window,
        /// with the state encoded and decoded in between.
        #[test]
        fn totals_equal_the_plain_list(
            steps in prop::collection::vec((0i64..40, -120i64..1, -5i64..6), 1..300),
            size in 1i64..60, slide_share in 1i64..20,
        ) {
            let slide = (size / slide_share).max(1);
            let spec = TileSpec { size, slide, kinds: vec![AccKind::Int, AccKind::Count], chunk_tiles: CHUNK_TILES };
            let (mut tiles, mut chunks, mut now) = (Tiles::new(&spec), Kept::default(), -50i64);
            let mut plain: Vec<(i64, i64)> = Vec::new();
            for (ahead, back, x) in steps {
                let t = now + ahead;
                while let Some(tau) = tiles.next_timer(&spec).filter(|tau| *tau <= t) {
                    tiles.expire(&spec, tau, &mut chunks, |_, _| {}).unwrap();
                }
                now = t;
                let t = now + back;
                if spec.leaves_at(t) > now {
                    tiles.add(&spec, 0, &Item { input: Input::Int(x), bucket: "", t, offset: 0 }, &mut chunks).unwrap();
                    tiles.add(&spec, 1, &Item { input: Input::Record, bucket: "", t, offset: 0 }, &mut chunks).unwrap();
                    plain.push((t, x));
                }
                plain.retain(|(t, _)| spec.leaves_at(*t) > now);
                let mut bytes = Vec::new();
                tiles.encode(&mut bytes);
                let mut input = Reader::new(&bytes);
                tiles = Tiles::decode(&spec, &mut input).unwrap();
                prop_assert_eq!(input.remaining(), 0);
                prop_assert_eq!(tiles.totals()[0].int_sum(), Some(plain.iter().map(|(_, x)| x).sum::<i64>()));
                prop_assert_eq!(tiles.totals()[1].count(), plain.len() as u64);
                prop_assert_eq!(tiles.next_timer(&spec), plain.iter().map(|(t, _)| spec.leaves_at(*t)).min());
            }
            while let Some(tau) = tiles.next_timer(&spec) {
                tiles.expire(&spec, tau, &mut chunks, |_, _| {}).unwrap();
            }
            prop_assert!(chunks.0.is_empty(), "no chunk is left behind");
        }
    }
}
