//! The runs of one session window of one entity: records no more than a gap apart.
//!
//! Set semantics: an out-of-order record joins runs, moves borders and lands where it belongs. Older runs are kept as
//! long as a record that is still accepted could join them to the newest one.
//!
//! Invariants: runs ascend; neighbours are more than `gap` apart; the last run holds the largest event time.

use smallvec::SmallVec;

use crate::aggregate::codec::{Corrupt, Reader, put_i64, put_u64};
use crate::aggregate::{Acc, AccKind, Change, Item};
use crate::time::Millis;

/// A session window and what is aggregated in it.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionSpec {
    pub gap: Millis,
    pub kinds: Vec<AccKind>,
}

#[derive(Debug, Clone)]
struct Run {
    start: Millis,
    end: Millis,
    accs: SmallVec<[Acc; 2]>,
}

/// The runs of one entity.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    runs: SmallVec<[Run; 1]>,
}

/// The run that a record belongs to, after [`Sessions::touch`].
#[derive(Debug, Clone, Copy)]
pub struct Joined {
    index: usize,
    /// Whether it is the newest run: the one whose aggregates are the value.
    pub is_newest: bool,
}

impl Sessions {
    /// The aggregates of the session at `at` (the law's `T`); `None` when it is over.
    pub fn current(&self, spec: &SessionSpec, at: Millis) -> Option<&[Acc]> {
        self.runs.last().filter(|run| at <= run.end + spec.gap).map(|run| run.accs.as_slice())
    }

    /// The first and the last event time of the newest run.
    pub fn newest(&self) -> Option<[Millis; 2]> {
        self.runs.last().map(|run| [run.start, run.end])
    }

    /// Whether a record could join runs: then what it changes is more than its own input.
    pub fn has_several_runs(&self) -> bool {
        self.runs.len() > 1
    }

    /// When the newest run is over; `None` when it is over at `at`, or when nothing would change.
    pub fn next_timer(&self, spec: &SessionSpec, at: Millis) -> Option<Millis> {
        let run = self.runs.last()?;
        let tau = run.end + spec.gap + 1;
        (tau > at && run.accs.iter().any(|acc| !acc.is_empty())).then_some(tau)
    }

    /// Lets a record at `t` (whatever `where` says of it) join, merge or begin a run. Runs that no record from
    /// `oldest_accepted` on can join to a newer one are dropped.
    pub fn touch(&mut self, spec: &SessionSpec, t: Millis, oldest_accepted: Millis) -> Joined {
        // The runs within `gap` of `t` are neighbours: they become one.
        let from = self.runs.partition_point(|run| run.end + spec.gap < t);
        let to = self.runs.partition_point(|run| run.start - spec.gap <= t);
        let index = if from == to {
            let accs = spec.kinds.iter().map(|kind| kind.empty()).collect();
            self.runs.insert(from, Run { start: t, end: t, accs });
            from
        } else {
            for older in self.runs.drain(from..to - 1).collect::<SmallVec<[Run; 1]>>() {
                // After the drain the newest of the merged runs stands at `from`.
                let run = &mut self.runs[from];
                run.start = run.start.min(older.start);
                for (acc, other) in run.accs.iter_mut().zip(&older.accs) {
                    acc.merge(other);
                }
            }
            let run = &mut self.runs[from];
            run.start = run.start.min(t);
            run.end = run.end.max(t);
            from
        };
        let is_newest = index + 1 == self.runs.len();
        // A run stays while a record at `t >= oldest_accepted` could still lie within `gap` of its end.
        let droppable = self.runs[..index].iter().take_while(|run| run.end + spec.gap < oldest_accepted).count();
        self.runs.drain(..droppable);
        Joined { index: index - droppable, is_newest }
    }

    /// Folds an input into the run of the record that was just let in.
    pub fn add(&mut self, place: Joined, index: usize, item: &Item<'_>) -> Change {
        self.runs[place.index].accs[index].add(item)
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.runs.len() as u64);
        for run in &self.runs {
            put_i64(out, run.start);
            put_i64(out, run.end - run.start);
            run.accs.iter().for_each(|acc| acc.encode(out));
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &SessionSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut runs = SmallVec::new();
        for _ in 0..input.u64()? {
            let start = input.i64()?;
            let end = start + input.i64()?;
            let accs = spec.kinds.iter().map(|kind| kind.decode(input)).collect::<Result<_, _>>()?;
            runs.push(Run { start, end, accs });
        }
        Ok(Self { runs })
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        let accs = self.runs.iter().flat_map(|run| &run.accs).map(Acc::heap_bytes).sum::<usize>();
        accs + if self.runs.spilled() { self.runs.capacity() * size_of::<Run>() } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aggregate::Input;

    /// The last run of the plain list: (its start, how many records).
    fn last_run(plain: &[i64], gap: i64) -> (i64, u64) {
        let mut sorted = plain.to_vec();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        let mut run = (sorted[0], 0);
        for t in sorted {
            if run.0 - t > gap {
                break;
            }
            run = (t, run.1 + 1);
        }
        run
    }

    proptest! {
        #[test]
        fn the_session_equals_the_last_run_of_the_plain_list(
            steps in prop::collection::vec((0i64..30, -40i64..1), 1..150), gap in 1i64..25,
        ) {
            let spec = SessionSpec { gap, kinds: vec![AccKind::Count] };
            let (mut sessions, mut now, mut plain) = (Sessions::default(), 0i64, Vec::new());
            for (ahead, back) in steps {
                now += ahead;
                let t = now + back;
                let place = sessions.touch(&spec, t, now - 40);
                sessions.add(place, 0, &Item { input: Input::Record, bucket: "", t, offset: 0 });
                plain.push(t);
                let newest = *plain.iter().max().unwrap();
                let current = sessions.current(&spec, newest).map(|accs| accs[0].count());
                prop_assert_eq!(current, Some(last_run(&plain, gap).1));
                prop_assert_eq!(sessions.next_timer(&spec, newest), Some(newest + gap + 1));
                prop_assert_eq!(sessions.current(&spec, newest + gap + 1).map(<[Acc]>::len), None);
                let mut bytes = Vec::new();
                sessions.encode(&mut bytes);
                sessions = Sessions::decode(&spec, &mut Reader::new(&bytes)).unwrap();
            }
        }
    }
}
