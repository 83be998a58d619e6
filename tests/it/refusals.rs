//! What a run refuses, on the real parts: exit code 3 and a message that names the place and the remedy; nothing that
//! was written before changes; and the remedy, followed, gives what the oracle expects.

use std::path::Path;

use crate::support::kafka;
use crate::support::log::Log;
use crate::support::running::{Live, free_address, is_ready, wait_until};
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

/// All of it was said.
fn assert_said(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "`{part}` is missing from\n{said}");
    }
}

/// A bounded run is refused, with all of this in its message.
fn assert_refused(place: &Place<'_>, case: &Case, flags: &[&str], parts: &[&str]) {
    let (status, said) = place.attempt(case, flags);
    assert_eq!(status.code(), Some(3), "{said}");
    assert_said(&said, &[&["error: "], parts].concat());
}

/// A run that is caught up.
fn start(place: &Place<'_>, case: &Case) -> Live {
    let (address, listen) = free_address();
    let live = Live::start(place, &case.topology_file, &["--set", &listen]);
    wait_until("the run is ready", || is_ready(&address));
    live
}

#[test]
fn a_changed_topology_is_refused_with_what_differs_until_it_is_replayed() {
    let (dir, other_dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let kafka = kafka::shared();
    let log = Log::new(kafka, 2_000, 31);
    let case = log.case(SHOP, dir.path());
    log.write_part(kafka, 0..100);
    let place = Place::new(kafka);
    place.run(&case, &[]);
    let line = |name: &str| SHOP.lines().find(|line| line.trim_start().starts_with(name)).unwrap().to_string();
    let (views, clicks) = (line("views_1h:"), line("clicks_24h:"));
    let yaml = SHOP
        .replace(&views, &views.replace("window: 1h", "window: 2h"))
        .replace(&clicks, &clicks.replace("clicks_24h:", "clicks_a_day:"))
        .replace("lateness: 5s", "lateness: 6s");
    let changed = log.case(&yaml, other_dir.path());
    let differs = "changed: source.lateness, user.views_1h; new: user.clicks_a_day; gone: user.clicks_24h";
    assert_refused(&place, &changed, &[], &[differs, "version 1", "--replay-from 0", "bring the old file back"]);
    place.check(&case, 1).assert_clean("after the refusal");
    place.run(&case, &[]);

    place.run(&changed, &["--replay-from", "0"]);
    place.check(&changed, 2).assert_clean("replayed under the changed topology");
    place.run(&changed, &[]);
    assert_refused(&place, &case, &[], &["version 2", "new: user.clicks_24h"]);
}

#[test]
fn a_topic_that_lacks_its_beginning_is_refused_naming_earliest_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 4_000, 32);
    let case = log.case(SHOP, dir.path());
    log.write_part(kafka, 0..100);
    log.trim(kafka, 100);
    let place = Place::new(kafka);
    for flags in [&[][..], &["--replay-from", "0"]] {
        let parts =
            [log.topic.as_str(), "begins at offset 100, not 0", "100 records are gone", "--replay-from earliest"];
        assert_refused(&place, &case, flags, &parts);
    }
    let is_there = |name: &str| Path::new(&place.path(name)).exists();
    assert!(!is_there("data/shop/versions.json") && !is_there("offline"), "a start that is refused begins nothing");

    let left = log.case_from(SHOP, dir.path(), 100);
    place.run(&left, &["--replay-from", "earliest"]);
    place.check(&left, 1).assert_clean("from what is left");
    place.run(&left, &[]);
    place.check(&left, 1).assert_clean("resumed");
}

#[test]
fn records_that_were_deleted_before_they_were_read_are_refused_as_a_loss() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 8_000, 33);
    let case = log.case(SHOP, dir.path());
    let place = Place::new(kafka);
    log.write_part(kafka, 0..50);
    // The state is at the end of what is there, whatever the oracle says of the rest.
    place.run(&case, &[]);
    log.write_part(kafka, 50..100);
    let low = log.lengths(50).into_iter().max().unwrap() + 7;
    assert!(log.lengths(100).into_iter().all(|length| length > low), "a partition would be trimmed to its end");
    log.trim(kafka, low);
    let begins = format!("the log begins at {low}");
    let parts = [log.topic.as_str(), &begins, "deleted before they were read", "--replay-from earliest --again"];
    assert_refused(&place, &case, &[], &parts);
    assert_refused(&place, &case, &["--replay-from", "0", "--again"], &["not 0", "--replay-from earliest"]);

    let left = log.case_from(SHOP, dir.path(), low);
    place.run(&left, &["--replay-from", "earliest", "--again"]);
    place.check(&left, 2).assert_clean("rebuilt from what is left");
}

#[test]
fn a_compacted_topic_is_refused_until_it_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 2_000, 34);
    let case = log.case(SHOP, dir.path());
    let place = Place::new(kafka);
    for policy in ["compact", "compact,delete"] {
        kafka.set_topic(&log.topic, "cleanup.policy", policy);
        let (found, remedy) = (format!("cleanup.policy={policy}"), "--add-config cleanup.policy=delete");
        assert_refused(&place, &case, &[], &[log.topic.as_str(), &found, remedy, "source.topic"]);
    }
    kafka.set_topic(&log.topic, "cleanup.policy", "delete");
    log.write_part(kafka, 0..100);
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("no longer compacted");
    // The same on a topic that became one.
    kafka.set_topic(&log.topic, "cleanup.policy", "compact");
    assert_refused(&place, &case, &[], &["cleanup.policy=compact"]);
}

#[test]
fn more_partitions_than_the_version_began_with_are_refused_at_a_restart_and_as_a_replay() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 2_000, 35);
    let case = log.case(SHOP, dir.path());
    log.write_part(kafka, 0..100);
    let place = Place::new(kafka);
    place.run(&case, &[]);
    kafka.add_partitions(&log.topic, 9);
    // A replay would find each key in two partitions.
    for flags in [&[][..], &["--replay-from", "0", "--again"]] {
        let parts = [log.topic.as_str(), "has 9 partitions now and had 8", "Create a topic with 9 partitions"];
        assert_refused(&place, &case, flags, &parts);
    }
    place.check(&case, 1).assert_clean("after the refusal");
}

#[test]
fn more_partitions_end_a_run_that_reads_them() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 2_000, 36);
    let case = log.case(SHOP, dir.path());
    log.write_part(kafka, 0..100);
    let place = Place::new(kafka);
    let live = start(&place, &case);
    kafka.add_partitions(&log.topic, 10);
    let (code, said) = live.ended();
    assert_eq!(code, Some(3), "{said}");
    assert_said(&said, &[&log.topic, "has 10 partitions now and had 8", "Create a topic with 10 partitions"]);
    place.check(&case, 1).assert_clean("what was read before is whole");
}

#[test]
fn a_topic_that_was_deleted_and_made_again_is_refused_until_it_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 2_000, 37);
    let case = log.case(SHOP, dir.path());
    log.write_part(kafka, 0..100);
    let place = Place::new(kafka);
    place.run(&case, &[]);
    kafka.delete_topic(&log.topic);
    kafka.create_topic(&log.topic, 8, &[]);
    // The same offsets, so that these alone would say nothing.
    log.write_part(kafka, 0..100);
    let parts = [log.topic.as_str(), "was deleted and created again", "--replay-from 0 --again", "data_dir"];
    assert_refused(&place, &case, &[], &parts);
    place.check(&case, 1).assert_clean("after the refusal");
    place.run(&case, &["--replay-from", "0", "--again"]);
    place.check(&case, 2).assert_clean("rebuilt from the new topic");
}

#[test]
fn a_topic_that_is_made_again_under_a_run_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 2_000, 38);
    let case = log.case(SHOP, dir.path());
    log.write_part(kafka, 0..100);
    let place = Place::new(kafka);
    let live = start(&place, &case);
    kafka.delete_topic(&log.topic);
    kafka.create_topic(&log.topic, 8, &[]);
    log.write_part(kafka, 0..100);
    let (code, said) = live.ended();
    // It depends on what is seen first: that it is another one (3), that it is gone (2), or that its log is shorter (5).
    assert!(matches!(code, Some(2 | 3 | 5)), "{code:?}: {said}");
    assert_said(&said, &[&log.topic, "--replay-from 0 --again"]);
    assert_refused(&place, &case, &[], &["was deleted and created again", "--replay-from 0 --again"]);
    place.check(&case, 1).assert_clean("what was read before is whole");
}

#[test]
fn a_redis_that_evicts_is_refused_at_the_start_and_while_it_is_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 2_000, 39);
    let case = log.case(SHOP, dir.path());
    log.write_part(kafka, 0..50);
    let place = Place::new(kafka);
    let policy = |policy: &str| assert_eq!(place.redis.admin(&["CONFIG", "SET", "maxmemory-policy", policy]), "+OK");
    policy("allkeys-lru");
    assert_refused(&place, &case, &[], &["maxmemory-policy allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]);
    assert_eq!(place.redis.admin(&["DBSIZE"]), ":0");

    policy("noeviction");
    let live = start(&place, &case);
    policy("volatile-ttl");
    let (code, said) = live.ended();
    assert_eq!(code, Some(3), "{said}");
    assert_said(&said, &["maxmemory-policy volatile-ttl", "CONFIG SET maxmemory-policy noeviction"]);

    policy("noeviction");
    log.write_part(kafka, 50..100);
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("once it does not evict any more");
}
