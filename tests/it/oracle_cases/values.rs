//! Values of the plain aggregates, nulls, and conditions.

use super::*;
use crate::support::oracle::exact_sum;

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
