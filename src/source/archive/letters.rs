//! Dead letters on their way back into a replay.
//!
//! A replay judges every record anew, so a dead letter that the log or the archive still has needs nothing: it is read
//! where it lies. One that neither has is taken from the table of dead letters, and enters where it lay.
//!
//! Always holds: what comes out of a merge ascends by offset, and holds each record once; what the log or the archive
//! has is never replaced by a letter.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow::array::{Array, AsArray, BinaryArray, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};

use crate::decode::{OwnedBatch, RawBatch};
use crate::error::{Error, Result};
use crate::source::{Batch, Polled};

/// Records of a batch that is put together here.
const RECORDS: usize = 4096;
/// Bytes of one.
const BYTES: usize = 4 << 20;

/// Where dead letters were taken from; counted as they pass.
#[derive(Debug, Default)]
pub struct Redriven {
    table: AtomicU64,
    archive: AtomicU64,
    log: AtomicU64,
    before: AtomicU64,
}

/// [`Redriven`] as it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RedrivenCounts {
    /// From the table of dead letters: neither log nor archive has them any more.
    pub table: u64,
    /// Read where they lie in the archive,
    pub archive: u64,
    /// or in the log.
    pub log: u64,
    /// Passed by an earlier run of the same replay.
    pub before: u64,
}

impl Redriven {
    /// How many so far.
    pub fn counts(&self) -> RedrivenCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        RedrivenCounts {
            table: read(&self.table),
            archive: read(&self.archive),
            log: read(&self.log),
            before: read(&self.before),
        }
    }
}

/// Dead letters by partition and offset.
#[derive(Debug, Clone, Default)]
pub struct Letters(BTreeMap<i32, VecDeque<Letter>>);

#[derive(Debug, Clone)]
struct Letter {
    offset: i64,
    rows: Arc<Rows>,
    row: usize,
}

/// What the table of dead letters has of them.
#[derive(Debug)]
struct Rows {
    kafka_times: TimestampMicrosecondArray,
    keys: BinaryArray,
    values: BinaryArray,
}

impl Letters {
    /// The columns that they are made of, in this order, by their names in the table of dead letters.
    pub const COLUMNS: [&'static str; 5] = ["partition", "offset", "kafka_time", "key", "value"];

    /// Those of these batches, each with [`Self::COLUMNS`]; in any order.
    ///
    /// # Errors
    /// Internal: other columns.
    pub fn new(batches: &[RecordBatch]) -> Result<Self> {
        let mut found: BTreeMap<i32, Vec<Letter>> = BTreeMap::new();
        for batch in batches {
            let wrong = || Error::internal(format!("dead letters have other columns: {}", batch.schema()));
            let (partitions, offsets, rows) = read(batch).ok_or_else(wrong)?;
            let rows = Arc::new(rows);
            for (row, (&partition, &offset)) in partitions.iter().zip(&offsets).enumerate() {
                found.entry(partition).or_default().push(Letter { offset, rows: Arc::clone(&rows), row });
            }
        }
        let ascending = |(partition, mut letters): (i32, Vec<Letter>)| {
            letters.sort_by_key(|letter| letter.offset);
            letters.dedup_by_key(|letter| letter.offset);
            (partition, letters.into())
        };
        Ok(Self(found.into_iter().map(ascending).collect()))
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.values().map(VecDeque::len).sum()
    }

    /// Where each of them lay: partition and offset.
    pub fn places(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.0.iter().flat_map(|(partition, letters)| letters.iter().map(move |letter| (*partition, letter.offset)))
    }

    /// The offset of the first one of a partition.
    pub fn first(&self, partition: i32) -> Option<i64> {
        self.0.get(&partition)?.front().map(|letter| letter.offset)
    }

    /// Those of a partition, to be merged from `next` on; `None` when there are none.
    pub(in crate::source) fn take(&mut self, partition: i32, next: i64, redriven: &Arc<Redriven>) -> Option<Merge> {
        let mut letters = self.0.remove(&partition)?;
        let passed = letters.partition_point(|letter| letter.offset < next);
        letters.drain(..passed);
        redriven.before.fetch_add(passed as u64, Ordering::Relaxed);
        let merge = Merge { partition, letters, redriven: Arc::clone(redriven) };
        (!merge.is_over()).then_some(merge)
    }
}

fn read(batch: &RecordBatch) -> Option<(Vec<i32>, Vec<i64>, Rows)> {
    let column = |index: usize| batch.columns().get(index);
    let rows = Rows {
        kafka_times: column(2)?.as_primitive_opt::<TimestampMicrosecondType>()?.clone(),
        keys: column(3)?.as_binary_opt::<i32>()?.clone(),
        values: column(4)?.as_binary_opt::<i32>()?.clone(),
    };
    let partitions = column(0)?.as_primitive_opt::<Int32Type>()?.values().to_vec();
    Some((partitions, column(1)?.as_primitive_opt::<Int64Type>()?.values().to_vec(), rows))
}

impl Letter {
    /// Appends it as the record that it was; answers its bytes. Dead letters have no headers.
    fn push_to(&self, batch: &mut OwnedBatch) -> usize {
        let Rows { kafka_times, keys, values } = &*self.rows;
        let time = kafka_times.is_valid(self.row).then(|| kafka_times.value(self.row).div_euclid(1000));
        let key = keys.is_valid(self.row).then(|| keys.value(self.row));
        let value = values.is_valid(self.row).then(|| values.value(self.row));
        batch.push(self.offset, time, key, value, &[]);
        key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
    }
}

/// One partition's letters, on their way into what is read of it.
#[derive(Debug)]
pub struct Merge {
    partition: i32,
    letters: VecDeque<Letter>,
    redriven: Arc<Redriven>,
}

impl Merge {
    /// Whether all of them have passed.
    pub fn is_over(&self) -> bool {
        self.letters.is_empty()
    }

    /// The next batch of the partition, with the letters that belong before and into it.
    pub fn records(&mut self, batch: Batch, out: &mut Vec<Polled>) {
        self.reached(batch.first_offset(), out);
        let within = self.letters.partition_point(|letter| letter.offset < batch.next_offset());
        let (raw, mut missing) = (batch.raw(), Vec::new());
        for letter in self.letters.drain(..within) {
            if find(raw, letter.offset).is_err() {
                missing.push(letter);
            }
        }
        let found = (within - missing.len()) as u64;
        let read_from = if matches!(batch, Batch::Archive(_)) { &self.redriven.archive } else { &self.redriven.log };
        read_from.fetch_add(found, Ordering::Relaxed);
        if missing.is_empty() {
            out.push(Polled::Records(batch));
            return;
        }
        self.redriven.table.fetch_add(missing.len() as u64, Ordering::Relaxed);
        let records = interleaved(raw, &missing);
        out.push(Polled::Records(Batch::Owned { partition: self.partition, records }));
    }

    /// There is no record before `next_offset` any more: the letters that lay there enter now.
    pub fn reached(&mut self, next_offset: i64, out: &mut Vec<Polled>) {
        let entering = self.letters.partition_point(|letter| letter.offset < next_offset);
        self.redriven.table.fetch_add(entering as u64, Ordering::Relaxed);
        let (partition, mut records, mut bytes) = (self.partition, OwnedBatch::new(), 0);
        for letter in self.letters.drain(..entering) {
            bytes += letter.push_to(&mut records);
            if records.len() >= RECORDS || bytes >= BYTES {
                let records = std::mem::take(&mut records);
                out.push(Polled::Records(Batch::Owned { partition, records }));
                bytes = 0;
            }
        }
        if !records.is_empty() {
            out.push(Polled::Records(Batch::Owned { partition, records }));
        }
    }
}

/// The index of the record with this offset, or where it would be.
fn find(raw: &dyn RawBatch, offset: i64) -> std::result::Result<usize, usize> {
    let (mut low, mut high) = (0, raw.len());
    while low < high {
        let middle = low + (high - low) / 2;
        match raw.record(middle).offset.cmp(&offset) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Equal => return Ok(middle),
            std::cmp::Ordering::Greater => high = middle,
        }
    }
    Err(low)
}

/// Letters in the holes of a batch.
fn interleaved(raw: &dyn RawBatch, letters: &[Letter]) -> OwnedBatch {
    let (mut both, mut letters) = (OwnedBatch::new(), letters.iter().peekable());
    for index in 0..raw.len() {
        let record = raw.record(index);
        while let Some(letter) = letters.next_if(|letter| letter.offset < record.offset) {
            letter.push_to(&mut both);
        }
        let mut headers: Vec<(String, Option<Vec<u8>>)> = Vec::new();
        raw.headers(index, &mut |name, value| headers.push((name.into(), value.map(<[u8]>::to_vec))));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
        both.push(record.offset, record.kafka_time, record.key, record.value, &headers);
    }
    both
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int32Array, Int64Array};

    use super::*;

    /// Letters of partition 0 at these offsets, their values `letter {offset}`.
    fn letters(offsets: &[i64]) -> Letters {
        let values: Vec<String> = offsets.iter().map(|offset| format!("letter {offset}")).collect();
        let times = offsets.iter().map(|offset| (offset % 2 == 0).then_some(offset * 1000));
        let columns: [ArrayRef; 5] = [
            Arc::new(Int32Array::from_value(0, offsets.len())),
            Arc::new(Int64Array::from(offsets.to_vec())),
            Arc::new(times.collect::<TimestampMicrosecondArray>()),
            Arc::new(BinaryArray::from_opt_vec(offsets.iter().map(|_| Some(b"k".as_slice())).collect())),
            Arc::new(BinaryArray::from_iter_values(values.iter())),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(
            Letters::COLUMNS.iter().zip(columns).map(|(name, column)| (*name, column, true)),
        );
        Letters::new(&[batch.unwrap()]).unwrap()
    }

    /// A batch of the log at these offsets, each with a header.
    fn log(offsets: &[i64]) -> Batch {
        let mut records = OwnedBatch::new();
        for offset in offsets {
            let value = format!("log {offset}");
            records.push(*offset, Some(7), None, Some(value.as_bytes()), &[("h", Some(b"x")), ("n", None)]);
        }
        Batch::Owned { partition: 0, records }
    }

    fn values(out: &[Polled]) -> Vec<String> {
        let mut found = Vec::new();
        for polled in out {
            let Polled::Records(batch) = polled else { continue };
            for index in 0..batch.len() {
                let record = batch.record(index);
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                assert!(value.ends_with(&format!(" {}", record.offset)));
                assert_eq!(batch.header(index, "h").is_some(), value.starts_with("log"));
                found.push(value);
            }
        }
        found
    }

    #[test]
    fn letters_enter_before_between_and_after_what_the_log_has() {
        let redriven = Arc::new(Redriven::default());
        let mut merge = letters(&[9, 3, 12, 5, 20]).take(0, 0, &redriven).unwrap();
        let mut out = Vec::new();
        merge.records(log(&[5, 6, 8]), &mut out);
        merge.records(log(&[10, 11, 13]), &mut out);
        assert!(!merge.is_over());
        merge.reached(21, &mut out);
        assert_eq!(
            values(&out),
            ["letter 3", "log 5", "log 6", "log 8", "letter 9", "log 10", "log 11", "letter 12", "log 13", "letter 20"]
        );
        assert!(merge.is_over());
        let counts = RedrivenCounts { table: 4, archive: 0, log: 1, before: 0 };
        assert_eq!(redriven.counts(), counts);
    }

    #[test]
    fn letters_that_an_earlier_run_has_passed_do_not_come_again() {
        let redriven = Arc::new(Redriven::default());
        let mut all = letters(&[1, 2, 3]);
        assert_eq!((all.count(), all.first(0), all.first(1)), (3, Some(1), None));
        let mut merge = all.take(0, 3, &redriven).unwrap();
        let mut out = Vec::new();
        merge.reached(4, &mut out);
        assert_eq!((values(&out), redriven.counts().before), (vec!["letter 3".to_string()], 2));
        assert!(letters(&[1, 2]).take(0, 3, &redriven).is_none());
    }

    #[test]
    fn a_letter_is_the_record_that_it_was() {
        let mut merge = letters(&[4, 7]).take(0, 0, &Arc::default()).unwrap();
        let mut out = Vec::new();
        merge.reached(8, &mut out);
        let [Polled::Records(batch)] = out.as_slice() else { panic!("{out:?}") };
        let times = [batch.record(0).kafka_time, batch.record(1).kafka_time];
        assert_eq!((times, batch.record(0).key, batch.partition()), ([Some(4), None], Some(b"k".as_slice()), 0));
    }
}
