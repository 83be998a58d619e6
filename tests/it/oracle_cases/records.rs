//! Records: their classes, their keys, what they do to the watermark.

use super::*;

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
    let class = |value: &[u8]| class_of(&topology, value);
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
    assert_eq!(class(&[nested(200, "").as_bytes(), &b"\xff"[..]].concat()), Judged::OverLimit);
    assert_eq!(class(&[&b"{\"\xff\":"[..], nested(200, "").as_bytes()].concat()), Judged::Malformed);
    assert_eq!(class(nested(100, "").as_bytes()), Judged::Malformed);
    assert_eq!(class(format!("{{\"ts\":,{}", nested(200, "")).as_bytes()), Judged::Malformed);
    assert!(matches!(class(nested(100, &("]".repeat(100) + "}")).as_bytes()), Judged::Row { .. }));
}

#[test]
fn nested_fields_finer_times_and_bounds_are_read_as_declared() {
    let topology = Case::new(
        "{topology: t, source: {topic: t, format: json, event_time: at, partitioned_by: u, max_key_bytes: 4, max_record_bytes: 1KiB, schema: {u: string, \
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
    // Over limit is tested before malformed, by the text of the whole key.
    let log = [r#"@5 raw:{"u":"abcde","at":5000,"a":{"c":"x"}}"#, r#"@6 raw:{"u":"abcde","at":"x"}"#];
    assert_eq!(run(&topology, &log).counts.over_limit, 2);
    let long = format!("@7 raw:{{\"at\":7000,\"x\":\"{}\"}}", "x".repeat(1024));
    assert_eq!(run(&topology, &[&long]).counts.over_limit, 1);
}
