//! A queue of tiles: what leaves a sliding window, in the order in which it leaves.
//!
//! A tile is the partial aggregate of one slide. Only both ends of the queue travel with the entity's head; what lies
//! between is kept in chunks of a few tiles under their own keys, written once and read once. So neither the cost of a
//! record nor the size of the head grows with the window.
//!
//! Invariants:
//! 1. Tiles ascend by start through `front`, `sealed`, `back`, `newest`; every start is a multiple of the slide.
//! 2. Every tile holds at least one input; `front` is empty only when `sealed` is.

use std::collections::VecDeque;

use smallvec::SmallVec;

use crate::aggregate::codec::{Corrupt, Reader, put_bytes, put_i64, put_u64};
use crate::aggregate::{Acc, AccKind, Item};
use crate::error::Result;
use crate::time::{Millis, floor_to};

/// How many tiles of numbers are sealed into one chunk.
pub const CHUNK_TILES: u32 = 16;
/// How many tiles of sets, sketches, lists or buckets.
pub const RICH_CHUNK_TILES: u32 = 4;

/// Tiles of a sliding window.
#[derive(Debug, Clone, PartialEq)]
pub struct TileSpec {
    pub size: Millis,
    pub slide: Millis,
    /// The partials of each tile: shared by all features over this window.
    pub kinds: Vec<AccKind>,
    /// How many tiles are sealed into one chunk.
    pub chunk_tiles: u32,
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

/// The partials of one tile.
pub type Accs = SmallVec<[Acc; 2]>;

/// One tile.
#[derive(Debug, Clone)]
pub struct Tile {
    pub start: Millis,
    pub accs: Accs,
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
#[derive(Debug, Clone, Default)]
pub struct Queue {
    front: Run,
    sealed: VecDeque<Sealed>,
    back: Run,
    newest: Option<Tile>,
}

impl TileSpec {
    /// The partials of nothing.
    pub fn empty(&self) -> Accs {
        self.kinds.iter().map(AccKind::empty).collect()
    }

    /// When the tile that holds `t` leaves.
    pub fn leaves_at(&self, t: Millis) -> Millis {
        floor_to(t, self.slide) + self.slide + self.size
    }

    /// Reads one tile's partials.
    pub fn decode_accs(&self, input: &mut Reader<'_>) -> Result<Accs, Corrupt> {
        self.kinds.iter().map(|kind| kind.decode(input)).collect()
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

    fn insert_into(&self, run: &mut Run, tile: Tile) -> Result<(), Corrupt> {
        let mut tiles = self.decode_run(run)?;
        put_in_order(&mut tiles, tile);
        *run = self.encode_run(&tiles);
        Ok(())
    }
}

/// Puts a tile where it belongs among ascending ones, merging it with one of the same start.
pub fn put_in_order(tiles: &mut Vec<Tile>, tile: Tile) {
    match tiles.binary_search_by_key(&tile.start, |tile| tile.start) {
        Ok(at) => merge(&mut tiles[at].accs, &tile.accs),
        Err(at) => tiles.insert(at, tile),
    }
}

/// Folds partials into others of the same kinds.
pub fn merge(into: &mut [Acc], accs: &[Acc]) {
    for (acc, other) in into.iter_mut().zip(accs) {
        acc.merge(other);
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

impl Queue {
    /// The start of the oldest tile.
    pub fn oldest(&self) -> Option<Millis> {
        match () {
            () if self.front.count > 0 => Some(self.front.first),
            () if self.back.count > 0 => Some(self.back.first),
            () => self.newest.as_ref().map(|tile| tile.start),
        }
    }

    /// The newest tile.
    pub fn newest(&self) -> Option<&Tile> {
        self.newest.as_ref()
    }

    /// Whether it holds more than the newest tile.
    pub fn is_long(&self) -> bool {
        self.front.count > 0 || self.back.count > 0
    }

    /// Folds an input into partial `index` of its tile.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn add(&mut self, spec: &TileSpec, index: usize, item: &Item<'_>, chunks: &mut dyn Chunks) -> Result<()> {
        let start = floor_to(item.t, spec.slide);
        if let Some(tile) = self.newest.as_mut().filter(|tile| tile.start == start) {
            tile.accs[index].add(item);
            return Ok(());
        }
        let mut accs = spec.empty();
        accs[index].add(item);
        let tile = Tile { start, accs };
        if self.newest.as_ref().is_some_and(|newest| newest.start > start) {
            return self.insert(spec, tile, chunks);
        }
        self.push(spec, tile, chunks);
        Ok(())
    }

    /// Appends a tile newer than all.
    pub fn push(&mut self, spec: &TileSpec, tile: Tile, chunks: &mut dyn Chunks) {
        let Some(tile) = self.newest.replace(tile) else { return };
        spec.encode_tile(&mut self.back, &tile);
        if self.back.count < spec.chunk_tiles {
            return;
        }
        let run = std::mem::take(&mut self.back);
        if self.front.count == 0 {
            self.front = run;
        } else {
            self.sealed.push_back(put_sealed(&run, chunks));
        }
    }

    /// Puts a tile older than the newest where it belongs, merging it with one of the same start.
    fn insert(&mut self, spec: &TileSpec, tile: Tile, chunks: &mut dyn Chunks) -> Result<()> {
        let newest_sealed = self.sealed.back().map(|chunk| chunk.last);
        let before_back = newest_sealed.or((self.front.count > 0).then_some(self.front.last));
        if before_back.is_none_or(|last| tile.start > last) {
            return Ok(spec.insert_into(&mut self.back, tile)?);
        }
        // The first chunk that ends at or after the tile, if the tile is not already covered by the front.
        let chunk = self.sealed.iter().position(|chunk| tile.start <= chunk.last);
        if tile.start <= self.front.last || chunk.is_none() {
            return Ok(spec.insert_into(&mut self.front, tile)?);
        }
        let index = chunk.unwrap_or_default();
        let mut run = Run::read(&mut Reader::new(&chunks.take(self.sealed[index].first)?))?;
        spec.insert_into(&mut run, tile)?;
        self.sealed[index] = put_sealed(&run, chunks);
        Ok(())
    }

    /// Takes the oldest tile out.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn pop(&mut self, spec: &TileSpec, chunks: &mut dyn Chunks) -> Result<Option<Tile>> {
        if self.front.count == 0 {
            // Invariant 2: nothing is sealed, so the back is next, or the newest is the only tile.
            self.front = std::mem::take(&mut self.back);
        }
        if self.front.count == 0 {
            return Ok(self.newest.take());
        }
        let run = &mut self.front;
        let mut input = Reader::new(&run.bytes[run.at..]);
        let before = input.remaining();
        input.u64()?;
        let tile = Tile { start: run.first, accs: spec.decode_accs(&mut input)? };
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
        Ok(Some(tile))
    }

    /// Takes all tiles out, oldest first.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn drain(&mut self, spec: &TileSpec, chunks: &mut dyn Chunks) -> Result<Vec<Tile>> {
        let mut tiles = Vec::new();
        while let Some(tile) = self.pop(spec, chunks)? {
            tiles.push(tile);
        }
        Ok(tiles)
    }

    /// Empties it, its chunks too.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn clear(&mut self, chunks: &mut dyn Chunks) -> Result<()> {
        for chunk in &self.sealed {
            chunks.take(chunk.first)?;
        }
        *self = Self::default();
        Ok(())
    }

    /// Appends what travels with the head.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let Some(oldest) = self.oldest() else {
            return out.push(0);
        };
        out.push(1 + u8::from(self.is_long()));
        put_i64(out, self.newest.as_ref().map_or(oldest, |tile| tile.start));
        out.push(u8::from(self.newest.is_some()));
        self.newest.iter().for_each(|tile| tile.accs.iter().for_each(|acc| acc.encode(out)));
        if !self.is_long() {
            return;
        }
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
        let mut queue = Self::default();
        let form = input.byte()?;
        if form == 0 {
            return Ok(queue);
        }
        let start = input.i64()?;
        if input.byte()? == 1 {
            queue.newest = Some(Tile { start, accs: spec.decode_accs(input)? });
        }
        if form == 1 {
            return Ok(queue);
        }
        queue.front = Run::read(input)?;
        let mut last = queue.front.last;
        for _ in 0..input.u64()? {
            let first = last + input.i64()?;
            last = first + input.i64()?;
            queue.sealed.push_back(Sealed { first, last });
        }
        queue.back = Run::read(input)?;
        Ok(queue)
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        let newest = self.newest.iter().flat_map(|tile| &tile.accs).map(Acc::heap_bytes).sum::<usize>();
        newest + self.front.bytes.capacity() + self.back.bytes.capacity() + self.sealed.len() * size_of::<Sealed>()
    }
}

fn put_sealed(run: &Run, chunks: &mut dyn Chunks) -> Sealed {
    let mut bytes = Vec::with_capacity(run.bytes.len() + 12);
    run.write(&mut bytes);
    chunks.put(run.first, bytes);
    Sealed { first: run.first, last: run.last }
}
