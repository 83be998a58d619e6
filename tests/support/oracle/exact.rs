//! Exact sums of doubles, rounded once to the nearest double, ties to even.
//!
//! Every finite double is `m * 2^e` with whole `m` and `e >= -1074`, so a sum of doubles is one whole number at the
//! smallest exponent. That number fits 128 bits for ordinary prices and is a `BigInt` otherwise.

use num_bigint::{BigInt, Sign};

/// The exact sum of finite doubles, rounded once; `None` beyond the largest double.
pub fn exact_sum(values: &[f64]) -> Option<f64> {
    let (mut low, mut high) = (i32::MAX, i32::MIN);
    for value in values.iter().filter(|value| **value != 0.0) {
        let exponent = split(*value).1;
        low = low.min(exponent);
        high = high.max(exponent);
    }
    if low > high {
        return Some(0.0);
    }
    // 53 bits of mantissa, 32 bits for up to 2^32 summands, one for the sign.
    let rounded = if high - low < 128 - 53 - 32 && low >= -1022 {
        let sum: i128 = values.iter().map(|value| split(*value)).map(|(m, e)| shifted(m, e, low)).sum();
        // The cast rounds to nearest even; the product is exact, or infinite.
        (sum as f64) * 2f64.powi(low)
    } else {
        let sum: BigInt = values.iter().map(|value| split(*value)).map(|(m, e)| BigInt::from(m) << (e + 1074)).sum();
        round(&sum)
    };
    rounded.is_finite().then_some(rounded + 0.0)
}

fn shifted(mantissa: i64, exponent: i32, low: i32) -> i128 {
    if mantissa == 0 { 0 } else { i128::from(mantissa) << (exponent - low) }
}

/// `value = m * 2^e`.
fn split(value: f64) -> (i64, i32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    let fraction = (bits & ((1 << 52) - 1)) as i64;
    let (magnitude, exponent) = if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    (if value.is_sign_negative() { -magnitude } else { magnitude }, exponent)
}

/// `sum * 2^-1074` as a double, nearest even; infinite when too large.
fn round(sum: &BigInt) -> f64 {
    let magnitude = sum.magnitude();
    let bits = magnitude.bits();
    let (kept, shift) = if bits <= 53 {
        (u64::try_from(magnitude).expect("at most 53 bits"), 0)
    } else {
        let shift = bits - 53;
        let kept = u64::try_from(magnitude >> shift).expect("53 bits");
        let rest = magnitude - (num_bigint::BigUint::from(kept) << shift);
        let half = num_bigint::BigUint::from(1u8) << (shift - 1);
        let up = rest > half || (rest == half && kept % 2 == 1);
        (kept + u64::from(up), shift)
    };
    // In two steps, so that neither leaves the range of normal doubles on the way.
    let exponent = shift as i32 - 1074;
    let value = (kept as f64) * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
    if sum.sign() == Sign::Minus { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact_and_rounded_once() {
        assert_eq!(exact_sum(&[]), Some(0.0));
        assert_eq!(exact_sum(&[0.1, 0.2, -0.3]), Some(2f64.powi(-55)));
        assert_eq!(exact_sum(&[1e300, 1.0, -1e300]), Some(1.0));
        assert_eq!(exact_sum(&[1e16, 1.0, 1.0, -1e16]), Some(2.0));
        assert_eq!(exact_sum(&[f64::MAX, f64::MAX]), None);
        assert_eq!(exact_sum(&[f64::MAX, f64::MAX, -f64::MAX]), Some(f64::MAX));
        assert_eq!(exact_sum(&[5e-324, 5e-324]), Some(1e-323));
        assert_eq!(exact_sum(&[-0.0]).map(f64::to_bits), Some(0));
        // 2^53 + 1 lies halfway and goes to the even neighbour; a little more goes up.
        assert_eq!(exact_sum(&[9007199254740992.0, 1.0]), Some(9007199254740992.0));
        assert_eq!(exact_sum(&[9007199254740992.0, 1.0, 1e-300]), Some(9007199254740994.0));
    }

    #[test]
    fn both_ways_to_sum_agree() {
        let values: Vec<f64> = (1..500).map(|n| f64::from(n) * 0.37 - 61.0 / f64::from(n)).collect();
        let big: BigInt = values.iter().map(|value| split(*value)).map(|(m, e)| BigInt::from(m) << (e + 1074)).sum();
        assert_eq!(exact_sum(&values), Some(round(&big)));
    }
}
