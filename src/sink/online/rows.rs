//! Some fields of many hashes, as a store gives them.

use crate::time::Millis;

/// A row for each online key that was asked for, in their order. All texts lie in one piece: a row costs no allocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnlineRows {
    /// Fields of a row.
    width: usize,
    text: String,
    /// Of each row its event time; `None` where nothing is stored.
    event_times: Vec<Option<Millis>>,
    /// Where each text lies, row after row, as many for rows that are not there; `None` for a field that the hash does
    /// not have.
    places: Vec<Option<(usize, usize)>>,
}

/// One of [`OnlineRows`].
#[derive(Debug, Clone, Copy)]
pub struct OnlineRow<'a> {
    /// `_event_time`: what the values are as of.
    pub event_time: Millis,
    rows: &'a OnlineRows,
    first: usize,
}

impl OnlineRows {
    /// None yet, of so many fields each, with room for so many.
    pub fn with_capacity(width: usize, rows: usize) -> Self {
        let (event_times, places) = (Vec::with_capacity(rows), Vec::with_capacity(rows * width));
        // Numbers, mostly: 12 bytes are few, and it grows.
        Self { width, text: String::with_capacity(rows * width * 12), event_times, places }
    }

    /// Appends what is stored of a hash: the texts of its fields, as many as the rows are wide. Bytes that are no text
    /// are replaced.
    pub fn push<'t>(&mut self, event_time: Millis, texts: impl IntoIterator<Item = Option<&'t [u8]>>) {
        for text in texts {
            let place = text.map(|text| {
                let start = self.text.len();
                match simdutf8::basic::from_utf8(text) {
                    Ok(text) => self.text.push_str(text),
                    Err(_) => self.text.push_str(&String::from_utf8_lossy(text)),
                }
                (start, self.text.len())
            });
            self.places.push(place);
        }
        self.event_times.push(Some(event_time));
        // Whatever came: rows stay in step.
        self.places.resize(self.event_times.len() * self.width, None);
    }

    /// Appends that nothing is stored.
    pub fn push_none(&mut self) {
        self.event_times.push(None);
        self.places.resize(self.event_times.len() * self.width, None);
    }

    /// How many were asked for.
    pub fn len(&self) -> usize {
        self.event_times.len()
    }

    /// Whether none was asked for.
    pub fn is_empty(&self) -> bool {
        self.event_times.is_empty()
    }

    /// The row of the online key at this place; `None` where nothing is stored.
    #[inline]
    pub fn get(&self, row: usize) -> Option<OnlineRow<'_>> {
        let event_time = (*self.event_times.get(row)?)?;
        Some(OnlineRow { event_time, rows: self, first: row * self.width })
    }

    /// Every row, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<OnlineRow<'_>>> {
        (0..self.len()).map(|row| self.get(row))
    }
}

impl<'a> OnlineRow<'a> {
    /// The text of a field, by its place among those that were asked for; `None` where the hash does not have it.
    #[inline]
    pub fn text(self, field: usize) -> Option<&'a str> {
        let (start, end) = (*self.rows.places.get(self.first + field)?)?;
        self.rows.text.get(start..end)
    }

    /// Those of all fields.
    pub fn texts(self) -> impl ExactSizeIterator<Item = Option<&'a str>> {
        (0..self.rows.width).map(move |field| self.text(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_in_step_whatever_comes() {
        let mut rows = OnlineRows::with_capacity(2, 3);
        rows.push(1, [Some(b"a".as_slice()), None]);
        rows.push_none();
        rows.push(2, [Some(b"\xff".as_slice())]);
        rows.push(3, [None, Some("ä".as_bytes())]);
        let texts: Vec<Option<Vec<Option<&str>>>> =
            rows.iter().map(|row| row.map(|row| row.texts().collect())).collect();
        let expected =
            [Some(vec![Some("a"), None]), None, Some(vec![Some("\u{fffd}"), None]), Some(vec![None, Some("ä")])];
        assert_eq!(texts, expected);
        assert_eq!(rows.get(3).map(|row| row.event_time), Some(3));
        assert!(rows.get(4).is_none());
    }
}
