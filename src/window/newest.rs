//! The windows that records leave by newer records, not by time: since a condition, and the last `N`.
//!
//! Both keep records one by one, in the order of (event time, offset), with what each brings to the aggregates.

use std::collections::VecDeque;

use super::queue::Accs;
use crate::aggregate::codec::{Corrupt, Reader, put_bytes, put_i64, put_u64};
use crate::aggregate::{Acc, AccKind, Input, Item, Value};
use crate::time::Millis;

/// A record's place in the order of event time, then offset.
pub type At = (Millis, i64);

/// What one record brings to one aggregate.
#[derive(Debug, Clone)]
struct Brought {
    index: u16,
    bucket: Box<str>,
    /// Null: the record itself.
    value: Value,
}

#[derive(Debug, Clone)]
struct Record {
    at: At,
    brings: Vec<Brought>,
}

fn empty(kinds: &[AccKind]) -> Accs {
    kinds.iter().map(AccKind::empty).collect()
}

fn fold(accs: &mut Accs, record: &Record) {
    let (t, offset) = record.at;
    for brought in &record.brings {
        let item = Item { input: Input::of(&brought.value), bucket: &brought.bucket, t, offset };
        accs[usize::from(brought.index)].add(&item);
    }
}

impl Brought {
    fn new(index: usize, item: &Item<'_>) -> Self {
        Self { index: index as u16, bucket: item.bucket.into(), value: item.input.to_value() }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, u64::from(self.index));
        put_bytes(out, self.bucket.as_bytes());
        self.value.encode(out);
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let index = input.u64()?.try_into().map_err(|_| Corrupt)?;
        let bucket = std::str::from_utf8(input.bytes()?).map_err(|_| Corrupt)?.into();
        Ok(Self { index, bucket, value: Value::decode(input)? })
    }
}

impl Record {
    fn encode(&self, out: &mut Vec<u8>) {
        put_i64(out, self.at.0);
        put_i64(out, self.at.1);
        put_u64(out, self.brings.len() as u64);
        self.brings.iter().for_each(|brought| brought.encode(out));
    }

    fn decode(input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let at = (input.i64()?, input.i64()?);
        let brings = (0..input.u64()?).map(|_| Brought::decode(input)).collect::<Result<_, _>>()?;
        Ok(Self { at, brings })
    }

    fn heap_bytes(&self) -> usize {
        let one = |brought: &Brought| size_of::<Brought>() + brought.bucket.len() + brought.value.heap_bytes();
        size_of::<Self>() + self.brings.iter().map(one).sum::<usize>()
    }
}

fn encode_all(records: &VecDeque<Record>, out: &mut Vec<u8>) {
    put_u64(out, records.len() as u64);
    records.iter().for_each(|record| record.encode(out));
}

fn decode_all(input: &mut Reader<'_>) -> Result<VecDeque<Record>, Corrupt> {
    (0..input.u64()?).map(|_| Record::decode(input)).collect()
}

/// The aggregates over the records after the newest one that meets a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct SinceSpec {
    pub kinds: Vec<AccKind>,
}

/// The records of one entity since then.
///
/// Invariants: records in `base` are older than any that may still be accepted, so a border that comes later drops them
/// all; `recent` ascends, after the border; the totals are those of both.
#[derive(Debug, Clone)]
pub struct Since {
    /// The newest record that meets the condition.
    border: Option<At>,
    base: Accs,
    recent: VecDeque<Record>,
    totals: Accs,
}

impl Since {
    /// No records.
    pub fn new(spec: &SinceSpec) -> Self {
        Self { border: None, base: empty(&spec.kinds), recent: VecDeque::new(), totals: empty(&spec.kinds) }
    }

    /// The aggregates.
    pub fn totals(&self) -> &[Acc] {
        &self.totals
    }

    /// The newest record that meets the condition.
    pub fn since(&self) -> Option<At> {
        self.border
    }

    /// The records that bring something to aggregate `index` and are kept one by one, ascending.
    pub fn places(&self, index: usize) -> impl Iterator<Item = At> {
        let brings = move |record: &&Record| record.brings.iter().any(|of| usize::from(of.index) == index);
        self.recent.iter().filter(brings).map(|record| record.at)
    }

    /// How many records are kept one by one.
    pub fn kept(&self) -> usize {
        self.recent.len()
    }

    /// Before a record is folded: what is older than `oldest_accepted` need not be kept one by one any longer.
    pub fn settle(&mut self, oldest_accepted: Millis) {
        while let Some(record) = self.recent.pop_front_if(|record| record.at.0 < oldest_accepted) {
            fold(&mut self.base, &record);
        }
    }

    /// A record meets the condition. Answers whether it is the newest that does: then what was there before it is gone.
    pub fn border(&mut self, spec: &SinceSpec, at: At) -> bool {
        if self.border.is_some_and(|border| border > at) {
            return false;
        }
        self.border = Some(at);
        self.base = empty(&spec.kinds);
        self.recent.retain(|record| record.at > at);
        self.totals = empty(&spec.kinds);
        self.recent.iter().for_each(|record| fold(&mut self.totals, record));
        true
    }

    /// Folds an input of a record that is accepted; answers whether the window holds it.
    pub fn add(&mut self, index: usize, item: &Item<'_>) -> bool {
        let at = (item.t, item.offset);
        if self.border.is_some_and(|border| at <= border) {
            return false;
        }
        self.totals[index].add(item);
        let brought = Brought::new(index, item);
        let place = self.recent.partition_point(|record| record.at < at);
        match self.recent.get_mut(place).filter(|record| record.at == at) {
            Some(record) => record.brings.push(brought),
            None => self.recent.insert(place, Record { at, brings: vec![brought] }),
        }
        true
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.border.is_some()));
        if let Some((t, offset)) = self.border {
            put_i64(out, t);
            put_i64(out, offset);
        }
        self.base.iter().for_each(|acc| acc.encode(out));
        encode_all(&self.recent, out);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &SinceSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let border = if input.byte()? == 1 { Some((input.i64()?, input.i64()?)) } else { None };
        let base: Accs = spec.kinds.iter().map(|kind| kind.decode(input)).collect::<Result<_, _>>()?;
        let recent = decode_all(input)?;
        let mut totals = base.clone();
        recent.iter().for_each(|record| fold(&mut totals, record));
        Ok(Self { border, base, recent, totals })
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        let accs = self.base.iter().chain(&self.totals).map(Acc::heap_bytes).sum::<usize>();
        accs + self.recent.iter().map(Record::heap_bytes).sum::<usize>()
    }
}

/// The aggregates over the newest `n` records that pass one `where`.
#[derive(Debug, Clone, PartialEq)]
pub struct LastSpec {
    pub n: u32,
    pub kinds: Vec<AccKind>,
}

/// The newest records of one entity; at most `n`, ascending. One that brings nothing takes a place all the same.
#[derive(Debug, Clone)]
pub struct Last {
    records: VecDeque<Record>,
    totals: Accs,
}

impl Last {
    /// No records.
    pub fn new(spec: &LastSpec) -> Self {
        Self { records: VecDeque::new(), totals: empty(&spec.kinds) }
    }

    /// The aggregates.
    pub fn totals(&self) -> &[Acc] {
        &self.totals
    }

    /// The records, ascending.
    pub fn places(&self) -> impl Iterator<Item = At> {
        self.records.iter().map(|record| record.at)
    }

    /// Folds a record, with its input unless that is null; answers whether a non-null input entered or left.
    pub fn add(&mut self, spec: &LastSpec, at: At, item: Option<&Item<'_>>) -> bool {
        let full = self.records.len() >= spec.n as usize;
        let place = self.records.partition_point(|record| record.at < at);
        if full && place == 0 {
            return false;
        }
        let brings: Vec<Brought> = item.map(|item| Brought::new(0, item)).into_iter().collect();
        let mut changed = !brings.is_empty();
        self.records.insert(place, Record { at, brings });
        if full {
            changed |= self.records.pop_front().is_some_and(|left| !left.brings.is_empty());
        }
        if changed {
            self.sum_up(spec);
        }
        changed
    }

    fn sum_up(&mut self, spec: &LastSpec) {
        self.totals = empty(&spec.kinds);
        for record in &self.records {
            let (t, offset) = record.at;
            for brought in &record.brings {
                let item = Item { input: Input::of(&brought.value), bucket: &brought.bucket, t, offset };
                self.totals.iter_mut().for_each(|acc| {
                    acc.add(&item);
                });
            }
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode_all(&self.records, out);
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(spec: &LastSpec, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let mut last = Self { records: decode_all(input)?, totals: empty(&spec.kinds) };
        last.sum_up(spec);
        Ok(last)
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        let accs = self.totals.iter().map(Acc::heap_bytes).sum::<usize>();
        accs + self.records.iter().map(Record::heap_bytes).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn item(t: i64, offset: i64, x: i64) -> Item<'static> {
        Item { input: Input::Int(x), bucket: "", t, offset }
    }

    proptest! {
        #[test]
        fn since_equals_the_plain_list(
            steps in prop::collection::vec((0i64..6, -12i64..1, -5i64..6, prop::bool::weighted(0.2)), 1..150),
        ) {
            let spec = SinceSpec { kinds: vec![AccKind::Int] };
            let (mut since, mut now, mut plain) = (Since::new(&spec), 0i64, Vec::new());
            for (offset, (ahead, behind, x, meets)) in steps.into_iter().enumerate() {
                now += ahead;
                let (t, offset) = (now + behind, offset as i64);
                since.settle(now - 12);
                if meets {
                    since.border(&spec, (t, offset));
                } else {
                    since.add(0, &item(t, offset, x));
                }
                plain.push((t, offset, x, meets));
                let border = plain.iter().filter(|(.., meets)| *meets).map(|(t, offset, ..)| (*t, *offset)).max();
                let after = plain.iter().filter(|(t, offset, _, meets)| !meets && Some((*t, *offset)) > border);
                prop_assert_eq!(since.totals()[0].int_sum(), Some(after.map(|(_, _, x, _)| x).sum::<i64>()));
                let mut bytes = Vec::new();
                since.encode(&mut bytes);
                since = Since::decode(&spec, &mut Reader::new(&bytes)).unwrap();
            }
        }

        #[test]
        fn the_last_n_equal_the_plain_list(
            steps in prop::collection::vec((0i64..20, prop::option::of(-5i64..6)), 1..100), n in 1u32..6,
        ) {
            let spec = LastSpec { n, kinds: vec![AccKind::Int, AccKind::Count] };
            let (mut last, mut plain) = (Last::new(&spec), Vec::new());
            for (offset, (t, x)) in steps.into_iter().enumerate() {
                let offset = offset as i64;
                last.add(&spec, (t, offset), x.map(|x| item(t, offset, x)).as_ref());
                plain.push((t, offset, x));
                plain.sort_unstable();
                let newest = plain.iter().rev().take(n as usize).filter_map(|(_, _, x)| *x);
                prop_assert_eq!(last.totals()[1].count(), newest.clone().count() as u64);
                prop_assert_eq!(last.totals()[0].int_sum(), Some(newest.sum::<i64>()));
                let mut bytes = Vec::new();
                last.encode(&mut bytes);
                last = Last::decode(&spec, &mut Reader::new(&bytes)).unwrap();
            }
        }
    }
}
