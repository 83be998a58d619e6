//! The state of one entity: folds, timers, and what a row shows.
//!
//! Invariants, between records: every timer `<= T` has fired; the values shown equal those of the last row (of exact
//! types), because every change wrote one.

use smallvec::SmallVec;

use super::columns::InputColumns;
use super::program::{Place, Program, Target};
use crate::aggregate::codec::{Corrupt, Reader, put_i64};
use crate::aggregate::{Acc, Change};
use crate::error::Result;
use crate::time::Millis;
use crate::window::{Chunks, Extremes, Sessions, Tiles};

/// No time: before everything.
pub const NEVER: Millis = i64::MIN;

/// Where and when an entity's last row was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastRow {
    pub event_time: Millis,
    pub offset: i64,
    pub sequence: i32,
    pub ordinal: i64,
}

/// All that is kept of one entity.
#[derive(Debug, Clone)]
pub struct EntityState {
    /// Largest event time folded; [`NEVER`] before the first record.
    pub newest: Millis,
    /// Largest Kafka time folded.
    pub kafka_time: Millis,
    /// `known_at` of the last row.
    pub known_at: Millis,
    pub last_row: Option<LastRow>,
    /// When its next timer is due; `None` when nothing will change by itself.
    pub timer: Option<Millis>,
    lifetime: SmallVec<[Acc; 2]>,
    tiles: SmallVec<[Tiles; 1]>,
    extremes: SmallVec<[Extremes; 1]>,
    sessions: SmallVec<[Sessions; 1]>,
}

/// Opens the sealed chunks of one entity's windows.
pub trait EntityChunks {
    /// Those of tile queue `window`.
    fn window(&mut self, window: usize) -> impl Chunks + '_;
}

impl EntityState {
    /// Nothing folded yet.
    pub fn new(program: &Program) -> Self {
        Self {
            newest: NEVER,
            kafka_time: NEVER,
            known_at: NEVER,
            last_row: None,
            timer: None,
            lifetime: program.lifetime.iter().map(|kind| kind.empty()).collect(),
            tiles: program.tiles.iter().map(Tiles::new).collect(),
            extremes: program.extremes.iter().map(|_| Extremes::default()).collect(),
            sessions: program.sessions.iter().map(|_| Sessions::default()).collect(),
        }
    }

    /// The law's `T` for this entity under a watermark.
    pub fn at(&self, watermark: Millis) -> Millis {
        self.newest.max(watermark)
    }

    /// Folds the record at row `row` of the batch; answers whether a row is due.
    ///
    /// `watermark` is the partition's after the record; timers `<= T` have fired.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn fold(
        &mut self,
        program: &Program,
        columns: &InputColumns<'_>,
        record: &Applied,
        chunks: &mut impl EntityChunks,
    ) -> Result<bool> {
        self.newest = self.newest.max(record.t);
        self.kafka_time = self.kafka_time.max(record.kafka_time);
        let at = self.at(record.watermark);
        let mut due = false;
        let joined = self.join_sessions(program, record, at);
        for (index, input) in program.inputs.iter().enumerate() {
            let Some(value) = columns.input(index, record.row) else { continue };
            for target in &input.targets {
                let when = (record.t, record.offset);
                let change = match target.place {
                    Place::Lifetime(i) => self.lifetime[i].add(value, record.t, record.offset),
                    Place::Tiles(i, partial) if program.tiles[i].leaves_at(record.t) > at => {
                        self.tiles[i].add(&program.tiles[i], partial, value, when, &mut chunks.window(i))?
                    }
                    Place::Extreme(i) if program.extremes[i].leaves_at(record.t) > at => {
                        let differs = self.extremes[i].add(&program.extremes[i], value, when);
                        Change { value: differs, set: true }
                    }
                    // Too old for this window, and perhaps young enough for another.
                    Place::Tiles(..) | Place::Extreme(_) => Change::default(),
                    Place::Session(i, aggregate) => {
                        let change = self.sessions[i].add(joined[i].place, aggregate, value, when);
                        if joined[i].by_change { change } else { Change::default() }
                    }
                };
                due |= target.is_due(change);
            }
        }
        due |= joined.iter().enumerate().any(|(i, joined)| {
            !joined.by_change && joined.place.is_newest && self.session_differs(program, i, &joined.before, at)
        });
        self.timer = self.next_timer(program, at);
        Ok(due)
    }

    /// Lets the record join its run in every session window.
    fn join_sessions(&mut self, program: &Program, record: &Applied, at: Millis) -> SmallVec<[Joined; 1]> {
        let sessions = program.sessions.iter().zip(&mut self.sessions);
        let join = |(spec, sessions): (_, &mut Sessions)| {
            let was_shown = sessions.current(spec, at).is_some();
            // Only then can inputs of other records enter with this one.
            let whole = !was_shown || sessions.has_several_runs();
            let before = sessions.current(spec, at).filter(|_| whole).map(SmallVec::from).unwrap_or_default();
            let place = sessions.touch(spec, record.t, record.oldest_accepted);
            Joined { place, by_change: !whole && place.is_newest, before }
        };
        sessions.map(join).collect()
    }

    /// Whether a row is due for what a session shows now, against what it showed before; nothing: it was over.
    fn session_differs(&self, program: &Program, index: usize, before: &[Acc], at: Millis) -> bool {
        let spec = &program.sessions[index];
        let Some(now) = self.sessions[index].current(spec, at) else { return false };
        now.iter().enumerate().any(|(aggregate, acc)| {
            let empty = spec.kinds[aggregate].empty();
            let before = before.get(aggregate).unwrap_or(&empty);
            let change = Change { value: !acc.shows_the_same(before), set: acc != before };
            program.target(Place::Session(index, aggregate)).is_due(change)
        })
    }

    /// Fires the timer at `tau`; answers whether a row is due.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn fire(&mut self, program: &Program, tau: Millis, chunks: &mut impl EntityChunks) -> Result<bool> {
        let mut due = false;
        for (i, (spec, tiles)) in program.tiles.iter().zip(&mut self.tiles).enumerate() {
            if tiles.next_timer(spec) == Some(tau) {
                tiles.expire(spec, tau, &mut chunks.window(i), |partial, change| {
                    due |= program.target(Place::Tiles(i, partial)).is_due(change);
                })?;
            }
        }
        for (spec, extremes) in program.extremes.iter().zip(&mut self.extremes) {
            due |= extremes.expire(spec, tau);
        }
        for (i, (spec, sessions)) in program.sessions.iter().zip(&self.sessions).enumerate() {
            if sessions.next_timer(spec, tau - 1) == Some(tau) {
                let accs = sessions.current(spec, tau - 1).unwrap_or_default();
                due |= accs.iter().enumerate().any(|(aggregate, acc)| {
                    !acc.is_empty() && program.target(Place::Session(i, aggregate)).is_due(leaving(acc))
                });
            }
        }
        self.timer = self.next_timer(program, tau);
        Ok(due)
    }

    fn next_timer(&self, program: &Program, at: Millis) -> Option<Millis> {
        let tiles = program.tiles.iter().zip(&self.tiles).filter_map(|(spec, tiles)| tiles.next_timer(spec));
        let extremes = program.extremes.iter().zip(&self.extremes).filter_map(|(spec, kept)| kept.next_timer(spec));
        let sessions = program.sessions.iter().zip(&self.sessions).filter_map(|(spec, runs)| runs.next_timer(spec, at));
        tiles.chain(extremes).chain(sessions).min()
    }

    /// The accumulator at a place, at the law's `at`; `None` where a session is over.
    pub fn acc(&self, program: &Program, place: Place, at: Millis) -> Option<&Acc> {
        match place {
            Place::Lifetime(i) => self.lifetime.get(i),
            Place::Tiles(i, partial) => self.tiles[i].totals().get(partial),
            Place::Session(i, aggregate) => self.sessions[i].current(&program.sessions[i], at)?.get(aggregate),
            Place::Extreme(_) => None,
        }
    }

    /// The answer of an extreme's window.
    pub fn extreme(&self, index: usize) -> &crate::aggregate::Value {
        self.extremes[index].value()
    }

    /// Appends its bytes.
    pub fn encode(&self, program: &Program, out: &mut Vec<u8>) {
        put_i64(out, self.newest);
        put_i64(out, self.kafka_time.wrapping_sub(self.newest));
        put_i64(
            out,
            self.timer.map_or(0, |timer| timer.wrapping_sub(self.newest).wrapping_add(i64::from(timer >= self.newest))),
        );
        match self.last_row {
            None => out.push(0),
            Some(row) => {
                out.push(1);
                put_i64(out, self.known_at.wrapping_sub(self.newest));
                put_i64(out, row.event_time.wrapping_sub(self.newest));
                put_i64(out, row.offset);
                put_i64(out, i64::from(row.sequence));
                put_i64(out, row.ordinal);
            }
        }
        self.lifetime.iter().for_each(|acc| acc.encode(out));
        self.tiles.iter().for_each(|tiles| tiles.encode(out));
        for (spec, extremes) in program.extremes.iter().zip(&self.extremes) {
            extremes.encode(spec, out);
        }
        self.sessions.iter().for_each(|sessions| sessions.encode(out));
    }

    /// Reads what [`Self::encode`] wrote.
    ///
    /// # Errors
    /// [`Corrupt`] when the bytes are not of this program.
    pub fn decode(program: &Program, bytes: &[u8]) -> Result<Self, Corrupt> {
        let mut input = Reader::new(bytes);
        let input = &mut input;
        let newest = input.i64()?;
        let kafka_time = input.i64()?.wrapping_add(newest);
        let timer = match input.i64()? {
            0 => None,
            later if later > 0 => Some(newest.wrapping_add(later - 1)),
            earlier => Some(newest.wrapping_add(earlier)),
        };
        let (known_at, last_row) = match input.byte()? {
            0 => (NEVER, None),
            _ => {
                let known_at = input.i64()?.wrapping_add(newest);
                let event_time = input.i64()?.wrapping_add(newest);
                let offset = input.i64()?;
                let sequence = input.i64()?.try_into().map_err(|_| Corrupt)?;
                (known_at, Some(LastRow { event_time, offset, sequence, ordinal: input.i64()? }))
            }
        };
        let lifetime = program.lifetime.iter().map(|kind| kind.decode(input)).collect::<Result<_, _>>()?;
        let tiles = program.tiles.iter().map(|spec| Tiles::decode(spec, input)).collect::<Result<_, _>>()?;
        let extremes = program.extremes.iter().map(|spec| Extremes::decode(spec, input)).collect::<Result<_, _>>()?;
        let sessions = program.sessions.iter().map(|spec| Sessions::decode(spec, input)).collect::<Result<_, _>>()?;
        if input.remaining() > 0 {
            return Err(Corrupt);
        }
        Ok(Self { newest, kafka_time, known_at, last_row, timer, lifetime, tiles, extremes, sessions })
    }

    /// Bytes in memory, approximately.
    pub fn bytes(&self) -> usize {
        let spilled = |len: usize, inline: usize, size: usize| if len > inline { len * size } else { 0 };
        size_of::<Self>()
            + spilled(self.lifetime.len(), 2, size_of::<Acc>())
            + spilled(self.tiles.len(), 1, size_of::<Tiles>())
            + self.tiles.iter().map(Tiles::heap_bytes).sum::<usize>()
            + spilled(self.extremes.len(), 1, size_of::<Extremes>())
            + self.extremes.iter().map(Extremes::heap_bytes).sum::<usize>()
            + self.sessions.iter().map(Sessions::heap_bytes).sum::<usize>()
    }
}

/// A record that is applied, as an entity folds it.
#[derive(Debug, Clone, Copy)]
pub struct Applied {
    pub row: usize,
    pub offset: i64,
    /// Event time.
    pub t: Millis,
    pub kafka_time: Millis,
    /// The partition's, after the record.
    pub watermark: Millis,
    /// Records before this are late.
    pub oldest_accepted: Millis,
}

/// How a record has joined a session window's runs.
#[derive(Debug)]
struct Joined {
    place: crate::window::Place,
    /// What the record's own input changes is all that changes.
    by_change: bool,
    /// Otherwise: what was shown before; empty when the session was over.
    before: SmallVec<[Acc; 2]>,
}

/// What it changes when a whole aggregate leaves.
fn leaving(acc: &Acc) -> Change {
    let sum_was_zero = acc.int_sum() == Some(0);
    Change { value: !sum_was_zero, set: true }
}

impl Target {
    fn is_due(&self, change: Change) -> bool {
        (self.exact && change.value) || (self.inexact && change.set)
    }
}

impl Program {
    /// The target at a place.
    pub fn target(&self, place: Place) -> Target {
        let targets = self.inputs.iter().flat_map(|input| &input.targets);
        targets.copied().find(|target| target.place == place).unwrap_or(Target { place, exact: false, inexact: false })
    }
}
