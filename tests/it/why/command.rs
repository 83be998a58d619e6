//! The command over a log made by hand: what it prints is what happened, also where the log has lost its beginning.

use std::process::Output;

use kappa::source::{Codec, Record};
use serde_json::Value;

use crate::support::verify::Place;
use crate::support::{kafka, producer};

const YAML: &str = r#"
topology: why
source:
  topic: TOPIC
  format: json
  event_time: ts
  lateness: 5s
  schema: {user_id: string, event: string, category: string, price: double, ts: timestamp_ms}
entities:
  user:
    key: user_id
    features:
      views_1h:    {count: "*", where: "event = 'view'", window: 1h, slide: 1m}
      spent:       {sum: price, by: category, where: "event = 'purchase'", window: lifetime}
      visit_views: {count: "*", where: "event = 'view'", window: {session: 30m}}
      since_buy:   {count: "*", window: {since: "event = 'purchase'"}}
      last_view:   {last: ts, where: "event = 'view'", window: lifetime}
    derived:
      views_per_buy: "views_1h / nullif(cast(since_buy as double), 0)"
      since_view:    {sql: "now() - last_view", on: read}
"#;

/// 2026-03-01T12:00:00Z.
const NOON: i64 = 1_772_366_400_000;

/// Minutes after noon, and what happened to u42.
const EVENTS: [(i64, &str); 7] = [
    (0, r#""event":"view""#),
    (20, r#""event":"view""#),
    (30, r#""event":"purchase","category":"shoes","price":20.0"#),
    (65, r#""event":"view""#),
    // The watermark is beyond it.
    (1, r#""event":"view""#),
    (66, r#""event":"purchase","category":"hats""#),
    (67, r#""event":7"#),
];

/// A run over the events; afterwards the topic is `why`'s to read.
fn run(dir: &tempfile::TempDir) -> (Place<'static>, String, String) {
    let topic = kafka::shared().new_topic("why", 2);
    let file = dir.path().join("why.yaml");
    std::fs::write(&file, YAML.replace("TOPIC", &topic)).unwrap();
    let value = |minutes: i64, rest: &str| format!(r#"{{"user_id":"u42",{rest},"ts":{}}}"#, NOON + minutes * 60_000);
    let values: Vec<String> = EVENTS.iter().map(|(minutes, rest)| value(*minutes, rest)).collect();
    let records = values.iter().zip(EVENTS).map(|(value, (minutes, _))| Record {
        partition: Some(1),
        key: Some(b"u42"),
        value: Some(value.as_bytes()),
        time: Some(NOON + minutes.max(65) * 60_000),
        ..Record::default()
    });
    producer::write(kafka::shared(), &topic, Codec::None, records);
    let (place, file) = (Place::new(kafka::shared()), file.display().to_string());
    let output = place.kappa(&["run", &file, "--until-caught-up"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    (place, file, topic)
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&text(output)).unwrap()
}

fn squeezed(line: &str) -> String {
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Whether one of the lines is this one, but for blanks.
fn has(text: &str, line: &str) {
    assert!(text.lines().any(|of| squeezed(of) == line), "`{line}` is not in\n{text}");
}

/// The command about u42.
fn why(place: &Place<'_>, file: &str, more: &[&str]) -> Output {
    place.kappa(&[&["why", "user", "u42", "--topology", file][..], more].concat()).output().unwrap()
}

#[test]
fn a_number_is_explained_by_its_tiles_and_records_and_held_against_both_stores() {
    let dir = tempfile::tempdir().unwrap();
    let (place, file, topic) = run(&dir);
    let why = |more: &[&str]| why(&place, &file, more);

    let shown = text(&why(&["views_1h"]));
    has(&shown, "views_1h of user \"u42\" is 2 at 2026-03-01T13:06:00Z");
    has(&shown, &format!("read: {topic}, partition 1, offsets 0 to 6: 7 records, 7 of them the entity's"));
    has(&shown, "views_1h = 2: count * where event = 'view', window 1h by 1m");
    has(&shown, "the window holds event times from 2026-03-01T12:06:00Z to 2026-03-01T13:06:00Z");
    has(&shown, "2026-03-01T12:20:00Z to 2026-03-01T12:21:00Z 2026-03-01T13:21:00Z 1 1 1");
    has(&shown, "0 2026-03-01T12:00:00Z 2026-03-01T13:05:00Z outside the window: left at 2026-03-01T13:01:00Z");
    has(&shown, "1 2026-03-01T12:20:00Z 2026-03-01T13:05:00Z yes");
    let late = "dead letter, late: the watermark was 2026-03-01T13:04:55Z";
    has(&shown, &format!("4 2026-03-01T12:01:00Z 2026-03-01T13:05:00Z {late}"));
    assert!(shown.contains("dead letter, malformed: "), "{shown}");
    has(&shown, "7 records: 2 counted, 2 where not true, 1 outside the window, 1 late, 1 malformed");
    has(&shown, "history 2 at 2026-03-01T13:06:00Z, version 1, offset 5: the same");
    has(&shown, "online 2 at 2026-03-01T13:06:00Z, offset 5: the same");

    // The example of the documentation is this one.
    let documented = include_str!("../../../docs/semantics.md").split("says:\n").nth(1).unwrap();
    let example = documented.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    for line in example.filter(|line| !line.is_empty()) {
        has(&shown, &squeezed(&line.replace("shop.events", &topic)));
    }

    let session = text(&why(&["visit_views"]));
    has(&session, "session 2026-03-01T13:05:00Z to 2026-03-01T13:06:00Z 2026-03-01T13:36:00.001Z 1 1 3");

    let unknown = why(&["views"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("it has: views_1h"));
}

#[test]
fn a_number_of_the_past_is_explained_as_it_was_then() {
    let dir = tempfile::tempdir().unwrap();
    let (place, file, _) = run(&dir);
    let before = text(&why(&place, &file, &["views_1h", "--at", "2026-03-01T12:40:00Z", "--limit", "1"]));
    has(&before, "views_1h of user \"u42\" is 2 at 2026-03-01T12:40:00Z");
    has(&before, "6 of them are left out above; --limit shows more");
    has(&before, "history 2 at 2026-03-01T12:30:00Z, version 1, offset 2: the same as the log comes to there");
    // With no record between, time alone empties the session: 12:30 and the gap.
    let over = text(&why(&place, &file, &["visit_views", "--at", "2026-03-01T13:00:00.001Z"]));
    has(&over, "visit_views of user \"u42\" is 0 at 2026-03-01T13:00:00.001Z");
    assert!(over.contains("the session was over at 2026-03-01T13:00:00.001Z"), "{over}");
    has(&over, "history 0 at 2026-03-01T13:00:00.001Z, version 1, offset 3: the same");
}

#[test]
fn buckets_nulls_and_derived_features_are_explained_for_programs_too() {
    let dir = tempfile::tempdir().unwrap();
    let (place, file, _) = run(&dir);
    let spent = json(&why(&place, &file, &["spent", "--json"]));
    assert_eq!(spent["value"], serde_json::json!({"shoes": 20.0}));
    let feature = &spent["features"][0];
    assert_eq!(
        feature["buckets"],
        serde_json::json!([
            {"bucket": "shoes", "value": 20.0, "records": 1, "offsets": [2]}
        ])
    );
    assert_eq!(feature["verdicts"]["null"], 1, "hats without a price");
    let refused = feature["records"].as_array().unwrap().iter().filter(|record| record["dead_letter"] == true);
    assert_eq!(refused.map(|record| record["offset"].as_i64().unwrap()).collect::<Vec<_>>(), [4, 6]);
    assert_eq!((&spent["history"]["same"], &spent["online"]["same"]), (&Value::Bool(true), &Value::Bool(true)));
    assert_eq!((&spent["log_is_cut"], &spent["state"]), (&Value::Bool(false), &Value::Null));

    let derived = text(&why(&place, &file, &["views_per_buy"]));
    has(&derived, "views_per_buy of user \"u42\" is null at 2026-03-01T13:06:00Z");
    has(&derived, "since_buy = 0: count *, window since event = 'purchase'");
    assert!(derived.contains("it is the border") && derived.contains("views_1h = 2"), "{derived}");

    let read = json(&why(&place, &file, &["since_view", "--json", "--at", "2026-03-01T13:10:00Z"]));
    assert_eq!(read["value"], 5 * 60_000, "it takes the time asked for as the time of reading");
    assert!(read["history"]["because"].as_str().unwrap().contains("as it is read"), "{read}");
}

#[test]
fn where_the_log_has_lost_its_beginning_the_state_shows_its_tiles() {
    let dir = tempfile::tempdir().unwrap();
    let (place, file, topic) = run(&dir);
    kafka::shared().delete_records(&topic, 1, 2);
    let cut = text(&why(&place, &file, &["views_1h"]));
    has(&cut, "views_1h of user \"u42\" comes to 1 at 2026-03-01T13:06:00Z, from what the log still has");
    assert!(cut.contains("offsets 0 to 1 are gone") && cut.contains("in tiles, without offsets"), "{cut}");
    has(&cut, "the state has views_1h = 2 at 2026-03-01T13:06:00Z, of the records before offset 7");
    has(&cut, "2026-03-01T12:20:00Z to 2026-03-01T12:21:00Z 2026-03-01T13:21:00Z 1");
    has(&cut, "history 2 at 2026-03-01T13:06:00Z, version 1, offset 5: what the log still has comes to 1 there");

    // Nothing is left of the log: what the state has is all there is.
    kafka::shared().delete_records(&topic, 1, 7);
    let empty = json(&why(&place, &file, &["spent", "--json"]));
    assert_eq!((&empty["records_read"], &empty["log_is_cut"]), (&Value::from(0), &Value::Bool(true)));
    let state = &empty["state"]["features"][0];
    assert_eq!(state["parts"], serde_json::json!([{"value": {"shoes": 20.0}, "part": "lifetime"}]));
    assert_eq!(empty["history"]["value"], r#"{"shoes":20.0}"#);
    assert_eq!((&empty["history"]["same"], &empty["history"]["recomputed"]), (&Value::Bool(false), &Value::Null));
}
