//! What every walker over the tree shares: sections with known keys, texts, durations, sizes and SQL.
//!
//! Always holds: a walker that finds a problem notes it and goes on with what is left, so one reading finds them all;
//! `None` from a function here means "absent, or already noted". A problem that only follows from another (a missing
//! key beside a misspelled one, SQL over a field whose type is wrong) is not noted.

use std::collections::HashSet;

use arrow::datatypes::{DataType, TimeUnit as ArrowUnit};

use super::keys::{Key, Value, WINDOWS, did_you_mean, listed, other_word};
use super::plan::{Field, schema_of};
use super::problems::Problem;
use super::types::ValueType;
use super::yaml::{Mark, Node, Scalar};
use crate::expr::{ExprId, ExprSet};
use crate::time::{Millis, Span};

/// The longest duration: about 10,000 years, so that no sum of times overflows.
pub(super) const MAX_DURATION: Millis = 3_650_000 * 86_400_000;

/// The state of one validation.
pub(super) struct Walk {
    pub problems: Vec<Problem>,
    pub exprs: ExprSet,
    /// Whether the schema could be read at all: without it no SQL can be judged.
    has_schema: bool,
    /// Names of fields that have problems of their own.
    broken: HashSet<String>,
}

/// A mapping whose keys are known.
pub(super) struct Section<'a> {
    /// The part of the topology, for messages.
    pub place: String,
    /// Where to point when something is missing.
    pub at: Mark,
    /// Whether it has keys that are unknown or not built yet: what misses may be one of them.
    pub excused: bool,
    entries: Vec<(&'a Scalar, &'a Node)>,
}

impl<'a> Section<'a> {
    pub fn get(&self, name: &str) -> Option<(&'a Scalar, &'a Node)> {
        self.entries.iter().find(|(key, _)| key.text == name).copied()
    }

    /// Entries in the file's order.
    pub fn entries(&self) -> &[(&'a Scalar, &'a Node)] {
        &self.entries
    }
}

/// A compiled expression and the type of its value.
#[derive(Debug, Clone, Copy)]
pub(super) struct Compiled {
    pub id: ExprId,
    pub ty: ValueType,
}

impl Walk {
    pub fn new(problems: Vec<Problem>) -> Self {
        let exprs = ExprSet::new(schema_of(&[]));
        Self { problems, exprs, has_schema: false, broken: HashSet::new() }
    }

    pub fn problem(&mut self, at: Mark, place: &str, found: impl AsRef<str>, remedy: impl Into<String>) {
        let found = found.as_ref();
        let message = if place.is_empty() { found.to_string() } else { format!("{place}: {found}") };
        self.problems.push(Problem::new(at, message, remedy));
    }

    /// Declares the columns that SQL may read, and the fields that are declared wrongly.
    pub fn declare(&mut self, fields: &[Field], broken: HashSet<String>) {
        self.exprs = ExprSet::new(schema_of(fields));
        self.has_schema = true;
        self.broken = broken;
    }

    pub fn has_schema(&self) -> bool {
        self.has_schema
    }

    /// Whether this field is declared, but wrongly: nothing more is to be said about it.
    pub fn is_broken(&self, field: &str) -> bool {
        self.broken.contains(field)
    }

    /// Reads a mapping with these keys; `at` is where to point when one misses.
    pub fn section<'a>(
        &mut self,
        node: &'a Node,
        at: Mark,
        place: &str,
        keys: &'static [Key],
        later: &[&str],
    ) -> Option<Section<'a>> {
        let Node::Mapping(mapping) = node else {
            let names = listed(keys.iter().map(|key| key.name));
            let found = format!("a mapping is expected, found {}", node.describe());
            self.problem(node.mark(), place, found, format!("write keys with values; the keys here are {names}"));
            return None;
        };
        let mut section = Section { place: place.to_string(), at, excused: false, entries: vec![] };
        let mut meant = vec![];
        for (key, value) in &mapping.entries {
            match keys.iter().find(|known| known.name == key.text) {
                Some(known) if value.is_null() && !matches!(known.value, Value::OneOf(&["null"]) | Value::Constant) => {
                    meant.push(known.name);
                    section.excused = true;
                    self.problem(
                        key.mark,
                        place,
                        format!("`{}` has no value", key.text),
                        "write one or remove the key",
                    );
                }
                Some(_) => section.entries.push((key, value)),
                None => {
                    section.excused = true;
                    meant.extend(self.unknown_key(key, value, place, keys, later));
                }
            }
        }
        for key in keys.iter().filter(|key| key.required) {
            if section.get(key.name).is_none() && !meant.contains(&key.name) {
                self.problem(at, place, format!("key `{}` is missing", key.name), key.remedy());
            }
        }
        Some(section)
    }

    /// Notes a key that is not known here; answers with the known one that was probably meant.
    fn unknown_key(
        &mut self,
        key: &Scalar,
        value: &Node,
        place: &str,
        keys: &'static [Key],
        later: &[&str],
    ) -> Option<&'static str> {
        if later.contains(&key.text.as_str()) {
            self.not_yet(key.mark, place, &key.text, "remove it for now");
            return None;
        }
        let names = || keys.iter().map(|known| known.name);
        let ours = other_word(&key.text).filter(|word| names().any(|name| name == *word));
        let meant = ours.or_else(|| did_you_mean(&key.text, names()));
        let remedy = match meant {
            Some(name) => format!("did you mean `{name}`?"),
            None if WINDOWS.contains(&key.text.as_str()) => {
                format!("it is a kind of window: write `window: {{{}: ...}}`", key.text)
            }
            None if value.is_null() => "quote a value that holds a comma".to_string(),
            None if key.text == "slide" => "write it beside `window`".to_string(),
            None if key.text == "<<" => "write the keys out: merging is not supported".to_string(),
            None => format!("the keys here are {}", listed(keys.iter().map(|known| known.name))),
        };
        self.problem(key.mark, place, format!("unknown key `{}`", key.text), remedy);
        meant
    }

    /// Notes a part of the language that is known and not built yet.
    pub fn not_yet(&mut self, at: Mark, place: &str, name: &str, remedy: &str) {
        self.problem(at, place, format!("`{name}` is not supported yet in this version"), remedy);
    }

    /// A text; `expected` says what of, for the message.
    pub fn text<'a>(&mut self, section: &Section<'a>, name: &str, expected: &str) -> Option<&'a Scalar> {
        let (_, node) = section.get(name)?;
        self.scalar(node, &section.place, name, expected)
    }

    /// A value that must be a text.
    pub fn scalar<'a>(&mut self, node: &'a Node, place: &str, name: &str, expected: &str) -> Option<&'a Scalar> {
        match node {
            Node::Scalar(scalar) if !scalar.is_null() => Some(scalar),
            _ => {
                let found = format!("{name} is {}, {expected} is expected", node.describe());
                self.problem(node.mark(), place, found, format!("write {expected}"));
                None
            }
        }
    }

    /// One of these words.
    pub fn one_of<'a>(&mut self, section: &Section<'a>, name: &str, words: &[&'static str]) -> Option<&'static str> {
        let scalar = self.text(section, name, &format!("one of {}", listed(words.iter().copied())))?;
        let found = words.iter().find(|word| **word == scalar.text);
        if found.is_none() {
            let remedy = match did_you_mean(&scalar.text, words.iter().copied()) {
                Some(word) => format!("did you mean `{word}`?"),
                None if words.len() == 1 => format!("write {}", listed(words.iter().copied())),
                None => format!("write one of {}", listed(words.iter().copied())),
            };
            self.problem(scalar.mark, &section.place, format!("{name} `{}` is not known", scalar.text), remedy);
        }
        found.copied()
    }

    /// A duration that may be 0.
    pub fn duration(&mut self, section: &Section<'_>, name: &str) -> Option<Millis> {
        let scalar = self.text(section, name, "a duration like 1h, 30m or 90d")?;
        self.span(scalar, &section.place, name)
    }

    /// A duration of at least a millisecond.
    pub fn positive(&mut self, section: &Section<'_>, name: &str) -> Option<Millis> {
        let scalar = self.text(section, name, "a duration like 1h, 30m or 90d")?;
        self.positive_span(scalar, &section.place, name)
    }

    /// As [`Self::positive`], of a text.
    pub fn positive_span(&mut self, scalar: &Scalar, place: &str, name: &str) -> Option<Millis> {
        let millis = self.span(scalar, place, name)?;
        if millis == 0 {
            self.problem(scalar.mark, place, format!("{name} is 0"), "write a duration of at least 1ms");
            return None;
        }
        Some(millis)
    }

    fn span(&mut self, scalar: &Scalar, place: &str, name: &str) -> Option<Millis> {
        match scalar.text.parse::<Span>() {
            Ok(span) if span.millis() <= MAX_DURATION => Some(span.millis()),
            Ok(_) => {
                let found = format!("{name} `{}` is longer than {}", scalar.text, Span(MAX_DURATION));
                self.problem(scalar.mark, place, found, "write a shorter one; a window without end is `lifetime`");
                None
            }
            Err(_) => {
                let found = format!("{name} `{}` is not a duration", scalar.text);
                self.problem(scalar.mark, place, found, "write it like 1h, 30m or 90d");
                None
            }
        }
    }

    /// A size in bytes, from 1 to `most`: a number, or one with KiB or MiB behind it.
    pub fn bytes(&mut self, section: &Section<'_>, name: &str, most: usize) -> Option<usize> {
        let scalar = self.text(section, name, "a number of bytes")?;
        let unit = [("KiB", 1 << 10), ("MiB", 1 << 20)].into_iter().find(|(unit, _)| scalar.text.ends_with(unit));
        let (suffix, factor) = unit.unwrap_or(("", 1));
        let number = scalar.text.trim_end_matches(suffix).trim().parse::<usize>().ok();
        let size = number.and_then(|number| number.checked_mul(factor));
        match size {
            Some(size) if (1..=most).contains(&size) => Some(size),
            _ => {
                let found = format!("{name} `{}` is not a size from 1 to {most} bytes", scalar.text);
                self.problem(scalar.mark, &section.place, found, "write it like 65536, 64KiB or 1MiB");
                None
            }
        }
    }

    /// Compiles a piece of SQL; `what` names its key.
    pub fn sql(&mut self, scalar: &Scalar, place: &str, what: &str) -> Option<Compiled> {
        if !self.has_schema || self.broken.iter().any(|field| mentions(&scalar.text, field)) {
            return None;
        }
        match self.exprs.add(&scalar.text) {
            Ok(id) => {
                let ty = value_type(&self.exprs.data_type(id));
                if ty.is_none() {
                    let found = format!("{what} gives {}, which no feature can hold", self.exprs.data_type(id));
                    self.problem(scalar.mark, place, found, "cast it to varchar, bigint, double, boolean or timestamp");
                }
                ty.map(|ty| Compiled { id, ty })
            }
            Err(wrong) => {
                let at = wrong.at.map_or(scalar.mark, |at| scalar.mark_at(at));
                self.problem(at, place, format!("{what}: {}", wrong.message), wrong.remedy);
                None
            }
        }
    }

    /// Compiles a condition.
    pub fn condition(&mut self, section: &Section<'_>, name: &str) -> Option<ExprId> {
        let scalar = self.text(section, name, "an SQL condition")?;
        let compiled = self.sql(scalar, &section.place, name)?;
        if compiled.ty != ValueType::Bool {
            let found = format!("{name} `{}` is {}, not a condition", scalar.text, compiled.ty);
            self.problem(scalar.mark, &section.place, found, "compare it with something, like price > 0");
            return None;
        }
        Some(compiled.id)
    }
}

/// The type of a value of this Arrow type, when the engine knows it.
pub fn value_type(ty: &DataType) -> Option<ValueType> {
    match ty {
        DataType::Utf8 => Some(ValueType::String),
        DataType::Int64 => Some(ValueType::Int64),
        DataType::Float64 => Some(ValueType::Double),
        DataType::Boolean => Some(ValueType::Bool),
        DataType::Timestamp(ArrowUnit::Millisecond, _) => Some(ValueType::Timestamp),
        DataType::Decimal128(precision, scale) => {
            Some(ValueType::Decimal { precision: *precision, scale: u8::try_from(*scale).ok()? })
        }
        _ => None,
    }
}

/// Whether a piece of SQL has this word in it.
pub(super) fn mentions(sql: &str, word: &str) -> bool {
    sql.split(|c: char| !c.is_alphanumeric() && c != '_').any(|found| found.eq_ignore_ascii_case(word))
}
