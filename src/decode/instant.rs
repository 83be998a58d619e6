//! Declared timestamps to whole milliseconds since 1970, floored.

use jiff::civil::Date;

use crate::time::Millis;
use crate::topology::TimeUnit;

/// An integer that counts this unit, in ms; finer than that is floored. `None` beyond 64 bits.
pub(super) fn from_count(count: i64, unit: TimeUnit) -> Option<Millis> {
    match unit {
        TimeUnit::Seconds => count.checked_mul(1000),
        TimeUnit::Millis => Some(count),
        TimeUnit::Micros => Some(count.div_euclid(1000)),
        TimeUnit::Nanos => Some(count.div_euclid(1_000_000)),
    }
}

/// RFC 3339 text with an offset (`2026-03-01T12:00:00.5+01:00`), in ms; finer is floored. A leap second is the next
/// minute's first, as POSIX counts. `None` when it is anything else.
pub(super) fn from_text(text: &str) -> Option<Millis> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0, |n, byte| byte.is_ascii_digit().then(|| n * 10 + i64::from(byte - b'0')))
    };
    let is = |at: usize, any: &[u8]| bytes.get(at).is_some_and(|byte| any.contains(byte));
    let marks = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let exists = Date::new(year as i16, month as i8, day as i8).is_ok() && hour < 24 && minute < 60 && second <= 60;
    if !marks || !exists {
        return None;
    }
    let (millis, at) = fraction(bytes, 19)?;
    let offset = offset_minutes(bytes, at)?;
    let minutes = (days_from_1970(year, month, day) * 24 + hour) * 60 + minute - offset;
    Some((minutes * 60 + second) * 1000 + millis)
}

/// The fraction of a second at `at`, if there is one, in whole ms, and where it ends.
fn fraction(bytes: &[u8], at: usize) -> Option<(Millis, usize)> {
    if bytes.get(at) != Some(&b'.') {
        return Some((0, at));
    }
    let digits = bytes[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    // More than three digits are cut off: a fraction counts forwards, so that is a floor before 1970 too.
    let digit = |n: usize| if n < digits { Millis::from(bytes[at + 1 + n] - b'0') } else { 0 };
    (digits > 0).then(|| (digit(0) * 100 + digit(1) * 10 + digit(2), at + 1 + digits))
}

/// The offset at `at`, which ends the text, in minutes east of UTC.
fn offset_minutes(bytes: &[u8], at: usize) -> Option<i64> {
    let sign = match *bytes.get(at..)? {
        [b'Z' | b'z'] => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let digits = |from: usize| {
        let (tens, ones) = (bytes[from], bytes[from + 1]);
        (tens.is_ascii_digit() && ones.is_ascii_digit()).then(|| i64::from(tens - b'0') * 10 + i64::from(ones - b'0'))
    };
    let (hours, minutes) = (digits(at + 1)?, digits(at + 4)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 60 + minutes))
}

/// Days from 1970-01-01 to a date that exists, by counting from 1 March, so that a leap day is a year's last.
/// (jiff's own instants end a day before the year 9999 does.)
fn days_from_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::time::{MAX_EVENT_TIME, MIN_EVENT_TIME};

    #[test]
    fn counts_are_floored_to_milliseconds_before_1970_too() {
        assert_eq!(from_count(-1, TimeUnit::Micros), Some(-1));
        assert_eq!(from_count(-1_000_001, TimeUnit::Nanos), Some(-2));
        assert_eq!(from_count(1_999, TimeUnit::Micros), Some(1));
        assert_eq!((from_count(-2, TimeUnit::Seconds), from_count(i64::MAX, TimeUnit::Seconds)), (Some(-2000), None));
    }

    #[test]
    fn text_needs_an_offset_and_every_part() {
        assert_eq!(from_text("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(from_text("1970-01-01t00:00:00.0019999999999z"), Some(1));
        assert_eq!(from_text("1969-12-31T23:59:59.9999Z"), Some(-1));
        assert_eq!(from_text("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!(from_text("1969-12-31 19:00:00-05:00"), Some(0));
        assert_eq!(from_text("2016-12-31T23:59:60Z"), from_text("2017-01-01T00:00:00Z"));
        assert_eq!(from_text("0001-01-01T00:00:00Z"), Some(MIN_EVENT_TIME));
        assert_eq!(from_text("9999-12-31T23:59:59.999Z"), Some(MAX_EVENT_TIME));
        for wrong in [
            "",
            "2026-03-01",
            "2026-03-01T12:00:00",
            "2026-03-01T12:00Z",
            "2026-02-30T12:00:00Z",
            "2026-03-01T24:00:00Z",
            "2026-03-01T12:60:00Z",
            "2026-03-01T12:00:61Z",
            "2026-03-01T12:00:00.Z",
            "2026-03-01T12:00:00,5Z",
            "2026-03-01T12:00:00+0100",
            "2026-03-01T12:00:00+24:00",
            "2026-03-01T12:00:00+1:00",
            "26-03-01T12:00:00Z",
            "2026-03-01T12:00:00Z ",
            "+2026-03-01T12:00:00Z",
            "2026-00-01T12:00:00Z",
            "2026-03-01T12:00:00ZZ",
            "2026-03-01T12:00:00+01:00[Europe/Paris]",
            "2026-03-01T12:00:00é",
        ] {
            assert_eq!(from_text(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_instant_reads_as_jiff_prints_it(millis in MIN_EVENT_TIME..MAX_EVENT_TIME - 2 * 86_400_000) {
            let text = jiff::Timestamp::from_millisecond(millis).unwrap().to_string();
            prop_assert_eq!(from_text(&text), Some(millis));
        }
    }
}
