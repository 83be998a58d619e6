//! What a case expects, checked against the topology as it is read.

use std::ops::Range;

use super::file::Reading;
use super::times::Clock;
use super::value::{Shown, Value};
use crate::time::Millis;
use crate::topology::yaml::{Mark, Node, Scalar};
use crate::topology::{OutputType, Plan, ValueType};

const KEYS: [&str; 7] = ["rows", "exactly", "final", "at", "dead_letters", "counts", "stops"];
const DEAD_LETTER: [&str; 4] = ["partition", "offset", "class", "reason"];
const CLASSES: [&str; 4] = ["over_limit", "malformed", "future", "late"];
/// What is counted.
pub const COUNTS: [&str; 12] = [
    "tombstone",
    "over_limit",
    "malformed",
    "filtered",
    "future",
    "late",
    "applied",
    "null_keys",
    "expression_failures",
    "overflows",
    "rows",
    "dead_letters",
];

/// Where something stands in its file.
#[derive(Debug, Clone)]
pub struct Place {
    pub mark: Mark,
    pub span: Range<usize>,
}

impl Place {
    pub fn of(node: &Node) -> Self {
        Self { mark: node.mark(), span: node.span() }
    }
}

/// A column of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Key,
    EventTime,
    KnownAt,
    Partition,
    Offset,
    Sequence,
    /// By index in what the entity shows.
    Shown(usize),
}

/// The columns that every row has, with their names.
pub const FIXED: [(&str, Column); 6] = [
    ("key", Column::Key),
    ("event_time", Column::EventTime),
    ("known_at", Column::KnownAt),
    ("partition", Column::Partition),
    ("offset", Column::Offset),
    ("sequence", Column::Sequence),
];

/// One expected value.
#[derive(Debug, Clone)]
pub struct Cell {
    pub column: Column,
    pub value: Value,
    pub place: Place,
}

/// A mapping of expected values.
#[derive(Debug, Clone)]
pub struct Cells {
    pub place: Place,
    pub cells: Vec<Cell>,
}

/// The expected rows of one entity.
#[derive(Debug, Clone)]
pub struct Rows {
    pub entity: usize,
    pub place: Place,
    pub rows: Vec<Cells>,
}

/// The values of one entity key.
#[derive(Debug, Clone)]
pub struct Standing {
    pub entity: usize,
    pub key: String,
    /// `None` for after the last event.
    pub at: Option<Millis>,
    pub place: Place,
    /// `None`: the key was never seen.
    pub cells: Option<Vec<Cell>>,
}

/// A dead letter; only what is given is compared.
#[derive(Debug, Clone, Default)]
pub struct DeadLetter {
    pub partition: Option<i32>,
    pub offset: Option<i64>,
    pub class: Option<String>,
    /// A part of the reason.
    pub reason: Option<String>,
}

/// What a case expects.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    pub exactly: bool,
    pub rows: Vec<Rows>,
    pub standing: Vec<Standing>,
    pub dead_letters: Option<(Place, Vec<DeadLetter>)>,
    /// Index in [`COUNTS`], and the number.
    pub counts: Vec<(usize, i64, Place)>,
    /// A part of the message with which the task stops.
    pub stops: Option<(Place, String)>,
}

/// Reads expectations.
pub struct Expecting<'a> {
    pub plan: &'a Plan,
    pub shown: &'a [Vec<Shown>],
    pub clock: Clock,
    pub reading: &'a mut Reading,
}

impl Expecting<'_> {
    /// The value of `expect`.
    pub fn read(&mut self, node: &Node) -> Expect {
        let mut expect = Expect::default();
        let entries = self.reading.section(node, "expect", &KEYS);
        if entries.is_empty() {
            self.reading.problem(node.mark(), "`expect` is empty", "write expectations, or remove the key");
        }
        for (key, node) in entries {
            match key.text.as_str() {
                "rows" => expect.rows = self.rows(node),
                "exactly" => expect.exactly = self.exactly(node),
                "final" => self.standing(node, None, &mut expect.standing),
                "at" => self.at(node, &mut expect.standing),
                "dead_letters" => expect.dead_letters = Some((Place::of(node), self.dead_letters(node))),
                "counts" => expect.counts = self.counts(node),
                _ => {
                    let text = self.reading.text_or_null(node, "stops").flatten();
                    expect.stops = Some((Place::of(node), text.unwrap_or_default()));
                }
            }
        }
        if expect.exactly && expect.rows.is_empty() {
            self.reading.problem(node.mark(), "`exactly` without `rows`", "write the rows, or remove `exactly`");
        }
        expect
    }

    fn exactly(&mut self, node: &Node) -> bool {
        match node {
            Node::Scalar(scalar) if scalar.text == "true" => true,
            Node::Scalar(scalar) if scalar.text == "false" => false,
            _ => {
                let found = format!("exactly is {}", node.describe());
                self.reading.problem(node.mark(), found, "write true or false");
                false
            }
        }
    }

    /// The entity of this name, by index.
    fn entity(&mut self, name: &Scalar) -> Option<usize> {
        let found = self.plan.entity(&name.text).map(|(index, _)| index);
        if found.is_none() {
            let known: Vec<&str> = self.plan.entities.iter().map(|entity| entity.name.as_str()).collect();
            self.reading.unknown(name, &format!("topology {}", self.plan.topology), "entity", &known);
        }
        found
    }

    fn rows(&mut self, node: &Node) -> Vec<Rows> {
        let mut all = vec![];
        for (name, node) in self.reading.mapping(node, "rows").unwrap_or_default() {
            let Some(entity) = self.entity(name) else { continue };
            let rows = self.reading.list(node, "rows");
            let rows = rows.iter().map(|row| self.row(row, entity)).collect();
            all.push(Rows { entity, place: Place::of(node), rows });
        }
        all
    }

    fn row(&mut self, node: &Node, entity: usize) -> Cells {
        let entries = self.reading.mapping(node, "a row").unwrap_or_default();
        let mut cells = vec![];
        for (name, node) in entries {
            let fixed = FIXED.iter().find(|(fixed, _)| *fixed == name.text);
            let Some(column) = fixed.map(|(_, column)| *column).or_else(|| self.shown(name, entity, false)) else {
                continue;
            };
            let value = if column == Column::Key { self.key(node) } else { self.value(node, column, entity) };
            cells.extend(value.map(|value| Cell { column, value, place: Place::of(node) }));
        }
        Cells { place: Place::of(node), cells }
    }

    /// A key's text; a key of several parts may be a list of them.
    fn key(&mut self, node: &Node) -> Option<Value> {
        let Node::Sequence(parts) = node else { return self.reading.text_or_null(node, "key")?.map(Value::Str) };
        let part = |part: &Node| match part {
            Node::Scalar(part) if part.plain && part.text.parse::<i64>().is_ok() => Some(part.text.clone()),
            Node::Scalar(part) => Some(serde_json::Value::from(part.text.as_str()).to_string()),
            _ => None,
        };
        let parts: Option<Vec<String>> = parts.items.iter().map(part).collect();
        parts.map(|parts| Value::Str(format!("[{}]", parts.join(","))))
    }

    /// The feature or derived feature of this name.
    fn shown(&mut self, name: &Scalar, entity: usize, with_clock: bool) -> Option<Column> {
        let shown = &self.shown[entity];
        let index = shown.iter().position(|shown| shown.name == name.text);
        match index {
            Some(index) if shown[index].read && !with_clock => {
                let found = format!("`{}` is computed as it is read, and has no value without a clock", name.text);
                self.reading.problem(name.mark, found, "expect it under `at`, where now() is the time named");
                None
            }
            Some(index) => Some(Column::Shown(index)),
            None => {
                let known: Vec<&str> = shown.iter().map(|shown| shown.name.as_str()).collect();
                let place = format!("entity `{}`", self.plan.entities[entity].name);
                self.reading.unknown(name, &place, "feature", &known);
                None
            }
        }
    }

    fn value(&mut self, node: &Node, column: Column, entity: usize) -> Option<Value> {
        let scalar = |ty| OutputType::Scalar(ty);
        let ty = match column {
            Column::Key => scalar(ValueType::String),
            Column::EventTime | Column::KnownAt => scalar(ValueType::Timestamp),
            Column::Partition | Column::Offset | Column::Sequence => scalar(ValueType::Int64),
            Column::Shown(index) => self.shown[entity][index].ty.clone(),
        };
        match Value::read(node, &ty, &self.clock) {
            Ok(value) => Some(value),
            Err((mark, found, remedy)) => {
                self.reading.problem(mark, found, remedy);
                None
            }
        }
    }

    fn at(&mut self, node: &Node, standing: &mut Vec<Standing>) {
        for (time, node) in self.reading.mapping(node, "at").unwrap_or_default() {
            match self.clock.read(&time.text) {
                Some(at) => self.standing(node, Some(at), standing),
                None => self.reading.not_a_time(&Node::Scalar(time.clone())),
            }
        }
    }

    fn standing(&mut self, node: &Node, at: Option<Millis>, standing: &mut Vec<Standing>) {
        for (name, keys) in self.reading.mapping(node, "final").unwrap_or_default() {
            let Some(entity) = self.entity(name) else { continue };
            for (key, node) in self.reading.mapping(keys, &name.text).unwrap_or_default() {
                let cells = if node.is_null() { None } else { Some(self.features(node, entity, at.is_some())) };
                standing.push(Standing { entity, key: key.text.clone(), at, place: Place::of(node), cells });
            }
        }
    }

    fn features(&mut self, node: &Node, entity: usize, with_clock: bool) -> Vec<Cell> {
        let mut cells = vec![];
        for (name, node) in self.reading.mapping(node, "an entity's features").unwrap_or_default() {
            let Some(column) = self.shown(name, entity, with_clock) else { continue };
            let value = self.value(node, column, entity);
            cells.extend(value.map(|value| Cell { column, value, place: Place::of(node) }));
        }
        cells
    }

    fn dead_letters(&mut self, node: &Node) -> Vec<DeadLetter> {
        let nodes = self.reading.list(node, "dead_letters");
        nodes.iter().map(|node| self.dead_letter(node)).collect()
    }

    fn dead_letter(&mut self, node: &Node) -> DeadLetter {
        let mut letter = DeadLetter::default();
        for (key, node) in self.reading.section(node, "a dead letter", &DEAD_LETTER) {
            match (key.text.as_str(), node) {
                ("partition", node) => letter.partition = self.reading.number(node, "partition", 0).map(|n| n as i32),
                ("offset", node) => letter.offset = self.reading.number(node, "offset", 0),
                ("reason", node) => letter.reason = self.reading.text_or_null(node, "reason").flatten(),
                (_, Node::Scalar(class)) if !CLASSES.contains(&class.text.as_str()) => {
                    self.reading.unknown(class, "a dead letter", "class", &CLASSES);
                }
                (_, node) => letter.class = self.reading.text_or_null(node, "class").flatten(),
            }
        }
        letter
    }

    fn counts(&mut self, node: &Node) -> Vec<(usize, i64, Place)> {
        let entries = self.reading.section(node, "counts", &COUNTS);
        let count = |(key, node): (&Scalar, &Node)| {
            let index = COUNTS.iter().position(|name| *name == key.text)?;
            Some((index, self.reading.number(node, &key.text, 0)?, Place::of(node)))
        };
        entries.into_iter().filter_map(count).collect()
    }
}
