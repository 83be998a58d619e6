//! The generators keep their promises: the same seed gives the same log, and the shares are what they say.

use std::collections::HashMap;

use crate::support::generate::{Shop, ShopOptions, SmallOptions, random_topology, small};
use crate::support::oracle::{FeatureRow, Judged, Topology, Value, Window, judge, run};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

#[test]
fn the_same_seed_gives_the_same_log() {
    let topology = random_topology(5).topology;
    assert_eq!(random_topology(5).yaml, random_topology(5).yaml);
    assert_eq!(small(9, &topology, SmallOptions::of(9)), small(9, &topology, SmallOptions::of(9)));
    assert_ne!(small(9, &topology, SmallOptions::of(9)), small(10, &topology, SmallOptions::of(9)));
    let first = Shop::partitions(ShopOptions::new(500, 3));
    assert_eq!(first, Shop::partitions(ShopOptions::new(500, 3)));
    assert_eq!(first[2].1, Shop::partition(ShopOptions::new(500, 3), 2));
}

#[test]
fn a_shop_log_has_the_shares_that_it_names() {
    let topology = Topology::from_yaml(SHOP);
    let options = ShopOptions::new(40_000, 1);
    let lateness = options.lateness;
    let logs = Shop::partitions(options);
    let total: usize = logs.iter().map(|(_, log)| log.len()).sum();
    let (mut out_of_order, mut users) = (0, HashMap::<String, u32>::new());
    for (_, log) in &logs {
        let mut seen = i64::MIN;
        for record in log {
            if let Judged::Row { event_time, keys, .. } = judge(&topology, record) {
                out_of_order += u32::from(event_time < seen && event_time >= seen - lateness);
                seen = seen.max(event_time.min(record.kafka_time.expect("it has one")));
                if let Some(key) = &keys[0] {
                    *users.entry(key.to_string()).or_default() += 1;
                }
            }
        }
        assert!(log.len() > total / 16, "no partition is nearly empty");
    }
    let runs = run(&topology, &logs);
    let share = |count: u64| count as f64 / total as f64;
    let sum = |of: fn(&crate::support::oracle::Counts) -> u64| share(runs.iter().map(|run| of(&run.counts)).sum());
    assert_eq!(total, 40_000);
    assert!((0.09..0.11).contains(&share(out_of_order.into())), "{out_of_order} out of order");
    assert!((0.008..0.012).contains(&sum(|counts| counts.late)), "{} late", sum(|counts| counts.late));
    assert!((0.0005..0.002).contains(&sum(|counts| counts.malformed + counts.over_limit)));
    assert!(sum(|counts| counts.future) > 0.0 && sum(|counts| counts.tombstone) > 0.0);
    let hottest = users.values().max().copied().expect("there are users");
    assert!((0.008..0.012).contains(&share(hottest.into())), "{hottest} of the hottest user");
    assert_eq!(users["u0"], hottest);
}

#[test]
fn small_logs_reach_every_class_and_topologies_every_window() {
    let (mut classes, mut windows, mut rows) = ([0u64; 7], [0; 7], 0);
    let (mut aggregates, mut lost) = (HashMap::<_, [u32; 3]>::new(), 0);
    for seed in 0..200 {
        let topology = random_topology(seed).topology;
        for feature in topology.entities.iter().flat_map(|entity| &entity.features) {
            windows[match feature.window {
                Window::Sliding { .. } => 0,
                Window::Session { .. } => 1,
                Window::Lifetime => 2,
                Window::Tumbling { complete, .. } => 3 + usize::from(complete),
                Window::Since(_) => 5,
                Window::Last(_) => 6,
            }] += 1;
            let [plain, by, decayed] = aggregates.entry(std::mem::discriminant(&feature.aggregate)).or_default();
            *plain += 1;
            *by += u32::from(feature.by.is_some());
            *decayed += u32::from(feature.half_life.is_some());
        }
        for run in run(&topology, &small(seed, &topology, SmallOptions::of(seed))) {
            let counts = run.counts;
            let found = [
                counts.tombstone,
                counts.over_limit,
                counts.malformed,
                counts.filtered,
                counts.future,
                counts.late,
                counts.applied,
            ];
            assert_eq!(found.iter().sum::<u64>(), counts.delivered);
            classes.iter_mut().zip(found).for_each(|(sum, count)| *sum += count);
            rows += run.rows.len();
            lost += run.rows.iter().filter(|row| loses(&topology, row)).count();
        }
    }
    assert!(classes.iter().all(|count| *count > 20), "{classes:?}");
    assert!(windows.iter().all(|count| *count > 40), "{windows:?}");
    assert_eq!(aggregates.len(), 16);
    assert!(aggregates.values().all(|[plain, by, _]| *plain > 20 && *by > 3), "{aggregates:?}");
    assert_eq!(aggregates.values().filter(|counts| counts[2] > 10).count(), 3, "{aggregates:?}");
    assert!(lost > 500, "{lost} rows with a value that is lost to a bound");
    assert!(rows > 20_000, "{rows} rows");
}

/// Whether a bucket is null, or a feature that shows something else for nothing left.
fn loses(topology: &Topology, row: &FeatureRow) -> bool {
    let lost = |value: &Value| match value {
        Value::Map(pairs) => pairs.iter().any(|(_, value)| value.is_null()),
        _ => false,
    };
    let features = &topology.entities[row.entity].features;
    features
        .iter()
        .zip(&row.values)
        .any(|(feature, value)| lost(value) || (value.is_null() && !feature.empty_value().is_null()))
}
