//! The command over the shop's topology, a real log and real stores: the records that it lists, aggregated again by the
//! oracle, are the stored values.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::Value as Json;

use crate::support::compare::{Nearness, read_rows, same_value};
use crate::support::generate::{self, Stream};
use crate::support::kafka;
use crate::support::oracle::{Feature, FeatureRow, Input, Judged, LogRecord, Slack, Topology, Value, judge, value_of};
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../../topologies/shop.yaml");
const EVENTS: u64 = 20_000;
const SEED: u64 = 17;
/// How many numbers are explained, each by a process of its own.
const SAMPLE: usize = 24;

/// What is asked, and the stored row that answers it.
struct Sample {
    entity: usize,
    partition: i32,
    /// Of the entity's features, then of what is derived.
    column: usize,
    /// `--at` this row's time; the last row of all without.
    at: Option<i64>,
    row: FeatureRow,
}

/// The rows that the run has stored, by partition and entity.
fn stored(place: &Place<'_>, case: &Case) -> Vec<(i32, usize, Vec<FeatureRow>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let mut all = vec![];
    for (entity, of) in case.topology.entities.iter().enumerate() {
        let url = place.history_url(case, &of.name, 1);
        for run in &case.expected {
            let rows = read_rows(&url, &case.topology, entity, Some(run.partition));
            let mut rows = runtime.block_on(rows).unwrap_or_else(|error| panic!("{url}: {error}"));
            rows.sort_by_key(|row| row.ordinal);
            all.push((run.partition, entity, rows));
        }
    }
    all
}

/// A feature or a derived one of an entity that has rows; now and as often in the past.
fn sample(rng: &mut SmallRng, case: &Case, stored: &[(i32, usize, Vec<FeatureRow>)]) -> Sample {
    let (partition, entity, rows) = &stored[rng.random_range(0..stored.len())];
    let of = &case.topology.entities[*entity];
    let any = &rows[rng.random_range(0..rows.len())];
    let at = rng.random_bool(0.5).then_some(any.event_time);
    let mut own = rows.iter().filter(|row| row.key == any.key && at.is_none_or(|at| row.event_time <= at));
    Sample {
        entity: *entity,
        partition: *partition,
        column: rng.random_range(0..of.features.len() + of.derived.len()),
        at,
        row: own.next_back().expect("any is one").clone(),
    }
}

/// What these records of a partition, which lie in its order of offsets, come to.
fn aggregated(
    topology: &Topology,
    feature: &Feature,
    records: &[LogRecord],
    offsets: &[i64],
    at: i64,
) -> (Value, Slack) {
    let mut read: Vec<(i64, i64, Value, Option<Arc<str>>)> = vec![];
    for offset in offsets {
        let record = records.iter().find(|record| record.offset == *offset).expect("it is in the log");
        let Judged::Row { values, event_time, .. } = judge(topology, record) else { panic!("{offset} is no row") };
        let input = feature.input.as_ref().map_or(Value::Int(1), |input| input.value(&values));
        let bucket = feature.by.as_ref().and_then(|by| by.bucket.value(&values).text());
        read.push((event_time, *offset, input, bucket.map(Arc::from)));
    }
    read.sort_by_key(|(time, offset, ..)| (*time, *offset));
    let inputs: Vec<Input<'_>> =
        read.iter().map(|(time, _, value, bucket)| Input { time: *time, value, bucket: bucket.as_ref() }).collect();
    value_of(feature, &inputs, at)
}

fn list(json: &Json) -> Vec<i64> {
    json.as_array().unwrap().iter().map(|offset| offset.as_i64().unwrap()).collect()
}

/// The offsets that an explained feature counts: as its records say, its tiles, and its buckets.
fn counted(feature: &Json) -> Vec<i64> {
    let of_parts = |parts: &Json| -> Vec<i64> {
        let mut all: Vec<i64> = parts.as_array().unwrap().iter().flat_map(|part| list(&part["offsets"])).collect();
        all.sort_unstable();
        all
    };
    let records = feature["records"].as_array().unwrap().iter().filter(|record| record["verdict"] == "counted");
    let mut counted: Vec<i64> = records.map(|record| record["offset"].as_i64().unwrap()).collect();
    counted.sort_unstable();
    assert_eq!(of_parts(&feature["parts"]), counted, "{feature:#}");
    if !feature["buckets"].is_null() {
        assert_eq!(of_parts(&feature["buckets"]), counted, "{feature:#}");
    }
    counted
}

/// Explains one number and aggregates what is listed again; answers how many records were listed.
fn check(place: &Place<'_>, case: &Case, log: &BTreeMap<i32, Vec<LogRecord>>, asked: &Sample) -> usize {
    let of = &case.topology.entities[asked.entity];
    let features = of.features.len();
    let name = match asked.column.checked_sub(features) {
        None => &of.features[asked.column].name,
        Some(derived) => &of.derived[derived].name,
    };
    let file = case.topology_file.display().to_string();
    let at = asked.at.map(|at| at.to_string());
    let mut arguments =
        vec!["why", &of.name, &asked.row.key, name, "--topology", &file, "--json", "--limit", "1000000"];
    arguments.extend(at.iter().flat_map(|at| ["--at", at]));
    let output = place.kappa(&arguments).output().unwrap();
    let what = format!("{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{what}");
    let answer: Json = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(answer["partition"], asked.partition, "{what}");

    let mut values = vec![Value::Null; features];
    let mut listed = 0;
    for explained in answer["features"].as_array().unwrap() {
        let index = of.features.iter().position(|feature| explained["feature"] == feature.name.as_str()).unwrap();
        let (feature, offsets) = (&of.features[index], counted(explained));
        let records = &log[&asked.partition];
        let (value, slack) = aggregated(&case.topology, feature, records, &offsets, asked.row.event_time);
        let found = &asked.row.values[index];
        let same = same_value(&value, found, Nearness::of(feature), &slack);
        assert!(same, "{what}{}: {offsets:?} come to {value}, stored is {found}", feature.name);
        values[index] = found.clone();
        listed += offsets.len();
    }
    match asked.column.checked_sub(features) {
        Some(derived) if of.derived[derived].on_read => {
            let at = asked.at.unwrap_or(asked.row.event_time);
            let wanted = &of.derive_on_read(&values, at)[derived];
            let found = answer["value"].as_i64().map_or(Value::Null, Value::Int);
            assert_eq!(&found, wanted, "{what}");
            assert!(answer["history"]["because"].is_string() && answer["online"]["because"].is_string(), "{what}");
            return listed;
        }
        Some(derived) => {
            let before = of.derived[..derived].iter().filter(|of| !of.on_read).count();
            let (wanted, found) = (&of.derive(&values)[before], &asked.row.values[features + before]);
            assert!(same_value(wanted, found, Nearness::Double(1e-12), &[]), "{what}{wanted} is not {found}");
        }
        None => {}
    }
    for store in ["history", "online"] {
        assert_eq!(answer[store]["same"], true, "{what}{store}: {:#}", answer[store]);
    }
    listed
}

#[test]
fn the_records_listed_for_numbers_of_the_shop_come_to_the_stored_values() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, EVENTS, SEED, dir.path());
    let place = Place::new(kafka::shared());
    place.run(&case, &[]);
    let log: BTreeMap<i32, Vec<LogRecord>> = Stream::partitions(&generate::SHOP, EVENTS, SEED).into_iter().collect();
    let stored = stored(&place, &case);
    let rng = &mut SmallRng::seed_from_u64(SEED);
    let listed: usize = (0..SAMPLE).map(|_| check(&place, &case, &log, &sample(rng, &case, &stored))).sum();
    assert!(listed > SAMPLE, "only {listed} records were listed for {SAMPLE} numbers");
}
