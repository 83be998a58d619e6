//! The two passes over one entity's history: which row answers each label, then the values of those rows.
//!
//! Always holds: the first pass reads keys, times and ranks of every row that can matter; the second only rows that
//! answer a label, each once, however many labels it answers. Parts of the history are read side by side, a few at
//! once; what they find does not depend on their order.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use arrow::array::{AsArray, PrimitiveArray, RecordBatch};
use arrow::datatypes::{ArrowPrimitiveType, Field, Int32Type, Int64Type, Schema, SchemaRef, TimestampMicrosecondType};
use futures::{StreamExt, TryStreamExt};

use super::Rule;
use super::ask::EntityAsk;
use super::keys::{KeyColumns, KeyIndex, NO_KEY};
use super::slots::{Row, Settled, Slots};
use crate::error::{Error, Result};
use crate::sink::offline::{HistoryTable, Part};

/// A row known this much later than it happened (microseconds) was loaded afterwards: no delay on the way takes so long.
const LONG_AFTER: i64 = 3_600_000_000;
/// The columns that the first pass reads beside the key.
const RANK: [&str; 4] = ["event_time", "known_at", "partition", "ordinal"];
/// No row.
pub const NONE: u32 = u32::MAX;

/// Hears how far the reading has come: rows done, of so many.
pub type Watch<'a> = &'a (dyn Fn(u64, u64) + Send + Sync);

/// The labels of a round that one entity's history is asked for.
pub struct Wanted {
    /// The numbers of their keys.
    pub keys: Vec<u32>,
    pub index: KeyIndex,
    /// Their times in microseconds.
    pub times: Arc<Vec<i64>>,
}

impl Wanted {
    /// What an entity without a history gives.
    pub fn nothing(&self) -> Found {
        Found { of_label: vec![NONE; self.keys.len()], ..Found::default() }
    }
}

/// What was found for them.
#[derive(Debug, Default)]
pub struct Found {
    /// Of each label which of the rows answers it, or [`NONE`].
    pub of_label: Vec<u32>,
    /// Of each row that answers one: its event time (microseconds), its partition, and where its values are.
    pub event_times: Vec<i64>,
    pub partitions: Vec<i32>,
    pub places: Vec<(u32, u32)>,
    /// The values, of the columns that the entity's question reads.
    pub batches: Vec<RecordBatch>,
    /// Labels before which newer rows happened that were known only long after; and how long after, at most, in
    /// microseconds.
    pub passed_over: u64,
    pub known_after: i64,
}

/// How far a pass over a history is.
struct Gauge<'a> {
    watch: Watch<'a>,
    done: AtomicU64,
    total: u64,
}

impl Gauge<'_> {
    fn add(&self, rows: u64) {
        (self.watch)(self.done.fetch_add(rows, Ordering::Relaxed) + rows, self.total);
    }
}

/// Finds the answers of an entity for some labels.
///
/// # Errors
/// As [`HistoryTable::read`].
pub async fn join(
    history: &Arc<HistoryTable>,
    asked: &EntityAsk,
    rule: Rule,
    wanted: Wanted,
    watch: Watch<'_>,
) -> Result<Found> {
    let labels = wanted.keys.len();
    let Some(range) = range_of(rule, &wanted) else {
        return Ok(wanted.nothing());
    };
    let slots = Slots::new(rule, &wanted.keys, wanted.index.len(), &wanted.times);
    let pass = Arc::new(FirstPass {
        history: Arc::clone(history),
        columns: rank_columns(history),
        index: wanted.index,
        slots,
        range,
        by_event_time: rule.by_event_time,
        known_after: AtomicI64::new(0),
    });
    pass.run(watch).await?;
    let Some(FirstPass { slots, known_after, index, .. }) = Arc::into_inner(pass) else {
        return Err(Error::internal("a part of a history is still being read"));
    };
    drop(index);
    let settled = slots.settle(labels);
    let mut found = second_pass(history, asked, settled, watch).await?;
    found.known_after = known_after.into_inner();
    Ok(found)
}

/// The event times that can matter; `None` when no label has a key.
fn range_of(rule: Rule, wanted: &Wanted) -> Option<RangeInclusive<i64>> {
    let with_key = || wanted.times.iter().zip(&wanted.keys).filter(|(_, key)| **key != NO_KEY).map(|(time, _)| *time);
    let last = with_key().max()?;
    let lookback = rule.lookback.map(|lookback| lookback.saturating_mul(1000));
    let first = with_key().min()?;
    Some(lookback.map_or(i64::MIN, |lookback| first.saturating_sub(lookback))..=last)
}

fn rank_columns(history: &HistoryTable) -> SchemaRef {
    let columns = history.columns();
    let key = columns.fields().iter().take(history.key_columns());
    let rank = columns.fields().iter().filter(|field| RANK.contains(&field.name().as_str()));
    let fields: Vec<Arc<Field>> = key.chain(rank).cloned().collect();
    Arc::new(Schema::new(fields))
}

struct FirstPass {
    history: Arc<HistoryTable>,
    columns: SchemaRef,
    index: KeyIndex,
    slots: Slots,
    range: RangeInclusive<i64>,
    by_event_time: bool,
    known_after: AtomicI64,
}

impl FirstPass {
    async fn run(self: &Arc<Self>, watch: Watch<'_>) -> Result<()> {
        let parts = self.history.parts(&self.range).await?;
        let gauge = Gauge { watch, done: AtomicU64::new(0), total: parts.iter().map(Part::rows).sum() };
        let reading = futures::stream::iter(parts).map(|part| {
            let (pass, rows) = (Arc::clone(self), part.rows());
            spawned(async move { pass.read(part).await.map(|()| rows) })
        });
        let each = |rows| {
            gauge.add(rows);
            futures::future::ready(Ok(()))
        };
        reading.buffer_unordered(at_once()).try_for_each(each).await
    }

    async fn read(&self, part: Part) -> Result<()> {
        let mut hand = Hand::default();
        let each = |first: u32, batch: &RecordBatch| self.take(part.file(), first, batch, &mut hand);
        self.history.read(&part, &self.columns, &self.range, each).await
    }

    /// Offers the rows of a batch to the labels.
    fn take(&self, file: u32, first: u32, batch: &RecordBatch, hand: &mut Hand) -> Result<()> {
        let keys = KeyColumns::new(&batch.columns()[..self.history.key_columns()])?;
        let event_times = numbers::<TimestampMicrosecondType>(batch, RANK[0])?.values();
        let known_ats = numbers::<TimestampMicrosecondType>(batch, RANK[1])?.values();
        let partitions = numbers::<Int32Type>(batch, RANK[2])?.values();
        let ordinals = numbers::<Int64Type>(batch, RANK[3])?.values();
        hand.clear();
        for row in 0..batch.num_rows() {
            let (event_time, known_at) = (event_times[row], known_ats[row]);
            if !self.range.contains(&event_time) {
                continue;
            }
            let Some(key) = self.index.find(&keys, row, &mut hand.scratch) else { continue };
            let at = if self.by_event_time { event_time } else { event_time.max(known_at) };
            if let Some(slot) = self.slots.first(key, at) {
                let place = (file, first + row as u32);
                let (partition, ordinal) = (partitions[row], ordinals[row]);
                hand.rows.push((slot, Row { event_time, ordinal, partition, file: place.0, row: place.1 }));
            }
            let after = known_at.saturating_sub(event_time);
            if after >= LONG_AFTER && !self.by_event_time {
                hand.known_after = hand.known_after.max(after);
                hand.late.extend(self.slots.first(key, event_time).map(|slot| (slot, event_time)));
            }
        }
        self.slots.offer(&hand.rows);
        self.slots.offer_late(&hand.late);
        self.known_after.fetch_max(hand.known_after, Ordering::Relaxed);
        Ok(())
    }
}

/// What one reader has in its hands.
#[derive(Default)]
struct Hand {
    rows: Vec<(u32, Row)>,
    late: Vec<(u32, i64)>,
    known_after: i64,
    scratch: Vec<u8>,
}

impl Hand {
    fn clear(&mut self) {
        self.rows.clear();
        self.late.clear();
    }
}

fn numbers<'a, T: ArrowPrimitiveType>(batch: &'a RecordBatch, name: &str) -> Result<&'a PrimitiveArray<T>> {
    let column = batch.column_by_name(name).and_then(|column| column.as_primitive_opt::<T>());
    column.ok_or_else(|| Error::internal(format!("a history's column `{name}` is not what it should be")))
}

/// The values of the rows that answer labels.
async fn second_pass(
    history: &Arc<HistoryTable>,
    asked: &EntityAsk,
    settled: Settled,
    watch: Watch<'_>,
) -> Result<Found> {
    let mut found =
        Found { of_label: vec![NONE; settled.rows.len()], passed_over: settled.passed_over, ..Found::default() };
    let mut order: Vec<(u32, u32, u32)> = Vec::new();
    let labels = settled.rows.iter().enumerate().filter(|(_, row)| row.is_some());
    order.extend(labels.map(|(label, row)| (row.file, row.row, label as u32)));
    order.sort_unstable();
    let mut files: Vec<(u32, Vec<u32>)> = Vec::new();
    for of_one_row in order.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
        let (file, row, first) = of_one_row[0];
        let number = found.event_times.len() as u32;
        of_one_row.iter().for_each(|(_, _, label)| found.of_label[*label as usize] = number);
        let Row { event_time, partition, .. } = settled.rows[first as usize];
        found.event_times.push(event_time);
        found.partitions.push(partition);
        match files.last_mut() {
            Some((last, rows)) if *last == file => rows.push(row),
            _ => files.push((file, vec![row])),
        }
    }
    drop((order, settled));
    let gauge = Gauge { watch, done: AtomicU64::new(0), total: found.event_times.len() as u64 };
    let reading = futures::stream::iter(files).map(|(file, rows)| {
        let (history, wanted) = (Arc::clone(history), Arc::clone(&asked.read));
        spawned(async move { history.rows(file, &rows, &wanted).await.map(|batches| (rows.len(), batches)) })
    });
    // In the order of the rows, whichever is read first.
    let mut reading = reading.buffered(at_once());
    while let Some((rows, batches)) = reading.try_next().await? {
        for batch in batches {
            let number = found.batches.len() as u32;
            found.places.extend((0..batch.num_rows() as u32).map(|row| (number, row)));
            found.batches.push(batch);
        }
        gauge.add(rows as u64);
    }
    match found.places.len() == found.event_times.len() {
        true => Ok(found),
        false => Err(Error::internal("a history did not give all rows that it had named")),
    }
}

/// On a thread of its own, among the runtime's.
async fn spawned<T: Send + 'static>(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    let done = tokio::spawn(work).await;
    done.map_err(|error| Error::internal(format!("a reader of a history ended: {error}")))?
}

/// Parts that are read side by side.
fn at_once() -> usize {
    std::thread::available_parallelism().map_or(2, usize::from)
}
