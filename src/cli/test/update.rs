//! `--update`: what was found, written into the expectations. Only the places that differ are touched: names, comments
//! and all else of a file stay as they are.

use std::ops::Range;

use super::align::{Step, cell};
use super::compare::column_name;
use super::drive::{self, Row, Run};
use super::expect::{Column, DeadLetter, Place, Rows};
use super::file::{Case, Gap};
use super::times::Clock;
use super::value::{Shown, Value, flow, quoted};
use crate::error::{Error, Result};
use crate::topology::{EntityPlan, Literal, OutputType, ValueType};

/// Some bytes of a file, and what is to stand there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    span: Range<usize>,
    text: String,
    /// What is to stand there instead where the place is a list with a line for each item.
    block: Option<String>,
}

impl Edit {
    /// Puts a text in the place of a value.
    pub fn replace(place: &Place, text: String) -> Self {
        Self { span: place.span.clone(), text, block: None }
    }

    /// Puts a list in the place of another one, in the form that it has.
    fn list(place: &Place, items: &[String]) -> Self {
        let indent = " ".repeat(place.mark.column.saturating_sub(1) as usize);
        let lines: Vec<String> = items.iter().map(|item| format!("- {item}")).collect();
        let block = (!items.is_empty()).then(|| lines.join(&format!("\n{indent}")));
        Self { span: place.span.clone(), text: list(items), block }
    }

    /// Puts a text where nothing stands.
    fn insert(at: usize, text: String) -> Self {
        Self { span: at..at, text, block: None }
    }
}

/// A file's text with these edits.
pub fn apply(name: &str, text: &str, mut edits: Vec<Edit>) -> Result<String> {
    edits.sort_by_key(|edit| (edit.span.start, edit.span.end));
    edits.dedup();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for edit in &edits {
        if edit.span.start < at {
            let line = text[..edit.span.start].matches('\n').count() + 1;
            return Err(Error::configuration(format!(
                "{name}:{line}: several cases share what is expected here and found different values; write it out \
                 instead of using an alias"
            )));
        }
        out.push_str(&text[at..edit.span.start]);
        // `key:` with nothing behind it needs a blank before its value.
        let joins = edit.span.is_empty() && out.ends_with(':');
        out.push_str(if joins { " " } else { "" });
        let block = edit.block.as_ref().filter(|_| text[edit.span.start..].starts_with('-'));
        out.push_str(block.unwrap_or(&edit.text));
        at = edit.span.end;
    }
    out.push_str(&text[at..]);
    Ok(out)
}

/// A list on one line.
fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// The rows that were found in the place of those expected: each with the columns that its expected row named, one that
/// nobody expected with the columns of its neighbours.
pub fn row_list(expected: &Rows, found: &[Row], shown: &[Shown], steps: &[Step], clock: Clock, json: bool) -> Edit {
    let mut columns: Vec<Column> = vec![Column::Key, Column::EventTime];
    for wanted in expected.rows.iter().flat_map(|row| &row.cells) {
        if !columns.contains(&wanted.column) {
            columns.push(wanted.column);
        }
    }
    let text = |row: &Row, columns: &[Column]| {
        let entry = |column: &Column| (column_name(*column, shown), cell(row, *column, shown).0.text(&clock, json));
        flow(&columns.iter().map(entry).collect::<Vec<_>>(), json)
    };
    let mut rows = vec![];
    for step in steps {
        match step {
            Step::Both(i, j) => {
                let named: Vec<Column> = expected.rows[*i].cells.iter().map(|cell| cell.column).collect();
                rows.push(text(&found[*j], &named));
            }
            Step::Extra(j) => rows.push(text(&found[*j], &columns)),
            Step::Missing(_) => {}
        }
    }
    Edit::list(&expected.place, &rows)
}

/// All dead letters in the place of those expected, saying what those said.
pub fn dead_letters(place: &Place, found: &[drive::DeadLetter], expected: &[DeadLetter], json: bool) -> Edit {
    let with_partition = expected.iter().any(|letter| letter.partition.is_some());
    let texts: Vec<String> = found.iter().map(|letter| letter_text(letter, with_partition, json)).collect();
    Edit::list(place, &texts)
}

fn letter_text(letter: &drive::DeadLetter, with_partition: bool, json: bool) -> String {
    let mut entries =
        vec![("offset".to_string(), letter.offset.to_string()), ("class".to_string(), quoted(&letter.class, json))];
    if with_partition {
        entries.insert(0, ("partition".to_string(), letter.partition.to_string()));
    }
    flow(&entries, json)
}

/// All values of an entity key that are not null.
pub fn all_values(values: &[Value], shown: &[Shown], clock: &Clock, json: bool) -> String {
    let known = shown.iter().zip(values).filter(|(_, value)| **value != Value::Null);
    let entries: Vec<_> = known.map(|(shown, value)| (shown.name.clone(), value.text(clock, json))).collect();
    flow(&entries, json)
}

/// Expectations for a case that has none: all rows, each with what it changed, and all dead letters.
pub fn fill(case: &Case, run: &Run<'_>, json: bool, text: &str) -> Edit {
    let rows: Vec<(&str, Vec<String>)> = run
        .rows
        .iter()
        .enumerate()
        .map(|(entity, rows)| {
            let plan = &run.plan.entities[entity];
            (plan.name.as_str(), changes(plan, rows, &run.shown[entity], &case.clock, json))
        })
        .collect();
    let letters: Vec<String> = run.dead_letters.iter().map(|letter| letter_text(letter, false, json)).collect();
    let stops = run.stopped.as_ref().map(|message| Value::Str(message.clone()).text(&case.clock, json));
    let all = Filling { rows, letters, stops };
    match case.gap {
        Gap::Below(at, indent) => all.below(text, at, indent),
        Gap::Inside(at) => Edit::insert(at, format!(", expect: {}", all.one_line(false))),
        Gap::Line(at) => {
            let new_line = if text[..at].ends_with('\n') { "" } else { "\n" };
            Edit::insert(at, format!("{new_line}{{\"expect\": {}}}\n", all.one_line(true)))
        }
    }
}

/// What a case is going to expect, as texts.
struct Filling<'a> {
    /// By entity.
    rows: Vec<(&'a str, Vec<String>)>,
    letters: Vec<String>,
    stops: Option<String>,
}

impl Filling<'_> {
    /// On lines of their own, below what ends at `at`.
    fn below(&self, text: &str, at: usize, indent: usize) -> Edit {
        let pad = " ".repeat(indent);
        let mut lines = vec![format!("{pad}expect:"), format!("{pad}  exactly: true"), format!("{pad}  rows:")];
        for (entity, rows) in &self.rows {
            let empty = if rows.is_empty() { " []" } else { "" };
            lines.push(format!("{pad}    {entity}:{empty}"));
            lines.extend(rows.iter().map(|row| format!("{pad}      - {row}")));
        }
        if !self.letters.is_empty() {
            lines.push(format!("{pad}  dead_letters:"));
            lines.extend(self.letters.iter().map(|letter| format!("{pad}    - {letter}")));
        }
        lines.extend(self.stops.iter().map(|stops| format!("{pad}  stops: {stops}")));
        // After the line, with what else stands on it; a block of text ends where the next value begins.
        let at = text[..at].trim_end().len();
        let at = text[at..].find('\n').map_or(text.len(), |end| at + end);
        Edit::insert(at, format!("\n{}", lines.join("\n")))
    }

    fn one_line(&self, json: bool) -> String {
        let rows: Vec<_> = self.rows.iter().map(|(entity, rows)| (entity.to_string(), list(rows))).collect();
        let mut entries = vec![("exactly".to_string(), "true".to_string()), ("rows".to_string(), flow(&rows, json))];
        if !self.letters.is_empty() {
            entries.push(("dead_letters".to_string(), list(&self.letters)));
        }
        entries.extend(self.stops.iter().map(|stops| ("stops".to_string(), stops.clone())));
        flow(&entries, json)
    }
}

/// Each row with its key, its time, and the values that are not those of the key's row before.
fn changes(entity: &EntityPlan, rows: &[Row], shown: &[Shown], clock: &Clock, json: bool) -> Vec<String> {
    let mut before: std::collections::HashMap<&str, &[Value]> = Default::default();
    let empty = empty_values(entity);
    let mut texts = vec![];
    for row in rows {
        let last = before.insert(&row.key, &row.values).unwrap_or(&empty);
        let fixed = [Column::Key, Column::EventTime];
        let changed = (0..shown.len()).filter(|index| row.values[*index] != last[*index]).map(Column::Shown);
        let entry = |column| (column_name(column, shown), cell(row, column, shown).0.text(clock, json));
        texts.push(flow(&fixed.into_iter().chain(changed).map(entry).collect::<Vec<_>>(), json));
    }
    texts
}

/// What an entity shows before its first row.
fn empty_values(entity: &EntityPlan) -> Vec<Value> {
    let features = entity.features.iter().map(|feature| match &feature.empty {
        Literal::Null => Value::Null,
        Literal::Int(n) => Value::Int(*n),
        Literal::Double(x) => Value::Double(*x),
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Time(at) => Value::Time(*at),
        Literal::Str(text) => Value::Str(text.clone()),
        Literal::Decimal(number) => {
            let scale = match feature.output_type {
                OutputType::Scalar(ValueType::Decimal { scale, .. }) => scale,
                _ => 0,
            };
            Value::Decimal(*number, scale)
        }
    });
    features.chain(entity.derived.iter().map(|_| Value::Null)).collect()
}
