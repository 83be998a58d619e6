//! One value a bucket, and what a feature shows when nothing is left.

use super::*;

#[test]
fn a_bucket_is_there_while_a_record_is_in_it() {
    check(
        &topology("", "m: {count: '*', by: e, window: {tumbling: 10ms}}"),
        &["@1 u=a e=b ts=1", "@2 u=a e=a ts=2", "@3 u=a ts=3", "@4 u=a e= ts=4", "@10 u=b ts=10"],
        &[
            "0.0 #0 0:a T=1 known=1 [{b: 1}]",
            "1.0 #1 0:a T=2 known=2 [{a: 1, b: 1}]",
            // A null bucket takes no record; the empty text is one.
            "3.0 #2 0:a T=4 known=4 [{: 1, a: 1, b: 1}]",
            "4.0 #3 0:a T=10 known=10 [null]",
        ],
    );
}

#[test]
fn more_buckets_than_allowed_make_the_whole_value_null() {
    check(
        &topology("", "m: {sum: n, by: e, buckets: 2, window: {last: 3}}"),
        &[
            "@1 u=a e=a n=1 ts=1",
            "@2 u=a e=b n=2 ts=2",
            "@3 u=a e=c n=3 ts=3",
            "@4 u=a e=c n=4 ts=4",
            "@5 u=a n=5 ts=5",
        ],
        &[
            "0.0 #0 0:a T=1 known=1 [{a: 1}]",
            "1.0 #1 0:a T=2 known=2 [{a: 1, b: 2}]",
            "2.0 #2 0:a T=3 known=3 [null]",
            "3.0 #3 0:a T=4 known=4 [{b: 2, c: 7}]",
            // A null bucket takes a place among the last three.
            "4.0 #4 0:a T=5 known=5 [{c: 7}]",
        ],
    );
}

#[test]
fn buckets_are_text_in_byte_order() {
    check(
        &topology("", "n: {count: '*', by: n, window: lifetime}\nf: {sum: n, by: f, window: lifetime}"),
        &["@1 u=a n=10 f=true ts=1", "@2 u=a n=-2 f=false ts=2", "@3 u=a n=9 ts=3"],
        &[
            "0.0 #0 0:a T=1 known=1 [{10: 1}, {true: 10}]",
            "1.0 #1 0:a T=2 known=2 [{-2: 1, 10: 1}, {false: -2, true: 10}]",
            "2.0 #2 0:a T=3 known=3 [{-2: 1, 10: 1, 9: 1}, {false: -2, true: 10}]",
        ],
    );
}

#[test]
fn a_bucket_whose_value_is_lost_stays_and_is_null() {
    let features = "v: {variance: p, by: e, window: lifetime}\nd: {distinct: n, limit: 1, by: e, window: lifetime}
        s: {sum: n, by: e, window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a e=a n=9223372036854775807 p=1 ts=1", "@2 u=a e=a n=1 p=3 ts=2", "@3 u=a e=b n=5 ts=3"],
        &[
            // One price has no variance: no value, so no bucket; and a map without any is null.
            "0.0 #0 0:a T=1 known=1 [null, {a: 1}, {a: 9223372036854775807}]",
            "1.0 #1 0:a T=2 known=2 [{a: 2.0}, {a: null}, {a: null}]",
            // No price, so no bucket of the variance.
            "2.0 #2 0:a T=3 known=3 [{a: 2.0}, {a: null, b: 1}, {a: null, b: 5}]",
        ],
    );
}

#[test]
fn a_bucket_with_no_value_is_left_out_though_an_input_is_in_it() {
    check(
        &topology("", "v: {stddev: p, by: e, window: {last: 3}}"),
        &[
            "@1 u=a e=a p=1 ts=1",
            "@2 u=a e=b p=7 ts=2",
            "@3 u=a e=b p=7 ts=3",
            "@4 u=a e=c p=9 ts=4",
            "@5 u=a e=d p=9 ts=5",
        ],
        &[
            "0.0 #0 0:a T=1 known=1 [null]",
            "1.0 #1 0:a T=2 known=2 [null]",
            "2.0 #2 0:a T=3 known=3 [{b: 0.0}]",
            "3.0 #3 0:a T=4 known=4 [{b: 0.0}]",
            "4.0 #4 0:a T=5 known=5 [null]",
        ],
    );
}

#[test]
fn an_inexact_value_in_buckets_has_a_row_for_every_input_also_while_it_is_null() {
    check(
        &topology("", "m: {avg: p, by: e, buckets: 1, window: lifetime}"),
        &["@1 u=a e=a p=1 ts=1", "@2 u=a e=b p=1 ts=2", "@3 u=a e=c p=1 ts=3", "@4 u=a p=1 ts=4", "@5 u=a e=a ts=5"],
        &["0.0 #0 0:a T=1 known=1 [{a: 1.0}]", "1.0 #1 0:a T=2 known=2 [null]", "2.0 #2 0:a T=3 known=3 [null]"],
    );
}

#[test]
fn buckets_hold_lists_and_decayed_values_too() {
    let features = "l: {last_k: n, k: 2, by: e, window: lifetime}\nt: {top_k: n, k: 1, by: e, window: lifetime}
        c: {count: '*', half_life: 1ms, by: e, window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a e=a n=1 ts=1", "@2 u=a e=b n=1 ts=2", "@3 u=a e=a n=2 ts=3"],
        &[
            "0.0 #0 0:a T=1 known=1 [{a: [1]}, {a: [1 x 1]}, {a: 1.0}]",
            "1.0 #1 0:a T=2 known=2 [{a: [1], b: [1]}, {a: [1 x 1], b: [1 x 1]}, {a: 0.5, b: 1.0}]",
            "2.0 #2 0:a T=3 known=3 [{a: [2, 1], b: [1]}, {a: [1 x 1], b: [1 x 1]}, {a: 1.25, b: 0.5}]",
        ],
    );
}

#[test]
fn where_and_session_choose_before_the_buckets_do() {
    check(
        &topology("", "m: {count: '*', where: n > 0, by: e, window: {session: 5ms}}"),
        &["@0 u=a e=x n=1 ts=0", "@4 u=a e=y n=0 ts=4", "@9 u=a e=z n=2 ts=9", "@20 u=a e=x n=3 ts=20"],
        &[
            "0.0 #0 0:a T=0 known=0 [{x: 1}]",
            "2.0 #1 0:a T=9 known=9 [{x: 1, z: 1}]",
            "3.0 #2 0:a T=15 known=15 [null]",
            "3.1 #3 0:a T=20 known=20 [{x: 1}]",
        ],
    );
}

#[test]
fn a_declared_empty_value_stands_for_nothing_left() {
    let window = "window: 10ms, slide: 10ms";
    let features = format!(
        "c: {{count: n, empty: -1, {window}}}\nm: {{max: n, empty: 0, {window}}}\ns: {{sum: n, empty: null, {window}}}
         l: {{last: e, empty: none, {window}}}\nv: {{avg: n, empty: 0, {window}}}\nd: {{sum: d, empty: 9.5, {window}}}
         f: {{last: f, empty: false, {window}}}"
    );
    check(
        &topology("", &features),
        &["@0 u=a ts=0", "@1 u=a n=5 e=x d=1 f=true ts=1", "@20 u=b ts=20"],
        &[
            "1.0 #0 0:a T=1 known=1 [1, 5, 5, 'x', 5.0, 1.00, true]",
            "2.0 #1 0:a T=20 known=20 [-1, 0, null, 'none', 0.0, 9.50, false]",
        ],
    );
}

#[test]
fn a_value_equal_to_the_declared_empty_one_is_no_change() {
    check(
        &topology("", "m: {max: n, empty: 0, window: lifetime}"),
        &["@1 u=a n=0 ts=1", "@2 u=a n=1 ts=2"],
        &["1.0 #0 0:a T=2 known=2 [1]"],
    );
}

#[test]
fn a_value_lost_to_a_bound_is_null_and_not_empty() {
    check(
        &topology("", "d: {distinct: n, limit: 1, empty: -1, window: lifetime}"),
        &["@1 u=a n=1 ts=1", "@2 u=a n=2 ts=2"],
        &["0.0 #0 0:a T=1 known=1 [1]", "1.0 #1 0:a T=2 known=2 [null]"],
    );
}
