//! Disks that are full: the process ends or waits with words that say so, and with room nothing is lost.

use std::path::Path;
use std::process::Command;

use crate::support::disk::{FULL, SmallDisk};
use crate::support::kafka;
use crate::support::log::Log;
use crate::support::running::{Live, free_address, is_ready, page, wait_until};
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

/// `kappa run`, as it must be started on this disk.
fn run(place: &Place<'_>, case: &Case, disk: &SmallDisk, is_full: bool, more: &[&str]) -> Command {
    let mut command = place.kappa(&["run", &case.topology_file.display().to_string()]);
    command.args(more);
    disk.command(&command, is_full)
}

fn says_full(said: &str) -> bool {
    FULL.iter().any(|words| said.contains(words))
}

#[test]
fn a_state_directory_that_is_full_ends_the_run_and_with_room_it_resumes_whole() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 3_000, 41);
    let case = log.case(SHOP, dir.path());
    let place = Place::new(kafka);
    let data = place.path("data");
    let disk = SmallDisk::at(&data);
    log.write_part(kafka, 0..50);
    let (address, listen) = free_address();
    let live = Live::spawn(run(&place, &case, &disk, false, &["--set", &listen]));
    wait_until("the first half is folded", || is_ready(&address));

    disk.fill(Some(live.id()));
    log.write_part(kafka, 50..100);
    let (code, said) = live.ended();
    assert_eq!(code, Some(6), "{said}");
    assert!(says_full(&said) && said.contains(&data) && said.contains("free disk space"), "{said}");

    // A supervisor starts it again, and there is still no room.
    disk.fill(None);
    let (code, said) = Live::spawn(run(&place, &case, &disk, true, &[])).ended();
    assert_eq!(code, Some(6), "{said}");
    assert!(says_full(&said) && said.contains(&data) && said.contains("disk"), "{said}");

    disk.free(None);
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("resumed with room");
}

#[test]
fn a_history_store_that_is_full_is_waited_for_and_a_restart_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 3_000, 42);
    let case = log.case(SHOP, dir.path());
    let place = Place::new(kafka);
    let disk = SmallDisk::at(&place.path("offline"));
    if !disk.is_mounted() {
        // Bounded files would end the state first. What stands in: sink::offline::tests::faults, a store whose writes fail.
        eprintln!("no disk of its own can be mounted here: see sink::offline::tests::faults instead");
        return;
    }
    log.write_part(kafka, 0..30);
    let (address, listen) = free_address();
    let live = Live::spawn(run(&place, &case, &disk, false, &["--set", &listen]));
    wait_until("the first part is folded", || is_ready(&address));
    let waits_for_room =
        |(status, text): (u16, String)| status == 503 && text.contains("offline: ") && says_full(&text);

    disk.fill(None);
    log.write_part(kafka, 30..60);
    wait_until("it waits for room", || page(&address, "/ready").is_some_and(waits_for_room));
    assert_eq!(page(&address, "/health"), Some((200, "ok\n".to_string())));
    assert!(live.said().contains("committing again"), "{}", live.said());
    disk.free(None);
    wait_until("it goes on by itself", || is_ready(&address));

    disk.fill(None);
    log.write_part(kafka, 60..100);
    wait_until("it waits again", || page(&address, "/ready").is_some_and(waits_for_room));
    wait_until("the online store goes on meanwhile", || place.online(&case).1.is_none());
    live.kill();
    disk.free(None);
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("resumed with room");
    assert!(Path::new(&place.path("offline")).join(&case.topology.name).is_dir());
}
