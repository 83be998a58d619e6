//! Exact sums of doubles: the error is zero until the one rounding at the end, whatever enters and leaves.
//!
//! A finite double is `m * 2^e` with a 53-bit integer `m`, so a sum of doubles is an integer times a power of two. It is
//! held in 128 bits, which covers every realistic mix of magnitudes, and in a big integer where a stream mixes 1e300
//! with 1e-300. Subtracting what was added gives exactly 0 again, which is why windows may subtract.

use num_bigint::BigInt;
use num_traits::{Signed, ToPrimitive, Zero};

use super::codec::{Corrupt, Reader, put_bytes, put_i64, put_i128};

/// An exact sum of finite doubles.
#[derive(Debug, Clone, PartialEq)]
pub struct ExactSum(Repr);

#[derive(Debug, Clone, PartialEq)]
enum Repr {
    /// `(hi << 64 | lo) * 2^exp`; 0 has exponent 0. Two halves, for 16-byte alignment would grow every accumulator.
    Small {
        hi: i64,
        lo: u64,
        exp: i16,
    },
    Big(Box<(BigInt, i16)>),
}

/// Above every exponent of a small sum: marks a big one in the encoding.
const BIG: i64 = 0x7fff;
/// Above every number of 38 digits.
const MAX_DECIMAL: u128 = 10u128.pow(38);
/// Bits that a small sum may use, sign excluded.
const SMALL_BITS: u32 = 126;

impl Default for ExactSum {
    fn default() -> Self {
        Self(small(0, 0))
    }
}

fn small(m: i128, exp: i16) -> Repr {
    Repr::Small { hi: (m >> 64) as i64, lo: m as u64, exp: if m == 0 { 0 } else { exp } }
}

fn join(hi: i64, lo: u64) -> i128 {
    (i128::from(hi) << 64) | i128::from(lo)
}

/// `m * 2^e` of a finite double, with `m` odd or 0.
fn split(x: f64) -> (i128, i16) {
    let bits = x.to_bits();
    let biased = ((bits >> 52) & 0x7ff) as i16;
    let fraction = bits & ((1 << 52) - 1);
    let (m, exp) = if biased == 0 { (fraction, -1074) } else { (fraction | 1 << 52, biased - 1075) };
    if m == 0 {
        return (0, 0);
    }
    let zeros = m.trailing_zeros();
    let m = i128::from(m >> zeros);
    (if x < 0.0 { -m } else { m }, exp + zeros as i16)
}

/// `m << shift`, when it fits a small sum.
fn shift(m: i128, by: i32) -> Option<i128> {
    let used = 128 - m.unsigned_abs().leading_zeros();
    (by >= 0 && used as i32 + by <= SMALL_BITS as i32).then(|| m << by)
}

impl ExactSum {
    /// Adds a finite double.
    pub fn add(&mut self, x: f64) {
        let (m, exp) = split(x);
        self.add_scaled(m, exp);
    }

    /// Adds an integer.
    pub fn add_integer(&mut self, n: i128) {
        let zeros = n.trailing_zeros();
        match n {
            0 => {}
            _ if n.unsigned_abs() >> zeros < 1 << SMALL_BITS => self.add_scaled(n >> zeros, zeros as i16),
            _ => self.add_big(&BigInt::from(n), 0),
        }
    }

    /// Adds the square of a finite double.
    pub fn add_square(&mut self, x: f64) {
        let (m, exp) = split(x);
        // 53 bits squared are 106.
        self.add_scaled(m * m, exp * 2);
    }

    /// Adds the square of an integer.
    pub fn add_integer_square(&mut self, n: i128) {
        match n.checked_mul(n).filter(|square| *square < 1 << SMALL_BITS) {
            Some(square) => self.add_integer(square),
            None => self.add_big(&(BigInt::from(n) * BigInt::from(n)), 0),
        }
    }

    /// The sum as an integer of at most 38 digits; `None` when it is none.
    pub fn integer(&self) -> Option<i128> {
        let whole = match &self.0 {
            Repr::Small { hi, lo, exp } if *exp >= 0 => {
                let m = join(*hi, *lo);
                let shifted = m.checked_shl(u32::try_from(*exp).ok()?)?;
                (shifted >> *exp == m).then_some(shifted)
            }
            Repr::Small { .. } => None,
            Repr::Big(big) if big.1 >= 0 => (&big.0 << big.1 as usize).to_i128(),
            Repr::Big(_) => None,
        };
        whole.filter(|n| n.unsigned_abs() < MAX_DECIMAL)
    }

    /// `self` as an integer times a power of two.
    fn big(&self) -> (BigInt, i64) {
        match &self.0 {
            Repr::Small { hi, lo, exp } => (BigInt::from(join(*hi, *lo)), i64::from(*exp)),
            Repr::Big(big) => (big.0.clone(), i64::from(big.1)),
        }
    }

    /// The sample variance of `n >= 2` numbers with this sum and this sum of squares: `(n Q - S^2) / (n (n - 1))`,
    /// exact up to the one division. `None` beyond the largest double.
    pub fn variance(&self, squares: &Self, n: u64) -> Option<f64> {
        let ((s, s_exp), (q, q_exp)) = (self.big(), squares.big());
        let low = q_exp.min(2 * s_exp);
        let product: BigInt = (BigInt::from(n) * q) << (q_exp - low) as usize;
        let square: BigInt = (&s * &s) << (2 * s_exp - low) as usize;
        let above: BigInt = product - square;
        // 64 bits more than the divisor has, so that the quotient's own rounding is beyond a double's.
        let divisor = BigInt::from(n) * BigInt::from(n - 1);
        let quotient: BigInt = (above << 192usize) / divisor;
        let exp = i16::try_from(low - 192).ok()?;
        let rounded = round_big(&quotient, exp);
        rounded.is_finite().then_some(rounded + 0.0)
    }

    /// Multiplies by `2^by`, and drops what is below `2^least`.
    pub fn shift(&mut self, by: i64, least: i16) {
        let (exp, least) = (i64::from(self.exponent()).saturating_add(by), i64::from(least));
        let drop = usize::try_from(least - exp).unwrap_or(0);
        // No sum has that many bits: doubles span 2,100 of them.
        let Ok(kept) = i16::try_from(exp.max(least)) else { return *self = Self::default() };
        self.0 = match &self.0 {
            Repr::Small { hi, lo, .. } => small(if drop < 127 { join(*hi, *lo) >> drop } else { 0 }, kept),
            Repr::Big(big) => {
                let m: BigInt = &big.0 >> drop.min(8192);
                match m.to_i128() {
                    Some(small_m) if m.bits() < u64::from(SMALL_BITS) => small(small_m, kept),
                    _ => Repr::Big(Box::new((m, kept))),
                }
            }
        };
    }

    fn exponent(&self) -> i16 {
        match &self.0 {
            Repr::Small { exp, .. } => *exp,
            Repr::Big(big) => big.1,
        }
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        match &other.0 {
            Repr::Small { hi, lo, exp } => self.add_scaled(join(*hi, *lo), *exp),
            Repr::Big(big) => self.add_big(&big.0, big.1),
        }
    }

    /// Takes another sum away again.
    pub fn subtract(&mut self, other: &Self) {
        match &other.0 {
            Repr::Small { hi, lo, exp } => self.add_scaled(-join(*hi, *lo), *exp),
            Repr::Big(big) => self.add_big(&-&big.0, big.1),
        }
    }

    /// The sum rounded once to the nearest double, ties to even; `None` beyond the largest double. Never -0.0.
    pub fn value(&self) -> Option<f64> {
        let rounded = match &self.0 {
            Repr::Small { hi, lo, exp } => scale(join(*hi, *lo) as f64, i32::from(*exp)),
            Repr::Big(big) => round_big(&big.0, big.1),
        };
        rounded.is_finite().then_some(rounded + 0.0)
    }

    fn add_scaled(&mut self, m: i128, exp: i16) {
        if m == 0 {
            return;
        }
        let Repr::Small { hi, lo, exp: own_exp } = self.0 else {
            return self.add_big(&BigInt::from(m), exp);
        };
        let own = join(hi, lo);
        let low = if own == 0 { exp } else { own_exp.min(exp) };
        let own_shifted = if own == 0 { Some(0) } else { shift(own, i32::from(own_exp - low)) };
        match (own_shifted, shift(m, i32::from(exp - low))) {
            // Both are below 2^126, so their sum is below 2^127.
            (Some(a), Some(b)) => self.0 = small(a + b, low),
            _ => self.add_big(&BigInt::from(m), exp),
        }
    }

    fn add_big(&mut self, m: &BigInt, exp: i16) {
        let (own, own_exp) = match &self.0 {
            Repr::Small { hi, lo, exp } => (BigInt::from(join(*hi, *lo)), *exp),
            Repr::Big(big) => (big.0.clone(), big.1),
        };
        let low = own_exp.min(exp);
        let sum = (own << (own_exp - low) as usize) + (m << (exp - low) as usize);
        let zeros = sum.trailing_zeros().unwrap_or(0);
        let low = low + zeros as i16;
        let sum: BigInt = sum >> zeros;
        self.0 = match sum.to_i128() {
            Some(m) if sum.bits() < u64::from(SMALL_BITS) => small(m, low),
            _ => Repr::Big(Box::new((sum, low))),
        };
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.0 {
            Repr::Small { hi, lo, exp } => {
                put_i64(out, i64::from(*exp));
                put_i128(out, join(*hi, *lo));
            }
            Repr::Big(big) => {
                put_i64(out, BIG);
                put_i64(out, i64::from(big.1));
                put_bytes(out, &big.0.to_signed_bytes_le());
            }
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        let exp = input.i64()?;
        if exp == BIG {
            let exp = input.i64()?.try_into().map_err(|_| Corrupt)?;
            return Ok(Self(Repr::Big(Box::new((BigInt::from_signed_bytes_le(input.bytes()?), exp)))));
        }
        Ok(Self(small(input.i128()?, exp.try_into().map_err(|_| Corrupt)?)))
    }
}

/// `x * 2^exp`, in two steps so that no intermediate power overflows.
fn scale(x: f64, exp: i32) -> f64 {
    let half = exp / 2;
    x * 2f64.powi(half) * 2f64.powi(exp - half)
}

/// A big integer times a power of two, rounded once: the top 64 bits keep a sticky bit for what is below them.
fn round_big(m: &BigInt, exp: i16) -> f64 {
    if m.is_zero() {
        return 0.0;
    }
    let drop = m.bits().saturating_sub(64);
    let magnitude = m.abs();
    let mut top = (&magnitude >> drop).to_u64().unwrap_or(u64::MAX);
    if magnitude.trailing_zeros().unwrap_or(0) < drop {
        top |= 1;
    }
    let rounded = scale(top as f64, i32::from(exp) + drop as i32);
    if m.is_negative() { -rounded } else { rounded }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sum(xs: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        xs.iter().for_each(|x| sum.add(*x));
        sum
    }

    #[test]
    fn a_sum_is_rounded_once() {
        assert_eq!(sum(&[0.1; 10]).value(), Some(1.0));
        assert_eq!(sum(&[1e16, 1.0, -1e16]).value(), Some(1.0));
        assert_eq!(sum(&[1e300, 1e-300, -1e300]).value(), Some(1e-300));
        assert_eq!(sum(&[f64::MAX, f64::MAX]).value(), None);
        assert_eq!(sum(&[f64::MAX, f64::MAX, -f64::MAX]).value(), Some(f64::MAX));
        assert_eq!(sum(&[5e-324, 5e-324]).value(), Some(1e-323));
        assert_eq!(sum(&[-0.0]).value().map(f64::to_bits), Some(0));
    }

    proptest! {
        #[test]
        fn what_was_added_can_be_taken_away_exactly(xs in prop::collection::vec(prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL, 0..40), at in 0usize..40) {
            let at = at.min(xs.len());
            let mut all = sum(&xs);
            all.subtract(&sum(&xs[at..]));
            prop_assert_eq!(all.value(), sum(&xs[..at]).value());
            all.subtract(&sum(&xs[..at]));
            prop_assert_eq!(all, ExactSum::default());
        }

        #[test]
        fn order_and_grouping_do_not_matter_and_bytes_round_trip(xs in prop::collection::vec(-1e6f64..1e6, 0..40), at in 0usize..40) {
            let at = at.min(xs.len());
            let mut merged = sum(&xs[at..]);
            merged.merge(&sum(&xs[..at]));
            prop_assert_eq!(merged.value(), sum(&xs).value());
            let mut bytes = Vec::new();
            merged.encode(&mut bytes);
            prop_assert_eq!(ExactSum::decode(&mut Reader::new(&bytes)).map(|s| s.value()), Ok(merged.value()));
        }

        #[test]
        fn one_double_is_itself(x in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL) {
            prop_assert_eq!(sum(&[x]).value(), Some(x));
            let mut big = sum(&[1e308, -1e308, x, 1e-308]);
            big.add(-1e-308);
            prop_assert_eq!(big.value(), Some(x));
        }
    }
}
