//! The archive's layout: one table a topic, the records of one Kafka partition in offset order through its files.
//!
//! Always holds: a file holds records of one partition, ascending by offset, and its name says which offsets it covers:
//! all from the first up to and without the second. The files of a partition cover its offsets from the archive's first
//! to its end without a hole and without an overlap; offsets that are in no file's rows never carried a record that a
//! consumer could read (markers, aborted and compacted records). So a partition is read one file after the other, and
//! what is missing shows.
//!
//! The table is partitioned by the Kafka partition alone. Not by date: Kafka times are not in the order of offsets, and
//! a partition of a table by them would tear the order apart. Files carry minimum and maximum of offset and timestamp,
//! so a query over some days still reads few of them.

use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

/// The column by which the table is partitioned; the files have all others.
pub const PARTITION: &str = "partition";
const OFFSET: &str = "offset";
/// The Kafka time in ms since 1970, null where the record has none. A number, because Kafka lets it be any, also those
/// that no calendar has.
const TIMESTAMP: &str = "timestamp";
const KEY: &str = "key";
/// Null is a tombstone.
const VALUE: &str = "value";
/// Name and value of each header in its order; null for none.
const HEADERS: &str = "headers";

/// How many leading columns have minimum and maximum in Delta's log.
pub const STATS_COLUMNS: usize = 2;
/// The table property with the cluster's id of the topic.
pub const TOPIC_ID: &str = "kappa.topic_id";

/// The columns of the files as they are written.
pub fn stored_columns() -> SchemaRef {
    columns(DataType::Binary)
}

/// The same as they are read: keys and values stay where they were decompressed.
pub(super) fn read_columns() -> SchemaRef {
    columns(DataType::BinaryView)
}

fn columns(bytes: DataType) -> SchemaRef {
    let header = vec![Field::new("key", DataType::Utf8, true), Field::new("value", DataType::Binary, true)];
    // Delta's own name of a list's items.
    let header = Field::new("element", DataType::Struct(header.into()), true);
    Arc::new(Schema::new(vec![
        Field::new(OFFSET, DataType::Int64, false),
        Field::new(TIMESTAMP, DataType::Int64, true),
        Field::new(KEY, bytes.clone(), true),
        Field::new(VALUE, bytes, true),
        Field::new(HEADERS, DataType::List(Arc::new(header)), true),
    ]))
}

/// The path of a file within its table; `hash` is of its bytes, so that equal names mean equal files.
pub fn file_name(partition: i32, covers: &Range<i64>, hash: u128) -> String {
    format!("{PARTITION}={partition}/{:020}-{:020}-{hash:032x}.parquet", covers.start, covers.end)
}

/// The partition and the offsets that a file's path tells; `None` when it is not one of ours.
pub(super) fn read_name(path: &str) -> Option<(i32, Range<i64>)> {
    let (folder, name) = path.rsplit_once('/')?;
    let partition = folder.strip_prefix(PARTITION)?.strip_prefix('=')?.parse().ok()?;
    let mut parts = name.strip_suffix(".parquet")?.split('-');
    let (from, next, _hash) = (parts.next()?, parts.next()?, parts.next()?);
    let covers = from.parse().ok()?..next.parse().ok()?;
    (covers.start < covers.end && parts.next().is_none()).then_some((partition, covers))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_what_the_file_covers() {
        let name = file_name(7, &(40..1_000_000), 0xabc);
        assert_eq!(
            name,
            "partition=7/00000000000000000040-00000000000001000000-00000000000000000000000000000abc.parquet"
        );
        assert_eq!(read_name(&name), Some((7, 40..1_000_000)));
    }

    #[test]
    fn another_tools_name_tells_nothing() {
        for path in [
            "partition=7/part-00000-0b1c-c000.zstd.parquet",
            "partition=7/00000000000000000040-00000000000000000040-00.parquet",
            "00000000000000000000-00000000000000000040-00.parquet",
            "partition=x/00000000000000000000-00000000000000000040-00.parquet",
        ] {
            assert_eq!(read_name(path), None, "{path}");
        }
    }
}
