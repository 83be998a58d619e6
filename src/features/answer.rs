//! The answer to an online read: what was found, value by value, where the store's texts lie.
//!
//! Always holds: a value that is present has a text as the store writes it, and no other has one.

use crate::sink::online::{OnlineRow, OnlineRows, quoted};
use crate::time::Millis;
use crate::topology::{OutputType, ValueType};

/// What one value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Present,
    /// The row has no value.
    NullValue,
    /// There is no row.
    NotFound,
    /// The row is older than the feature's `max_age`.
    OutsideMaxAge,
    /// What is stored is not of the feature's type: written by another version, or by somebody else.
    Invalid,
}

impl Status {
    /// Its name, which is Feast's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::Invalid => "INVALID",
        }
    }
}

/// A value as the store writes it, where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cell<'a> {
    pub status: Status,
    /// `Some` when present.
    pub text: Option<&'a str>,
}

/// The answer to one question.
#[derive(Debug)]
pub struct Answer<'r> {
    /// What every value is as of that has a clock in it.
    pub now: Millis,
    /// Of each id asked for, where it is in `rows`; `None` when each is where it was asked for.
    pub(super) at: Option<Vec<usize>>,
    pub(super) rows: OnlineRows,
    /// Of everything that was asked for, in order.
    pub(super) sources: Vec<Source<'r>>,
    /// The fields of version and position, where they were asked for.
    pub(super) origin: Option<[usize; 2]>,
}

/// Where the values of something that was asked for are.
#[derive(Debug)]
pub(super) struct Source<'r> {
    pub ty: &'r OutputType,
    /// Tells whether a stored text is a value of the type.
    pub is_value: fn(&str, &OutputType) -> bool,
    /// A row from before this is too old.
    pub oldest: Millis,
    pub texts: Texts,
}

#[derive(Debug)]
pub(super) enum Texts {
    /// A field of the rows.
    Stored(usize),
    /// Computed, of each row; and from which field, if it is from one.
    Computed(Vec<Option<String>>, Option<usize>),
}

/// One thing that was asked for, of all ids.
#[derive(Debug, Clone, Copy)]
pub struct AnswerColumn<'a> {
    answer: &'a Answer<'a>,
    source: &'a Source<'a>,
}

/// What was found of an entity.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    answer: &'a Answer<'a>,
    row: OnlineRow<'a>,
    index: usize,
}

impl Answer<'_> {
    /// What was found of the id at this place of the question; `None`: nothing is stored.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Found<'_>> {
        let index = self.row(index);
        self.rows.get(index).map(|row| Found { answer: self, row, index })
    }

    /// One thing, by its place among what was asked for.
    #[inline]
    pub fn column(&self, place: usize) -> AnswerColumn<'_> {
        AnswerColumn { answer: self, source: &self.sources[place] }
    }

    #[inline]
    fn row(&self, index: usize) -> usize {
        self.at.as_ref().map_or(index, |at| at[index])
    }
}

impl<'a> AnswerColumn<'a> {
    /// Its value for the id at this place of the question.
    #[inline]
    pub fn cell(self, index: usize) -> Cell<'a> {
        self.of_row(self.answer.row(index))
    }

    #[inline]
    fn of_row(self, row: usize) -> Cell<'a> {
        let Source { ty, is_value, oldest, texts } = self.source;
        let rows = &self.answer.rows;
        let found = match (rows.event_time(row), texts) {
            (None, _) => Err(Status::NotFound),
            (Some(event_time), _) if event_time < *oldest => Err(Status::OutsideMaxAge),
            (_, Texts::Stored(field)) => match rows.text(row, *field) {
                Some(text) if is_value(text, ty) => Ok(text),
                Some(_) => Err(Status::Invalid),
                None => Err(Status::NullValue),
            },
            (_, Texts::Computed(texts, stored)) => {
                // There is something to compute it from, and it is none of its type.
                let is_stored = || stored.is_some_and(|field| rows.text(row, field).is_some());
                texts[row].as_deref().ok_or_else(|| if is_stored() { Status::Invalid } else { Status::NullValue })
            }
        };
        match found {
            Ok(text) => Cell { status: Status::Present, text: Some(text) },
            Err(status) => Cell { status, text: None },
        }
    }
}

impl<'a> Found<'a> {
    /// What its row is as of.
    #[inline]
    pub fn event_time(self) -> Millis {
        self.row.event_time
    }

    /// The version that wrote it, where that was asked for.
    pub fn version(self) -> Option<u32> {
        self.row.text(self.answer.origin?[0])?.parse().ok()
    }

    /// Its position, where that was asked for.
    pub fn position(self) -> Option<&'a str> {
        self.row.text(self.answer.origin?[1])
    }

    /// All values, as they were asked for.
    pub fn cells(self) -> impl ExactSizeIterator<Item = Cell<'a>> {
        (0..self.answer.sources.len()).map(move |place| self.answer.column(place).of_row(self.index))
    }
}

impl Cell<'_> {
    /// Appends it as JSON, `null` where there is no value.
    pub fn write_json(&self, ty: &OutputType, out: &mut Vec<u8>) {
        match (self.text, ty) {
            (None, _) => out.extend_from_slice(b"null"),
            (Some(text), OutputType::Scalar(ValueType::String)) => quoted(text, out),
            (Some(text), _) => out.extend_from_slice(text.as_bytes()),
        }
    }
}
