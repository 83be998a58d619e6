//! YAML as a small tree of our own in which every key and every value knows its line and column.
//!
//! Always holds: keys of a mapping are scalars and differ; aliases are replaced by what they name; a tree has at most
//! [`MAX_NODES`] nodes. Types are not guessed: a scalar is its text, and what reads it decides. Tags, merge keys and
//! several documents in one file are left out: a topology has no use for them, and each hides what a file says.

use std::collections::HashMap;
use std::ops::Range;

use serde_saphyr::granit_parser::{ErrorKind, Event, Options, Parser, ScalarStyle, ScanError, Span};

use super::problems::Problem;

/// Nodes of one file, aliases expanded: a bound against files that grow when read.
pub(crate) const MAX_NODES: usize = 100_000;

/// A position, both counted from 1; columns are characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    pub line: u32,
    pub column: u32,
}

/// A text with its position.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    pub text: String,
    pub mark: Mark,
    /// Not quoted and not a block.
    pub plain: bool,
    /// Its bytes in the file, quotes included.
    pub span: Range<usize>,
    /// The source text, quotes included, when it stands on one line.
    raw: Option<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub mark: Mark,
    /// Its bytes in the file, from the first bracket or item to the last.
    pub span: Range<usize>,
    pub items: Vec<Node>,
}

#[derive(Debug, Clone)]
pub(crate) struct Mapping {
    pub mark: Mark,
    /// Its bytes in the file, from the first bracket or key to the last value.
    pub span: Range<usize>,
    pub entries: Vec<(Scalar, Node)>,
}

#[derive(Debug, Clone)]
pub(crate) enum Node {
    Scalar(Scalar),
    Sequence(Sequence),
    Mapping(Mapping),
}

impl Scalar {
    /// Whether it says nothing: absent, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.plain && matches!(self.text.as_str(), "" | "~" | "null" | "Null" | "NULL")
    }

    /// The position of byte `at` of the text: exact on one line, otherwise (a block, a folded text) the scalar's start.
    pub fn mark_at(&self, at: usize) -> Mark {
        let (Some(raw), Some(before)) = (&self.raw, self.text.get(..at)) else { return self.mark };
        let quote = raw.chars().next().filter(|_| !self.plain);
        let mut source = raw.chars().skip(usize::from(quote.is_some()));
        let mut columns = u32::from(quote.is_some());
        for _ in before.chars() {
            columns += match (source.next(), quote) {
                (Some('\\'), Some('"')) => 1 + skip_escape(&mut source),
                (Some('\''), Some('\'')) => 1 + u32::from(source.next().is_some()),
                _ => 1,
            };
        }
        Mark { line: self.mark.line, column: self.mark.column + columns }
    }
}

/// Steps over what follows the backslash of a double-quoted scalar; returns its length in characters.
fn skip_escape(source: &mut impl Iterator<Item = char>) -> u32 {
    let digits = match source.next() {
        Some('x') => 2,
        Some('u') => 4,
        Some('U') => 8,
        _ => 0,
    };
    1 + source.take(digits).count() as u32
}

impl Node {
    pub fn mark(&self) -> Mark {
        match self {
            Node::Scalar(scalar) => scalar.mark,
            Node::Sequence(sequence) => sequence.mark,
            Node::Mapping(mapping) => mapping.mark,
        }
    }

    /// Its bytes in the file.
    pub fn span(&self) -> Range<usize> {
        match self {
            Node::Scalar(scalar) => scalar.span.clone(),
            Node::Sequence(sequence) => sequence.span.clone(),
            Node::Mapping(mapping) => mapping.span.clone(),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(self, Node::Scalar(scalar) if scalar.is_null())
    }

    /// What it is, for a message: "nothing", "`text`", "a list", "a mapping".
    pub fn describe(&self) -> String {
        match self {
            Node::Scalar(scalar) if scalar.is_null() => "nothing".to_string(),
            Node::Scalar(scalar) => format!("`{}`", scalar.text),
            Node::Sequence(_) => "a list".to_string(),
            Node::Mapping(_) => "a mapping".to_string(),
        }
    }
}

/// The tree of a file, and the problems that do not hide the rest of it; `Err` when the file cannot be read as YAML.
pub(crate) fn read(yaml: &str) -> Result<(Node, Vec<Problem>), Problem> {
    let mut options = Options::default();
    options.emit_comments = false;
    let parser = Parser::new_from_str_with_options(yaml, options);
    let mut reader = Reader { yaml, parser, anchors: HashMap::new(), nodes: 0, end: 0, problems: vec![] };
    let root = reader.document()?;
    Ok((root, reader.problems))
}

struct Reader<'a, P> {
    yaml: &'a str,
    parser: P,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    /// Where the last value ends: an alias where it stands, not where its value does.
    end: usize,
    problems: Vec<Problem>,
}

impl<'a, P: Iterator<Item = Result<(Event<'a>, Span), ScanError>>> Reader<'a, P> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.parser.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => Err(syntax(&error)),
            None => Err(Problem::new(START, "the file ends too early", "write a topology: see docs/topology.md")),
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut root: Option<Node> = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamStart | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                Event::DocumentStart(..) if root.is_none() => {
                    let (event, span) = self.next()?;
                    root = Some(self.node(event, span)?);
                }
                _ => {
                    let found = "a second document begins here";
                    return Err(Problem::new(mark(&span), found, "write one document a file and remove the `---`"));
                }
            }
        }
        root.ok_or_else(|| Problem::new(START, "the file is empty", "write a topology: see docs/topology.md"))
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Node, Problem> {
        let at = mark(&span);
        if matches!(event, Event::Scalar(..) | Event::Alias(_)) {
            self.end = bytes(&span).end;
        }
        let aliased = matches!(event, Event::Alias(_));
        let (node, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (Node::Scalar(self.scalar(text.into_owned(), style, &span)), anchor, tag)
            }
            Event::SequenceStart(_, anchor, tag) => (Node::Sequence(self.sequence(at, &span)?), anchor, tag),
            Event::MappingStart(_, anchor, tag) => (Node::Mapping(self.mapping(at, &span)?), anchor, tag),
            Event::Alias(anchor) => match self.anchors.get(&anchor).cloned() {
                Some(node) => (node, 0, None),
                None => return Err(Problem::new(at, "an alias names what holds it", "write the value out")),
            },
            _ => return Err(Problem::new(at, "no value stands here", "write a value or remove the key")),
        };
        if let Some(tag) = tag {
            self.problems.push(Problem::new(at, format!("tag `{}` means nothing here", tag.original()), "remove it"));
        }
        self.nodes += if aliased { size(&node) } else { 1 };
        if self.nodes > MAX_NODES {
            return Err(Problem::new(at, format!("the file has more than {MAX_NODES} values"), "make it smaller"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn scalar(&self, text: String, style: ScalarStyle, span: &Span) -> Scalar {
        let one_line = matches!(style, ScalarStyle::Plain | ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted)
            && span.start.line() == span.end.line();
        let raw = span.slice(self.yaml).filter(|_| one_line).map(str::to_string);
        Scalar { text, mark: mark(span), plain: style == ScalarStyle::Plain, span: bytes(span), raw }
    }

    fn sequence(&mut self, mark: Mark, start: &Span) -> Result<Sequence, Problem> {
        let mut items: Vec<Node> = vec![];
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                let span = self.whole(start, &span);
                return Ok(Sequence { mark, span, items });
            }
            items.push(self.node(event, span)?);
        }
    }

    /// The bytes of a collection: to its bracket, or where it has none to the end of its last value.
    fn whole(&mut self, start: &Span, end: &Span) -> Range<usize> {
        let from = bytes(start).start;
        if self.yaml.get(from..).is_some_and(|text| text.starts_with(['[', '{'])) {
            self.end = bytes(end).end;
        }
        from..self.end.max(from)
    }

    fn mapping(&mut self, mark: Mark, start: &Span) -> Result<Mapping, Problem> {
        let mut entries: Vec<(Scalar, Node)> = vec![];
        let mut lines: HashMap<String, u32> = HashMap::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                let span = self.whole(start, &span);
                return Ok(Mapping { mark, span, entries });
            }
            let key = self.node(event, span)?;
            let (event, span) = self.next()?;
            let value = self.node(event, span)?;
            let Node::Scalar(key) = key else {
                let found = format!("{} stands where a key is expected", key.describe());
                self.problems.push(Problem::new(key.mark(), found, "write a name, a colon and a value"));
                continue;
            };
            if let Some(line) = lines.insert(key.text.clone(), key.mark.line) {
                let found = format!("key `{}` appears twice, first in line {line}", key.text);
                self.problems.push(Problem::new(key.mark, found, "keep one of them"));
                continue;
            }
            entries.push((key, value));
        }
    }
}

const START: Mark = Mark { line: 1, column: 1 };

fn mark(span: &Span) -> Mark {
    Mark { line: span.start.line() as u32, column: span.start.col() as u32 + 1 }
}

/// The bytes of an event; none where the parser does not know them, which is never so for text in memory.
fn bytes(span: &Span) -> Range<usize> {
    span.byte_range().unwrap_or_default()
}

/// Nodes of a whole value, which an alias adds at once.
fn size(node: &Node) -> usize {
    match node {
        Node::Scalar(_) => 1,
        Node::Sequence(sequence) => 1 + sequence.items.iter().map(size).sum::<usize>(),
        Node::Mapping(mapping) => 1 + mapping.entries.iter().map(|(_, value)| 1 + size(value)).sum::<usize>(),
    }
}

fn syntax(error: &ScanError) -> Problem {
    let at = error.marker();
    let at = Mark { line: (at.line() as u32).max(1), column: at.col() as u32 + 1 };
    let remedy = match error.kind() {
        ErrorKind::MissingAnchorOrAliasName | ErrorKind::UnknownAnchor => "quote text that begins with `*`, like \"*\"",
        ErrorKind::TabInBlockIndentation | ErrorKind::TabInIndentation | ErrorKind::TabNotAllowed => {
            "indent with spaces"
        }
        _ => "check the indentation, quotes and brackets here, and quote text that holds `: `, ` #` or a comma",
    };
    Problem::new(at, format!("not YAML: {}", error.info()), remedy)
}
