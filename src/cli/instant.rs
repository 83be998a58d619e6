//! Instants as people write and read them.

use crate::time::Millis;

/// RFC 3339 with an offset; finer than a millisecond is cut off.
pub fn read_instant(text: &str) -> Option<Millis> {
    text.parse().ok().map(jiff::Timestamp::as_millisecond)
}

/// RFC 3339 in UTC; beyond the calendar the milliseconds.
pub fn show_instant(at: Millis) -> String {
    jiff::Timestamp::from_millisecond(at).map_or_else(|_| at.to_string(), |at| at.to_string())
}
