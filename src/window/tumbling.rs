//! A tumbling window of one entity: the window that holds `T`, or the whole one before it.
//!
//! Invariant: windows ascend; none is older than the one before that which holds `T`.

use smallvec::SmallVec;

use super::queue::{Accs, Tile};
use crate::aggregate::codec::{Corrupt, Reader, put_i64, put_u64};
use crate::aggregate::{Acc, AccKind, Item};
use crate::time::{Millis, floor_to};

/// Windows that begin at `offset + n * size`, and what is aggregated in them.
#[derive(Debug, Clone, PartialEq)]
pub struct TumblingSpec {
    pub size: Millis,
    pub offset: Millis,
    /// Whether the last whole window is shown, not the current one.
    pub complete: bool,
    pub kinds: Vec<AccKind>,
}

/// The windows of one entity that are shown or will be.
#[derive(Debug, Clone, Default)]
pub struct Tumbling {
    windows: SmallVec<[Tile; 1]>,
}

impl TumblingSpec {
    /// The start of the window that holds `t`.
    pub fn start(&self, t: Millis) -> Millis {
        floor_to(t - self.offset, self.size) + self.offset
    }

    /// The start of the window that is shown at `at`.
    pub fn shown(&self, at: Millis) -> Millis {
        self.start(at) - if self.complete { self.size } else { 0 }
    }

    /// Whether a record at `t` is in a window that is shown at `at` or later.
    pub fn holds(&self, t: Millis, at: Millis) -> bool {
        self.start(t) >= self.shown(at)
    }

    /// When the window that begins at `start` is shown, and when no longer.
    pub fn span(&self, start: Millis) -> [Millis; 2] {
        let end = start + self.size;
        if self.complete { [end, end + self.size] } else { [start, end] }
    }
}

impl Tumbling {
    /// The aggregates of the window that is shown at `at`; `None` when nothing is in it.
    pub fn current(&self, spec: &TumblingSpec, at: Millis) -> Option<&[Acc]> {
        let start = spec.shown(at);
        self.windows.iter().find(|window| window.start == start).map(|window| window.accs.as_slice())
    }

    /// When something is shown next, or no longer.
    pub fn next_timer(&self, spec: &TumblingSpec, at: Millis) -> Option<Millis> {
        self.windows.iter().flat_map(|window| spec.span(window.start)).find(|tau| *tau > at)
    }

    /// Folds an input that is held at `at`; answers whether its window is shown.
    pub fn add(&mut self, spec: &TumblingSpec, index: usize, item: &Item<'_>, at: Millis) -> bool {
        let start = spec.start(item.t);
        let place = self.windows.partition_point(|window| window.start < start);
        if self.windows.get(place).is_none_or(|window| window.start != start) {
            let accs: Accs = spec.kinds.iter().map(AccKind::empty).collect();
            self.windows.insert(place, Tile { start, accs });
        }
        self.windows[place].accs[index].add(item);
        start == spec.shown(at)
    }

    /// Forgets windows that are not shown at `at` or later.
    pub fn expire(&mut self, spec: &TumblingSpec, at: Millis) {
        let shown = spec.shown(at);
        self.windows.retain(|window| window.start >= shown);
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.windows.len() as u64);
        for window in &self.windows {
            put_i64(out, window.start);
            window.accs.iter().for_each(|acc| acc.encode(out));
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &TumblingSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut windows = SmallVec::new();
        for _ in 0..input.u64()? {
            let start = input.i64()?;
            let accs = spec.kinds.iter().map(|kind| kind.decode(input)).collect::<Result<_, _>>()?;
            windows.push(Tile { start, accs });
        }
        Ok(Self { windows })
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        let accs = self.windows.iter().flat_map(|window| &window.accs).map(Acc::heap_bytes).sum::<usize>();
        accs + if self.windows.spilled() { self.windows.capacity() * size_of::<Tile>() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::Input;

    fn count(tumbling: &Tumbling, spec: &TumblingSpec, at: Millis) -> u64 {
        tumbling.current(spec, at).map_or(0, |accs| accs[0].count())
    }

    fn item(t: Millis) -> Item<'static> {
        Item { input: Input::Record, bucket: "", t, offset: 0 }
    }

    #[test]
    fn a_current_window_ends_and_a_complete_one_is_shown_for_a_window_more() {
        let kinds = vec![AccKind::Count];
        let now = TumblingSpec { size: 10, offset: 3, complete: false, kinds: kinds.clone() };
        let mut tumbling = Tumbling::default();
        assert!(tumbling.add(&now, 0, &item(-8), -8));
        assert_eq!((count(&tumbling, &now, -7), count(&tumbling, &now, 3)), (0, 0), "-8 is in [-17, -7)");
        assert_eq!(count(&tumbling, &now, -8), 1);
        assert_eq!(tumbling.next_timer(&now, -8), Some(-7));

        let whole = TumblingSpec { size: 10, offset: 0, complete: true, kinds };
        let mut tumbling = Tumbling::default();
        assert!(!tumbling.add(&whole, 0, &item(5), 5));
        assert_eq!(count(&tumbling, &whole, 9), 0);
        assert_eq!(tumbling.next_timer(&whole, 5), Some(10));
        assert_eq!((count(&tumbling, &whole, 10), count(&tumbling, &whole, 19)), (1, 1));
        assert!(tumbling.add(&whole, 0, &item(9), 12), "an out-of-order record of the window that is shown");
        assert_eq!(tumbling.next_timer(&whole, 12), Some(20));
        assert!(!whole.holds(9, 20) && whole.holds(10, 20));
        tumbling.expire(&whole, 20);
        assert_eq!(tumbling.next_timer(&whole, 20), None);
    }
}
