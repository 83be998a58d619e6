//! The engine without its edges: a task over a store, fed from a list of records, for comparison with the oracle.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use kappa::decode::{Decoder, OwnedBatch};
use kappa::state::{Epoch, Store};
use kappa::task::{Limits, Meta, Task};
use kappa::topology::Plan;
use rand::Rng;
use rand::rngs::SmallRng;

use super::compare::{Conservation, rows_of_batch};
use super::oracle::{DeadLetter, FeatureRow, LogRecord, Topology};

/// How a run is cut into batches, epochs and restarts: none of it may show.
#[derive(Debug, Clone, Copy)]
pub struct Cuts {
    pub largest_batch: usize,
    pub epoch_rows: usize,
    pub cache_bytes: usize,
    /// The share of epochs after which the task is dropped and restored from its store.
    pub restarts: f64,
}

/// What a run wrote.
#[derive(Debug)]
pub struct EngineRun {
    pub rows: Vec<FeatureRow>,
    pub dead_letters: Vec<DeadLetter>,
    pub meta: Meta,
}

/// Runs one partition's records through the engine.
pub fn run<S: Store + std::fmt::Debug + 'static>(
    plan: &Arc<Plan>,
    topology: &Topology,
    partition: i32,
    records: &[LogRecord],
    store: Arc<S>,
    cuts: Cuts,
    rng: &mut SmallRng,
) -> EngineRun {
    let start = records.first().map_or(0, |record| record.offset);
    let limits = Limits { epoch_rows: cuts.epoch_rows, cache_bytes: cuts.cache_bytes };
    let open = || Task::open(Arc::clone(plan), partition, Arc::clone(&store), start, limits).expect("the task opens");
    let mut decoder = Decoder::new(&plan.source, &plan.entity_keys());
    let (mut task, mut rows, mut dead_letters) = (open(), vec![], vec![]);
    let mut at = 0;
    while at < records.len() {
        let size = rng.random_range(1..=cuts.largest_batch).min(records.len() - at);
        let mut batch = OwnedBatch::default();
        for record in &records[at..at + size] {
            batch.push(record.offset, record.kafka_time, record.key.as_deref(), record.value.as_deref(), &[]);
        }
        let decoded = decoder.decode(&batch);
        let evaluated = plan.exprs.evaluate(&decoded.rows);
        let reached = task.step(&batch, &decoded, &evaluated, 0).expect("the step succeeds");
        at += reached;
        if reached < size || task.is_full() || rng.random_bool(0.3) {
            collect(task.end_epoch().expect("the epoch ends"), topology, &mut rows, &mut dead_letters);
            if rng.random_bool(cuts.restarts) {
                task = open();
                let next = task.meta().next_offset;
                at = records.partition_point(|record| record.offset < next);
            }
        }
    }
    if task.has_changes() {
        collect(task.end_epoch().expect("the epoch ends"), topology, &mut rows, &mut dead_letters);
    }
    EngineRun { rows, dead_letters, meta: task.meta().clone() }
}

/// The terms of the conservation equation as a task's stored meta has them; dead letters are counted where they lie.
pub fn conservation(meta: &Meta, dead_letters: u64) -> Conservation {
    let counts = meta.counts;
    Conservation {
        start: meta.start_offset,
        end: meta.next_offset,
        gaps: meta.gaps(),
        delivered: counts.delivered(),
        applied: counts.applied,
        filtered: counts.filtered,
        late: counts.late,
        future: counts.future,
        tombstone: counts.tombstone,
        malformed: counts.malformed,
        over_limit: counts.over_limit,
        dead_letters,
    }
}

fn collect(epoch: Epoch, topology: &Topology, rows: &mut Vec<FeatureRow>, dead_letters: &mut Vec<DeadLetter>) {
    // Through its bytes, as a sink that reads the outbox after a restart.
    let epoch = Epoch::decode(&epoch.encode().expect("an epoch encodes")).expect("an epoch decodes");
    for entity_rows in &epoch.rows {
        rows.extend(rows_of_batch(&entity_rows.rows, topology, entity_rows.entity, epoch.partition));
    }
    rows.sort_by_key(|row| row.ordinal);
    if let Some(batch) = &epoch.dead_letters {
        let offsets = batch["offset"].as_primitive::<Int64Type>();
        for (offset, class) in offsets.values().iter().zip(batch["class"].as_string::<i32>()) {
            let class = class.expect("a class is never null").replace('_', " ");
            dead_letters.push(DeadLetter { partition: epoch.partition, offset: *offset, class });
        }
    }
}
