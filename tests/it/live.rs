//! A long-running pipeline: values that change with time alone, a store that dies, a signal that ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kappa::source::{Codec, Record};

use crate::support::redis::free_port;
use crate::support::running::{Live, ask, free_address, is_ready, page, wait_until};
use crate::support::verify::{Case, Place};
use crate::support::{kafka, producer};

const SHOP: &str = include_str!("../../topologies/shop.yaml");

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

#[test]
fn a_silent_entity_decays_online_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let topic = kafka::shared().new_topic("silent", 2);
    let topology = dir.path().join("silent.yaml");
    let yaml = format!(
        "topology: silent\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  lateness: 1s\n  schema: {{user_id: \
         string, ts: timestamp_ms}}\nentities:\n  user:\n    key: user_id\n    features:\n      views: {{count: \"*\", window: 3s, \
         slide: 1s}}\n      ever: {{count: \"*\", window: lifetime}}\n"
    );
    std::fs::write(&topology, yaml).unwrap();
    let place = Place::new(kafka::shared());
    let live = Live::start(&place, &topology, &["--set", "idle_after=300ms"]);
    let t = now();
    let value = format!("{{\"user_id\":\"u42\",\"ts\":{t}}}");
    let record = Record { key: Some(b"u42"), value: Some(value.as_bytes()), time: Some(t), ..Record::default() };
    producer::write(kafka::shared(), &topic, Codec::None, [record]);
    let views = || ask(&place, &["HGET", "features:u42", "views"]);
    wait_until("the event is online", || views() == "1");
    wait_until("the window is empty", || views() == "0");
    // tau + lateness: when the tile has left and nobody could still bring an earlier record.
    let due = t - t.rem_euclid(1000) + 1000 + 3000 + 1000;
    eprintln!("shown {} ms after it was due", now() - due);
    assert_eq!(ask(&place, &["HGET", "features:u42", "ever"]), "1");
    let position = ask(&place, &["HGET", "features:u42", "_position"]);
    assert_eq!(position.split(':').count(), 5, "a refresh has T' at its end: {position}");
    let (code, took) = live.terminate();
    assert_eq!(code, Some(0), "after {took:?}");
}

#[test]
fn a_redis_that_dies_empty_is_filled_again_and_a_signal_ends_the_run_whole() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, 20_000, 3, dir.path());
    let mut place = Place::new(kafka::shared());
    let live = Live::start(&place, &case.topology_file, &[]);
    let keys = |place: &Place<'_>| ask(place, &["DBSIZE"]).parse::<u64>().unwrap_or(0);
    wait_until("some entities are online", || keys(&place) > 100);
    place.redis.kill();
    place.redis.start_again();
    let progress = format!("kappa:{}:progress", case.topology.name);
    wait_until("every partition has published again", || ask(&place, &["HLEN", &progress]) == "8");
    let (code, took) = live.terminate();
    assert_eq!(code, Some(0), "after {took:?}");
    place.run(&case, &[]);
    // What was lost and not sent again before the signal is found by the next run: it asks first.
    let live = Live::start(&place, &case.topology_file, &[]);
    wait_until("all of it is there", || place.check(&case, 1).problems.is_empty());
    live.terminate();
    place.check(&case, 1).assert_clean("after the loss");
}

#[test]
fn a_bounded_run_that_finds_redis_empty_fills_it_before_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, 20_000, 5, dir.path());
    let mut place = Place::new(kafka::shared());
    place.run(&case, &[]);
    place.redis.kill();
    place.redis.start_again();
    // There is no record to read: all that is left to do is what Redis has lost.
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("filled again");
}

/// Waits until the process says that it has not begun, and names what it waits for; it is alive all the same.
fn wait_until_it_waits_for(address: &str, what: &str) {
    let says = |(status, text): (u16, String)| status == 503 && text.contains("not begun") && text.contains(what);
    wait_until(what, || page(address, "/ready").is_some_and(says));
    assert_eq!(page(address, "/health"), Some((200, "ok\n".to_string())));
}

#[test]
fn a_run_that_starts_before_its_redis_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, 2_000, 11, dir.path());
    let mut place = Place::new(kafka::shared());
    place.redis.kill();
    let (address, listen) = free_address();
    let redis = place.redis.url();

    let live = Live::start(&place, &case.topology_file, &["--set", &listen]);
    wait_until_it_waits_for(&address, &redis);
    let (code, took) = live.terminate();
    assert!(code == Some(0) && took < Duration::from_secs(10), "{code:?} after {took:?}");

    let file = case.topology_file.display().to_string();
    let bounded = place.kappa(&["run", &file, "--until-caught-up", "--set", "start_timeout=500ms"]).output().unwrap();
    let said = String::from_utf8_lossy(&bounded.stderr).into_owned();
    assert!(bounded.status.code() == Some(4) && said.contains("start_timeout"), "{:?}: {said}", bounded.status);

    let live = Live::start(&place, &case.topology_file, &["--set", &listen]);
    wait_until_it_waits_for(&address, &redis);
    place.redis.start_again();
    wait_until("Redis is there", || is_ready(&address));
    assert_eq!(live.terminate().0, Some(0));
    place.run(&case, &[]);
    place.check(&case, 1).assert_clean("begun late");
}

#[test]
fn a_run_that_starts_before_its_kafka_or_its_topic_waits_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let place = Place::new(kafka::shared());
    let (address, listen) = free_address();
    let topic = kafka::unique("late");
    let topology = dir.path().join("shop.yaml");
    std::fs::write(&topology, SHOP.replace("topic: shop.events", &format!("topic: {topic}"))).unwrap();

    let nobody = format!("127.0.0.1:{}", free_port());
    let brokers = format!("kafka.brokers={nobody}");
    let live = Live::start(&place, &topology, &["--set", &listen, "--set", &brokers]);
    wait_until_it_waits_for(&address, &nobody);
    let (code, took) = live.terminate();
    assert!(code == Some(0) && took < Duration::from_secs(10), "{code:?} after {took:?}");

    let live = Live::start(&place, &topology, &["--set", &listen]);
    wait_until_it_waits_for(&address, &topic);
    place.kafka.create_topic(&topic, 2, &[]);
    wait_until("the topic is there", || is_ready(&address));
    assert_eq!(live.terminate().0, Some(0));
}

#[test]
fn a_wrong_password_is_refused_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let topology = dir.path().join("shop.yaml");
    std::fs::write(&topology, SHOP).unwrap();
    let place = Place::new(kafka::shared());
    place.redis.admin(&["CONFIG", "SET", "requirepass", "secret"]);
    let file = topology.display().to_string();
    let refused = place.kappa(&["run", &file, "--set", "online.redis.password=wrong"]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("online.redis.password") || said.contains("PASSWORD"), "{said}");
}

/// An object store that shows one commit of every table and never gives one out; its url, and each object asked for.
fn silent_object_store() -> (String, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, (tell, asked)) = (format!("http://{}", listener.local_addr().unwrap()), channel());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, tell) = (connection.unwrap(), tell.clone());
            std::thread::spawn(move || {
                let mut requests = BufReader::new(connection.try_clone().unwrap()).lines();
                while let Some(Ok(first)) = requests.next() {
                    requests.by_ref().find(|line| line.as_ref().is_ok_and(String::is_empty));
                    let prefix = first.split(['?', '&', ' ']).find_map(|part| part.strip_prefix("prefix="));
                    let Some(prefix) = prefix.map(|prefix| prefix.replace("%2F", "/")) else {
                        // Whoever asked keeps the connection, and waits.
                        let _ = tell.send(first);
                        continue;
                    };
                    let object = format!(
                        "<Contents><Key>{}/00000000000000000000.json</Key><LastModified>2026-01-01T00:00:00.000Z\
                         </LastModified><ETag>e</ETag><Size>100</Size></Contents>",
                        prefix.trim_end_matches('/')
                    );
                    let list = format!("<ListBucketResult><IsTruncated>false</IsTruncated>{object}</ListBucketResult>");
                    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", list.len());
                    connection.write_all([head, list].concat().as_bytes()).unwrap();
                }
            });
        }
    });
    (url, asked)
}

#[test]
fn a_signal_while_the_history_is_being_opened_ends_the_run_without_a_word_of_its_threads() {
    let dir = tempfile::tempdir().unwrap();
    let case = Case::shop(kafka::shared(), SHOP, 100, 13, dir.path());
    let place = Place::new(kafka::shared());
    let (store, asked) = silent_object_store();
    let endpoint = format!("offline.options.aws_endpoint={store}");
    let settings = [
        "offline.url=s3://bucket/history",
        &endpoint,
        "offline.options.aws_region=here",
        "offline.options.allow_http=true",
        "offline.options.aws_skip_signature=true",
    ];
    let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--set", *setting]).collect();
    let live = Live::start(&place, &case.topology_file, &settings);
    let object = asked.recv_timeout(Duration::from_secs(60)).expect("the tables are being opened");
    assert!(object.contains("_delta_log"), "{object}");
    live.ask_to_end();
    let (code, said) = live.ended();
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}
