//! A sample of the log: read where the replay would start, and folded as the replay would fold it, into memory.
//!
//! Always holds: it is bounded in records, bytes and time; nothing is committed, nothing is kept.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::reach::Part;
use crate::decode::{Decoder, RawBatch};
use crate::error::{ErrorKind, Result};
use crate::source::{Batch, KafkaSource, Polled};
use crate::state::MemoryStore;
use crate::task::{Counts, Limits, Task};
use crate::time::Millis;
use crate::topology::Plan;

/// The most bytes of a sample, and the longest that its reading may take.
const MOST_BYTES: u64 = 64 << 20;
const LONGEST: Duration = Duration::from_secs(20);
/// Messages of one poll.
const POLL: usize = 1_000;

/// A task's bounds, as a replay has them.
const LIMITS: Limits = Limits { epoch_rows: 10_000, cache_bytes: 64 << 20 };

/// Batches by partition, in offset order.
pub type Batches<B> = BTreeMap<i32, Vec<B>>;

/// What a sample says.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub records: u64,
    /// Of keys and values.
    pub bytes: u64,
    /// Seconds of one core in which it was folded.
    pub seconds: f64,
    /// Records by class, in the order in which they are tested.
    pub classes: Vec<(&'static str, u64)>,
    /// The first record of each partition that has one.
    pub firsts: BTreeMap<i32, First>,
    /// Why a task would stop, and where.
    pub stopped: Option<String>,
}

/// The first record that a replay would see in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct First {
    pub offset: i64,
    pub kafka_time: Option<Millis>,
    /// Of the first well-formed record.
    pub event_time: Option<Millis>,
}

impl Sample {
    /// Records a second on one core; `None` when there were none.
    pub fn rate(&self) -> Option<f64> {
        (self.records > 0 && self.seconds > 0.0).then(|| self.records as f64 / self.seconds)
    }

    /// Bytes a record.
    pub fn record_bytes(&self) -> Option<f64> {
        (self.records > 0).then(|| self.bytes as f64 / self.records as f64)
    }
}

/// Reads about `most` records from the starts of all parts, as many of each.
///
/// # Errors
/// As [`KafkaSource::poll`].
pub fn read(source: &mut KafkaSource, parts: &[Part], most: usize) -> Result<Batches<Batch>> {
    let mut open: BTreeMap<i32, i64> =
        parts.iter().filter(|part| part.records() > 0).map(|p| (p.partition, p.high)).collect();
    let mut batches = Batches::new();
    if open.is_empty() || most == 0 {
        return Ok(batches);
    }
    let quota = most.div_ceil(open.len());
    let starts: Vec<(i32, i64)> = parts
        .iter()
        .filter(|part| open.contains_key(&part.partition))
        .map(|part| (part.partition, part.start))
        .collect();
    source.assign(&starts)?;
    let (began, mut bytes, mut read) = (Instant::now(), 0, BTreeMap::<i32, usize>::new());
    while !open.is_empty() && bytes < MOST_BYTES && began.elapsed() < LONGEST {
        for polled in source.poll(POLL.min(most), Duration::from_millis(100))? {
            let (partition, next) = match &polled {
                Polled::Records(batch) => (batch.partition(), batch.next_offset()),
                Polled::Eof { partition, .. } => (*partition, i64::MAX),
            };
            let Some(high) = open.get(&partition).copied() else { continue };
            let records = read.entry(partition).or_default();
            if let Polled::Records(batch) = polled {
                *records += batch.len();
                bytes += (0..batch.len()).map(|index| size(&batch, index)).sum::<u64>();
                batches.entry(partition).or_default().push(batch);
            }
            if *records >= quota || next >= high {
                open.remove(&partition);
                source.pause(&[partition])?;
            }
        }
    }
    Ok(batches)
}

fn size(batch: &dyn RawBatch, index: usize) -> u64 {
    let record = batch.record(index);
    (record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)) as u64
}

/// Folds a sample as a replay would, each partition through a task of its own over a store in memory.
///
/// # Errors
/// Internal: the task fails for another reason than a record.
pub fn fold<B: RawBatch>(plan: &Arc<Plan>, batches: &Batches<B>) -> Result<Sample> {
    let mut sample = Sample { classes: Counts::default().classes().to_vec(), ..Sample::default() };
    for (partition, batches) in batches {
        fold_partition(plan, *partition, batches, &mut sample)?;
    }
    Ok(sample)
}

fn fold_partition<B: RawBatch>(plan: &Arc<Plan>, partition: i32, batches: &[B], sample: &mut Sample) -> Result<()> {
    let Some(record) = batches.iter().find(|batch| !batch.is_empty()).map(|batch| batch.record(0)) else {
        return Ok(());
    };
    let mut first = First { offset: record.offset, kafka_time: record.kafka_time, event_time: None };
    let mut decoder = Decoder::new(&plan.source, &plan.entity_keys());
    let store = Arc::new(MemoryStore::default());
    let mut task = Task::open(Arc::clone(plan), partition, store, first.offset, LIMITS)?;
    let began = Instant::now();
    'batches: for batch in batches {
        let decoded = decoder.decode(batch);
        first.event_time = first.event_time.or(decoded.event_times.first().copied());
        let evaluated = plan.exprs.evaluate(&decoded.rows);
        let mut next = 0;
        while next < batch.len() {
            next = match task.step(batch, &decoded, &evaluated, next) {
                Ok(next) => next,
                Err(error) if error.kind() == ErrorKind::Stopped => {
                    sample.stopped.get_or_insert(error.to_string());
                    break 'batches;
                }
                Err(error) => return Err(error),
            };
            if next < batch.len() {
                task.end_epoch()?;
            }
        }
    }
    if sample.stopped.is_none() {
        task.end_epoch()?;
    }
    sample.seconds += began.elapsed().as_secs_f64();
    for (all, (_, found)) in sample.classes.iter_mut().zip(task.meta().counts.classes()) {
        all.1 += found;
    }
    for batch in batches {
        sample.records += batch.len() as u64;
        sample.bytes += (0..batch.len()).map(|index| size(batch, index)).sum::<u64>();
    }
    sample.firsts.insert(partition, first);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::OwnedBatch;
    use crate::topology;

    fn plan() -> Arc<Plan> {
        let text = r#"
topology: t
source:
  topic: t
  format: json
  event_time: ts
  schema: {user: string, ts: timestamp_ms}
entities:
  user:
    key: user
    features: {seen: {count: "*", window: 1h}}
"#;
        Arc::new(topology::parse("t.yaml", text).unwrap_or_else(|problems| panic!("{problems}")))
    }

    /// A batch from this offset on, of (key, value), one a second.
    fn batch(from: i64, records: &[(&str, &str)]) -> OwnedBatch {
        let mut batch = OwnedBatch::new();
        for (offset, (key, value)) in (from..).zip(records) {
            batch.push(offset, Some(offset * 1000), Some(key.as_bytes()), Some(value.as_bytes()), &[]);
        }
        batch
    }

    #[test]
    fn a_sample_counts_classes_bytes_and_the_first_of_each_partition() {
        let broken = ("u1", "no json");
        let good = ("u1", r#"{"user":"u1","ts":7000}"#);
        let batches = Batches::from([
            (0, vec![batch(7, &[broken, good]), batch(20, &[good])]),
            (3, vec![batch(0, &[("u1", r#"{"user":"u1","ts":1}"#)])]),
        ]);
        let sample = fold(&plan(), &batches).unwrap();
        assert_eq!((sample.records, sample.bytes), (4, 2 + 7 + 2 * (2 + 23) + 2 + 20));
        let of = |class: &str| sample.classes.iter().find(|(name, _)| *name == class).unwrap().1;
        assert_eq!((of("malformed"), of("applied")), (1, 3));
        assert_eq!(sample.firsts[&0], First { offset: 7, kafka_time: Some(7000), event_time: Some(7000) });
        assert_eq!(sample.firsts[&3].event_time, Some(1));
        assert!(sample.rate().unwrap() > 0.0 && sample.stopped.is_none());
        assert!((sample.record_bytes().unwrap() - 81.0 / 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_record_at_which_a_task_would_stop_is_told_before_it_does() {
        let good = ("u1", r#"{"user":"u1","ts":1}"#);
        let other = ("u2", r#"{"user":"u1","ts":1}"#);
        let sample = fold(&plan(), &Batches::from([(0, vec![batch(5, &[good, other])])])).unwrap();
        let stopped = sample.stopped.unwrap();
        assert!(stopped.contains("offset 6"), "{stopped}");
    }

    #[test]
    fn nothing_read_says_nothing() {
        let sample = fold(&plan(), &Batches::<OwnedBatch>::new()).unwrap();
        assert_eq!((sample.rate(), sample.record_bytes(), sample.firsts.len()), (None, None, 0));
    }
}
