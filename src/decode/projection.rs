//! The declared paths, found in a record's bytes as they are scanned; all the rest is only checked for its grammar.
//!
//! Always holds: after a record has been read, each slot is what the *last* occurrence of its path says. What producers
//! wrote last time is only a guess at where to look first: it never decides what is found.

use super::instant;
use super::json::{Fault, Literal, Scanner, Why};
use crate::topology::{Field, FieldSource, FieldType, parse_decimal};

/// What one record holds for one declared field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Slot<'a> {
    /// Absent or null.
    Null,
    /// Text as it lies in the record.
    Text(&'a str),
    /// Text that had escapes: a range of [`Row::scratch`].
    Unescaped(usize, usize),
    /// An integer, or a timestamp in ms.
    Int(i64),
    Double(f64),
    Bool(bool),
    /// Without its scale; in two halves, which keep a slot small.
    Decimal {
        hi: i64,
        lo: u64,
    },
    /// A value of another type than declared, at this byte of the value (or the Kafka key, or the header).
    Wrong(usize),
}

/// One record's slots, one for each declared field; nothing of it is in a column yet.
#[derive(Debug)]
pub(super) struct Row<'a> {
    pub slots: Vec<Slot<'a>>,
    pub scratch: String,
}

impl<'a> Row<'a> {
    /// For this many declared fields.
    pub fn new(fields: usize) -> Self {
        Self { slots: vec![Slot::Null; fields], scratch: String::new() }
    }

    /// Empty, for the next record.
    pub fn clear(&mut self) {
        self.slots.fill(Slot::Null);
        self.scratch.clear();
    }

    /// The text of a slot that holds text.
    #[inline]
    pub fn text(&self, slot: Slot<'a>) -> Option<&str> {
        match slot {
            Slot::Text(text) => Some(text),
            Slot::Unescaped(from, to) => Some(&self.scratch[from..to]),
            _ => None,
        }
    }
}

/// Names longer than this, and objects wider, are looked up without a guess.
const GUESSED_NAME: usize = 64;
const GUESSED_WIDTH: usize = 256;

/// A small trie of the declared paths; node 0 is the top object.
#[derive(Debug)]
pub(super) struct Projection {
    nodes: Vec<Node>,
    types: Vec<FieldType>,
}

#[derive(Debug, Default)]
struct Node {
    entries: Vec<Entry>,
    /// By position in the object: the name that stood there in the last object that disagreed.
    guesses: Vec<Guess>,
}

#[derive(Debug)]
struct Entry {
    name: String,
    /// Fields whose path ends here; several when one path is declared under several names.
    fields: Vec<usize>,
    /// Where longer paths go on, and all fields below.
    inner: Option<usize>,
    below: Vec<usize>,
}

#[derive(Debug)]
struct Guess {
    /// With its closing quote and the colon: most producers put nothing between them.
    name: Vec<u8>,
    /// The first bytes of `name`, and ones where it has bytes: most names are compared in one step.
    first: u128,
    mask: u128,
    entry: Option<usize>,
}

impl Projection {
    /// Of the declared fields that come from the value.
    pub fn new(fields: &[Field]) -> Self {
        let mut projection =
            Self { nodes: vec![Node::default()], types: fields.iter().map(|field| field.ty).collect() };
        for (index, field) in fields.iter().enumerate() {
            if let FieldSource::Value(path) = &field.from {
                projection.declare(path, index);
            }
        }
        projection
    }

    fn declare(&mut self, path: &[String], field: usize) {
        let mut node = 0;
        for (level, name) in path.iter().enumerate() {
            let known = self.nodes[node].entries.iter().position(|entry| entry.name == *name);
            let at = known.unwrap_or_else(|| {
                let entry = Entry { name: name.clone(), fields: vec![], inner: None, below: vec![] };
                self.nodes[node].entries.push(entry);
                self.nodes[node].entries.len() - 1
            });
            if level + 1 == path.len() {
                self.nodes[node].entries[at].fields.push(field);
                return;
            }
            self.nodes[node].entries[at].below.push(field);
            let next = self.nodes.len();
            let inner = *self.nodes[node].entries[at].inner.get_or_insert(next);
            if inner == next {
                self.nodes.push(Node::default());
            }
            node = inner;
        }
    }

    /// Reads a whole record into `row`; `Ok(false)` when it is JSON but not an object.
    pub fn read<'a>(&mut self, text: &'a str, row: &mut Row<'a>) -> Result<bool, Fault> {
        let mut scanner = Scanner::new(text);
        scanner.white();
        let object = scanner.byte() == b'{';
        if object {
            self.object(0, 0, &mut scanner, row)?;
        } else {
            scanner.skip(0)?;
        }
        scanner.end()?;
        Ok(object)
    }

    /// Reads the object here, whose names are those of `node`; `depth` containers are open around it.
    fn object<'a>(
        &mut self,
        node: usize,
        depth: usize,
        scanner: &mut Scanner<'a>,
        row: &mut Row<'a>,
    ) -> Result<(), Fault> {
        scanner.open(depth)?;
        if scanner.take(b"}") {
            return Ok(());
        }
        for position in 0.. {
            scanner.expect(b'"', Why::Name)?;
            let entry = match self.nodes[node].guesses.get(position) {
                Some(guess) if guess.is_next(scanner) => {
                    scanner.pos += guess.name.len();
                    scanner.white();
                    guess.entry
                }
                _ => {
                    let entry = self.name(node, position, scanner)?;
                    scanner.colon()?;
                    entry
                }
            };
            match entry {
                None => scanner.skip(depth + 1)?,
                Some(entry) => self.value(node, entry, depth + 1, scanner, row)?,
            }
            if !scanner.another(b'}', Why::CommaOrBrace)? {
                break;
            }
        }
        Ok(())
    }

    /// Reads a name, whose opening quote is just behind, and remembers it as the next guess for this position.
    fn name(&mut self, node: usize, position: usize, scanner: &mut Scanner<'_>) -> Result<Option<usize>, Fault> {
        scanner.pos -= 1;
        let literal = scanner.string()?;
        let node = &mut self.nodes[node];
        let find = |name: &str| node.entries.iter().position(|entry| entry.name == name);
        if !literal.plain {
            let mut name = String::new();
            return Ok(if literal.unescape(&mut name) { find(&name) } else { None });
        }
        let entry = find(literal.raw);
        if literal.raw.len() <= GUESSED_NAME && position < GUESSED_WIDTH {
            // Positions are met in order, but a long name before this one may have left none behind.
            if node.guesses.len() <= position {
                node.guesses.resize_with(position + 1, Guess::impossible);
            }
            node.guesses[position].set(literal.raw, entry);
        }
        Ok(entry)
    }

    /// Reads the value of a declared name.
    #[inline]
    fn value<'a>(
        &mut self,
        node: usize,
        entry: usize,
        depth: usize,
        scanner: &mut Scanner<'a>,
        row: &mut Row<'a>,
    ) -> Result<(), Fault> {
        let declared = &self.nodes[node].entries[entry];
        let start = scanner.pos;
        if let (None, &[field]) = (declared.inner, declared.fields.as_slice()) {
            return read(self.types[field], depth, scanner, &mut row.slots[field], &mut row.scratch);
        }
        for &field in &declared.fields {
            scanner.pos = start;
            read(self.types[field], depth, scanner, &mut row.slots[field], &mut row.scratch)?;
        }
        let Some(inner) = declared.inner else { return Ok(()) };
        scanner.pos = start;
        // The last of repeated names counts, also for what an earlier one held inside.
        let (is_object, is_null) = (scanner.byte() == b'{', scanner.byte() == b'n');
        let below = if is_object || is_null { Slot::Null } else { Slot::Wrong(start) };
        for &field in &declared.below {
            row.slots[field] = below;
        }
        if is_object { self.object(inner, depth, scanner, row) } else { scanner.skip(depth) }
    }
}

impl Guess {
    /// A guess that no text meets: this byte never stands in UTF-8.
    fn impossible() -> Self {
        Self { name: vec![0xFF], first: 0xFF, mask: 0xFF, entry: None }
    }

    fn set(&mut self, name: &str, entry: Option<usize>) {
        self.name.clear();
        self.name.extend_from_slice(name.as_bytes());
        self.name.extend_from_slice(b"\":");
        let (mut first, mut mask) = ([0; 16], [0; 16]);
        for (at, byte) in self.name.iter().take(16).enumerate() {
            (first[at], mask[at]) = (*byte, 0xFF);
        }
        (self.first, self.mask) = (u128::from_le_bytes(first), u128::from_le_bytes(mask));
        self.entry = entry;
    }

    /// Whether the text goes on with this name.
    #[inline(always)]
    fn is_next(&self, scanner: &Scanner<'_>) -> bool {
        let rest = scanner.rest();
        match rest.first_chunk::<16>() {
            Some(sixteen) => {
                (u128::from_le_bytes(*sixteen) ^ self.first) & self.mask == 0
                    && (self.name.len() <= 16 || rest.starts_with(&self.name))
            }
            None => rest.starts_with(&self.name),
        }
    }
}

/// Reads the value here as the declared type into `slot`.
#[inline]
fn read<'a>(
    ty: FieldType,
    depth: usize,
    scanner: &mut Scanner<'a>,
    slot: &mut Slot<'a>,
    scratch: &mut String,
) -> Result<(), Fault> {
    let wrong = Slot::Wrong(scanner.pos);
    *slot = match (scanner.byte(), ty) {
        (b'"', FieldType::String) => text(scanner.string()?, scratch).unwrap_or(wrong),
        (b'"', FieldType::TimestampText) => time_text(scanner.string()?).map_or(wrong, Slot::Int),
        (b'-' | b'0'..=b'9', FieldType::Int64) => scanner.number()?.int().map_or(wrong, Slot::Int),
        (b'-' | b'0'..=b'9', FieldType::Double) => scanner.number()?.double().map_or(wrong, Slot::Double),
        (b'-' | b'0'..=b'9', FieldType::Timestamp(unit)) => {
            scanner.number()?.int().and_then(|count| instant::from_count(count, unit)).map_or(wrong, Slot::Int)
        }
        (b'-' | b'0'..=b'9', FieldType::Decimal { precision, scale }) => {
            decimal(scanner.number()?.text(), precision, scale).unwrap_or(wrong)
        }
        (b'"', FieldType::Decimal { precision, scale }) => {
            let literal = scanner.string()?;
            // A plain decimal: nobody escapes digits, and an exponent belongs to numbers.
            let plain = literal.plain && !literal.raw.contains(['e', 'E']);
            Some(literal.raw).filter(|_| plain).and_then(|raw| decimal(raw, precision, scale)).unwrap_or(wrong)
        }
        (b't', FieldType::Bool) => scanner.word(b"true").map(|()| Slot::Bool(true))?,
        (b'f', FieldType::Bool) => scanner.word(b"false").map(|()| Slot::Bool(false))?,
        (b'n', _) => scanner.word(b"null").map(|()| Slot::Null)?,
        _ => scanner.skip(depth).map(|()| wrong)?,
    };
    Ok(())
}

#[inline]
fn text<'a>(literal: Literal<'a>, scratch: &mut String) -> Option<Slot<'a>> {
    if literal.plain {
        return Some(Slot::Text(literal.raw));
    }
    let from = scratch.len();
    if literal.unescape(scratch) { Some(Slot::Unescaped(from, scratch.len())) } else { None }
}

fn decimal<'a>(text: &str, precision: u8, scale: u8) -> Option<Slot<'a>> {
    let number = parse_decimal(text, precision, scale)?;
    Some(Slot::Decimal { hi: (number >> 64) as i64, lo: number as u64 })
}

fn time_text(literal: Literal<'_>) -> Option<i64> {
    if literal.plain {
        return instant::from_text(literal.raw);
    }
    let mut plain = String::new();
    if literal.unescape(&mut plain) { instant::from_text(&plain) } else { None }
}
