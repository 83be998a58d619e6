//! Explanations against the oracle on random topologies and logs: every window and aggregate, every kind of disorder.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray};
use kappa::decode::OwnedBatch;
use kappa::state::MemoryStore;
use kappa::task::{Kept, Moment, Part, Trace, Traces, kept, row_schema};
use kappa::topology::{self, Aggregate, DerivedOn, Plan, Window};
use rand::SeedableRng;
use rand::rngs::SmallRng;

use crate::support::compare::{Nearness, compare_rows, rows_of_batch, same_value};
use crate::support::engine::{Cuts, run};
use crate::support::generate::{RandomTopology, SmallOptions, random_topology, small};
use crate::support::oracle::{self, FeatureRow, LogRecord, PartitionRun};

/// At most so many rows of an entity, and entities of a partition, are explained.
const ROWS: usize = 20;
const ENTITIES: usize = 20;

fn raw(records: &[LogRecord]) -> OwnedBatch {
    let mut batch = OwnedBatch::new();
    for record in records {
        batch.push(record.offset, record.kafka_time, record.key.as_deref(), record.value.as_deref(), &[]);
    }
    batch
}

/// The way of one entity through a log, for all its features.
fn traced(plan: &Arc<Plan>, entity: usize, key: &str, records: &[LogRecord]) -> Trace {
    let all: Vec<usize> = (0..plan.entities[entity].features.len()).collect();
    let mut traces = Traces::new(plan, entity, [key], &all);
    for records in records.chunks(97) {
        traces.add(&raw(records)).unwrap();
    }
    traces.take(key).unwrap()
}

/// A row with these features, and otherwise like another; what is derived is the trace's.
fn like(plan: &Plan, row: &FeatureRow, features: Vec<ArrayRef>, trace: &Trace, moment: Moment) -> RecordBatch {
    let entity = &plan.entities[row.entity];
    let int = |n: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![n])) };
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from(vec![&*row.key])),
        int(row.event_time),
        int(row.known_at),
        int(row.offset),
        Arc::new(Int32Array::from(vec![row.sequence])),
        int(row.ordinal),
    ];
    columns.extend(features);
    let derived = entity.derived.iter().enumerate().filter(|(_, derived)| derived.on == DerivedOn::Row);
    columns.extend(derived.map(|(index, _)| trace.derived(index, moment).unwrap()));
    RecordBatch::try_new(row_schema(entity), columns).unwrap()
}

/// The row of the entity at a moment, as the trace has it.
fn explained(trace: &Trace, plan: &Plan, row: &FeatureRow, moment: Moment) -> RecordBatch {
    let features = 0..plan.entities[row.entity].features.len();
    let features = features.map(|feature| trace.why(feature, moment).unwrap().value).collect();
    like(plan, row, features, trace, moment)
}

/// The last row of every event time, by entity and key.
fn last_rows(expected: &PartitionRun) -> BTreeMap<(usize, Arc<str>), BTreeMap<i64, &FeatureRow>> {
    let mut entities: BTreeMap<(usize, Arc<str>), BTreeMap<i64, &FeatureRow>> = BTreeMap::new();
    for row in &expected.rows {
        entities.entry((row.entity, row.key.clone())).or_default().insert(row.event_time, row);
    }
    entities
}

/// What every entity's records come to at the moment of each of its rows is that row: with all records whose turn had
/// come, and with those up to the row's own offset.
fn check_rows(seed: u64, random: &RandomTopology, plan: &Arc<Plan>, expected: &PartitionRun, records: &[LogRecord]) {
    for ((entity, key), rows) in last_rows(expected).into_iter().take(ENTITIES) {
        let trace = traced(plan, entity, &key, records);
        let step = rows.len().div_ceil(ROWS);
        for row in rows.into_values().rev().step_by(step) {
            for through in [i64::MAX, row.offset] {
                let moment = Moment { at: row.event_time, through };
                let found = explained(&trace, plan, row, moment);
                let found = rows_of_batch(&found, &random.topology, entity, expected.partition);
                let differences = compare_rows(&random.topology, std::slice::from_ref(row), &found);
                assert!(differences.is_none(), "KAPPA_SEED={seed}: {moment:?}: {differences}\n{}", random.yaml);
            }
        }
    }
}

/// Whether what the state keeps of a feature's tiles is what the records come to, tile by tile: for the aggregates whose
/// tiles stay apart.
fn same_tiles(plan: &Plan, trace: &Trace, entity: usize, feature: usize, state: &Kept) -> Result<(), String> {
    let of = &plan.entities[entity].features[feature];
    let extreme = matches!(of.aggregate, Aggregate::Min | Aggregate::Max | Aggregate::Last);
    let subtracts = matches!(of.aggregate, Aggregate::Count | Aggregate::Sum | Aggregate::Avg);
    if !matches!(of.window, Window::Sliding { .. }) || of.by.is_some() || !(extreme || subtracts) {
        return Ok(());
    }
    let why = trace.why(feature, Moment::at(state.at)).unwrap();
    let kept = &state.features[feature];
    let of_log: Vec<(Part, ArrayRef)> =
        why.window.parts.iter().enumerate().map(|(row, (part, _))| (*part, why.window.values.slice(row, 1))).collect();
    let of_state: Vec<(Part, ArrayRef)> =
        kept.parts.iter().enumerate().map(|(row, part)| (*part, kept.values.slice(row, 1))).collect();
    let found = |one: &(Part, ArrayRef)| of_log.iter().any(|(part, value)| *part == one.0 && value == &one.1);
    if !of_state.iter().all(found) || (subtracts && of_state.len() != of_log.len()) {
        return Err(format!("{}: the log has {of_log:?}, the state {of_state:?}", of.name));
    }
    Ok(())
}

/// What the engine's state keeps, after all, of every entity is what its records come to then.
fn check_state(seed: u64, random: &RandomTopology, plan: &Arc<Plan>, expected: &PartitionRun, records: &[LogRecord]) {
    let cuts = Cuts { largest_batch: 100, epoch_rows: 50, cache_bytes: 20_000, restarts: 0.1 };
    let store = Arc::new(MemoryStore::default());
    let rng = &mut SmallRng::seed_from_u64(seed);
    run(plan, &random.topology, expected.partition, records, Arc::clone(&store), cuts, rng);
    for ((entity, key), rows) in last_rows(expected).into_iter().take(ENTITIES) {
        let place = format!("KAPPA_SEED={seed}: entity {entity}, key `{key}`\n{}", random.yaml);
        let all: Vec<usize> = (0..plan.entities[entity].features.len()).collect();
        let state = kept(plan, store.as_ref(), entity, &key, &all).unwrap().expect("something was written");
        let state = state.entity.expect("it has a row");
        let (trace, moment) = (traced(plan, entity, &key, records), Moment::at(state.at));
        let row = rows.into_values().next_back().expect("each has one");
        let read = |batch| rows_of_batch(&batch, &random.topology, entity, expected.partition).remove(0).values;
        let wanted = read(explained(&trace, plan, row, moment));
        let features = state.features.iter().map(|of| Arc::clone(&of.value)).collect();
        let found = read(like(plan, row, features, &trace, moment));
        for (feature, of) in random.topology.entities[entity].features.iter().enumerate() {
            let (wanted, found) = (&wanted[feature], &found[feature]);
            let same = same_value(wanted, found, Nearness::of(of), &[]);
            assert!(same, "{place}{}: the records come to {wanted}, the state has {found}", of.name);
            same_tiles(plan, &trace, entity, feature, &state).unwrap_or_else(|what| panic!("{place}{what}"));
        }
    }
}

fn check(seed: u64) {
    let random = random_topology(seed);
    let plan = Arc::new(topology::parse("random.yaml", &random.yaml).unwrap());
    for (partition, records) in small(seed, &random.topology, SmallOptions::of(seed)) {
        let expected = oracle::run_partition(&random.topology, partition, &records);
        check_rows(seed, &random, &plan, &expected, &records);
        check_state(seed, &random, &plan, &expected, &records);
    }
}

#[test]
fn the_records_of_every_row_and_the_state_come_to_the_law_on_random_topologies_and_logs() {
    match std::env::var("KAPPA_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => check(seed),
        None => (0..60).for_each(check),
    }
}
