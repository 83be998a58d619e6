//! Dead letters whose cause is mended, where the log no longer has all of them.

use std::path::PathBuf;

use kappa::source::{Codec, Record};

use super::text;
use crate::support::verify::Place;
use crate::support::{kafka, producer};

const RECORDS: i64 = 100;
const START: i64 = 1_700_000_000_000;

/// Every tenth price is in quotes; the record at 50 is no JSON at all.
fn value(number: i64) -> String {
    match number {
        50 => "{".into(),
        _ if number % 10 == 0 => format!("{{\"user_id\":\"u1\",\"price\":\"{number}.5\",\"ts\":{}}}", START + number),
        _ => format!("{{\"user_id\":\"u1\",\"price\":{number},\"ts\":{}}}", START + number),
    }
}

fn topology(dir: &tempfile::TempDir, topic: &str, price: &str) -> PathBuf {
    let file = dir.path().join("orders.yaml");
    let yaml = format!(
        "topology: orders\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  schema: {{user_id: string, price: \
         \"{price}\", ts: timestamp_ms}}\nentities:\n  user:\n    key: user_id\n    features:\n      orders: {{count: \"*\", \
         window: lifetime}}\n      spent: {{sum: price, window: lifetime}}\n      order_of_prices: {{last_k: price, k: 100, \
         window: lifetime}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    file
}

fn online(place: &Place<'_>, feature: &str) -> String {
    let answer = place.redis.admin(&["HGET", "features:u1", feature]);
    answer.lines().last().unwrap_or_default().to_string()
}

fn ran(place: &Place<'_>, arguments: &[&str]) -> String {
    let output = place.kappa(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// A log whose tenth records are dead letters of version 1.
fn with_dead_letters(place: &Place<'_>, dir: &tempfile::TempDir) -> (String, String) {
    let topic = kafka::shared().new_topic("orders", 1);
    let records: Vec<(i64, String)> = (0..RECORDS).map(|number| (number, value(number))).collect();
    let records = records.iter().map(|(number, value)| Record {
        partition: Some(0),
        key: Some(b"u1"),
        value: Some(value.as_bytes()),
        time: Some(START + number),
        headers: &[],
    });
    producer::write(kafka::shared(), &topic, Codec::None, records);
    let file = topology(dir, &topic, "double").display().to_string();
    ran(place, &["run", &file, "--until-caught-up"]);
    assert_eq!(online(place, "orders"), "90");
    (topic, file)
}

#[test]
fn dead_letters_that_the_log_has_lost_enter_again_in_their_place() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(kafka::shared());
    let (topic, _) = with_dead_letters(&place, &dir);
    kafka::shared().delete_records(&topic, 0, 55);
    let mended = topology(&dir, &topic, "decimal(12,2)").display().to_string();
    let said = ran(&place, &["redrive", &mended]);
    // 0, 10, ... 50 are gone from the log, 60 to 90 are in it; the one at 50 is no JSON whatever the schema says.
    let report = "10 dead letters redriven: 4 read from the log, 0 from the archive, 6 taken from the table of dead letters; \
                  1 of them still fail";
    assert!(said.contains(report), "{said}");
    // What the log has (55 to 99), and of what it has not the five that were dead letters.
    assert_eq!(online(&place, "orders"), "50");
    let prices: Vec<serde_json::Value> = serde_json::from_str(&online(&place, "order_of_prices")).unwrap();
    let cents = |number: i64| if number % 10 == 0 { number * 100 + 50 } else { number * 100 };
    let wanted: Vec<i64> = (0..RECORDS).rev().filter(|n| *n >= 55 || (*n % 10 == 0 && *n != 50)).map(cents).collect();
    let found: Vec<i64> = prices
        .iter()
        .map(|price| (price.to_string().trim_matches('"').parse::<f64>().unwrap() * 100.0).round() as i64)
        .collect();
    assert_eq!(found, wanted);
    assert!(ran(&place, &["redrive", &mended, "--reason", "late"]).contains("nothing to redrive"));
}

#[test]
fn with_an_archive_every_dead_letter_is_read_where_it_lies() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(kafka::shared());
    let (topic, file) = with_dead_letters(&place, &dir);
    ran(&place, &["archive", &file, "--until-caught-up"]);
    kafka::shared().delete_records(&topic, 0, 55);
    let mended = topology(&dir, &topic, "decimal(12,2)").display().to_string();
    let said = ran(&place, &["redrive", &mended]);
    assert!(said.contains("0 read from the log, 10 from the archive, 0 taken from the table"), "{said}");
    assert_eq!(online(&place, "orders"), "99");
}

#[test]
fn what_is_not_asked_for_stays_a_dead_letter() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(kafka::shared());
    let (topic, _) = with_dead_letters(&place, &dir);
    kafka::shared().delete_records(&topic, 0, RECORDS);
    let mended = topology(&dir, &topic, "decimal(12,2)").display().to_string();
    // 2023-11-14T22:13:20.070Z is START + 70.
    let said = ran(&place, &["redrive", &mended, "--reason", "malformed", "--since", "2023-11-14T22:13:20.070Z"]);
    assert!(said.contains("3 dead letters redriven: 0 read from the log, 0 from the archive, 3 taken"), "{said}");
    assert_eq!((online(&place, "orders"), online(&place, "spent").parse::<f64>().unwrap()), ("3".into(), 241.5));
}
