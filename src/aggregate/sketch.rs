//! Sketches: about how many different inputs (HyperLogLog), and quantiles (DDSketch, no collapsing).
//!
//! Always holds: both are functions of the set of inputs. The HyperLogLog is read by its composite estimate, which looks
//! at the registers only (the library's other one depends on the order of arrival). The histogram counts inputs in
//! buckets whose bounds grow by `(1 + error) / (1 - error)`, as many as the inputs need.

use std::collections::BTreeMap;

use datasketches::hll::{HllSketch, HllType, HllUnion};
use sketches_ddsketch::Config;

use super::acc::Input;
use super::codec::{Corrupt, Reader, put_bytes, put_i64, put_u64};

/// Registers of a HyperLogLog: `2^4` to `2^18`.
const LEAST_PRECISION: u8 = 4;

/// About how many different inputs.
#[derive(Debug, Clone, PartialEq)]
pub struct Distinct {
    sketch: HllSketch,
    /// How many inputs: the registers alone do not tell that one more has entered.
    n: u64,
}

fn sketch(precision: u8) -> HllSketch {
    HllSketch::new(precision.clamp(LEAST_PRECISION, 18), HllType::Hll8).expect("the precision was clamped into range")
}

impl Distinct {
    /// Of nothing.
    pub fn new(precision: u8) -> Self {
        Self { sketch: sketch(precision), n: 0 }
    }

    /// Folds one input.
    pub fn add(&mut self, input: Input<'_>) {
        // The value's own bytes, so that the hash does not hang on how a type of Rust's is hashed.
        let mut bytes = Vec::with_capacity(24);
        input.to_value().encode(&mut bytes);
        self.sketch.update(bytes);
        self.n += 1;
    }

    /// Folds another set.
    pub fn merge(&mut self, other: &Self) {
        if other.is_empty() {
            return;
        }
        if self.is_empty() {
            *self = other.clone();
            return;
        }
        let mut union = HllUnion::new(self.sketch.lg_config_k()).expect("the precision of a sketch that exists");
        union.update(&self.sketch);
        union.update(&other.sketch);
        self.sketch = union.to_sketch(HllType::Hll8);
        self.n += other.n;
    }

    /// The estimate, to the nearest whole number. Its standard error is about `1.04 / sqrt(2^precision)`.
    pub fn estimate(&self) -> i64 {
        self.sketch.composite_estimate().round() as i64
    }

    /// Whether no input is in it.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.n);
        if self.n > 0 {
            put_bytes(out, &self.sketch.serialize());
        }
    }

    /// Reads what [`Self::encode`] wrote for this precision.
    pub fn decode(&self, input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        match input.u64()? {
            0 => Ok(self.clone()),
            n => HllSketch::deserialize(input.bytes()?).map(|sketch| Self { sketch, n }).map_err(|_| Corrupt),
        }
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        self.sketch.estimated_size()
    }
}

/// How many inputs there are of about each size.
#[derive(Debug, Clone, PartialEq)]
pub struct Histogram {
    /// By [`Histogram::index`]: ascending as the inputs are.
    counts: BTreeMap<i64, u64>,
    n: u64,
    config: Config,
}

/// Smaller magnitudes are counted as 0: only subnormal doubles are.
const LEAST: f64 = f64::MIN_POSITIVE;

impl Histogram {
    /// Of nothing.
    pub fn new(error: f64) -> Self {
        // The library's bound on bins and its smallest value belong to its own store, which is not used.
        Self { counts: BTreeMap::new(), n: 0, config: Config::new(error, u32::MAX, LEAST) }
    }

    /// The bucket of an input: 0 for 0, and further from it the larger the magnitude.
    fn index(&self, x: f64) -> i64 {
        if x.abs() < LEAST {
            return 0;
        }
        let above = i64::from(self.config.key(x.abs())) - i64::from(self.config.key(LEAST)) + 1;
        if x < 0.0 { -above } else { above }
    }

    /// The middle of a bucket: within the relative error of all its inputs.
    fn value(&self, index: i64) -> f64 {
        if index == 0 {
            return 0.0;
        }
        let key = (index.abs() - 1 + i64::from(self.config.key(LEAST))) as i32;
        let magnitude = self.config.value(key).min(f64::MAX);
        if index < 0 { -magnitude } else { magnitude }
    }

    /// Folds one finite input.
    pub fn add(&mut self, x: f64) {
        *self.counts.entry(self.index(x)).or_default() += 1;
        self.n += 1;
    }

    /// Folds another set.
    pub fn merge(&mut self, other: &Self) {
        for (index, n) in &other.counts {
            *self.counts.entry(*index).or_default() += n;
        }
        self.n += other.n;
    }

    /// About the input at rank `floor(q * (n - 1))` of all, ascending; `None` of nothing.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let rank = (q * (self.n.checked_sub(1)?) as f64).floor() as u64;
        let mut below = 0;
        let at = self.counts.iter().find(|(_, n)| {
            below += **n;
            below > rank
        });
        at.map(|(index, _)| self.value(*index))
    }

    /// Whether no input is in it.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.counts.len() as u64);
        let mut last = 0;
        for (index, n) in &self.counts {
            put_i64(out, index - last);
            put_u64(out, *n);
            last = *index;
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(&mut self, input: &mut Reader<'_>) -> Result<(), Corrupt> {
        let mut index = 0i64;
        for _ in 0..input.u64()? {
            index = index.checked_add(input.i64()?).ok_or(Corrupt)?;
            let n = input.u64()?;
            self.counts.insert(index, n);
            self.n += n;
        }
        Ok(())
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        2 * self.counts.len() * size_of::<(i64, u64)>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quantile_is_within_its_error(
            xs in prop::collection::vec(prop_oneof![-1e6f64..1e6, Just(0.0), prop::num::f64::NORMAL], 1..200), q in 0.0f64..=1.0,
        ) {
            let (mut whole, mut half, mut rest) = (Histogram::new(0.01), Histogram::new(0.01), Histogram::new(0.01));
            for (at, x) in xs.iter().enumerate() {
                whole.add(*x);
                if at % 2 == 0 { half.add(*x) } else { rest.add(*x) }
            }
            half.merge(&rest);
            prop_assert_eq!(&half, &whole);
            let mut bytes = Vec::new();
            whole.encode(&mut bytes);
            let mut decoded = Histogram::new(0.01);
            decoded.decode(&mut Reader::new(&bytes)).unwrap();
            prop_assert_eq!(&decoded, &whole);
            let mut sorted = xs.clone();
            sorted.sort_by(f64::total_cmp);
            let exact = sorted[(q * (xs.len() - 1) as f64).floor() as usize];
            let found = whole.quantile(q).unwrap();
            prop_assert!((found - exact).abs() <= 0.01 * exact.abs() * (1.0 + 1e-9), "{} for {}", found, exact);
        }

        #[test]
        fn an_estimate_hangs_on_the_set_alone(xs in prop::collection::vec(0i64..5000, 1..3000), at in 0usize..3000) {
            let of = |xs: &mut dyn Iterator<Item = &i64>| {
                let mut distinct = Distinct::new(11);
                xs.for_each(|x| distinct.add(Input::Int(*x)));
                distinct
            };
            let at = at.min(xs.len());
            let mut merged = of(&mut xs[at..].iter());
            merged.merge(&of(&mut xs[..at].iter()));
            let whole = of(&mut xs.iter().rev());
            prop_assert_eq!(merged.estimate(), whole.estimate());
            let mut bytes = Vec::new();
            merged.encode(&mut bytes);
            let decoded = Distinct::new(11).decode(&mut Reader::new(&bytes)).unwrap();
            prop_assert_eq!(decoded.estimate(), whole.estimate());
            let exact = xs.iter().collect::<std::collections::BTreeSet<_>>().len() as f64;
            prop_assert!((whole.estimate() as f64 - exact).abs() <= 1.0 + exact * 5.0 * 1.04 / 2048f64.sqrt());
        }
    }
}
