//! `kappa serve` on a real Redis: what it answers, and what it does with clients that mean no good.
//!
//! The hashes are written here as any publisher writes them: plain text is the contract.

mod abuse;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kappa::http::client::{self, Answer};
use serde_json::{Value, json};

use crate::support::redis::{RedisServer, free_port};

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/topologies/shop.yaml");

/// A serving process and its Redis; ended with the test.
struct Serving {
    redis: RedisServer,
    address: String,
    process: Child,
}

/// The binary, without settings from this environment.
fn kappa() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
    std::env::vars().filter(|(name, _)| name.starts_with("KAPPA_")).for_each(|(name, _)| {
        command.env_remove(name);
    });
    command.stdin(Stdio::null());
    command
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

impl Serving {
    /// Serves the shop; `more` are settings as `key=value`. The store may take its time: the machine is busy.
    fn start(more: &[&str]) -> Self {
        let serving = Self::launch(RedisServer::start(&[]), &[&["http.read_timeout=5s"], more].concat());
        let began = Instant::now();
        while serving.get("/ready").status != 200 {
            assert!(began.elapsed() < Duration::from_secs(60), "not ready within a minute");
            std::thread::sleep(Duration::from_millis(20));
        }
        serving
    }

    /// As [`Self::start`], but it need not have a Redis that answers.
    fn launch(redis: RedisServer, more: &[&str]) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let mut command = kappa();
        command.args(["serve", SHOP, "--listen", &address, "--redis-url", &redis.url()]);
        more.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        let process = command.stdout(Stdio::null()).spawn().expect("kappa starts");
        let serving = Self { redis, address, process };
        let began = Instant::now();
        while TcpStream::connect(&serving.address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not listen within a minute");
            std::thread::sleep(Duration::from_millis(20));
        }
        serving
    }

    /// Stores a hash as a publisher would.
    fn store(&self, key: &str, fields: &[(&str, &str)]) {
        let own = [("_version", "3"), ("_position", "1:0:7:0")];
        let fields = fields.iter().chain(&own).flat_map(|(name, text)| [*name, *text]);
        let command: Vec<&str> = ["HSET", key].into_iter().chain(fields).collect();
        self.redis.admin(&command);
    }

    fn get(&self, path: &str) -> Answer {
        client::get(&self.address, path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Sends these bytes and reads to the end of the connection; an answer may come before all is taken.
    fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _ = stream.write_all(request);
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes);
        let answer = String::from_utf8_lossy(&bytes);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer:?}"));
        Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_string() }
    }

    fn post(&self, body: &str) -> Answer {
        let head = format!("POST /get-online-features HTTP/1.0\r\nContent-Length: {}\r\n\r\n", body.len());
        self.raw(&[head.as_bytes(), body.as_bytes()].concat())
    }

    /// Bytes that the process holds in memory.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
    }

    /// It still answers a good question.
    fn assert_well(&self, after: &str) {
        let answer = self.get("/v1/features/user/u42?names=views_1h");
        assert!(answer.status == 200 && answer.body.contains("\"value\":3"), "{after}: {answer:?}");
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn user(serving: &Serving, id: &str, event_time: i64, last_click: i64) {
    let (event_time, last_click) = (event_time.to_string(), last_click.to_string());
    let fields = [
        ("_event_time", event_time.as_str()),
        ("views_1h", "3"),
        ("lifetime_value", "12.5"),
        ("last_category", "garden \"tools\""),
        ("category_affinity_score", r#"{"books":0.25,"toys":0.75}"#),
        ("last_click_at", &last_click),
    ];
    serving.store(&format!("features:{id}"), &fields);
}

#[test]
fn it_answers_what_is_stored_and_computes_what_only_the_reader_knows() {
    let serving = Serving::start(&[]);
    let before = now();
    user(&serving, "u42", before - 1_000, before - 5_000);
    let body = serving.get("/v1/features/user/u42").body;
    let answer: Value = serde_json::from_str(&body).unwrap();
    let of = |name: &str| &answer["features"][name];
    assert_eq!((&of("views_1h")["value"], &of("lifetime_value")["value"]), (&json!(3), &json!(12.5)));
    assert_eq!(of("last_category")["value"], "garden \"tools\"");
    assert_eq!(of("category_affinity_score")["value"], json!({"books": 0.25, "toys": 0.75}));
    assert_eq!((&of("views_24h")["value"], &of("views_24h")["status"]), (&Value::Null, &json!("NULL_VALUE")));
    let since = of("time_since_last_click")["value"].as_i64().unwrap();
    assert!((5_000..=now() - before + 5_000).contains(&since), "{since}");
    assert_eq!((&of("views_1h")["version"], &answer["position"]), (&json!(3), &json!("1:0:7:0")));
    // The topology's own order, and no other.
    let names: Vec<&String> = answer["features"].as_object().unwrap().keys().collect();
    assert_eq!((names[0].as_str(), names.last().unwrap().as_str()), ("views_1h", "time_since_last_click"));
    assert_eq!(serving.get("/v1/features/user/nobody").status, 404);
}

/// Runs `kappa get` and answers what it prints.
fn kappa_get(serving: &Serving, more: &[&str]) -> Output {
    let mut command = kappa();
    command.args(["get", "user", "u42", "--topology", SHOP, "--redis-url", &serving.redis.url()]).args(more);
    command.output().unwrap()
}

#[test]
fn kappa_get_says_the_same_with_and_without_a_process() {
    let serving = Serving::start(&[]);
    user(&serving, "u42", now(), now());
    let names = "--names=views_1h,last_category,lifetime_value";
    let asked = |listen: &str| {
        let output = kappa_get(&serving, &["--listen", listen, "--json", names]);
        let mut answer: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)));
        // The age goes on.
        for feature in answer["features"].as_object_mut().unwrap().values_mut() {
            assert!(feature.as_object_mut().unwrap().shift_remove("age_ms").is_some());
        }
        answer
    };
    let with = asked(&serving.address);
    assert_eq!(with["features"]["last_category"]["value"], "garden \"tools\"");
    assert_eq!((&with["position"], asked("")), (&json!("1:0:7:0"), with.clone()));
    let table = kappa_get(&serving, &["--listen", "", names]);
    let table = String::from_utf8_lossy(&table.stdout).into_owned();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].starts_with("views_1h ") && lines[2].contains("garden \"tools\"  PRESENT"), "{table}");
    let json = kappa_get(&serving, &["--listen", "", "--json", "--names=time_since_last_click"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert!(json["features"]["time_since_last_click"]["value"].as_i64().unwrap() >= 0);
    let wrong = kappa_get(&serving, &["--listen", "", "--names=vews_1h"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("did you mean `views_1h`?"));
}

#[test]
fn many_entities_come_in_one_answer_each_in_its_place() {
    let serving = Serving::start(&[]);
    let t: i64 = 1_704_067_200_123;
    (0..500).for_each(|at| {
        let (id, at, time) = (format!("features:u{at}"), at.to_string(), (t + at).to_string());
        serving.store(&id, &[("_event_time", &time), ("views_1h", &at)]);
    });
    let ids: Vec<String> = (0..1_000).rev().map(|at| format!("u{at}")).collect();
    let question = json!({"features": ["user:views_1h", "user:time_since_last_click"], "entities": {"user_id": ids}});
    let answer = serving.post(&question.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(answer["metadata"]["feature_names"], json!(["user_id", "views_1h", "time_since_last_click"]));
    let (views, clicks) = (&answer["results"][1], &answer["results"][2]);
    for (place, at) in (0..1_000).rev().enumerate() {
        let (value, status) = (&views["values"][place], &views["statuses"][place]);
        match at < 500 {
            true => assert_eq!((value, status), (&json!(at), &json!("PRESENT")), "u{at}"),
            false => assert_eq!((value, status), (&Value::Null, &json!("NOT_FOUND")), "u{at}"),
        }
        let click = if at < 500 { "NULL_VALUE" } else { "NOT_FOUND" };
        assert_eq!(clicks["statuses"][place], click, "u{at}");
    }
    assert_eq!(views["event_timestamps"][999], "2024-01-01T00:00:00.123Z");
}

#[test]
fn what_feasts_own_server_gets_wrong_is_right_here() {
    let serving = Serving::start(&[]);
    let event_time = now().to_string();
    let numbers = [("_event_time", event_time.as_str()), ("lifetime_value", "0.1"), ("views_1h", "3")];
    serving.store("features:u1", &numbers);
    let ask = |features: Value, id: Value| {
        let answer = serving.post(&json!({"features": features, "entities": {"user_id": [id]}}).to_string());
        (answer.status, serde_json::from_str::<Value>(&answer.body).unwrap(), answer.body)
    };
    // Columns come in the order of the request, whichever that is.
    for names in [["views_1h", "lifetime_value", "last_category"], ["last_category", "lifetime_value", "views_1h"]] {
        let (_, answer, _) = ask(json!(names.map(|name| format!("user:{name}"))), json!("u1"));
        let expected: Vec<&str> = ["user_id"].into_iter().chain(names).collect();
        assert_eq!(answer["metadata"]["feature_names"], json!(expected));
    }
    // Who is not known is not there, rather than there with null; a known one's missing value is a null.
    let (_, answer, _) = ask(json!(["user:views_1h", "user:last_category"]), json!("nobody"));
    assert_eq!(answer["results"][1]["statuses"], json!(["NOT_FOUND"]));
    let (_, answer, text) = ask(json!(["user:lifetime_value", "user:last_category"]), json!("u1"));
    assert_eq!(answer["results"][2]["statuses"], json!(["NULL_VALUE"]));
    // A number has no more digits than it needs.
    assert!(text.contains("\"values\":[0.1]"), "{text}");
    // A mistake is the client's, and is named.
    for (features, id, what) in [
        (json!(["user:nothing"]), json!("u1"), "nothing"),
        (json!(["nobody:views_1h"]), json!("u1"), "nobody"),
        (json!(["views_1h"]), json!("u1"), "view:feature"),
        (json!(["user:views_1h"]), json!(7), "user_id"),
        (json!(["user:views_1h"]), Value::Null, "user_id"),
        (json!("user:views_1h"), json!("u1"), "not understood"),
    ] {
        let (status, answer, _) = ask(features, id);
        let said = answer["error"].as_str().unwrap();
        assert!(status == 400 && said.contains(what), "{status}: {said}");
    }
}

#[test]
fn a_store_that_is_late_or_gone_is_said_with_504_or_503_and_comes_back() {
    let mut serving = Serving::start(&["http.read_timeout=20ms"]);
    user(&serving, "u42", now(), now());
    let page = "/v1/features/user/u42?names=views_1h";
    let until = |serving: &Serving, status: u16| {
        let began = Instant::now();
        loop {
            let answer = serving.get(page);
            if answer.status == status {
                return answer.body;
            }
            assert!([200, 503, 504].contains(&answer.status), "{answer:?}");
            assert!(began.elapsed() < Duration::from_secs(60), "no {status} within a minute: {answer:?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    until(&serving, 200);
    let signal = |name: &str| {
        let id = serving.redis.process_id().unwrap().to_string();
        assert!(std::process::Command::new("kill").args([name, &id]).status().unwrap().success());
    };
    signal("-STOP");
    let late = until(&serving, 504);
    signal("-CONT");
    assert!(late.contains("did not answer within 20ms"), "{late}");
    until(&serving, 200);
    serving.redis.kill();
    let gone = until(&serving, 503);
    assert!(gone.contains("does not answer"), "{gone}");
    let began = Instant::now();
    while serving.get("/ready").status != 503 {
        assert!(began.elapsed() < Duration::from_secs(60), "it is ready without a store");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(serving.get("/health").status, 200);
    serving.redis.start_again();
    user(&serving, "u42", now(), now());
    until(&serving, 200);
}

#[test]
fn a_process_that_starts_before_its_redis_answers_once_that_is_there() {
    let mut redis = RedisServer::start(&[]);
    redis.kill();
    let mut serving = Serving::launch(redis, &["http.read_timeout=5s"]);
    assert_eq!(serving.get("/health").status, 200);
    assert_eq!((serving.get("/ready").status, serving.get("/v1/features/user/u1").status), (503, 503));
    serving.redis.start_again();
    let began = Instant::now();
    while serving.get("/ready").status != 200 {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain for a minute");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `server.pem`, signed by itself, and its `server.key`.
fn make_certificate(folder: &Path) {
    let key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let rest = ["-subj", "/CN=kappa", "-keyout", "server.key", "-out", "server.pem"];
    let done = Command::new("openssl").current_dir(folder).args(key).args(rest).output();
    let done = done.expect("openssl must be installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn our_own_commands_have_the_token_and_know_the_certificate() {
    let folder = tempfile::tempdir().unwrap();
    make_certificate(folder.path());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let token = "0123456789abcdef0123";
    let settings = [
        format!("http.tokens={token}"),
        format!("http.tls_cert_file={}", file("server.pem")),
        format!("http.tls_key_file={}", file("server.key")),
    ];
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    let serving = Serving::launch(RedisServer::start(&[]), &settings);
    user(&serving, "u42", now(), now());
    let status = |more: &[&str]| {
        let mut command = kappa();
        command.args(["status", "--listen", &serving.address]);
        more.iter().for_each(|setting| {
            command.args(["--set", setting]);
        });
        command.output().unwrap()
    };
    let known = status(&settings);
    let said = String::from_utf8_lossy(&known.stderr).into_owned();
    assert!(known.status.success() && String::from_utf8_lossy(&known.stdout).contains("serves_only: true"), "{said}");
    let stranger = status(&settings[1..]);
    let said = String::from_utf8_lossy(&stranger.stderr).into_owned();
    assert!(stranger.status.code() == Some(2) && said.contains("KAPPA_HTTP__TOKENS"), "{said}");
    assert!(!status(&settings[..1]).status.success(), "without TLS");
}

#[test]
fn a_signal_ends_it_with_0() {
    let mut serving = Serving::start(&[]);
    let id = serving.process.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    assert_eq!(serving.process.wait().unwrap().code(), Some(0));
}
