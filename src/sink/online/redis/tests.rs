//! The store on Redis against real servers: the suite over each kind, then what goes wrong.

use std::time::Duration;

use super::super::fixture::{Row, entity, source};
use super::super::suite::{FIRST, conforms, progress, put};
use super::*;
use crate::time::Span;

#[path = "../../../../tests/support/redis.rs"]
pub mod server;
use server::RedisServer;

pub fn settings(url: &str) -> RedisSettings {
    RedisSettings {
        url: url.to_string(),
        cluster: false,
        username: None,
        password: None,
        ca_file: None,
        cert_file: None,
        key_file: None,
        timeout: Span(5_000),
        entities_per_call: 32,
        calls_per_pipeline: 32,
        formats: vec![RedisFormat::Hash],
        feast_project: None,
    }
}

async fn connect(server: &RedisServer) -> RedisStore {
    RedisStore::connect(&settings(&server.url()), "shop", &[entity()]).await.unwrap()
}

pub async fn sleep(time: i64) {
    tokio::time::sleep(Duration::from_millis(time as u64)).await;
}

async fn count(store: &RedisStore, id: &str) -> Option<String> {
    store.get(&format!("t:{id}")).await.unwrap()?.get("count").cloned()
}

#[tokio::test]
async fn a_server_conforms() {
    let server = RedisServer::start(&[]);
    let store = connect(&server).await;
    conforms(&store, sleep).await;
    assert_eq!(server.admin(&["HGET", "t:newer", "count"]), "$1\r\n6");
    assert_eq!(server.admin(&["HGET", "kappa:shop:progress", "3"]).lines().nth(1).unwrap(), {
        r#"{"generation":2,"next_offset":3,"watermark":null}"#
    });
}

#[tokio::test]
async fn small_calls_conform() {
    let server = RedisServer::start(&[]);
    let small = RedisSettings { entities_per_call: 1, calls_per_pipeline: 1, ..settings(&server.url()) };
    conforms(&RedisStore::connect(&small, "shop", &[entity()]).await.unwrap(), sleep).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_conforms() {
    let server = RedisServer::start_cluster();
    let settings = RedisSettings { cluster: true, ..settings(&server.url()) };
    let store = RedisStore::connect(&settings, "shop", &[entity()]).await.unwrap();
    conforms(&store, sleep).await;
    server.admin(&["SCRIPT", "FLUSH"]);
    put(&store, &entity(), FIRST, &[Row::full("after", 1), Row::full("flush", 1)]).await.unwrap();
    assert_eq!(count(&store, "after").await.as_deref(), Some("1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_server_that_is_another_one_has_lost_its_rows() {
    let mut server = RedisServer::start_cluster();
    let settings = RedisSettings { cluster: true, timeout: Span(1_000), ..settings(&server.url()) };
    let store = RedisStore::connect(&settings, "shop", &[entity()]).await.unwrap();
    let reached = [(3, progress(1, 10, None))];
    store.set_progress(3, reached[0].1).await.unwrap();
    assert_eq!(store.check(&reached).await.unwrap(), [0; 0]);
    server.start_again();
    server.wait("the cluster is up", |server| server.admin(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
    // Even one that shows the progress: its shard is not the one that took all the rows.
    server.admin(&["HSET", "kappa:shop:progress", "3", r#"{"generation":1,"next_offset":10,"watermark":null}"#]);
    assert_eq!(eventually(&store, &reached).await, [3]);
    store.set_progress(3, reached[0].1).await.unwrap();
    assert_eq!(store.check(&reached).await.unwrap(), [0; 0]);
}

#[tokio::test]
async fn tls_with_certificates_and_a_user_conforms() {
    let server = RedisServer::start_tls(&["--user", "feeder", "on", ">secret", "~t:*", "~kappa:*", "+@all"]);
    let tls = RedisSettings {
        username: Some("feeder".to_string()),
        password: Some("secret".to_string()),
        ca_file: Some(server.file("ca.pem")),
        cert_file: Some(server.file("client.pem")),
        key_file: Some(server.file("client.key")),
        ..settings(&server.url())
    };
    conforms(&RedisStore::connect(&tls, "shop", &[entity()]).await.unwrap(), sleep).await;
    let nobody = RedisSettings { cert_file: None, key_file: None, ..tls.clone() };
    assert!(RedisStore::connect(&nobody, "shop", &[entity()]).await.is_err());
    let stranger = RedisSettings { ca_file: None, ..tls };
    let e = RedisStore::connect(&stranger, "shop", &[entity()]).await.unwrap_err();
    assert!(!e.to_string().contains("secret"), "{e}");
}

#[tokio::test]
async fn a_user_with_only_what_is_needed_conforms() {
    let server = RedisServer::start(&[
        "--user",
        "feeder",
        "on",
        ">secret",
        "~t:*",
        "~kappa:*",
        "+@read",
        "+@write",
        "+@scripting",
        "+info",
        "+ping",
    ]);
    let feeder =
        RedisSettings { username: Some("feeder".into()), password: Some("secret".into()), ..settings(&server.url()) };
    let store = RedisStore::connect(&feeder, "shop", &[entity()]).await.unwrap();
    conforms(&store, sleep).await;
    let mut elsewhere = entity();
    elsewhere.online_key = "other:{id}".to_string();
    let e = put(&store, &elsewhere, FIRST, &[Row::full("a", 1)]).await.unwrap_err();
    assert_eq!(e.kind(), crate::error::ErrorKind::Configuration, "{e}");
    assert!(e.to_string().contains("grant the user"), "{e}");
}

#[tokio::test]
async fn a_user_who_may_only_read_reads_from_a_server_that_takes_no_rows() {
    let reader = ["--user", "model", "on", ">secret", "~t:*", "+@read", "+@connection"];
    let server = RedisServer::start(&reader);
    let store = connect(&server).await;
    put(&store, &entity(), FIRST, &[Row::full("a", 1)]).await.unwrap();
    server.admin(&["REPLICAOF", "127.0.0.1", "1"]);
    let model =
        RedisSettings { username: Some("model".into()), password: Some("secret".into()), ..settings(&server.url()) };
    let reader = RedisStore::to_read(&model, "shop").unwrap();
    assert_eq!(count(&reader, "a").await.as_deref(), Some("1"));
    let read = reader.get_many(&["t:a".to_string()], &["count"]).await.unwrap();
    assert_eq!(read.get(0).unwrap().text(0), Some("1"));
    let e = reader.get("other:a").await.unwrap_err();
    assert_eq!(e.kind(), crate::error::ErrorKind::Configuration, "{e}");
}

#[tokio::test]
async fn a_reader_finds_a_server_that_was_away() {
    let mut server = RedisServer::start(&[]);
    let store = RedisStore::to_read(&settings(&server.url()), "shop").unwrap();
    server.kill();
    let e = store.get_many(&["t:a".to_string()], &[]).await.unwrap_err();
    assert!(e.kind() == crate::error::ErrorKind::Unavailable && e.to_string().contains("does not answer"), "{e}");
    server.start_again();
    let read = store.get_many(&["t:a".to_string()], &[]).await.unwrap();
    assert!(read.len() == 1 && read.get(0).is_none());
    server.start_again();
    // The first call may still find the old connection; it is thrown away then.
    let _ = store.get("t:a").await;
    assert_eq!(store.get("t:a").await.unwrap(), None);
}

#[tokio::test]
async fn a_wrong_password_is_a_configuration_error_that_does_not_show_it() {
    let server = RedisServer::start(&["--requirepass", "right", "--user", "admin", "on", "nopass", "~*", "+@all"]);
    for url in [format!("redis://:wrong@127.0.0.1:{}", server.port()), server.url()] {
        let e = RedisStore::connect(&settings(&url), "shop", &[entity()]).await.unwrap_err();
        assert_eq!(e.kind(), crate::error::ErrorKind::Configuration, "{e}");
        assert!(e.to_string().contains("online.redis.username") && !e.to_string().contains("wrong@"), "{e}");
    }
}

#[tokio::test]
async fn nobody_at_the_url_is_unavailable_with_the_remedy() {
    let url = format!("redis://user:secret@127.0.0.1:{}", server::free_port());
    let e = RedisStore::connect(&settings(&url), "shop", &[entity()]).await.unwrap_err();
    assert_eq!(e.kind(), crate::error::ErrorKind::Unavailable);
    assert!(e.to_string().contains("start Redis there") && !e.to_string().contains("secret"), "{e}");
}

#[tokio::test]
async fn an_online_key_that_can_be_the_progress_key_is_refused() {
    let mut clash = entity();
    clash.online_key = "kappa:{id}".to_string();
    let e = RedisStore::connect(&settings("redis://127.0.0.1:1"), "shop", &[clash]).await.unwrap_err();
    assert!(e.to_string().contains("kappa:shop:progress"), "{e}");
}

#[tokio::test]
async fn an_evicting_server_is_refused() {
    let server = RedisServer::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let e = RedisStore::connect(&settings(&server.url()), "shop", &[entity()]).await.unwrap_err();
    assert_eq!(e.kind(), crate::error::ErrorKind::Refused);
    assert!(e.to_string().contains("allkeys-lru") && e.to_string().contains("noeviction"), "{e}");
}

#[tokio::test]
async fn a_key_of_someone_else_is_named() {
    let server = RedisServer::start(&[]);
    let store = connect(&server).await;
    server.admin(&["SET", "t:theirs", "1"]);
    for list in [[Row::full("mine", 1), Row::full("theirs", 1)], [Row::full("theirs", 2), Row::full("mine", 2)]] {
        let e = put(&store, &entity(), FIRST, &list).await.unwrap_err();
        assert_eq!(e.kind(), crate::error::ErrorKind::Configuration);
        assert!(e.to_string().contains("t:theirs") && e.to_string().contains("delete it"), "{e}");
    }
    assert!(store.get("t:theirs").await.unwrap_err().to_string().contains("WRONGTYPE"));
    assert_eq!(server.admin(&["GET", "t:theirs"]), "$1\r\n1");
    assert_eq!(count(&store, "mine").await.as_deref(), Some("1"));
}

/// What check finds, once the server answers again.
async fn eventually(store: &RedisStore, expected: &[(i32, Progress)]) -> Vec<i32> {
    for _ in 0..100 {
        match store.check(expected).await {
            Ok(lost) => return lost,
            Err(e) => assert_eq!(e.kind(), crate::error::ErrorKind::Unavailable, "{e}"),
        }
        sleep(20).await;
    }
    panic!("the server does not come back");
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_noticed_and_filled_again() {
    let mut server = RedisServer::start(&[]);
    let store = connect(&server).await;
    put(&store, &entity(), FIRST, &[Row::full("a", 1)]).await.unwrap();
    let reached = [(3, progress(1, 2, None)), (4, progress(1, 7, Some(5)))];
    for (partition, progress) in reached {
        store.set_progress(partition, progress).await.unwrap();
    }
    assert_eq!(store.check(&reached).await.unwrap(), [0; 0]);

    server.kill();
    let e = put(&store, &entity(), FIRST, &[Row::full("b", 2)]).await.unwrap_err();
    assert_eq!(e.kind(), crate::error::ErrorKind::Unavailable, "{e}");
    server.start_again();
    put(&store, &entity(), FIRST, &[Row::full("b", 2)]).await.unwrap();

    // Progress is not written over the gap, not even by one who never asks.
    store.set_progress(3, progress(1, 3, None)).await.unwrap();
    assert_eq!(store.progress(3).await.unwrap(), None);
    assert_eq!(store.check(&reached).await.unwrap(), [3, 4]);
    put(&store, &entity(), FIRST, &[Row::full("a", 1), Row::full("b", 2)]).await.unwrap();
    store.set_progress(3, progress(1, 3, None)).await.unwrap();
    assert_eq!(store.check(&[(3, progress(1, 3, None))]).await.unwrap(), [0; 0]);
    assert_eq!(count(&store, "a").await.as_deref(), Some("1"));
}

#[tokio::test]
async fn a_flushed_server_is_noticed() {
    let server = RedisServer::start(&[]);
    let store = connect(&server).await;
    store.set_progress(3, progress(1, 2, None)).await.unwrap();
    server.admin(&["FLUSHALL"]);
    assert_eq!(store.check(&[(3, progress(1, 2, None))]).await.unwrap(), [3]);
}

#[tokio::test]
async fn a_pause_longer_than_the_timeout_loses_nothing_and_takes_nothing_back() {
    let server = RedisServer::start(&[]);
    let impatient = RedisSettings { timeout: Span(100), ..settings(&server.url()) };
    let store = RedisStore::connect(&impatient, "shop", &[entity()]).await.unwrap();
    put(&store, &entity(), FIRST, &[Row::full("a", 1)]).await.unwrap();
    server.admin(&["CLIENT", "PAUSE", "600", "WRITE"]);
    let e = put(&store, &entity(), FIRST, &[Row::full("a", 2)]).await.unwrap_err();
    assert_eq!(e.kind(), crate::error::ErrorKind::Unavailable, "{e}");
    // Whoever repeats gets through in the end, and the late batch changes nothing then.
    while put(&store, &entity(), FIRST, &[Row::full("a", 3)]).await.is_err() {}
    assert_eq!(count(&store, "a").await.as_deref(), Some("3"));
    sleep(300).await;
    assert_eq!(count(&store, "a").await.as_deref(), Some("3"));
}

#[tokio::test]
async fn a_forgotten_script_is_taught_again() {
    let server = RedisServer::start(&[]);
    let store = connect(&server).await;
    for offset in 1..4 {
        server.admin(&["SCRIPT", "FLUSH"]);
        let list: Vec<Row> = (0..100).map(|id| Row::full(&id.to_string(), offset)).collect();
        put(&store, &entity(), FIRST, &list).await.unwrap();
        server.admin(&["SCRIPT", "FLUSH"]);
        store.set_progress(3, progress(1, offset, None)).await.unwrap();
        assert_eq!(count(&store, "99").await, Some(offset.to_string()));
    }
}

#[tokio::test]
async fn a_replica_and_a_full_server_are_waited_for_and_keep_what_they_have() {
    let server = RedisServer::start(&[]);
    let store = connect(&server).await;
    put(&store, &entity(), FIRST, &[Row::full("a", 1)]).await.unwrap();
    for (break_it, mend) in [
        (["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"].as_slice()),
        (["CONFIG SET", "maxmemory", "1"], ["CONFIG SET", "maxmemory", "0"].as_slice()),
    ] {
        let words = |line: &[&str]| server.admin(&line.iter().flat_map(|text| text.split(' ')).collect::<Vec<_>>());
        assert_eq!(words(&break_it), "+OK");
        let e = put(&store, &entity(), FIRST, &[Row::full("a", 2)]).await.unwrap_err();
        assert_eq!(e.kind(), crate::error::ErrorKind::Unavailable, "{e}");
        assert_eq!(count(&store, "a").await.as_deref(), Some("1"), "the old row is whole: {e}");
        assert_eq!(words(mend), "+OK");
    }
    put(&store, &entity(), FIRST, &[Row::full("a", 2)]).await.unwrap();
    assert_eq!(count(&store, "a").await.as_deref(), Some("2"));
}

/// CPU of this thread so far, in nanoseconds.
fn thread_cpu() -> u64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    stat.split(' ').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "current_thread")]
#[ignore = "a measurement, not a check: prints this side's CPU per entity of 8 features, in batches of 10,000"]
async fn measure_cpu_per_entity() {
    let server = RedisServer::start(&[]);
    for entities_per_call in [8, 32, 128] {
        let settings = RedisSettings { entities_per_call, ..settings(&server.url()) };
        let store = RedisStore::connect(&settings, "shop", &[]).await.unwrap();
        let (entity, batch) = super::super::fixture::shop(10_000);
        let picks: Vec<u32> = (0..10_000).collect();
        let mut rounds: Vec<(u64, u64)> = Vec::new();
        for generation in 1..=20 {
            let (cpu, wall) = (thread_cpu(), std::time::Instant::now());
            let rows = OnlineBatch {
                source: &source(),
                entity: &entity,
                rows: &batch,
                picks: &picks,
                partition: 0,
                generation: generation + 100 * entities_per_call as u64,
                version: 1,
                refresh: None,
            };
            store.publish(&rows).await.unwrap();
            rounds.push((thread_cpu() - cpu, wall.elapsed().as_nanos() as u64));
        }
        rounds.sort_unstable();
        let (cpu, wall) = rounds[rounds.len() / 2];
        println!(
            "{entities_per_call} entities a call: {:.3} us of our CPU, {:.2} us of time per entity (medians)",
            cpu as f64 / 1e7,
            wall as f64 / 1e7
        );
        println!("  {:?}", store.get("features:u42").await.unwrap());
    }
}
