//! The accumulators that hold more than a number: moments, sets, tallies, sketches, lists, decayed sums, buckets.
//!
//! Always holds: like every accumulator they depend on the set of inputs only (decayed sums and moments up to the last
//! bits of a double), and merge. Where a bound is passed they keep nothing but that fact, which a merge passes on.

use std::collections::{BTreeMap, BTreeSet};

use super::acc::{AccKind, Input, Item};
use super::buckets::Buckets;
use super::codec::{Corrupt, Reader, put_i64, put_u64};
use super::sketch::{Distinct, Histogram};
use super::sum::ExactSum;
use super::value::Value;
use crate::time::Millis;

/// Which rich accumulator, with its parameters.
#[derive(Debug, Clone, PartialEq)]
pub enum RichKind {
    /// Sums of numbers and of their squares, for the variance.
    Moments,
    /// The different inputs, at most `limit`.
    Set { limit: u32 },
    /// How often each input occurs, for at most `limit` of them.
    Tally { limit: u32 },
    /// HyperLogLog with `2^precision` registers.
    Hll { precision: u8 },
    /// DDSketch of this relative error.
    Histogram { error: f64 },
    /// The `k` oldest inputs.
    FirstK { k: u32 },
    /// The `k` newest inputs.
    LastK { k: u32 },
    /// Inputs that weigh half after every half-life.
    Decayed { half_life: Millis },
    /// One accumulator for each of at most `limit` buckets.
    Buckets { limit: u32, inner: Box<AccKind> },
}

/// A rich accumulator.
#[derive(Debug, Clone, PartialEq)]
pub enum Rich {
    Moments {
        sum: ExactSum,
        squares: ExactSum,
        n: u64,
    },
    /// `None`: more than the limit.
    Set {
        values: Option<BTreeSet<Value>>,
        limit: u32,
    },
    /// `None`: more than the limit.
    Tally {
        counts: Option<BTreeMap<Value, u64>>,
        limit: u32,
    },
    Hll(Distinct),
    Histogram(Histogram),
    Kept(Kept),
    Decayed(Decayed),
    Buckets(Buckets),
}

/// The first or the last `k` inputs by (event time, offset), ascending.
#[derive(Debug, Clone, PartialEq)]
pub struct Kept {
    entries: Vec<(Millis, i64, Value)>,
    k: u32,
    newest: bool,
}

/// Sum and number of inputs, each weighing `2^-((at - t) / half_life)`.
///
/// `2^(t / half_life)` is `2^k * 2^f` with a whole `k` and a share `f` of 1 that hang on `t` alone. So an input's part is
/// rounded once, to a double times `2^k`, and what is added is exact: the order of inputs does not show, and inputs that
/// cancel leave nothing behind.
#[derive(Debug, Clone, PartialEq)]
pub struct Decayed {
    /// The `k` of the newest input: both sums are of `2^-k` of theirs.
    power: i64,
    sum: ExactSum,
    weight: ExactSum,
    n: u64,
    half_life: Millis,
}

/// Bits below this power of two are dropped: no double sees them.
const LEAST_POWER: i16 = -1200;

impl RichKind {
    /// The accumulator of the empty set.
    pub fn empty(&self) -> Rich {
        match *self {
            Self::Moments => Rich::Moments { sum: ExactSum::default(), squares: ExactSum::default(), n: 0 },
            Self::Set { limit } => Rich::Set { values: Some(BTreeSet::new()), limit },
            Self::Tally { limit } => Rich::Tally { counts: Some(BTreeMap::new()), limit },
            Self::Hll { precision } => Rich::Hll(Distinct::new(precision)),
            Self::Histogram { error } => Rich::Histogram(Histogram::new(error)),
            Self::FirstK { k } => Rich::Kept(Kept { entries: Vec::new(), k, newest: false }),
            Self::LastK { k } => Rich::Kept(Kept { entries: Vec::new(), k, newest: true }),
            Self::Decayed { half_life } => Rich::Decayed(Decayed::new(half_life)),
            Self::Buckets { limit, ref inner } => Rich::Buckets(Buckets::new(inner.as_ref().clone(), limit)),
        }
    }

    /// Reads what [`Rich::encode`] wrote for this kind.
    pub fn decode(&self, input: &mut Reader<'_>) -> Result<Rich, Corrupt> {
        let mut rich = self.empty();
        match &mut rich {
            Rich::Moments { sum, squares, n } => {
                *sum = ExactSum::decode(input)?;
                *squares = ExactSum::decode(input)?;
                *n = input.u64()?;
            }
            Rich::Set { values, .. } => *values = bounded(input, Value::decode)?,
            Rich::Tally { counts, .. } => *counts = bounded(input, |input| Ok((Value::decode(input)?, input.u64()?)))?,
            Rich::Hll(distinct) => *distinct = distinct.decode(input)?,
            Rich::Histogram(histogram) => histogram.decode(input)?,
            Rich::Kept(kept) => {
                for _ in 0..input.u64()? {
                    kept.entries.push((input.i64()?, input.i64()?, Value::decode(input)?));
                }
            }
            Rich::Decayed(decayed) => decayed.decode(input)?,
            Rich::Buckets(buckets) => buckets.decode(input)?,
        }
        Ok(rich)
    }
}

/// A collection behind its length and 1, or 0 where its bound was passed.
fn bounded<T, C: FromIterator<T>>(
    input: &mut Reader<'_>,
    mut one: impl FnMut(&mut Reader<'_>) -> Result<T, Corrupt>,
) -> Result<Option<C>, Corrupt> {
    match input.u64()?.checked_sub(1) {
        Some(len) => (0..len).map(|_| one(input)).collect::<Result<C, _>>().map(Some),
        None => Ok(None),
    }
}

impl Rich {
    /// Folds one input.
    pub fn add(&mut self, item: &Item<'_>) {
        match self {
            Self::Moments { sum, squares, n } => {
                *n += 1;
                match item.input {
                    Input::Int(x) => add_moments(sum, squares, x.into()),
                    Input::Decimal(x) => add_moments(sum, squares, x.into()),
                    other => {
                        sum.add(other.to_f64());
                        squares.add_square(other.to_f64());
                    }
                }
            }
            Self::Set { values, limit } => {
                if let Some(kept) = values {
                    kept.insert(item.input.to_value());
                    if kept.len() > *limit as usize {
                        *values = None;
                    }
                }
            }
            Self::Tally { counts, limit } => {
                if let Some(kept) = counts {
                    *kept.entry(item.input.to_value()).or_default() += 1;
                    if kept.len() > *limit as usize {
                        *counts = None;
                    }
                }
            }
            Self::Hll(distinct) => distinct.add(item.input),
            Self::Histogram(histogram) => histogram.add(item.input.to_f64()),
            Self::Kept(kept) => kept.insert((item.t, item.offset, item.input.to_value())),
            Self::Decayed(decayed) => decayed.add(item.input.to_f64(), item.t),
            Self::Buckets(buckets) => buckets.add(item),
        }
    }

    /// Folds another set of inputs of the same kind.
    pub fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Moments { sum, squares, n }, Self::Moments { sum: s, squares: q, n: m }) => {
                sum.merge(s);
                squares.merge(q);
                *n += m;
            }
            (Self::Set { values, limit }, Self::Set { values: others, .. }) => match (values.as_mut(), others) {
                (Some(kept), Some(others)) => {
                    kept.extend(others.iter().cloned());
                    if kept.len() > *limit as usize {
                        *values = None;
                    }
                }
                _ => *values = None,
            },
            (Self::Tally { counts, limit }, Self::Tally { counts: others, .. }) => match (counts.as_mut(), others) {
                (Some(kept), Some(others)) => {
                    for (value, n) in others {
                        *kept.entry(value.clone()).or_default() += n;
                    }
                    if kept.len() > *limit as usize {
                        *counts = None;
                    }
                }
                _ => *counts = None,
            },
            (Self::Hll(distinct), Self::Hll(other)) => distinct.merge(other),
            (Self::Histogram(histogram), Self::Histogram(other)) => histogram.merge(other),
            (Self::Kept(kept), Self::Kept(other)) => other.entries.iter().for_each(|entry| kept.insert(entry.clone())),
            (Self::Decayed(decayed), Self::Decayed(other)) => decayed.merge(other),
            (Self::Buckets(buckets), Self::Buckets(other)) => buckets.merge(other),
            _ => {}
        }
    }

    /// Takes inputs away that were added before; of moments only.
    pub fn subtract(&mut self, other: &Self) {
        if let (Self::Moments { sum, squares, n }, Self::Moments { sum: s, squares: q, n: m }) = (self, other) {
            sum.subtract(s);
            squares.subtract(q);
            *n -= m;
        }
    }

    /// Whether no input is in it.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Moments { n, .. } => *n == 0,
            Self::Set { values, .. } => values.as_ref().is_some_and(BTreeSet::is_empty),
            Self::Tally { counts, .. } => counts.as_ref().is_some_and(BTreeMap::is_empty),
            Self::Hll(distinct) => distinct.is_empty(),
            Self::Histogram(histogram) => histogram.is_empty(),
            Self::Kept(kept) => kept.entries.is_empty(),
            Self::Decayed(decayed) => decayed.n == 0,
            Self::Buckets(buckets) => buckets.is_empty(),
        }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Moments { sum, squares, n } => {
                sum.encode(out);
                squares.encode(out);
                put_u64(out, *n);
            }
            Self::Set { values, .. } => {
                put_u64(out, values.as_ref().map_or(0, |values| values.len() as u64 + 1));
                values.iter().flatten().for_each(|value| value.encode(out));
            }
            Self::Tally { counts, .. } => {
                put_u64(out, counts.as_ref().map_or(0, |counts| counts.len() as u64 + 1));
                for (value, n) in counts.iter().flatten() {
                    value.encode(out);
                    put_u64(out, *n);
                }
            }
            Self::Hll(distinct) => distinct.encode(out),
            Self::Histogram(histogram) => histogram.encode(out),
            Self::Kept(kept) => {
                put_u64(out, kept.entries.len() as u64);
                for (t, offset, value) in &kept.entries {
                    put_i64(out, *t);
                    put_i64(out, *offset);
                    value.encode(out);
                }
            }
            Self::Decayed(decayed) => decayed.encode(out),
            Self::Buckets(buckets) => buckets.encode(out),
        }
    }

    /// Bytes in memory beyond the accumulator itself, approximately.
    pub fn heap_bytes(&self) -> usize {
        // A node of a B-tree holds about as much again as its entries.
        let entry = 2 * size_of::<Value>();
        match self {
            Self::Moments { .. } | Self::Decayed(_) => 0,
            Self::Set { values, .. } => values.iter().flatten().map(|value| entry + value.heap_bytes()).sum(),
            Self::Tally { counts, .. } => counts.iter().flatten().map(|(value, _)| entry + value.heap_bytes()).sum(),
            Self::Hll(distinct) => distinct.heap_bytes(),
            Self::Histogram(histogram) => histogram.heap_bytes(),
            Self::Kept(kept) => kept.entries.iter().map(|(_, _, value)| entry + value.heap_bytes()).sum(),
            Self::Buckets(buckets) => buckets.heap_bytes(),
        }
    }
}

fn add_moments(sum: &mut ExactSum, squares: &mut ExactSum, x: i128) {
    sum.add_integer(x);
    squares.add_integer_square(x);
}

impl Kept {
    fn insert(&mut self, entry: (Millis, i64, Value)) {
        let at = self.entries.partition_point(|kept| (kept.0, kept.1) < (entry.0, entry.1));
        let full = self.entries.len() >= self.k as usize;
        match (full, self.newest) {
            (false, _) => self.entries.insert(at, entry),
            (true, true) if at > 0 => {
                self.entries.insert(at, entry);
                self.entries.remove(0);
            }
            (true, false) if at < self.entries.len() => {
                self.entries.insert(at, entry);
                self.entries.pop();
            }
            _ => {}
        }
    }

    /// The values: the oldest first of the first `k`, the newest first of the last.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        let len = self.entries.len();
        (0..len).map(move |at| &self.entries[if self.newest { len - 1 - at } else { at }].2)
    }
}

impl Decayed {
    fn new(half_life: Millis) -> Self {
        Self { power: i64::MIN, sum: ExactSum::default(), weight: ExactSum::default(), n: 0, half_life }
    }

    /// `k` and `2^f` of a time.
    fn split(&self, t: Millis) -> (i64, f64) {
        let share = t.rem_euclid(self.half_life) as f64 / self.half_life as f64;
        (t.div_euclid(self.half_life), share.exp2())
    }

    fn add(&mut self, x: f64, t: Millis) {
        let (power, factor) = self.split(t);
        let (mut sum, mut weight) = (ExactSum::default(), ExactSum::default());
        sum.add(x * factor);
        weight.add(factor);
        // Only the largest doubles times a factor below 2 are beyond a double: half of them, twice.
        if !(x * factor).is_finite() {
            sum = ExactSum::default();
            sum.add(x / 2.0 * factor);
            sum.shift(1, LEAST_POWER);
        }
        self.merge(&Self { power, sum, weight, n: 1, half_life: self.half_life });
    }

    fn merge(&mut self, other: &Self) {
        if other.n == 0 {
            return;
        }
        let power = self.power.max(other.power);
        if self.n > 0 {
            self.sum.shift(self.power - power, LEAST_POWER);
            self.weight.shift(self.power - power, LEAST_POWER);
        }
        let (mut sum, mut weight) = (other.sum.clone(), other.weight.clone());
        sum.shift(other.power - power, LEAST_POWER);
        weight.shift(other.power - power, LEAST_POWER);
        self.sum.merge(&sum);
        self.weight.merge(&weight);
        self.n += other.n;
        self.power = power;
    }

    /// A sum as it weighs at `at`, not before the newest input.
    fn weighed(&self, sum: &ExactSum, at: Millis) -> Option<f64> {
        let (power, factor) = self.split(at);
        let mut sum = sum.clone();
        sum.shift(self.power - power, LEAST_POWER);
        // Halved and doubled again: the factor is between 1 and 2.
        sum.shift(-1, LEAST_POWER);
        let value = sum.value()? / factor * 2.0 + 0.0;
        value.is_finite().then_some(value)
    }

    /// The sum of weights at `at`, not before the newest input.
    pub fn weight(&self, at: Millis) -> Option<f64> {
        self.weighed(&self.weight, at)
    }

    /// The weighted sum at `at`; `None` beyond the largest double.
    pub fn sum(&self, at: Millis) -> Option<f64> {
        self.weighed(&self.sum, at)
    }

    /// The weighted mean, whatever the time; `None` when empty or beyond the largest double.
    pub fn mean(&self) -> Option<f64> {
        // A sum may be beyond a double where the mean is not.
        let mut sum = self.sum.clone();
        sum.shift(-64, LEAST_POWER);
        let mean = sum.value()? / self.weight.value()? * 2f64.powi(64) + 0.0;
        (self.n > 0 && mean.is_finite()).then_some(mean)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.n);
        if self.n > 0 {
            put_i64(out, self.power);
            self.sum.encode(out);
            self.weight.encode(out);
        }
    }

    fn decode(&mut self, input: &mut Reader<'_>) -> Result<(), Corrupt> {
        self.n = input.u64()?;
        if self.n > 0 {
            self.power = input.i64()?;
            (self.sum, self.weight) = (ExactSum::decode(input)?, ExactSum::decode(input)?);
        }
        Ok(())
    }
}
