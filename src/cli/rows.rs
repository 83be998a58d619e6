//! Arrow batches for people (columns of text) and for programs (one JSON object a row).

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

use super::output;
use crate::error::{Error, Result};

/// A header and one line a row; null is empty.
pub fn as_table(batches: &[RecordBatch]) -> Result<String> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for batch in batches {
        if rows.is_empty() {
            rows.push(batch.schema().fields().iter().map(|field| field.name().clone()).collect());
        }
        let columns = formatters(batch).map_err(unprintable)?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.value(row).to_string()).collect());
        }
    }
    Ok(output::table(&rows))
}

/// One object a row; null is left out, numbers and booleans are bare, everything else is text.
pub fn as_json_lines(batches: &[RecordBatch]) -> Result<String> {
    let mut lines = String::new();
    for batch in batches {
        let columns = formatters(batch).map_err(unprintable)?;
        for row in 0..batch.num_rows() {
            let mut object = serde_json::Map::new();
            for ((field, values), text) in batch.schema().fields().iter().zip(batch.columns()).zip(&columns) {
                if !values.is_null(row) {
                    object.insert(field.name().clone(), json(values.data_type(), text.value(row).to_string()));
                }
            }
            lines.push_str(&serde_json::Value::Object(object).to_string());
            lines.push('\n');
        }
    }
    Ok(lines)
}

fn json(data_type: &DataType, text: String) -> serde_json::Value {
    let bare = data_type.is_numeric() || *data_type == DataType::Boolean;
    match bare.then(|| serde_json::from_str(&text)) {
        Some(Ok(value)) => value,
        _ => serde_json::Value::String(text),
    }
}

const FORMAT: FormatOptions<'static> = FormatOptions::new().with_display_error(true);

fn formatters(batch: &RecordBatch) -> Result<Vec<ArrayFormatter<'_>>, ArrowError> {
    batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &FORMAT)).collect()
}

fn unprintable(error: ArrowError) -> Error {
    Error::internal(format!("rows cannot be printed: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Float64Array, StringArray, TimestampMillisecondArray};

    use super::*;

    fn batch() -> RecordBatch {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("key", Arc::new(StringArray::from(vec!["u1", "u2"]))),
            ("at", Arc::new(TimestampMillisecondArray::from(vec![0, 1500]).with_timezone("UTC"))),
            ("spent", Arc::new(Float64Array::from(vec![Some(1.5), None]))),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, values)| (name, values, true)))
            .unwrap()
    }

    #[test]
    fn rows_are_columns_for_people() {
        let table = as_table(&[batch()]).unwrap();
        assert_eq!(
            table,
            "key  at                        spent\nu1   1970-01-01T00:00:00Z      1.5\nu2   1970-01-01T00:00:01.500Z\n"
        );
    }

    #[test]
    fn rows_are_objects_for_programs() {
        let lines = as_json_lines(&[batch()]).unwrap();
        assert_eq!(
            lines,
            "{\"key\":\"u1\",\"at\":\"1970-01-01T00:00:00Z\",\"spent\":1.5}\n{\"key\":\"u2\",\"at\":\"1970-01-01T00:00:01.500Z\"}\n"
        );
    }
}
