//! Timers, sliding windows and sessions: when a row is written, at which time, and known since when.

use std::collections::HashMap;

use super::*;
use crate::support::generate::{SmallOptions, random_topology, small};
use crate::support::oracle::{FeatureRow, Value, Window, span};

#[test]
fn a_lifetime_count_counts_each_entity_by_itself() {
    check(
        &topology("", COUNT),
        &["@1000 u=a ts=1000", "@2000 u=b ts=2000", "@3000 u=a ts=3000"],
        &["0.0 #0 0:a T=1000 known=1000 [1]", "1.0 #1 0:b T=2000 known=2000 [1]", "2.0 #2 0:a T=3000 known=3000 [2]"],
    );
}

#[test]
fn a_silent_entitys_tile_leaves_when_the_watermark_reaches_tau() {
    // The tile [0, 5 s) leaves at 0 + 5 s + 10 s, not a millisecond earlier.
    check(
        &topology("", COUNT_10S),
        &["@1000 u=a ts=1000", "@14999 u=b ts=14999", "@15000 u=b ts=15000"],
        &[
            "0.0 #0 0:a T=1000 known=1000 [1]",
            "1.0 #1 0:b T=14999 known=14999 [1]",
            "2.0 #2 0:a T=15000 known=15000 [0]",
            "2.1 #3 0:b T=15000 known=15000 [2]",
        ],
    );
}

#[test]
fn an_entitys_own_record_fires_its_timers_before_the_watermark_does() {
    check(
        &topology("lateness: 5s", COUNT_10S),
        &["@1000 u=a ts=1000", "@17000 u=a ts=16000"],
        &[
            "0.0 #0 0:a T=1000 known=1000 [1]",
            // Known when the record came (17 s), before tau + lateness (20 s).
            "1.0 #1 0:a T=15000 known=17000 [0]",
            "1.1 #2 0:a T=16000 known=17000 [1]",
        ],
    );
}

#[test]
fn an_own_timer_is_known_no_later_than_tau_plus_lateness() {
    check(
        &topology("lateness: 5s", COUNT_10S),
        &["@1000 u=a ts=1000", "@25000 u=a ts=16000"],
        &[
            "0.0 #0 0:a T=1000 known=1000 [1]",
            "1.0 #1 0:a T=15000 known=20000 [0]",
            "1.1 #2 0:a T=16000 known=25000 [1]",
        ],
    );
}

#[test]
fn at_tau_equal_to_t_the_timer_comes_first() {
    check(
        &topology("lateness: 1s", COUNT_10S),
        &["@1000 u=a ts=1000", "@15000 u=a ts=15000"],
        &[
            "0.0 #0 0:a T=1000 known=1000 [1]",
            "1.0 #1 0:a T=15000 known=15000 [0]",
            "1.1 #2 0:a T=15000 known=15000 [1]",
        ],
    );
}

#[test]
fn a_gap_in_traffic_fires_timers_by_tau_each_known_at_tau_plus_lateness() {
    check(
        &topology("lateness: 5ms", COUNT_10MS),
        &["@0 u=a ts=0", "@10 u=a ts=10", "@1000 u=b ts=1000"],
        &[
            "0.0 #0 0:a T=0 known=0 [1]",
            "1.0 #1 0:a T=10 known=10 [2]",
            "2.0 #2 0:a T=20 known=25 [1]",
            "2.1 #3 0:a T=30 known=35 [0]",
            "2.2 #4 0:b T=1000 known=1000 [1]",
        ],
    );
}

#[test]
fn timers_of_one_tau_fire_by_entity_then_key() {
    let entities = format!(
        "  user:\n    key: u\n    features:\n{}  pair:\n    key: [u, n]\n    features:\n{}",
        indented(COUNT_1S),
        indented(COUNT_1S)
    );
    check(
        &with_entities("", &entities),
        &["@100 u=b n=1 ts=100", "@200 u=a n=1 ts=200", "@2000 u=c n=1 ts=2000"],
        &[
            "0.0 #0 0:b T=100 known=100 [1]",
            r#"0.1 #1 1:["b",1] T=100 known=100 [1]"#,
            "1.0 #2 0:a T=200 known=200 [1]",
            r#"1.1 #3 1:["a",1] T=200 known=200 [1]"#,
            "2.0 #4 0:a T=2000 known=2000 [0]",
            "2.1 #5 0:b T=2000 known=2000 [0]",
            r#"2.2 #6 1:["a",1] T=2000 known=2000 [0]"#,
            r#"2.3 #7 1:["b",1] T=2000 known=2000 [0]"#,
            "2.4 #8 0:c T=2000 known=2000 [1]",
            r#"2.5 #9 1:["c",1] T=2000 known=2000 [1]"#,
        ],
    );
}

#[test]
fn an_own_record_fires_the_timers_of_all_its_entities_by_tau_before_any_is_folded() {
    let entities = format!(
        "  user:\n    key: u\n    features:\n{}  pair:\n    key: [u, n]\n    features:\n{}",
        indented(COUNT_10MS),
        indented("c: {count: '*', window: {session: 5ms}}\nt: {count: '*', window: {tumbling: 20ms}}")
    );
    check(
        &with_entities("lateness: 100ms", &entities),
        &["@0 u=a n=1 ts=0", "@50 u=a n=1 ts=40"],
        &[
            "0.0 #0 0:a T=0 known=0 [1]",
            r#"0.1 #1 1:["a",1] T=0 known=0 [1, 1]"#,
            r#"1.0 #2 1:["a",1] T=6 known=50 [0, 1]"#,
            // The tile of one and the window of the other end at 20: the topology's order.
            "1.1 #3 0:a T=20 known=50 [0]",
            r#"1.2 #4 1:["a",1] T=20 known=50 [0, 0]"#,
            "1.3 #5 0:a T=40 known=50 [1]",
            r#"1.4 #6 1:["a",1] T=40 known=50 [1, 1]"#,
        ],
    );
}

#[test]
fn a_row_is_known_no_earlier_than_the_rows_and_records_before_it() {
    check(
        &topology("lateness: 2ms\ngrace: 1s", COUNT_10MS),
        &["@1000 u=a ts=0", "@30 u=b ts=30", "@40 u=a ts=35", "@41 u=b ts=60"],
        &[
            "0.0 #0 0:a T=0 known=1000 [1]",
            // Known at 22 by its time, but the record came at 1000.
            "1.0 #1 0:a T=20 known=1000 [0]",
            "1.1 #2 0:b T=30 known=30 [1]",
            "2.0 #3 0:a T=35 known=1000 [1]",
            // The watermark is 39: only the own record reaches the end of the tile of `b`, and its Kafka time is 41.
            "3.0 #4 0:b T=50 known=41 [0]",
            "3.1 #5 0:b T=60 known=41 [1]",
        ],
    );
}

#[test]
fn a_slide_need_not_divide_the_window() {
    // t = 4 lies in the tile [3, 6), which leaves at 6 + 10.
    check(
        &topology("", "c: {count: '*', window: 10ms, slide: 3ms}"),
        &["@4 u=a ts=4", "@15 u=b ts=15", "@16 u=b ts=16"],
        &[
            "0.0 #0 0:a T=4 known=4 [1]",
            "1.0 #1 0:b T=15 known=15 [1]",
            "2.0 #2 0:a T=16 known=16 [0]",
            "2.1 #3 0:b T=16 known=16 [2]",
        ],
    );
}

#[test]
fn tiles_are_floored_downwards_before_1970() {
    check(
        &topology("", COUNT_10MS),
        &["@0 u=a ts=-1", "@9 u=b ts=9", "@10 u=b ts=10"],
        &[
            "0.0 #0 0:a T=-1 known=0 [1]",
            "1.0 #1 0:b T=9 known=9 [1]",
            "2.0 #2 0:a T=10 known=10 [0]",
            "2.1 #3 0:b T=10 known=10 [2]",
        ],
    );
}

#[test]
fn a_session_goes_on_within_its_gap_and_is_over_one_millisecond_after() {
    check(
        &topology("", SESSION_10MS),
        &["@100 u=a ts=100", "@110 u=a ts=110", "@111 u=b ts=111", "@121 u=b ts=121"],
        &[
            "0.0 #0 0:a T=100 known=100 [1]",
            "1.0 #1 0:a T=110 known=110 [2]",
            // At 111 nothing of `a` changes: no row, and no number taken.
            "2.0 #2 0:b T=111 known=111 [1]",
            "3.0 #3 0:a T=121 known=121 [0]",
            "3.1 #4 0:b T=121 known=121 [2]",
        ],
    );
}

#[test]
fn an_out_of_order_record_joins_two_runs() {
    check(
        &topology("lateness: 1s", SESSION_10MS),
        &["@100 u=a ts=100", "@115 u=a ts=115", "@120 u=a ts=107"],
        &[
            "0.0 #0 0:a T=100 known=100 [1]",
            "1.0 #1 0:a T=111 known=115 [0]",
            "1.1 #2 0:a T=115 known=115 [1]",
            "2.0 #3 0:a T=115 known=120 [3]",
        ],
    );
}

#[test]
fn a_session_is_made_of_all_records_whatever_where_takes() {
    check(
        &topology("", "c: {count: '*', where: \"e = 'x'\", window: {session: 10ms}}"),
        &[
            "@100 u=a e=x ts=100",
            "@108 u=a e=y ts=108",
            "@116 u=a e=x ts=116",
            "@126 u=b e=y ts=126",
            "@127 u=b e=y ts=127",
        ],
        &["0.0 #0 0:a T=100 known=100 [1]", "2.0 #1 0:a T=116 known=116 [2]", "4.0 #2 0:a T=127 known=127 [0]"],
    );
}

#[test]
fn a_record_in_grace_does_not_wake_a_session_that_is_over() {
    check(
        &topology("grace: 1s", SESSION_10MS),
        &["@100 u=a ts=100", "@200 u=b ts=200", "@201 u=a ts=105", "@202 u=a ts=195", "@206 u=b ts=206"],
        &[
            "0.0 #0 0:a T=100 known=100 [1]",
            "1.0 #1 0:a T=111 known=111 [0]",
            "1.1 #2 0:b T=200 known=200 [1]",
            // 105 ended at 116, long before the watermark; 195 lives until 206.
            "3.0 #3 0:a T=200 known=202 [1]",
            "4.0 #4 0:a T=206 known=206 [0]",
            "4.1 #5 0:b T=206 known=206 [2]",
        ],
    );
}

#[test]
fn a_record_in_grace_too_old_for_the_short_window_changes_the_long_one() {
    let features = "s: {count: '*', window: 10ms, slide: 10ms}\nl: {count: '*', window: lifetime}";
    let run = check(
        &topology("grace: 100ms", features),
        &["@1000 u=a ts=1000", "@1001 u=a ts=900", "@1002 u=a ts=899"],
        &["0.0 #0 0:a T=1000 known=1000 [1, 1]", "1.0 #1 0:a T=1000 known=1001 [1, 2]"],
    );
    assert_eq!((run.counts.applied, run.counts.late), (2, 1));
    assert_eq!((run.dead_letters[0].offset, &*run.dead_letters[0].class), (2, "late"));
}

#[test]
fn the_first_record_of_an_entity_may_lie_behind_the_watermark() {
    check(
        &topology("grace: 1s", COUNT_10MS),
        &["@1000 u=a ts=1000", "@1000 u=b ts=995", "@1010 u=a ts=1010"],
        &[
            "0.0 #0 0:a T=1000 known=1000 [1]",
            "1.0 #1 0:b T=1000 known=1000 [1]",
            "2.0 #2 0:b T=1010 known=1010 [0]",
            "2.1 #3 0:a T=1010 known=1010 [2]",
        ],
    );
}

#[test]
fn the_law_holds_at_a_later_wall_clock_time_too() {
    let topology = topology("", COUNT_10S);
    let run = run(&topology, &["@1000 u=a ts=1000", "@7000 u=a ts=7000"]);
    let at = |t: i64| run.values_at(&topology, 0, &"a".into(), t).expect("the entity is known")[0].to_string();
    assert_eq!([at(0), at(14999), at(15000), at(19999), at(20000)], ["2", "2", "1", "1", "0"]);
}

#[test]
fn a_window_without_a_slide_has_the_default_one() {
    let slide = |window: &str| {
        let topology = topology("", &format!("c: {{count: '*', window: {window}}}"));
        match &topology.entities[0].features[0].window {
            Window::Sliding { slide, .. } => *slide,
            other => panic!("{other:?}"),
        }
    };
    let slides =
        [("12s", "1s"), ("12m", "1m"), ("1h", "5m"), ("12h", "1h"), ("24h", "1h"), ("11d", "1h"), ("90d", "1d")];
    for (window, expected) in slides {
        assert_eq!(slide(window), span(expected), "{window}");
    }
}

#[test]
fn between_two_rows_of_an_entity_nothing_changes() {
    let mut compared = 0;
    for seed in 0..150 {
        let topology = random_topology(seed).topology;
        for (partition, mut log) in small(seed, &topology, SmallOptions::of(seed)) {
            let before = run_partition(&topology, partition, &log);
            let Some(last) = log.last().map(|record| record.offset) else { continue };
            // One record of nobody, far ahead, moves the watermark past every timer.
            let end = 20_000_000_000_000;
            let value = format!("{{\"ts\":{end}}}").into_bytes();
            log.push(LogRecord { offset: last + 1, kafka_time: Some(end), key: None, value: Some(value) });
            let after = run_partition(&topology, partition, &log);
            let mut rows: HashMap<_, Vec<&FeatureRow>> = HashMap::new();
            after.rows.iter().for_each(|row| rows.entry((row.entity, row.key.clone())).or_default().push(row));
            for ((entity, key), rows) in rows {
                for pair in rows.windows(2).filter(|pair| pair[1].event_time > pair[0].event_time) {
                    // As of the whole log, so only the rows that timers wrote at its end can be compared.
                    if pair[1].offset < before.next_offset {
                        continue;
                    }
                    // Decayed values are as of their row, and what is derived may be made of them.
                    let steady = |values: &[Value]| -> Vec<Value> {
                        let features = topology.entities[entity].features.iter().zip(values);
                        features.filter(|(feature, _)| feature.half_life.is_none()).map(|(_, v)| v.clone()).collect()
                    };
                    let at = |t| steady(&before.values_at(&topology, entity, &key, t).expect("it has rows"));
                    assert_eq!(at(pair[1].event_time - 1), steady(&pair[0].values), "seed {seed}: {}", pair[0]);
                    assert_eq!(at(pair[1].event_time), steady(&pair[1].values), "seed {seed}: {}", pair[1]);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1_000, "{compared}");
}
