//! The commands' side of the door: one small GET to a running process.
//!
//! Blocking, HTTP/1.0 (so no chunks and no kept-alive connection), and bounded in time and bytes.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::{guard, tls};
use crate::config::HttpSettings;
use crate::error::Result;

const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;

/// An answer: its status and its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// How to speak to a process: where it listens, and what its settings ask for.
#[derive(Clone)]
pub struct Caller {
    address: String,
    token: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl Caller {
    /// To a process with these settings.
    ///
    /// # Errors
    /// A configuration error: the file of tokens or the certificate cannot be read.
    pub fn new(settings: &HttpSettings) -> Result<Self> {
        let token = guard::Tokens::load(settings)?.first().map(str::to_string);
        Ok(Self { address: settings.listen.clone(), token, tls: tls::client(settings)? })
    }

    /// The same at another address: where it really listens.
    pub fn at(self, address: impl Into<String>) -> Self {
        Self { address: address.into(), ..self }
    }

    /// Where it asks.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Gets `path`.
    ///
    /// # Errors
    /// When nothing answers there, or what answers does not speak HTTP.
    pub fn get(&self, path: &str) -> io::Result<Answer> {
        let stream = connect(&self.address)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let Some(tls) = &self.tls else { return self.ask(stream, path) };
        // The certificate itself is compared, so no name of it is asked for.
        let name = ServerName::try_from("kappa").map_err(io::Error::other)?;
        let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
        self.ask(StreamOwned::new(connection, stream), path)
    }

    fn ask(&self, mut stream: impl Read + Write, path: &str) -> io::Result<Answer> {
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!("GET {path} HTTP/1.0\r\nHost: {}\r\nAccept: */*\r\n{token}\r\n", self.address);
        stream.write_all(head.as_bytes())?;
        stream.flush()?;
        let mut bytes = Vec::new();
        stream.take(MAX_ANSWER_BYTES).read_to_end(&mut bytes)?;
        let strange = || io::Error::new(io::ErrorKind::InvalidData, "what answers there does not speak HTTP");
        parse(&bytes).ok_or_else(strange)
    }
}

/// Gets `path` from the process that listens at `address`, without a token or TLS.
///
/// # Errors
/// As [`Caller::get`].
pub fn get(address: &str, path: &str) -> io::Result<Answer> {
    Caller { address: address.to_string(), token: None, tls: None }.get(path)
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::AddrNotAvailable, "the address names no host");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(bytes);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_string() })
}

/// Text as one part of a path or a query's value.
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}
