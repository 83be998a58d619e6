//! The server and the client against each other, over a real socket.

use std::io::{Read, Write};

use super::*;
use client::Answer;

/// A process that knows one user.
struct Fixed {
    stopped: bool,
}

impl Door for Fixed {
    fn status(&self) -> serde_json::Value {
        serde_json::json!({"topology": "shop"})
    }

    fn ready(&self) -> Result<(), String> {
        Err("partition 2 is 17 records behind".into())
    }

    fn health(&self) -> Result<(), String> {
        if self.stopped { Err("task 1 stopped: offset 9".into()) } else { Ok(()) }
    }

    fn get(&self, entity: &str, id: &str) -> BoxFuture<'_, Result<Option<BTreeMap<String, String>>>> {
        let known = BTreeMap::from([("views_1h".to_string(), "3".to_string())]);
        let answer = match (entity, id) {
            ("user", "" | "u/1 ä") => Ok(Some(known)),
            ("user", _) => Ok(None),
            _ => Err(Error::configuration(format!("no entity {entity}"))),
        };
        Box::pin(async { answer })
    }
}

async fn start(stopped: bool) -> (Server, Metrics) {
    let metrics = Metrics::new();
    (serve("127.0.0.1:0", metrics.clone(), Arc::new(Fixed { stopped })).await.unwrap(), metrics)
}

async fn ask(server: &Server, path: &str) -> Answer {
    let (address, path) = (server.address.to_string(), path.to_string());
    tokio::task::spawn_blocking(move || client::get(&address, &path).unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_answers() {
    let (server, metrics) = start(false).await;
    metrics.task(0).lag.set(5);
    assert!(ask(&server, "/metrics").await.body.contains("kappa_lag_records{partition=\"0\"} 5"));
    assert_eq!(ask(&server, "/health").await, Answer { status: 200, body: "ok\n".into() });
    assert_eq!(ask(&server, "/v1/status").await.body, "{\"topology\":\"shop\"}");
    assert!(ask(&server, "/").await.body.contains("<title>kappa</title>"));
    assert_eq!(ask(&server, "/nothing").await.status, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_said_with_a_503() {
    let (server, _) = start(true).await;
    let ready = ask(&server, "/ready").await;
    assert_eq!((ready.status, ready.body.as_str()), (503, "partition 2 is 17 records behind\n"));
    assert_eq!(ask(&server, "/health").await.body, "task 1 stopped: offset 9\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn any_id_can_be_asked_for() {
    let (server, _) = start(false).await;
    let path = format!("/v1/features/user/{}", client::encode("u/1 ä"));
    let expected = "{\"entity\":\"user\",\"id\":\"u/1 ä\",\"values\":{\"views_1h\":\"3\"}}";
    assert_eq!(ask(&server, &path).await.body, expected);
    let path = format!("/v1/features/user?id={}", client::encode("u/1 ä"));
    assert_eq!(ask(&server, &path).await.body, expected);
    assert_eq!(ask(&server, "/v1/features/user?id=").await.status, 200);
    assert_eq!(ask(&server, "/v1/features/user/u2").await.status, 404);
    assert_eq!(ask(&server, "/v1/features/item/u2").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scrape_is_given_again_within_its_second() {
    let (server, metrics) = start(false).await;
    let first = ask(&server, "/metrics").await;
    metrics.task(9);
    // Within the second it is the same text; a slow machine may see the new one, which is right as well.
    let second = ask(&server, "/metrics").await;
    assert!(second == first || second.body.contains("partition=\"9\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_body_is_refused_by_its_head() {
    let (server, _) = start(false).await;
    let address = server.address;
    let answer = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        write!(stream, "GET /health HTTP/1.0\r\nContent-Length: 99999999\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    });
    assert!(answer.await.unwrap().starts_with("HTTP/1.0 413"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_in_use_is_named_with_its_remedy() {
    let (server, _) = start(false).await;
    let error =
        serve(&server.address.to_string(), Metrics::new(), Arc::new(Fixed { stopped: false })).await.unwrap_err();
    assert!(
        error.to_string().contains(&server.address.to_string()) && error.to_string().contains("--listen"),
        "{error}"
    );
}
