//! Cases as JSON lines, for long ones: `{"case": "name"}` begins a case, `{"event": ...}` adds an event to it and
//! `{"expect": {...}}` says what is expected of it.

use super::events::Events;
use super::file::{Case, Gap, Reader};
use super::times;
use crate::topology::yaml::{self, Mark, Node, Scalar};

const KEYS: [&str; 4] = ["case", "start", "event", "expect"];

/// Reads all cases of a text.
pub fn read(reader: &mut Reader<'_>, text: &str) {
    let plan = reader.plan;
    let mut open: Option<(Case, Events<'_>)> = None;
    let mut from = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let place = Offset { line: number as u32, byte: from };
        from += line.len();
        if line.trim().is_empty() {
            continue;
        }
        let mut node = match yaml::read(line.trim_end()) {
            Ok((node, problems)) if problems.is_empty() => node,
            Ok((_, problems)) => {
                reader.reading.problems.extend(problems.into_iter().map(|problem| place.problem(problem)));
                continue;
            }
            Err(problem) => {
                reader.reading.problems.push(place.problem(problem));
                continue;
            }
        };
        place.node(&mut node);
        let entries = reader.reading.section(&node, "the line", &KEYS);
        let get = |name: &str| entries.iter().find(|(key, _)| key.text == name).map(|(_, node)| *node);
        if let Some(name) = get("case") {
            close(reader, open.take());
            let start = get("start").and_then(|node| reader.start(node)).unwrap_or(times::DEFAULT_START);
            let name = reader.name(name).unwrap_or_default();
            let events = Events::new(plan, start);
            let clock = events.clock;
            let case = Case { name, mark: node.mark(), clock, events: vec![], expect: None, gap: Gap::Line(from) };
            open = Some((case, events));
        }
        let Some((case, events)) = &mut open else {
            reader.reading.problem(node.mark(), "no case has begun", "begin one with {\"case\": \"its name\"}");
            continue;
        };
        case.gap = Gap::Line(from);
        if let Some(event) = get("event") {
            events.add(event, &mut reader.reading);
        }
        if let Some(expect) = get("expect") {
            if case.expect.is_some() {
                let found = "the case has expectations already";
                reader.reading.problem(expect.mark(), found, "write all of them in one line");
            }
            case.expect = Some(reader.expect(expect, events.clock));
        }
    }
    close(reader, open);
    if reader.cases.is_empty() && reader.reading.problems.is_empty() {
        let remedy = "begin a case with {\"case\": \"its name\"}";
        reader.reading.problem(Mark { line: 1, column: 1 }, "the file has no case", remedy);
    }
}

fn close(reader: &mut Reader<'_>, open: Option<(Case, Events<'_>)>) {
    if let Some((case, events)) = open {
        reader.cases.push(Case { clock: events.clock, events: events.list, ..case });
    }
}

/// Where a line begins.
#[derive(Clone, Copy)]
struct Offset {
    line: u32,
    byte: usize,
}

impl Offset {
    fn problem(self, problem: crate::topology::Problem) -> crate::topology::Problem {
        crate::topology::Problem { line: problem.line + self.line, ..problem }
    }

    fn scalar(self, scalar: &mut Scalar) {
        scalar.mark.line += self.line;
        scalar.span = scalar.span.start + self.byte..scalar.span.end + self.byte;
    }

    /// Moves everything in a node from its line to its file.
    fn node(self, node: &mut Node) {
        let (mark, span) = match node {
            Node::Scalar(scalar) => return self.scalar(scalar),
            Node::Sequence(sequence) => {
                sequence.items.iter_mut().for_each(|item| self.node(item));
                (&mut sequence.mark, &mut sequence.span)
            }
            Node::Mapping(mapping) => {
                for (key, value) in &mut mapping.entries {
                    self.scalar(key);
                    self.node(value);
                }
                (&mut mapping.mark, &mut mapping.span)
            }
        };
        mark.line += self.line;
        *span = span.start + self.byte..span.end + self.byte;
    }
}
