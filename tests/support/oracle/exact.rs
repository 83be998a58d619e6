//! Exact sums and variances, rounded once to the nearest double, ties to even.
//!
//! Every finite double is `m * 2^e` with whole `m` and `e >= -1074`, so a sum of doubles is one whole number at the
//! smallest exponent. That number fits 128 bits for ordinary prices; otherwise it is added up digit by digit. A variance
//! is a fraction of two whole numbers.

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
        round(&wide_sum(values), -1074)
    };
    rounded.is_finite().then_some(rounded + 0.0)
}

/// The exact sum of doubles of any size, in units of `2^-1074`.
fn wide_sum(values: &[f64]) -> BigInt {
    // The largest double ends at bit 2,098. A digit has 32 bits, and room for 2^31 summands.
    let mut digits = [0i64; 68];
    for (mantissa, exponent) in values.iter().map(|value| split(*value)) {
        let place = (exponent + 1074) as usize;
        let mut rest = u128::from(mantissa.unsigned_abs()) << (place % 32);
        for digit in &mut digits[place / 32..] {
            if rest == 0 {
                break;
            }
            let part = (rest & 0xffff_ffff) as i64;
            *digit += if mantissa < 0 { -part } else { part };
            rest >>= 32;
        }
    }
    digits.iter().rev().fold(BigInt::from(0), |sum, digit| (sum << 32usize) + *digit)
}

/// The sample variance of numbers of one type; `None` for fewer than two, or beyond the largest double.
pub fn variance(values: &[&Value]) -> Option<f64> {
    if values.len() < 2 {
        return None;
    }
    let n = BigInt::from(values.len());
    let (sum, squares, power, divisor) = sums(values);
    let above = &n * squares - &sum * &sum;
    let below: BigInt = &n * (&n - 1) * &divisor * &divisor;
    // 128 bits more than the divisor has, so that what is cut off is far below the last bit.
    let room = below.bits() as i32 + 128;
    let value = round(&((above << room) / below), 2 * power - room);
    value.is_finite().then_some(value)
}

/// The sum and the sum of squares of whole numbers, of which the values are `number * 2^power / divisor`.
fn sums(values: &[&Value]) -> (BigInt, BigInt, i32, BigInt) {
    let one = BigInt::from(1);
    if let Value::Double(_) = values[0] {
        let parts: Vec<(i64, i32)> = values.iter().filter_map(|value| value.number()).map(split).collect();
        let exponents = || parts.iter().filter(|part| part.0 != 0).map(|part| part.1);
        let (low, high) = (exponents().min().unwrap_or(0), exponents().max().unwrap_or(0));
        // A mantissa has 53 bits.
        if high - low < SQUARED_BITS - 53 {
            let numbers: Vec<i128> = parts.iter().map(|(m, e)| shifted(*m, *e, low)).collect();
            let (sum, squares) = narrow_sums(&numbers);
            return (sum, squares, low, one);
        }
        let number = |(m, e): &(i64, i32)| if *m == 0 { BigInt::from(0) } else { BigInt::from(*m) << (e - low) };
        let (sum, squares) = wide_sums(&parts.iter().map(number).collect::<Vec<_>>());
        return (sum, squares, low, one);
    }
    let number = |value: &&Value| match value {
        Value::Int(v) => i128::from(*v),
        Value::Decimal(v, _) => *v,
        other => panic!("{other} is no number"),
    };
    let numbers: Vec<i128> = values.iter().map(number).collect();
    let divisor = if let Value::Decimal(_, scale) = values[0] { ten_to(*scale) } else { one };
    let (sum, squares) = if numbers.iter().all(|number| number.unsigned_abs() >> SQUARED_BITS == 0) {
        narrow_sums(&numbers)
    } else {
        wide_sums(&numbers.into_iter().map(BigInt::from).collect::<Vec<_>>())
    };
    (sum, squares, 0, divisor)
}

/// Numbers of so many bits are squared in two halves.
const SQUARED_BITS: i32 = 100;

/// Sum and sum of squares of up to 2^26 numbers of [`SQUARED_BITS`].
fn narrow_sums(numbers: &[i128]) -> (BigInt, BigInt) {
    let half = u128::from(u64::MAX);
    // Of 2^128, of 2^65, of 2^64 and of 1.
    let [mut high, mut middle, mut low, mut lowest] = [0u128; 4];
    for magnitude in numbers.iter().map(|number| number.unsigned_abs()) {
        let (upper, lower) = (magnitude >> 64, magnitude & half);
        let square = lower * lower;
        high += upper * upper;
        middle += upper * lower;
        low += square >> 64;
        lowest += square & half;
    }
    let parts = [(high, 128usize), (middle, 65), (low, 64), (lowest, 0)];
    let squares = parts.iter().map(|(part, bits)| BigInt::from(*part) << *bits).sum();
    (BigInt::from(numbers.iter().sum::<i128>()), squares)
}

fn wide_sums(numbers: &[BigInt]) -> (BigInt, BigInt) {
    (numbers.iter().sum(), numbers.iter().map(|number| number * number).sum())
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
        assert_eq!(exact_sum(&values), Some(round(&wide_sum(&values), -1074)));
        let numbers: Vec<i128> = (0..100).map(|n| (n - 30) * ((1i128 << 93) - 12_345 * n)).collect();
        let big: Vec<BigInt> = numbers.iter().copied().map(BigInt::from).collect();
        assert_eq!(narrow_sums(&numbers), wide_sums(&big));
    }
}
