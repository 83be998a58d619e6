//! The position of a row: what decides which of two rows of one entity is the newer one.
//!
//! Always holds: positions are compared as (generation, offset, sequence, refresh), a refresh above the row that it
//! refreshes and below the next row. The partition is carried for people and is no part of the comparison: within a
//! generation an entity lives in one partition. Offsets stay below 2^53, so that Redis' Lua compares them exactly.

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use crate::time::Millis;

/// `_position`: `generation:partition:offset:sequence`, and `:T'` for a refresh.
#[derive(Debug, Clone, Copy)]
pub struct Position {
    pub generation: u64,
    pub partition: i32,
    pub offset: i64,
    pub sequence: i32,
    /// `T'` of a wall-clock refresh of the row, in ms since 1970.
    pub refresh: Option<Millis>,
}

impl Position {
    fn rank(&self) -> (u64, i64, i32, Option<Millis>) {
        (self.generation, self.offset, self.sequence, self.refresh)
    }

    /// Appends the text form.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut digits = itoa::Buffer::new();
        out.extend_from_slice(digits.format(self.generation).as_bytes());
        out.push(b':');
        out.extend_from_slice(digits.format(self.partition).as_bytes());
        out.push(b':');
        out.extend_from_slice(digits.format(self.offset).as_bytes());
        out.push(b':');
        out.extend_from_slice(digits.format(self.sequence).as_bytes());
        if let Some(refresh) = self.refresh {
            out.push(b':');
            out.extend_from_slice(digits.format(refresh).as_bytes());
        }
    }
}

impl PartialEq for Position {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Position {}

impl PartialOrd for Position {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Position {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}", self.generation, self.partition, self.offset, self.sequence)?;
        self.refresh.map_or(Ok(()), |refresh| write!(f, ":{refresh}"))
    }
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || -> Option<Self> {
            let mut parts = text.split(':');
            let position = Self {
                generation: parts.next()?.parse().ok()?,
                partition: parts.next()?.parse().ok()?,
                offset: parts.next()?.parse().ok()?,
                sequence: parts.next()?.parse().ok()?,
                refresh: parts.next().map(str::parse).transpose().ok()?,
            };
            parts.next().is_none().then_some(position)
        };
        parse().ok_or_else(|| format!("`{text}` is not a position (generation:partition:offset:sequence[:refresh])"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(text: &str) -> Position {
        text.parse().unwrap()
    }

    #[test]
    fn positions_read_as_they_print() {
        for text in ["1:0:42:0", "18446744073709551615:7:9007199254740991:12:1700000000000", "2:-1:0:0:-5"] {
            let mut bytes = Vec::new();
            position(text).write(&mut bytes);
            assert_eq!((position(text).to_string().as_str(), bytes.as_slice()), (text, text.as_bytes()));
        }
    }

    #[test]
    fn what_is_not_a_position_is_refused() {
        for text in ["", "1:2:3", "1:2:3:4:", "1:2:3:4:5:6", "a:0:0:0", "-1:0:0:0"] {
            assert!(text.parse::<Position>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_refresh_is_above_its_row_and_below_the_next() {
        let ascending = ["1:0:9:9", "1:0:10:0", "1:0:10:0:5", "1:0:10:0:40", "1:0:10:1", "1:0:11:0", "2:3:0:0"];
        assert!(ascending.map(position).is_sorted_by(|a, b| a < b));
        assert_eq!(position("1:0:10:0"), position("1:5:10:0"));
    }
}
