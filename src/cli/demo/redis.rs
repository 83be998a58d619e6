//! A redis-server of the demo's own: its own port and directory, nothing kept, gone with the demo however that ends.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Runs its arguments until its standard input closes, which happens when this process ends, however it does.
const WATCH: &str = "command -v \"$1\" >/dev/null || exit 1; \"$@\" </dev/null & cat >/dev/null; kill -9 $!";

/// A running server; stopped when dropped.
pub struct OwnRedis {
    child: Child,
    pub port: u16,
}

impl OwnRedis {
    /// Starts the redis-server on PATH, its files in `folder`; `None` when there is none, or when it does not start.
    pub fn start(folder: &Path) -> Option<Self> {
        let port = free_port()?;
        let child = Command::new("sh")
            .args(["-c", WATCH, "sh", "redis-server"])
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut own = Self { child, port };
        own.answers().then_some(own)
    }

    fn answers(&mut self) -> bool {
        for _ in 0..100 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            if !matches!(self.child.try_wait(), Ok(None)) {
                return false;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn free_port() -> Option<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").ok()?;
    listener.local_addr().ok().map(|address| address.port())
}
