//! The Kafka source against a real Apache Kafka.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kappa::config::KafkaSettings;
use kappa::decode::RawBatch;
use kappa::error::ErrorKind;
use kappa::source::{Codec, EmbeddedBroker, KafkaSource, Polled, Producer, Record};

use crate::support::kafka::{Kafka, USER, shared, unique};
use crate::support::producer::{Transactions, producer, write};

/// A record as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Got {
    offset: i64,
    time: Option<i64>,
    key: Option<String>,
    value: Option<String>,
    header: Option<String>,
}

fn settings(brokers: &str) -> KafkaSettings {
    let (brokers, group) = (brokers.to_string(), String::new());
    KafkaSettings { brokers, group, queue_kbytes: 32768, poll_records: 8192, options: BTreeMap::new() }
}

fn open(kafka: &Kafka, topic: &str) -> KafkaSource {
    KafkaSource::open(&settings(&kafka.brokers()), topic, &format!("group-of-{topic}")).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Takes a poll's records into `got`, and tells the ends that it brought.
fn take(polled: Vec<Polled>, got: &mut BTreeMap<i32, Vec<Got>>) -> Vec<(i32, i64)> {
    let mut ends = Vec::new();
    for polled in polled {
        match polled {
            Polled::Eof { partition, next_offset } => ends.push((partition, next_offset)),
            Polled::Records(batch) => {
                let records = got.entry(batch.partition()).or_default();
                let next = records.last().map_or(0, |last| last.offset + 1);
                assert!(batch.first_offset() >= next && batch.next_offset() > batch.first_offset());
                for index in 0..batch.len() {
                    let record = batch.record(index);
                    records.push(Got {
                        offset: record.offset,
                        time: record.kafka_time,
                        key: record.key.map(text),
                        value: record.value.map(text),
                        header: batch.header(index, "h").map(text),
                    });
                }
            }
        }
    }
    ends
}

/// Reads until the end of every assigned partition.
fn read_to_end(source: &mut KafkaSource, partitions: usize) -> (BTreeMap<i32, Vec<Got>>, BTreeMap<i32, i64>) {
    let (mut got, mut ends) = (BTreeMap::new(), BTreeMap::new());
    let until = Instant::now() + Duration::from_secs(90);
    while ends.len() < partitions {
        assert!(Instant::now() < until, "no end after {got:?}");
        ends.extend(take(source.poll(1000, Duration::from_millis(200)).unwrap(), &mut got));
    }
    (got, ends)
}

/// Polls until an error comes.
fn poll_error(source: &mut KafkaSource) -> kappa::error::Error {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < until, "no error came");
        if let Err(error) = source.poll(1000, Duration::from_millis(200)) {
            return error;
        }
    }
}

fn values(records: &[Got]) -> Vec<&str> {
    records.iter().filter_map(|record| record.value.as_deref()).collect()
}

#[test]
fn every_codec_and_every_part_of_a_record_comes_through_exactly() {
    let kafka = shared();
    for codec in Codec::ALL {
        let topic = kafka.new_topic(&format!("codec-{}", codec.name()), 3);
        let mut wanted: BTreeMap<i32, Vec<Got>> = BTreeMap::new();
        let made: Vec<(i32, Got)> = (0..3000i64)
            .map(|i| {
                let got = Got {
                    offset: i / 3,
                    time: Some(1_000_000_000_000 + i),
                    key: (i % 5 != 0).then(|| if i % 7 == 0 { String::new() } else { format!("k{i}") }),
                    value: (i % 11 != 0).then(|| if i % 13 == 0 { String::new() } else { format!("v{i}").repeat(20) }),
                    header: (i % 4 == 0).then(|| format!("h{i}")),
                };
                ((i % 3) as i32, got)
            })
            .collect();
        let producer = producer(kafka, &topic, codec);
        for (partition, got) in &made {
            let last = got.header.as_deref().unwrap_or_default().as_bytes();
            let headers: [(&str, &[u8]); 3] = [("h", b"not the last"), ("other", b"x"), ("h", last)];
            producer
                .send(&Record {
                    partition: Some(*partition),
                    key: got.key.as_deref().map(str::as_bytes),
                    value: got.value.as_deref().map(str::as_bytes),
                    time: got.time,
                    headers: if got.header.is_some() { &headers } else { &[] },
                })
                .unwrap();
            wanted.entry(*partition).or_default().push(got.clone());
        }
        producer.flush(Duration::from_secs(30)).unwrap();
        let mut source = open(kafka, &topic);
        source.assign(&[(0, 0), (1, 0), (2, 0)]).unwrap();
        let (got, ends) = read_to_end(&mut source, 3);
        assert!(got == wanted, "{codec:?}");
        assert_eq!(ends, BTreeMap::from([(0, 1000), (1, 1000), (2, 1000)]));
    }
}

#[test]
fn many_partitions_are_described_read_from_their_own_offsets_and_shown_to_lag_tools() {
    let kafka = shared();
    let topic = kafka.new_topic("many", 40);
    let names: Vec<String> = (0..4000).map(|i| format!("{i}")).collect();
    let records = names.iter().enumerate().map(|(i, name)| Record {
        partition: Some((i % 40) as i32),
        value: Some(name.as_bytes()),
        ..Record::default()
    });
    write(kafka, &topic, Codec::Lz4, records);
    let mut source = open(kafka, &topic);
    let infos = source.describe().unwrap();
    assert_eq!(infos.len(), 40);
    assert!(infos.iter().enumerate().all(|(i, info)| (info.partition, info.low, info.high) == (i as i32, 0, 100)));
    let starts: Vec<(i32, i64)> = (0..40).map(|partition| (partition, i64::from(partition) * 2)).collect();
    source.assign(&starts).unwrap();
    let (got, _) = read_to_end(&mut source, 40);
    for (partition, start) in &starts {
        let offsets: Vec<i64> = got[partition].iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (*start..100).collect::<Vec<_>>());
        assert_eq!(source.high_watermark(*partition), Some(100));
    }
    source.commit(&[(7, 55)]);
    assert!(source.assign(&[(0, 0)]).is_err());
    assert!(source.close(Duration::from_secs(20)));
    assert_eq!(kafka.committed(&format!("group-of-{topic}"), &topic, 7), Some(55));
}

#[test]
fn aborted_records_are_never_seen_and_the_end_is_reached_past_markers() {
    let kafka = shared();
    let topic = kafka.new_topic("transactions", 1);
    let transactions = Transactions::new(kafka, &unique("tx"));
    transactions.write(&topic, 0, &["a", "b"], true);
    transactions.write(&topic, 0, &["never", "never"], false);
    transactions.write(&topic, 0, &["c"], true);
    transactions.write(&topic, 0, &["never"], false);
    let mut source = open(kafka, &topic);
    source.assign(&[(0, 0)]).unwrap();
    let (got, ends) = read_to_end(&mut source, 1);
    assert_eq!(values(&got[&0]), ["a", "b", "c"]);
    // Four markers, three aborted records, three committed ones.
    assert_eq!(ends[&0], 10);
    assert_eq!(got[&0].iter().map(|record| record.offset).collect::<Vec<_>>(), [0, 1, 6]);
}

#[test]
fn gaps_that_compaction_leaves_are_nothing() {
    let kafka = shared();
    let topic = unique("compacted");
    let compact = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.001"),
        ("min.compaction.lag.ms", "0"),
    ];
    kafka.create_topic(&topic, 1, &compact);
    let until = Instant::now() + Duration::from_secs(80);
    // A segment rolls when a record comes after its time, and only closed segments are compacted.
    for round in 0.. {
        assert!(Instant::now() < until, "the topic was not compacted");
        let name = format!("{round}");
        let keys = ["same", "same", "same", &name];
        write(
            kafka,
            &topic,
            Codec::Zstd,
            keys.map(|key| Record { key: Some(key.as_bytes()), value: Some(name.as_bytes()), ..Record::default() }),
        );
        std::thread::sleep(Duration::from_millis(300));
        let mut source = open(kafka, &topic);
        source.assign(&[(0, 0)]).unwrap();
        let (got, ends) = read_to_end(&mut source, 1);
        assert_eq!(ends[&0], (round + 1) * 4);
        assert!(got[&0].windows(2).all(|pair| pair[0].offset < pair[1].offset));
        if (got[&0].len() as i64) < ends[&0] {
            return;
        }
    }
}

#[test]
fn an_offset_that_the_log_does_not_hold_stops_the_source_and_names_the_remedy() {
    let kafka = shared();
    let topic = kafka.new_topic("trimmed", 2);
    let record = Record { partition: Some(1), value: Some(b"v"), ..Record::default() };
    write(kafka, &topic, Codec::None, vec![record; 20]);
    kafka.delete_records(&topic, 1, 15);
    let mut source = open(kafka, &topic);
    assert_eq!(source.describe().unwrap()[1].low, 15);
    source.assign(&[(0, 0), (1, 10)]).unwrap();
    let error = poll_error(&mut source);
    assert_eq!(error.kind(), ErrorKind::Stopped);
    for part in [&*topic, "partition 1", "offset 10", "15 to 20", "--replay-from earliest"] {
        assert!(error.to_string().contains(part), "{error}");
    }

    let mut source = open(kafka, &topic);
    source.assign(&[(1, 99)]).unwrap();
    let error = poll_error(&mut source);
    assert_eq!(error.kind(), ErrorKind::Stopped);
    assert!(error.to_string().contains("offset 99") && error.to_string().contains("recreated"), "{error}");
}

#[test]
fn a_topic_that_is_missing_may_come_and_its_error_names_topics_alike() {
    let kafka = shared();
    let topic = kafka.new_topic("shop.events", 1);
    let wrong = topic.replace("shop.events", "shop.event");
    let error = KafkaSource::open(&settings(&kafka.brokers()), &wrong, "g").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains(&format!("`{topic}`")), "{error}");
}

#[test]
fn brokers_that_do_not_answer_or_speak_another_protocol_are_unavailable_with_the_remedy() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = KafkaSource::open(&settings(&format!("127.0.0.1:{port}")), "t", "g").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(
        error.to_string().contains(&format!("127.0.0.1:{port}")) && error.to_string().contains("refused"),
        "{error}"
    );

    let mut tls = settings(&shared().brokers());
    tls.options.insert("security.protocol".into(), "ssl".into());
    let error = KafkaSource::open(&tls, "t", "g").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("security.protocol"), "{error}");
}

#[test]
fn settings_of_tls_and_scram_reach_the_client_and_records_arrive() {
    let kafka = shared();
    let topic = kafka.new_topic("secure", 1);
    write(
        kafka,
        &topic,
        Codec::Lz4,
        ["a", "b", "c"].map(|v| Record { value: Some(v.as_bytes()), ..Record::default() }),
    );
    let secure = |changed: &[(&str, &str)]| {
        let mut settings = settings(&kafka.secure_brokers());
        let authority = kafka.authority().display().to_string();
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", USER.0),
            ("sasl.password", USER.1),
            ("ssl.ca.location", authority.as_str()),
        ]
        .iter()
        .chain(changed)
        {
            settings.options.insert(name.to_string(), value.to_string());
        }
        KafkaSource::open(&settings, &topic, "secure")
    };
    let mut source = secure(&[]).unwrap();
    source.assign(&[(0, 0)]).unwrap();
    let (got, _) = read_to_end(&mut source, 1);
    let values: Vec<_> = got[&0].iter().filter_map(|record| record.value.as_deref()).collect();
    assert_eq!(values, ["a", "b", "c"]);

    // Waiting would not help, so it is told at once, without the password.
    let began = Instant::now();
    let error = secure(&[("sasl.password", "not-the-secret")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("sasl.*") && !error.to_string().contains("not-the-secret"), "{error}");
    // A server whose certificate nobody vouches for gets no password at all.
    let error = secure(&[("ssl.ca.location", "/etc/ssl/certs")]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_paused_partition_waits_and_goes_on_where_it_stopped() {
    let kafka = shared();
    let topic = kafka.new_topic("paused", 2);
    let values_of = |range: std::ops::Range<i32>| range.map(|i| format!("{i}")).collect::<Vec<_>>();
    let add = |range| {
        let values = values_of(range);
        let both = values.iter().flat_map(|value| {
            [0, 1].map(|partition| Record {
                partition: Some(partition),
                value: Some(value.as_bytes()),
                ..Record::default()
            })
        });
        write(kafka, &topic, Codec::Snappy, both);
    };
    add(0..500);
    let mut source = open(kafka, &topic);
    source.assign(&[(0, 0), (1, 0)]).unwrap();
    let mut got = BTreeMap::new();
    // In the middle of the log, and at its end: there the client itself would skip a record.
    take(source.poll(100, Duration::from_secs(20)).unwrap(), &mut got);
    source.pause(&[1]).unwrap();
    let before = got.get(&1).map_or(0, Vec::len);
    let mut at_end = false;
    let until = Instant::now() + Duration::from_secs(30);
    while !at_end {
        assert!(Instant::now() < until);
        let ends = take(source.poll(100, Duration::from_millis(100)).unwrap(), &mut got);
        at_end = ends.contains(&(0, 500));
    }
    assert_eq!(got.get(&1).map_or(0, Vec::len), before);
    source.resume(&[1]).unwrap();
    let mut end = 0;
    while end < 500 {
        assert!(Instant::now() < until);
        let ends = take(source.poll(100, Duration::from_millis(100)).unwrap(), &mut got);
        end = ends.iter().filter(|(partition, _)| *partition == 1).map(|(_, next)| *next).max().unwrap_or(end);
    }
    source.pause(&[0, 1]).unwrap();
    add(500..600);
    assert!(source.poll(100, Duration::from_millis(300)).unwrap().is_empty());
    source.resume(&[0, 1]).unwrap();
    while got[&0].len() < 600 || got[&1].len() < 600 {
        assert!(Instant::now() < until, "{} and {} of 600", got[&0].len(), got[&1].len());
        take(source.poll(100, Duration::from_millis(100)).unwrap(), &mut got);
    }
    for partition in [0, 1] {
        assert_eq!(values(&got[&partition]), values_of(0..600));
    }
}

#[test]
fn reading_goes_on_by_itself_when_the_broker_is_killed_and_comes_back() {
    let kafka = Kafka::start();
    let topic = kafka.new_topic("killed", 4);
    let values: Vec<String> = (0..40_000).map(|i| format!("{i:0>200}")).collect();
    let records = |range: std::ops::Range<usize>| {
        values[range].iter().enumerate().map(|(i, value)| Record {
            partition: Some((i % 4) as i32),
            value: Some(value.as_bytes()),
            ..Record::default()
        })
    };
    write(&kafka, &topic, Codec::Lz4, records(0..20_000));
    let mut source = open(&kafka, &topic);
    source.assign(&[(0, 0), (1, 0), (2, 0), (3, 0)]).unwrap();
    let mut got = BTreeMap::new();
    while got.values().map(Vec::len).sum::<usize>() < 1000 {
        take(source.poll(500, Duration::from_millis(500)).unwrap(), &mut got);
    }
    kafka.kill();
    // What was fetched ahead still comes; then nothing, and no error.
    for _ in 0..10 {
        take(source.poll(500, Duration::from_millis(100)).unwrap(), &mut got);
    }
    kafka.restart();
    write(&kafka, &topic, Codec::Lz4, records(20_000..40_000));
    let until = Instant::now() + Duration::from_secs(60);
    while got.values().map(Vec::len).sum::<usize>() < 40_000 {
        assert!(Instant::now() < until, "{} of 40000", got.values().map(Vec::len).sum::<usize>());
        take(source.poll(5000, Duration::from_millis(200)).unwrap(), &mut got);
    }
    for (partition, records) in &got {
        let offsets: Vec<i64> = records.iter().map(|record| record.offset).collect();
        assert_eq!(offsets, (0..10_000).collect::<Vec<_>>(), "partition {partition}");
    }
    assert!(source.handle().transient_errors() > 0);
}

#[test]
fn a_topic_made_again_under_its_name_has_another_id() {
    let kafka = shared();
    let topic = kafka.new_topic("remade", 1);
    let id = || open(kafka, &topic).handle().topic_id();
    let first = id().unwrap();
    assert_eq!(id().as_ref(), Some(&first));
    kafka.delete_topic(&topic);
    kafka.create_topic(&topic, 1, &[]);
    assert!(id().is_some_and(|second| second != first));
}

#[test]
fn more_partitions_are_seen_and_a_batch_outlives_its_source_on_another_thread() {
    let kafka = shared();
    let topic = kafka.new_topic("grown", 1);
    write(kafka, &topic, Codec::None, [Record { value: Some(b"kept"), time: Some(5), ..Record::default() }]);
    let mut source = open(kafka, &topic);
    assert_eq!(source.partitions_now().unwrap(), 1);
    kafka.add_partitions(&topic, 3);
    let until = Instant::now() + Duration::from_secs(30);
    while source.partitions_now().unwrap() != 3 {
        assert!(Instant::now() < until);
    }
    assert_eq!(source.handle().offsets_at(&[0], 5).unwrap(), [(0, 0)]);
    assert_eq!(source.handle().offsets_at(&[0], 6).unwrap(), [(0, 1)]);
    source.assign(&[(0, 0)]).unwrap();
    let batch = loop {
        assert!(Instant::now() < until);
        let polled = source.poll(10, Duration::from_millis(200)).unwrap();
        if let Some(Polled::Records(batch)) = polled.into_iter().next() {
            break batch;
        }
    };
    assert!(!source.close(Duration::from_millis(100)));
    let value = std::thread::spawn(move || batch.record(0).value.map(text)).join().unwrap();
    assert_eq!(value.as_deref(), Some("kept"));
}

#[test]
fn the_embedded_broker_serves_several_partitions_by_the_keys_own_hash() {
    let broker = EmbeddedBroker::start("demo", 4).unwrap();
    let producer = Producer::new(broker.brokers(), "demo", Codec::Zstd, &BTreeMap::new()).unwrap();
    let keys: Vec<String> = (0..2000).map(|i| format!("u{}", i % 50)).collect();
    for key in &keys {
        let value = Some(key.as_bytes());
        producer.send(&Record { key: value, value, time: Some(1), ..Record::default() }).unwrap();
    }
    producer.flush(Duration::from_secs(30)).unwrap();
    let mut settings = settings(broker.brokers());
    settings.options = EmbeddedBroker::options();
    let mut source = KafkaSource::open(&settings, "demo", "g").unwrap();
    source.assign(&[(0, 0), (1, 0), (2, 0), (3, 0)]).unwrap();
    let (got, _) = read_to_end(&mut source, 4);
    assert_eq!(got.values().map(Vec::len).sum::<usize>(), 2000);
    // Kafka's murmur2, made positive, modulo the partitions.
    for key in ["u0", "u1", "u7", "u42", "u49"] {
        assert_eq!(only_partition_of(&got, key), murmur2_partition(key.as_bytes(), 4));
    }
}

fn only_partition_of(got: &BTreeMap<i32, Vec<Got>>, key: &str) -> i32 {
    let holds = |records: &Vec<Got>| records.iter().any(|record| record.key.as_deref() == Some(key));
    let partitions: Vec<i32> =
        got.iter().filter(|(_, records)| holds(records)).map(|(partition, _)| *partition).collect();
    assert_eq!(partitions.len(), 1);
    partitions[0]
}

/// Kafka's `DefaultPartitioner`, written from its definition.
fn murmur2_partition(key: &[u8], partitions: i32) -> i32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ key.len() as u32;
    let chunks = key.chunks_exact(4);
    let rest = chunks.remainder();
    for chunk in chunks {
        let mut k = u32::from_le_bytes(chunk.try_into().unwrap()).wrapping_mul(M);
        k = (k ^ (k >> 24)).wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash = (hash ^ (hash >> 13)).wrapping_mul(M);
    hash ^= hash >> 15;
    (hash & 0x7fff_ffff) as i32 % partitions
}
