//! Some fields of many hashes, as a store gives them.

use std::ops::Range;

use crate::time::Millis;

/// A row for each online key that was asked for, in their order. All texts lie in one piece: a row costs no allocation.
#[derive(Debug, Clone, Default)]
pub struct OnlineRows {
    /// Fields of a row.
    width: usize,
    text: String,
    /// Of each row its event time; `None` where nothing is stored.
    event_times: Vec<Option<Millis>>,
    /// Row after row, as many for rows that are not there.
    places: Vec<Place>,
}

/// One of [`OnlineRows`].
#[derive(Debug, Clone, Copy)]
pub struct OnlineRow<'a> {
    /// `_event_time`: what the values are as of.
    pub event_time: Millis,
    rows: &'a OnlineRows,
    index: usize,
}

/// Where a text lies among others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    start: usize,
    end: usize,
}

impl Place {
    /// Of a field that the hash does not have.
    pub const NONE: Self = Self { start: usize::MAX, end: 0 };

    /// Of a text; it begins no later than it ends.
    #[inline]
    pub fn of(text: Range<usize>) -> Self {
        Self { start: text.start, end: text.end }
    }

    /// The text's; `None` if there is none.
    #[inline]
    pub fn get(self) -> Option<Range<usize>> {
        (self.start <= self.end).then_some(self.start..self.end)
    }
}

/// Makes [`OnlineRows`].
#[derive(Debug)]
pub struct OnlineRowsBuilder {
    width: usize,
    bytes: Vec<u8>,
    event_times: Vec<Option<Millis>>,
    places: Vec<Place>,
}

impl OnlineRowsBuilder {
    /// Of rows of so many fields each, with room for so many.
    pub fn with_capacity(width: usize, rows: usize) -> Self {
        // Numbers, mostly: 12 bytes are few, and it grows.
        Self::over(Vec::with_capacity(rows * width * 12), width, rows)
    }

    /// Of rows whose texts lie in these bytes: nothing is copied. Texts do not touch each other, and what lies between
    /// two of them is text too.
    pub fn over(bytes: Vec<u8>, width: usize, rows: usize) -> Self {
        Self { width, bytes, event_times: Vec::with_capacity(rows), places: Vec::with_capacity(rows * width) }
    }

    /// Appends what is stored of a hash: its `_event_time`, without which it is none, and the texts of its fields, as
    /// many as the rows are wide.
    pub fn push<'t>(&mut self, event_time: Option<&[u8]>, texts: impl IntoIterator<Item = Option<&'t [u8]>>) {
        let Some(event_time) = event_time.and_then(millis) else { return self.push_none() };
        for text in texts {
            let place = text.map_or(Place::NONE, |text| {
                let start = self.bytes.len();
                self.bytes.extend_from_slice(text);
                // So that halves of a character do not meet.
                self.bytes.push(b'\n');
                Place::of(start..start + text.len())
            });
            self.places.push(place);
        }
        self.end_row(Some(event_time));
    }

    /// The same, of texts that lie in the builder's bytes.
    #[inline]
    pub fn push_places(&mut self, event_time: Place, texts: &[Place]) {
        let event_time = event_time.get().and_then(|at| self.bytes.get(at)).and_then(millis);
        if event_time.is_some() {
            self.places.extend_from_slice(texts);
        }
        self.end_row(event_time);
    }

    /// Appends that nothing is stored.
    pub fn push_none(&mut self) {
        self.end_row(None);
    }

    /// Whatever came: rows stay in step.
    #[inline]
    fn end_row(&mut self, event_time: Option<Millis>) {
        self.event_times.push(event_time);
        self.places.resize(self.event_times.len() * self.width, Place::NONE);
    }

    /// The rows. Bytes that are no text are replaced.
    pub fn finish(self) -> OnlineRows {
        let Self { width, bytes, event_times, mut places } = self;
        // All at once: most texts are shorter than what it takes to begin to look at one.
        let text = String::from_utf8(bytes).unwrap_or_else(|error| replaced(error.as_bytes(), &mut places));
        OnlineRows { width, text, event_times, places }
    }
}

fn millis(text: &[u8]) -> Option<Millis> {
    // As it is written in our time: few digits, and no sign.
    if !text.is_empty() && text.len() < 18 && text.iter().all(u8::is_ascii_digit) {
        return Some(text.iter().fold(0, |number, digit| number * 10 + Millis::from(digit - b'0')));
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// The texts, with what is no text in them replaced, and where they lie then.
#[cold]
fn replaced(bytes: &[u8], places: &mut [Place]) -> String {
    let mut all = String::with_capacity(bytes.len());
    for place in places {
        let text = place.get().and_then(|at| bytes.get(at));
        *place = text.map_or(Place::NONE, |text| {
            let start = all.len();
            all.push_str(&String::from_utf8_lossy(text));
            Place::of(start..all.len())
        });
    }
    all
}

impl OnlineRows {
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
    pub fn get(&self, index: usize) -> Option<OnlineRow<'_>> {
        self.event_time(index).map(|event_time| OnlineRow { event_time, rows: self, index })
    }

    /// Every row, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Option<OnlineRow<'_>>> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// The event time of a row; `None` where nothing is stored.
    #[inline]
    pub fn event_time(&self, index: usize) -> Option<Millis> {
        *self.event_times.get(index)?
    }

    /// The text of a row's field; `None` where the hash does not have it, and where nothing is stored.
    #[inline]
    pub fn text(&self, index: usize, field: usize) -> Option<&str> {
        self.text.get(self.places.get(index * self.width + field)?.get()?)
    }
}

impl<'a> OnlineRow<'a> {
    /// The text of a field, by its place among those that were asked for; `None` where the hash does not have it.
    #[inline]
    pub fn text(self, field: usize) -> Option<&'a str> {
        self.rows.text(self.index, field)
    }

    /// Those of all fields.
    pub fn texts(self) -> impl ExactSizeIterator<Item = Option<&'a str>> {
        (0..self.rows.width).map(move |field| self.text(field))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(rows: &OnlineRows) -> Vec<Option<Vec<Option<&str>>>> {
        rows.iter().map(|row| row.map(|row| row.texts().collect())).collect()
    }

    #[test]
    fn rows_stay_in_step_whatever_comes() {
        let mut rows = OnlineRowsBuilder::with_capacity(2, 3);
        rows.push(Some(b"1"), [Some(b"a".as_slice()), None]);
        rows.push_none();
        rows.push(Some(b"2"), [Some(b"".as_slice())]);
        rows.push(Some(b"x"), [Some(b"not ours".as_slice()), None]);
        rows.push(Some(b"3"), [None, Some("ä".as_bytes())]);
        let rows = rows.finish();
        let expected =
            [Some(vec![Some("a"), None]), None, Some(vec![Some(""), None]), None, Some(vec![None, Some("ä")])];
        assert_eq!(texts(&rows), expected);
        assert_eq!(rows.get(4).map(|row| row.event_time), Some(3));
        assert!(rows.get(5).is_none());
        assert_eq!([(4, 1), (1, 0), (5, 0)].map(|(row, field)| rows.text(row, field)), [Some("ä"), None, None]);
    }

    #[test]
    fn what_is_no_text_is_replaced_and_halves_of_a_character_do_not_meet() {
        let mut rows = OnlineRowsBuilder::with_capacity(2, 2);
        rows.push(Some(b"1"), [Some(b"\xc3".as_slice()), Some(b"\xa4".as_slice())]);
        rows.push(Some(b"2"), ["ä", "b"].map(|text| Some(text.as_bytes())));
        let expected = [Some(vec![Some("\u{fffd}"), Some("\u{fffd}")]), Some(vec![Some("ä"), Some("b")])];
        assert_eq!(texts(&rows.finish()), expected);
    }

    #[test]
    fn texts_stay_where_they_lie() {
        let mut rows = OnlineRowsBuilder::over("7a-ä+".into(), 2, 3);
        rows.push_places(Place::of(0..1), &[Place::of(3..5), Place::of(1..2)]);
        rows.push_places(Place::NONE, &[Place::of(3..5), Place::of(1..2)]);
        rows.push_places(Place::of(0..1), &[Place::NONE, Place::of(0..0)]);
        let rows = rows.finish();
        assert_eq!(texts(&rows), [Some(vec![Some("ä"), Some("a")]), None, Some(vec![None, Some("")])]);
        assert_eq!(rows.get(0).map(|row| row.event_time), Some(7));
        let mut rows = OnlineRowsBuilder::over(b"\xff-ab-7".to_vec(), 2, 1);
        rows.push_places(Place::of(5..6), &[Place::of(2..4), Place::of(0..1)]);
        assert_eq!(texts(&rows.finish()), [Some(vec![Some("ab"), Some("\u{fffd}")])]);
    }
}
