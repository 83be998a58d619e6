//! Minimum, maximum and newest over a sliding window: a queue of the tiles that can still matter.
//!
//! A tile whose value is no better than that of a tile which leaves later can never be the answer, so it is dropped:
//! what stays is strictly monotone and its front is the answer. The queue is a function of the set of inputs, whatever
//! their order. Its length is logarithmic for inputs in random order and at most the number of tiles.

use std::cmp::Ordering;

use smallvec::SmallVec;

use crate::aggregate::codec::{Corrupt, Reader, put_i64, put_u64};
use crate::aggregate::{Item, Value};
use crate::time::{Millis, floor_to};

/// What is kept over a sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtremeSpec {
    pub size: Millis,
    pub slide: Millis,
    pub which: Which,
}

/// The answer among the inputs of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Which {
    Min,
    Max,
    /// By (event time, offset).
    Newest,
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    /// Start of the tile.
    start: Millis,
    /// Only for the newest: what it is newest by.
    at: (Millis, i64),
    value: Value,
}

/// The queue of one window of one entity. Ascending starts; a later entry is a worse answer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Extremes {
    entries: SmallVec<[Entry; 1]>,
}

impl ExtremeSpec {
    /// When the tile that holds `t` leaves.
    pub fn leaves_at(&self, t: Millis) -> Millis {
        floor_to(t, self.slide) + self.slide + self.size
    }

    /// Whether `a` is at least as good an answer as `b`.
    fn covers(&self, a: &Entry, b: &Entry) -> bool {
        match self.which {
            Which::Min => a.value.order(&b.value) != Ordering::Greater,
            Which::Max => a.value.order(&b.value) != Ordering::Less,
            Which::Newest => a.at >= b.at,
        }
    }
}

impl Extremes {
    /// The answer; null when nothing is in the window.
    pub fn value(&self) -> &Value {
        self.entries.first().map_or(&Value::Null, |entry| &entry.value)
    }

    /// The tiles that can still matter, ascending: their starts, and the best answer of each.
    pub fn tiles(&self) -> impl Iterator<Item = (Millis, &Value)> {
        self.entries.iter().map(|entry| (entry.start, &entry.value))
    }

    /// When the answer's tile leaves.
    pub fn next_timer(&self, spec: &ExtremeSpec) -> Option<Millis> {
        self.entries.first().map(|entry| entry.start + spec.slide + spec.size)
    }

    /// Folds an input whose time the window holds; answers whether the value differs now.
    pub fn add(&mut self, spec: &ExtremeSpec, item: &Item<'_>) -> bool {
        let (start, at) = (floor_to(item.t, spec.slide), (item.t, item.offset));
        let entry = Entry { start, at, value: item.input.to_value() };
        let later = self.entries.partition_point(|kept| kept.start < entry.start);
        if self.entries[later..].iter().any(|kept| spec.covers(kept, &entry)) {
            return false;
        }
        // Everything up to and including its own tile that it covers can never be the answer again.
        let same_tile = self.entries[later..].iter().take_while(|kept| kept.start == entry.start).count();
        let covered_from = self.entries[..later].iter().position(|kept| spec.covers(&entry, kept)).unwrap_or(later);
        let differs = covered_from == 0 && self.value() != &entry.value;
        self.entries.drain(covered_from..later + same_tile);
        self.entries.insert(covered_from, entry);
        differs
    }

    /// Takes away the tile that leaves at `tau`, if it is the answer's; answers whether the value differs now.
    pub fn expire(&mut self, spec: &ExtremeSpec, tau: Millis) -> bool {
        if self.next_timer(spec) != Some(tau) {
            return false;
        }
        let left = self.entries.remove(0);
        self.value() != &left.value
    }

    /// Appends its bytes.
    pub fn encode(&self, spec: &ExtremeSpec, out: &mut Vec<u8>) {
        put_u64(out, self.entries.len() as u64);
        for entry in &self.entries {
            put_i64(out, entry.start);
            if spec.which == Which::Newest {
                put_i64(out, entry.at.0);
                put_i64(out, entry.at.1);
            }
            entry.value.encode(out);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &ExtremeSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut entries = SmallVec::new();
        for _ in 0..input.u64()? {
            let start = input.i64()?;
            let at = if spec.which == Which::Newest { (input.i64()?, input.i64()?) } else { (start, 0) };
            entries.push(Entry { start, at, value: Value::decode(input)? });
        }
        Ok(Self { entries })
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        if self.entries.spilled() { self.entries.capacity() * size_of::<Entry>() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::Input;

    fn expected(spec: &ExtremeSpec, plain: &[(i64, i64, i64)]) -> Value {
        let best = match spec.which {
            Which::Min => plain.iter().min_by_key(|(_, _, x)| *x),
            Which::Max => plain.iter().max_by_key(|(_, _, x)| *x),
            Which::Newest => plain.iter().max_by_key(|(t, offset, _)| (*t, *offset)),
        };
        best.map_or(Value::Null, |(_, _, x)| Value::Int(*x))
    }

    proptest! {
        #[test]
        fn the_answer_equals_the_plain_list(
            steps in prop::collection::vec((0i64..9, -40i64..1, -5i64..6), 1..200), slide in 1i64..9, which in 0usize..3,
        ) {
            let spec = ExtremeSpec { size: 30, slide, which: [Which::Min, Which::Max, Which::Newest][which] };
            let (mut queue, mut now, mut plain) = (Extremes::default(), 0i64, Vec::new());
            for (offset, (ahead, back, x)) in steps.into_iter().enumerate() {
                now += ahead;
                while let Some(tau) = queue.next_timer(&spec).filter(|tau| *tau <= now) {
                    queue.expire(&spec, tau);
                }
                plain.retain(|(t, _, _)| spec.leaves_at(*t) > now);
                prop_assert_eq!(queue.value(), &expected(&spec, &plain));
                let t = now + back;
                if spec.leaves_at(t) > now {
                    let before = queue.value().clone();
                    let differs = queue.add(&spec, &Item { input: Input::Int(x), bucket: "", t, offset: offset as i64 });
                    plain.push((t, offset as i64, x));
                    prop_assert_eq!(differs, &before != queue.value());
                }
                prop_assert_eq!(queue.value(), &expected(&spec, &plain));
                let mut bytes = Vec::new();
                queue.encode(&spec, &mut bytes);
                let decoded = Extremes::decode(&spec, &mut Reader::new(&bytes)).unwrap();
                prop_assert_eq!(decoded.value(), queue.value());
                queue = decoded;
            }
        }
    }
}
