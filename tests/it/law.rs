//! The engine against the independent oracle: every window and aggregate, every kind of disorder, however the log is
//! cut into batches, epochs and restarts, in memory and on RocksDB.

use std::sync::Arc;

use kappa::state::{MemoryStore, RocksShared, RocksStore};
use kappa::topology;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::support::compare::{Conservation, compare_dead_letters, compare_rows};
use crate::support::engine::{Cuts, EngineRun, conservation, run};
use crate::support::generate::{SmallOptions, random_topology, small};
use crate::support::oracle::{self, PartitionRun, Topology};

fn cuts(rng: &mut SmallRng) -> Cuts {
    Cuts {
        largest_batch: [1, 7, 100, 1000][rng.random_range(0..4)],
        epoch_rows: [1, 3, 50, 100_000][rng.random_range(0..4)],
        cache_bytes: [0, 20_000, 1 << 30][rng.random_range(0..3)],
        restarts: [0.0, 0.1, 1.0][rng.random_range(0..3)],
    }
}

/// Rows, dead letters, counts and watermark of the engine are the oracle's.
#[track_caller]
pub(crate) fn assert_equal(what: &str, topology: &Topology, expected: &PartitionRun, actual: &EngineRun) {
    let differences = compare_rows(topology, &expected.rows, &actual.rows);
    assert!(differences.is_none(), "{what}: {differences}");
    let dead_letters = compare_dead_letters(&expected.dead_letters, &actual.dead_letters);
    assert!(dead_letters.is_empty(), "{what}: dead letters: {dead_letters:#?}");
    let (meta, counts) = (&actual.meta, actual.meta.counts);
    let found = conservation(meta, actual.dead_letters.len() as u64);
    if counts.delivered() > 0 {
        found
            .check_against(&Conservation::expected(expected, meta.start_offset))
            .unwrap_or_else(|e| panic!("{what}: {e:#?}"));
    }
    assert_eq!(counts.null_keys, expected.counts.null_keys.iter().sum::<u64>(), "{what}: null keys");
    assert_eq!(meta.watermark, expected.watermark, "{what}: watermark");
}

/// One seed: a random topology and log, in memory with random cuts; every eighth on RocksDB too.
fn check(seed: u64) {
    let random = random_topology(seed);
    let plan =
        topology::parse("random.yaml", &random.yaml).unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", random.yaml));
    let plan = Arc::new(plan);
    let rng = &mut SmallRng::seed_from_u64(seed);
    for (partition, records) in small(seed, &random.topology, SmallOptions::of(seed)) {
        let expected = oracle::run_partition(&random.topology, partition, &records);
        let cuts = cuts(rng);
        let what = format!("KAPPA_SEED={seed} make property: partition {partition}, {cuts:?}\n{}", random.yaml);
        let store = Arc::new(MemoryStore::default());
        let actual = run(&plan, &random.topology, partition, &records, store, cuts, rng);
        assert_equal(&what, &random.topology, &expected, &actual);
        if seed.is_multiple_of(8) {
            let dir = tempfile::tempdir().unwrap();
            let store = RocksStore::open(dir.path(), &RocksShared::new(1 << 20, 1 << 20, 64)).unwrap();
            let actual = run(&plan, &random.topology, partition, &records, Arc::new(store), cuts, rng);
            assert_equal(&format!("on RocksDB: {what}"), &random.topology, &expected, &actual);
        }
    }
}

/// How many seeds: `KAPPA_SEEDS`, by default a few hundred; `KAPPA_SEED` runs one.
#[test]
fn the_engine_equals_the_oracle_on_random_topologies_and_logs() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("KAPPA_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("KAPPA_SEEDS").unwrap_or(400),
    };
    let next = std::sync::atomic::AtomicU64::new(seeds.start);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    check(seed);
                }
            });
        }
    });
}
