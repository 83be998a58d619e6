//! Two Delta tables row by row, a day at a time: what is in memory is the rows of one day.
//!
//! Always holds: rows are the same when they are at the same place (partition and ordinal) and every column but the
//! version's number is the same, to the last bit. A row's day follows from the row, so equal tables have equal days.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::DataType;
use arrow::util::display::array_value_to_string;
use deltalake::datafusion::prelude::SessionContext;

use super::Differences;
use super::delta::{Failure, column, ints, open};

/// The only column that may differ.
const VERSION: &str = "version";

/// Compares the tables at two URLs; `date` is the column that both are partitioned by.
pub async fn compare_tables(expected: &str, actual: &str, date: &str) -> Result<Differences, Failure> {
    let (expected, actual) = (open(expected).await?, open(actual).await?);
    let mut days = days(&expected, date).await?;
    days.extend(self::days(&actual, date).await?);
    let mut found = Differences::default();
    for day in days {
        let (wanted, rows) = (rows_of(&expected, date, &day).await?, rows_of(&actual, date, &day).await?);
        found.merge(compare_rows(&day, wanted.as_ref(), rows.as_ref())?);
    }
    Ok(found)
}

async fn days(table: &SessionContext, date: &str) -> Result<BTreeSet<String>, Failure> {
    let batches = table.sql(&format!("select distinct cast({date} as varchar) as day from t")).await?.collect().await?;
    let mut days = BTreeSet::new();
    for batch in batches {
        let texts = column(&batch, "day", &DataType::Utf8)?;
        for day in texts.as_string::<i32>() {
            days.insert(day.ok_or("a row has no date")?.to_string());
        }
    }
    Ok(days)
}

/// The rows of one day in the order of their places, without their version; `None` when there are none.
async fn rows_of(table: &SessionContext, date: &str, day: &str) -> Result<Option<RecordBatch>, Failure> {
    let sql = format!("select * from t where {date} = date '{day}' order by \"partition\", ordinal");
    let batches = table.sql(&sql).await?.collect().await?;
    let Some(first) = batches.first() else { return Ok(None) };
    let rows = concat_batches(&first.schema(), &batches)?;
    let fields = rows.schema();
    let kept: Vec<usize> = (0..fields.fields().len()).filter(|index| fields.field(*index).name() != VERSION).collect();
    Ok(Some(rows.project(&kept)?))
}

/// Where a row is.
type Row = (i64, i64);

fn places(rows: Option<&RecordBatch>) -> Result<Vec<Row>, Failure> {
    let Some(rows) = rows else { return Ok(vec![]) };
    Ok(ints(rows, "partition")?.into_iter().zip(ints(rows, "ordinal")?).collect())
}

fn compare_rows(
    day: &str,
    expected: Option<&RecordBatch>,
    actual: Option<&RecordBatch>,
) -> Result<Differences, Failure> {
    let (left, right) = (places(expected)?, places(actual)?);
    let mut found = Differences { expected: left.len() as u64, actual: right.len() as u64, ..Differences::default() };
    if let (Some(expected), Some(actual)) = (expected, actual)
        && expected.columns() == actual.columns()
    {
        return Ok(found);
    }
    let (mut at, mut row) = (0, 0);
    let shown = |what: &str, (partition, ordinal): Row| format!("{what}: {day}, partition {partition} #{ordinal}");
    while at < left.len() || row < right.len() {
        match (left.get(at), right.get(row)) {
            (Some(wanted), Some(place)) if wanted == place => {
                // Both are there: there are rows at these indices.
                if let (Some(expected), Some(actual)) = (expected, actual)
                    && let Some(what) = difference(expected, at, actual, row)?
                {
                    found.different += 1;
                    found.show(|| shown(&what, *wanted));
                }
                (at, row) = (at + 1, row + 1);
                while right.get(row) == Some(wanted) {
                    found.doubled += 1;
                    found.show(|| shown("doubled", *wanted));
                    row += 1;
                }
            }
            (Some(wanted), next) if next.is_none_or(|place| wanted < place) => {
                found.lost += 1;
                found.show(|| shown("lost", *wanted));
                at += 1;
            }
            (_, next) => {
                let place = *next.expect("the other side is past it");
                found.extra += 1;
                found.show(|| shown("extra", place));
                row += 1;
            }
        }
    }
    Ok(found)
}

/// The columns in which two rows differ, with their values.
fn difference(expected: &RecordBatch, at: usize, actual: &RecordBatch, row: usize) -> Result<Option<String>, Failure> {
    if expected.num_columns() != actual.num_columns() {
        return Err(format!("{:?} are not the columns {:?}", actual.schema(), expected.schema()).into());
    }
    let mut what = vec![];
    for ((field, wanted), found) in expected.schema().fields().iter().zip(expected.columns()).zip(actual.columns()) {
        if wanted.slice(at, 1) != found.slice(row, 1) {
            let (wanted, found) = (array_value_to_string(wanted, at)?, array_value_to_string(found, row)?);
            what.push(format!("{} is {found}, expected {wanted}", field.name()));
        }
    }
    Ok(if what.is_empty() { None } else { Some(what.join("; ")) })
}
