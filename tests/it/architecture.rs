//! The walls of the house: what may import what, and where each client library lives.
//!
//! Reads the sources as text, comments and literals blanked, and looks at every path in them, tests included. What it
//! cannot see (a path made by a macro) is left to reviewers.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the ground up. A file may name rooms below its own, and its own.
const FLOORS: [&[&str]; 16] = [
    &["error"],
    &["time"],
    &["config", "metrics"],
    &["expr"],
    &["topology"],
    &["decode"],
    &["aggregate"],
    &["window"],
    &["state"],
    &["lake"],
    &["sink", "source"],
    &["task"],
    &["runtime"],
    &["features"],
    &["http"],
    &["cli"],
];

/// Each library and the only places (below `src/`) that may name it.
const LIBRARIES: [(&str, &[&str]); 21] = [
    ("rdkafka", &["source/"]),
    ("rdkafka_sys", &["source/"]),
    ("redis", &["sink/online/redis"]),
    ("prost", &["sink/online/redis/feast"]),
    ("murmur3", &["sink/online/redis/feast"]),
    ("rocksdb", &["state/rocksdb"]),
    ("deltalake", &["lake/", "sink/offline/"]),
    ("datafusion", &["expr/"]),
    ("prometheus", &["metrics/"]),
    ("axum", &["http/"]),
    ("hyper", &["http/"]),
    ("hyper_util", &["http/"]),
    ("tower", &["http/"]),
    ("tokio_rustls", &["http/"]),
    ("clap", &["cli/"]),
    ("indicatif", &["cli/"]),
    ("tracing_subscriber", &["cli/"]),
    ("anyhow", &["cli/"]),
    ("mimalloc", &["main"]),
    ("schemars", &["topology/"]),
    ("object_store", &["lake/", "sink/offline/"]),
];

/// Rooms whose results may depend on nothing but their arguments: no clock, no chance, no threads.
const PURE: [&str; 7] = ["time", "expr", "topology", "decode", "aggregate", "window", "task"];
const IMPURE: [&str; 6] = ["SystemTime", "Instant::now", "thread_rng", "RandomState", "thread::spawn", "tokio"];

const MAX_LINES: usize = 500;

/// A source file: its path below `src/`, its text, and the text with comments and literals blanked.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    /// The room it is in: `sink` for `sink/online/redis.rs`, `time` for `time.rs`.
    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap_or_default()
    }

    /// How deep its module is: 1 for `time.rs` and `sink/mod.rs`, 2 for `sink/online/mod.rs`.
    fn depth(&self) -> usize {
        self.path.matches('/').count() + usize::from(!self.path.ends_with("/mod.rs"))
    }

    /// `main.rs` and `lib.rs` only assemble.
    fn is_root(&self) -> bool {
        matches!(self.path.as_str(), "main.rs" | "lib.rs")
    }
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files
        .iter()
        .map(|file| {
            let text = fs::read_to_string(file).unwrap();
            let path = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            Source { path, code: blanked(&text), text }
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

/// The same text with every comment, string and character literal replaced by blanks; lines stay where they are.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = literal_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none begins there.
fn literal_end(chars: &[char], at: usize) -> usize {
    let starts = |text: &str| text.chars().enumerate().all(|(i, c)| chars.get(at + i) == Some(&c));
    if starts("//") {
        return (at..chars.len()).find(|&i| chars[i] == '\n').unwrap_or(chars.len());
    }
    if starts("/*") {
        return block_comment_end(chars, at);
    }
    let in_word = at > 0 && is_word(chars[at - 1]);
    if chars[at] == 'r' && !in_word {
        let hashes = chars[at + 1..].iter().take_while(|c| **c == '#').count();
        if chars.get(at + 1 + hashes) == Some(&'"') {
            let from = at + 2 + hashes;
            let closes = |i: usize| chars[i] == '"' && (1..=hashes).all(|n| chars.get(i + n) == Some(&'#'));
            return (from..chars.len()).find(|&i| closes(i)).map_or(chars.len(), |i| i + 1 + hashes);
        }
    }
    match chars[at] {
        '"' => quoted_end(chars, at, '"'),
        // A lifetime is not a literal: 'a' closes after one character, or after an escape.
        '\'' if chars.get(at + 1) == Some(&'\\') || chars.get(at + 2) == Some(&'\'') => quoted_end(chars, at, '\''),
        _ => at,
    }
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every place where `word` stands as a whole word: its byte offset.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word).map(|(at, _)| at).filter(move |&at| {
        !code[..at].chars().next_back().is_some_and(is_word)
            && !code[at + word.len()..].chars().next().is_some_and(is_word)
    })
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The rooms that `crate::` paths name: (room, line). `crate::{a::X, b}` names two.
fn named_rooms(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for at in words(code, "crate") {
        let Some(rest) = code[at + "crate".len()..].strip_prefix("::") else { continue };
        let line = line_of(code, at);
        match rest.strip_prefix('{') {
            Some(group) => found.extend(first_names(group).into_iter().map(|room| (room, line))),
            None => found.push((rest.chars().take_while(|c| is_word(*c)).collect(), line)),
        }
    }
    found
}

/// The first name of every path in a `{...}` group, whose opening brace has been taken.
fn first_names(group: &str) -> Vec<String> {
    let (mut names, mut depth, mut fresh) = (Vec::new(), 1, true);
    let mut rest = group.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => fresh = true,
            c if fresh && is_word(c) => {
                let mut name = String::from(c);
                while let Some(c) = rest.next_if(|c| is_word(*c)) {
                    name.push(c);
                }
                names.push(name);
                fresh = false;
            }
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    names
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

fn none(problems: Vec<String>) {
    assert!(problems.is_empty(), "\n{}\n", problems.join("\n"));
}

#[test]
fn imports_point_down_only() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.is_root()) {
        let Some(own) = floor(source.room()) else {
            problems.push(format!("src/{}: its room is not on any floor", source.path));
            continue;
        };
        for (room, line) in named_rooms(&source.code) {
            // What is not a room is an item of the crate's root, which holds none.
            let allowed = room == source.room() || floor(&room).is_some_and(|floor| floor < own);
            if !allowed {
                problems.push(format!("src/{}:{line}: `crate::{room}` is not below `{}`", source.path, source.room()));
            }
        }
    }
    none(problems);
}

#[test]
fn super_does_not_lead_out_of_a_room() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| !source.is_root()) {
        for at in words(&source.code, "super").filter(|&at| !source.code[..at].ends_with("super::")) {
            let chain = source.code[at..].split("::").take_while(|part| part.trim() == "super").count();
            // A room's own depth is 1, the crate's root is 0.
            if source.depth() + modules_around(&source.code, at) <= chain {
                let line = line_of(&source.code, at);
                problems.push(format!("src/{}:{line}: write `crate::...` instead of `super::`", source.path));
            }
        }
    }
    none(problems);
}

/// How many `mod name { ... }` a place is in.
fn modules_around(code: &str, at: usize) -> usize {
    let mut open = Vec::new();
    for (brace, c) in code[..at].char_indices() {
        match c {
            '{' => {
                let mut before = code[..brace].split_whitespace().rev();
                open.push(before.nth(1) == Some("mod"));
            }
            '}' => drop(open.pop()),
            _ => {}
        }
    }
    open.into_iter().filter(|is_module| *is_module).count()
}

#[test]
fn each_client_library_lives_in_one_room() {
    let mut problems = Vec::new();
    for source in sources() {
        for (library, rooms) in LIBRARIES {
            let at_home = rooms.iter().any(|room| source.path.starts_with(room));
            let uses = words(&source.code, library).find(|&at| names_library(&source.code, at, library));
            if let Some(at) = uses.filter(|_| !at_home) {
                let line = line_of(&source.code, at);
                problems.push(format!("src/{}:{line}: `{library}` lives in {}", source.path, rooms.join(", ")));
            }
        }
    }
    none(problems);
}

/// Whether the word at `at` is the crate and not a module or a field of the same name: it begins a path.
fn names_library(code: &str, at: usize, library: &str) -> bool {
    let (before, after) = (code[..at].trim_end(), &code[at + library.len()..]);
    let path_goes_on = before.ends_with("::") && !is_absolute(before);
    if path_goes_on || before.ends_with('.') || before.ends_with("mod") {
        return false;
    }
    after.starts_with("::") || before.ends_with("use") && (after.starts_with(';') || after.starts_with(" as "))
}

/// `::redis` is the crate, `online::redis` is not.
fn is_absolute(before: &str) -> bool {
    !before.trim_end_matches("::").chars().next_back().is_some_and(|c| is_word(c) || c == '>')
}

#[test]
fn what_decides_values_has_no_clock_and_no_chance() {
    let mut problems = Vec::new();
    for source in sources().iter().filter(|source| PURE.contains(&source.room())) {
        let code = source.code.split("#[cfg(test)]").next().unwrap_or_default();
        for word in IMPURE {
            if let Some(at) = words(code, word).next() {
                problems.push(format!("src/{}:{}: `{word}` in a pure room", source.path, line_of(code, at)));
            }
        }
    }
    none(problems);
}

#[test]
fn every_file_opens_with_what_it_is() {
    let silent = sources().into_iter().filter(|source| !source.text.starts_with("//! "));
    none(silent.map(|source| format!("src/{}: has no `//!` header", source.path)).collect());
}

#[test]
fn no_file_is_longer_than_five_hundred_lines() {
    let long = sources().into_iter().map(|source| (source.text.lines().count(), source.path));
    let long = long.filter(|(lines, _)| *lines > MAX_LINES);
    none(long.map(|(lines, path)| format!("src/{path}: {lines} lines")).collect());
}

#[test]
fn the_reader_of_sources_sees_what_it_must() {
    let code = blanked(
        "use crate::{a::X, b::{C, d}, e}; // crate::f\nlet s = \"crate::g\"; let c = '\"'; crate::h::i(r#\"x\"#);\n/* crate::j */ fn f<'a>() {}",
    );
    let rooms: Vec<String> = named_rooms(&code).into_iter().map(|(room, _)| room).collect();
    assert_eq!(rooms, ["a", "b", "e", "h"]);
    let libraries = |code: &str| words(code, "redis").filter(|&at| names_library(code, at, "redis")).count();
    assert_eq!(libraries("use redis::Client; use redis; let x = ::redis::cmd(); use redis as r;"), 4);
    assert_eq!(
        libraries("mod redis; use self::redis::A; settings.redis.url; crate::sink::redis::B; let redis = 1;"),
        0
    );
}
