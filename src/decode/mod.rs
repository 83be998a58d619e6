//! Bytes to Arrow columns: judges each record on its bytes alone (tombstone, over limit, malformed) and projects the
//! declared fields of the rest while parsing.
//!
//! Always holds: a record's outcome and values follow from its own bytes and the source's plan, never from its
//! neighbours or from the size of the batch; a record that is not a row leaves nothing behind in the columns. The
//! classes are tested in the order tombstone, over limit, malformed. What needs a clock or the log's past (filtered,
//! future, late) is judged by the task.
//!
//! `json` is the grammar; `projection` finds the declared paths in it; `instant` reads timestamps; `columns` builds the
//! arrays; `owned` is a batch for tools and tests.

mod columns;
mod instant;
mod json;
mod owned;
mod projection;
#[cfg(test)]
mod tests;

use std::fmt::Display;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use crate::time::{MAX_EVENT_TIME, MIN_EVENT_TIME, Millis};
use crate::topology::{Field, FieldSource, FieldType, SourcePlan, schema_of};

pub use owned::OwnedBatch;

use columns::Columns;
use json::{Fault, MAX_DEPTH, Scanner, Why};
use projection::{Projection, Row, Slot};

/// One record as it lies in the log.
#[derive(Debug, Clone, Copy)]
pub struct RawRecord<'a> {
    pub offset: i64,
    /// The Kafka timestamp, in ms; `None` when the record has none.
    pub kafka_time: Option<Millis>,
    pub key: Option<&'a [u8]>,
    /// `None` is a tombstone.
    pub value: Option<&'a [u8]>,
}

/// Records of one partition in offset order, wherever their bytes live (librdkafka's buffers, an archive, a test).
pub trait RawBatch {
    fn len(&self) -> usize;
    fn record(&self, index: usize) -> RawRecord<'_>;
    /// The last header of this name, when there is one.
    fn header(&self, index: usize, name: &str) -> Option<&[u8]>;
    /// Every header in its order: its name, and its value when it has one.
    fn headers(&self, index: usize, each: &mut dyn FnMut(&str, Option<&[u8]>));
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A batch of raw records judged and projected.
#[derive(Debug)]
pub struct Decoded {
    /// One for each raw record, in order.
    pub outcomes: Vec<Outcome>,
    /// The well-formed records only, in order; one column for each declared field of the source, by index.
    pub rows: RecordBatch,
    /// The event time of each row, in ms.
    pub event_times: Vec<Millis>,
}

/// What the bytes alone say of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Well-formed: its row in [`Decoded::rows`].
    Row(u32),
    /// A null value.
    Tombstone,
    /// Bytes, depth or key length beyond the bound; the text names bound and value.
    OverLimit(String),
    /// The text says what was found where.
    Malformed(String),
}

/// Reasons are cut to this many bytes.
const MAX_REASON: usize = 200;
/// What was found is quoted to this many bytes.
const MAX_QUOTE: usize = 60;

/// Decodes batches of one source.
#[derive(Debug)]
pub struct Decoder {
    fields: Vec<Field>,
    /// Indices of the fields that come from the Kafka key or a header.
    outside: Vec<usize>,
    /// The key of each entity: the indices of its fields.
    keys: Vec<Vec<usize>>,
    event_time: usize,
    max_record_bytes: usize,
    max_key_bytes: usize,
    projection: Projection,
    schema: SchemaRef,
}

impl Decoder {
    /// For this source; `keys` are the indices of the fields of every entity's key: their text has a bound.
    pub fn new(source: &SourcePlan, keys: &[Vec<usize>]) -> Self {
        let fields = source.fields.clone();
        let is_outside = |index: &usize| !matches!(fields[*index].from, FieldSource::Value(_));
        Self {
            outside: (0..fields.len()).filter(is_outside).collect(),
            keys: keys.to_vec(),
            event_time: source.event_time,
            max_record_bytes: source.max_record_bytes,
            max_key_bytes: source.max_key_bytes,
            projection: Projection::new(&fields),
            schema: schema_of(&fields),
            fields,
        }
    }

    /// The schema of every decoded batch: one nullable column for each declared field.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Judges and projects a batch. A string column holds at most 2 GiB of text: batches must be smaller than that.
    pub fn decode(&mut self, raw: &dyn RawBatch) -> Decoded {
        let mut outcomes = Vec::with_capacity(raw.len());
        let mut event_times = Vec::with_capacity(raw.len());
        let mut columns = Columns::new(&self.schema, raw.len());
        let mut row = Row::new(self.fields.len());
        for index in 0..raw.len() {
            outcomes.push(match self.judge(raw, index, &mut row) {
                Ok(event_time) => {
                    event_times.push(event_time);
                    Outcome::Row(columns.push(&row))
                }
                Err(outcome) => outcome,
            });
        }
        Decoded { outcomes, rows: columns.finish(self.schema.clone()), event_times }
    }

    /// Reads one record into `row`; its event time, or why it is no row.
    fn judge<'a>(&mut self, raw: &'a dyn RawBatch, index: usize, row: &mut Row<'a>) -> Result<Millis, Outcome> {
        let record = raw.record(index);
        let Some(value) = record.value else { return Err(Outcome::Tombstone) };
        within("value", value.len(), "max_record_bytes", self.max_record_bytes)?;
        within("Kafka key", record.key.map_or(0, <[u8]>::len), "max_key_bytes", self.max_key_bytes)?;
        row.clear();
        for at in 0..self.outside.len() {
            self.read_outside(self.outside[at], raw, index, row)?;
        }
        let text = match simdutf8::basic::from_utf8(value) {
            Ok(text) => text,
            Err(_) => return Err(not_utf8(value)),
        };
        match self.projection.read(text, row) {
            Ok(true) => self.accept(text, row),
            Ok(false) => Err(malformed(format_args!("not a JSON object, but {}", quoted(text, 0)))),
            Err(fault) => Err(faulty(text, fault)),
        }
    }

    /// Reads a field from the Kafka key or a header.
    fn read_outside<'a>(
        &self,
        field: usize,
        raw: &'a dyn RawBatch,
        index: usize,
        row: &mut Row<'a>,
    ) -> Result<(), Outcome> {
        let bytes = match &self.fields[field].from {
            FieldSource::Value(_) => return Ok(()),
            FieldSource::Key => raw.record(index).key,
            FieldSource::Header(name) => raw.header(index, name),
        };
        let Some(bytes) = bytes else { return Ok(()) };
        if self.keys.iter().any(|key| key.contains(&field)) {
            within(&self.fields[field].name, bytes.len(), "max_key_bytes", self.max_key_bytes)?;
        }
        row.slots[field] = match (simdutf8::basic::from_utf8(bytes), self.fields[field].ty) {
            (Ok(text), FieldType::String) => Slot::Text(text),
            (Ok(text), FieldType::Int64) => decimal(text).map_or(Slot::Wrong(0), Slot::Int),
            _ => Slot::Wrong(0),
        };
        Ok(())
    }

    /// Judges the values of a record that is a JSON object, and so puts the classes in their order: a key that is too
    /// long before a type that is wrong.
    fn accept(&self, text: &str, row: &mut Row<'_>) -> Result<Millis, Outcome> {
        for key in &self.keys {
            if let Some(length) = key_len(key, row).filter(|length| *length > self.max_key_bytes) {
                let names: Vec<&str> = key.iter().map(|field| self.fields[*field].name.as_str()).collect();
                within(&names.join(", "), length, "max_key_bytes", self.max_key_bytes)?;
            }
        }
        for (slot, field) in row.slots.iter_mut().zip(&self.fields) {
            if let Slot::Wrong(at) = *slot {
                if !field.null_on_error {
                    return Err(wrong_type(text, field, at));
                }
                *slot = Slot::Null;
            }
        }
        match row.slots[self.event_time] {
            Slot::Int(time) if (MIN_EVENT_TIME..=MAX_EVENT_TIME).contains(&time) => Ok(time),
            Slot::Int(time) => Err(malformed(format_args!(
                "event time `{}`: {time} ms since 1970 is outside the years 1 to 9999",
                self.fields[self.event_time].name
            ))),
            _ => {
                let name = &self.fields[self.event_time].name;
                Err(malformed(format_args!("no event time: `{name}` is absent or null")))
            }
        }
    }
}

/// Over limit when `found` bytes are more than the bound of this name.
#[inline]
fn within(what: &str, found: usize, bound: &str, limit: usize) -> Result<(), Outcome> {
    if found <= limit {
        return Ok(());
    }
    Err(Outcome::OverLimit(reason(format_args!("{what}: {found} bytes are more than {bound}, {limit}"))))
}

/// JSON's integers within 64 bits, which is also how an int64 is written in a Kafka key or a header.
fn decimal(text: &str) -> Option<i64> {
    let mut scanner = Scanner::new(text);
    let number = scanner.number().ok()?;
    if scanner.pos == text.len() { number.int() } else { None }
}

/// Length of an entity key's text: the field's own, or of several a JSON list without blanks; `None` where a part is
/// null or of another type.
fn key_len(key: &[usize], row: &Row<'_>) -> Option<usize> {
    let quoted = key.len() > 1;
    let part = |field: &usize| match row.slots[*field] {
        Slot::Int(number) => Some(decimal_len(number)),
        slot => row.text(slot).map(|text| if quoted { json_len(text) } else { text.len() }),
    };
    let parts = key.iter().map(part).sum::<Option<usize>>()?;
    // Two brackets, and a comma between any two parts.
    Some(parts + if quoted { key.len() + 1 } else { 0 })
}

/// Length of a text as a JSON literal: as serde_json writes it, which makes the keys.
fn json_len(text: &str) -> usize {
    let one = |byte: u8| match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 2,
        0..0x20 => 6,
        _ => 1,
    };
    2 + text.bytes().map(one).sum::<usize>()
}

/// Length of a number's decimal text.
fn decimal_len(number: i64) -> usize {
    number.unsigned_abs().checked_ilog10().map_or(1, |log| log as usize + 1) + usize::from(number < 0)
}

#[cold]
fn malformed(text: impl Display) -> Outcome {
    Outcome::Malformed(reason(text))
}

/// The outcome of a value that is not UTF-8: malformed, unless it nests too deep before that shows.
#[cold]
fn not_utf8(value: &[u8]) -> Outcome {
    let at = simdutf8::compat::from_utf8(value).err().map_or(value.len(), |error| error.valid_up_to());
    // Only the valid part is scanned; it ends in the middle, so it cannot but have a fault.
    let valid = std::str::from_utf8(&value[..at]).unwrap_or_default();
    let mut scanner = Scanner::new(valid);
    scanner.white();
    match scanner.skip(0) {
        Err(fault @ Fault { why: Why::Depth, .. }) => faulty(valid, fault),
        _ => malformed(format_args!("byte {at}: not UTF-8 (0x{:02x})", value.get(at).copied().unwrap_or_default())),
    }
}

#[cold]
fn faulty(text: &str, fault: Fault) -> Outcome {
    let Fault { at, why } = fault;
    match why {
        Why::Depth => Outcome::OverLimit(reason(format_args!("byte {at}: nested deeper than {MAX_DEPTH} levels"))),
        _ if text.is_empty() => malformed("the value is empty (0 bytes)"),
        _ if at == 0 && text.starts_with('\u{feff}') => malformed("it begins with a byte-order mark"),
        _ => {
            let (expected, found) = (why.expected(), quoted(text, at));
            malformed(format_args!("byte {at}: not JSON: expected {expected}, found {found}"))
        }
    }
}

#[cold]
fn wrong_type(text: &str, field: &Field, at: usize) -> Outcome {
    let expected = match field.ty {
        FieldType::String => "a string",
        FieldType::Int64 => "an integer of 64 bits",
        FieldType::Double => "a number within a double's range",
        FieldType::Bool => "true or false",
        FieldType::Timestamp(_) => "a timestamp as an integer",
        FieldType::TimestampText => "a timestamp as RFC 3339 text with an offset",
        FieldType::Decimal { .. } => "a decimal number of the declared digits",
    };
    let name = &field.name;
    match &field.from {
        FieldSource::Value(_) => {
            malformed(format_args!("`{name}` (byte {at}): expected {expected}, found {}", quoted(text, at)))
        }
        FieldSource::Key => malformed(format_args!("`{name}`: the Kafka key is not {expected} in UTF-8")),
        FieldSource::Header(header) => {
            malformed(format_args!("`{name}`: the header `{header}` is not {expected} in UTF-8"))
        }
    }
}

/// What stands at `at`: one whole value if it is one, else the rest, cut short.
fn quoted(text: &str, at: usize) -> String {
    let mut scanner = Scanner::new(text);
    scanner.pos = at;
    let end = if scanner.skip(0).is_ok() { scanner.pos } else { text.len() };
    match cut(&text[at..end], MAX_QUOTE) {
        "" => "the end".into(),
        short if short.len() < end - at => format!("`{short}...`"),
        whole => format!("`{whole}`"),
    }
}

/// The text of a reason, at most [`MAX_REASON`] bytes.
fn reason(text: impl Display) -> String {
    let whole = text.to_string();
    cut(&whole, MAX_REASON).to_string()
}

/// The longest start of `text` of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    &text[..text.floor_char_boundary(bytes)]
}
