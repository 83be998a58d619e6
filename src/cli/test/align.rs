//! Which found row stands for which expected one: the alignment that costs least.

use super::drive::Row;
use super::expect::{Cells, Column};
use super::value::{Shown, Tolerance, Value};

/// Beyond this many pairs rows are compared one by one, as they come.
const MOST_PAIRS: usize = 4_000_000;

/// One step of an alignment, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// An expected row, and the found one that is it or comes nearest.
    Both(usize, usize),
    /// An expected row that is not there.
    Missing(usize),
    /// A found row that was not expected.
    Extra(usize),
}

/// The value of a column of a found row, and how near it must be.
pub fn cell(row: &Row, column: Column, shown: &[Shown]) -> (Value, Tolerance) {
    let fixed = |value| (value, Tolerance::default());
    match column {
        Column::Key => fixed(Value::Str(row.key.clone())),
        Column::EventTime => fixed(Value::Time(row.event_time)),
        Column::KnownAt => fixed(Value::Time(row.known_at)),
        Column::Partition => fixed(Value::Int(i64::from(row.partition))),
        Column::Offset => fixed(Value::Int(row.offset)),
        Column::Sequence => fixed(Value::Int(i64::from(row.sequence))),
        Column::Shown(index) => (row.values[index].clone(), shown[index].tolerance),
    }
}

/// How unlike an expected row and a found one are: 0 when all that is named is as expected, at most 1 for rows of one
/// key, beyond 2 for rows of two.
fn distance(expected: &Cells, row: &Row, shown: &[Shown]) -> f32 {
    let mut different = 0;
    let mut other_key = 0.0;
    for wanted in &expected.cells {
        let (found, tolerance) = cell(row, wanted.column, shown);
        if !found.is(&wanted.value, tolerance) {
            different += 1;
            other_key = if wanted.column == Column::Key { 2.0 } else { other_key };
        }
    }
    different as f32 / expected.cells.len().max(1) as f32 + other_key
}

/// Aligns rows in order. Extra rows cost nothing unless they are asked for `exactly`; then each costs as much as one
/// that is missing.
pub fn align(expected: &[Cells], found: &[Row], shown: &[Shown], exactly: bool) -> Vec<Step> {
    let (n, m) = (expected.len(), found.len());
    if n.saturating_mul(m) > MOST_PAIRS {
        return one_by_one(n, m, exactly);
    }
    let extra = if exactly { 1.0 } else { 0.0 };
    // costs[i][j]: of the rest, from expected row i and found row j on.
    let mut costs = vec![vec![0f32; m + 1]; n + 1];
    let mut pairs = vec![vec![0f32; m]; n];
    for j in (0..m).rev() {
        costs[n][j] = costs[n][j + 1] + extra;
    }
    for i in (0..n).rev() {
        costs[i][m] = costs[i + 1][m] + 1.0;
        for j in (0..m).rev() {
            pairs[i][j] = distance(&expected[i], &found[j], shown);
            costs[i][j] = (costs[i + 1][j + 1] + pairs[i][j]).min(costs[i + 1][j] + 1.0).min(costs[i][j + 1] + extra);
        }
    }
    let (mut i, mut j, mut steps) = (0, 0, vec![]);
    while i < n || j < m {
        let cost = costs[i][j];
        if i < n && j < m && costs[i + 1][j + 1] + pairs[i][j] <= cost {
            steps.push(Step::Both(i, j));
            (i, j) = (i + 1, j + 1);
        } else if j < m && costs[i][j + 1] + extra <= cost {
            steps.push(Step::Extra(j));
            j += 1;
        } else {
            steps.push(Step::Missing(i));
            i += 1;
        }
    }
    steps.retain(|step| exactly || !matches!(step, Step::Extra(_)));
    steps
}

fn one_by_one(expected: usize, found: usize, exactly: bool) -> Vec<Step> {
    let step = |index| match (index < expected, index < found) {
        (true, true) => Step::Both(index, index),
        (true, false) => Step::Missing(index),
        _ => Step::Extra(index),
    };
    (0..if exactly { expected.max(found) } else { expected }).map(step).collect()
}
