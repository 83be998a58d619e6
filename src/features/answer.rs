//! The answer to an online read: what was found, value by value, where the store's texts lie.
//!
//! Always holds: a value that is present has a text as the store writes it, and no other has one.

use super::parse;
use crate::sink::online::{OnlineRow, OnlineRows};
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
pub struct Answer {
    /// What every value is as of that has a clock in it.
    pub now: Millis,
    /// Of each id asked for, where it is in `rows`.
    pub(super) at: Vec<usize>,
    pub(super) rows: OnlineRows,
    /// Of everything that was asked for, in order.
    pub(super) sources: Vec<Source>,
    /// Row after row, one of each source; of a row that is not there, not found.
    pub(super) statuses: Vec<Status>,
    /// The fields of version and position, where they were asked for.
    pub(super) origin: Option<[usize; 2]>,
}

/// Where the texts of something that was asked for are.
#[derive(Debug)]
pub(super) enum Source {
    /// A field of the rows.
    Stored(usize),
    /// Computed: of each row.
    Computed(Vec<Option<String>>),
}

/// What was found of an entity.
#[derive(Debug, Clone, Copy)]
pub struct Found<'a> {
    answer: &'a Answer,
    row: OnlineRow<'a>,
    index: usize,
}

impl Answer {
    /// What was found of the id at this place of the question; `None`: nothing is stored.
    #[inline]
    pub fn get(&self, index: usize) -> Option<Found<'_>> {
        let index = self.at[index];
        self.rows.get(index).map(|row| Found { answer: self, row, index })
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

    /// A value, by its place among what was asked for.
    #[inline]
    pub fn cell(self, place: usize) -> Cell<'a> {
        let status = self.answer.statuses[self.index * self.answer.sources.len() + place];
        let text = match &self.answer.sources[place] {
            _ if status != Status::Present => None,
            Source::Stored(field) => self.row.text(*field),
            Source::Computed(texts) => texts[self.index].as_deref(),
        };
        Cell { status, text }
    }

    /// All values, as they were asked for.
    pub fn cells(self) -> impl ExactSizeIterator<Item = Cell<'a>> {
        (0..self.answer.sources.len()).map(move |place| self.cell(place))
    }
}

impl Status {
    /// Of a value as it is stored, if that is one of its type.
    pub(super) fn of_stored(text: Option<&str>, ty: &OutputType) -> Self {
        match text {
            Some(text) if parse::is_value(text, ty) => Self::Present,
            Some(_) => Self::Invalid,
            None => Self::NullValue,
        }
    }

    /// Of a computed value.
    pub(super) fn of_computed(has_text: bool, is_stored: bool) -> Self {
        match (has_text, is_stored) {
            (true, _) => Self::Present,
            (false, true) => Self::Invalid,
            (false, false) => Self::NullValue,
        }
    }
}

impl Cell<'_> {
    /// Appends it as JSON, `null` where there is no value.
    pub fn write_json(&self, ty: &OutputType, out: &mut Vec<u8>) {
        match (self.text, ty) {
            (None, _) => out.extend_from_slice(b"null"),
            // Text always has a JSON form, and memory takes all that is written.
            (Some(text), OutputType::Scalar(ValueType::String)) => {
                serde_json::to_writer(out, text).expect("text is written to memory as JSON");
            }
            (Some(text), _) => out.extend_from_slice(text.as_bytes()),
        }
    }
}
