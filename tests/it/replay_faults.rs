//! What fails in the middle of a replay: the replay waits or says why it stopped, the version that serves goes on as far
//! as it can, nothing is lost, and all of it ends as the oracle has it.

use std::process::Command;

use kappa::runtime::{Standing, Versions};
use serde_json::Value;

use crate::support::changed::Changed;
use crate::support::disk::{FULL, SmallDisk};
use crate::support::kafka::{self, Kafka};
use crate::support::running::{Live, free_address, is_ready, page, wait_until};
use crate::support::verify::Place;

const EVENTS: u64 = 12_000;

/// Version 1 has read the log and serves; version 2 is about to be built from its start, some seconds long.
struct Scene<'a> {
    changed: Changed,
    place: Place<'a>,
    address: String,
    listen: String,
}

impl<'a> Scene<'a> {
    /// With this part of the log in the topic, in percent.
    fn set(kafka: &'a Kafka, seed: u64, percent: usize) -> Self {
        let (changed, place) = (Changed::new(kafka, EVENTS, seed, percent), Place::new(kafka));
        place.run(&changed.first, &[]);
        let (address, listen) = free_address();
        Self { changed, place, address, listen }
    }

    /// The process with both versions; the same command line whenever it is started.
    fn command(&self) -> Command {
        let mut command = self.place.kappa(&["run", &self.changed.second.topology_file.display().to_string()]);
        command.args(["--replay-from", "0", "--max-rate", "2000", "--set", "kafka.poll_records=100"]);
        command.args(["--set", &self.listen]);
        command
    }

    /// Until version 2 is on its way, and not yet there.
    fn wait_for_the_middle(&self) {
        let before = self.versions().get(2).map_or(0, |_| self.done());
        wait_until("version 2 is on its way", || self.done() > before.max(EVENTS / 4));
        assert_eq!(self.standing(), Some(Standing::Building));
    }

    /// Records of version 2 that are folded.
    fn done(&self) -> u64 {
        let status = page(&self.address, "/v1/status").and_then(|(_, text)| serde_json::from_str::<Value>(&text).ok());
        let versions = status.and_then(|status| status["versions"].as_array().cloned()).unwrap_or_default();
        let second = versions.iter().find(|run| run["version"]["number"] == 2);
        second.and_then(|run| run["progress"]["done"].as_u64()).unwrap_or(0)
    }

    fn versions(&self) -> Versions {
        Versions::open(&self.place.data_dir(), "shop").unwrap()
    }

    fn standing(&self) -> Option<Standing> {
        self.versions().get(2).map(|version| version.standing)
    }

    /// Version 2 takes over, and both have every row once; a run of version 2 is all that is left to do.
    fn ends_well(self, live: Live) {
        wait_until("version 2 is live", || self.standing() == Some(Standing::Live));
        assert_eq!(live.terminate().0, Some(0));
        let Changed { first, second, .. } = &self.changed;
        self.place.run(second, &[]);
        self.place.check(second, 2).assert_clean("version 2");
        let old = self.place.check_history(first, 1);
        assert!(old.is_none() && old.expected > 0, "version 1: {old}");
    }
}

fn says_full(said: &str) -> bool {
    FULL.iter().any(|words| said.contains(words))
}

#[test]
fn a_replay_whose_state_has_no_room_stops_alone_and_goes_on_with_room() {
    let scene = Scene::set(kafka::shared(), 51, 100);
    let disk = SmallDisk::at(&scene.place.path("data/shop/v2"));
    if !disk.is_mounted() {
        // Bounded files would end the version that serves as well: see full_disk.
        eprintln!("no disk of its own can be mounted here");
        return;
    }
    let live = Live::spawn(scene.command());
    scene.wait_for_the_middle();
    disk.fill(None);
    let failure = || scene.versions().get(2).and_then(|version| version.failure.clone()).unwrap_or_default();
    wait_until("it is written down why version 2 stopped", || !failure().is_empty());
    assert!(says_full(&failure()) && failure().contains("free disk space"), "{}", failure());
    assert!(is_ready(&scene.address) && scene.standing() == Some(Standing::Building), "version 1 goes on");
    disk.free(None);
    scene.ends_well(live);
}

#[test]
fn a_replay_whose_history_has_no_room_waits_and_is_killed_and_loses_nothing() {
    let scene = Scene::set(kafka::shared(), 52, 100);
    let (offline, aside) = (scene.place.path("offline"), scene.place.path("aside"));
    // What version 1 has written so far goes to the small disk.
    std::fs::rename(&offline, &aside).unwrap();
    let disk = SmallDisk::at(&offline);
    if !disk.is_mounted() {
        eprintln!("no disk of its own can be mounted here");
        return;
    }
    let copied = Command::new("cp").args(["-r", &format!("{aside}/."), &offline]).status();
    assert!(copied.unwrap().success());
    let live = Live::spawn(scene.command());
    scene.wait_for_the_middle();
    disk.fill(None);
    wait_until("it waits for room", || live.said().contains("committing again"));
    assert!(says_full(&live.said()), "{}", live.said());
    live.kill();

    let live = Live::spawn(scene.command());
    wait_until("it waits for room again", || live.said().contains("committing again") && says_full(&live.said()));
    disk.free(None);
    scene.ends_well(live);
}

#[test]
fn a_replay_goes_on_without_redis_and_its_switch_waits_and_hears_a_signal() {
    let mut scene = Scene::set(kafka::shared(), 53, 80);
    let info = ["--set", "log.level=info", "--set", "bounds.shutdown=1s"];
    let mut command = scene.command();
    let live = Live::spawn({
        command.args(info);
        command
    });
    scene.wait_for_the_middle();
    scene.place.redis.kill();
    // Rows that version 1 is to publish: it is asked to stop in the midst of them.
    scene.changed.log.write_part(kafka::shared(), 80..100);
    wait_until("the switch begins", || live.said().contains("taking over"));
    let (code, took) = live.terminate();
    assert_eq!(code, Some(0), "after {took:?}");
    assert_eq!(scene.standing(), Some(Standing::Ready));
    scene.place.redis.start_again();
    let live = Live::spawn(scene.command());
    scene.ends_well(live);
}

#[test]
fn a_replay_whose_redis_comes_back_empty_switches_to_all_of_it() {
    let mut scene = Scene::set(kafka::shared(), 54, 100);
    let live = Live::spawn(scene.command());
    scene.wait_for_the_middle();
    scene.place.redis.kill();
    wait_until("version 2 has read the log", || scene.standing() == Some(Standing::Ready));
    scene.place.redis.start_again();
    scene.ends_well(live);
}

#[test]
fn a_replay_whose_broker_dies_ends_or_waits_and_reads_on() {
    let own = Kafka::start();
    let scene = Scene::set(&own, 55, 100);
    let mut bounded = scene.command();
    bounded.args(["--until-caught-up", "--set", "start_timeout=1s"]);
    let bounded = Live::spawn(bounded);
    scene.wait_for_the_middle();
    own.kill();
    let (code, said) = bounded.ended();
    assert!(code == Some(4) && said.contains("does not answer for topic"), "{code:?}: {said}");
    own.restart();

    let live = Live::spawn(scene.command());
    scene.wait_for_the_middle();
    own.kill();
    wait_until("it says what it waits for", || live.said().contains("does not answer for topic"));
    assert_eq!(page(&scene.address, "/health").map(|(status, _)| status), Some(200));
    assert_eq!(scene.standing(), Some(Standing::Building));
    own.restart();
    scene.ends_well(live);
}
