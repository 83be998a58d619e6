//! What an archive holds: the files of each partition and the offsets that they cover.
//!
//! Always holds: the files of a partition adjoin; a table in which they do not is refused, for somebody else has changed
//! it. The list is one snapshot of the table until it is refreshed.

use std::collections::BTreeMap;
use std::ops::Range;

use deltalake::{DeltaTable, DeltaTableError};
use tokio::runtime::Handle;
use url::Url;

use super::layout::{TOPIC_ID, read_name};
use super::place::{Place, unavailable};
use super::segment::SegmentReader;
use crate::error::{Error, Result};

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// The offsets that it covers.
    pub covers: Range<i64>,
    /// Its path within the table.
    pub path: String,
    /// Its size.
    pub bytes: u64,
}

/// The raw log of a topic, as far as an archive keeps it.
#[derive(Debug, Clone)]
pub struct KeptLog {
    table: DeltaTable,
    /// By partition, ascending.
    segments: BTreeMap<i32, Vec<Segment>>,
}

impl KeptLog {
    /// The archive of this topic; `None` when there is none.
    ///
    /// # Errors
    /// Unavailable; configuration (the url); refused: files are missing, overlap, or are not Kappa's.
    pub async fn open(place: &Place, topic: &str) -> Result<Option<Self>> {
        let Some(table) = place.load(topic).await? else { return Ok(None) };
        let segments = list(&table)?;
        Ok(Some(Self { table, segments }))
    }

    /// Reads what has come since.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub async fn refresh(&mut self) -> Result<()> {
        let url = self.table.table_url().clone();
        self.table.update_state().await.map_err(|e| unavailable(&url, "read", &e))?;
        self.segments = list(&self.table)?;
        Ok(())
    }

    /// Where it is.
    pub fn url(&self) -> &Url {
        self.table.table_url()
    }

    /// The cluster's id of the topic, where the brokers told it.
    pub fn topic_id(&self) -> Option<&str> {
        let snapshot = self.table.snapshot().ok()?;
        snapshot.metadata().configuration().get(TOPIC_ID).map(String::as_str)
    }

    /// The offsets of a partition that it covers; `None` when it has none of it.
    pub fn covers(&self, partition: i32) -> Option<Range<i64>> {
        let segments = self.segments.get(&partition)?;
        Some(segments.first()?.covers.start..segments.last()?.covers.end)
    }

    /// The files of every partition.
    pub fn segments(&self) -> &BTreeMap<i32, Vec<Segment>> {
        &self.segments
    }

    /// The file that covers an offset.
    pub fn segment_at(&self, partition: i32, offset: i64) -> Option<&Segment> {
        let segments = self.segments.get(&partition)?;
        segments.get(segments.partition_point(|segment| segment.covers.end <= offset)).filter(|segment| {
            // The first one may begin above it.
            segment.covers.contains(&offset)
        })
    }

    /// The records of a file from an offset on. Waits for the store; not for tokio's own threads.
    ///
    /// # Errors
    /// Unavailable; stopped: the file is gone or damaged.
    pub fn read(&self, segment: &Segment, from: i64, runtime: &Handle) -> Result<SegmentReader> {
        SegmentReader::open(self.table.object_store(), self.table.table_url(), segment, from, runtime)
    }
}

fn list(table: &DeltaTable) -> Result<BTreeMap<i32, Vec<Segment>>> {
    let url = table.table_url();
    let snapshot = table.snapshot().map_err(|e: DeltaTableError| unavailable(url, "read", &e))?;
    let mut files = Vec::new();
    for file in snapshot.log_data().iter() {
        if file.deletion_vector_descriptor().is_some() {
            return Err(changed(url, &format!("rows of {} were deleted", file.path())));
        }
        files.push((file.path().into_owned(), u64::try_from(file.size()).unwrap_or(0)));
    }
    arrange(files).map_err(|what| changed(url, &what))
}

/// The files by partition and offset; what is wrong with them otherwise.
fn arrange(files: Vec<(String, u64)>) -> std::result::Result<BTreeMap<i32, Vec<Segment>>, String> {
    let mut found: BTreeMap<i32, Vec<Segment>> = BTreeMap::new();
    for (path, bytes) in files {
        let (partition, covers) = read_name(&path).ok_or_else(|| format!("{path} is not a file of Kappa's"))?;
        found.entry(partition).or_default().push(Segment { covers, path, bytes });
    }
    for (partition, segments) in &mut found {
        segments.sort_by_key(|segment| segment.covers.start);
        for pair in segments.windows(2) {
            let (end, start) = (pair[0].covers.end, pair[1].covers.start);
            if end != start {
                let what = if end < start { "no file has" } else { "two files have" };
                let (low, high) = (end.min(start), end.max(start));
                return Err(format!("{what} the offsets {low} to {high} of partition {partition}"));
            }
        }
    }
    Ok(found)
}

fn changed(url: &Url, what: &str) -> Error {
    Error::refused(format!(
        "the archive {url} was changed by something else than Kappa: {what}. Restore the table to a version before that, \
         or give another archive.url to begin a new one"
    ))
}

#[cfg(test)]
mod tests {
    use super::super::layout::file_name;
    use super::*;

    fn files(covers: &[(i32, Range<i64>)]) -> Vec<(String, u64)> {
        covers.iter().map(|(partition, covers)| (file_name(*partition, covers, 1), 100)).collect()
    }

    #[test]
    fn the_files_of_a_partition_adjoin_in_whatever_order_they_are_listed() {
        let found = arrange(files(&[(1, 50..60), (0, 7..9), (1, 20..50)])).unwrap();
        let covers =
            |partition: i32| found[&partition].iter().map(|s| (s.covers.start, s.covers.end)).collect::<Vec<_>>();
        assert_eq!((covers(0), covers(1)), (vec![(7, 9)], vec![(20, 50), (50, 60)]));
    }

    #[test]
    fn a_hole_an_overlap_and_a_strange_file_are_named() {
        let wrong = |covers: &[(i32, Range<i64>)]| arrange(files(covers)).unwrap_err();
        assert_eq!(wrong(&[(3, 0..10), (3, 12..20)]), "no file has the offsets 10 to 12 of partition 3");
        assert_eq!(wrong(&[(3, 0..10), (3, 8..20)]), "two files have the offsets 8 to 10 of partition 3");
        let strange = arrange(vec![("partition=3/part-0.parquet".into(), 1)]).unwrap_err();
        assert_eq!(strange, "partition=3/part-0.parquet is not a file of Kappa's");
    }
}
