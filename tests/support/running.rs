//! A run that goes on beside the test: started, asked, ended. What it says is kept; it dies with the test.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use kappa::http::client;

use super::redis::free_port;
use super::verify::Place;

/// A running kappa, killed when the test ends without its end.
pub struct Live {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Live {
    /// `kappa run` with a place's settings.
    pub fn start(place: &Place<'_>, topology: &Path, more: &[&str]) -> Self {
        let file = topology.display().to_string();
        let mut command = place.kappa(&["run", &file]);
        command.args(more);
        Self::spawn(command)
    }

    /// Any command; what it says on stderr is read as it comes, through a pipe.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("kappa starts");
        let (mut stderr, said) = (child.stderr.take().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let heard = Arc::clone(&said);
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stderr.read(&mut bytes) {
                heard.lock().unwrap().extend_from_slice(&bytes[..count]);
            }
        });
        Self { child, said, reader: Some(reader) }
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.said.lock().unwrap()).into_owned()
    }

    /// SIGTERM, and nothing more.
    pub fn ask_to_end(&self) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// SIGTERM; the exit code and how long it took.
    pub fn terminate(mut self) -> (Option<i32>, Duration) {
        let began = Instant::now();
        self.ask_to_end();
        let status = self.child.wait().unwrap();
        (status.code(), began.elapsed())
    }

    /// kill -9.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself: its exit code, and all that it said.
    pub fn ended(mut self) -> (Option<i32>, String) {
        wait_until("the process ends by itself", || self.child.try_wait().unwrap().is_some());
        let code = self.child.wait().unwrap().code();
        self.reader.take().into_iter().for_each(|reader| reader.join().unwrap());
        (code, self.said())
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("kappa said:\n{}", self.said());
        }
    }
}

/// Asks until it is so; a test that waits in vain fails.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(60), "in vain for a minute: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What Redis answers, without the protocol's marks.
pub fn ask(place: &Place<'_>, command: &[&str]) -> String {
    let answer = place.redis.admin(command);
    answer.lines().last().unwrap_or_default().trim_start_matches(':').to_string()
}

/// An address where nobody listens yet, and the setting that makes a run listen there.
pub fn free_address() -> (String, String) {
    let address = format!("127.0.0.1:{}", free_port());
    let setting = format!("http.listen={address}");
    (address, setting)
}

/// A page of a running process: its status and its text; nothing while nobody listens.
pub fn page(address: &str, path: &str) -> Option<(u16, String)> {
    client::get(address, path).ok().map(|answer| (answer.status, answer.body))
}

/// Whether a process says that it is ready.
pub fn is_ready(address: &str) -> bool {
    page(address, "/ready").is_some_and(|(status, _)| status == 200)
}
