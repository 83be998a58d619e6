//! Entities that are forgotten a while after their largest event time.

use super::*;

fn forgetful(source: &str, after: &str, features: &str) -> Case {
    let features = indented(features);
    with_entities(source, &format!("  user:\n    key: u\n    forget_after: {after}\n    features:\n{features}"))
}

#[test]
fn a_silent_entity_is_emptied_and_counts_afresh() {
    check(
        &forgetful("", "100ms", COUNT),
        &["@0 u=a ts=0", "@99 u=b ts=99", "@100 u=b ts=100", "@101 u=a ts=101"],
        &[
            "0.0 #0 0:a T=0 known=0 [1]",
            "1.0 #1 0:b T=99 known=99 [1]",
            "2.0 #2 0:a T=100 known=100 [0]",
            "2.1 #3 0:b T=100 known=100 [2]",
            "3.0 #4 0:a T=101 known=101 [1]",
        ],
    );
}

#[test]
fn forgetting_waits_for_the_largest_event_time_and_the_own_record_may_fire_it() {
    check(
        &forgetful("lateness: 1s", "100ms", COUNT),
        &["@0 u=a ts=0", "@50 u=a ts=50", "@51 u=a ts=20", "@149 u=a ts=149", "@249 u=a ts=249"],
        &[
            "0.0 #0 0:a T=0 known=0 [1]",
            "1.0 #1 0:a T=50 known=50 [2]",
            "2.0 #2 0:a T=50 known=51 [3]",
            "3.0 #3 0:a T=149 known=149 [4]",
            "4.0 #4 0:a T=249 known=249 [0]",
            "4.1 #5 0:a T=249 known=249 [1]",
        ],
    );
}

#[test]
fn what_comes_in_grace_after_forgetting_counts_afresh_and_known_at_goes_on() {
    check(
        &forgetful("grace: 50ms", "100ms", COUNT),
        &["@500 u=a ts=0", "@100 u=b ts=100", "@101 u=a ts=60", "@160 u=b ts=160"],
        &[
            "0.0 #0 0:a T=0 known=500 [1]",
            "1.0 #1 0:a T=100 known=500 [0]",
            "1.1 #2 0:b T=100 known=100 [1]",
            // T is the watermark: the largest event time is forgotten too.
            "2.0 #3 0:a T=100 known=500 [1]",
            // And again, 100 ms after 60.
            "3.0 #4 0:a T=160 known=500 [0]",
            "3.1 #5 0:b T=160 known=160 [2]",
        ],
    );
}

#[test]
fn forgetting_and_a_window_that_ends_then_write_one_row() {
    let features = "s: {count: '*', window: 10ms, slide: 10ms}\nc: {count: '*', window: lifetime}
        g: {count: '*', window: {session: 1s}}\nl: {last_k: n, k: 3, window: {last: 3}}
        d: {sum: p, half_life: 1s, window: lifetime}";
    check(
        &forgetful("", "20ms", features),
        &["@0 u=a n=1 p=2 ts=0", "@20 u=b ts=20", "@21 u=a n=2 ts=21"],
        &[
            "0.0 #0 0:a T=0 known=0 [1, 1, 1, [1], 2.0]",
            "1.0 #1 0:a T=20 known=20 [0, 0, 0, null, 0.0]",
            "1.1 #2 0:b T=20 known=20 [1, 1, 1, null, 0.0]",
            "2.0 #3 0:a T=21 known=21 [1, 1, 1, [2], 0.0]",
        ],
    );
}

#[test]
fn an_entity_without_anything_to_forget_has_no_row() {
    let features = "s: {count: '*', window: 10ms, slide: 10ms}\nv: {avg: p, window: lifetime}";
    check(
        &forgetful("", "100ms", features),
        &["@0 u=a ts=0", "@20 u=b ts=20", "@100 u=c ts=100", "@120 u=c ts=120"],
        &[
            "0.0 #0 0:a T=0 known=0 [1, null]",
            "1.0 #1 0:a T=20 known=20 [0, null]",
            "1.1 #2 0:b T=20 known=20 [1, null]",
            "2.0 #3 0:b T=40 known=40 [0, null]",
            "2.1 #4 0:c T=100 known=100 [1, null]",
            "3.0 #5 0:c T=120 known=120 [0, null]",
            "3.1 #6 0:c T=120 known=120 [1, null]",
        ],
    );
}

#[test]
fn an_average_that_is_forgotten_has_a_row_because_its_inputs_left() {
    check(
        &forgetful("", "100ms", "v: {variance: p, window: lifetime}"),
        &["@0 u=a p=1 ts=0", "@100 u=b ts=100"],
        &["0.0 #0 0:a T=0 known=0 [null]", "1.0 #1 0:a T=100 known=100 [null]"],
    );
}

#[test]
fn each_entity_forgets_for_itself() {
    let entities = format!(
        "  user:\n    key: u\n    forget_after: 10ms\n    features:\n{}  pair:\n    key: [u, n]\n    features:\n{}",
        indented(COUNT),
        indented(COUNT)
    );
    check(
        &with_entities("", &entities),
        &["@0 u=a n=1 ts=0", "@10 u=a n=1 ts=10"],
        &[
            "0.0 #0 0:a T=0 known=0 [1]",
            r#"0.1 #1 1:["a",1] T=0 known=0 [1]"#,
            "1.0 #2 0:a T=10 known=10 [0]",
            "1.1 #3 0:a T=10 known=10 [1]",
            r#"1.2 #4 1:["a",1] T=10 known=10 [2]"#,
        ],
    );
}

#[test]
fn the_law_forgets_at_a_later_wall_clock_time_too() {
    let topology = forgetful("", "100ms", COUNT);
    let run = run(&topology, &["@0 u=a ts=0", "@7 u=a ts=7"]);
    let at = |t: i64| run.values_at(&topology, 0, &"a".into(), t).expect("the entity is known")[0].to_string();
    assert_eq!([at(0), at(106), at(107), at(1_000_000)], ["2", "2", "0", "0"]);
}
