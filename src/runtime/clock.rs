//! The only wall clock. It decides no stored value: it refreshes idle online values, paces, and measures.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::Millis;

/// Milliseconds since 1970 by the machine's clock.
pub fn now() -> Millis {
    // A clock before 1970 is a broken machine; 0 keeps every caller sane.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as Millis)
}
