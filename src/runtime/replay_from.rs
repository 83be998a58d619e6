//! Where a replay starts: as it is written on the command line, in the registry, and in messages.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::redrive::Redrive;
use crate::time::Millis;

/// Where a replay starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplayFrom {
    /// Offset 0; refused when the topic no longer has it.
    Beginning,
    /// The earliest record that the topic still has.
    Earliest,
    /// For each partition, the first record whose Kafka time is this or later, in ms since 1970.
    Time(Millis),
    /// The first record of the archive; where that ends, the log.
    Archive,
    /// The same, and dead letters that neither has any more.
    Redrive(Redrive),
    /// The next offset of each partition that is named; those that are not begin at 0.
    Offsets(BTreeMap<i32, i64>),
}

/// What may be written.
pub const FORMS: &str = "0, earliest, archive, an RFC 3339 time, or offset:PARTITION=OFFSET,...";

impl fmt::Display for ReplayFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beginning => f.write_str("0"),
            Self::Earliest => f.write_str("earliest"),
            Self::Archive => f.write_str("archive"),
            Self::Redrive(redrive) => redrive.fmt(f),
            Self::Time(time) => match jiff::Timestamp::from_millisecond(*time) {
                Ok(time) => write!(f, "{time}"),
                Err(_) => write!(f, "{time} ms"),
            },
            Self::Offsets(offsets) => {
                let pairs: Vec<String> = offsets.iter().map(|(p, offset)| format!("{p}={offset}")).collect();
                write!(f, "offset:{}", pairs.join(","))
            }
        }
    }
}

impl FromStr for ReplayFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "0" => return Ok(Self::Beginning),
            "earliest" => return Ok(Self::Earliest),
            "archive" => return Ok(Self::Archive),
            _ => {}
        }
        if let Some(pairs) = text.strip_prefix("offset:") {
            return pairs.split(',').map(pair).collect::<Result<_, _>>().map(Self::Offsets);
        }
        let time: Result<jiff::Timestamp, _> = text.parse();
        time.map(|time| Self::Time(time.as_millisecond())).map_err(|_| format!("write {FORMS}"))
    }
}

fn pair(text: &str) -> Result<(i32, i64), String> {
    let read = |(partition, offset): (&str, &str)| {
        let (partition, offset) = (partition.trim().parse().ok()?, offset.trim().parse().ok()?);
        (partition >= 0 && offset >= 0).then_some((partition, offset))
    };
    let found = text.split_once('=').and_then(read);
    found.ok_or_else(|| format!("`{text}` is no PARTITION=OFFSET, both from 0; write offset:0=1200,1=1300"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_as_it_is_written() {
        for text in ["0", "earliest", "archive", "2026-01-02T03:04:05Z", "offset:0=12,7=900"] {
            let start: ReplayFrom = text.parse().unwrap();
            assert_eq!(start.to_string(), text);
            let stored = serde_json::to_string(&start).unwrap();
            assert_eq!(serde_json::from_str::<ReplayFrom>(&stored).unwrap(), start);
        }
    }

    #[test]
    fn what_is_none_of_them_is_refused_with_the_forms() {
        for text in ["latest", "-1", "offset:1", "offset:0=-4", "2026-13-01T00:00:00Z"] {
            let error = text.parse::<ReplayFrom>().unwrap_err();
            assert!(
                error.contains("write") && (error.contains("earliest") || error.contains("offset:0=1200")),
                "{error}"
            );
        }
    }
}
