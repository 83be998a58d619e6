//! Tumbling windows, windows since a condition, windows of the last N.

use super::*;

#[test]
fn a_tumbling_window_empties_at_its_end() {
    check(
        &topology("", "c: {count: '*', window: {tumbling: 10ms}}"),
        &["@3 u=a ts=3", "@7 u=a ts=7", "@9 u=b ts=9", "@10 u=b ts=10"],
        &[
            "0.0 #0 0:a T=3 known=3 [1]",
            "1.0 #1 0:a T=7 known=7 [2]",
            "2.0 #2 0:b T=9 known=9 [1]",
            "3.0 #3 0:a T=10 known=10 [0]",
            "3.1 #4 0:b T=10 known=10 [0]",
            "3.2 #5 0:b T=10 known=10 [1]",
        ],
    );
}

#[test]
fn a_tumbling_window_holds_what_came_out_of_order_only_while_it_is_the_current_one() {
    check(
        &topology("lateness: 1s", "c: {count: '*', window: {tumbling: 10ms}}"),
        &["@8 u=a ts=8", "@9 u=a ts=2", "@12 u=a ts=12", "@13 u=a ts=9"],
        &[
            "0.0 #0 0:a T=8 known=8 [1]",
            "1.0 #1 0:a T=8 known=9 [2]",
            // The end at 10 is reached by the entity's own record.
            "2.0 #2 0:a T=10 known=12 [0]",
            "2.1 #3 0:a T=12 known=12 [1]",
        ],
    );
}

#[test]
fn a_complete_tumbling_window_changes_at_its_end_and_a_window_later() {
    check(
        &topology("grace: 20ms", "c: {count: '*', window: {tumbling: 10ms, complete: true}}"),
        &["@5 u=a ts=5", "@12 u=b ts=12", "@13 u=a ts=7", "@20 u=b ts=20"],
        &[
            "1.0 #0 0:a T=10 known=10 [1]",
            // A record in grace joins the window that is whole already.
            "2.0 #1 0:a T=12 known=13 [2]",
            "3.0 #2 0:a T=20 known=20 [0]",
            "3.1 #3 0:b T=20 known=20 [1]",
        ],
    );
}

#[test]
fn tumbling_windows_begin_at_their_offset_also_before_1970() {
    // Windows [-16, -6), [-6, 4), [4, 14).
    check(
        &topology("", "c: {count: '*', window: {tumbling: 10ms, offset: 4ms, complete: true}}"),
        &["@0 u=a ts=-7", "@0 u=a ts=-6", "@4 u=b ts=4", "@14 u=b ts=14"],
        &[
            "1.0 #0 0:a T=-6 known=0 [1]",
            // At 4 the next whole window holds one record too: no row.
            "3.0 #1 0:a T=14 known=14 [0]",
            "3.1 #2 0:b T=14 known=14 [1]",
        ],
    );
}

#[test]
fn an_inexact_value_has_a_row_when_one_whole_window_follows_another_of_the_same_value() {
    check(
        &topology("", "a: {avg: p, window: {tumbling: 10ms, complete: true}}"),
        &["@5 u=a p=2 ts=5", "@15 u=a p=2 ts=15", "@20 u=b ts=20", "@30 u=b ts=30"],
        &["1.0 #0 0:a T=10 known=10 [2.0]", "2.0 #1 0:a T=20 known=20 [2.0]", "3.0 #2 0:a T=30 known=30 [null]"],
    );
}

#[test]
fn weeks_with_an_offset_of_four_days_begin_on_mondays() {
    // 1970-01-05 was a Monday.
    check(
        &topology("", "c: {count: '*', window: {tumbling: 7d, offset: 4d}}"),
        &["@345599999 u=a ts=345599999", "@345600000 u=a ts=345600000"],
        &[
            "0.0 #0 0:a T=345599999 known=345599999 [1]",
            "1.0 #1 0:a T=345600000 known=345600000 [0]",
            "1.1 #2 0:a T=345600000 known=345600000 [1]",
        ],
    );
}

#[test]
fn since_holds_what_follows_the_newest_record_that_meets_the_condition_without_that_one() {
    check(
        &topology("", "s: {sum: n, window: {since: \"e = 'buy'\"}}"),
        &["@1 u=a n=1 e=add ts=1", "@2 u=a n=2 ts=2", "@3 u=a n=9 e=buy ts=3", "@4 u=a n=4 e=add ts=4"],
        &[
            "0.0 #0 0:a T=1 known=1 [1]",
            "1.0 #1 0:a T=2 known=2 [3]",
            "2.0 #2 0:a T=3 known=3 [0]",
            "3.0 #3 0:a T=4 known=4 [4]",
        ],
    );
}

#[test]
fn a_condition_record_out_of_order_cuts_off_what_came_before_it() {
    check(
        &topology("lateness: 10ms", "s: {sum: n, window: {since: \"e = 'buy'\"}}"),
        &[
            "@10 u=a n=1 ts=10",
            "@20 u=a n=2 ts=20",
            "@21 u=a n=100 e=buy ts=15",
            // As old as the condition record, but of a higher offset.
            "@22 u=a n=5 ts=15",
            "@23 u=a n=50 ts=14",
            "@24 u=a n=60 e=buy ts=12",
        ],
        &[
            "0.0 #0 0:a T=10 known=10 [1]",
            "1.0 #1 0:a T=20 known=20 [3]",
            "2.0 #2 0:a T=20 known=21 [2]",
            "3.0 #3 0:a T=20 known=22 [7]",
        ],
    );
}

#[test]
fn a_condition_record_cuts_whether_or_not_where_takes_it() {
    check(
        &topology("", "c: {count: '*', where: \"e = 'add'\", window: {since: \"e = 'buy'\"}}"),
        &["@1 u=a e=add ts=1", "@1 u=a e=buy ts=1", "@3 u=a ts=3", "@4 u=a e=add ts=4"],
        &["0.0 #0 0:a T=1 known=1 [1]", "1.0 #1 0:a T=1 known=1 [0]", "3.0 #2 0:a T=4 known=4 [1]"],
    );
}

#[test]
fn a_null_condition_is_not_met_and_each_window_has_its_own() {
    check(
        &topology("", "f: {count: '*', window: {since: f}}\nn: {count: '*', window: {since: n > 3}}"),
        &["@1 u=a ts=1", "@2 u=a f=true ts=2", "@3 u=a f=false n=4 ts=3", "@4 u=a n=3 ts=4"],
        &[
            "0.0 #0 0:a T=1 known=1 [1, 1]",
            "1.0 #1 0:a T=2 known=2 [0, 2]",
            "2.0 #2 0:a T=3 known=3 [1, 0]",
            "3.0 #3 0:a T=4 known=4 [2, 1]",
        ],
    );
}

#[test]
fn nulls_take_a_place_among_the_last_n() {
    check(
        &topology("lateness: 10ms", "s: {sum: n, window: {last: 2}}"),
        // By (event time, offset): 1, null, 10, 3; the late 7 comes before them all.
        &["@1 u=a n=1 ts=1", "@2 u=a ts=2", "@3 u=a n=3 ts=3", "@4 u=a n=10 ts=2", "@5 u=a n=7 ts=0"],
        &["0.0 #0 0:a T=1 known=1 [1]", "2.0 #1 0:a T=3 known=3 [3]", "3.0 #2 0:a T=3 known=4 [13]"],
    );
}

#[test]
fn a_null_pushes_an_input_out_of_the_last_one() {
    check(
        &topology("", "a: {avg: p, window: {last: 1}}"),
        &["@1 u=a p=2 ts=1", "@2 u=a ts=2", "@3 u=a ts=3", "@4 u=a p=2 ts=4", "@5 u=a p=2 ts=5"],
        &[
            "0.0 #0 0:a T=1 known=1 [2.0]",
            "1.0 #1 0:a T=2 known=2 [null]",
            "3.0 #2 0:a T=4 known=4 [2.0]",
            "4.0 #3 0:a T=5 known=5 [2.0]",
        ],
    );
}

#[test]
fn the_last_n_are_those_that_pass_where() {
    check(
        &topology("", "l: {last_k: n, k: 3, where: f, window: {last: 2}}"),
        &["@1 u=a f=true n=1 ts=1", "@2 u=a f=false n=9 ts=2", "@3 u=a f=true n=2 ts=3", "@4 u=a f=true n=3 ts=4"],
        &["0.0 #0 0:a T=1 known=1 [[1]]", "2.0 #1 0:a T=3 known=3 [[2, 1]]", "3.0 #2 0:a T=4 known=4 [[3, 2]]"],
    );
}

#[test]
fn windows_that_end_at_one_time_write_one_row() {
    let features = "s: {count: '*', window: 10ms, slide: 10ms}\nt: {count: '*', window: {tumbling: 20ms}}
        g: {count: '*', window: {session: 15ms}}\nl: {count: '*', window: {last: 2}}";
    check(
        &topology("", features),
        // The tile of 4 leaves at 20, the window ends at 20, the session is over at 4 + 15 + 1.
        &["@4 u=a ts=4", "@20 u=b ts=20"],
        &[
            "0.0 #0 0:a T=4 known=4 [1, 1, 1, 1]",
            "1.0 #1 0:a T=20 known=20 [0, 0, 0, 1]",
            "1.1 #2 0:b T=20 known=20 [1, 1, 1, 1]",
        ],
    );
}
