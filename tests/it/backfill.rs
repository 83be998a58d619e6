//! Changed logic as docs/backfill.md tells it: built beside the version that serves, switched, taken back, while records
//! flow and a reader looks at Redis all the time.

use std::collections::HashMap;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kappa::http::client;
use kappa::runtime::{Standing, Versions};
use kappa::source::{Codec, Record};

use crate::support::changed::{Changed, LEGACY, topology};
use crate::support::log::Log;
use crate::support::redis::free_port;
use crate::support::running::{Live, wait_until};
use crate::support::verify::{Case, Place};
use crate::support::{kafka, page, producer};

const PAGE: &str = include_str!("../../docs/backfill.md");

/// Writes the rest in small pieces until it is told to hurry.
fn go_on(log: Arc<Log>, hurry: Arc<AtomicBool>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let pieces = 200;
        for piece in 0..pieces {
            let within = |index: usize, of: usize| {
                let (half, rest) = (of / 2, of - of / 2);
                (half + rest * piece / pieces..half + rest * (piece + 1) / pieces).contains(&index)
            };
            log.write(kafka::shared(), within);
            if !hurry.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    })
}

/// What a reader of Redis has seen that must not be.
#[derive(Debug, Default)]
struct Seen {
    reads: u64,
    missing: u64,
    mixed: u64,
    back: u64,
    first: Vec<String>,
    /// How often the version of an entity changed under the reader's eyes.
    switches: u64,
}

/// Reads some entities' whole hashes every millisecond.
fn watch(url: String, keys: Vec<String>, stop: Arc<AtomicBool>) -> JoinHandle<Seen> {
    std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let (mut seen, mut last): (Seen, HashMap<String, (Vec<i64>, String)>) = Default::default();
        for key in keys.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return seen;
            }
            let hash: HashMap<String, String> = redis::cmd("HGETALL").arg(key).query(&mut connection).unwrap();
            seen.reads += 1;
            let known = last.get(key).cloned();
            let mut wrong = |count: &mut u64, what: &str| {
                *count += 1;
                if seen.first.len() < 10 {
                    seen.first.push(format!("{what}: {key} {hash:?} after {known:?}"));
                }
            };
            match (hash.get("_position"), hash.get("_version")) {
                (Some(position), Some(version)) => {
                    let parts: Vec<i64> = position.split(':').map(|part| part.parse().unwrap()).collect();
                    let rank: Vec<i64> =
                        parts.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, part)| *part).collect();
                    let (has_old, has_new) = (hash.contains_key("legacy"), hash.contains_key("adds"));
                    if (has_old, has_new) != (version == "1", version == "2") {
                        wrong(&mut seen.mixed, "mixed");
                    }
                    if let Some((before, version_before)) = &known {
                        if rank < *before {
                            wrong(&mut seen.back, "back");
                        }
                        seen.switches += u64::from(version_before != version);
                    }
                    last.insert(key.clone(), (rank, version.clone()));
                }
                _ if known.is_some() => wrong(&mut seen.missing, "missing"),
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        seen
    })
}

/// The commands of the page, in their order.
fn commands() -> Vec<Vec<&'static str>> {
    let blocks = page::blocks_of(PAGE, "sh").into_iter();
    blocks.flat_map(str::lines).map(|line| line.split_whitespace().skip(1).collect()).collect()
}

/// Runs a command of the page to its end; its output.
fn run(place: &Place<'_>, dir: &Path, command: &[&str]) -> String {
    let mut arguments: Vec<String> = command.iter().map(|word| word.to_string()).collect();
    for word in &mut arguments {
        if word.ends_with(".yaml") {
            *word = dir.join(&word).display().to_string();
        }
    }
    let asks = ["versions", "promote", "rollback", "drop", "diff"].contains(&command[0]);
    if asks {
        arguments.extend(["--topology".to_string(), dir.join("v1.yaml").display().to_string()]);
    }
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = place.kappa(&words).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Until a version has folded the whole log, and everything of it is online.
fn wait_until_clean(place: &Place<'_>, case: &Case, version: u32) {
    let mut last = Vec::new();
    for _ in 0..60 {
        last = place.check(case, version).problems;
        if last.is_empty() {
            return;
        }
        std::thread::sleep(Duration::from_secs(1));
    }
    panic!("version {version}: {last:#?}");
}

#[test]
fn the_page_is_true_while_records_flow_and_a_reader_looks_on() {
    let changed = Changed::new(kafka::shared(), 12_000, 17, 50);
    let Changed { log, first, second, .. } = &changed;
    let place = Place::new(kafka::shared());
    let mut commands = commands().into_iter();
    assert_eq!(commands.next().as_deref(), Some(&["run", "v1.yaml"][..]), "the page begins with the live version");
    let live = Live::start(&place, &first.topology_file, &[]);
    let keys: Vec<String> =
        first.expected.iter().flat_map(|run| run.rows.first()).map(|row| format!("features:{}", row.key)).collect();
    wait_until("the first half is online", || place.redis.admin(&["EXISTS", &keys[0]]).ends_with('1'));

    let (hurry, stop) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let writing = go_on(Arc::clone(log), Arc::clone(&hurry));
    let watching = watch(place.redis.url(), keys, Arc::clone(&stop));
    let mut promoted = 0;
    for command in commands {
        let said = run(&place, changed.dir(), &command);
        match command[0] {
            "versions" => assert!(said.contains("ready"), "{said}"),
            "promote" if promoted == 0 => {
                assert!(said.contains("version 2 is live"), "{said}");
                promoted += 1;
            }
            "rollback" => {
                assert!(said.contains("version 1 is live"), "{said}");
                hurry.store(true, Ordering::Relaxed);
                wait_until_clean(&place, first, 1);
            }
            "drop" => assert!(said.contains("version 1 is dropped"), "{said}"),
            _ => {}
        }
    }
    writing.join().unwrap();
    wait_until_clean(&place, second, 2);
    stop.store(true, Ordering::Relaxed);
    let seen = watching.join().unwrap();
    assert!((seen.missing, seen.mixed, seen.back) == (0, 0, 0), "{seen:#?}");
    assert!(seen.reads > 1_000 && seen.switches >= 3, "{seen:?}");
    assert_eq!(live.terminate().0, Some(0));
    place.check(second, 2).assert_clean("version 2");
    // Beside it the history of version 1, which had come to the end of the log before it was dropped.
    let old = place.check_history(first, 1);
    assert!(old.is_none() && old.expected > 0, "version 1: {old}");
    let versions = Versions::open(&place.data_dir(), "shop").unwrap();
    assert_eq!(versions.all().iter().map(|v| (v.number, v.standing)).collect::<Vec<_>>(), [(2, Standing::Live)]);
}

#[test]
fn a_container_that_is_always_restarted_replays_once() {
    let Changed { first, second, .. } = &Changed::new(kafka::shared(), 6_000, 23, 100);
    let place = Place::new(kafka::shared());
    place.run(first, &[]);
    let is_live = || Versions::open(&place.data_dir(), "shop").unwrap().live().is_some_and(|live| live.number == 2);
    for round in 0..10 {
        let address = format!("127.0.0.1:{}", free_port());
        let listen = format!("http.listen={address}");
        let live = Live::start(&place, &second.topology_file, &["--replay-from", "0", "--set", &listen]);
        if round < 3 {
            // Killed somewhere on its way.
            std::thread::sleep(Duration::from_millis(400 * (round + 1)));
            drop(live);
        } else {
            wait_until("it serves", || client::get(&address, "/ready").is_ok_and(|answer| answer.status == 200));
            wait_until("version 2 is live", is_live);
            assert_eq!(live.terminate().0, Some(0));
        }
    }
    place.run(second, &["--replay-from", "0"]);
    place.check(second, 2).assert_clean("replayed once");
    let versions = Versions::open(&place.data_dir(), "shop").unwrap();
    assert_eq!(versions.all().len(), 2, "{versions:?}");
}

#[test]
fn entities_that_only_the_old_version_knew_are_shown_as_empty() {
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka::shared().new_topic("vacant", 1);
    let yaml = topology(&topic, "1h", LEGACY);
    let (v1, v2) = (dir.path().join("v1.yaml"), dir.path().join("v2.yaml"));
    std::fs::write(&v1, &yaml).unwrap();
    std::fs::write(&v2, yaml.replace("  schema:", "  where: \"user_id <> 'gone'\"\n  schema:")).unwrap();
    let value = |user: &str, ts: i64| format!("{{\"user_id\":\"{user}\",\"event\":\"view\",\"ts\":{ts}}}");
    let values: Vec<(String, String)> = ["gone", "kept"]
        .iter()
        .enumerate()
        .map(|(i, user)| (user.to_string(), value(user, 1_000 + i as i64)))
        .collect();
    let records = values.iter().map(|(user, value)| Record {
        key: Some(user.as_bytes()),
        value: Some(value.as_bytes()),
        time: Some(2_000),
        ..Record::default()
    });
    producer::write(kafka::shared(), &topic, Codec::None, records);
    let place = Place::new(kafka::shared());
    let bounded = |file: &Path, more: &[&str]| {
        let file = file.display().to_string();
        let arguments = [&["run", &file, "--until-caught-up"], more].concat();
        let output = place.kappa(&arguments).stdout(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    bounded(&v1, &[]);
    let views = |user: &str| place.redis.admin(&["HMGET", &format!("features:{user}"), "views_1h", "_version"]);
    assert_eq!(views("gone"), "*2\r\n$1\r\n1\r\n$1\r\n1");
    bounded(&v2, &["--replay-from", "0"]);
    assert_eq!(views("kept"), "*2\r\n$1\r\n1\r\n$1\r\n2");
    assert_eq!(views("gone"), "*2\r\n$1\r\n0\r\n$1\r\n2");
    let left: i64 = place.redis.admin(&["TTL", "features:gone"]).trim_start_matches(':').parse().unwrap();
    assert!(left > 0, "it expires as any empty one: {left}");
}

#[test]
fn a_version_that_waits_takes_over_at_the_next_run_when_it_is_wanted() {
    let changed = Changed::new(kafka::shared(), 4_000, 29, 100);
    let Changed { first, second, .. } = &changed;
    let place = Place::new(kafka::shared());
    place.run(first, &[]);
    place.run(second, &["--replay-from", "0", "--no-promote"]);
    place.check(first, 1).assert_clean("nothing of version 2 is online");
    let said = run(&place, changed.dir(), &["promote", "2"]);
    assert!(said.contains("no process runs"), "{said}");
    place.run(first, &[]);
    place.check(second, 2).assert_clean("taken over");
    let refused = place.kappa(&["run", &first.topology_file.display().to_string()]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(3) && said.contains("kappa promote 1"), "{said}");
}
