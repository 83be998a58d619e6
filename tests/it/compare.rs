//! `kappa diff` and `kappa plan` between a real Kafka and real states: what they say, held against the oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use crate::support::kafka;
use crate::support::log::Log;
use crate::support::oracle::{FeatureRow, LogRecord, Oracle, PartitionRun, Topology, Value};
use crate::support::running::{Live, wait_until};
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

/// What version 2 has otherwise: half the window of one feature, two new ones, and one that is gone.
const CHANGES: [(&str, &str); 2] = [
    (
        "views_24h:             {count: \"*\", where: \"event = 'view'\", window: 24h}",
        "views_24h:             {count: \"*\", where: \"event = 'view'\", window: 12h}",
    ),
    (
        "clicks_24h:            {count: \"*\", where: \"event = 'click'\", window: 24h}",
        "views_7d: {count: \"*\", where: \"event = 'view'\", window: 7d}\n      views_today: {count: \"*\", where: \"event = 'view'\", window: {tumbling: 1d}}",
    ),
];

/// How many records a log has.
fn count_records(log: &Log) -> u64 {
    log.partitions.iter().map(|(_, records)| records.len() as u64).sum()
}

/// The shop over a log, as version 1 and as version 2 have it.
fn cases(log: &Log, dir: &Path) -> [Case; 2] {
    let first = SHOP.replace("topic: shop.events", &format!("topic: {}", log.topic));
    let second = CHANGES.iter().fold(first.clone(), |text, (from, to)| {
        assert!(text.contains(from), "topologies/shop.yaml has no `{from}`");
        text.replace(from, to)
    });
    [("v1.yaml", first), ("v2.yaml", second)].map(|(name, yaml)| Case::over(&log.partitions, &yaml, &dir.join(name)))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

/// Runs a command; its output, after a look at its exit code.
fn kappa(place: &Place<'_>, arguments: &[&str], code: i32) -> Output {
    let output = place.kappa(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    output
}

fn tree(output: &Output) -> Json {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stdout)))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The last row of every key of an entity, by key.
fn last_rows(runs: &[PartitionRun], entity: usize) -> BTreeMap<Arc<str>, &FeatureRow> {
    let rows = runs.iter().flat_map(|run| &run.rows).filter(|row| row.entity == entity);
    rows.map(|row| (Arc::clone(&row.key), row)).collect()
}

/// How a feature's values differ, counted by hand.
#[derive(Debug, Default, PartialEq)]
struct Counted {
    equal: u64,
    changed: u64,
    only: [u64; 2],
    /// Relative, of all that both have, ascending.
    relative: Vec<f64>,
    /// Relative and absolute, and the key; worst first.
    worst: Vec<(f64, f64, String)>,
}

/// The keys of an entity, and how one feature of whole numbers differs between two topologies over the same log.
fn count(cases: &[Case; 2], entity: usize, feature: &str) -> (BTreeSet<Arc<str>>, Counted) {
    let rows = [0, 1].map(|side: usize| last_rows(&cases[side].expected, entity));
    let place = |side: usize| {
        let columns = cases[side].topology.entities[entity].columns();
        columns.iter().position(|(name, _)| *name == feature).unwrap()
    };
    let places = [place(0), place(1)];
    let keys: BTreeSet<Arc<str>> = rows.iter().flat_map(|rows| rows.keys().cloned()).collect();
    let mut counted = Counted::default();
    for key in &keys {
        let value = |side: usize| rows[side].get(key).map_or(Value::Int(0), |row| row.values[places[side]].clone());
        let [Some(left), Some(right)] = [value(0).number(), value(1).number()] else {
            panic!("not a number: {feature}")
        };
        match (rows[0].contains_key(key), rows[1].contains_key(key)) {
            (true, true) => {
                let relative = if left == right { 0.0 } else { (left - right).abs() / left.abs().max(right.abs()) };
                counted.relative.push(relative);
                if left == right {
                    counted.equal += 1;
                } else {
                    counted.changed += 1;
                    counted.worst.push((relative, (left - right).abs(), key.to_string()));
                }
            }
            _ if left == right => counted.equal += 1,
            (has_left, _) => {
                counted.only[usize::from(!has_left)] += 1;
                counted.worst.push((1.0, (left - right).abs(), key.to_string()));
            }
        }
    }
    counted.relative.sort_by(f64::total_cmp);
    counted.worst.sort_by(|a, b| b.0.total_cmp(&a.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    counted.worst.truncate(10);
    (keys, counted)
}

/// What a tree of kappa diff says of a feature.
fn feature<'a>(tree: &'a Json, entity: &str, feature: &str) -> &'a Json {
    let entities = tree["entities"].as_array().unwrap();
    let entity = entities.iter().find(|found| found["entity"] == entity).unwrap();
    entity["features"].as_array().unwrap().iter().find(|found| found["feature"] == feature).unwrap()
}

fn check_feature(found: &Json, counted: &Counted) {
    let number = |name: &str| found[name].as_u64().unwrap();
    let only = [number("only_left"), number("only_right")];
    assert_eq!((number("equal"), number("changed"), only), (counted.equal, counted.changed, counted.only), "{found}");
    assert_eq!(found["relative"]["numbers"], counted.relative.len());
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)] {
        let expected = counted.relative[(q * (counted.relative.len() - 1) as f64) as usize];
        let quantile = found["relative"][name].as_f64().unwrap();
        assert!((quantile - expected).abs() <= 0.0101 * expected, "{name}: {quantile}, expected {expected}");
    }
    let max = found["relative"]["max"].as_f64().unwrap();
    assert!((max - counted.relative.last().unwrap()).abs() < 1e-12, "{max}");
    let keys =
        |worst: &Json| worst.as_array().unwrap().iter().map(|odd| odd["key"].as_str().unwrap().to_string()).collect();
    let found: Vec<String> = keys(&found["worst"]);
    assert_eq!(found, counted.worst.iter().map(|(.., key)| key.clone()).collect::<Vec<_>>());
}

/// Every line of numbers of a tree against the oracle's last rows.
fn check_diff(tree: &Json, cases: &[Case; 2]) {
    let (users, counted) = count(cases, 0, "views_24h");
    assert!(counted.changed > 20, "a window of half the length shows: {counted:?}");
    check_feature(feature(tree, "user", "views_24h"), &counted);
    assert_eq!(feature(tree, "user", "views_24h")["logic_changed"], true);
    let (pairs, seen) = count(cases, 1, "seen_30d");
    check_feature(feature(tree, "user_item", "seen_30d"), &seen);
    assert_eq!(seen.changed, 0);
    // All that both versions compute alike has the same values, sketch, list, map and derived ones too.
    for entity in tree["entities"].as_array().unwrap() {
        for found in entity["features"].as_array().unwrap().iter().filter(|found| found["feature"] != "views_24h") {
            assert_eq!(
                (&found["changed"], &found["only_left"], &found["only_right"]),
                (&json!(0), &json!(0), &json!(0)),
                "{found}"
            );
            assert_eq!(found["logic_changed"], false);
        }
    }
    assert_eq!(tree["compared"], users.len() + pairs.len());
    assert_eq!(tree["changed"], counted.changed + counted.only[0] + counted.only[1]);
    assert_eq!(tree["entities"][0]["features_only_left"], json!(["clicks_24h"]));
    assert_eq!(tree["entities"][0]["features_only_right"], json!(["views_7d", "views_today"]));
}

#[test]
fn a_diff_beside_the_process_that_runs_both_versions_says_what_the_oracle_says() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(kafka::shared(), 16_000, 41);
    let cases = cases(&log, dir.path());
    let place = Place::new(kafka::shared());
    log.write_part(kafka::shared(), 0..50);
    place.run(&cases[0], &[]);
    place.run(&cases[1], &["--replay-from", "0", "--no-promote"]);
    let live = Live::start(&place, &cases[0].topology_file, &[]);
    let file = text(&cases[0].topology_file);
    let diff =
        |more: &[&str], code: i32| kappa(&place, &[&["diff", "1", "2", "--topology", &file], more].concat(), code);

    // States that are being written are read whole: offsets rise, and nothing fails.
    let mut offsets = vec![];
    for piece in 0..10 {
        log.write_part(kafka::shared(), 50 + 5 * piece..50 + 5 * (piece + 1));
        let partitions = tree(&diff(&["--json"], 0))["partitions"].clone();
        let next = |side: &str| {
            partitions.as_array().unwrap().iter().filter_map(|p| p[side]["next_offset"].as_i64()).sum::<i64>()
        };
        offsets.push([next("left"), next("right")]);
    }
    assert!(offsets.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]), "{offsets:?}");
    let ends = |tree: &Json| {
        let is_at_end = |p: &Json| {
            let end = log.partitions[p["partition"].as_u64().unwrap() as usize].1.len();
            p["left"]["next_offset"] == end && p["right"]["next_offset"] == end && p["remark"].is_null()
        };
        tree["partitions"].as_array().unwrap().iter().all(is_at_end)
    };
    wait_until("both versions have read all of it", || ends(&tree(&diff(&["--json"], 0))));
    check_diff(&tree(&diff(&["--json"], 0)), &cases);
    assert_eq!(live.terminate().0, Some(0));
}

#[test]
fn a_diff_is_a_table_a_sample_and_a_bound_on_what_may_change() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(kafka::shared(), 12_000, 43);
    let cases = cases(&log, dir.path());
    let place = Place::new(kafka::shared());
    log.write_part(kafka::shared(), 0..100);
    place.run(&cases[0], &[]);
    place.run(&cases[1], &["--replay-from", "0"]);
    let file = text(&cases[1].topology_file);
    let diff =
        |more: &[&str], code: i32| kappa(&place, &[&["diff", "1", "2", "--topology", &file], more].concat(), code);
    let all = tree(&diff(&["--json"], 0));
    check_diff(&all, &cases);

    let table = String::from_utf8(diff(&[], 0).stdout).unwrap();
    for part in [
        "version 1 (retired) against version 2 (live)",
        "only in version 1: clicks_24h",
        "user.views_24h: what differs most",
    ] {
        assert!(table.contains(part), "{part} is missing from\n{table}");
    }
    let sample = |share: &str| diff(&["--json", "--sample", share], 0).stdout;
    assert_eq!(sample("20%"), sample("0.2"));
    let part: Json = serde_json::from_slice(&sample("20%")).unwrap();
    let (some, whole) = (part["compared"].as_f64().unwrap(), all["compared"].as_f64().unwrap());
    assert!(some > 0.15 * whole && some < 0.25 * whole, "{some} of {whole}");

    let (_, counted) = count(&cases, 0, "views_24h");
    let refused = said(&diff(&["--max-changed", "0"], 3));
    let differing = counted.changed + counted.only[0] + counted.only[1];
    assert!(
        refused.contains(&format!("user.views_24h ({differing})")) && !refused.contains("user.views_1h"),
        "{refused}"
    );
    diff(&["--max-changed", "100%"], 0);
    diff(&["--max-changed", "0", "--entity", "user_item"], 0);
    // Whatever is within all of the larger number is equal.
    diff(&["--max-changed", "0", "--tolerance", "1"], 0);
    let unknown = said(&diff(&["--entity", "nobody"], 2));
    assert!(unknown.contains("nobody") && unknown.contains("user_item"), "{unknown}");
    let missing = said(&kappa(&place, &["diff", "1", "7", "--topology", &file], 2));
    assert!(missing.contains("no version 7"), "{missing}");
}

/// What a tree of kappa plan says of the features of an entity: name to status and words.
fn planned(tree: &Json, entity: usize) -> BTreeMap<String, (String, String)> {
    let text = |json: &Json| json.as_str().unwrap().to_string();
    let features = tree["changes"]["entities"][entity]["features"].as_array().unwrap().iter();
    let words = |found: &Json| found["what"].as_array().unwrap().iter().map(text).collect::<Vec<_>>().join("; ");
    features.map(|found| (text(&found["feature"]), (text(&found["status"]), words(found)))).collect()
}

#[test]
fn a_plan_says_what_changes_and_what_a_replay_takes_before_anything_runs() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(kafka::shared(), 8_000, 47);
    let cases = cases(&log, dir.path());
    let place = Place::new(kafka::shared());
    log.write_part(kafka::shared(), 0..100);
    let files = [text(&cases[0].topology_file), text(&cases[1].topology_file)];
    let plan = |version: usize, more: &[&str], code: i32| {
        kappa(&place, &[&["plan", &files[version - 1], "--json"], more].concat(), code)
    };
    // Nothing has run yet, and nothing runs: the whole log is the sample.
    let first = tree(&plan(1, &["--sample", "1000000"], 0));
    assert_eq!((&first["outcome"]["does"], &first["against"]), (&json!("first"), &Json::Null));
    assert!(planned(&first, 0).values().all(|(status, _)| status == "new"));
    let size = |record: &LogRecord| record.key.as_ref().map_or(0, Vec::len) + record.value.as_ref().map_or(0, Vec::len);
    let bytes: usize = log.partitions.iter().flat_map(|(_, records)| records).map(size).sum();
    let replay = &first["replay"];
    assert_eq!(
        (&replay["records"], &replay["sample"]["records"]),
        (&json!(count_records(&log)), &json!(count_records(&log)))
    );
    assert_eq!(replay["sample"]["bytes"], bytes);
    assert!(replay["bytes"].as_u64().unwrap().abs_diff(bytes as u64) <= 1, "{replay}");
    assert!(
        replay["seconds"].as_f64().unwrap() > 0.0 && replay["rate"]["measured"].as_str().unwrap().contains("sample")
    );
    let counts = |of: fn(&PartitionRun) -> u64| cases[0].expected.iter().map(of).sum::<u64>();
    let classes = [
        ("tombstone", counts(|run| run.counts.tombstone)),
        ("over_limit", counts(|run| run.counts.over_limit)),
        ("malformed", counts(|run| run.counts.malformed)),
        ("filtered", counts(|run| run.counts.filtered)),
        ("future", counts(|run| run.counts.future)),
        ("late", counts(|run| run.counts.late)),
        ("applied", counts(|run| run.counts.applied)),
    ];
    let classes: Vec<_> = classes.into_iter().filter(|(_, n)| *n > 0).collect();
    assert_eq!(replay["sample"]["classes"], json!(classes));
    assert_eq!((&first["retention"], &first["refused"]), (&Json::Null, &Json::Null));
    assert!(!place.data_dir().exists(), "a plan writes nothing");

    place.run(&cases[0], &[]);
    assert_eq!(tree(&plan(1, &[], 0))["outcome"], json!({"does": "resumes", "version": 1}));
    let second = tree(&plan(2, &[], 0));
    assert_eq!((&second["outcome"]["does"], &second["against"]["version"]), (&json!("builds"), &json!(1)));
    let user = planned(&second, 0);
    let differing: Vec<_> = user.iter().filter(|(_, (status, _))| status != "unchanged").collect();
    let expected = [
        ("clicks_24h", "gone", "count of *, where event = 'click', window 1d by 1h"),
        ("views_24h", "changed", "window 1d by 1h -> 12h by 1h"),
        ("views_7d", "new", "count of *, where event = 'view', window 7d by 1h"),
        ("views_today", "new", "count of *, where event = 'view', window tumbling 1d"),
    ];
    let found: Vec<_> =
        differing.iter().map(|(name, (status, what))| (name.as_str(), status.as_str(), what.as_str())).collect();
    assert_eq!(found, expected);
    assert!(planned(&second, 1).values().all(|(status, _)| status == "unchanged"));

    place.run(&cases[1], &["--replay-from", "0"]);
    let back = tree(&plan(1, &[], 0));
    assert_eq!(back["outcome"], json!({"does": "is_kept", "version": 1}));
    assert!(back["replay"]["rate"]["measured"].as_str().unwrap().starts_with("as version 2 was built"), "{back}");

    // A time that lies in every partition: those of that Kafka time or later.
    let time = log.partitions[0].1[log.partitions[0].1.len() / 2].kafka_time.unwrap();
    let later = log.partitions.iter().flat_map(|(_, records)| records).filter(|record| record.kafka_time >= Some(time));
    let start = date(time);
    let from_time = tree(&plan(2, &["--replay-from", &start], 0));
    assert_eq!((&from_time["replay"]["records"], &from_time["replay"]["from"]), (&json!(later.count()), &json!(start)));
    assert_eq!(from_time["retention"]["partitions"], json!((0..log.partitions.len()).collect::<Vec<_>>()));
}

/// RFC 3339, as kappa writes it.
fn date(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis).unwrap().to_string()
}

/// From when on each feature of an entity is said to be whole, by name; those that are never are left out.
fn whole_from(tree: &Json, entity: &str) -> BTreeMap<String, i64> {
    let features = tree["retention"]["features"].as_array().unwrap().iter().filter(|line| line["entity"] == entity);
    let time = |line: &Json| Some(line["whole_from"].as_str()?.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    features.filter_map(|line| Some((line["feature"].as_str().unwrap().to_string(), time(line)?))).collect()
}

/// Folds a log with and without its beginning, and compares every value at every row of either: how many were equal at
/// or after the feature's time, how many of them differed, and how many differed before it.
fn compare_cut(topology: &Topology, records: &[LogRecord], cut: usize, whole: &BTreeMap<String, i64>) -> [u64; 3] {
    let entity = &topology.entities[0];
    let columns: Vec<String> = entity.columns().iter().map(|(name, _)| name.to_string()).collect();
    let empty: Vec<Value> = {
        let features: Vec<Value> = entity.features.iter().map(|feature| feature.empty_value()).collect();
        let derived = entity.derive(&features);
        features.into_iter().chain(derived).collect()
    };
    let mut oracles = [Oracle::new(topology, 0), Oracle::new(topology, 0)];
    let mut shown: [BTreeMap<Arc<str>, Vec<Value>>; 2] = Default::default();
    let [mut equal, mut different, mut before] = [0; 3];
    for (index, record) in records.iter().enumerate() {
        let mut touched: BTreeMap<Arc<str>, i64> = BTreeMap::new();
        for (side, oracle) in oracles.iter_mut().enumerate().filter(|(side, _)| *side == 0 || index >= cut) {
            let rows = oracle.rows().len();
            oracle.step(record);
            for row in oracle.rows()[rows..].iter().filter(|row| row.entity == 0) {
                shown[side].insert(Arc::clone(&row.key), row.values.to_vec());
                touched.insert(Arc::clone(&row.key), row.event_time);
            }
        }
        if index < cut {
            continue;
        }
        for (key, time) in touched {
            let value = |side: usize, at: usize| shown[side].get(&key).map_or(&empty[at], |values| &values[at]);
            for (at, name) in columns.iter().enumerate() {
                let same = value(0, at) == value(1, at);
                match whole.get(name) {
                    Some(from) if time >= *from && same => equal += 1,
                    Some(from) if time >= *from => different += 1,
                    _ => before += u64::from(!same),
                }
            }
        }
    }
    [equal, different, before]
}

#[test]
fn a_trimmed_log_is_refused_and_values_are_whole_from_the_dates_that_a_plan_names() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::new(kafka::shared(), 16_000, 53);
    let cases = cases(&log, dir.path());
    let place = Place::new(kafka::shared());
    log.write_part(kafka::shared(), 0..100);
    let cut = log.partitions[0].1.len() / 5;
    kafka::shared().delete_records(&log.topic, 0, cut as i64);
    let file: PathBuf = cases[1].topology_file.clone();
    let plan = |more: &[&str], code: i32| kappa(&place, &[&["plan", &text(&file), "--json"], more].concat(), code);
    let refused = plan(&[], 3);
    assert!(
        said(&refused).contains(&format!("partition 0: the log begins at offset {cut}, not 0")),
        "{}",
        said(&refused)
    );
    let refused = tree(&refused);
    let earliest = tree(&plan(&["--replay-from", "earliest"], 0));
    assert_eq!(earliest["refused"], Json::Null);
    assert_eq!(earliest["replay"]["records"], count_records(&log) - cut as u64);
    assert_eq!(earliest["retention"], refused["retention"], "what is missing is told in either case");
    let (_, records) = &log.partitions[0];
    // Any missing record came before this one, with an event time at most a minute (max_future) ahead.
    let begin = records[cut].kafka_time.unwrap() + 60_000;
    assert_eq!(earliest["retention"]["missing_up_to"], json!(date(begin)));
    assert_eq!(earliest["retention"]["partitions"], json!([0]));
    let whole = whole_from(&earliest, "user");
    let named: BTreeSet<&str> = whole.keys().map(String::as_str).collect();
    assert!(
        named.is_superset(&["views_1h", "views_24h", "views_7d", "views_today", "last_category"].into()),
        "{named:?}"
    );
    assert!(!named.contains("lifetime_value") && !named.contains("cart_value"));
    let [equal, different, before] = compare_cut(&cases[1].topology, records, cut, &whole);
    assert_eq!(different, 0, "of {}", equal + different);
    assert!(equal > 1_000 && before > 100, "{equal} equal since they are whole, {before} different before");
}
