//! Exact sums and variances, rounded once to the nearest double, ties to even.
//!
//! Every finite double is `m * 2^e` with whole `m` and `e >= -1074`, so a sum of doubles is one whole number at the
//! smallest exponent. That number fits 128 bits for ordinary prices and is a `BigInt` otherwise. A variance is a
//! fraction of two whole numbers.

use num_bigint::{BigInt, Sign};

use super::value::{Value, ten_to};

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
        round(&sum, -1074)
    };
    rounded.is_finite().then_some(rounded + 0.0)
}

/// The sample variance of numbers of one type; `None` for fewer than two, or beyond the largest double.
pub fn variance(values: &[&Value]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let (numbers, power, divisor) = as_whole(values);
    let n = BigInt::from(numbers.len());
    let sum: BigInt = numbers.iter().sum();
    let squares: BigInt = numbers.iter().map(|number| number * number).sum();
    let above = &n * squares - &sum * &sum;
    let below: BigInt = &n * (&n - 1) * &divisor * &divisor;
    // 128 bits more than the divisor has, so that what is cut off is far below the last bit.
    let room = below.bits() as i32 + 128;
    let value = round(&((above << room) / below), 2 * power - room);
    value.is_finite().then_some(value)
}

/// The whole numbers of which the values are `number * 2^power / divisor`.
fn as_whole(values: &[&Value]) -> (Vec<BigInt>, i32, BigInt) {
    let one = BigInt::from(1);
    if let Value::Double(_) = values[0] {
        let parts: Vec<(i64, i32)> = values.iter().filter_map(|value| value.number()).map(split).collect();
        let low = parts.iter().filter(|part| part.0 != 0).map(|part| part.1).min().unwrap_or(0);
        let number = |(m, e): &(i64, i32)| if *m == 0 { BigInt::from(0) } else { BigInt::from(*m) << (e - low) };
        return (parts.iter().map(number).collect(), low, one);
    }
    let number = |value: &&Value| match value {
        Value::Int(v) => BigInt::from(*v),
        Value::Decimal(v, _) => BigInt::from(*v),
        other => panic!("{other} is no number"),
    };
    let divisor = if let Value::Decimal(_, scale) = values[0] { ten_to(*scale) } else { one };
    (values.iter().map(number).collect(), 0, divisor)
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

/// `sum * 2^power` as a double, nearest even; infinite when too large.
fn round(sum: &BigInt, power: i32) -> f64 {
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
    let exponent = shift as i32 + power;
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
    fn a_variance_is_exact_however_far_from_zero() {
        let of = |values: &[Value]| variance(&values.iter().collect::<Vec<_>>());
        let doubles = |values: &[f64]| of(&values.iter().map(|v| Value::Double(*v)).collect::<Vec<_>>());
        assert_eq!([doubles(&[]), doubles(&[5.0]), doubles(&[1e308, -1e308])], [None, None, None]);
        assert_eq!([doubles(&[0.1, 0.1, 0.1]), doubles(&[1e300, 1e300])], [Some(0.0), Some(0.0)]);
        assert_eq!(doubles(&[1e9 + 1.0, 1e9 + 2.0, 1e9 + 3.0]), Some(1.0));
        assert_eq!(of(&[Value::Int(i64::MAX), Value::Int(i64::MAX - 2)]), Some(2.0));
        // (1.00, 2.50): the mean is 1.75, the variance 2 * 0.75^2.
        assert_eq!(of(&[Value::Decimal(100, 2), Value::Decimal(250, 2)]), Some(1.125));
    }

    #[test]
    fn both_ways_to_sum_agree() {
        let values: Vec<f64> = (1..500).map(|n| f64::from(n) * 0.37 - 61.0 / f64::from(n)).collect();
        let big: BigInt = values.iter().map(|value| split(*value)).map(|(m, e)| BigInt::from(m) << (e + 1074)).sum();
        assert_eq!(exact_sum(&values), Some(round(&big, -1074)));
    }
}
