//! Reading partitions of the log from their beginnings to where they ended when they were described.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::progress::Bar;
use crate::decode::{RawBatch, RawRecord};
use crate::error::{Error, Result};
use crate::source::{Batch, KafkaSource, PartitionInfo, Polled};

/// Messages of one poll.
const POLL: usize = 8_192;
/// How long the brokers may be silent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Calls `each` with the records of these partitions, of each in their order; what comes after their ends is left out.
///
/// # Errors
/// Unavailable: the brokers are silent. What `each` answers, with the partition.
pub fn follow(
    source: &mut KafkaSource,
    log: &[PartitionInfo],
    each: &mut dyn FnMut(i32, &dyn RawBatch) -> Result<()>,
) -> Result<()> {
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
            let of = log.iter().find(|info| info.partition == partition);
            let Some(of) = of.filter(|_| next.contains_key(&partition)) else { continue };
            if let Polled::Records(batch) = &polled {
                let known = Before::new(batch, of.high);
                each(partition, &known).map_err(|error| error.within(&format!("partition {partition}")))?;
            }
            match reached >= of.high {
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
