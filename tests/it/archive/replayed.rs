//! The archive between a real Kafka that deletes and the real binary: values as if the log had kept everything.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use kappa::source::{Codec, Record};
use serde_json::Value;

use super::{open, read, runtime, settings, text};
use crate::support::verify::{Case, Place};
use crate::support::{kafka, producer};

const SHOP: &str = include_str!("../../../topologies/shop.yaml");

/// Runs `kappa archive` to the end of the log.
fn keep(place: &Place<'_>, topology: &str) {
    let output = place.kappa(&["archive", topology, "--until-caught-up"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

/// What `kappa archive --show` says: (partition, from, next).
fn shown(place: &Place<'_>, topology: &str) -> Vec<(i64, i64, i64)> {
    let output = place.kappa(&["archive", topology, "--show", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |of: &Value, name: &str| of[name].as_i64().unwrap();
    let partitions = said["partitions"].as_array().unwrap().iter();
    partitions.map(|of| (number(of, "partition"), number(of, "from"), number(of, "next"))).collect()
}

/// Every record of the archive, once each.
fn count(place: &Place<'_>, topic: &str) -> usize {
    let runtime = runtime();
    let kept = open(&runtime, &settings(&place.path("archive")), topic);
    let starts: Vec<(i32, i64)> = kept.segments().keys().map(|p| (*p, kept.covers(*p).unwrap().start)).collect();
    let (records, _) = read(kept, &starts, &runtime);
    for of in records.values() {
        assert!(of.is_sorted_by(|a, b| a.offset < b.offset));
    }
    records.values().map(Vec::len).sum()
}

#[test]
fn a_replay_from_the_archive_equals_one_from_a_log_that_kept_everything() {
    let kafka = kafka::shared();
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka, SHOP, 20_000, 31, dir.path());
    let file = case.topology_file.display().to_string();
    let place = Place::new(kafka);
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("from a whole log");
    keep(&place, &file);
    let ends = kafka.ends(&case.topology.topic);
    let wanted: Vec<_> = ends.iter().enumerate().map(|(p, (_, high))| (p as i64, 0, *high)).collect();
    assert_eq!(shown(&place, &file), wanted);

    // Archive and log overlap.
    for (partition, (_, high)) in ends.iter().enumerate() {
        kafka.delete_records(&case.topology.topic, partition as i32, high / 2);
    }
    place.run(&case, &["--replay-from", "archive"]);
    place.check(&case, 2).assert_clean("from archive and log");
    // Nothing is left to do, and doing it again changes nothing.
    place.run(&case, &["--replay-from", "archive"]);
    place.check(&case, 2).assert_clean("asked again");

    // The log has nothing any more.
    kafka.expire(&case.topology.topic);
    place.run(&case, &["--replay-from", "archive", "--again"]);
    place.check(&case, 3).assert_clean("from the archive alone");
    let differences = place.compare_histories(&case, 3, (&place, 1));
    assert!(differences.is_none() && differences.expected > 20_000, "before the deletion and after it: {differences}");

    // Where 0 itself is in the archive, 0 is the true beginning.
    place.run(&case, &["--replay-from", "0", "--again", "--set", "archive.enabled=true"]);
    place.check(&case, 4).assert_clean("from 0 by way of the archive");
}

#[test]
fn a_replay_from_the_archive_is_killed_and_resumes() {
    let kafka = kafka::shared();
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka, SHOP, 60_000, 37, dir.path());
    let file = case.topology_file.display().to_string();
    let place = Place::new(kafka);
    keep(&place, &file);
    for (partition, (_, high)) in kafka.ends(&case.topology.topic).iter().enumerate() {
        kafka.delete_records(&case.topology.topic, partition as i32, high * 2 / 3);
    }
    let mut killed = 0;
    for pause in [400, 700, 1000] {
        let command = &mut place.kappa(&["run", &file, "--replay-from", "archive"]);
        let mut child = Running(command.stdout(Stdio::null()).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(pause));
        killed += u32::from(child.0.try_wait().unwrap().is_none());
    }
    assert_eq!(killed, 3);
    place.run(&case, &["--replay-from", "archive"]);
    place.check(&case, 1).assert_clean("killed three times");
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_keeper_that_is_killed_again_and_again_keeps_each_record_once() {
    let kafka = kafka::shared();
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka, SHOP, 60_000, 41, dir.path());
    let file = case.topology_file.display().to_string();
    let place = Place::new(kafka);
    for pause in [300, 500, 700, 900] {
        let often = ["--set", "archive.commit_interval=20ms"];
        let command = &mut place.kappa(&[&["archive", &file][..], &often].concat());
        let _running = Running(command.stdout(Stdio::null()).spawn().unwrap());
        std::thread::sleep(Duration::from_millis(pause));
    }
    keep(&place, &file);
    let records: i64 = kafka.ends(&case.topology.topic).iter().map(|(_, high)| high).sum();
    assert_eq!(count(&place, &case.topology.topic) as i64, records);
}

#[test]
fn a_run_keeps_the_log_beside_it_and_what_comes_later_too() {
    let kafka = kafka::shared();
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka, SHOP, 10_000, 43, dir.path());
    let file = case.topology_file.display().to_string();
    let place = Place::new(kafka);
    place.run(&case, &["--set", "archive.enabled=true"]);
    place.check(&case, 1).assert_clean("with an archive beside it");
    let records: i64 = kafka.ends(&case.topology.topic).iter().map(|(_, high)| high).sum();
    assert_eq!(count(&place, &case.topology.topic) as i64, records);

    let often = ["--set", "archive.enabled=true", "--set", "archive.commit_interval=100ms"];
    let command = &mut place.kappa(&[&["run", &file][..], &often].concat());
    let _running = Running(command.stdout(Stdio::null()).spawn().unwrap());
    let tombstone = Record { partition: Some(0), key: Some(b"u1"), time: Some(1), ..Record::default() };
    let ends = producer::write(kafka, &case.topology.topic, Codec::None, [tombstone]);
    let began = Instant::now();
    while shown(&place, &file)[0].2 < ends[0] {
        assert!(began.elapsed() < Duration::from_secs(60), "the new record is not kept: {:?}", shown(&place, &file));
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(count(&place, &case.topology.topic) as i64, records + 1);
}

#[test]
fn a_hole_between_archive_and_log_is_refused_with_both_offsets() {
    let kafka = kafka::shared();
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka, SHOP, 2_000, 47, dir.path());
    let file = case.topology_file.display().to_string();
    let place = Place::new(kafka);
    keep(&place, &file);
    let kept = kafka.ends(&case.topology.topic)[0].1;
    let more: Vec<Record<'_>> =
        (0..20).map(|_| Record { partition: Some(0), time: Some(1), ..Record::default() }).collect();
    producer::write(kafka, &case.topology.topic, Codec::None, more);
    kafka.delete_records(&case.topology.topic, 0, kept + 7);
    let (end, low) = (format!("ends at offset {kept}"), format!("begins at {}", kept + 7));
    for arguments in [
        &["run", file.as_str(), "--replay-from", "archive", "--until-caught-up"][..],
        &["archive", file.as_str(), "--until-caught-up"],
    ] {
        let output = place.kappa(arguments).output().unwrap();
        let said = text(&output);
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {said}");
        assert!(said.contains(&end) && said.contains(&low) && said.contains("7 records"), "{arguments:?}: {said}");
    }
    let nothing = ["--set".to_string(), format!("archive.url={}", place.path("elsewhere"))];
    let output = place.kappa(&["run", &file, "--replay-from", "archive"]).args(nothing).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output).contains("there is no archive"), "{}", text(&output));
}
