//! What a task's state keeps of an entity's features: tiles and borders, without the records.
//!
//! The log may be shorter than a window; what the state has is then all that is left of the records that are gone.
//! Nothing is changed: chunks are read beside the store.

use std::fmt::Debug;
use std::sync::Arc;

use arrow::array::ArrayRef;

use super::column;
use super::hold::Part;
use crate::aggregate::Acc;
use crate::error::{Error, Result};
use crate::state::Store;
use crate::state::keys::Key;
use crate::task::cache::{ChunkAccess, ChunkOverlay};
use crate::task::entity::{EntityChunks, EntityState, stack_queue};
use crate::task::meta::Meta;
use crate::task::program::{Place, Program, Reading};
use crate::task::shown::Shown;
use crate::time::Millis;
use crate::topology::{Plan, Window};

/// What a task's state says of one entity, as of its last epoch.
#[derive(Debug)]
pub struct KeptState {
    /// Where the version began: nothing before it is in the state.
    pub start_offset: i64,
    /// `None`: the state does not know the entity.
    pub entity: Option<Kept>,
}

/// An entity in the state.
#[derive(Debug)]
pub struct Kept {
    /// The law's `T`.
    pub at: Millis,
    /// Everything before it is in the state.
    pub next_offset: i64,
    /// One for each feature that was asked for.
    pub features: Vec<KeptFeature>,
}

/// What the state keeps of a feature.
#[derive(Debug)]
pub struct KeptFeature {
    /// One row.
    pub value: ArrayRef,
    /// Those with something in them, ascending. Of an extreme only the tiles that can still be the answer.
    pub parts: Vec<Part>,
    /// What each part comes to by itself, one row a part.
    pub values: ArrayRef,
    /// The offsets of the records that are kept one by one, in the order of event time: those of a last-N window, and
    /// of a window since a condition those that a border may still come before.
    pub offsets: Vec<i64>,
}

/// What `store`, a task's, has of the entity (its index in the plan) with this key, for these features (their indices
/// in the entity's list). `None` when nothing was ever written.
///
/// # Errors
/// Refused: the state is of another topology. State: the store cannot be read.
pub fn kept<S: Store + Debug>(
    plan: &Arc<Plan>,
    store: &S,
    entity: usize,
    id: &str,
    features: &[usize],
) -> Result<Option<KeptState>> {
    let Some(meta) = store.get(&Key::Meta.bytes())? else { return Ok(None) };
    let meta = Meta::decode(&meta)?;
    if meta.fingerprint != plan.fingerprint {
        return Err(Error::refused(format!(
            "the state is of other logic (fingerprint {}, the topology's is {}): its tiles cannot be read with this file",
            meta.fingerprint, plan.fingerprint
        )));
    }
    let of = &plan.entities[entity];
    let program = Program::new(of);
    let head = store.get(&Key::Head { entity: entity as u16, id: id.as_bytes() }.bytes())?;
    let state = head.map(|bytes| EntityState::decode(&program, &bytes)).transpose()?;
    let kept = state.map(|state| -> Result<Kept> {
        let at = state.at(meta.watermark_or_never());
        let feature = |&feature: &usize| {
            let mut overlay = ChunkOverlay::default();
            let mut chunks =
                ChunkAccess { overlay: &mut overlay, beneath: None, store, entity: entity as u16, id: id.as_bytes() };
            let looked = Look { program: &program, reading: &program.readings[feature], state: &state, at };
            let parts = looked.parts(of.features[feature].window, &mut chunks)?;
            let (parts, shown): (Vec<Part>, Vec<Shown>) = parts.into_iter().unzip();
            let ty = &of.features[feature].output_type;
            let value = column(ty, &[looked.shown()])?;
            Ok(KeptFeature { value, parts, values: column(ty, &shown)?, offsets: looked.offsets() })
        };
        let features = features.iter().map(feature).collect::<Result<_>>()?;
        Ok(Kept { at, next_offset: meta.next_offset, features })
    });
    Ok(Some(KeptState { start_offset: meta.start_offset, entity: kept.transpose()? }))
}

/// One feature of an entity's state, looked at.
struct Look<'a> {
    program: &'a Program,
    reading: &'a Reading,
    state: &'a EntityState,
    at: Millis,
}

impl Look<'_> {
    fn shown(&self) -> Shown {
        self.state.shown(self.program, self.reading, self.at).0
    }

    /// The parts with what each comes to.
    fn parts(&self, window: Window, chunks: &mut ChunkAccess<'_>) -> Result<Vec<(Part, Shown)>> {
        let Window::Sliding { size, slide } = window else {
            return Ok(self.only_part(window).map(|part| (part, self.shown())).into_iter().collect());
        };
        let tile = |start: Millis| Part::Tile { start, end: start + slide, leaves: start + slide + size };
        let show = |acc: &Acc| self.reading.output.show(acc, self.at);
        let windows = &self.state.windows;
        Ok(match self.reading.place {
            Place::Tiles(index, partial) => {
                let spec = &self.program.tiles[index];
                let tiles = windows.tiles[index].clone().into_tiles(spec, &mut chunks.queue(index))?;
                let mine = tiles.iter().filter(|tile| !tile.accs[partial].is_empty());
                mine.map(|of| (tile(of.start), show(&of.accs[partial]))).collect()
            }
            Place::Extreme(index) => {
                let tiles = windows.extremes[index].tiles();
                tiles.map(|(start, value)| (tile(start), Shown::Value(value.clone()))).collect()
            }
            Place::Stack(index) => {
                let spec = &self.program.stacks[index];
                let mut queue = chunks.queue(stack_queue(self.program, index));
                let (suffix, tiles) = windows.stacks[index].clone().into_tiles(spec, &mut queue)?;
                let merged = suffix.map(|(of, last)| {
                    let (start, leaves) = (of.start, of.start + slide + size);
                    (Part::Tiles { start, end: last + slide, leaves }, show(&of.accs[0]))
                });
                merged.into_iter().chain(tiles.iter().map(|of| (tile(of.start), show(&of.accs[0])))).collect()
            }
            _ => Vec::new(),
        })
    }

    /// The one part of a window that does not slide, unless nothing is in it.
    fn only_part(&self, window: Window) -> Option<Part> {
        self.state.acc(self.program, self.reading.place, self.at)?;
        let windows = &self.state.windows;
        Some(match (window, self.reading.place) {
            (Window::Session { gap }, Place::Session(index, _)) => {
                let [start, last] = windows.sessions[index].newest()?;
                Part::Session { start, last, over: last + gap + 1 }
            }
            (Window::Tumbling { size, .. }, Place::Tumbling(index, _)) => {
                let spec = &self.program.tumblings[index];
                let start = spec.shown(self.at);
                let [_, shown_until] = spec.span(start);
                Part::Tumbling { start, end: start + size, shown_until }
            }
            (Window::Since { .. }, Place::Since(index, _)) => Part::Since { border: windows.sinces[index].since() },
            (Window::LastN { n }, _) => Part::Last { n },
            _ => Part::Lifetime,
        })
    }

    fn offsets(&self) -> Vec<i64> {
        let windows = &self.state.windows;
        match self.reading.place {
            Place::Since(index, aggregate) => {
                windows.sinces[index].places(aggregate).map(|(_, offset)| offset).collect()
            }
            Place::Last(index, _) => windows.lasts[index].places().map(|(_, offset)| offset).collect(),
            _ => Vec::new(),
        }
    }
}
