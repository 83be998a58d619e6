//! Dead letters whose cause is mended, on their way into a replay.
//!
//! A replay judges every record anew, so this matters where the log no longer has them. Which ones, and of which version,
//! is part of where the new version starts: a run that was interrupted resumes with the same ones.

use std::collections::BTreeSet;
use std::fmt;

use arrow::array::{Array, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use serde::{Deserialize, Serialize};

use crate::config::{OfflineKind, Settings};
use crate::error::{Error, Result};
use crate::sink::offline::{self, DEAD_LETTERS};
use crate::source::Letters;
use crate::time::Millis;
use crate::topology::Plan;

/// Why a record is a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    Malformed,
    OverLimit,
    Future,
    Late,
}

impl Reason {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Malformed, Self::OverLimit, Self::Future, Self::Late];

    /// As the table of dead letters has it under `class`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::OverLimit => "over_limit",
            Self::Future => "future",
            Self::Late => "late",
        }
    }
}

/// Which dead letters enter a replay again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redrive {
    /// The version whose they are.
    pub of: u32,
    /// Only those of this class.
    pub reason: Option<Reason>,
    /// Only those whose Kafka time is this or later, in ms since 1970; one without a time is not.
    pub since: Option<Millis>,
}

/// `the dead letters of version 3, malformed, since 2026-01-31T00:00:00Z`.
impl fmt::Display for Redrive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the dead letters of version {}", self.of)?;
        if let Some(reason) = self.reason {
            write!(f, ", {}", reason.name())?;
        }
        match self.since.map(jiff::Timestamp::from_millisecond) {
            Some(Ok(since)) => write!(f, ", since {since}"),
            Some(Err(_)) | None => Ok(()),
        }
    }
}

/// The dead letters that are asked for.
///
/// # Errors
/// Configuration: no history is kept, or that version has no table of them; unavailable.
pub async fn dead_letters(settings: &Settings, plan: &Plan, redrive: &Redrive) -> Result<Letters> {
    let columns = Letters::COLUMNS.map(|name| format!("\"{name}\"")).join(", ");
    let of_class = redrive.reason.map_or(String::new(), |reason| format!(" where class = '{}'", reason.name()));
    let sql = format!("select {columns} from {DEAD_LETTERS}{of_class}");
    let found = query(settings, plan, redrive.of, &sql).await?;
    let wanted = found.iter().map(|batch| wanted(batch, redrive.since)).collect::<Result<Vec<_>, ArrowError>>();
    Letters::new(&wanted.map_err(|e| Error::internal(format!("dead letters of version {}: {e}", redrive.of)))?)
}

/// How many records at these places are dead letters of this version, too.
///
/// # Errors
/// As [`dead_letters`].
pub async fn still_dead(
    settings: &Settings,
    plan: &Plan,
    version: u32,
    places: &BTreeSet<(i32, i64)>,
) -> Result<usize> {
    let sql = format!("select cast(\"partition\" as int) p, \"offset\" o from {DEAD_LETTERS}");
    let mut found = 0;
    for batch in query(settings, plan, version, &sql).await? {
        let partitions = batch.column(0).as_primitive_opt::<Int32Type>();
        let offsets = batch.column(1).as_primitive_opt::<Int64Type>();
        let (Some(partitions), Some(offsets)) = (partitions, offsets) else {
            return Err(Error::internal(format!("dead letters have other columns: {}", batch.schema())));
        };
        let places = partitions.values().iter().zip(offsets.values()).filter(|(p, o)| places.contains(&(**p, **o)));
        found += places.count();
    }
    Ok(found)
}

async fn query(settings: &Settings, plan: &Plan, version: u32, sql: &str) -> Result<Vec<RecordBatch>> {
    if settings.offline.store == OfflineKind::None {
        return Err(Error::configuration(
            "`offline.store` is none: no dead letters are kept, so there are none to redrive",
        ));
    }
    offline::query(&settings.offline, plan, version, sql).await
}

/// The rows since a time, each column of the type that [`Letters`] has.
fn wanted(batch: &RecordBatch, since: Option<Millis>) -> Result<RecordBatch, ArrowError> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let types = [DataType::Int32, DataType::Int64, time, DataType::Binary, DataType::Binary];
    let columns = batch.columns().iter().zip(&types).map(|(column, ty)| cast(column, ty));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let named = Letters::COLUMNS.iter().zip(columns).map(|(name, column)| (*name, column, true));
    let batch = RecordBatch::try_from_iter_with_nullable(named)?;
    let Some(since) = since else { return Ok(batch) };
    let times = batch.column(2).as_primitive::<TimestampMicrosecondType>();
    let micros = since.saturating_mul(1000);
    let is_wanted: BooleanArray =
        (0..times.len()).map(|row| Some(times.is_valid(row) && times.value(row) >= micros)).collect();
    filter_record_batch(&batch, &is_wanted)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, BinaryArray, Int32Array, Int64Array, TimestampMicrosecondArray};

    use super::*;

    #[test]
    fn only_those_since_a_time_are_taken_and_none_without_one() {
        let columns: [ArrayRef; 5] = [
            Arc::new(Int32Array::from(vec![0, 0, 1])),
            Arc::new(Int64Array::from(vec![4, 5, 6])),
            Arc::new(TimestampMicrosecondArray::from(vec![Some(8_999), None, Some(9_000)]).with_timezone("UTC")),
            Arc::new(BinaryArray::from_opt_vec(vec![None, Some(b"k"), None])),
            Arc::new(BinaryArray::from_vec(vec![b"a", b"b", b"c"])),
        ];
        let named = Letters::COLUMNS.iter().zip(columns).map(|(name, column)| (*name, column, true));
        let batch = RecordBatch::try_from_iter_with_nullable(named).unwrap();
        let places = |since| Letters::new(&[wanted(&batch, since).unwrap()]).unwrap().places().collect::<Vec<_>>();
        assert_eq!(places(Some(9)), [(1, 6)]);
        assert_eq!(places(None), [(0, 4), (0, 5), (1, 6)]);
    }

    #[test]
    fn what_is_redriven_is_kept_with_the_version_as_it_was_said() {
        let start = super::super::ReplayFrom::Redrive(Redrive {
            of: 3,
            reason: Some(Reason::OverLimit),
            since: Some(1_700_000_000_000),
        });
        assert_eq!(start.to_string(), "the dead letters of version 3, over_limit, since 2023-11-14T22:13:20Z");
        let text = serde_json::to_string(&start).unwrap();
        assert!(text.contains("over_limit"), "{text}");
        assert_eq!(serde_json::from_str::<super::super::ReplayFrom>(&text).unwrap(), start);
    }
}
