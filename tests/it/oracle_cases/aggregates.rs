//! First, variance, distinct, quantiles, the lists, top values, decayed values.

use super::*;

#[test]
fn first_is_the_oldest_by_event_time_then_offset() {
    check(
        &topology("lateness: 5ms", "f: {first: n, window: lifetime}\nl: {last: n, window: lifetime}"),
        &["@5 u=a n=1 ts=5", "@6 u=a n=2 ts=5", "@7 u=a n=3 ts=4", "@8 u=a ts=3"],
        &["0.0 #0 0:a T=5 known=5 [1, 1]", "1.0 #1 0:a T=5 known=6 [1, 2]", "2.0 #2 0:a T=5 known=7 [3, 2]"],
    );
}

#[test]
fn the_next_is_first_when_the_first_has_left() {
    check(
        &topology("", "f: {first: n, window: 10ms, slide: 10ms}"),
        &["@0 u=a n=1 ts=0", "@10 u=a n=2 ts=10", "@20 u=b ts=20"],
        &["0.0 #0 0:a T=0 known=0 [1]", "2.0 #1 0:a T=20 known=20 [2]"],
    );
}

#[test]
fn one_value_has_no_variance() {
    check(
        &topology("", "v: {variance: p, window: lifetime}\ns: {stddev: p, window: lifetime}"),
        &["@1 u=a p=1 ts=1", "@2 u=a p=3 ts=2", "@3 u=a ts=3", "@4 u=a p=5 ts=4"],
        &[
            // An input has entered, so a row is due although nothing shows.
            "0.0 #0 0:a T=1 known=1 [null, null]",
            // The mean of 1 and 3 is 2, so (1 + 1) / 1.
            "1.0 #1 0:a T=2 known=2 [2.0, 1.4142135623730951]",
            // The mean of 1, 3, 5 is 3, so (4 + 0 + 4) / 2.
            "3.0 #2 0:a T=4 known=4 [4.0, 2.0]",
        ],
    );
}

#[test]
fn the_variance_of_equal_and_of_far_away_values_is_exact() {
    let features = "p: {variance: p, window: lifetime}\nn: {variance: n, window: lifetime}";
    check(
        &topology("", features),
        &[
            "@1 u=a p=0.1 n=9223372036854775806 ts=1",
            "@2 u=a p=0.1 n=9223372036854775807 ts=2",
            "@3 u=a p=0.1 n=9223372036854775805 ts=3",
        ],
        &[
            "0.0 #0 0:a T=1 known=1 [null, null]",
            "1.0 #1 0:a T=2 known=2 [0.0, 0.5]",
            "2.0 #2 0:a T=3 known=3 [0.0, 1.0]",
        ],
    );
}

#[test]
fn distinct_is_exact_up_to_its_limit_and_null_while_there_are_more() {
    check(
        &topology("", "d: {distinct: e, limit: 2, window: {last: 3}}"),
        &["@1 u=a e=x ts=1", "@2 u=a e=x ts=2", "@3 u=a e=y ts=3", "@4 u=a e=z ts=4", "@5 u=a e=z ts=5"],
        &[
            "0.0 #0 0:a T=1 known=1 [1]",
            "2.0 #1 0:a T=3 known=3 [2]",
            "3.0 #2 0:a T=4 known=4 [null]",
            "4.0 #3 0:a T=5 known=5 [2]",
        ],
    );
}

#[test]
fn zeros_of_both_signs_are_one_value() {
    check(
        &topology("", "d: {distinct: p, window: lifetime}\nt: {top_k: p, k: 1, window: lifetime}"),
        &["@1 u=a p=-0.0 ts=1", "@2 u=a p=0 ts=2"],
        &["0.0 #0 0:a T=1 known=1 [1, [0.0 x 1]]", "1.0 #1 0:a T=2 known=2 [1, [0.0 x 2]]"],
    );
}

#[test]
fn distinct_falls_back_to_zero_when_all_have_left() {
    check(
        &topology("", "d: {distinct: n, window: 10ms, slide: 10ms}"),
        &["@0 u=a n=1 ts=0", "@1 u=a n=2 ts=1", "@20 u=b ts=20"],
        &["0.0 #0 0:a T=0 known=0 [1]", "1.0 #1 0:a T=1 known=1 [2]", "2.0 #2 0:a T=20 known=20 [0]"],
    );
}

#[test]
fn an_estimate_of_distinct_values_has_a_row_for_every_input() {
    check(
        &topology("", "d: {approx_distinct: n, window: lifetime}"),
        &["@1 u=a n=1 ts=1", "@2 u=a n=1 ts=2", "@3 u=a ts=3", "@4 u=a n=2 ts=4"],
        &["0.0 #0 0:a T=1 known=1 [1]", "1.0 #1 0:a T=2 known=2 [1]", "3.0 #2 0:a T=4 known=4 [2]"],
    );
}

#[test]
fn a_quantile_is_the_input_of_its_rank() {
    let features = "m: {quantile: p, q: 0.5, window: lifetime}\nq: {quantiles: p, q: [0, 0.9, 1], window: lifetime}";
    check(
        &topology("", features),
        &["@1 u=a p=5 ts=1", "@2 u=a p=1 ts=2", "@3 u=a p=9 ts=3", "@4 u=a p=3 ts=4"],
        &[
            "0.0 #0 0:a T=1 known=1 [5.0, [5.0, 5.0, 5.0]]",
            // Of 1, 5: ranks floor(0.5), floor(0.9) and 1.
            "1.0 #1 0:a T=2 known=2 [1.0, [1.0, 1.0, 5.0]]",
            // Of 1, 5, 9: ranks 1, floor(1.8) and 2.
            "2.0 #2 0:a T=3 known=3 [5.0, [1.0, 5.0, 9.0]]",
            // Of 1, 3, 5, 9: ranks floor(1.5), floor(2.7) and 3.
            "3.0 #3 0:a T=4 known=4 [3.0, [1.0, 5.0, 9.0]]",
        ],
    );
}

#[test]
fn first_k_begins_with_the_oldest_last_k_with_the_newest() {
    check(
        &topology("lateness: 10ms", "f: {first_k: n, k: 2, window: lifetime}\nl: {last_k: n, k: 2, window: lifetime}"),
        &["@5 u=a n=1 ts=5", "@6 u=a n=2 ts=5", "@7 u=a ts=6", "@8 u=a n=3 ts=4", "@9 u=a n=9 ts=7"],
        &[
            "0.0 #0 0:a T=5 known=5 [[1], [1]]",
            "1.0 #1 0:a T=5 known=6 [[1, 2], [2, 1]]",
            "3.0 #2 0:a T=6 known=8 [[3, 1], [2, 1]]",
            "4.0 #3 0:a T=7 known=9 [[3, 1], [9, 2]]",
        ],
    );
}

#[test]
fn lists_are_null_when_nothing_is_left() {
    check(
        &topology("", "l: {last_k: e, k: 2, window: 10ms, slide: 10ms}\nt: {top_k: e, k: 2, window: {tumbling: 20ms}}"),
        &["@0 u=a e=x ts=0", "@20 u=b ts=20"],
        &["0.0 #0 0:a T=0 known=0 [['x'], ['x' x 1]]", "1.0 #1 0:a T=20 known=20 [null, null]"],
    );
}

#[test]
fn top_k_counts_down_then_values_up_and_is_null_beyond_its_limit() {
    check(
        &topology("", "t: {top_k: e, k: 2, limit: 3, window: lifetime}"),
        &["@1 u=a e=b ts=1", "@2 u=a e=B ts=2", "@3 u=a e=c ts=3", "@4 u=a e=c ts=4", "@5 u=a e=d ts=5"],
        &[
            "0.0 #0 0:a T=1 known=1 [['b' x 1]]",
            "1.0 #1 0:a T=2 known=2 [['B' x 1, 'b' x 1]]",
            "3.0 #2 0:a T=4 known=4 [['c' x 2, 'B' x 1]]",
            "4.0 #3 0:a T=5 known=5 [null]",
        ],
    );
}

#[test]
fn a_decayed_value_halves_with_every_half_life() {
    let features = "s: {sum: p, half_life: 10ms, window: lifetime}\nc: {count: '*', half_life: 10ms, window: lifetime}
        a: {avg: p, half_life: 10ms, window: lifetime}";
    check(
        &topology("", features),
        &["@0 u=a p=8 ts=0", "@10 u=a p=2 ts=10", "@30 u=a ts=30"],
        &[
            "0.0 #0 0:a T=0 known=0 [8.0, 1.0, 8.0]",
            // 8/2 + 2; 1/2 + 1; (8/2 + 2) / 1.5.
            "1.0 #1 0:a T=10 known=10 [6.0, 1.5, 4.0]",
            // 8/8 + 2/4; 1/8 + 1/4 + 1; the average stays.
            "2.0 #2 0:a T=30 known=30 [1.5, 1.375, 4.0]",
        ],
    );
}

#[test]
fn a_decayed_value_is_as_of_its_row_and_writes_none_by_itself() {
    let features = "c: {count: '*', window: 10ms, slide: 10ms}\ns: {sum: p, half_life: 20ms, window: lifetime}";
    check(
        &topology("", features),
        &["@0 u=a p=4 ts=0", "@10 u=b ts=10", "@20 u=b ts=20"],
        &[
            "0.0 #0 0:a T=0 known=0 [1, 4.0]",
            "1.0 #1 0:b T=10 known=10 [1, 0.0]",
            "2.0 #2 0:a T=20 known=20 [0, 2.0]",
            "2.1 #3 0:b T=20 known=20 [2, 0.0]",
        ],
    );
}

#[test]
fn an_out_of_order_record_decays_from_its_own_time_and_only_inside_the_window() {
    check(
        &topology("lateness: 1s", "s: {sum: n, half_life: 10ms, window: 20ms, slide: 10ms}"),
        &["@20 u=a n=4 ts=20", "@21 u=a n=2 ts=10", "@22 u=a n=9 ts=-1", "@31 u=a ts=31"],
        &["0.0 #0 0:a T=20 known=20 [4.0]", "1.0 #1 0:a T=20 known=21 [5.0]"],
    );
    // At 40 the tile [10, 20) leaves: 20 has decayed to 4 * 2^-2.
    check(
        &topology("", "s: {sum: n, half_life: 10ms, window: 20ms, slide: 10ms}"),
        &["@10 u=a n=2 ts=10", "@20 u=a n=4 ts=20", "@40 u=b ts=40"],
        &["0.0 #0 0:a T=10 known=10 [2.0]", "1.0 #1 0:a T=20 known=20 [5.0]", "2.0 #2 0:a T=40 known=40 [1.0]"],
    );
}

#[test]
fn a_large_value_is_still_there_when_its_weight_is_too_small_for_a_double() {
    // 2^1000, and 2^(1000 - 1200).
    check(
        &topology("", "s: {sum: p, half_life: 1ms, window: lifetime}"),
        &["@0 u=a p=1.0715086071862673e301 ts=0", "@1200 u=a ts=1200", "@1201 u=a p=0 ts=1201"],
        &["0.0 #0 0:a T=0 known=0 [1.0715086071862673e301]", "2.0 #1 0:a T=1201 known=1201 [3.111507638930571e-61]"],
    );
}

#[test]
fn an_average_of_what_is_long_gone_does_not_divide_by_zero() {
    check(
        &topology("", "a: {avg: p, half_life: 1ms, window: lifetime}\nc: {count: '*', window: lifetime}"),
        &["@0 u=a p=3 ts=0", "@1 u=a p=6 ts=1", "@9000 u=a ts=9000"],
        // (3/2 + 6) / 1.5, whatever the time.
        &[
            "0.0 #0 0:a T=0 known=0 [3.0, 1]",
            "1.0 #1 0:a T=1 known=1 [5.0, 2]",
            "2.0 #2 0:a T=9000 known=9000 [5.0, 3]",
        ],
    );
}
