//! What log and archive hold of a partition, and so where it is read from.
//!
//! Always holds: what is read from the archive and what is read from Kafka adjoin; they may overlap in what they hold,
//! never in what is read. A hole between the two is refused, with both ends named.
//!
//! ```text
//! archive  [a ........ e)              read: a to e from the archive, from e on from Kafka
//! log            [l ............ h)
//! ```

use std::ops::Range;

use crate::error::{Error, Result};

/// Offsets of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The log has records from here on,
    pub low: i64,
    /// up to and without this one.
    pub high: i64,
    /// What the archive covers, if it has anything of it.
    pub archive: Option<Range<i64>>,
}

/// Where a partition is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// From this offset on from the archive, first.
    pub archive: Option<i64>,
    /// From this one on from Kafka.
    pub kafka: i64,
}

impl Held {
    /// The first record that there is.
    pub fn first(&self) -> i64 {
        self.archive.as_ref().map_or(self.low, |archive| archive.start.min(self.low))
    }

    /// Whether every record from `next` on is here. Neither is said of a position that the log has not reached.
    ///
    /// # Errors
    /// Refused: the archive is of another log, or there is a hole between its end and the log's beginning.
    pub fn has_all_from(&self, next: i64) -> Result<bool> {
        let Self { low, high, archive } = self;
        if let Some(archive) = archive.as_ref().filter(|archive| archive.end > *high) {
            return Err(Error::refused(format!(
                "the archive has records up to offset {} and the log ends at {high}: the topic was recreated or truncated. \
                 Give another archive.url, and rebuild with --replay-from 0 --again",
                archive.end
            )));
        }
        match archive {
            _ if next >= *low => Ok(next <= *high),
            Some(archive) if archive.start <= next && archive.end < *low => Err(Error::refused(format!(
                "the archive ends at offset {} and the log begins at {low}: {} records are in neither, so windows and totals \
                 could not be whole. Say --replay-from earliest to begin with what the log has, and let the archive be kept \
                 all the time (archive.enabled, or kappa archive)",
                archive.end,
                low - archive.end
            ))),
            Some(archive) => Ok(archive.start <= next),
            None => Ok(false),
        }
    }

    /// Where to read from `next` on. What both have is read from the archive when that is preferred, otherwise from
    /// Kafka; before the first record there is nothing to read.
    pub fn course(&self, next: i64, prefers_archive: bool) -> Course {
        let next = next.max(self.first());
        match &self.archive {
            Some(archive) if archive.contains(&next) && (prefers_archive || next < self.low) => {
                Course { archive: Some(next), kafka: archive.end }
            }
            _ => Course { archive: None, kafka: next },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(archive: Option<Range<i64>>) -> Held {
        Held { low: 100, high: 200, archive }
    }

    #[test]
    fn the_archive_is_read_up_to_its_end_and_kafka_from_there() {
        let course = |next, archive, prefers| held(archive).course(next, prefers);
        let both = |archive, kafka| Course { archive: Some(archive), kafka };
        let kafka = |kafka| Course { archive: None, kafka };
        assert_eq!(course(0, Some(0..150), true), both(0, 150));
        assert_eq!(course(149, Some(0..150), true), both(149, 150));
        assert_eq!(course(150, Some(0..150), true), kafka(150));
        // It ends where the log begins, or holds all of it.
        assert_eq!(course(40, Some(0..100), true), both(40, 100));
        assert_eq!(course(40, Some(0..200), true), both(40, 200));
        // One that is not preferred fills in for the log alone.
        assert_eq!(course(120, Some(0..150), false), kafka(120));
        assert_eq!(course(99, Some(0..150), false), both(99, 150));
        // It began later than the log, or it is empty.
        assert_eq!(course(100, Some(120..150), true), kafka(100));
        assert_eq!(course(100, None, true), kafka(100));
        // Dead letters alone lie before the first record.
        assert_eq!(course(3, Some(40..150), true), both(40, 150));
        assert_eq!(course(3, None, true), kafka(100));
    }

    #[test]
    fn what_is_missing_shows() {
        let has = |next, archive| held(archive).has_all_from(next).unwrap();
        assert!(has(100, None) && has(200, None) && !has(99, None) && !has(201, None));
        assert!(has(0, Some(0..100)) && has(99, Some(40..150)) && !has(39, Some(40..150)));
        assert_eq!((held(None).first(), held(Some(40..150)).first(), held(Some(120..150)).first()), (100, 40, 100));
    }

    #[test]
    fn a_hole_and_a_log_that_is_another_are_refused_with_both_ends() {
        let wrong = |archive| held(Some(archive)).has_all_from(10).unwrap_err().to_string();
        let hole = wrong(0..97);
        assert!(hole.contains("ends at offset 97") && hole.contains("begins at 100: 3 records"), "{hole}");
        let other = wrong(0..201);
        assert!(other.contains("up to offset 201") && other.contains("ends at 200"), "{other}");
        // What is needed lies behind the hole.
        assert!(held(Some(0..97)).has_all_from(100).unwrap());
    }
}
