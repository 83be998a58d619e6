//! Real Redis servers for tests: started on free ports below a temporary directory, killed when dropped, and when the
//! test process ends without dropping them, however that ends.
//!
//! Always holds: nothing is saved to disk, so a restarted server is empty; administration goes over a Unix socket, so
//! TLS, users and passwords under test are not in its way. It stands on `std` and `tempfile` alone, and so serves unit
//! tests and integration tests alike (by `#[path]`). It needs `redis-server` 7 and, for TLS, `openssl` in the PATH.

#![allow(dead_code)]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Becomes its arguments; what stays behind kills that process when its standard input closes, which happens when the
/// test process ends. (A command in the background would read nothing without a descriptor of its own.)
const WATCH: &str = "exec 3<&0; (cat <&3 >/dev/null; kill -9 $$ 2>/dev/null) & exec 3<&-; exec \"$@\" </dev/null";

/// A running server.
pub struct RedisServer {
    directory: tempfile::TempDir,
    port: u16,
    is_tls: bool,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// A port that nobody listens on.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

impl RedisServer {
    /// A plain server; `arguments` as on its command line.
    pub fn start(arguments: &[&str]) -> Self {
        Self::launch(tempfile::tempdir().unwrap(), false, arguments.iter().map(|text| text.to_string()).collect())
    }

    /// A server that speaks TLS only and asks for a certificate; `pem(..)` names the files.
    pub fn start_tls(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_certificates(directory.path());
        let file = |name: &str| directory.path().join(name).display().to_string();
        let mut all: Vec<String> = ["--tls-auth-clients", "yes"].map(String::from).to_vec();
        for (option, name) in
            [("--tls-cert-file", "server.pem"), ("--tls-key-file", "server.key"), ("--tls-ca-cert-file", "ca.pem")]
        {
            all.extend([option.to_string(), file(name)]);
        }
        all.extend(arguments.iter().map(|text| text.to_string()));
        Self::launch(directory, true, all)
    }

    /// A cluster of one node that owns every slot.
    pub fn start_cluster() -> Self {
        let bus = free_port().to_string();
        let server = Self::start(&["--cluster-enabled", "yes", "--cluster-port", &bus]);
        assert_eq!(server.admin(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]), "+OK");
        server.wait("the cluster is up", |server| server.admin(&["CLUSTER", "INFO"]).contains("cluster_state:ok"));
        server
    }

    fn launch(directory: tempfile::TempDir, is_tls: bool, arguments: Vec<String>) -> Self {
        let mut server = Self { directory, port: 0, is_tls, arguments, child: None };
        // The free port may be taken before the server binds it: then try another.
        for _ in 0..5 {
            server.port = free_port();
            if server.spawn() {
                return server;
            }
        }
        let log = std::fs::read_to_string(server.file("log")).unwrap_or_default();
        panic!("redis-server does not start (Debian: apt-get install redis-server): {log}");
    }

    fn spawn(&mut self) -> bool {
        let port = self.port.to_string();
        let ports =
            if self.is_tls { ["--port", "0", "--tls-port", &port] } else { ["--port", &port, "--tls-port", "0"] };
        let child = Command::new("sh")
            .current_dir(self.directory.path())
            .args(["-c", WATCH, "sh", "redis-server"])
            .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--daemonize", "no"])
            .arg("--unixsocket")
            .arg(self.file("socket"))
            .arg("--logfile")
            .arg(self.file("log"))
            .args(ports)
            .args(&self.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("a shell starts");
        self.child = Some(child);
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            // One that asks for a password is up as well.
            if self.try_admin(&["PING"]).is_ok_and(|answer| answer == "+PONG" || answer.starts_with("-NOAUTH")) {
                return true;
            }
            if self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.kill();
        false
    }

    /// `redis://` or `rediss://` with host and port, no user.
    pub fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.is_tls { "rediss" } else { "redis" }, self.port)
    }

    /// The port that it listens on.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// A file below its directory: `ca.pem`, `client.pem` and `client.key` of a TLS server, `log` of any.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Sends a command over the Unix socket: its answer as the protocol writes it, without the last line break.
    pub fn admin(&self, command: &[&str]) -> String {
        self.try_admin(command).unwrap()
    }

    fn try_admin(&self, command: &[&str]) -> std::io::Result<String> {
        let mut socket = UnixStream::connect(self.file("socket"))?;
        let mut request = format!("*{}\r\n", command.len());
        command.iter().for_each(|text| request.push_str(&format!("${}\r\n{text}\r\n", text.len())));
        request.push_str("*1\r\n$4\r\nQUIT\r\n");
        socket.write_all(request.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let answer = answer.strip_suffix("+OK\r\n").unwrap_or(&answer);
        Ok(answer.trim_end().to_string())
    }

    /// kill -9.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().ok();
            // Before the wait, so that what stays behind finds this process or none.
            drop(child.stdin.take());
            child.wait().ok();
        }
    }

    /// Starts it again, empty, on the same port.
    pub fn start_again(&mut self) {
        self.kill();
        assert!(self.spawn(), "redis-server does not start again on port {}", self.port);
    }

    /// Waits until it is so.
    pub fn wait(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let until = Instant::now() + Duration::from_secs(20);
        while !is_so(self) {
            assert!(Instant::now() < until, "waited too long: {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An authority (`ca.pem`), and a certificate of it for the server (`server.pem`, `server.key`) and for a client.
pub fn make_certificates(directory: &Path) {
    let openssl = |arguments: &[&str]| {
        let done = Command::new("openssl").current_dir(directory).args(arguments).output();
        let done = done.expect("openssl must be installed");
        assert!(done.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let authority = ["-x509", "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&["req"], &key[..], &authority[..]].concat());
    for name in ["server", "client"] {
        let (key_file, request, out) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        openssl(&[&["req"], &key[..], &["-subj", &subject, "-keyout", &key_file, "-out", &request]].concat());
        std::fs::write(directory.join("ext"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
        openssl(&[
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "ext",
            "-out",
            &out,
        ]);
    }
}
