//! The archive and what is read from it: its files by themselves, then the real binary on a real Kafka that deletes.

mod files;
mod redriven;
mod replayed;

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use kappa::config::{ArchiveSettings, Override, Settings};
use kappa::decode::RawBatch;
use kappa::lake::{KeptLog, Place as Table};
use kappa::source::{ArchiveReader, Read};

/// The archive's settings with its place here.
fn settings(url: &str) -> ArchiveSettings {
    let url = Override { key: "archive.url".into(), value: url.into(), from: "a test".into() };
    Settings::load(None, &[url]).unwrap().archive
}

/// A record as it was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    offset: i64,
    time: Option<i64>,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn got(batch: &dyn RawBatch, index: usize) -> Got {
    let record = batch.record(index);
    let mut headers = Vec::new();
    batch.headers(index, &mut |name, value| headers.push((name.to_string(), value.map(<[u8]>::to_vec))));
    for (name, _) in &headers {
        let last = headers.iter().rev().find(|(other, _)| other == name).unwrap();
        assert_eq!(batch.header(index, name), last.1.as_deref());
    }
    let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    Got { offset: record.offset, time: record.kafka_time, key: bytes(record.key), value: bytes(record.value), headers }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap()
}

fn open(runtime: &tokio::runtime::Runtime, settings: &ArchiveSettings, topic: &str) -> KeptLog {
    runtime.block_on(KeptLog::open(&Table::of_archive(settings), topic)).unwrap().expect("there is an archive")
}

/// Everything of these partitions from these offsets on, and where each is over.
fn read(
    kept: KeptLog,
    starts: &[(i32, i64)],
    runtime: &tokio::runtime::Runtime,
) -> (BTreeMap<i32, Vec<Got>>, BTreeMap<i32, i64>) {
    let mut reader = ArchiveReader::start(kept, starts, runtime.handle().clone()).unwrap();
    let (mut records, mut ends) = (BTreeMap::<i32, Vec<Got>>::new(), BTreeMap::new());
    while !reader.is_over() {
        match reader.take(Duration::from_secs(60)).unwrap().expect("the archive is read within a minute") {
            Read::Records(batch) => {
                let of = records.entry(batch.partition()).or_default();
                of.extend((0..batch.len()).map(|index| got(&*batch, index)));
            }
            Read::Over { partition, next_offset } => drop(ends.insert(partition, next_offset)),
        }
    }
    (records, ends)
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}
