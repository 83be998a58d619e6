//! An entity's features compiled into the few places that a record touches.
//!
//! Features share what they can: one input a (where, expression, bucket) triple, one accumulator for sum and average of
//! the same input, one queue of tiles for all features over the same window.

use super::shown::{Output, Shown};
use crate::aggregate::{AccKind, RichKind};
use crate::expr::ExprId;
use crate::time::Millis;
use crate::topology::{Aggregate, EntityPlan, FeaturePlan, ValueType, Window};
use crate::window::{
    CHUNK_TILES, ExtremeSpec, LastSpec, SessionSpec, SinceSpec, StackSpec, TileSpec, TumblingSpec, Which,
};

/// Where an input goes. Indices point into the lists of [`Program`] and of the entity's state alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A running total over all records.
    Lifetime(usize),
    /// Partial `.1` of tile queue `.0`.
    Tiles(usize, usize),
    Extreme(usize),
    /// A sliding window of its own.
    Stack(usize),
    /// Aggregate `.1` of session window `.0`.
    Session(usize, usize),
    Tumbling(usize, usize),
    Since(usize, usize),
    Last(usize, usize),
}

/// Which changes at a place make a row due.
#[derive(Debug, Clone, Copy, Default)]
pub struct Due {
    /// A feature of an exact type reads it.
    pub exact: bool,
    /// A feature of an inexact type reads it.
    pub inexact: bool,
}

/// A place that an input feeds.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub place: Place,
    pub due: Due,
}

/// One distinct input and all that it feeds.
#[derive(Debug, Clone)]
pub struct InputSpec {
    pub filter: Option<ExprId>,
    /// `None` for `count: "*"`.
    pub value: Option<ExprId>,
    pub bucket: Option<ExprId>,
    /// The last-`N` windows that it feeds are not among them.
    pub targets: Vec<Target>,
}

/// A feature: where its value is and how it is read.
#[derive(Debug, Clone)]
pub struct Reading {
    pub place: Place,
    pub output: Output,
    /// What it shows when nothing is left.
    pub empty: Shown,
    /// Whether its type is exact: then a row is due when its value differs, otherwise when an input enters or leaves.
    pub exact: bool,
}

/// A last-`N` window: of one input, whose records take a place even where it is null.
#[derive(Debug, Clone)]
pub struct LastWindow {
    pub input: usize,
    pub spec: LastSpec,
}

/// A window since a condition.
#[derive(Debug, Clone)]
pub struct SinceWindow {
    pub condition: ExprId,
    pub spec: SinceSpec,
}

/// An entity's features, compiled.
#[derive(Debug, Clone, Default)]
pub struct Program {
    pub inputs: Vec<InputSpec>,
    pub lifetime: Vec<AccKind>,
    pub tiles: Vec<TileSpec>,
    pub extremes: Vec<ExtremeSpec>,
    pub stacks: Vec<StackSpec>,
    pub sessions: Vec<SessionSpec>,
    pub tumblings: Vec<TumblingSpec>,
    pub sinces: Vec<SinceWindow>,
    pub lasts: Vec<LastWindow>,
    /// One a feature, in the topology's order.
    pub readings: Vec<Reading>,
    /// Readings of exact types whose places do not tell when their value differs: it is compared.
    pub compared: Vec<usize>,
    pub forget_after: Option<Millis>,
    /// The most records that a window since a condition keeps one by one.
    pub horizon_records: usize,
    dues: Dues,
    /// (input, place, window, kind) of everything compiled, so that equal ones are shared.
    compiled: Vec<(usize, Place, Window, AccKind)>,
}

/// By place.
#[derive(Debug, Clone, Default)]
struct Dues {
    tiles: Vec<Vec<Due>>,
    extremes: Vec<Due>,
    stacks: Vec<Due>,
    sessions: Vec<Vec<Due>>,
    tumblings: Vec<Vec<Due>>,
    sinces: Vec<Vec<Due>>,
    lasts: Vec<Vec<Due>>,
}

impl Program {
    /// Compiles an entity's features.
    pub fn new(entity: &EntityPlan) -> Self {
        let horizon_records = entity.horizon_records;
        let mut program = Self { forget_after: entity.forget_after, horizon_records, ..Self::default() };
        for feature in &entity.features {
            program.add(feature);
        }
        for (input, place, ..) in &program.compiled {
            let targets = program.inputs[*input].targets.iter();
            let due = targets.clone().find(|target| target.place == *place).map(|target| target.due);
            program.dues.set(*place, due.unwrap_or_default());
        }
        for input in &mut program.inputs {
            input.targets.retain(|target| !matches!(target.place, Place::Last(..)));
        }
        program
    }

    /// Which changes at a place make a row due. Asked for places that lose inputs by themselves.
    pub fn due(&self, place: Place) -> Due {
        match place {
            Place::Lifetime(_) => Due::default(),
            Place::Tiles(i, p) => self.dues.tiles[i][p],
            Place::Extreme(i) => self.dues.extremes[i],
            Place::Stack(i) => self.dues.stacks[i],
            Place::Session(i, p) => self.dues.sessions[i][p],
            Place::Tumbling(i, p) => self.dues.tumblings[i][p],
            Place::Since(i, p) => self.dues.sinces[i][p],
            Place::Last(i, p) => self.dues.lasts[i][p],
        }
    }

    fn add(&mut self, feature: &FeaturePlan) {
        let input = self.input(feature);
        let kind = acc_kind(feature);
        let same = |(i, _, window, k): &&(usize, Place, Window, AccKind)| {
            *i == input && *window == feature.window && *k == kind
        };
        let known = self.compiled.iter().find(same).map(|(_, place, ..)| *place);
        let place = known.unwrap_or_else(|| {
            let place = self.place(feature.window, kind.clone(), input);
            self.compiled.push((input, place, feature.window, kind.clone()));
            self.inputs[input].targets.push(Target { place, due: Due::default() });
            place
        });
        let reading =
            Reading { place, output: Output::of(feature), empty: Shown::of(&feature.empty), exact: feature.is_exact() };
        let tells = matches!(place, Place::Lifetime(_) | Place::Tiles(..) | Place::Extreme(_) | Place::Session(..))
            && !matches!(kind, AccKind::Rich(_))
            && reading.empty == reading.output.of_nothing();
        if feature.is_exact() && !tells {
            self.compared.push(self.readings.len());
        }
        for target in self.inputs[input].targets.iter_mut().filter(|target| target.place == place) {
            target.due.exact |= feature.is_exact() && tells;
            target.due.inexact |= !feature.is_exact();
        }
        self.readings.push(reading);
    }

    fn input(&mut self, feature: &FeaturePlan) -> usize {
        let bucket = feature.by.map(|by| by.bucket);
        let same =
            |input: &InputSpec| (input.filter, input.value, input.bucket) == (feature.filter, feature.input, bucket);
        self.inputs.iter().position(same).unwrap_or_else(|| {
            self.inputs.push(InputSpec { filter: feature.filter, value: feature.input, bucket, targets: Vec::new() });
            self.inputs.len() - 1
        })
    }

    fn place(&mut self, window: Window, kind: AccKind, input: usize) -> Place {
        match window {
            Window::Lifetime => {
                self.lifetime.push(kind);
                Place::Lifetime(self.lifetime.len() - 1)
            }
            Window::Sliding { size, slide } => self.sliding(size, slide, kind),
            Window::Session { gap } => {
                let new = || SessionSpec { gap, kinds: Vec::new() };
                let index = position_or_push(&mut self.sessions, |spec| spec.gap == gap, new);
                self.sessions[index].kinds.push(kind);
                Place::Session(index, self.sessions[index].kinds.len() - 1)
            }
            Window::Tumbling { size, offset, complete } => {
                let same = |spec: &TumblingSpec| (spec.size, spec.offset, spec.complete) == (size, offset, complete);
                let new = || TumblingSpec { size, offset, complete, kinds: Vec::new() };
                let index = position_or_push(&mut self.tumblings, same, new);
                self.tumblings[index].kinds.push(kind);
                Place::Tumbling(index, self.tumblings[index].kinds.len() - 1)
            }
            Window::Since { condition } => {
                let new = || SinceWindow { condition, spec: SinceSpec { kinds: Vec::new() } };
                let index = position_or_push(&mut self.sinces, |since| since.condition == condition, new);
                self.sinces[index].spec.kinds.push(kind);
                Place::Since(index, self.sinces[index].spec.kinds.len() - 1)
            }
            Window::LastN { n } => {
                let same = |last: &LastWindow| (last.input, last.spec.n) == (input, n);
                let new = || LastWindow { input, spec: LastSpec { n, kinds: Vec::new() } };
                let index = position_or_push(&mut self.lasts, same, new);
                self.lasts[index].spec.kinds.push(kind);
                Place::Last(index, self.lasts[index].spec.kinds.len() - 1)
            }
        }
    }

    fn sliding(&mut self, size: Millis, slide: Millis, kind: AccKind) -> Place {
        if let Some(which) = which(&kind) {
            self.extremes.push(ExtremeSpec { size, slide, which });
            return Place::Extreme(self.extremes.len() - 1);
        }
        if !kind.subtracts() {
            self.stacks.push(StackSpec::new(size, slide, kind));
            return Place::Stack(self.stacks.len() - 1);
        }
        let same = |spec: &TileSpec| (spec.size, spec.slide) == (size, slide);
        let new = || TileSpec { size, slide, kinds: Vec::new(), chunk_tiles: CHUNK_TILES };
        let index = position_or_push(&mut self.tiles, same, new);
        self.tiles[index].kinds.push(kind);
        Place::Tiles(index, self.tiles[index].kinds.len() - 1)
    }
}

impl Dues {
    /// Places of one window come in ascending order.
    fn set(&mut self, place: Place, due: Due) {
        let nested = |list: &mut Vec<Vec<Due>>, index: usize| {
            if list.len() <= index {
                list.resize(index + 1, Vec::new());
            }
            list[index].push(due);
        };
        match place {
            Place::Lifetime(_) => {}
            Place::Extreme(_) => self.extremes.push(due),
            Place::Stack(_) => self.stacks.push(due),
            Place::Tiles(index, _) => nested(&mut self.tiles, index),
            Place::Session(index, _) => nested(&mut self.sessions, index),
            Place::Tumbling(index, _) => nested(&mut self.tumblings, index),
            Place::Since(index, _) => nested(&mut self.sinces, index),
            Place::Last(index, _) => nested(&mut self.lasts, index),
        }
    }
}

fn position_or_push<T>(list: &mut Vec<T>, same: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    list.iter().position(same).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    })
}

fn which(kind: &AccKind) -> Option<Which> {
    match kind {
        AccKind::Min => Some(Which::Min),
        AccKind::Max => Some(Which::Max),
        AccKind::Newest => Some(Which::Newest),
        _ => None,
    }
}

/// The accumulator of a feature, its buckets included.
pub fn acc_kind(feature: &FeaturePlan) -> AccKind {
    let inner = plain_kind(feature);
    match feature.by {
        Some(by) => AccKind::Rich(RichKind::Buckets { limit: by.buckets, inner: Box::new(inner) }),
        None => inner,
    }
}

fn plain_kind(feature: &FeaturePlan) -> AccKind {
    AccKind::Rich(match (&feature.aggregate, feature.input_type) {
        (Aggregate::Count, _) => return AccKind::Count,
        (Aggregate::Sum | Aggregate::Avg, ValueType::Int64) => return AccKind::Int,
        (Aggregate::Sum | Aggregate::Avg, _) => return AccKind::Exact,
        (Aggregate::Min, _) => return AccKind::Min,
        (Aggregate::Max, _) => return AccKind::Max,
        (Aggregate::Last, _) => return AccKind::Newest,
        (Aggregate::First, _) => RichKind::FirstK { k: 1 },
        (Aggregate::Variance | Aggregate::Stddev, _) => RichKind::Moments,
        (Aggregate::Distinct { limit }, _) => RichKind::Set { limit: *limit },
        (Aggregate::ApproxDistinct { precision }, _) => RichKind::Hll { precision: *precision },
        (Aggregate::Quantile { error, .. } | Aggregate::Quantiles { error, .. }, _) => {
            RichKind::Histogram { error: *error }
        }
        (Aggregate::FirstK { k }, _) => RichKind::FirstK { k: *k },
        (Aggregate::LastK { k }, _) => RichKind::LastK { k: *k },
        (Aggregate::TopK { limit, .. }, _) => RichKind::Tally { limit: *limit },
        (
            Aggregate::DecayedCount { half_life }
            | Aggregate::DecayedSum { half_life }
            | Aggregate::DecayedAvg { half_life },
            _,
        ) => RichKind::Decayed { half_life: *half_life },
    })
}
