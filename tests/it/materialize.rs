//! `kappa materialize` with a real Redis: what it fills a lost one with is what the pipeline had written, and beside a run
//! nothing goes back.

use std::collections::{BTreeMap, HashMap};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use redis::Commands;
use serde_json::Value;

use crate::support::kafka;
use crate::support::log::Log;
use crate::support::running::{Live, ask, free_address, is_ready, wait_until};
use crate::support::verify::{Case, Place};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

/// Every hash of the online store, and whether it expires.
type Online = BTreeMap<String, (BTreeMap<String, String>, bool)>;

fn online(place: &Place<'_>) -> Online {
    let mut connection = redis::Client::open(place.redis.url()).unwrap().get_connection().unwrap();
    let keys: Vec<String> = connection.keys("*").unwrap();
    let mut found = Online::new();
    for key in keys.into_iter().filter(|key| !key.starts_with("kappa:")) {
        let hash = connection.hgetall(&key).unwrap();
        let expires: i64 = connection.pttl(&key).unwrap();
        found.insert(key, (hash, expires > 0));
    }
    found
}

fn materialize(place: &Place<'_>, case: &Case, more: &[&str]) -> Output {
    let file = case.topology_file.display().to_string();
    let mut command = place.kappa(&["materialize", &file, "--json"]);
    let began = Instant::now();
    let output = command.args(more).stderr(Stdio::piped()).output().expect("kappa starts");
    eprintln!("materialize {more:?} took {:?}", began.elapsed());
    output
}

/// What it says of all entities together: written, present.
fn filled(output: &Output) -> (u64, u64, Value) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {said}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    let sum = |name: &str| report["entities"].as_array().unwrap().iter().map(|e| e[name].as_u64().unwrap()).sum();
    (sum("written"), sum("present"), report)
}

fn refused(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_lost_redis_has_every_value_again_also_after_a_kill_and_under_a_later_generation() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, 6_000, 61, dir.path());
    let place = Place::new(kafka::shared());
    place.run(&case, &[]);
    let before = online(&place);
    assert!(before.len() > 300, "{} entities", before.len());
    // Nothing is lost: nothing is written.
    let (written, present, report) = filled(&materialize(&place, &case, &[]));
    assert_eq!((written, present), (0, before.len() as u64));
    let reach = report["reach"].as_array().unwrap();
    assert_eq!(reach.len(), 8);
    assert!(reach.iter().all(|partition| partition["next_offset"].as_i64().unwrap() > 0), "{reach:?}");

    place.redis.admin(&["FLUSHALL"]);
    let (written, present, report) = filled(&materialize(&place, &case, &[]));
    assert_eq!((written, present, report["generation"].as_u64()), (before.len() as u64, 0, Some(1)));
    assert!(online(&place) == before, "the refilled store differs");

    // Killed on the way: the same command goes on.
    place.redis.admin(&["FLUSHALL"]);
    let file = case.topology_file.display().to_string();
    // Little memory: many small steps.
    let small = ["--set", "bounds.materialize_bytes=131072"];
    let mut command = place.kappa(&["materialize", &file]);
    let killed = Live::spawn({
        command.args(small);
        command
    });
    wait_until("some entities are there", || ask(&place, &["DBSIZE"]).parse::<usize>().unwrap_or(0) > 20);
    killed.kill();
    let there = online(&place).len();
    let (_, present, _) = filled(&materialize(&place, &case, &[]));
    assert_eq!(present, there as u64, "what was there was not written again");
    assert!(online(&place) == before, "the refilled store differs after a kill");
    // With little memory keys are looked up more often, and nothing else changes.
    place.redis.admin(&["FLUSHALL"]);
    let (written, _, _) = filled(&materialize(&place, &case, &small));
    assert!(written >= before.len() as u64);
    assert!(online(&place) == before, "the store differs that was filled with little memory");

    // A later version serves: its history goes online, under its generation.
    place.replay(&case, &[], 0, 62);
    let later = online(&place);
    place.redis.admin(&["FLUSHALL"]);
    let (_, _, report) = filled(&materialize(&place, &case, &[]));
    assert_eq!((report["version"].as_u64(), report["generation"].as_u64()), (Some(2), Some(2)));
    let refilled = online(&place);
    let differs = later.iter().filter(|(key, (hash, _))| refilled.get(*key).map(|(hash, _)| hash) != Some(hash));
    // An entity that only the version before had online, as empty, has no row in this one's history.
    let differs: Vec<_> = differs.collect();
    assert!(differs.is_empty() && refilled.len() == later.len(), "{differs:?}");
    // The pipeline finds it as its own: nothing is to be written.
    place.run(&case, &[]);
    place.check(&case, 2).assert_clean("after a refill");
}

#[test]
fn some_ids_alone_and_what_cannot_be_right_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, 4_000, 63, dir.path());
    let place = Place::new(kafka::shared());
    place.run(&case, &[]);
    let before = online(&place);
    place.redis.admin(&["FLUSHALL"]);
    let mut ids = before.keys().filter_map(|key| key.strip_prefix("features:")).take(3);
    let (first, second, third) = (ids.next().unwrap(), ids.next().unwrap(), ids.next().unwrap());
    let list = dir.path().join("ids.txt");
    std::fs::write(&list, format!("{second}\n{third}\nnobody\n")).unwrap();
    let some = ["--entity", "user", "--id", first, "--ids", list.to_str().unwrap()];
    let (written, _, report) = filled(&materialize(&place, &case, &some));
    assert_eq!((written, &report["entities"][0]["missing"]), (3, &serde_json::json!(["nobody"])));
    let found = online(&place);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|(key, hash)| before.get(key) == Some(hash)));

    let (code, said) = refused(&materialize(&place, &case, &["--id", "u1"]));
    assert!(code == Some(2) && said.contains("--entity"), "{code:?}: {said}");
    let (code, said) = refused(&materialize(&place, &case, &["--version", "7"]));
    assert!(code == Some(3) && said.contains("kappa promote 7"), "{code:?}: {said}");
    // Elsewhere nobody knows which version serves: it must be named, and its rows rank below every pipeline's.
    let elsewhere = format!("data_dir={}", place.path("elsewhere"));
    let (code, said) = refused(&materialize(&place, &case, &["--set", &elsewhere]));
    assert!(code == Some(2) && said.contains("--version") && said.contains("--data-dir"), "{code:?}: {said}");
    place.redis.admin(&["FLUSHALL"]);
    let (_, _, report) = filled(&materialize(&place, &case, &["--set", &elsewhere, "--version", "1"]));
    assert_eq!(report["generation"].as_u64(), Some(0));
    let values = |online: &Online| -> Vec<BTreeMap<String, String>> {
        let without = |(hash, _): &(BTreeMap<String, String>, bool)| {
            hash.iter()
                .filter(|(name, _)| *name != "_position")
                .map(|(name, text)| (name.clone(), text.clone()))
                .collect()
        };
        online.values().map(without).collect()
    };
    assert!(values(&online(&place)) == values(&before), "the values differ");
    // The pipeline's own replace them.
    place.run(&case, &[]);
    assert!(online(&place) == before, "the pipeline's rows did not win");
}

#[test]
fn an_entity_without_history_is_named_as_not_coverable() {
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka::shared().new_topic("quiet", 1);
    let file = dir.path().join("quiet.yaml");
    let yaml = format!(
        "topology: quiet\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  schema: {{user: string, ts: \
         timestamp_ms}}\nentities:\n  user:\n    key: user\n    history: off\n    features:\n      n: {{count: \"*\", window: \
         lifetime}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    let place = Place::new(kafka::shared());
    let file = file.display().to_string();
    let run = place.kappa(&["run", &file, "--until-caught-up"]).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let all = place.kappa(&["materialize", &file]).output().unwrap();
    assert!(String::from_utf8_lossy(&all.stderr).contains("`user` has `history: off`"), "{all:?}");
    let named = place.kappa(&["materialize", &file, "--entity", "user"]).output().unwrap();
    assert_eq!(named.status.code(), Some(2), "{named:?}");
}

/// Reads some entities' positions all the time; how many reads, and those that went back.
fn watch(url: String, keys: Vec<String>, stop: Arc<AtomicBool>) -> JoinHandle<(u64, Vec<String>)> {
    std::thread::spawn(move || {
        let mut connection = redis::Client::open(url).unwrap().get_connection().unwrap();
        let (mut reads, mut back, mut last) = (0, Vec::new(), HashMap::<String, Vec<i64>>::new());
        for key in keys.iter().cycle() {
            if stop.load(Ordering::Relaxed) {
                return (reads, back);
            }
            let position: Option<String> = connection.hget(key, "_position").unwrap();
            reads += 1;
            if let Some(position) = position {
                let parts = position.split(':').map(|part| part.parse().unwrap());
                let rank: Vec<i64> = parts.enumerate().filter(|(index, _)| *index != 1).map(|(_, part)| part).collect();
                if last.get(key).is_some_and(|before| rank < *before) {
                    back.push(format!("{key}: {position} after {:?}", last[key]));
                }
                last.insert(key.clone(), rank);
            } else if last.contains_key(key) {
                back.push(format!("{key} is gone"));
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        (reads, back)
    })
}

#[test]
fn beside_a_run_nothing_goes_back_and_the_last_word_is_the_pipelines() {
    let dir = tempfile::tempdir().unwrap();
    let kafka = kafka::shared();
    let log = Log::new(kafka, 10_000, 64);
    let case = log.case(SHOP, dir.path());
    let place = Place::new(kafka);
    log.write_part(kafka, 0..40);
    let (address, listen) = free_address();
    let live = Live::start(&place, &case.topology_file, &["--set", &listen]);
    wait_until("the run is ready", || is_ready(&address));
    let keys: Vec<String> = online(&place).into_keys().take(200).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let watcher = watch(place.redis.url(), keys, Arc::clone(&stop));
    let began = Instant::now();
    let mut runs = 0;
    for percent in (40..100).step_by(10) {
        log.write_part(kafka, percent..percent + 10);
        // The process says which version serves, and how much further it is.
        let (_, _, report) = filled(&materialize(&place, &case, &["--set", &listen]));
        assert!(report["reach"].as_array().unwrap().iter().all(|p| p["waiting"].is_i64()), "{report}");
        runs += 1;
    }
    eprintln!("{runs} runs beside the pipeline in {:?}", began.elapsed());
    wait_until("all of it is online", || place.online(&case).1.is_none());
    stop.store(true, Ordering::Relaxed);
    let (reads, back) = watcher.join().unwrap();
    assert!(reads > 1_000 && back.is_empty(), "{reads} reads; {back:?}");
    assert_eq!(live.terminate().0, Some(0));
    place.check(&case, 1).assert_clean("after runs of materialize");
}
