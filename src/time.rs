//! Pure time: whole milliseconds since 1970, and durations as people write them.
//!
//! There is no clock here: the only one lives in `runtime`. Floors go down, before 1970 too.

use std::fmt;

/// Milliseconds since 1970-01-01T00:00:00Z, or a length in milliseconds.
pub type Millis = i64;

/// 0001-01-01T00:00:00Z, the first event time that is accepted.
pub const MIN_EVENT_TIME: Millis = -62_135_596_800_000;
/// 9999-12-31T23:59:59.999Z, the last event time that is accepted.
pub const MAX_EVENT_TIME: Millis = 253_402_300_799_999;

/// The largest multiple of `step` (> 0) that is not after `t`.
pub fn floor_to(t: Millis, step: Millis) -> Millis {
    t - t.rem_euclid(step)
}

/// A length of time written as in a topology: `500ms`, `30m`, `90d`, `1h30m`; units ms, s, m, h, d, w.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Millis);

const UNITS: [(&str, Millis); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// Its length in milliseconds.
    pub fn millis(self) -> Millis {
        self.0
    }
}

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a duration: write it like 500ms, 30m, 1h, 90d or 1h30m");
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Span(0));
        }
        let mut total: Millis = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let number: Millis = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let unit_len = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            let unit = UNITS.iter().find(|(name, _)| *name == &rest[..unit_len]).ok_or_else(wrong)?.1;
            rest = &rest[unit_len..];
            total = number.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
        }
        if text.trim().is_empty() { Err(wrong()) } else { Ok(Span(total)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let mut rest = self.0;
        // Weeks are read, not printed: 90d is clearer than 12w6d.
        for (name, unit) in &UNITS[1..] {
            if rest / unit > 0 {
                write!(f, "{}{name}", rest / unit)?;
                rest %= unit;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floors_go_down_before_1970() {
        assert_eq!((floor_to(-1, 1000), floor_to(1999, 1000), floor_to(-1000, 1000)), (-1000, 1000, -1000));
    }

    #[test]
    fn durations_read_as_they_print() {
        for text in ["500ms", "30m", "1h30m", "90d", "0"] {
            assert_eq!(text.parse::<Span>().map(|span| span.to_string()), Ok(text.to_string()));
        }
        assert!("5 minutes".parse::<Span>().is_err() && "".parse::<Span>().is_err() && "5".parse::<Span>().is_err());
    }
}
