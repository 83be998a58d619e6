//! Times as cases write them: RFC 3339, `+10m` from the case's start, or whole milliseconds since 1970.

pub use crate::cli::instant::{read_instant, show_instant};
use crate::time::{Millis, Span};

/// Where a case begins that says nothing of it: 2026-01-01T00:00:00Z, a Thursday.
pub const DEFAULT_START: Millis = 1_767_225_600_000;

/// A case's start, and how its times are shown.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pub start: Millis,
    /// Whether the case counts from its start.
    pub relative: bool,
}

impl Clock {
    /// The instant that a text names.
    pub fn read(&self, text: &str) -> Option<Millis> {
        self.read_offset(text).or_else(|| read_instant(text)).or_else(|| text.parse().ok())
    }

    /// `+10m` and `-5s`, from the start.
    pub fn read_offset(&self, text: &str) -> Option<Millis> {
        let (sign, span) = match text.as_bytes().first()? {
            b'+' => (1, &text[1..]),
            b'-' => (-1, &text[1..]),
            _ => return None,
        };
        let span: Span = span.parse().ok()?;
        self.start.checked_add(sign * span.millis())
    }

    /// The instant as the case writes its own.
    pub fn show(&self, at: Millis) -> String {
        if !self.relative {
            return show_instant(at);
        }
        let (sign, span) = if at < self.start { ('-', self.start - at) } else { ('+', at - self.start) };
        if span == 0 { "+0s".to_string() } else { format!("{sign}{}", Span(span)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_as_they_are_shown() {
        let clock = Clock { start: DEFAULT_START, relative: true };
        assert_eq!(show_instant(DEFAULT_START), "2026-01-01T00:00:00Z");
        for text in ["+0s", "+10m", "-1h30m", "+1d500ms"] {
            assert_eq!(clock.read(text).map(|at| clock.show(at)).as_deref(), Some(text));
        }
        let clock = Clock { relative: false, ..clock };
        let at = clock.read("2026-01-01T01:00:00.5+01:00").unwrap();
        assert_eq!((at, clock.show(at).as_str()), (DEFAULT_START + 500, "2026-01-01T00:00:00.5Z"));
        assert_eq!(clock.read("1767225600000"), Some(DEFAULT_START));
        assert_eq!((clock.read("tomorrow"), clock.read("+ten"), clock.read("-5")), (None, None, Some(-5)));
    }
}
