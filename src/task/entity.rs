//! The state of one entity: folds, timers, and what a row shows.
//!
//! Invariants, between records: every timer `<= T` has fired; the values shown equal those of the last row (of exact
//! types), because every change wrote one.

use smallvec::SmallVec;

use super::columns::{Entry, InputColumns};
use super::program::{Due, Place, Program, Reading};
use super::shown::Shown;
use crate::aggregate::{Acc, Change, Item};
use crate::error::{Error, Result};
use crate::time::Millis;
use crate::window::{Chunks, Extremes, Joined, Last, Sessions, Since, Stack, Tiles, Tumbling};

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
    pub(super) windows: Windows,
}

/// An entity's windows, place by place as its program has them.
#[derive(Debug, Clone)]
pub(super) struct Windows {
    pub lifetime: SmallVec<[Acc; 2]>,
    pub tiles: SmallVec<[Tiles; 1]>,
    pub extremes: SmallVec<[Extremes; 1]>,
    pub stacks: Vec<Stack>,
    pub sessions: SmallVec<[Sessions; 1]>,
    pub tumblings: Vec<Tumbling>,
    pub sinces: Vec<Since>,
    pub lasts: Vec<Last>,
}

/// Opens the sealed chunks of one entity's windows.
pub trait EntityChunks {
    /// Those of one window.
    fn queue(&mut self, queue: usize) -> impl Chunks + '_;
}

/// The first timer of one kind's windows; [`Millis::MAX`], which is after every time, when none has one. A loop: every
/// record and every timer passes here, and a chain of zipped iterators took three times as long.
#[inline]
fn soonest<S, W>(specs: &[S], windows: &[W], timer: impl Fn(&S, &W) -> Option<Millis>) -> Millis {
    let mut first = Millis::MAX;
    for (index, window) in windows.iter().enumerate() {
        first = timer(&specs[index], window).map_or(first, |time| first.min(time));
    }
    first
}

/// The number of a stack's chunks: those of tiles come before.
pub fn stack_queue(program: &Program, stack: usize) -> usize {
    program.tiles.len() + stack
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
            windows: Windows::new(program),
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
    /// State: a sealed chunk cannot be read. Stopped: the bound `horizon_records` is passed.
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
        let before = self.compared(program, at);
        let mut due = self.windows.move_borders(program, columns, record);
        let joined = self.windows.join_sessions(program, record, at);
        for (index, input) in program.inputs.iter().enumerate() {
            let Entry::In(value, bucket) = columns.entry(index, record.row) else { continue };
            let item = Item { input: value, bucket, t: record.t, offset: record.offset };
            for target in &input.targets {
                due |= target.due.by(self.windows.add(program, target.place, &item, at, &joined, chunks)?);
            }
        }
        self.windows.bounded(program)?;
        due |= self.windows.add_last(program, columns, record);
        due |= joined.iter().enumerate().any(|(i, joined)| {
            !joined.by_change && joined.run.is_newest && self.windows.session_differs(program, i, &joined.before, at)
        });
        self.timer = self.next_timer(program, at);
        Ok(due || before != self.compared(program, at))
    }

    /// Fires the timer at `tau`; answers whether a row is due.
    ///
    /// # Errors
    /// State: a sealed chunk cannot be read.
    pub fn fire(&mut self, program: &Program, tau: Millis, chunks: &mut impl EntityChunks) -> Result<bool> {
        if self.forget_at(program) == Some(tau) {
            return self.forget(program, tau, chunks);
        }
        let before = self.compared(program, tau - 1);
        let due = self.windows.expire(program, tau, chunks)?;
        self.timer = self.next_timer(program, tau);
        Ok(due || before != self.compared(program, tau))
    }

    /// Empties the entity at `tau`; answers whether it showed anything.
    fn forget(&mut self, program: &Program, tau: Millis, chunks: &mut impl EntityChunks) -> Result<bool> {
        let shows = |reading: &Reading| self.shown(program, reading, tau - 1).0 != reading.empty;
        let holds = |reading: &Reading| self.acc(program, reading.place, tau - 1).is_some();
        let due = |reading: &Reading| if reading.exact { shows(reading) } else { holds(reading) };
        let due = program.readings.iter().any(due);
        self.windows.clear(program, chunks)?;
        (self.newest, self.timer) = (NEVER, None);
        Ok(due)
    }

    fn forget_at(&self, program: &Program) -> Option<Millis> {
        program.forget_after.filter(|_| self.newest != NEVER).map(|after| self.newest + after)
    }

    fn next_timer(&self, program: &Program, at: Millis) -> Option<Millis> {
        self.windows.next_timer(program, at).into_iter().chain(self.forget_at(program)).min()
    }

    /// What a feature shows at the law's `at`, and whether that is null for a bound or an overflow.
    pub fn shown(&self, program: &Program, reading: &Reading, at: Millis) -> (Shown, bool) {
        if let Place::Extreme(index) = reading.place {
            return match self.windows.extremes[index].value() {
                value if value.is_null() => (reading.empty.clone(), false),
                value => (Shown::Value(value.clone()), false),
            };
        }
        match self.acc(program, reading.place, at) {
            Some(acc) => {
                let shown = reading.output.show(acc, at);
                let lost = shown == Shown::Null && reading.output.null_is_lost(acc);
                (shown, lost)
            }
            None => (reading.empty.clone(), false),
        }
    }

    /// The accumulator at a place, at the law's `at`; `None` where nothing is in it.
    pub fn acc(&self, program: &Program, place: Place, at: Millis) -> Option<&Acc> {
        self.windows.acc(program, place, at).filter(|acc| !acc.is_empty())
    }

    /// The answer of an extreme's window.
    pub fn extreme(&self, index: usize) -> &crate::aggregate::Value {
        self.windows.extremes[index].value()
    }

    /// The values that are compared to see whether a row is due.
    fn compared(&self, program: &Program, at: Millis) -> SmallVec<[Shown; 4]> {
        program.compared.iter().map(|reading| self.shown(program, &program.readings[*reading], at).0).collect()
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
struct JoinedRun {
    run: Joined,
    /// What the record's own input changes is all that changes.
    by_change: bool,
    /// Otherwise: what was shown before; empty when the session was over.
    before: SmallVec<[Acc; 2]>,
}

/// What it changes when a whole aggregate leaves.
fn leaving(acc: &Acc) -> Change {
    let sum_was_zero = acc.int_sum() == Some(0) || acc.decimal_sum() == Some(0);
    Change { value: !sum_was_zero, set: true }
}

impl Due {
    fn by(self, change: Change) -> bool {
        (self.exact && change.value) || (self.inexact && change.set)
    }
}

impl Windows {
    fn new(program: &Program) -> Self {
        Self {
            lifetime: program.lifetime.iter().map(|kind| kind.empty()).collect(),
            tiles: program.tiles.iter().map(Tiles::new).collect(),
            extremes: program.extremes.iter().map(|_| Extremes::default()).collect(),
            stacks: program.stacks.iter().map(Stack::new).collect(),
            sessions: program.sessions.iter().map(|_| Sessions::default()).collect(),
            tumblings: program.tumblings.iter().map(|_| Tumbling::default()).collect(),
            sinces: program.sinces.iter().map(|since| Since::new(&since.spec)).collect(),
            lasts: program.lasts.iter().map(|last| Last::new(&last.spec)).collect(),
        }
    }

    /// Windows since a condition, before the record is folded: the newest record that meets it moves the border.
    fn move_borders(&mut self, program: &Program, columns: &InputColumns<'_>, record: &Applied) -> bool {
        let mut due = false;
        for (i, (window, since)) in program.sinces.iter().zip(&mut self.sinces).enumerate() {
            since.settle(record.oldest_accepted);
            if columns.condition(i, record.row) {
                let before = SmallVec::<[Acc; 2]>::from(since.totals());
                since.border(&window.spec, (record.t, record.offset));
                let differs = before.iter().zip(since.totals()).map(|(before, now)| before != now);
                due |= differs.enumerate().any(|(p, differs)| differs && program.due(Place::Since(i, p)).inexact);
            }
        }
        due
    }

    /// After a record is folded: the bound on what windows since a condition keep.
    fn bounded(&self, program: &Program) -> Result<()> {
        let bound = program.horizon_records;
        match self.sinces.iter().map(Since::kept).find(|kept| *kept > bound) {
            None => Ok(()),
            Some(kept) => Err(Error::stopped(format!(
                "a window since a condition keeps {kept} records one by one, over the bound horizon_records ({bound}): \
                 raise it in the topology, or make lateness and grace shorter"
            ))),
        }
    }

    /// Lets the record join its run in every session window.
    fn join_sessions(&mut self, program: &Program, record: &Applied, at: Millis) -> SmallVec<[JoinedRun; 1]> {
        let sessions = program.sessions.iter().zip(&mut self.sessions);
        let join = |(spec, sessions): (_, &mut Sessions)| {
            let was_shown = sessions.current(spec, at).is_some();
            // Only then can inputs of other records enter with this one.
            let whole = !was_shown || sessions.has_several_runs();
            let before = sessions.current(spec, at).filter(|_| whole).map(SmallVec::from).unwrap_or_default();
            let run = sessions.touch(spec, record.t, record.oldest_accepted);
            JoinedRun { run, by_change: !whole && run.is_newest, before }
        };
        sessions.map(join).collect()
    }

    /// Folds one input at one place.
    fn add(
        &mut self,
        program: &Program,
        place: Place,
        item: &Item<'_>,
        at: Millis,
        joined: &[JoinedRun],
        chunks: &mut impl EntityChunks,
    ) -> Result<Change> {
        Ok(match place {
            Place::Lifetime(i) => self.lifetime[i].add(item),
            Place::Tiles(i, partial) if program.tiles[i].leaves_at(item.t) > at => {
                self.tiles[i].add(&program.tiles[i], partial, item, &mut chunks.queue(i))?
            }
            Place::Extreme(i) if program.extremes[i].leaves_at(item.t) > at => {
                Change { value: self.extremes[i].add(&program.extremes[i], item), set: true }
            }
            Place::Stack(i) if program.stacks[i].leaves_at(item.t) > at => {
                self.stacks[i].add(&program.stacks[i], item, &mut chunks.queue(stack_queue(program, i)))?;
                Change::SET
            }
            Place::Session(i, partial) => {
                let change = self.sessions[i].add(joined[i].run, partial, item);
                if joined[i].by_change { change } else { Change::default() }
            }
            Place::Tumbling(i, partial) if program.tumblings[i].holds(item.t, at) => {
                let shown = self.tumblings[i].add(&program.tumblings[i], partial, item, at);
                Change { value: false, set: shown }
            }
            Place::Since(i, partial) => Change { value: false, set: self.sinces[i].add(partial, item) },
            // Too old for this window, and perhaps young enough for another; the last N are folded by themselves.
            Place::Tiles(..) | Place::Extreme(_) | Place::Stack(_) | Place::Tumbling(..) | Place::Last(..) => {
                Change::default()
            }
        })
    }

    /// Folds the record into the windows over the last `N`.
    fn add_last(&mut self, program: &Program, columns: &InputColumns<'_>, record: &Applied) -> bool {
        let mut due = false;
        let (t, offset) = (record.t, record.offset);
        for (i, (window, last)) in program.lasts.iter().zip(&mut self.lasts).enumerate() {
            let changed = match columns.entry(window.input, record.row) {
                Entry::Out => false,
                Entry::Null => last.add(&window.spec, (t, offset), None),
                Entry::In(input, bucket) => {
                    last.add(&window.spec, (t, offset), Some(&Item { input, bucket, t, offset }))
                }
            };
            due |= changed && (0..window.spec.kinds.len()).any(|p| program.due(Place::Last(i, p)).inexact);
        }
        due
    }

    /// Whether a row is due for what a session shows now, against what it showed before; nothing: it was over.
    fn session_differs(&self, program: &Program, index: usize, before: &[Acc], at: Millis) -> bool {
        let spec = &program.sessions[index];
        let Some(now) = self.sessions[index].current(spec, at) else { return false };
        now.iter().enumerate().any(|(aggregate, acc)| {
            let empty = spec.kinds[aggregate].empty();
            let before = before.get(aggregate).unwrap_or(&empty);
            let change = Change { value: !acc.shows_the_same(before), set: acc != before };
            program.due(Place::Session(index, aggregate)).by(change)
        })
    }

    /// Takes away what leaves at `tau`; answers whether a row is due for it.
    fn expire(&mut self, program: &Program, tau: Millis, chunks: &mut impl EntityChunks) -> Result<bool> {
        let mut due = false;
        for (i, (spec, tiles)) in program.tiles.iter().zip(&mut self.tiles).enumerate() {
            if tiles.next_timer(spec) == Some(tau) {
                tiles.expire(spec, tau, &mut chunks.queue(i), |partial, change| {
                    due |= program.due(Place::Tiles(i, partial)).by(change);
                })?;
            }
        }
        for (i, (spec, extremes)) in program.extremes.iter().zip(&mut self.extremes).enumerate() {
            due |= extremes.expire(spec, tau) && program.due(Place::Extreme(i)).exact;
        }
        for (i, (spec, stack)) in program.stacks.iter().zip(&mut self.stacks).enumerate() {
            if stack.next_timer(spec) == Some(tau) {
                let left = stack.expire(spec, tau, &mut chunks.queue(stack_queue(program, i)))?;
                due |= left && program.due(Place::Stack(i)).inexact;
            }
        }
        for (i, (spec, sessions)) in program.sessions.iter().zip(&self.sessions).enumerate() {
            if sessions.next_timer(spec, tau - 1) == Some(tau) {
                let accs = sessions.current(spec, tau - 1).unwrap_or_default();
                due |= accs.iter().enumerate().any(|(aggregate, acc)| {
                    !acc.is_empty() && program.due(Place::Session(i, aggregate)).by(leaving(acc))
                });
            }
        }
        for (i, (spec, tumbling)) in program.tumblings.iter().zip(&mut self.tumblings).enumerate() {
            if tumbling.next_timer(spec, tau - 1) == Some(tau) {
                let shown = [tumbling.current(spec, tau - 1), tumbling.current(spec, tau)];
                let holds = |p: usize| shown.iter().flatten().any(|accs| !accs[p].is_empty());
                due |= (0..spec.kinds.len()).any(|p| holds(p) && program.due(Place::Tumbling(i, p)).inexact);
                tumbling.expire(spec, tau);
            }
        }
        Ok(due)
    }

    fn next_timer(&self, program: &Program, at: Millis) -> Option<Millis> {
        let first = soonest(&program.tiles, &self.tiles, |spec, tiles| tiles.next_timer(spec))
            .min(soonest(&program.extremes, &self.extremes, |spec, extremes| extremes.next_timer(spec)))
            .min(soonest(&program.stacks, &self.stacks, |spec, stack| stack.next_timer(spec)))
            .min(soonest(&program.sessions, &self.sessions, |spec, sessions| sessions.next_timer(spec, at)))
            .min(soonest(&program.tumblings, &self.tumblings, |spec, tumbling| tumbling.next_timer(spec, at)));
        (first < Millis::MAX).then_some(first)
    }

    #[inline]
    fn acc(&self, program: &Program, place: Place, at: Millis) -> Option<&Acc> {
        match place {
            Place::Lifetime(i) => self.lifetime.get(i),
            Place::Tiles(i, partial) => self.tiles[i].totals().get(partial),
            Place::Stack(i) => Some(self.stacks[i].total()),
            Place::Session(i, aggregate) => self.sessions[i].current(&program.sessions[i], at)?.get(aggregate),
            Place::Tumbling(i, partial) => self.tumblings[i].current(&program.tumblings[i], at)?.get(partial),
            Place::Since(i, partial) => self.sinces[i].totals().get(partial),
            Place::Last(i, partial) => self.lasts[i].totals().get(partial),
            Place::Extreme(_) => None,
        }
    }

    /// Forgets everything, sealed chunks too.
    fn clear(&mut self, program: &Program, chunks: &mut impl EntityChunks) -> Result<()> {
        for (i, (spec, tiles)) in program.tiles.iter().zip(&mut self.tiles).enumerate() {
            tiles.clear(spec, &mut chunks.queue(i))?;
        }
        for (i, (spec, stack)) in program.stacks.iter().zip(&mut self.stacks).enumerate() {
            stack.clear(spec, &mut chunks.queue(stack_queue(program, i)))?;
        }
        *self = Self::new(program);
        Ok(())
    }
}
