//! The tiles of one sliding window of one entity: running totals, and a queue of tiles that knows what leaves when.
//!
//! A tile is the partial aggregate of one slide. A record touches the totals and the newest tile; a tile that leaves is
//! read once and subtracted. Only both ends of the queue travel with the entity's head; what lies between is kept in
//! chunks of [`CHUNK_TILES`] tiles under their own keys, written once and read once. So neither the cost of a record
//! nor the size of the head grows with the window.
//!
//! Invariants:
//! 1. Tiles ascend by start through `front`, `sealed`, `back`, `newest`; every start is a multiple of the slide.
//! 2. The totals are the sum of all tiles.
//! 3. Every tile holds at least one input; `front` is empty only when `sealed` is.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::aggregate::codec::{Corrupt, Reader, put_bytes, put_i64, put_u64};
use crate::aggregate::{Acc, AccKind, Change, Input};
use crate::error::Result;
use crate::time::{Millis, floor_to};

/// How many tiles are sealed into one chunk.
pub const CHUNK_TILES: u32 = 16;

/// A sliding window whose accumulators subtract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileSpec {
    pub size: Millis,
    pub slide: Millis,
    /// The partials of each tile: shared by all features over this window.
    pub kinds: Vec<AccKind>,
}

/// Where sealed chunks are kept: an overlay over the task's store. Addressed by the start of the first tile.
pub trait Chunks {
    /// Keeps a chunk, replacing one of the same start.
    fn put(&mut self, first: Millis, bytes: Vec<u8>);
    /// The chunk that was put, taken out.
    ///
    /// # Errors
    /// State: it is not there.
    fn take(&mut self, first: Millis) -> Result<Vec<u8>>;
}

type Accs = SmallVec<[Acc; 2]>;

#[derive(Debug, Clone)]
struct Tile {
    start: Millis,
    accs: Accs,
}

/// Encoded tiles in ascending order, read from the front.
#[derive(Debug, Clone, Default)]
struct Run {
    bytes: Vec<u8>,
    /// Where the first tile that is still there begins.
    at: usize,
    count: u32,
    first: Millis,
    last: Millis,
}

/// What the queue knows of a sealed chunk.
#[derive(Debug, Clone, Copy)]
struct Sealed {
    first: Millis,
    last: Millis,
}

/// The tiles of one window of one entity.
#[derive(Debug, Clone)]
pub struct Tiles {
    totals: Accs,
    front: Run,
    sealed: VecDeque<Sealed>,
    back: Run,
    newest: Option<Tile>,
}

impl TileSpec {
    fn empty(&self) -> Accs {
        self.kinds.iter().map(|kind| kind.empty()).collect()
    }

    /// When the tile that holds `t` leaves.
    pub fn leaves_at(&self, t: Millis) -> Millis {
        floor_to(t, self.slide) + self.slide + self.size
    }

    fn encode_tile(&self, run: &mut Run, tile: &Tile) {
        if run.count == 0 {
            *run = Run { bytes: std::mem::take(&mut run.bytes), first: tile.start, last: tile.start, ..Run::default() };
            run.bytes.clear();
        }
        put_u64(&mut run.bytes, ((tile.start - run.last) / self.slide) as u64);
        tile.accs.iter().for_each(|acc| acc.encode(&mut run.bytes));
        run.last = tile.start;
        run.count += 1;
    }

    fn decode_accs(&self, input: &mut Reader<'_>) -> Result<Accs, Corrupt> {
        self.kinds.iter().map(|kind| kind.decode(input)).collect()
    }

    /// All tiles of a run, for a change in its middle.
    fn decode_run(&self, run: &Run) -> Result<Vec<Tile>, Corrupt> {
        let mut input = Reader::new(&run.bytes[run.at..]);
        let mut start = run.first;
        let mut tiles = Vec::with_capacity(run.count as usize + 1);
        for index in 0..run.count {
            let step = input.u64()? as i64 * self.slide;
            // The first tile's step counts from a tile that has left, or from itself.
            start = if index == 0 { run.first } else { start + step };
            tiles.push(Tile { start, accs: self.decode_accs(&mut input)? });
        }
        Ok(tiles)
    }

    fn encode_run(&self, tiles: &[Tile]) -> Run {
        let mut run = Run::default();
        tiles.iter().for_each(|tile| self.encode_tile(&mut run, tile));
        run
    }
}

impl Run {
    fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, u64::from(self.count));
        if self.count > 0 {
            put_i64(out, self.first);
            put_i64(out, self.last - self.first);
            put_bytes(out, &self.bytes[self.at..]);
        }
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let count = input.u64()?.try_into().map_err(|_| Corrupt)?;
        if count == 0 {
            return Ok(Self::default());
        }
        let first = input.i64()?;
        let last = first + input.i64()?;
        Ok(Self { count, first, last, at: 0, bytes: input.bytes()?.to_vec() })
    }
}

impl Tiles {
    /// No tiles.
    pub fn new(spec: &TileSpec) -> Self {
        Self {
            totals: spec.empty(),
            front: Run::default(),
            sealed: VecDeque::new(),
            back: Run::default(),
            newest: None,
        }
    }

    /// The aggregates over the window.
    pub fn totals(&self) -> &[Acc] {
        &self.totals
    }

    /// The start of the oldest tile.
    fn oldest(&self) -> Option<Millis> {
        match () {
            () if self.front.count > 0 => Some(self.front.first),
            () if self.back.count > 0 => Some(self.back.first),
            () => self.newest.as_ref().map(|tile| tile.start),
        }
    }

    /// When the oldest tile leaves.
    pub fn next_timer(&self, spec: &TileSpec) -> Option<Millis> {
        self.oldest().map(|start| start + spec.slide + spec.size)
    }

    /// Folds an input at `t` into partial `index`. The caller has seen to it that the window holds `t`.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn add(
        &mut self,
        spec: &TileSpec,
        index: usize,
        input: Input<'_>,
        (t, offset): (Millis, i64),
        chunks: &mut dyn Chunks,
    ) -> Result<Change> {
        let start = floor_to(t, spec.slide);
        let change = self.totals[index].add(input, t, offset);
        match &mut self.newest {
            Some(tile) if tile.start == start => {
                tile.accs[index].add(input, t, offset);
            }
            Some(tile) if tile.start > start => {
                let mut accs = spec.empty();
                accs[index].add(input, t, offset);
                self.insert(spec, Tile { start, accs }, chunks)?;
            }
            _ => {
                let mut accs = spec.empty();
                accs[index].add(input, t, offset);
                let sealed = self.newest.replace(Tile { start, accs });
                if let Some(tile) = sealed {
                    self.seal(spec, &tile, chunks);
                }
            }
        }
        Ok(change)
    }

    /// Appends a tile that is no longer the newest.
    fn seal(&mut self, spec: &TileSpec, tile: &Tile, chunks: &mut dyn Chunks) {
        spec.encode_tile(&mut self.back, tile);
        if self.back.count < CHUNK_TILES {
            return;
        }
        let run = std::mem::take(&mut self.back);
        if self.front.count == 0 {
            self.front = run;
        } else {
            self.put_sealed(run, chunks);
        }
    }

    fn put_sealed(&mut self, run: Run, chunks: &mut dyn Chunks) {
        self.sealed.push_back(Sealed { first: run.first, last: run.last });
        let mut bytes = Vec::with_capacity(run.bytes.len() + 12);
        run.write(&mut bytes);
        chunks.put(run.first, bytes);
    }

    /// Puts a tile older than the newest where it belongs, merging it with one of the same start.
    fn insert(&mut self, spec: &TileSpec, tile: Tile, chunks: &mut dyn Chunks) -> Result<()> {
        let newest_sealed = self.sealed.back().map(|chunk| chunk.last);
        let before_back = newest_sealed.or((self.front.count > 0).then_some(self.front.last));
        if before_back.is_none_or(|last| tile.start > last) {
            return Ok(insert_into(spec, &mut self.back, tile)?);
        }
        // The first chunk that ends at or after the tile, if the tile is not already covered by the front.
        let chunk = self.sealed.iter().position(|chunk| tile.start <= chunk.last);
        if tile.start <= self.front.last || chunk.is_none() {
            return Ok(insert_into(spec, &mut self.front, tile)?);
        }
        let index = chunk.unwrap_or_default();
        let old = self.sealed[index];
        let mut run = Run::read(&mut Reader::new(&chunks.take(old.first)?))?;
        insert_into(spec, &mut run, tile)?;
        self.sealed[index] = Sealed { first: run.first, last: run.last };
        let mut bytes = Vec::with_capacity(run.bytes.len() + 12);
        run.write(&mut bytes);
        chunks.put(run.first, bytes);
        Ok(())
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
        let accs = self.pop(spec, chunks)?;
        for (index, (total, leaving)) in self.totals.iter_mut().zip(&accs).enumerate() {
            changed(index, total.subtract(leaving));
        }
        Ok(())
    }

    fn pop(&mut self, spec: &TileSpec, chunks: &mut dyn Chunks) -> Result<Accs> {
        if self.front.count == 0 {
            // Invariant 3: nothing is sealed, so the back is next, or the newest is the only tile.
            self.front = std::mem::take(&mut self.back);
        }
        if self.front.count == 0 {
            return Ok(self.newest.take().map(|tile| tile.accs).unwrap_or_else(|| spec.empty()));
        }
        let run = &mut self.front;
        let mut input = Reader::new(&run.bytes[run.at..]);
        let before = input.remaining();
        input.u64()?;
        let accs = spec.decode_accs(&mut input)?;
        run.count -= 1;
        run.at += before - input.remaining();
        if run.count > 0 {
            run.first += input.u64()? as i64 * spec.slide;
        } else {
            run.bytes.clear();
            run.at = 0;
            if let Some(chunk) = self.sealed.pop_front() {
                self.front = Run::read(&mut Reader::new(&chunks.take(chunk.first)?))?;
            }
        }
        Ok(accs)
    }

    /// Appends what travels with the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Some(oldest) = self.oldest() else {
            return out.push(0);
        };
        out.push(1 + u8::from(self.front.count > 0 || self.back.count > 0));
        let newest = self.newest.as_ref();
        put_i64(out, newest.map_or(oldest, |tile| tile.start));
        out.push(u8::from(newest.is_some()));
        newest.iter().for_each(|tile| tile.accs.iter().for_each(|acc| acc.encode(out)));
        if self.front.count == 0 && self.back.count == 0 {
            return;
        }
        self.totals.iter().for_each(|acc| acc.encode(out));
        self.front.write(out);
        put_u64(out, self.sealed.len() as u64);
        let mut last = self.front.last;
        for chunk in &self.sealed {
            put_i64(out, chunk.first - last);
            put_i64(out, chunk.last - chunk.first);
            last = chunk.last;
        }
        self.back.write(out);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &TileSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut tiles = Self::new(spec);
        let form = input.byte()?;
        if form == 0 {
            return Ok(tiles);
        }
        let start = input.i64()?;
        if input.byte()? == 1 {
            tiles.newest = Some(Tile { start, accs: spec.decode_accs(input)? });
        }
        if form == 1 {
            // One tile is its own total.
            tiles.totals = tiles.newest.as_ref().map(|tile| tile.accs.clone()).ok_or(Corrupt)?;
            return Ok(tiles);
        }
        tiles.totals = spec.decode_accs(input)?;
        tiles.front = Run::read(input)?;
        let mut last = tiles.front.last;
        for _ in 0..input.u64()? {
            let first = last + input.i64()?;
            last = first + input.i64()?;
            tiles.sealed.push_back(Sealed { first, last });
        }
        tiles.back = Run::read(input)?;
        Ok(tiles)
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        self.front.bytes.capacity() + self.back.bytes.capacity() + self.sealed.len() * size_of::<Sealed>()
    }
}

fn insert_into(spec: &TileSpec, run: &mut Run, tile: Tile) -> Result<(), Corrupt> {
    let mut tiles = spec.decode_run(run)?;
    match tiles.binary_search_by_key(&tile.start, |tile| tile.start) {
        Ok(at) => tiles[at].accs.iter_mut().zip(&tile.accs).for_each(|(acc, other)| {
            acc.merge(other);
        }),
        Err(at) => tiles.insert(at, tile),
    }
    *run = spec.encode_run(&tiles);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Default)]
    struct Kept(BTreeMap<Millis, Vec<u8>>);

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
            let spec = TileSpec { size, slide, kinds: vec![AccKind::Int, AccKind::Count] };
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
                    tiles.add(&spec, 0, Input::Int(x), (t, 0), &mut chunks).unwrap();
                    tiles.add(&spec, 1, Input::Record, (t, 0), &mut chunks).unwrap();
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
