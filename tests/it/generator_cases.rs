//! The generators keep their promises: the same seed gives the same log, and the shares are what they say.

use std::collections::HashMap;

use crate::support::generate::{STORIES, SmallOptions, Stream, random_topology, small};
use crate::support::oracle::{Counts, FeatureRow, Judged, Topology, Value, Window, judge, run};

#[test]
fn the_same_seed_gives_the_same_log() {
    let topology = random_topology(5).topology;
    assert_eq!(random_topology(5).yaml, random_topology(5).yaml);
    assert_eq!(small(9, &topology, SmallOptions::of(9)), small(9, &topology, SmallOptions::of(9)));
    assert_ne!(small(9, &topology, SmallOptions::of(9)), small(10, &topology, SmallOptions::of(9)));
    for story in STORIES {
        let first = Stream::partitions(story, 500, 3);
        assert_eq!(first, Stream::partitions(story, 500, 3));
        assert_ne!(first, Stream::partitions(story, 500, 4));
    }
}

#[test]
fn a_story_has_the_shares_that_it_promises() {
    for story in STORIES {
        let topology = Topology::from_yaml(story.yaml);
        let logs = Stream::partitions(story, 40_000, 1);
        let total: usize = logs.iter().map(|(_, log)| log.len()).sum();
        let (mut out_of_order, mut keys) = (0u64, HashMap::<String, u64>::new());
        for (_, log) in &logs {
            let mut seen = i64::MIN / 2;
            for record in log {
                if let Judged::Row { event_time, keys: found, .. } = judge(&topology, record) {
                    let oldest = seen - topology.lateness - topology.grace;
                    out_of_order += u64::from(event_time < seen && event_time >= oldest);
                    seen = seen.max(event_time.min(record.kafka_time.expect("it has one")));
                    if let Some(key) = &found[0] {
                        *keys.entry(key.to_string()).or_default() += 1;
                    }
                }
            }
            assert!(log.len() > total / 16, "no partition is nearly empty");
        }
        let runs = run(&topology, &logs);
        let name = story.name;
        let share = |count: u64| count as f64 / total as f64;
        let sum = |of: fn(&Counts) -> u64| share(runs.iter().map(|run| of(&run.counts)).sum());
        assert!((40_000..=40_001).contains(&total), "{name}: {total}");
        assert!((0.09..0.11).contains(&share(out_of_order)), "{name}: {out_of_order} out of order");
        assert!((0.008..0.012).contains(&sum(|counts| counts.late)), "{name}: {} late", sum(|counts| counts.late));
        assert!((0.0005..0.002).contains(&sum(|counts| counts.malformed + counts.over_limit)), "{name}");
        assert!(sum(|counts| counts.over_limit) > 0.0 && sum(|counts| counts.malformed) > 0.0, "{name}");
        assert!(sum(|counts| counts.future) > 0.0 && sum(|counts| counts.tombstone) > 0.0, "{name}");
        // A null key is one of every entity.
        assert!(runs.iter().map(|run| run.counts.null_keys[0]).sum::<u64>() > 0, "{name}");
        let hottest = keys.values().max().copied().expect("there are keys");
        assert!((0.006..0.014).contains(&share(hottest)), "{name}: {hottest} of the hottest key");
    }
}

#[test]
fn a_story_reaches_what_its_topology_has() {
    for story in STORIES {
        let topology = Topology::from_yaml(story.yaml);
        let runs = run(&topology, &Stream::partitions(story, 40_000, 2));
        let rows = || runs.iter().flat_map(|run| &run.rows);
        for (entity, plan) in topology.entities.iter().enumerate() {
            for (index, (name, _)) in plan.columns().into_iter().enumerate() {
                let values = rows().filter(|row| row.entity == entity).map(|row| &row.values[index]);
                let (mut different, mut last) = (0, &Value::Bool(true));
                for value in values {
                    different += u32::from(value != last);
                    last = value;
                }
                assert!(different > 50, "{}: {}.{name} is hardly ever another", story.name, plan.name);
            }
            // Forgotten for good: everything is as it was before the first record.
            if plan.forget_after.is_some() {
                let nothing = |row: &&FeatureRow| {
                    row.entity == entity
                        && plan.features.iter().zip(&row.values).all(|(f, value)| *value == f.empty_value())
                };
                assert!(rows().filter(nothing).count() > 20, "{}: no {} is forgotten", story.name, plan.name);
            }
        }
    }
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
