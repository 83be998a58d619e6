//! An entity's features compiled into the few places that a record touches.
//!
//! Features share what they can: one input a (where, expression) pair, one accumulator for sum and average of the same
//! input, one queue of tiles for all features over the same window.

use crate::aggregate::AccKind;
use crate::expr::ExprId;
use crate::topology::{Aggregate, EntityPlan, FeaturePlan, ValueType, Window};
use crate::window::{ExtremeSpec, SessionSpec, TileSpec, Which};

/// Where an input goes. Indices point into the lists of [`Program`] and of the entity's state alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// A running total over all records.
    Lifetime(usize),
    /// Partial `.1` of tile queue `.0`.
    Tiles(usize, usize),
    Extreme(usize),
    /// Aggregate `.1` of session window `.0`.
    Session(usize, usize),
}

/// A place, and which changes there make a row due.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    pub place: Place,
    /// A feature of an exact type reads it.
    pub exact: bool,
    /// A feature of an inexact type reads it.
    pub inexact: bool,
}

/// One distinct (where, input) pair and all that it feeds.
#[derive(Debug, Clone)]
pub struct InputSpec {
    pub filter: Option<ExprId>,
    /// `None` for `count: "*"`.
    pub value: Option<ExprId>,
    pub targets: Vec<Target>,
}

/// How a feature's value is read from its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    Count,
    IntSum,
    DoubleSum,
    Mean,
    /// The kept value of an extreme or the newest.
    Kept,
}

/// A feature: where its value is and how it is read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    pub place: Place,
    pub output: Output,
}

/// An entity's features, compiled.
#[derive(Debug, Clone, Default)]
pub struct Program {
    pub inputs: Vec<InputSpec>,
    pub lifetime: Vec<AccKind>,
    pub tiles: Vec<TileSpec>,
    pub extremes: Vec<ExtremeSpec>,
    pub sessions: Vec<SessionSpec>,
    /// One a feature, in the topology's order.
    pub readings: Vec<Reading>,
    /// (input, place, kind) of everything compiled, so that equal ones are shared.
    compiled: Vec<(usize, Place, Key)>,
}

/// What makes two accumulators the same.
type Key = (Window, AccKind);

impl Program {
    /// Compiles an entity's features.
    pub fn new(entity: &EntityPlan) -> Self {
        let mut program = Self::default();
        for feature in &entity.features {
            program.add(feature);
        }
        program
    }

    fn add(&mut self, feature: &FeaturePlan) {
        let input = self.input(feature);
        let kind = acc_kind(feature);
        let key = (feature.window, kind);
        let known = self.compiled.iter().find(|(i, _, k)| *i == input && *k == key).map(|(_, place, _)| *place);
        let place = known.unwrap_or_else(|| {
            let place = self.place(feature.window, kind);
            self.compiled.push((input, place, key));
            self.inputs[input].targets.push(Target { place, exact: false, inexact: false });
            place
        });
        for target in self.inputs[input].targets.iter_mut().filter(|target| target.place == place) {
            target.exact |= feature.is_exact();
            target.inexact |= !feature.is_exact();
        }
        self.readings.push(Reading { place, output: output(feature) });
    }

    fn input(&mut self, feature: &FeaturePlan) -> usize {
        let same = |input: &InputSpec| input.filter == feature.filter && input.value == feature.input;
        self.inputs.iter().position(same).unwrap_or_else(|| {
            self.inputs.push(InputSpec { filter: feature.filter, value: feature.input, targets: Vec::new() });
            self.inputs.len() - 1
        })
    }

    fn place(&mut self, window: Window, kind: AccKind) -> Place {
        match (window, which(kind)) {
            (Window::Lifetime, _) => {
                self.lifetime.push(kind);
                Place::Lifetime(self.lifetime.len() - 1)
            }
            (Window::Session { gap }, _) => {
                let index = position_or_push(
                    &mut self.sessions,
                    |spec| spec.gap == gap,
                    || SessionSpec { gap, kinds: Vec::new() },
                );
                self.sessions[index].kinds.push(kind);
                Place::Session(index, self.sessions[index].kinds.len() - 1)
            }
            (Window::Sliding { size, slide }, Some(which)) => {
                self.extremes.push(ExtremeSpec { size, slide, which });
                Place::Extreme(self.extremes.len() - 1)
            }
            (Window::Sliding { size, slide }, None) => {
                let same = |spec: &TileSpec| (spec.size, spec.slide) == (size, slide);
                let index = position_or_push(&mut self.tiles, same, || TileSpec { size, slide, kinds: Vec::new() });
                self.tiles[index].kinds.push(kind);
                Place::Tiles(index, self.tiles[index].kinds.len() - 1)
            }
        }
    }
}

fn position_or_push<T>(list: &mut Vec<T>, same: impl Fn(&T) -> bool, new: impl FnOnce() -> T) -> usize {
    list.iter().position(same).unwrap_or_else(|| {
        list.push(new());
        list.len() - 1
    })
}

fn which(kind: AccKind) -> Option<Which> {
    match kind {
        AccKind::Min => Some(Which::Min),
        AccKind::Max => Some(Which::Max),
        AccKind::Newest => Some(Which::Newest),
        AccKind::Count | AccKind::Int | AccKind::Double => None,
    }
}

fn acc_kind(feature: &FeaturePlan) -> AccKind {
    match (feature.aggregate, feature.input_type) {
        (Aggregate::Count, _) => AccKind::Count,
        (Aggregate::Sum | Aggregate::Avg, ValueType::Int64) => AccKind::Int,
        (Aggregate::Sum | Aggregate::Avg, _) => AccKind::Double,
        (Aggregate::Min, _) => AccKind::Min,
        (Aggregate::Max, _) => AccKind::Max,
        (Aggregate::Last, _) => AccKind::Newest,
    }
}

fn output(feature: &FeaturePlan) -> Output {
    match (feature.aggregate, feature.input_type) {
        (Aggregate::Count, _) => Output::Count,
        (Aggregate::Sum, ValueType::Int64) => Output::IntSum,
        (Aggregate::Sum, _) => Output::DoubleSum,
        (Aggregate::Avg, _) => Output::Mean,
        (Aggregate::Min | Aggregate::Max | Aggregate::Last, _) => Output::Kept,
    }
}
