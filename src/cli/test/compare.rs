//! What a case expected beside what was found.

use std::collections::BTreeMap;

use super::align::{self, Step, align};
use super::drive::{Row, Run};
use super::expect::{COUNTS, Cell, Cells, Column, DeadLetter, Expect, FIXED, Place, Rows, Standing};
use super::file::Case;
use super::times::Clock;
use super::update::{self, Edit};
use super::value::{Shown, Tolerance, Value};
use crate::error::Result;
use crate::topology::yaml::Mark;

/// One thing that is not as expected.
#[derive(Debug)]
pub struct Difference {
    pub mark: Mark,
    pub what: String,
    pub lines: Vec<Line>,
    /// What would make the file expect what was found; nothing where no edit of this place can.
    pub edits: Vec<Edit>,
}

/// One compared value.
#[derive(Debug, PartialEq)]
pub struct Line {
    pub name: String,
    pub expected: String,
    pub found: String,
    pub same: bool,
}

/// What stands for a value that is not there.
const NONE: &str = "-";

/// Compares one case.
pub struct Comparison<'r, 'p> {
    pub run: &'r mut Run<'p>,
    pub clock: Clock,
    /// Whether the file is of JSON lines.
    pub json: bool,
    differences: Vec<Difference>,
}

/// All differences of a case from what was found, by place.
pub fn compare(case: &Case, expect: &Expect, run: &mut Run<'_>, json: bool) -> Result<Vec<Difference>> {
    let mut comparison = Comparison { run, clock: case.clock, json, differences: vec![] };
    comparison.stops(case, expect);
    for rows in &expect.rows {
        comparison.rows(rows, expect.exactly || rows.rows.is_empty());
    }
    comparison.standing(&expect.standing)?;
    if let Some((place, letters)) = &expect.dead_letters {
        comparison.dead_letters(place, letters);
    }
    comparison.counts(&expect.counts);
    comparison.differences.sort_by_key(|difference| difference.mark);
    Ok(comparison.differences)
}

impl Comparison<'_, '_> {
    fn text(&self, value: &Value) -> String {
        value.text(&self.clock, self.json)
    }

    fn stops(&mut self, case: &Case, expect: &Expect) {
        let (mark, wanted) = match &expect.stops {
            Some((place, wanted)) => (place.mark, Some(wanted)),
            None => (case.mark, None),
        };
        let what = match (&self.run.stopped, wanted) {
            (None, Some(wanted)) => format!("the task does not stop; expected a stop that says `{wanted}`"),
            (Some(message), None) => format!("the task stops: {message}"),
            (Some(message), Some(wanted)) if !message.contains(wanted.as_str()) => {
                format!("the task stops otherwise than with `{wanted}`: {message}")
            }
            _ => return,
        };
        let edit = expect.stops.as_ref().zip(self.run.stopped.as_ref());
        let edits = edit.map(|((place, _), message)| {
            Edit::replace(place, Value::Str(message.clone()).text(&self.clock, self.json))
        });
        self.differences.push(Difference { mark, what, lines: vec![], edits: edits.into_iter().collect() });
    }

    fn rows(&mut self, expected: &Rows, exactly: bool) {
        let (name, shown) = (&self.run.plan.entities[expected.entity].name, &self.run.shown[expected.entity]);
        let found = &self.run.rows[expected.entity];
        let steps = align(&expected.rows, found, shown, exactly);
        let mut differences = vec![];
        for step in &steps {
            let (mark, what, lines, edits) = match *step {
                Step::Both(i, j) => {
                    let row = &expected.rows[i];
                    let (lines, edits) =
                        self.cells(&row.cells, shown, |column| Some(align::cell(&found[j], column, shown)));
                    if lines.iter().all(|line| line.same) {
                        continue;
                    }
                    let nearest = if exactly { "in its place is row" } else { "the nearest is row" };
                    let what = format!("rows of {name}: row {} differs; {nearest} {} of {}", i + 1, j + 1, found.len());
                    (row.place.mark, what, lines, edits)
                }
                Step::Missing(i) => {
                    let row = &expected.rows[i];
                    let what = format!("rows of {name}: row {} is not among the {} found", i + 1, found.len());
                    (row.place.mark, what, self.cells(&row.cells, shown, |_| None).0, vec![])
                }
                Step::Extra(j) => {
                    let what = format!("rows of {name}: row {} of {} was not expected", j + 1, found.len());
                    (expected.place.mark, what, self.unexpected(&found[j], &expected.rows, shown), vec![])
                }
            };
            differences.push(Difference { mark, what, lines, edits });
        }
        let other_rows = steps.iter().any(|step| !matches!(step, Step::Both(..)));
        if let (true, Some(first)) = (other_rows, differences.first_mut()) {
            let edit = update::row_list(expected, found, shown, &steps, self.clock, self.json);
            first.edits = vec![edit];
            differences[1..].iter_mut().for_each(|difference| difference.edits.clear());
        }
        self.differences.extend(differences);
    }

    /// The columns that any expected row names, of a row that nobody expected.
    fn unexpected(&self, row: &Row, expected: &[Cells], shown: &[Shown]) -> Vec<Line> {
        let mut columns = vec![Column::Key, Column::EventTime];
        for cell in expected.iter().flat_map(|row| &row.cells) {
            if !columns.contains(&cell.column) {
                columns.push(cell.column);
            }
        }
        let line = |column: &Column| {
            let (found, _) = align::cell(row, *column, shown);
            let name = column_name(*column, shown);
            Line { name, expected: NONE.to_string(), found: self.text(&found), same: false }
        };
        columns.iter().map(line).collect()
    }

    /// Expected values beside found ones, and what would make them equal.
    fn cells(
        &self,
        cells: &[Cell],
        shown: &[Shown],
        found: impl Fn(Column) -> Option<(Value, Tolerance)>,
    ) -> (Vec<Line>, Vec<Edit>) {
        let (mut lines, mut edits) = (vec![], vec![]);
        for cell in cells {
            let (name, expected) = (column_name(cell.column, shown), self.text(&cell.value));
            let Some((value, tolerance)) = found(cell.column) else {
                lines.push(Line { name, expected, found: NONE.to_string(), same: false });
                continue;
            };
            let (same, found) = (value.is(&cell.value, tolerance), self.text(&value));
            if !same {
                edits.push(Edit::replace(&cell.place, found.clone()));
            }
            lines.push(Line { name, expected, found, same });
        }
        (lines, edits)
    }

    fn standing(&mut self, expected: &[Standing]) -> Result<()> {
        let mut by_time: BTreeMap<Option<i64>, Vec<&Standing>> = BTreeMap::new();
        for one in expected {
            by_time.entry(one.at).or_default().push(one);
        }
        for (at, expected) in by_time {
            if let Some((at, watermark)) = at.and_then(|at| Some((at, self.run.passed(at)?))) {
                let (at, watermark) = (self.clock.show(at), self.clock.show(watermark));
                let what = format!("at {at}: the watermark is at {watermark} already; expect it in `rows`, or later");
                let mark = expected[0].place.mark;
                self.differences.push(Difference { mark, what, lines: vec![], edits: vec![] });
                continue;
            }
            let refreshed = at.map(|at| self.run.at(at)).transpose()?;
            for one in expected {
                let last = || self.run.rows[one.entity].iter().rev().find(|row| row.key == one.key);
                let values = match &refreshed {
                    Some(refreshed) => self.run.values(refreshed, one.entity, &one.key)?,
                    None => last().map(|row| row.values.clone()),
                };
                let difference = self.stands(one, values.as_deref());
                self.differences.extend(difference);
            }
        }
        Ok(())
    }

    fn stands(&self, expected: &Standing, values: Option<&[Value]>) -> Option<Difference> {
        let (name, shown) = (&self.run.plan.entities[expected.entity].name, &self.run.shown[expected.entity]);
        let when = expected.at.map_or("final".to_string(), |at| format!("at {}", self.clock.show(at)));
        let what = format!("{when}: {name} {}", expected.key);
        let mark = expected.place.mark;
        let place = &expected.place;
        match (&expected.cells, values) {
            (None, None) => None,
            (None, Some(values)) => {
                let text = update::all_values(values, shown, &self.clock, self.json);
                let what = format!("{what} has values; none were expected");
                Some(Difference { mark, what, lines: vec![], edits: vec![Edit::replace(place, text)] })
            }
            (Some(cells), None) => {
                let (lines, _) = self.cells(cells, shown, |_| None);
                let what = format!("{what} was never seen");
                Some(Difference { mark, what, lines, edits: vec![Edit::replace(place, "null".to_string())] })
            }
            (Some(cells), Some(values)) => {
                let (lines, edits) = self.cells(cells, shown, |column| match column {
                    Column::Shown(index) => Some((values[index].clone(), shown[index].tolerance)),
                    _ => None,
                });
                let what = format!("{what} differs");
                (!edits.is_empty()).then_some(Difference { mark, what, lines, edits })
            }
        }
    }

    fn dead_letters(&mut self, place: &Place, expected: &[DeadLetter]) {
        let found = &self.run.dead_letters;
        let mut lines = vec![];
        for index in 0..expected.len().max(found.len()) {
            let (wanted, letter) = (expected.get(index), found.get(index));
            let same = wanted.zip(letter).is_some_and(|(wanted, letter)| {
                wanted.partition.is_none_or(|partition| partition == letter.partition)
                    && wanted.offset.is_none_or(|offset| offset == letter.offset)
                    && wanted.class.as_ref().is_none_or(|class| *class == letter.class)
                    && wanted.reason.as_ref().is_none_or(|reason| letter.reason.contains(reason.as_str()))
            });
            let found = letter.map(|letter| format!("offset {}: {}: {}", letter.offset, letter.class, letter.reason));
            lines.push(Line {
                name: format!("dead letter {}", index + 1),
                expected: wanted.map_or(NONE.to_string(), describe),
                found: found.unwrap_or_else(|| NONE.to_string()),
                same,
            });
        }
        if lines.iter().any(|line| !line.same) {
            let what = format!("dead_letters: {} expected, {} found", expected.len(), found.len());
            let edits = vec![update::dead_letters(place, found, expected, self.json)];
            self.differences.push(Difference { mark: place.mark, what, lines, edits });
        }
    }

    fn counts(&mut self, expected: &[(usize, i64, Place)]) {
        let Some((_, _, first)) = expected.first() else { return };
        let (mut lines, mut edits) = (vec![], vec![]);
        for (index, wanted, place) in expected {
            let found = count(self.run, COUNTS[*index]);
            if found != *wanted {
                edits.push(Edit::replace(place, found.to_string()));
            }
            let (name, same) = (COUNTS[*index].to_string(), found == *wanted);
            lines.push(Line { name, expected: wanted.to_string(), found: found.to_string(), same });
        }
        if !edits.is_empty() {
            self.differences.push(Difference { mark: first.mark, what: "counts differ".to_string(), lines, edits });
        }
    }
}

/// A column's name.
pub fn column_name(column: Column, shown: &[Shown]) -> String {
    match column {
        Column::Shown(index) => shown[index].name.clone(),
        fixed => FIXED.iter().find(|(_, column)| *column == fixed).map_or("", |(name, _)| name).to_string(),
    }
}

fn describe(letter: &DeadLetter) -> String {
    let mut parts: Vec<String> = vec![];
    parts.extend(letter.partition.map(|partition| format!("partition {partition}")));
    parts.extend(letter.offset.map(|offset| format!("offset {offset}")));
    parts.extend(letter.class.clone());
    parts.extend(letter.reason.clone());
    if parts.is_empty() { "any".to_string() } else { parts.join(": ") }
}

/// One of [`COUNTS`], over all partitions.
fn count(run: &Run<'_>, name: &str) -> i64 {
    let of_classes = |counts: &crate::task::Counts| match name {
        "null_keys" => counts.null_keys,
        "expression_failures" => counts.expression_failures,
        "overflows" => counts.overflows,
        class => counts.classes().iter().find(|(name, _)| *name == class).map_or(0, |(_, count)| *count),
    };
    match name {
        "rows" => run.rows.iter().map(Vec::len).sum::<usize>() as i64,
        "dead_letters" => run.dead_letters.len() as i64,
        _ => run.counts.iter().map(of_classes).sum::<u64>() as i64,
    }
}
