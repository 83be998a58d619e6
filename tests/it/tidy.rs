//! The history kept tidy while the pipeline writes it: compaction in the background of a run and by command, vacuum, and
//! manifests, held against the oracle.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::kafka;
use crate::support::log::Log;
use crate::support::running::{Live, free_address, is_ready, page, wait_until};
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../topologies/shop.yaml");
/// Small commits, and a compaction as soon as there is something to merge.
const OFTEN: [&str; 4] = ["--set", "offline.commit_interval=100ms", "--set", "offline.compact_interval=200ms"];

fn kappa(place: &Place<'_>, arguments: &[&str]) -> Output {
    place.kappa(arguments).output().expect("kappa starts")
}

fn json(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"))
}

/// How many commits of a table are compactions.
fn compactions(place: &Place<'_>, case: &Case, table: &str, version: u32) -> usize {
    let log = PathBuf::from(place.history_url(case, table, version)).join("_delta_log");
    let commits = std::fs::read_dir(log).unwrap().map(|entry| entry.unwrap().path());
    let commits = commits.filter(|path| path.extension().is_some_and(|extension| extension == "json"));
    commits.filter(|path| std::fs::read_to_string(path).unwrap().contains("\"OPTIMIZE\"")).count()
}

fn shows(address: &str, name: &str) -> Option<f64> {
    let (_, text) = page(address, "/metrics")?;
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn a_run_compacts_while_it_writes_is_killed_in_between_and_every_row_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 6_000, 71);
    let case = log.case(SHOP, dir.path());
    let place = Place::new(kafka);
    // The first days of a log of 40 come in small pieces, so that each has many files; the rest at once.
    let write = |permille: std::ops::Range<usize>| {
        log.write(kafka, |index, of| (of * permille.start / 1000..of * permille.end / 1000).contains(&index));
    };
    for half in [0, 40] {
        let (address, listen) = free_address();
        let live = Live::start(&place, &case.topology_file, &[&OFTEN[..], &["--set", &listen]].concat());
        wait_until("the run is ready", || is_ready(&address));
        for piece in half..half + 40 {
            write(piece..piece + 1);
            std::thread::sleep(Duration::from_millis(120));
        }
        wait_until("files were merged", || {
            shows(&address, "kappa_compacted_files_total").is_some_and(|files| files > 0.0)
        });
        assert_eq!(shows(&address, "kappa_tidy_errors_total"), Some(0.0));
        assert!(shows(&address, "kappa_offline_files{entity=\"user\"}").is_some_and(|files| files > 0.0));
        if half == 0 {
            live.kill();
        } else {
            assert_eq!(live.terminate().0, Some(0));
        }
    }
    write(80..1000);
    place.run(&case, &[]);
    let merged = compactions(&place, &case, "user", 1);
    assert!(merged > 0, "no compaction");
    eprintln!("{merged} compactions of the users' history");
    place.check(&case, 1).assert_clean("compacted while it was written");

    // By hand what is left, and what nothing needs any more within an hour: nothing is that old.
    let file = case.topology_file.display().to_string();
    let would = json(&kappa(&place, &["compact", &file, "--dry-run", "--json"]));
    let done = json(&kappa(&place, &["compact", &file, "--vacuum", "--json"]));
    let sum = |tables: &Value, name: &str| -> u64 {
        tables.as_array().unwrap().iter().filter_map(|table| table["compacted"][name].as_u64()).sum()
    };
    assert_eq!(sum(&would, "replaced"), sum(&done, "replaced"));
    assert!(done.as_array().unwrap().iter().all(|table| table["vacuumed"]["files"].as_array().unwrap().is_empty()));
    let again = json(&kappa(&place, &["compact", &file, "--json"]));
    assert_eq!(sum(&again, "replaced"), 0);
    place.check(&case, 1).assert_clean("compacted by hand");
    let too_short = kappa(&place, &["vacuum", &file, "--retain", "10m"]);
    assert_eq!(too_short.status.code(), Some(2), "{too_short:?}");
    assert!(String::from_utf8_lossy(&too_short.stderr).contains("at least 1h"));
}

/// Sets the times of a table's files and the deletion times in its log back, as if days had gone by.
fn age(table: &Path, milliseconds: i64) {
    let long_ago = std::time::SystemTime::now() - Duration::from_millis(milliseconds as u64);
    let mut folders = vec![table.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            if path.extension().is_some_and(|extension| extension == "json") {
                let text = std::fs::read_to_string(&path).unwrap();
                std::fs::write(&path, earlier(&text, milliseconds)).unwrap();
            }
            std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        }
    }
}

fn earlier(commit: &str, milliseconds: i64) -> String {
    let line = |line: &str| {
        let mut action: Value = serde_json::from_str(line).unwrap();
        if let Some(time) = action.pointer_mut("/remove/deletionTimestamp") {
            *time = (time.as_i64().unwrap() - milliseconds).into();
        }
        format!("{action}\n")
    };
    commit.lines().map(line).collect()
}

#[test]
fn after_the_retention_a_vacuum_removes_what_was_replaced_but_for_what_a_manifest_names() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 4_000, 72);
    let case = log.case(SHOP, dir.path());
    let place = Place::new(kafka);
    let file = case.topology_file.display().to_string();
    log.write_part(kafka, 0..30);
    place.run(&case, &[]);
    log.write_part(kafka, 30..60);
    place.run(&case, &[]);
    let history = |more: &[&str]| {
        let asked = ["history", "user", "u1", "--topology", &file, "--json", "--limit", "100000"];
        let output = kappa(&place, &[&asked[..], more].concat());
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    // What a training file of today was made from.
    let version = {
        let log = PathBuf::from(place.history_url(&case, "user", 1)).join("_delta_log");
        std::fs::read_dir(log)
            .unwrap()
            .filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "json"))
            .count()
            - 1
    };
    let at = version.to_string();
    let (code, made_from) = history(&["--at-version", &at]);
    assert_eq!((code, &made_from), (Some(0), &history(&[]).1));
    let manifest = dir.path().join("train.manifest.json");
    let topology = &case.topology.name;
    let text = format!(r#"{{"tables": [{{"path": "{topology}/user/v1", "table_version": {version}}}]}}"#);
    std::fs::write(&manifest, text).unwrap();
    let manifest = manifest.display().to_string();
    let registered = kappa(&place, &["manifests", "--register", &manifest]);
    assert!(registered.status.success(), "{registered:?}");
    let listed = json(&kappa(&place, &["manifests", "--topology", &file, "--json"]));
    assert_eq!(listed[0]["table_version"].as_u64(), Some(version as u64));

    log.write_part(kafka, 60..100);
    place.run(&case, &[]);
    json(&kappa(&place, &["compact", &file, "--json"]));
    let table = PathBuf::from(place.history_url(&case, "user", 1));
    age(&table, 8 * 86_400_000);
    let removed = |output: &Output| {
        let tables = json(output);
        tables
            .as_array()
            .unwrap()
            .iter()
            .map(|table| table["vacuumed"]["files"].as_array().unwrap().len())
            .sum::<usize>()
    };
    let vacuum = ["vacuum", &file, "--entity", "user", "--json"];
    let first = removed(&kappa(&place, &vacuum));
    assert!(first > 0, "nothing was removed");
    place.check(&case, 1).assert_clean("after a vacuum");
    assert_eq!(history(&["--at-version", &at]), (Some(0), made_from));
    // As the table was a week and a day ago is known, and before its first commit nothing.
    assert_eq!(history(&["--as-of", "2020-01-01T00:00:00Z"]).0, Some(3));
    // Forgotten, it goes with the next.
    let forgotten = kappa(&place, &["manifests", "--forget", &manifest]);
    assert!(forgotten.status.success(), "{forgotten:?}");
    assert!(removed(&kappa(&place, &vacuum)) > 0);
    assert_ne!(history(&["--at-version", &at]).0, Some(0));
    place.check(&case, 1).assert_clean("after both");
}
