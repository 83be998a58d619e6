//! The server and the client against each other, over a real socket.

use std::io::{Read, Write};

use serde_json::{Value, json};

use super::*;
use crate::config::{Override, Settings};
use crate::features::fixture::{self, Bench, HOUR};
use client::{Answer, Caller};

/// A process that works or does not.
struct Fixed {
    stopped: bool,
}

impl Door for Fixed {
    fn status(&self) -> Value {
        json!({"topology": "reads"})
    }

    fn ready(&self) -> Result<(), String> {
        Err("partition 2 is 17 records behind".into())
    }

    fn health(&self) -> Result<(), String> {
        if self.stopped { Err("task 1 stopped: offset 9".into()) } else { Ok(()) }
    }
}

fn settings(pairs: &[(&str, &str)]) -> HttpSettings {
    let from = |(key, value): &(&str, &str)| {
        let (key, value) = (format!("http.{key}"), value.to_string());
        Override { key, value, from: "--set".into() }
    };
    let pairs = [("listen", "127.0.0.1:0")].iter().chain(pairs).map(from).collect::<Vec<_>>();
    Settings::load(None, &pairs).unwrap().http
}

/// A server over a bench where three users and a pair are stored.
struct Place {
    server: Server,
    settings: HttpSettings,
    metrics: Metrics,
}

impl Place {
    async fn new(pairs: &[(&str, &str)]) -> Self {
        Self::with(pairs, Fixed { stopped: false }).await
    }

    async fn with(pairs: &[(&str, &str)], door: Fixed) -> Self {
        let (settings, metrics, bench) = (settings(pairs), Metrics::new(), Bench::empty());
        let plan = fixture::plan();
        let (user, pair) = (&plan.entities[0], &plan.entities[1]);
        for id in ["", "u1", "u/1 ä"] {
            bench.put(user, id, HOUR + 5, &fixture::row(4, 12.0, HOUR)).await;
        }
        bench.put(pair, r#"["u1",7]"#, 2 * HOUR, &fixture::row(9, 0.0, 0)[..1]).await;
        let server = serve(&settings, metrics.clone(), Arc::new(door), Arc::clone(&bench.reader)).await.unwrap();
        Self { server, settings, metrics }
    }

    async fn get(&self, path: &str) -> Answer {
        let caller = Caller::new(&self.settings).unwrap().at(self.server.address.to_string());
        let path = path.to_string();
        tokio::task::spawn_blocking(move || caller.get(&path).unwrap()).await.unwrap()
    }

    /// What is answered to these bytes, to the end of the connection.
    async fn raw(&self, request: String) -> Answer {
        let address = self.server.address;
        let ask = move || {
            let mut stream = std::net::TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            Answer { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: body.to_string() }
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    async fn post(&self, body: &str) -> (u16, Value) {
        let length = body.len();
        let head = format!("POST /get-online-features HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
        let answer = self.raw(head + body).await;
        (answer.status, serde_json::from_str(&answer.body).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_answers() {
    let place = Place::new(&[]).await;
    place.metrics.task(0).lag.set(5);
    assert!(place.get("/metrics").await.body.contains("kappa_lag_records{partition=\"0\"} 5"));
    assert_eq!(place.get("/health").await, Answer { status: 200, body: "ok\n".into() });
    assert_eq!(place.get("/v1/status").await.body, "{\"topology\":\"reads\"}");
    assert!(place.get("/").await.body.contains("<title>kappa</title>"));
    assert!(place.get("/docs").await.body.contains("openapi.json"));
    let described: Value = serde_json::from_str(&place.get("/openapi.json").await.body).unwrap();
    assert_eq!(described["info"]["title"], "Features of reads");
    assert_eq!(place.get("/nothing").await.status, 404);
    assert_eq!(place.get("/get-online-features").await.status, 405);
    let counted = place.metrics.http_responses("/docs", "200").value();
    assert_eq!((counted, place.metrics.http_responses("other", "404").value()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_with_a_503() {
    let place = Place::with(&[], Fixed { stopped: true }).await;
    let ready = place.get("/ready").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "partition 2 is 17 records behind\n"));
    assert_eq!(place.get("/health").await.body, "task 1 stopped: offset 9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_id_can_be_asked_for_and_each_feature_says_how_old_it_is() {
    let place = Place::new(&[]).await;
    let id = client::encode("u/1 ä");
    let answer = place.get(&format!("/v1/features/user/{id}?names=age,views,label,warm")).await;
    let expected = concat!(
        r#"{"entity":"user","id":"u/1 ä","position":"1:2:9:0","features":{"#,
        r#""age":{"value":3600000,"status":"PRESENT","event_time":"1970-01-01T01:00:00.005Z","age_ms":3599995,"version":3},"#,
        r#""views":{"value":4,"status":"PRESENT","event_time":"1970-01-01T01:00:00.005Z","age_ms":3599995,"version":3},"#,
        r#""label":{"value":null,"status":"OUTSIDE_MAX_AGE","event_time":"1970-01-01T01:00:00.005Z","age_ms":3599995,"version":3},"#,
    );
    assert!(answer.body.starts_with(expected), "{}", answer.body);
    assert_eq!(place.get(&format!("/v1/features/user?names=age,views,label,warm&id={id}")).await, answer);
    assert_eq!(place.get("/v1/features/user?id=").await.status, 200);
    assert_eq!(place.get("/v1/features/user/u2").await.status, 404);
    for (path, what) in [
        ("/v1/features/item/u1", "no entity `item`"),
        ("/v1/features/user/u1?names=vews", "did you mean `views`?"),
        ("/v1/features/user/u1?names=", "no feature ``"),
        ("/v1/features/user/u1?name=views", "unknown field `name`"),
        ("/v1/features/user", "missing field `id`"),
        ("/v1/features/user/%ff", "UTF-8"),
        (format!("/v1/features/user/{}", "x".repeat(65)).as_str(), "65 bytes"),
    ] {
        let answer = place.get(path).await;
        assert!(answer.status == 400 && answer.body.contains(what), "{path}: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn feast_gets_columns_in_the_order_of_its_request() {
    let place = Place::new(&[]).await;
    let question = json!({
        "features": ["user:warm", "pair:views", "user:views", "user:seen"],
        "entities": {"n": [7, 7, 8], "id": ["u1", "nobody", "u1"]},
        "full_feature_names": true,
    });
    let (status, answer) = place.post(&question.to_string()).await;
    let (never, row) = ("1970-01-01T00:00:00Z", "1970-01-01T01:00:00.005Z");
    let (here, missing) = ("PRESENT", "NOT_FOUND");
    let warm = 12.0 * 0.5_f64.powf(3_599_995.0 / 3_600_000.0);
    let expected = json!({
        "metadata": {"feature_names": ["n", "id", "user__warm", "pair__views", "user__views", "user__seen"]},
        "results": [
            {"values": [7, 7, 8], "statuses": [here, here, here], "event_timestamps": [never, never, never]},
            {"values": ["u1", "nobody", "u1"], "statuses": [here, here, here], "event_timestamps": [never, never, never]},
            {"values": [warm, null, warm], "statuses": [here, missing, here], "event_timestamps": [row, never, row]},
            {"values": [9, null, null], "statuses": [here, missing, missing],
             "event_timestamps": ["1970-01-01T02:00:00Z", never, never]},
            {"values": [4, null, 4], "statuses": [here, missing, here], "event_timestamps": [row, never, row]},
            {"values": [HOUR, null, HOUR], "statuses": [here, missing, here], "event_timestamps": [row, never, row]},
        ],
    });
    let near = |a: &Value, b: &Value| (a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-9;
    assert!(near(&answer["results"][2]["values"][0], &json!(warm)), "{answer}");
    let exact = |mut answer: Value| {
        answer["results"][2]["values"] = Value::Null;
        answer
    };
    assert_eq!((status, exact(answer)), (200, exact(expected)));
    let service = |name: &str| json!({"feature_service": name, "entities": {"id": ["u1"]}}).to_string();
    let (status, all) = place.post(&service("user")).await;
    assert_eq!((status, all["results"].as_array().unwrap().len()), (200, 1 + 9));
    let whole = json!({"feature_service": "reads", "entities": {"id": ["u1"], "n": [7]}, "full_feature_names": true});
    let (status, whole) = place.post(&whole.to_string()).await;
    assert_eq!((status, whole["results"].as_array().unwrap().len()), (200, 2 + 9 + 1));
    let (status, none) = place.post(r#"{"features": ["user:views"], "entities": {"id": []}}"#).await;
    assert_eq!((status, &none["results"][1]["values"]), (200, &json!([])));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_feasts_request_is_named_with_a_4xx() {
    let place = Place::new(&[("max_entities", "3"), ("max_body_bytes", "1000")]).await;
    let users = json!({"id": ["u1"]});
    let asks = |features: Value, entities: Value| json!({"features": features, "entities": entities}).to_string();
    for (body, status, what) in [
        ("{".to_string(), 400, "not understood"),
        ("[1]".into(), 400, "not understood"),
        ("{\"features\": [\"user:views\"]}".into(), 400, "missing field `entities`"),
        (json!({"entities": users}).to_string(), 400, "no features are asked for"),
        (asks(json!([]), users.clone()), 400, "no features are asked for"),
        (
            json!({"features": ["user:views"], "feature_service": "user", "entities": users}).to_string(),
            400,
            "both given",
        ),
        (json!({"feature_service": "nothing", "entities": users}).to_string(), 400, "no entity `nothing`"),
        (asks(json!(["views"]), users.clone()), 400, "write it as `view:feature`"),
        (asks(json!(["item:views"]), users.clone()), 400, "it has `user` and `pair`"),
        (asks(json!(["user:viewz"]), users.clone()), 400, "did you mean `views`?"),
        (asks(json!(["user:views", "user:views"]), users.clone()), 400, "asked for twice"),
        (asks(json!(["user:views", "pair:views"]), json!({"id": ["u1"], "n": [1]})), 400, "full_feature_names"),
        (asks(json!(["pair:views"]), users.clone()), 400, "has no `n`, of the key of `pair`"),
        (asks(json!(["user:views"]), json!({"id": ["u1"], "other": [1]})), 400, "`entities.other` is no key"),
        (asks(json!(["user:views"]), json!({"id": "u1"})), 400, "not a list"),
        (asks(json!(["user:views"]), json!({"id": [5]})), 400, "5 of `id` is not a string"),
        (asks(json!(["user:views"]), json!({"id": [null]})), 400, "null of `id`"),
        (asks(json!(["user:views"]), json!({"id": ["x".repeat(65)]})), 400, "65 bytes"),
        (asks(json!(["pair:views"]), json!({"id": ["a", "b"], "n": [1]})), 400, "`entities.n` has 1 values"),
        (asks(json!(["user:views"]), json!({"id": ["a", "b", "c", "d"]})), 413, "at most 3 at once"),
        (asks(json!(["user:views"]), json!({"id": ["x".repeat(1000)]})), 413, "1000 bytes"),
    ] {
        let (found, said) = place.post(&body).await;
        let said = said["error"].as_str().unwrap();
        assert!(found == status && said.contains(what) && said.len() < 600, "{body}: {found} {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_given_again_within_its_second() {
    let place = Place::new(&[]).await;
    let first = place.get("/metrics").await;
    place.metrics.task(9);
    // Within the second it is the same text; a slow machine may see the new one, which is right as well.
    let second = place.get("/metrics").await;
    assert!(second == first || second.body.contains("partition=\"9\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_body_is_refused_by_its_head_and_one_without_a_length_as_it_comes() {
    let place = Place::new(&[("max_body_bytes", "1000")]).await;
    let head = "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n";
    assert_eq!(place.raw(head.into()).await.status, 413);
    let head =
        "POST /get-online-features HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 600, " ".repeat(600));
    assert_eq!(place.raw(format!("{head}{chunk}{chunk}0\r\n\r\n")).await.status, 413);
    let short = format!("{:x}\r\n{}\r\n0\r\n\r\n", 20, "[                  ]");
    assert_eq!(place.raw(format!("{head}{short}")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_body_is_said_to_be_late() {
    let place = Place::new(&[("request_timeout", "100ms")]).await;
    let head = "POST /get-online-features HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{";
    let late = place.raw(head.into()).await;
    assert!(late.status == 408 && late.body.contains("http.request_timeout"), "{late:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_head_and_a_long_one_are_not_waited_for() {
    let place = Place::new(&[("head_timeout", "100ms")]).await;
    let address = place.server.address;
    let slow = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /health HTT").unwrap();
        stream.read_to_string(&mut String::new()).unwrap()
    });
    assert_eq!(slow.await.unwrap(), 0, "closed without an answer");
    let long = format!("GET /health HTTP/1.0\r\nX: {}\r\n\r\n", "x".repeat(2_500));
    assert_eq!(Place::new(&[("max_head_bytes", "2000")]).await.raw(long).await.status, 431);
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_but_for_health() {
    let token = "0123456789abcdef";
    let place = Place::new(&[("tokens", token)]).await;
    let without = |path: &str| place.raw(format!("GET {path} HTTP/1.0\r\n\r\n"));
    for path in ["/health", "/ready", "/", "/docs"] {
        assert_ne!(without(path).await.status, 401, "{path}");
    }
    for path in ["/metrics", "/v1/status", "/v1/features/user/u1", "/openapi.json", "/get-online-features", "/x"] {
        assert_eq!(without(path).await.status, 401, "{path}");
        let wrong = format!("GET {path} HTTP/1.0\r\nAuthorization: Bearer {token}0\r\n\r\n");
        assert_eq!(place.raw(wrong).await.status, 401, "{path}");
    }
    // Our own client sends the token of its settings.
    assert_eq!(place.get("/v1/features/user/u1").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_to_those_who_know_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    make_certificate(dir.path());
    make_certificate(other.path());
    let file = |dir: &tempfile::TempDir, name: &str| dir.path().join(name).display().to_string();
    let (cert, key) = (file(&dir, "server.pem"), file(&dir, "server.key"));
    let place = Place::new(&[("tls_cert_file", &cert), ("tls_key_file", &key)]).await;
    assert_eq!(place.get("/v1/features/user/u1").await.status, 200);
    let (cert, key) = (file(&other, "server.pem"), file(&other, "server.key"));
    let stranger = Caller::new(&settings(&[("tls_cert_file", &cert), ("tls_key_file", &key)])).unwrap();
    for stranger in [stranger, Caller::new(&settings(&[])).unwrap()] {
        let stranger = stranger.at(place.server.address.to_string());
        assert!(tokio::task::spawn_blocking(move || stranger.get("/health")).await.unwrap().is_err());
    }
    let wrong = settings(&[("tls_cert_file", "/nonexistent"), ("tls_key_file", &key)]);
    let bench = Bench::empty();
    let refused = serve(&wrong, Metrics::new(), Arc::new(Fixed { stopped: false }), bench.reader).await.unwrap_err();
    assert!(refused.to_string().contains("http.tls_cert_file `/nonexistent`"), "{refused}");
}

/// `server.pem`, signed by itself, and its `server.key`.
fn make_certificate(folder: &std::path::Path) {
    let key = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    let rest = ["-subj", "/CN=kappa", "-keyout", "server.key", "-out", "server.pem"];
    let done = std::process::Command::new("openssl").current_dir(folder).args(key).args(rest).output();
    let done = done.expect("openssl must be installed");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named_with_its_remedy() {
    let place = Place::new(&[]).await;
    let taken = HttpSettings { listen: place.server.address.to_string(), ..place.settings.clone() };
    let reader = Bench::empty().reader;
    let error = serve(&taken, Metrics::new(), Arc::new(Fixed { stopped: false }), reader).await.unwrap_err();
    assert!(error.to_string().contains(&taken.listen) && error.to_string().contains("--listen"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_closes_lets_go_of_idle_connections() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let place = Place::new(&[]).await;
    let mut stream = tokio::net::TcpStream::connect(place.server.address).await.unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut some = [0; 512];
    assert!(stream.read(&mut some).await.unwrap() > 0);
    place.server.close().await;
    assert_eq!(stream.read(&mut some).await.unwrap(), 0);
}
