//! A kept-alive HTTP connection: one request after the other, bytes in, status and body out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use memchr::memmem;

/// A request, ready to be sent.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n").into_bytes()
}

/// A request, ready to be sent.
pub fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// One kept-alive connection.
pub struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    pub fn open(address: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the server takes connections");
        stream.set_nodelay(true).expect("the socket takes options");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("the socket takes options");
        Self { stream, bytes: vec![0; 256 * 1024] }
    }

    /// Sends a request: the answer's status and body.
    pub fn send(&mut self, request: &[u8]) -> (u16, &[u8]) {
        self.stream.write_all(request).expect("the server reads");
        let mut filled = 0;
        let (mut whole, mut head, mut status) = (usize::MAX, 0, 0);
        while filled < whole {
            if filled == self.bytes.len() {
                self.bytes.resize(filled * 2, 0);
            }
            let count = self.stream.read(&mut self.bytes[filled..]).expect("the server answers");
            assert!(count > 0, "the server closed a connection in the middle of an answer");
            filled += count;
            if whole == usize::MAX
                && let Some(end) = memmem::find(&self.bytes[..filled], b"\r\n\r\n")
            {
                let text = std::str::from_utf8(&self.bytes[..end]).expect("a head is text");
                status = text.split(' ').nth(1).and_then(|text| text.parse().ok()).expect("a status");
                head = end + 4;
                whole = head + length(text);
            }
        }
        (status, &self.bytes[head..whole])
    }
}

fn length(head: &str) -> usize {
    let of_line = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    head.lines().find_map(of_line).expect("the answer says how long it is")
}
