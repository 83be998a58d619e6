//! What is derived with a row, and what is derived when somebody reads.

use super::*;

fn deriving(features: &str, derived: &str) -> Case {
    let (features, derived) = (indented(features), indented(derived));
    with_entities("", &format!("  user:\n    key: u\n    features:\n{features}    derived:\n{derived}"))
}

#[test]
fn what_is_derived_stands_behind_the_features_and_may_use_what_is_derived_before() {
    check(
        &deriving(
            "c: {count: p, window: lifetime}\ns: {sum: p, window: lifetime}",
            "r: s / c\nh: {sql: \"case when r > 2 then 'high' else 'low' end\", on: row}\nq: {sql: 10 / (c - 1)}",
        ),
        &["@1 u=a p=1 ts=1", "@2 u=a p=5 ts=2", "@3 u=a ts=3"],
        &[
            // 10 / 0 fails, so it is null.
            "0.0 #0 0:a T=1 known=1 [1, 1.0, 1.0, 'low', null]",
            "1.0 #1 0:a T=2 known=2 [2, 6.0, 3.0, 'high', 10]",
        ],
    );
}

#[test]
fn whole_numbers_divide_to_whole_numbers_and_doubles_by_zero_are_null() {
    check(
        &deriving(
            "n: {last: n, window: lifetime}\np: {last: p, window: lifetime}",
            "i: n / 2\nd: cast(n as double) / 2\nz: p / 0\nw: p::bigint\nt: \"coalesce(n, 0) + 1\"\ne: nullif(n, 7) is null",
        ),
        &["@1 u=a n=7 p=-2.5 ts=1", "@2 u=a n=-7 p=1e300 ts=2"],
        &[
            "0.0 #0 0:a T=1 known=1 [7, -2.5, 3, 3.5, null, -2, 8, true]",
            "1.0 #1 0:a T=2 known=2 [-7, 1e300, -3, -3.5, null, null, -6, false]",
        ],
    );
}

#[test]
fn a_time_minus_a_time_is_milliseconds() {
    check(
        &deriving(
            "f: {first: w, window: lifetime}\nl: {last: w, window: lifetime}",
            "span: l - f\nlong: {sql: span > 10}",
        ),
        &["@1 u=a w=100 ts=1", "@2 u=a w=150 ts=2"],
        &["0.0 #0 0:a T=1 known=1 [@100, @100, 0, false]", "1.0 #1 0:a T=2 known=2 [@100, @150, 50, true]"],
    );
}

#[test]
fn a_share_is_of_the_sum_of_the_values_that_are_not_null() {
    check(
        &deriving("s: {sum: n, by: e, window: lifetime}", "r: share(s)"),
        &[
            "@1 u=a e=a n=3 ts=1",
            "@2 u=a e=b n=1 ts=2",
            "@3 u=a e=c n=-4 ts=3",
            "@4 u=a e=c n=9223372036854775807 ts=4",
            "@5 u=a e=c n=5 ts=5",
        ],
        &[
            "0.0 #0 0:a T=1 known=1 [{a: 3}, {a: 1.0}]",
            "1.0 #1 0:a T=2 known=2 [{a: 3, b: 1}, {a: 0.75, b: 0.25}]",
            // The sum is 0.
            "2.0 #2 0:a T=3 known=3 [{a: 3, b: 1, c: -4}, null]",
            "3.0 #3 0:a T=4 known=4 [{a: 3, b: 1, c: 9223372036854775803}, \
             {a: 3.2526065174565133e-19, b: 1.0842021724855044e-19, c: 1.0}]",
            "4.0 #4 0:a T=5 known=5 [{a: 3, b: 1, c: null}, {a: 0.75, b: 0.25}]",
        ],
    );
}

#[test]
fn a_share_of_nothing_is_null() {
    check(
        &deriving("c: {count: '*', window: lifetime}\nm: {count: '*', by: e, window: lifetime}", "r: share(m)"),
        &["@1 u=a ts=1"],
        &["0.0 #0 0:a T=1 known=1 [1, null, null]"],
    );
}

#[test]
fn what_is_derived_when_read_sees_now_and_is_in_no_row() {
    let topology = deriving(
        "l: {last: w, window: lifetime}\nc: {count: '*', window: lifetime}",
        "age: {sql: now() - l, on: read}\ntwice: c * 2\nold: {sql: age > 100 and twice = 2, on: read}",
    );
    let run = check(
        &topology,
        &["@1 u=a w=50 ts=1", "@2 u=b ts=2"],
        &["0.0 #0 0:a T=1 known=1 [@50, 1, 2]", "1.0 #1 0:b T=2 known=2 [null, 1, 2]"],
    );
    let read = |row: usize, now: i64| -> Vec<String> {
        let values = topology.entities[0].derive_on_read(&run.rows[row].values[..2], now);
        values.iter().map(ToString::to_string).collect()
    };
    assert_eq!(read(0, 150), ["100", "2", "false"]);
    assert_eq!(read(0, 151), ["101", "2", "true"]);
    assert_eq!(read(1, 151), ["null", "2", "null"]);
}
