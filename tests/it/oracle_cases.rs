//! The oracle against cases computed by hand: each test shows a topology, a log and every row that it must give.
//!
//! A log line is `@kafka_time field=value ...`; `u` and `e` are strings, the rest is JSON as it stands. `@-` has no
//! Kafka time, `@5 tombstone` no value, `@5 raw:...` exactly these bytes. Offsets count from 0. A row reads
//! `offset.sequence #ordinal entity:key T=... known=... [values]`.

use std::collections::HashMap;

use crate::support::generate::{SmallOptions, random_topology, small};
use crate::support::oracle::{
    FeatureRow, Judged, LogRecord, PartitionRun, Topology, Window, exact_sum, judge, run_partition, span,
};

fn topology(source: &str, features: &str) -> Topology {
    with_entities(source, &format!("  user:\n    key: u\n    features:\n{}", indented(features)))
}

fn indented(features: &str) -> String {
    features.lines().map(|line| format!("      {}\n", line.trim())).collect()
}

fn with_entities(source: &str, entities: &str) -> Topology {
    let source: String = source.lines().map(|line| format!("  {}\n", line.trim())).collect();
    Topology::from_yaml(&format!(
        "topology: t\nsource:\n  topic: t\n  format: json\n  event_time: ts\n{source}  schema: {{u: string, e: string, \
         n: int64, p: double, f: bool, w: timestamp_ms, ts: timestamp_ms}}\nentities:\n{entities}"
    ))
}

fn record(offset: i64, line: &str) -> LogRecord {
    let (time, rest) = line.strip_prefix('@').expect("a line begins with @").split_once(' ').expect("a blank");
    let kafka_time = if time == "-" { None } else { Some(time.parse().expect("a Kafka time")) };
    let value = if rest == "tombstone" {
        None
    } else if let Some(raw) = rest.strip_prefix("raw:") {
        Some(raw.as_bytes().to_vec())
    } else {
        let fields: Vec<String> = rest
            .split_whitespace()
            .map(|pair| {
                let (name, value) = pair.split_once('=').expect("name=value");
                if (name == "u" || name == "e") && value != "null" {
                    format!("\"{name}\":\"{value}\"")
                } else {
                    format!("\"{name}\":{value}")
                }
            })
            .collect();
        Some(format!("{{{}}}", fields.join(",")).into_bytes())
    };
    LogRecord { offset, kafka_time, key: None, value }
}

fn run(topology: &Topology, log: &[&str]) -> PartitionRun {
    let records: Vec<LogRecord> = log.iter().zip(0..).map(|(line, offset)| record(offset, line)).collect();
    run_partition(topology, 0, &records)
}

#[track_caller]
fn check(topology: &Topology, log: &[&str], rows: &[&str]) -> PartitionRun {
    let run = run(topology, log);
    let found: Vec<String> = run.rows.iter().map(ToString::to_string).collect();
    assert_eq!(found, rows);
    run
}

const COUNT: &str = "c: {count: '*', window: lifetime}";
const COUNT_10S: &str = "c: {count: '*', window: 10s, slide: 5s}";
const COUNT_10MS: &str = "c: {count: '*', window: 10ms, slide: 10ms}";
const COUNT_1S: &str = "c: {count: '*', window: 1s, slide: 1s}";
const SESSION_10MS: &str = "c: {count: '*', window: {session: 10ms}}";

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
fn late_is_strictly_before_the_watermark() {
    let run = check(
        &topology("lateness: 10ms", COUNT),
        &["@100 u=a ts=100", "@101 u=a ts=90", "@102 u=a ts=89"],
        &["0.0 #0 0:a T=100 known=100 [1]", "1.0 #1 0:a T=100 known=101 [2]"],
    );
    assert_eq!((run.counts.late, run.watermark), (1, Some(90)));
}

#[test]
fn the_watermark_trusts_kafkas_clock_over_a_producers_that_runs_ahead() {
    check(
        &topology("", COUNT_1S),
        &["@1000 u=a ts=5000", "@6999 u=b ts=6999", "@7000 u=b ts=7000"],
        &[
            "0.0 #0 0:a T=5000 known=1000 [1]",
            "1.0 #1 0:b T=6999 known=6999 [1]",
            "2.0 #2 0:a T=7000 known=7000 [0]",
            "2.1 #3 0:b T=7000 known=7000 [2]",
        ],
    );
}

#[test]
fn a_timer_that_a_future_clock_reaches_is_known_when_the_record_came() {
    check(
        &topology("", COUNT_1S),
        &["@1000 u=a ts=1000", "@1500 u=a ts=9000"],
        &["0.0 #0 0:a T=1000 known=1000 [1]", "1.0 #1 0:a T=3000 known=1500 [0]", "1.1 #2 0:a T=9000 known=1500 [1]"],
    );
}

#[test]
fn future_is_strictly_beyond_max_future_and_moves_nothing() {
    let run = check(
        &topology("max_future: 10ms", COUNT),
        &["@1000 u=a ts=1010", "@1000 u=a ts=1011", "@900 u=a ts=910"],
        &["0.0 #0 0:a T=1010 known=1000 [1]"],
    );
    // The third: within 10 ms of its own Kafka time, but behind the watermark of 1000.
    assert_eq!((run.counts.future, run.counts.late, run.counts.applied), (1, 1, 1));
    assert_eq!(run.watermark, Some(1000));
}

#[test]
fn without_max_future_the_event_time_stands_in_for_a_missing_kafka_time() {
    let run = check(
        &topology("max_future: off\nlateness: 1s", COUNT),
        &["@- u=a ts=5000", "@1 u=a ts=9000000"],
        &["0.0 #0 0:a T=5000 known=5000 [1]", "1.0 #1 0:a T=9000000 known=5000 [2]"],
    );
    assert_eq!(run.watermark, Some(4000));
}

#[test]
#[should_panic(expected = "no Kafka time")]
fn a_missing_kafka_time_stops_the_task() {
    run(&topology("", COUNT), &["@- u=a ts=5000"]);
}

#[test]
fn filtered_records_move_the_watermark_and_touch_no_entity() {
    let run = check(
        &topology("where: \"e != 'noise'\"", COUNT_1S),
        &[
            "@1000 u=a e=x ts=1000",
            "@3000 u=b e=noise ts=3000",
            "@3001 u=c e=null ts=3001",
            "@3002 u=a e=noise ts=1",
            "@3003 u=a e=noise ts=9000000",
        ],
        &["0.0 #0 0:a T=1000 known=1000 [1]", "1.0 #1 0:a T=3000 known=3000 [0]"],
    );
    // A filtered record that is late or future besides counts as filtered and leaves the watermark alone.
    assert_eq!((run.counts.filtered, run.counts.applied, run.watermark), (4, 1, Some(3001)));
    assert!(run.dead_letters.is_empty());
}

#[test]
fn a_null_key_is_applied_and_moves_the_watermark() {
    let run = check(
        &topology("", COUNT_1S),
        &["@1000 u=a ts=1000", "@3000 u=null ts=3000", "@3001 ts=3001"],
        &["0.0 #0 0:a T=1000 known=1000 [1]", "1.0 #1 0:a T=3000 known=3000 [0]"],
    );
    assert_eq!((run.counts.applied, run.counts.null_keys.clone(), run.entities()), (3, vec![2], 1));
}

#[test]
fn the_empty_string_is_a_key_and_one_null_part_is_a_null_key() {
    let entities = format!(
        "  user:\n    key: u\n    features:\n{}  pair:\n    key: [u, n]\n    features:\n{}",
        indented(COUNT),
        indented(COUNT)
    );
    let run = check(
        &with_entities("", &entities),
        &["@1 u= n=-7 ts=1", "@2 u= n=null ts=2"],
        &["0.0 #0 0: T=1 known=1 [1]", r#"0.1 #1 1:["",-7] T=1 known=1 [1]"#, "1.0 #2 0: T=2 known=2 [2]"],
    );
    assert_eq!(run.counts.null_keys, [0, 1]);
}

#[test]
fn whole_numbers_are_keys_as_decimal_text() {
    let entities = format!("  item:\n    key: n\n    features:\n{}", indented(COUNT));
    check(&with_entities("", &entities), &["@1 n=-42 ts=1"], &["0.0 #0 0:-42 T=1 known=1 [1]"]);
}

#[test]
fn nulls_are_skipped_by_every_aggregate() {
    let features = "c: {count: n, window: lifetime}\ns: {sum: n, window: lifetime}\na: {avg: n, window: lifetime}
        i: {min: n, window: lifetime}\nx: {max: n, window: lifetime}\nl: {last: n, window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a n=null ts=1", "@2 u=a n=5 ts=2", "@3 u=a n=-2 ts=3", "@4 u=a ts=4"],
        &["1.0 #0 0:a T=2 known=2 [1, 5, 5.0, 5, 5, 5]", "2.0 #1 0:a T=3 known=3 [2, 3, 1.5, -2, 5, -2]"],
    );
}

#[test]
fn an_inexact_sum_writes_a_row_for_every_input_an_exact_one_for_every_change() {
    check(
        &topology("", "d: {sum: p, window: lifetime}\ni: {sum: n, window: lifetime}"),
        &["@1 u=a p=0 n=0 ts=1", "@2 u=a n=0 ts=2", "@3 u=a p=5 ts=3"],
        &["0.0 #0 0:a T=1 known=1 [0.0, 0]", "2.0 #1 0:a T=3 known=3 [5.0, 0]"],
    );
}

#[test]
fn an_average_writes_a_row_when_an_input_enters_or_leaves_even_if_it_stays_the_same() {
    check(
        &topology("", "a: {avg: p, window: 10ms, slide: 10ms}"),
        &["@0 u=a p=2 ts=0", "@10 u=a p=2 ts=10", "@11 u=a ts=11", "@20 u=b ts=20", "@31 u=b ts=31"],
        &[
            "0.0 #0 0:a T=0 known=0 [2.0]",
            "1.0 #1 0:a T=10 known=10 [2.0]",
            "3.0 #2 0:a T=20 known=20 [2.0]",
            "4.0 #3 0:a T=30 known=30 [null]",
        ],
    );
}

#[test]
fn a_row_is_known_no_earlier_than_any_record_folded_before_it() {
    check(
        &topology("", "c: {count: n, window: lifetime}"),
        &["@1 u=a n=1 ts=1", "@100 u=a ts=2", "@50 u=a n=1 ts=3"],
        &["0.0 #0 0:a T=1 known=1 [1]", "2.0 #1 0:a T=3 known=100 [2]"],
    );
}

#[test]
fn a_fold_is_known_no_earlier_than_the_watermark() {
    check(
        &topology("grace: 1s", COUNT),
        &["@1000 u=b ts=1000", "@400 u=a ts=300"],
        &["0.0 #0 0:b T=1000 known=1000 [1]", "1.0 #1 0:a T=1000 known=1000 [1]"],
    );
}

#[test]
fn last_breaks_ties_by_offset_and_skips_nulls() {
    check(
        &topology("lateness: 10ms", "l: {last: n, window: lifetime}"),
        &["@5 u=a n=1 ts=5", "@6 u=a n=2 ts=5", "@7 u=a n=3 ts=4", "@8 u=a ts=5"],
        &["0.0 #0 0:a T=5 known=5 [1]", "1.0 #1 0:a T=5 known=6 [2]"],
    );
}

#[test]
fn a_maximum_falls_back_when_the_largest_leaves() {
    check(
        &topology("", "m: {max: p, window: 10ms, slide: 10ms}\nl: {last: p, window: 10ms, slide: 10ms}"),
        &["@0 u=a p=9 ts=0", "@10 u=a p=3 ts=10", "@20 u=b ts=20", "@30 u=b ts=30"],
        &[
            "0.0 #0 0:a T=0 known=0 [9.0, 9.0]",
            "1.0 #1 0:a T=10 known=10 [9.0, 3.0]",
            "2.0 #2 0:a T=20 known=20 [3.0, 3.0]",
            "3.0 #3 0:a T=30 known=30 [null, null]",
        ],
    );
}

#[test]
fn sums_of_doubles_are_exact_and_rounded_once() {
    check(
        &topology("", "s: {sum: p, window: lifetime}"),
        &["@1 u=a p=0.1 ts=1", "@2 u=a p=0.2 ts=2", "@3 u=a p=-0.3 ts=3", "@4 u=a p=-0.0 ts=4"],
        &[
            "0.0 #0 0:a T=1 known=1 [0.1]",
            "1.0 #1 0:a T=2 known=2 [0.30000000000000004]",
            "2.0 #2 0:a T=3 known=3 [2.7755575615628914e-17]",
            "3.0 #3 0:a T=4 known=4 [2.7755575615628914e-17]",
        ],
    );
    assert_eq!(exact_sum(&[1e308, 1e308]), None);
}

#[test]
fn a_whole_sum_beyond_64_bits_is_null_and_comes_back() {
    check(
        &topology("", "s: {sum: n, window: lifetime}"),
        &["@1 u=a n=9223372036854775807 ts=1", "@2 u=a n=1 ts=2", "@3 u=a n=-2 ts=3"],
        &[
            "0.0 #0 0:a T=1 known=1 [9223372036854775807]",
            "1.0 #1 0:a T=2 known=2 [null]",
            "2.0 #2 0:a T=3 known=3 [9223372036854775806]",
        ],
    );
}

#[test]
fn an_expression_that_fails_is_null_for_that_record_alone() {
    check(
        &topology("", "s: {sum: 'n * 4611686018427387904', window: lifetime}\nr: {count: 'p / 0', window: lifetime}"),
        &["@1 u=a n=1 p=1 ts=1", "@2 u=a n=2 p=0 ts=2", "@3 u=a n=-1 ts=3"],
        &["0.0 #0 0:a T=1 known=1 [4611686018427387904, 0]", "2.0 #1 0:a T=3 known=3 [0, 0]"],
    );
}

#[test]
fn conditions_follow_three_valued_logic() {
    let features = "t: {count: '*', where: f, window: lifetime}\nn: {count: '*', where: not f, window: lifetime}
        o: {count: '*', where: f or n > 1, window: lifetime}\ni: {count: '*', where: 'n not in (1, 3)', window: lifetime}
        b: {count: '*', where: n is null and p is not null, window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a f=true ts=1", "@2 u=a f=null n=2 ts=2", "@3 u=a f=false n=1 ts=3", "@4 u=a p=1 ts=4"],
        &[
            "0.0 #0 0:a T=1 known=1 [1, 0, 1, 0, 0]",
            "1.0 #1 0:a T=2 known=2 [1, 0, 2, 1, 0]",
            "2.0 #2 0:a T=3 known=3 [1, 1, 2, 1, 0]",
            "3.0 #3 0:a T=4 known=4 [1, 1, 2, 1, 1]",
        ],
    );
}

#[test]
fn a_case_expression_signs_its_input() {
    check(
        &topology("", "s: {sum: \"case e when 'add' then p when 'remove' then -p end\", window: lifetime}"),
        &["@1 u=a e=add p=3 ts=1", "@2 u=a e=look p=9 ts=2", "@3 u=a e=remove p=1.5 ts=3"],
        &["0.0 #0 0:a T=1 known=1 [3.0]", "2.0 #1 0:a T=3 known=3 [1.5]"],
    );
}

#[test]
fn strings_times_and_booleans_have_order_and_last() {
    let features = "i: {min: e, window: lifetime}\nx: {max: e, window: lifetime}\nw: {max: w, window: lifetime}
        l: {last: w, window: lifetime}\nf: {last: f, window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a e=b w=7 f=true ts=1", "@2 u=a e=B w=5 f=false ts=2", "@3 u=a e=é ts=3"],
        &[
            "0.0 #0 0:a T=1 known=1 ['b', 'b', @7, @7, true]",
            "1.0 #1 0:a T=2 known=2 ['B', 'b', @7, @5, false]",
            "2.0 #2 0:a T=3 known=3 ['B', 'é', @7, @5, false]",
        ],
    );
}

#[test]
fn a_duplicate_counts_twice_and_gaps_in_offsets_are_nothing() {
    let topology = topology("", COUNT);
    let run = run_partition(&topology, 3, &[record(5, "@1 u=a ts=1"), record(9, "@1 u=a ts=1")]);
    let rows: Vec<String> = run.rows.iter().map(ToString::to_string).collect();
    assert_eq!(rows, ["5.0 #0 0:a T=1 known=1 [1]", "9.0 #1 0:a T=1 known=1 [2]"]);
    assert_eq!((run.next_offset, run.counts.delivered, run.rows[0].partition), (10, 2, 3));
}

#[test]
fn every_record_has_exactly_one_class() {
    let deep = format!("@7 raw:{{\"ts\":1,\"x\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let log = ["@1 u=a ts=1", "@2 tombstone", "@3 raw:{", &deep, "@4 u=a ts=900000", "@5 u=a ts=5", "@6 u=a ts=4"];
    let counts = run(&topology("", COUNT), &log).counts;
    assert_eq!((counts.delivered, counts.applied, counts.tombstone, counts.malformed), (7, 2, 1, 1));
    assert_eq!((counts.over_limit, counts.future, counts.late, counts.filtered), (1, 1, 1, 0));
}

#[test]
fn malformed_is_judged_on_the_grammar_and_all_declared_fields() {
    let topology = topology("", COUNT);
    let class = |value: &[u8]| {
        let record = LogRecord { offset: 0, kafka_time: Some(0), key: None, value: Some(value.to_vec()) };
        judge(&topology, &record)
    };
    let malformed: [&[u8]; 25] = [
        b"",
        b"[]",
        b"5",
        b"null",
        b"{\"ts\":1",
        b"{\"ts\":1,}",
        b"{\"ts\":1}x",
        b"{'ts':1}",
        b"{\"ts\":1,\"x\":NaN}",
        b"{\"ts\":1,\"x\":01}",
        b"{\"ts\":1,\"u\":\"\xff\"}",
        b"\xef\xbb\xbf{\"ts\":1}",
        b"{\"u\":\"a\"}",
        b"{\"ts\":null}",
        b"{\"ts\":1.0}",
        b"{\"ts\":\"1\"}",
        b"{\"ts\":253402300800000}",
        b"{\"ts\":-62135596800001}",
        b"{\"ts\":1,\"p\":\"5\"}",
        b"{\"ts\":1,\"p\":1e400}",
        b"{\"ts\":1,\"n\":1.0}",
        b"{\"ts\":1,\"n\":9223372036854775808}",
        b"{\"ts\":1,\"u\":7}",
        b"{\"ts\":1,\"f\":\"true\"}",
        b"{\"ts\":1,\"u\":\"\\ud800\"}",
    ];
    for value in malformed {
        assert_eq!(class(value), Judged::Malformed, "{}", String::from_utf8_lossy(value));
    }
    let fine: [&[u8]; 8] = [
        b" {\"ts\" : 1 } \n",
        b"{\"ts\":1,\"p\":5}",
        b"{\"ts\":1,\"p\":123456789012345678901234567890}",
        b"{\"ts\":1,\"other\":1e400}",
        b"{\"ts\":\"x\",\"p\":true,\"ts\":1,\"p\":2}",
        b"{\"\\u0074s\":1}",
        b"{\"ts\":253402300799999}",
        b"{\"ts\":-62135596800000,\"n\":-0}",
    ];
    for value in fine {
        assert!(matches!(class(value), Judged::Row { .. }), "{}", String::from_utf8_lossy(value));
    }
    let nested = |depth: usize, end: &str| format!("{{\"ts\":1,\"x\":{}{end}", "[".repeat(depth));
    assert_eq!(class(nested(200, "").as_bytes()), Judged::OverLimit);
    assert_eq!(class(nested(100, "").as_bytes()), Judged::Malformed);
    assert_eq!(class(format!("{{\"ts\":,{}", nested(200, "")).as_bytes()), Judged::Malformed);
    assert!(matches!(class(nested(100, &("]".repeat(100) + "}")).as_bytes()), Judged::Row { .. }));
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
    let slide = |window: &str| match topology("", &format!("c: {{count: '*', window: {window}}}")).entities[0].features
        [0]
    .window
    {
        Window::Sliding { slide, .. } => slide,
        other => panic!("{other:?}"),
    };
    let slides =
        [("12s", "1s"), ("12m", "1m"), ("1h", "5m"), ("12h", "1h"), ("24h", "1h"), ("11d", "1h"), ("90d", "1d")];
    for (window, expected) in slides {
        assert_eq!(slide(window), span(expected), "{window}");
    }
}

#[test]
fn nested_fields_finer_times_and_bounds_are_read_as_declared() {
    let topology = Topology::from_yaml(
        "{topology: t, source: {topic: t, event_time: at, max_key_bytes: 4, max_record_bytes: 1KiB, schema: {u: string, \
         n: {type: int64, path: a.b, on_error: 'null'}, m: {type: int64, path: [a, c]}, at: timestamp_us, \
         day: timestamp}}, entities: {user: {key: u, features: {n: {last: n, window: lifetime}, \
         m: {last: m, window: lifetime}, d: {last: day, window: lifetime}}}}}",
    );
    check(
        &topology,
        &[
            r#"@0 raw:{"u":"a","at":-1,"a":{"b":1,"c":2},"day":"1970-01-02T00:00:00.001Z"}"#,
            r#"@1 raw:{"u":"a","at":1999,"a":{"b":"x","c":3}}"#,
            r#"@2 raw:{"u":"a","at":2000,"a":null}"#,
            r#"@3 raw:{"u":"a","at":3000,"a":5}"#,
            r#"@4 raw:{"u":"a","at":4000,"a":{"c":"x"}}"#,
            r#"@5 raw:{"u":"abcde","at":5000,"a":{"c":4}}"#,
        ],
        &["0.0 #0 0:a T=-1 known=0 [1, 2, @86400001]", "1.0 #1 0:a T=1 known=1 [1, 3, @86400001]"],
    );
    let log = [
        r#"@3 raw:{"u":"a","at":3000,"a":5}"#,
        r#"@5 raw:{"u":"abcde","at":5000}"#,
        r#"@6 raw:{"u":"abcd","at":6000}"#,
    ];
    let counts = run(&topology, &log).counts;
    assert_eq!((counts.malformed, counts.over_limit, counts.applied), (1, 1, 1));
    let long = format!("@7 raw:{{\"at\":7000,\"x\":\"{}\"}}", "x".repeat(1024));
    assert_eq!(run(&topology, &[&long]).counts.over_limit, 1);
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
                    let at = |t| before.values_at(&topology, entity, &key, t).expect("it has rows");
                    assert_eq!(at(pair[1].event_time - 1), *pair[0].values, "seed {seed}: {}", pair[0]);
                    assert_eq!(at(pair[1].event_time), *pair[1].values, "seed {seed}: {}", pair[1]);
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 1_000, "{compared}");
}
