//! Files of cases: found beside a topology, and read into cases with the place of everything in them.
//!
//! Always holds: all problems of a file are reported at once, by position; what a case names (entities, features, times,
//! values) is checked against the topology as it is read.

use std::path::{Path, PathBuf};

use super::events::{Event, Events};
use super::expect::{Expect, Expecting};
use super::times::{self, Clock};
use super::value::Shown;
use crate::error::{Error, Result};
use crate::time::Millis;
use crate::topology::yaml::{self, Mark, Node, Scalar};
use crate::topology::{Plan, Problem, Problems, did_you_mean, listed};

/// The largest file of cases that is read.
const MAX_BYTES: usize = 256 << 20;

/// One file.
#[derive(Debug)]
pub struct CaseFile {
    pub path: PathBuf,
    pub text: String,
    /// One JSON object a line.
    pub lines: bool,
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug)]
pub struct Case {
    pub name: String,
    pub mark: Mark,
    pub clock: Clock,
    pub events: Vec<Event>,
    /// `None` when nothing is expected yet.
    pub expect: Option<Expect>,
    pub gap: Gap,
}

/// Where expectations go that a case does not have yet.
#[derive(Debug, Clone, Copy)]
pub enum Gap {
    /// After this byte, on a line of their own, as far in as this.
    Below(usize, usize),
    /// At this byte, before the brace that ends the case.
    Inside(usize),
    /// After the line that ends at this byte, as a line of their own.
    Line(usize),
}

/// Problems as they are found.
#[derive(Debug, Default)]
pub struct Reading {
    pub problems: Vec<Problem>,
}

impl Reading {
    pub fn problem(&mut self, at: Mark, found: impl Into<String>, remedy: impl Into<String>) {
        self.problems.push(Problem::new(at, found, remedy));
    }

    /// The entries of a mapping with these keys; others are noted and left out.
    pub fn section<'a>(&mut self, node: &'a Node, place: &str, keys: &[&str]) -> Vec<(&'a Scalar, &'a Node)> {
        let Some(entries) = self.mapping(node, place) else { return vec![] };
        let mut known = vec![];
        for (key, value) in entries {
            match keys.contains(&key.text.as_str()) {
                true => known.push((key, value)),
                false => self.unknown(key, place, "key", keys),
            }
        }
        known
    }

    /// The entries of a mapping.
    pub fn mapping<'a>(&mut self, node: &'a Node, place: &str) -> Option<&'a [(Scalar, Node)]> {
        match node {
            Node::Mapping(mapping) => Some(&mapping.entries),
            _ => {
                let found = format!("{place}: a mapping is expected, found {}", node.describe());
                self.problem(node.mark(), found, "write keys with values");
                None
            }
        }
    }

    /// The items of a list.
    pub fn list<'a>(&mut self, node: &'a Node, place: &str) -> &'a [Node] {
        match node {
            Node::Sequence(sequence) => &sequence.items,
            _ => {
                let found = format!("{place}: a list is expected, found {}", node.describe());
                self.problem(node.mark(), found, "write each of it with `- ` before it, or [] for none");
                &[]
            }
        }
    }

    /// Notes a name that is not among those that can stand here.
    pub fn unknown(&mut self, name: &Scalar, place: &str, what: &str, known: &[&str]) {
        let remedy = match did_you_mean(&name.text, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("what can stand here is {}", listed(known.iter().copied())),
        };
        self.problem(name.mark, format!("{place}: unknown {what} `{}`", name.text), remedy);
    }

    /// A whole number that is not below `least`.
    pub fn number(&mut self, node: &Node, what: &str, least: i64) -> Option<i64> {
        let number = match node {
            Node::Scalar(scalar) => scalar.text.parse().ok().filter(|number| *number >= least),
            _ => None,
        };
        if number.is_none() {
            let found = format!("{what} is {}", node.describe());
            self.problem(node.mark(), found, format!("write a whole number from {least} on"));
        }
        number
    }

    /// A text; inner `None` is null.
    pub fn text_or_null(&mut self, node: &Node, what: &str) -> Option<Option<String>> {
        match node {
            node if node.is_null() => Some(None),
            Node::Scalar(scalar) => Some(Some(scalar.text.clone())),
            _ => {
                self.problem(node.mark(), format!("{what} is {}", node.describe()), "write a text, or null");
                None
            }
        }
    }

    pub fn not_a_time(&mut self, node: &Node) {
        let found = format!("{} is not a time", node.describe());
        self.problem(node.mark(), found, "write it like +10m (after the case's start) or 2026-01-01T00:00:00Z");
    }
}

/// The files of cases of a topology: `<stem>.test.yaml` beside it, and `*.yaml` and `*.jsonl` in `<stem>.tests/`.
pub fn beside(topology: &Path) -> Result<Vec<PathBuf>> {
    let stem = topology.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let (file, folder) =
        (topology.with_file_name(format!("{stem}.test.yaml")), topology.with_file_name(format!("{stem}.tests")));
    let mut found: Vec<PathBuf> = [&file].into_iter().filter(|file| file.exists()).cloned().collect();
    if folder.is_dir() {
        found.extend(in_folder(&folder)?);
    }
    match found.is_empty() {
        true => Err(Error::configuration(format!(
            "{} has no cases: write some in {}, or name their file with --cases",
            topology.display(),
            file.display()
        ))),
        false => Ok(found),
    }
}

/// The files of cases of a folder, by name.
pub fn in_folder(folder: &Path) -> Result<Vec<PathBuf>> {
    let unreadable = |error: std::io::Error| Error::configuration(format!("{}: {error}", folder.display()));
    let is_case = |path: &PathBuf| path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "jsonl");
    let entries = std::fs::read_dir(folder).map_err(unreadable)?;
    let mut found: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>().map_err(unreadable)?;
    found.retain(is_case);
    found.sort();
    Ok(found)
}

/// Reads a file of cases of this plan. With `fill`, cases that expect nothing are no problem.
pub fn read(path: &Path, plan: &Plan, shown: &[Vec<Shown>], fill: bool) -> Result<CaseFile> {
    let name = path.display().to_string();
    let unreadable = |what: String| Error::configuration(format!("{name}: the cases cannot be read: {what}"));
    let text = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    if text.len() > MAX_BYTES {
        return Err(unreadable(format!("the file has more than {MAX_BYTES} bytes; split it")));
    }
    let text = String::from_utf8(text).map_err(|_| unreadable("not UTF-8; save the file as UTF-8".to_string()))?;
    let lines = path.extension().is_some_and(|end| end == "jsonl");
    let mut reader = Reader { plan, shown, reading: Reading::default(), cases: vec![] };
    match lines {
        true => super::lines::read(&mut reader, &text),
        false => reader.yaml(&text),
    }
    let Reader { mut reading, cases, .. } = reader;
    for case in cases.iter().filter(|case| case.expect.is_none() && !fill) {
        reading.problem(
            case.mark,
            format!("`{}` expects nothing", case.name),
            "write `expect`, or let --update write what is found",
        );
    }
    match reading.problems.is_empty() {
        true => Ok(CaseFile { path: path.to_path_buf(), text, lines, cases }),
        false => Err(Problems::new(&name, reading.problems).into()),
    }
}

/// Reads cases.
pub struct Reader<'p> {
    pub plan: &'p Plan,
    pub shown: &'p [Vec<Shown>],
    pub reading: Reading,
    pub cases: Vec<Case>,
}

impl Reader<'_> {
    fn yaml(&mut self, text: &str) {
        let (root, problems) = match yaml::read(text) {
            Ok(read) => read,
            Err(problem) => {
                let remedy = problem.remedy.replace("a topology: see docs/topology.md", "cases: see docs/testing.md");
                return self.reading.problems.push(Problem { remedy, ..problem });
            }
        };
        self.reading.problems.extend(problems);
        let mut start = times::DEFAULT_START;
        let entries = self.reading.section(&root, "the file", &["start", "cases"]);
        for (_, node) in entries.iter().filter(|(key, _)| key.text == "start") {
            start = self.start(node).unwrap_or(start);
        }
        match entries.iter().find(|(key, _)| key.text == "cases") {
            Some((_, node)) => {
                for node in self.reading.list(node, "cases") {
                    self.case(node, start, text);
                }
            }
            None => self.reading.problem(root.mark(), "key `cases` is missing", "write a list of cases under it"),
        }
    }

    fn case(&mut self, node: &Node, start: Millis, text: &str) {
        let entries = self.reading.section(node, "the case", &["name", "start", "events", "expect"]);
        let get = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| *node);
        let mark = node.mark();
        // A key that is not known may be meant for the one that is missing.
        let whole = matches!(node, Node::Mapping(mapping) if mapping.entries.len() == entries.len());
        let name = match get("name") {
            Some(node) => self.name(node),
            None if whole => {
                self.reading.problem(mark, "key `name` is missing", "say what the case shows, in a sentence");
                None
            }
            None => None,
        };
        let start = get("start").and_then(|node| self.start(node)).unwrap_or(start);
        let mut events = Events::new(self.plan, start);
        match get("events") {
            Some(node) => {
                for node in self.reading.list(node, "events") {
                    events.add(node, &mut self.reading);
                }
            }
            None if whole => self.reading.problem(mark, "key `events` is missing", "write the list of events"),
            None => {}
        }
        let clock = events.clock;
        let expect = get("expect").map(|node| self.expect(node, clock));
        let gap = gap(node, text);
        self.cases.push(Case { name: name.unwrap_or_default(), mark, clock, events: events.list, expect, gap });
    }

    /// The expectations of a case.
    pub fn expect(&mut self, node: &Node, clock: Clock) -> Expect {
        Expecting { plan: self.plan, shown: self.shown, clock, reading: &mut self.reading }.read(node)
    }

    /// A case's name.
    pub fn name(&mut self, node: &Node) -> Option<String> {
        let name = self.reading.text_or_null(node, "name")?.filter(|name| !name.trim().is_empty());
        match &name {
            None => self.reading.problem(node.mark(), "the case has no name", "say what it shows, in a sentence"),
            Some(name) if self.cases.iter().any(|case| case.name == *name) => {
                let found = format!("`{name}` is already the name of a case of this file");
                self.reading.problem(node.mark(), found, "give it a name of its own");
            }
            Some(_) => {}
        }
        name
    }

    /// A case's start.
    pub fn start(&mut self, node: &Node) -> Option<Millis> {
        let start = match node {
            Node::Scalar(scalar) => times::read_instant(&scalar.text),
            _ => None,
        };
        if start.is_none() {
            let found = format!("start is {}, a time is expected", node.describe());
            self.reading.problem(node.mark(), found, "write it like 2026-01-01T00:00:00Z");
        }
        start
    }
}

/// Where the expectations of a case would stand.
fn gap(node: &Node, text: &str) -> Gap {
    let span = node.span();
    if text[span.start..].starts_with('{') {
        return Gap::Inside(span.end.saturating_sub(1));
    }
    let indent = node.mark().column.saturating_sub(1) as usize;
    Gap::Below(span.end, indent)
}
