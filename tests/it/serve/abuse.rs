//! Clients that mean no good: each gets the right status, others their answers, and memory stays within what
//! docs/serving.md says.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Serving, now, user};

/// Bytes that the process has taken since.
fn grown(serving: &Serving, before: u64) -> u64 {
    let grown = serving.resident().saturating_sub(before);
    println!("resident: {} MiB before, {} MiB more now", before >> 20, grown >> 20);
    grown
}

#[test]
fn a_server_under_abuse_answers_each_with_the_right_status_and_stays_small() {
    let serving = Serving::start(&["http.request_timeout=1s", "http.max_body_bytes=2000000"]);
    user(&serving, "u42", now(), now());
    serving.assert_well("at first");
    let before = serving.resident();
    let ask = |features: Value, ids: Value| json!({"features": features, "entities": {"user_id": ids}}).to_string();
    let views = || json!(["user:views_1h"]);
    let many: Vec<String> = (0..1_001).map(|at| at.to_string()).collect();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (what, body, status) in [
        ("malformed JSON", "{\"features\": [".to_string(), 400),
        ("nested deeply", deep, 400),
        ("an unknown feature", ask(json!(["user:nothing"]), json!(["u42"])), 400),
        ("an unknown view", ask(json!(["nobody:views_1h"]), json!(["u42"])), 400),
        ("an id of a megabyte", ask(views(), json!(["x".repeat(1_000_000)])), 400),
        (
            "a feature's name of a megabyte",
            ask(json!([format!("user:{}", "x".repeat(1_000_000))]), json!(["u42"])),
            400,
        ),
        ("too many entities", ask(views(), json!(many)), 413),
        ("too long a body", ask(views(), json!(["x".repeat(2_000_000)])), 413),
        ("nothing", String::new(), 400),
        ("a list", "[]".to_string(), 400),
        ("an id of another type", ask(views(), json!([{"a": 1}])), 400),
        ("a number that no double holds", "{\"features\": [1e999]}".to_string(), 400),
    ] {
        let answer = serving.post(&body);
        assert_eq!(answer.status, status, "{what}: {}", &answer.body[..answer.body.len().min(500)]);
        assert!(answer.body.len() < 2_000, "{what}: the answer repeats {} bytes", answer.body.len());
        serving.assert_well(what);
    }
    // 100 MB, which nobody takes.
    let head =
        b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 100000000\r\n\r\n";
    assert_eq!(serving.raw(&[&head[..], &vec![b' '; 100_000_000]].concat()).status, 413);
    // The same without saying how long it is.
    let head =
        b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = [&b"100000\r\n"[..], &vec![b' '; 1 << 20], b"\r\n"].concat();
    assert_eq!(serving.raw(&[&head[..], &chunk.repeat(100), b"0\r\n\r\n"].concat()).status, 413);
    let long = format!("GET /v1/features/user/{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1_000_000));
    assert!([414, 431].contains(&serving.raw(long.as_bytes()).status));
    assert_eq!(serving.raw(b"GARBAGE\r\n\r\n").status, 400);
    let slow = b"POST /get-online-features HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 50\r\n\r\n{";
    assert_eq!(serving.raw(slow).status, 408);
    serving.assert_well("in the end");
    let grown = grown(&serving, before);
    assert!(grown < 100 << 20, "it has grown by {grown} bytes");
}

#[test]
fn silent_and_greedy_clients_do_not_keep_others_out() {
    let serving = Serving::start(&["http.max_connections=50", "http.head_timeout=1s", "http.request_timeout=1s"]);
    user(&serving, "u42", now(), now());
    serving.assert_well("at first");
    let before = serving.resident();
    // Some never say anything, some stop in their head, some never read.
    let mut clients = Vec::new();
    for at in 0..300 {
        let Ok(mut client) = TcpStream::connect(&serving.address) else { continue };
        let said: &[u8] = match at % 3 {
            0 => b"",
            1 => b"GET /health HTTP/1.1\r\nHo",
            _ => b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        let _ = client.write_all(said);
        clients.push(client);
    }
    assert!(clients.len() > 250, "only {} connections were opened", clients.len());
    serving.assert_well("behind 300 silent clients");
    drop(clients);
    serving.assert_well("after them");
    let grown = grown(&serving, before);
    assert!(grown < 50 << 20, "it has grown by {grown} bytes");
}

/// Of what docs/serving.md says: an open connection that has been answered, with room for the allocator's ways.
const IDLE_CONNECTION: u64 = 48 * 1024;

#[test]
fn ten_thousand_connections_are_held_and_answered() {
    const CLIENTS: usize = 10_000;
    raise_files();
    let serving = Serving::start(&["http.max_connections=10100", "http.head_timeout=5m", "http.request_timeout=5m"]);
    user(&serving, "u42", now(), now());
    serving.assert_well("at first");
    let before = serving.resident();
    let mut clients: Vec<TcpStream> = Vec::with_capacity(CLIENTS);
    for at in 0..CLIENTS {
        let mut client = TcpStream::connect(&serving.address).unwrap_or_else(|error| panic!("client {at}: {error}"));
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        client.write_all(b"GET /v1/features/user/u42?names=views_1h HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        let mut bytes = [0; 1024];
        let count = client.read(&mut bytes).unwrap();
        let answer = String::from_utf8_lossy(&bytes[..count]);
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("\"value\":3"), "{answer}");
    }
    serving.assert_well("beside 10,000 others");
    let grown = grown(&serving, before);
    assert!(grown < CLIENTS as u64 * IDLE_CONNECTION, "{} bytes a connection", grown / CLIENTS as u64);
    drop(clients);
    serving.assert_well("after them");
}

#[test]
fn ten_thousand_connections_over_the_bound_wait_or_give_up_and_others_get_through() {
    raise_files();
    let serving = Serving::start(&["http.max_connections=500", "http.head_timeout=1s"]);
    user(&serving, "u42", now(), now());
    let before = serving.resident();
    let address: std::net::SocketAddr = serving.address.parse().unwrap();
    // They say nothing. Those that the system's queue has no room for give up.
    let clients = std::thread::scope(|scope| {
        let some = || {
            let open = |_| TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
            (0..100).filter_map(open).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..100).map(|_| scope.spawn(some)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    println!("{} of 10,000 were let in or wait", clients.len());
    assert!(clients.len() > 500, "only {}", clients.len());
    let began = Instant::now();
    let page = "/v1/features/user/u42?names=views_1h";
    while kappa::http::client::get(&serving.address, page).map_or(0, |answer| answer.status) != 200 {
        assert!(began.elapsed() < Duration::from_secs(120), "nobody gets through");
        std::thread::sleep(Duration::from_millis(100));
    }
    let grown = grown(&serving, before);
    assert!(grown < 100 << 20, "it has grown by {grown} bytes");
    drop(clients);
    serving.assert_well("after them");
}

#[test]
fn clients_that_ask_again_and_again_and_never_read_hold_one_answer_each() {
    let serving = Serving::start(&["http.request_timeout=2s"]);
    user(&serving, "u42", now(), now());
    serving.assert_well("at first");
    let before = serving.resident();
    let ids = vec!["u42"; 1_000];
    let body = json!({"feature_service": "user", "entities": {"user_id": ids}}).to_string();
    let head = format!("POST /get-online-features HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", body.len());
    let request = [head.as_bytes(), body.as_bytes()].concat();
    let mut clients: Vec<TcpStream> = (0..20).map(|_| TcpStream::connect(&serving.address).unwrap()).collect();
    for client in &mut clients {
        client.set_write_timeout(Some(Duration::from_millis(200))).unwrap();
        // Until nobody takes more of it.
        for _ in 0..200 {
            if client.write_all(&request).is_err() {
                break;
            }
        }
    }
    serving.assert_well("beside them");
    let grown = grown(&serving, before);
    // 1,000 entities with all features of the shop are some 3 MB of answer.
    assert!(grown < 20 * (8 << 20), "{} bytes a client", grown / 20);
    // They are cut off once they have not read for `request_timeout`.
    for mut client in clients {
        client.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let _ = client.read_to_end(&mut Vec::new());
    }
    serving.assert_well("after them");
}

/// As many open files as this process may have; what it starts has them too.
fn raise_files() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls get a valid pointer to a limit that lives as long as they run.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    assert!(raised == 0 && limit.rlim_max > 11_000, "10,000 connections need 11,000 open files: {}", limit.rlim_max);
}
