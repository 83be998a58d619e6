//! What is served is what a model is trained on: reads of a live run against its history, and the same by sample.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kappa::source::{Codec, Record};

use crate::support::running::{Live, ask, free_address, is_ready, page, wait_until};
use crate::support::served::{Scale, verify, watch};
use crate::support::verify::Place;
use crate::support::{kafka, producer};

const READS: u64 = 3_000;

#[test]
fn reads_at_random_moments_are_the_rows_of_the_history_or_the_law() {
    let place = Place::new(kafka::shared());
    let scale = Scale { reads: READS, users: 300, partitions: 3, burst: 400 };
    let watched = watch(kafka::shared(), &place, &scale);
    let (code, report, said) = verify(&place, &watched, &watched.log);
    println!("{report:#}");
    assert_eq!(code, Some(0), "{said}");
    let count = |of: &str, what: &str| report[of][what].as_u64().unwrap();
    assert_eq!(report["reads"], READS);
    for of in ["rows", "refreshed"] {
        assert_eq!((count(of, "different"), count(of, "untold")), (0, 0), "{report:#}");
        assert!(count(of, "same") > 200, "too few to say anything: {report:#}");
    }
    let of_moments = ["different", "incomplete", "ahead"].map(|what| count("moments", what));
    assert_eq!(of_moments, [0, 0, 0], "{report:#}");
    assert_eq!(count("moments", "same") + count("moments", "on_their_way"), READS);
    a_false_value_is_found(&place, &watched);
}

/// One value of one read is made another: of a row, and of a refresh.
fn a_false_value_is_found(place: &Place<'_>, watched: &crate::support::served::Watched) {
    let text = std::fs::read_to_string(&watched.log).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let parts = |line: &str| {
        line.split_once("\"position\":\"").map_or(0, |(_, rest)| rest.split('"').next().unwrap().split(':').count())
    };
    for wanted in [4, 5] {
        let at = lines.iter().rposition(|line| parts(line) == wanted).unwrap();
        let mut lines: Vec<String> = lines.iter().map(|line| line.to_string()).collect();
        let (before, after) = lines[at].split_once("\"total\":{\"value\":").unwrap();
        lines[at] = format!("{before}\"total\":{{\"value\":1{after}");
        let log = std::path::PathBuf::from(place.path("false.jsonl"));
        std::fs::write(&log, lines.join("\n")).unwrap();
        let (code, report, said) = verify(place, watched, &log);
        let of = if wanted == 4 { "rows" } else { "refreshed" };
        assert_eq!((code, &report[of]["different"]), (Some(7), &1.into()), "{report:#}");
        let difference = report["differences"][0].as_str().unwrap();
        assert!(
            difference.starts_with(&format!("line {}: user ", at + 1)) && difference.contains("`total`"),
            "{difference}"
        );
        assert!(said.contains(&format!("1 of {READS} reads differ")), "{said}");
    }
}

fn counted(address: &str, name: &str) -> u64 {
    let text = page(address, "/metrics").map_or(String::new(), |(_, text)| text);
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("0");
    line.trim().parse().unwrap()
}

#[test]
fn a_run_reads_back_what_it_serves_and_sees_a_value_that_somebody_else_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka::shared().new_topic("sampled", 1);
    let topology = dir.path().join("sampled.yaml");
    let yaml = format!(
        "topology: sampled\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  schema: {{user_id: string, ts: \
         timestamp_ms}}\nentities:\n  user:\n    key: user_id\n    features:\n      seen: {{count: \"*\", window: lifetime}}\n"
    );
    std::fs::write(&topology, yaml).unwrap();
    let place = Place::new(kafka::shared());
    let (address, listen) = free_address();
    let live = Live::start(&place, &topology, &["--set", &listen, "--set", "offline.commit_interval=1s"]);
    wait_until("the run is ready", || is_ready(&address));
    let seen = || ask(&place, &["HGET", "features:u1", "seen"]);
    let mut count = 0;
    let mut record = || {
        let t = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let value = format!("{{\"user_id\":\"u1\",\"ts\":{t}}}");
        let record = Record { key: Some(b"u1"), value: Some(value.as_bytes()), time: Some(t), ..Record::default() };
        producer::write(kafka::shared(), &topic, Codec::None, [record]);
        count += 1;
        wait_until("the event is online", || seen() == count.to_string());
    };
    wait_until("one is looked at", || {
        record();
        std::thread::sleep(Duration::from_millis(300));
        counted(&address, "kappa_served_checked_total") > 0
    });
    assert_eq!(counted(&address, "kappa_served_different_total"), 0);
    wait_until("the false value is seen", || {
        record();
        ask(&place, &["HSET", "features:u1", "seen", "999"]);
        std::thread::sleep(Duration::from_millis(1_500));
        counted(&address, "kappa_served_different_total") > 0
    });
    let said = live.said();
    assert!(said.contains("the online store has another value than the history") && said.contains("u1"), "{said}");
    assert_eq!(live.terminate().0, Some(0));
}
