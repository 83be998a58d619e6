//! Runs a case: its events through a decoder and a task for each partition, as a worker of the runtime does, over stores
//! in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, Int64Type};

use super::events::Event;
use super::read;
use super::value::{Shown, Value};
use crate::decode::{Decoded, Decoder, Outcome, OwnedBatch, RawBatch};
use crate::error::{ErrorKind, Result};
use crate::state::{Epoch, MemoryStore, ROW_COLUMNS};
use crate::task::{Counts, Limits, Task};
use crate::time::Millis;
use crate::topology::Plan;

const LIMITS: Limits = Limits { epoch_rows: 10_000, cache_bytes: 64 << 20 };

/// A row that was written.
#[derive(Debug, Clone)]
pub struct Row {
    pub key: String,
    pub event_time: Millis,
    pub known_at: Millis,
    pub partition: i32,
    pub offset: i64,
    pub sequence: i32,
    ordinal: i64,
    /// The index of the event that wrote it.
    event: usize,
    /// By index in what the entity shows; null for what is computed as it is read.
    pub values: Vec<Value>,
    batch: Arc<RecordBatch>,
    index: usize,
}

/// A record that was not applied.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub partition: i32,
    pub offset: i64,
    pub class: String,
    pub reason: String,
    event: usize,
}

/// What a case did.
#[derive(Debug)]
pub struct Run<'p> {
    pub plan: &'p Arc<Plan>,
    pub shown: &'p [Vec<Shown>],
    /// By entity, in the order of the case's events.
    pub rows: Vec<Vec<Row>>,
    pub dead_letters: Vec<DeadLetter>,
    /// Of all partitions.
    pub counts: Vec<Counts>,
    /// Why a task stopped.
    pub stopped: Option<String>,
    tasks: BTreeMap<i32, Task>,
}

/// Runs events.
pub fn run<'p>(plan: &'p Arc<Plan>, shown: &'p [Vec<Shown>], events: &[Event], start: Millis) -> Result<Run<'p>> {
    let rows = plan.entities.iter().map(|_| vec![]).collect();
    let (dead_letters, counts, tasks) = (vec![], vec![], BTreeMap::new());
    let mut run = Run { plan, shown, rows, dead_letters, counts, stopped: None, tasks };
    let mut partitions: BTreeMap<i32, Vec<(usize, &Event)>> = BTreeMap::new();
    for (index, event) in events.iter().enumerate() {
        partitions.entry(event.partition).or_default().push((index, event));
    }
    for (partition, events) in partitions {
        run.partition(partition, &events, start)?;
    }
    run.rows.iter_mut().for_each(|rows| rows.sort_by_key(|row| (row.event, row.ordinal)));
    run.dead_letters.sort_by_key(|letter| letter.event);
    Ok(run)
}

impl Run<'_> {
    /// Runs one partition; where its task stops, up to the record at which it does.
    fn partition(&mut self, partition: i32, events: &[(usize, &Event)], start: Millis) -> Result<()> {
        let mut decoder = Decoder::new(&self.plan.source, &self.plan.entity_keys());
        let raw = records(self.plan, &mut decoder, events, start);
        let decoded = decoder.decode(&raw);
        let evaluated = self.plan.exprs.evaluate(&decoded.rows);
        let store = Arc::new(MemoryStore::default());
        let mut task = Task::open(Arc::clone(self.plan), partition, store, raw.record(0).offset, LIMITS)?;
        let (mut epochs, mut next) = (vec![], 0);
        while next < raw.len() {
            next = match task.step(&raw, &decoded, &evaluated, next) {
                Ok(next) => next,
                Err(error) if error.kind() == ErrorKind::Stopped => {
                    self.stopped.get_or_insert(error.to_string());
                    let before = events.partition_point(|(_, event)| event.offset < task.meta().next_offset);
                    return if before == 0 { Ok(()) } else { self.partition(partition, &events[..before], start) };
                }
                Err(error) => return Err(error),
            };
            if next < raw.len() {
                epochs.push(task.end_epoch()?);
            }
        }
        epochs.push(task.end_epoch()?);
        for epoch in epochs {
            self.collect(epoch, events);
        }
        self.counts.push(task.meta().counts);
        self.tasks.insert(partition, task);
        Ok(())
    }

    fn collect(&mut self, epoch: Epoch, events: &[(usize, &Event)]) {
        let event = |offset: i64| {
            let at = events.partition_point(|(_, event)| event.offset < offset);
            events.get(at).map_or(usize::MAX, |(index, _)| *index)
        };
        for rows in epoch.rows {
            let (batch, entity) = (Arc::new(rows.rows), rows.entity);
            for index in 0..batch.num_rows() {
                let row = row(&batch, index, epoch.partition, &self.shown[entity]);
                self.rows[entity].push(Row { event: event(row.offset), ..row });
            }
        }
        let Some(letters) = epoch.dead_letters else { return };
        let text = |name: &str, at: usize| letters[name].as_string::<i32>().value(at).to_string();
        for (at, offset) in letters["offset"].as_primitive::<Int64Type>().values().iter().enumerate() {
            let (class, reason) = (text("class", at), text("reason", at));
            let (partition, offset) = (epoch.partition, *offset);
            self.dead_letters.push(DeadLetter { partition, offset, class, reason, event: event(offset) });
        }
    }

    /// What `at` is before, if it is: the watermark of a partition.
    pub fn passed(&self, at: Millis) -> Option<Millis> {
        self.tasks.values().filter_map(|task| task.meta().watermark).max().filter(|watermark| *watermark > at)
    }

    /// The rows that hold when watermark and clock stand at `at`, refreshed as the runtime refreshes them.
    pub fn at(&mut self, at: Millis) -> Result<Refreshed> {
        let newest = |rows: &Vec<Row>| rows.iter().map(|row| (row.key.clone(), Held::of(row))).collect();
        let mut held: Vec<HashMap<String, Held>> = self.rows.iter().map(newest).collect();
        for (partition, task) in &mut self.tasks {
            task.forget_refreshes();
            let (refreshed, _) = task.refresh(at, usize::MAX)?;
            for rows in refreshed {
                let batch = Arc::new(rows.rows);
                for index in 0..batch.num_rows() {
                    let row = row(&batch, index, *partition, &self.shown[rows.entity]);
                    held[rows.entity].insert(row.key.clone(), Held::of(&row));
                }
            }
        }
        Ok(Refreshed { held, at })
    }

    /// The values of an entity key then, by index in what the entity shows; `None` for a key that was never seen.
    pub fn values(&self, refreshed: &Refreshed, entity: usize, key: &str) -> Result<Option<Vec<Value>>> {
        let Some(held) = refreshed.held[entity].get(key) else { return Ok(None) };
        let row = (held.batch.as_ref(), held.index, held.event_time);
        read::with_clock(&self.plan.entities[entity], row, refreshed.at).map(Some)
    }
}

/// Rows by entity and key, for one time.
#[derive(Debug)]
pub struct Refreshed {
    held: Vec<HashMap<String, Held>>,
    at: Millis,
}

#[derive(Debug)]
struct Held {
    batch: Arc<RecordBatch>,
    index: usize,
    event_time: Millis,
}

impl Held {
    fn of(row: &Row) -> Self {
        Self { batch: Arc::clone(&row.batch), index: row.index, event_time: row.event_time }
    }
}

/// The records of a partition: events whose Kafka time and key are not given have their event time, and the partition
/// field's text, as a producer would send them.
fn records(plan: &Plan, decoder: &mut Decoder, events: &[(usize, &Event)], start: Millis) -> OwnedBatch {
    let mut bare = OwnedBatch::new();
    for (_, event) in events {
        push(&mut bare, event, event.kafka_time.flatten(), event.key.clone().flatten().as_deref());
    }
    let decoded = decoder.decode(&bare);
    let (mut records, mut before) = (OwnedBatch::new(), start);
    for ((_, event), outcome) in events.iter().zip(&decoded.outcomes) {
        let row = if let Outcome::Row(row) = outcome { Some(*row as usize) } else { None };
        let event_time = row.map_or(before, |row| decoded.event_times[row]);
        let kafka_time = event.kafka_time.unwrap_or(Some(event_time));
        before = kafka_time.unwrap_or(before);
        let field = || row.and_then(|row| partition_field(plan, &decoded, row));
        let key = event.key.clone().unwrap_or_else(field);
        push(&mut records, event, kafka_time, key.as_deref());
    }
    records
}

fn push(batch: &mut OwnedBatch, event: &Event, kafka_time: Option<Millis>, key: Option<&str>) {
    let headers: Vec<(&str, Option<&[u8]>)> =
        event.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref().map(str::as_bytes))).collect();
    let value = event.value.as_deref().map(str::as_bytes);
    batch.push(event.offset, kafka_time, key.map(str::as_bytes), value, &headers);
}

fn partition_field(plan: &Plan, decoded: &Decoded, row: usize) -> Option<String> {
    let column: &ArrayRef = decoded.rows.column(plan.source.partition_field);
    match Value::of(column, row) {
        Value::Str(text) => Some(text),
        Value::Int(number) => Some(number.to_string()),
        _ => None,
    }
}

fn row(batch: &Arc<RecordBatch>, index: usize, partition: i32, shown: &[Shown]) -> Row {
    let long = |name: &str| batch[name].as_primitive::<Int64Type>().value(index);
    debug_assert_eq!(batch[ROW_COLUMNS[0]].data_type(), &DataType::Utf8);
    let mut columns = batch.columns()[ROW_COLUMNS.len()..].iter();
    let mut value = |shown: &Shown| match shown.read {
        true => Value::Null,
        false => columns.next().map_or(Value::Null, |column| Value::of(column, index)),
    };
    Row {
        key: batch["key"].as_string::<i32>().value(index).to_string(),
        event_time: long("event_time"),
        known_at: long("known_at"),
        partition,
        offset: long("offset"),
        sequence: batch["sequence"].as_primitive::<Int32Type>().value(index),
        ordinal: long("ordinal"),
        event: 0,
        values: shown.iter().map(&mut value).collect(),
        batch: Arc::clone(batch),
        index,
    }
}
