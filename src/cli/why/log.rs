//! Reading the log from its beginning to where it ends now, for one entity.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::Question;
use crate::cli::progress::Bar;
use crate::config::Settings;
use crate::decode::{RawBatch, RawRecord};
use crate::error::{Error, Result};
use crate::source::{Batch, KafkaSource, PartitionInfo, Polled};
use crate::task::Trace;

/// Messages of one poll.
const POLL: usize = 8_192;
/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a partition has of the entity.
pub struct Log {
    pub partition: PartitionInfo,
    pub trace: Trace,
}

/// Reads one partition, or all when it is not known which (or is not there): those with the most records of the
/// entity first. What comes after the question is left out.
pub fn read(settings: &Settings, question: &Question, only: Option<i32>) -> Result<Vec<Log>> {
    let plan = &question.plan;
    let group = settings.kafka.group.replace("{topology}", &plan.topology);
    let mut source = KafkaSource::open(&settings.kafka, &plan.source.topic, &group)?;
    let mut log = source.describe()?;
    if log.iter().any(|info| Some(info.partition) == only) {
        log.retain(|info| Some(info.partition) == only);
    }
    let new = |info: &PartitionInfo| {
        let trace = Trace::new(plan, question.entity, &question.id, &question.features);
        (info.partition, Log { partition: *info, trace })
    };
    let mut all: BTreeMap<i32, Log> = log.iter().map(new).collect();
    follow(&mut source, &log, &mut all)?;
    source.close(Duration::from_secs(3));
    let mut all: Vec<Log> = all.into_values().collect();
    all.sort_by_key(|log| std::cmp::Reverse(log.trace.records().len()));
    Ok(all)
}

fn follow(source: &mut KafkaSource, log: &[PartitionInfo], all: &mut BTreeMap<i32, Log>) -> Result<()> {
    let mut next: BTreeMap<i32, i64> =
        log.iter().filter(|info| info.low < info.high).map(|info| (info.partition, info.low)).collect();
    if next.is_empty() {
        return Ok(());
    }
    source.assign(&next.iter().map(|(partition, low)| (*partition, *low)).collect::<Vec<_>>())?;
    let bar = Bar::new(log.iter().map(|info| (info.high - info.low).max(0) as u64).sum());
    let mut heard = Instant::now();
    while !next.is_empty() {
        let polled = source.poll(POLL, Duration::from_millis(100))?;
        if !polled.is_empty() {
            heard = Instant::now();
        } else if heard.elapsed() > PATIENCE {
            return Err(Error::unavailable(format!(
                "kafka: no record and no end of {} partitions for {} s: see that the brokers run, and try again",
                next.len(),
                PATIENCE.as_secs()
            )));
        }
        for polled in polled {
            let (partition, reached) = match &polled {
                Polled::Records(batch) => (batch.partition(), batch.next_offset()),
                Polled::Eof { partition, .. } => (*partition, i64::MAX),
            };
            let Some(of) = all.get_mut(&partition).filter(|_| next.contains_key(&partition)) else { continue };
            if let Polled::Records(batch) = &polled {
                let known = Before::new(batch, of.partition.high);
                of.trace.add(&known).map_err(|error| error.within(&format!("partition {partition}")))?;
            }
            match reached >= of.partition.high {
                true => next.remove(&partition),
                false => next.insert(partition, reached),
            };
        }
        let left = |info: &PartitionInfo| next.get(&info.partition).map_or(0, |next| (info.high - next).max(0) as u64);
        bar.left(log.iter().map(left).sum());
    }
    Ok(())
}

/// The records of a batch before an offset.
struct Before<'a> {
    batch: &'a Batch,
    len: usize,
}

impl<'a> Before<'a> {
    fn new(batch: &'a Batch, end: i64) -> Self {
        let beyond = (0..batch.len()).rev().take_while(|index| batch.record(*index).offset >= end).count();
        Self { batch, len: batch.len() - beyond }
    }
}

impl RawBatch for Before<'_> {
    fn len(&self) -> usize {
        self.len
    }

    fn record(&self, index: usize) -> RawRecord<'_> {
        self.batch.record(index)
    }

    fn header(&self, index: usize, name: &str) -> Option<&[u8]> {
        self.batch.header(index, name)
    }

    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>)) {
        self.batch.headers(index, each);
    }
}
