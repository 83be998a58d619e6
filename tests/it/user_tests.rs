//! `kappa test` as people call it: the cases of our own topologies, of the documentation, and cases that fail.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const TESTING: &str = include_str!("../../docs/testing.md");

fn kappa(folder: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kappa")).arg("test").args(args).current_dir(folder).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The examples of this language in docs/testing.md.
fn examples(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    TESTING.split(fence.as_str()).skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

/// A folder with the documentation's topology and these cases beside it.
fn folder(cases: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("shop.yaml"), examples("yaml")[0]).unwrap();
    std::fs::write(folder.path().join("shop.test.yaml"), cases).unwrap();
    folder
}

fn cases_of(folder: &tempfile::TempDir) -> String {
    std::fs::read_to_string(folder.path().join("shop.test.yaml")).unwrap()
}

#[test]
fn the_cases_of_our_own_topologies_pass_and_look_at_every_feature() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for topology in ["shop", "fraud", "sensors"] {
        let output = kappa(root, &[&format!("topologies/{topology}.yaml")]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        assert!(stdout(&output).contains("0 failed") && !stdout(&output).contains(", not "), "{}", stdout(&output));
    }
}

#[test]
fn the_examples_of_the_documentation_say_what_it_says_they_say() {
    let folder = folder(examples("yaml")[1]);
    let passes = kappa(folder.path(), &["shop.yaml"]);
    assert_eq!((passes.status.code(), stdout(&passes).as_str()), (Some(0), examples("text")[0]), "{}", stderr(&passes));
    let changed = cases_of(&folder).replacen("lifetime_value: 20", "lifetime_value: 25", 1);
    std::fs::write(folder.path().join("shop.test.yaml"), changed).unwrap();
    let fails = kappa(folder.path(), &["shop.yaml"]);
    assert_eq!((fails.status.code(), stdout(&fails).as_str()), (Some(7), examples("text")[1]));
    assert!(stderr(&fails).starts_with("error: 1 of 2 cases of shop.yaml failed"), "{}", stderr(&fails));
    std::fs::write(folder.path().join("long.jsonl"), examples("jsonl")[0]).unwrap();
    let lines = kappa(folder.path(), &["shop.yaml", "--cases", "long.jsonl"]);
    assert_eq!(lines.status.code(), Some(0), "{}{}", stdout(&lines), stderr(&lines));
}

/// One case for each kind of expectation, all of them wrong; comments and forms of every kind.
const WRONG: &str = "\
cases:
  - name: everything is wrong   # this comment stays
    events:
      - {user_id: u1, event: view, ts: +0s}
      - {user_id: u1, event: purchase, price: 2.5, ts: +1m}
      - not json
    expect:
      exactly: true
      rows:
        user:
          - {key: u1, event_time: +0s, views_1h: 2}   # one view
      final: {user: {u1: {lifetime_value: 3}, u2: {views_1h: 1}}}
      at: {+1h6m: {user: {u1: {views_1h: 1, silent_ms: 0}}}}
      dead_letters: []
      counts: {applied: 3, malformed: 0}
  - name: nothing is expected yet
    events:
      - {user_id: u1, event: view, ts: +0s}
      - {user_id: u2, event: purchase, price: 4, ts: +10m}   # the last event
  - {name: neither is here, events: [{user_id: u1, event: view, ts: +0s}]}
";

const MENDED: &str = "\
cases:
  - name: everything is wrong   # this comment stays
    events:
      - {user_id: u1, event: view, ts: +0s}
      - {user_id: u1, event: purchase, price: 2.5, ts: +1m}
      - not json
    expect:
      exactly: true
      rows:
        user:
          - {key: u1, event_time: +0s, views_1h: 1}
          - {key: u1, event_time: +1m, views_1h: 1}   # one view
      final: {user: {u1: {lifetime_value: 2.5}, u2: null}}
      at: {+1h6m: {user: {u1: {views_1h: 0, silent_ms: 3900000}}}}
      dead_letters: [{offset: 2, class: malformed}]
      counts: {applied: 2, malformed: 1}
  - name: nothing is expected yet
    events:
      - {user_id: u1, event: view, ts: +0s}
      - {user_id: u2, event: purchase, price: 4, ts: +10m}   # the last event
    expect:
      exactly: true
      rows:
        user:
          - {key: u1, event_time: +0s, views_1h: 1, last_at: +0s}
          - {key: u2, event_time: +10m, lifetime_value: 4.0, last_at: +10m}
  - {name: neither is here, events: [{user_id: u1, event: view, ts: +0s}], expect: {exactly: true, rows: {user: [{key: u1, event_time: +0s, views_1h: 1, last_at: +0s}]}}}
";

#[test]
fn every_kind_of_difference_is_shown_side_by_side() {
    let folder = folder(WRONG);
    let output = kappa(folder.path(), &["shop.yaml", "--only", "wrong"]);
    assert_eq!(output.status.code(), Some(2), "a case that expects nothing is a wrong file");
    assert!(stderr(&output).contains("shop.test.yaml:16:5: `nothing is expected yet` expects nothing"));
    std::fs::write(folder.path().join("shop.test.yaml"), WRONG.split("  - name: nothing").next().unwrap()).unwrap();
    let output = kappa(folder.path(), &["shop.yaml"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    for part in [
        "shop.test.yaml:11:13: rows of user: row 1 differs; in its place is row 1 of 2\n",
        "      ! views_1h    2         1\n",
        "shop.test.yaml:11:11: rows of user: row 2 of 2 was not expected\n",
        "final: user u1 differs\n",
        "      ! lifetime_value  3.0       2.5\n",
        "final: user u2 was never seen\n",
        "at +1h6m: user u1 differs\n",
        "      ! silent_ms  0         3900000\n",
        "dead_letters: 0 expected, 1 found\n",
        "      ! dead letter 1  -         offset 2: malformed: ",
        "counts differ\n",
        "      ! applied    3         2\n",
    ] {
        assert!(stdout(&output).contains(part), "{part} is not in\n{}", stdout(&output));
    }
    let output = kappa(folder.path(), &["shop.yaml", "--json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["failed"], &report["cases"][0]["passed"]), (&Value::from(1), &Value::from(false)));
    let differences = report["cases"][0]["differences"].as_array().unwrap();
    assert_eq!(differences.len(), 7, "{report}");
}

#[test]
fn an_update_writes_what_was_found_and_touches_nothing_else() {
    let folder = folder(WRONG);
    let output = kappa(folder.path(), &["shop.yaml", "--update"]);
    assert_eq!(cases_of(&folder), MENDED, "{}", stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(stdout(&output).contains("shop.test.yaml: updated"), "{}", stdout(&output));
    let again = kappa(folder.path(), &["shop.yaml", "--update"]);
    assert!(!stdout(&again).contains("updated"), "{}", stdout(&again));
    // A case that ends in a block of text, and one that ends in an alias.
    let ends = "cases:\n  - name: a block\n    events: &same\n      - {user_id: u1, ts: +0s}\n      - |\n        not json\n\
                \x20 - name: an alias\n    events: *same\n";
    std::fs::write(folder.path().join("ends.yaml"), ends).unwrap();
    let output = kappa(folder.path(), &["shop.yaml", "--cases", "ends.yaml", "--update"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let filled = "    expect:\n      exactly: true\n      rows:\n        user:\n          \
                  - {key: u1, event_time: +0s, last_at: +0s}\n      dead_letters:\n        \
                  - {offset: 1, class: malformed}\n";
    let expected = ends.replace("not json\n", &format!("not json\n{filled}")) + filled;
    assert_eq!(std::fs::read_to_string(folder.path().join("ends.yaml")).unwrap(), expected);
    // Lines too, and a file that does not end in a new line.
    let lines = "{\"case\": \"a\"}\n{\"event\": {\"user_id\": \"u1\", \"event\": \"view\", \"ts\": 0}}\n\
                 {\"expect\": {\"final\": {\"user\": {\"u1\": {\"last_at\": 5}}}}}\n\
                 {\"case\": \"b\"}\n{\"event\": {\"user_id\": \"u1\", \"event\": \"view\", \"ts\": 0}}";
    std::fs::write(folder.path().join("long.jsonl"), lines).unwrap();
    let output = kappa(folder.path(), &["shop.yaml", "--cases", "long.jsonl", "--update"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let expected = lines.replace("\"last_at\": 5", "\"last_at\": \"1970-01-01T00:00:00Z\"")
        + "\n{\"expect\": {\"exactly\": true, \"rows\": {\"user\": [{\"key\": \"u1\", \"event_time\": \
           \"1970-01-01T00:00:00Z\", \"views_1h\": 1, \"last_at\": \"1970-01-01T00:00:00Z\"}]}}}\n";
    assert_eq!(std::fs::read_to_string(folder.path().join("long.jsonl")).unwrap(), expected);
}

#[test]
fn a_wrong_file_is_exit_code_2_and_all_its_problems_with_their_places() {
    let cases = "cases:\n  - nam: x\n    events: [{user_id: u1, ts: +0s}]\n    expect:\n      final: {user: {u1: {\
                 view_1h: 1, views_1h: many, silent_ms: 1}}, usr: {}}\n      dead_letters: [{class: lat}]\n";
    let folder = folder(cases);
    let output = kappa(folder.path(), &["shop.yaml"]);
    assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(2), ""), "{}", stderr(&output));
    for part in [
        "shop.test.yaml:2:5: the case: unknown key `nam`; did you mean `name`?",
        "shop.test.yaml:5:27: entity `user`: unknown feature `view_1h`; did you mean `views_1h`?",
        "shop.test.yaml:5:49: `many` is not of type int64; write a whole number",
        "`silent_ms` is computed as it is read, and has no value without a clock",
        "topology shop: unknown entity `usr`; did you mean `user`?",
        "shop.test.yaml:6:30: a dead letter: unknown class `lat`; did you mean `late`?",
    ] {
        assert!(stderr(&output).contains(part), "{part} is not in\n{}", stderr(&output));
    }
    std::fs::remove_file(folder.path().join("shop.test.yaml")).unwrap();
    let output = kappa(folder.path(), &["shop.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("shop.yaml has no cases: write some in shop.test.yaml"), "{}", stderr(&output));
}

#[test]
fn a_task_that_stops_unexpectedly_fails_its_case_and_shows_why() {
    let folder = folder(
        "cases:\n  - name: keyed otherwise\n    events:\n      - {value: {user_id: u1, ts: +0s}, key: u2}\n    \
         expect: {counts: {applied: 0}}\n",
    );
    let output = kappa(folder.path(), &["shop.yaml"]);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
    assert!(stdout(&output).contains("the task stops: shop.events, partition 0, offset 0"), "{}", stdout(&output));
    let nothing_yet = cases_of(&folder).replace("    expect: {counts: {applied: 0}}\n", "");
    std::fs::write(folder.path().join("shop.test.yaml"), nothing_yet).unwrap();
    let output = kappa(folder.path(), &["shop.yaml", "--update"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    assert!(cases_of(&folder).contains("      stops: \"shop.events, partition 0, offset 0"), "{}", cases_of(&folder));
}
