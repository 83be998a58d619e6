//! A sliding window of an aggregate that cannot subtract: sets, sketches, lists, decayed sums, buckets.
//!
//! Two stacks: the older tiles as suffixes (each the merge of its tile with all older tiles after it), the newer ones as
//! they are, with their running merge. The window's value is the oldest suffix merged with that. When the last suffix
//! has left, the newer tiles become suffixes: one merge a tile. So each tile is merged a fixed number of times, however
//! long the window is. A record too late for the newer tiles is kept beside the suffixes until its tile leaves.
//!
//! Both queues seal their chunks in one place: no tile stands in both, so no two chunks begin with the same one.
//!
//! Invariants:
//! 1. `top` is the oldest suffix and covers `top`, `front` up to `until`; tiles in `late` start at or before `until`.
//! 2. Tiles in `back` start after `until`; `back_total` is their merge.
//! 3. Without `top` there is no `front` and no `late`.
//! 4. `total` is the merge of `top`, `late` and `back_total`.

use super::queue::{Chunks, Queue, RICH_CHUNK_TILES, Tile, TileSpec, merge, put_in_order};
use crate::aggregate::codec::{Corrupt, Reader, put_i64, put_u64};
use crate::aggregate::{Acc, AccKind, Item};
use crate::error::Result;
use crate::time::{Millis, floor_to};

/// A sliding window of one aggregate.
#[derive(Debug, Clone, PartialEq)]
pub struct StackSpec {
    tiles: TileSpec,
}

/// The tiles of one window of one entity.
#[derive(Debug, Clone)]
pub struct Stack {
    total: Acc,
    top: Option<Tile>,
    front: Queue,
    until: Millis,
    late: Vec<Tile>,
    back: Queue,
    back_total: Acc,
}

impl StackSpec {
    /// The last `size`, leaving by `slide`.
    pub fn new(size: Millis, slide: Millis, kind: AccKind) -> Self {
        Self { tiles: TileSpec { size, slide, kinds: vec![kind], chunk_tiles: RICH_CHUNK_TILES } }
    }

    /// When the tile that holds `t` leaves.
    pub fn leaves_at(&self, t: Millis) -> Millis {
        self.tiles.leaves_at(t)
    }

    fn empty(&self) -> Acc {
        self.tiles.kinds[0].empty()
    }

    fn decode_acc(&self, input: &mut Reader<'_>) -> Result<Acc, Corrupt> {
        self.tiles.kinds[0].decode(input)
    }
}

/// A stack's total with when it ends, and the tiles that are not in it.
pub type Taken = (Option<(Tile, Millis)>, Vec<Tile>);

impl Stack {
    /// No tiles.
    pub fn new(spec: &StackSpec) -> Self {
        Self {
            total: spec.empty(),
            top: None,
            front: Queue::default(),
            until: Millis::MIN,
            late: Vec::new(),
            back: Queue::default(),
            back_total: spec.empty(),
        }
    }

    /// The aggregate over the window.
    pub fn total(&self) -> &Acc {
        &self.total
    }

    fn oldest(&self) -> Option<Millis> {
        let top = self.top.as_ref().map(|tile| tile.start);
        let late = self.late.first().map(|tile| tile.start);
        // Invariants 1 and 2: what is in the back is newer than both.
        top.into_iter().chain(late).min().or_else(|| self.back.oldest())
    }

    /// When the oldest tile leaves.
    pub fn next_timer(&self, spec: &StackSpec) -> Option<Millis> {
        self.oldest().map(|start| start + spec.tiles.slide + spec.tiles.size)
    }

    /// Folds an input. The caller has seen to it that the window holds its time.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn add(&mut self, spec: &StackSpec, item: &Item<'_>, chunks: &mut dyn Chunks) -> Result<()> {
        self.total.add(item);
        let start = floor_to(item.t, spec.tiles.slide);
        if self.top.is_some() && start <= self.until {
            let mut accs = spec.tiles.empty();
            accs[0].add(item);
            put_in_order(&mut self.late, Tile { start, accs });
            return Ok(());
        }
        self.back_total.add(item);
        self.back.add(&spec.tiles, 0, item, chunks)
    }

    /// Takes away the tile that leaves at `tau`; answers whether one did.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn expire(&mut self, spec: &StackSpec, tau: Millis, chunks: &mut dyn Chunks) -> Result<bool> {
        if self.next_timer(spec) != Some(tau) {
            return Ok(false);
        }
        let start = self.oldest();
        if self.late.first().map(|tile| tile.start) == start {
            self.late.remove(0);
            if self.top.as_ref().map(|tile| tile.start) != start {
                self.sum_up(spec);
                return Ok(true);
            }
        }
        if self.top.is_some() {
            self.top = self.front.pop(&spec.tiles, chunks)?;
        } else {
            self.back.pop(&spec.tiles, chunks)?;
            self.turn(spec, chunks)?;
        }
        self.sum_up(spec);
        Ok(true)
    }

    /// Makes suffixes of all tiles of the back but the newest.
    fn turn(&mut self, spec: &StackSpec, chunks: &mut dyn Chunks) -> Result<()> {
        let mut tiles = self.back.drain(&spec.tiles, chunks)?;
        let newest = tiles.pop();
        self.back_total = newest.as_ref().map_or_else(|| spec.empty(), |tile| tile.accs[0].clone());
        if let Some(newest) = newest {
            self.back.push(&spec.tiles, newest, chunks);
        }
        self.until = tiles.last().map_or(Millis::MIN, |tile| tile.start);
        for at in (1..tiles.len()).rev() {
            let (older, newer) = tiles.split_at_mut(at);
            merge(&mut older[at - 1].accs, &newer[0].accs);
        }
        let mut suffixes = tiles.into_iter();
        self.top = suffixes.next();
        for suffix in suffixes {
            self.front.push(&spec.tiles, suffix, chunks);
        }
        Ok(())
    }

    fn sum_up(&mut self, spec: &StackSpec) {
        self.total = spec.empty();
        for tile in self.top.iter().chain(&self.late) {
            self.total.merge(&tile.accs[0]);
        }
        self.total.merge(&self.back_total);
    }

    /// What is kept, apart: the oldest suffix with the start of the last tile that it covers, and the single tiles,
    /// ascending. Merged they are the window.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn into_tiles(mut self, spec: &StackSpec, chunks: &mut dyn Chunks) -> Result<Taken> {
        let mut tiles = self.late;
        tiles.append(&mut self.back.drain(&spec.tiles, chunks)?);
        Ok((self.top.map(|top| (top, self.until)), tiles))
    }

    /// Empties it.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn clear(&mut self, spec: &StackSpec, chunks: &mut dyn Chunks) -> Result<()> {
        self.front.clear(chunks)?;
        self.back.clear(chunks)?;
        *self = Self::new(spec);
        Ok(())
    }

    /// Appends what travels with the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        self.back.encode(out);
        if self.back.is_long() {
            self.back_total.encode(out);
        }
        put_u64(out, self.late.len() as u64 * 2 + u64::from(self.top.is_some()));
        let Some(top) = &self.top else { return };
        put_i64(out, self.until);
        for tile in self.late.iter().chain([top]) {
            put_i64(out, self.until - tile.start);
            tile.accs[0].encode(out);
        }
        self.front.encode(out);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &StackSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut stack = Self::new(spec);
        stack.back = Queue::decode(&spec.tiles, input)?;
        match stack.back.newest() {
            _ if stack.back.is_long() => stack.back_total = spec.decode_acc(input)?,
            Some(tile) => stack.back_total = tile.accs[0].clone(),
            None => {}
        }
        let form = input.u64()?;
        if form % 2 == 1 {
            stack.until = input.i64()?;
            let mut tile = || {
                let start = stack.until.wrapping_sub(input.i64()?);
                Ok(Tile { start, accs: [spec.decode_acc(input)?].into_iter().collect() })
            };
            stack.late = (0..form / 2).map(|_| tile()).collect::<Result<_, Corrupt>>()?;
            stack.top = Some(tile()?);
            stack.front = Queue::decode(&spec.tiles, input)?;
        }
        stack.sum_up(spec);
        Ok(stack)
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        let tiles = self.late.iter().chain(&self.top).map(|tile| tile.accs[0].heap_bytes()).sum::<usize>();
        tiles
            + self.total.heap_bytes()
            + self.back_total.heap_bytes()
            + self.front.heap_bytes()
            + self.back.heap_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::{Input, Rich, RichKind, Value};
    use crate::window::tiles::tests::Kept;

    /// The window's different values, or none beyond the limit.
    fn values(acc: &Acc) -> Option<BTreeSet<Value>> {
        match acc {
            Acc::Rich(rich) => match rich.as_ref() {
                Rich::Set { values, .. } => values.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        /// Against the plain list, late records, a bound that is passed, and bytes in between included.
        #[test]
        fn the_set_equals_the_plain_list(
            steps in prop::collection::vec((0i64..30, -80i64..1, -9i64..9), 1..300),
            size in 1i64..60, slide_share in 1i64..20,
        ) {
            let slide = (size / slide_share).max(1);
            let spec = StackSpec::new(size, slide, AccKind::Rich(RichKind::Set { limit: 6 }));
            let mut chunks = Kept::default();
            let (mut stack, mut now, mut plain) = (Stack::new(&spec), -50i64, Vec::new());
            for (ahead, behind, x) in steps {
                now += ahead;
                while let Some(tau) = stack.next_timer(&spec).filter(|tau| *tau <= now) {
                    prop_assert!(stack.expire(&spec, tau, &mut chunks).unwrap());
                }
                let t = now + behind;
                if spec.leaves_at(t) > now {
                    let item = Item { input: Input::Int(x), bucket: "", t, offset: 0 };
                    stack.add(&spec, &item, &mut chunks).unwrap();
                    plain.push((t, x));
                }
                plain.retain(|(t, _)| spec.leaves_at(*t) > now);
                let mut bytes = Vec::new();
                stack.encode(&mut bytes);
                let mut input = Reader::new(&bytes);
                stack = Stack::decode(&spec, &mut input).unwrap();
                prop_assert_eq!(input.remaining(), 0);
                let expected: BTreeSet<Value> = plain.iter().map(|(_, x)| Value::Int(*x)).collect();
                prop_assert_eq!(values(stack.total()), Some(expected).filter(|values| values.len() <= 6));
                prop_assert_eq!(stack.next_timer(&spec), plain.iter().map(|(t, _)| spec.leaves_at(*t)).min());
            }
            while let Some(tau) = stack.next_timer(&spec) {
                stack.expire(&spec, tau, &mut chunks).unwrap();
            }
            prop_assert!(chunks.0.is_empty(), "no chunk is left behind");
        }
    }
}
