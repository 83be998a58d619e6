//! docs/first-topology.md as it stands: every command of the page in its order, in one shell, with a real Kafka and a
//! real Redis; what they print is what stands below them.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use crate::support::duckdb::offer_delta_to_duckdb;
use crate::support::kafka;
use crate::support::page;
use crate::support::redis::{RedisServer, free_port};

const PAGE: &str = include_str!("../../docs/first-topology.md");
/// How long one block may take, and how long one that says `until` is asked again.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the shell prints after each block.
const MARK: &str = "@@ the block has ended";

/// Commands, and what stands below them.
struct Block {
    commands: &'static str,
    /// To be asked again until it prints what it should.
    until: bool,
    output: Option<&'static str>,
}

/// The page's blocks: what is fenced as `sh`, and as `text` right after it.
fn blocks() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for (language, text) in page::blocks(PAGE) {
        match language {
            "sh" | "sh until" => {
                blocks.push(Block { commands: text, until: language.ends_with("until"), output: None })
            }
            "text" => {
                let last = blocks.last_mut().expect("an output stands below commands");
                assert!(last.output.replace(text).is_none(), "two outputs below {}", last.commands);
            }
            other => panic!("a block of `{other}`: say how it is to be tested"),
        }
    }
    blocks
}

/// A shell, and all that it starts: ended with the test.
struct Shell {
    child: Child,
    commands: ChildStdin,
    lines: Receiver<String>,
    folder: PathBuf,
}

impl Shell {
    /// Where the page's variables are set to this test's servers, and its programs are on the path.
    fn start(folder: &Path, redis: &RedisServer) -> Self {
        let binary = Path::new(env!("CARGO_BIN_EXE_kappa"));
        let target = binary.parent().and_then(Path::parent).expect("target/debug/kappa");
        let (tools, home, work) = (folder.join("tools"), folder.join("home"), folder.join("work"));
        [&tools, &home, &work].into_iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        kafka::write_tools(&tools);
        let python = python();
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{}:{path}", tools.display(), python.parent().unwrap().display());
        offer_delta_to_duckdb(&python, &home);
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAPPA_")) {
            command.env_remove(name);
        }
        let mut child = command
            .args(["--norc", "-s"])
            .current_dir(&work)
            .envs([("PATH", path), ("KAFKA", kafka::shared().brokers())])
            .envs([("REDIS", format!("127.0.0.1:{}", redis.port()))])
            .envs([("KAPPA_HTTP__LISTEN", format!("127.0.0.1:{}", free_port()))])
            .envs([("CARGO_TARGET_DIR", target), ("HOME", home.as_path())])
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("bash starts");
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let commands = child.stdin.take().unwrap();
        Self { child, commands, lines, folder: folder.to_path_buf() }
    }

    /// Runs a block; what it prints on both streams, without blank lines at its end.
    fn run(&mut self, block: &str) -> String {
        let file = self.folder.join("block.sh");
        std::fs::write(&file, format!("{block}\n")).unwrap();
        // From a file, so that no program of the block reads the commands that follow.
        let line = format!(". '{}' </dev/null 2>&1; printf '\\n{MARK}\\n'\n", file.display());
        self.commands.write_all(line.as_bytes()).unwrap();
        let (until, mut printed) = (Instant::now() + PATIENCE, String::new());
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.unwrap_or_else(|error| panic!("{error}: after {printed:?} of\n{block}"));
            if line == MARK {
                return printed.trim_end().to_string();
            }
            printed.push_str(&line);
            printed.push('\n');
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Its process group: what the page has started in the background too.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-9", "--", &group]).status();
        let _ = self.child.wait();
    }
}

/// The Python with DuckDB, as scripts/deps.sh installs it.
pub fn python() -> PathBuf {
    let own = std::env::var_os("KAPPA_PYTHON").map(PathBuf::from);
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    let python = own.unwrap_or_else(|| home.join(".cache/kappa/venv/bin/python3"));
    assert!(python.exists(), "{} is not there: run scripts/deps.sh", python.display());
    python
}

/// Whether a text is what the page shows, where `<name>` stands for one or more characters of a line.
pub fn is_shown(shown: &str, printed: &str) -> bool {
    let (shown, printed): (Vec<&str>, Vec<&str>) = (shown.trim_end().lines().collect(), printed.lines().collect());
    shown.len() == printed.len() && shown.iter().zip(&printed).all(|(shown, printed)| is_like(shown, printed))
}

fn is_like(shown: &str, printed: &str) -> bool {
    let marker = shown.char_indices().filter(|(_, c)| *c == '<').find_map(|(start, _)| {
        let name = &shown[start + 1..shown[start..].find('>')? + start];
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
        is_name.then_some((start, start + name.len() + 2))
    });
    let Some((start, end)) = marker else { return shown == printed };
    let Some(rest) = printed.strip_prefix(&shown[..start]) else { return false };
    // Whatever stands for the marker: at least one character.
    rest.char_indices()
        .skip(1)
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| at > 0 && is_like(&shown[end..], &rest[at..]))
}

#[test]
fn a_marker_stands_for_something_and_everything_else_for_itself() {
    assert!(is_shown("at <time>, v<number>\nend\n", "at 2026-01-01, v12\nend"));
    assert!(is_shown("a < b <x>", "a < b c") && is_shown("ü<x>", "üü"));
    for printed in ["at , v12\nend", "at 1, v12", "at 1, w12\nend", "at 1, v12\nend\nmore"] {
        assert!(!is_shown("at <time>, v<number>\nend\n", printed), "{printed}");
    }
}

#[test]
fn every_command_of_the_page_prints_what_the_page_shows() {
    let (folder, redis) = (tempfile::tempdir().unwrap(), RedisServer::start(&[]));
    let mut shell = Shell::start(folder.path(), &redis);
    let blocks = blocks();
    for Block { commands, until, output } in &blocks {
        let (began, mut printed) = (Instant::now(), shell.run(commands));
        let Some(output) = output else {
            assert!(!printed.contains("error"), "{printed}\nin\n{commands}");
            continue;
        };
        while *until && !is_shown(output, &printed) && began.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(200));
            printed = shell.run(commands);
        }
        assert!(is_shown(output, &printed), "the page shows\n{output}\nand it prints\n{printed}\nafter\n{commands}");
    }
    assert!(blocks.len() > 20 && blocks.iter().filter(|block| block.output.is_some()).count() > 15, "few blocks");
}
