//! Arrow batches for people (columns of text) and for programs (one JSON object a row).
//!
//! Lists and maps are JSON in both, as in the online store: what `top_k` counts is `[[value,n],...]`.

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch};
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
        let columns = printers(batch).map_err(unprintable)?;
        for row in 0..batch.num_rows() {
            rows.push(columns.iter().map(|column| column.cell(row)).collect());
        }
    }
    Ok(output::table(&rows))
}

/// One object a row; null is left out, numbers and booleans are bare, everything else that is not nested is text.
pub fn as_json_lines(batches: &[RecordBatch]) -> Result<String> {
    let mut lines = String::new();
    for batch in batches {
        let (schema, columns) = (batch.schema(), printers(batch).map_err(unprintable)?);
        for row in 0..batch.num_rows() {
            let shown = schema.fields().iter().zip(&columns).filter(|(_, column)| !column.array.is_null(row));
            sequence(&mut lines, ['{', '}'], shown, |lines, (field, column)| {
                quoted(lines, field.name());
                lines.push(':');
                column.json(row, lines);
            });
            lines.push('\n');
        }
    }
    Ok(lines)
}

/// One value for people; `null` where there is none.
pub fn cell(array: &ArrayRef, row: usize) -> Result<String> {
    let printer = Printer::new(array).map_err(unprintable)?;
    Ok(if array.is_null(row) { "null".to_string() } else { printer.cell(row) })
}

/// One value as JSON.
pub fn json(array: &ArrayRef, row: usize) -> Result<String> {
    let mut text = String::new();
    Printer::new(array).map_err(unprintable)?.json(row, &mut text);
    Ok(text)
}

/// Prints the values of one array.
struct Printer<'a> {
    array: &'a ArrayRef,
    form: Form<'a>,
}

enum Form<'a> {
    /// A number with all its digits, or a bool.
    Bare(ArrayFormatter<'a>),
    Double(&'a Float64Array),
    Text(ArrayFormatter<'a>),
    /// Offsets and items.
    List(&'a [i32], Box<Printer<'a>>),
    /// Offsets, keys and values.
    Map(&'a [i32], Box<Printer<'a>>, Box<Printer<'a>>),
    /// Its fields' values, in order.
    Struct(Vec<Printer<'a>>),
}

impl<'a> Printer<'a> {
    fn new(array: &'a ArrayRef) -> Result<Self, ArrowError> {
        let boxed = |array: &'a ArrayRef| Self::new(array).map(Box::new);
        let text = || ArrayFormatter::try_new(array, &FORMAT);
        let form = match array.data_type() {
            DataType::Float64 => Form::Double(array.as_primitive()),
            DataType::Boolean => Form::Bare(text()?),
            number if number.is_numeric() => Form::Bare(text()?),
            DataType::List(_) => {
                Form::List(array.as_list::<i32>().value_offsets(), boxed(array.as_list::<i32>().values())?)
            }
            DataType::Map(..) => {
                let map = array.as_map();
                Form::Map(map.value_offsets(), boxed(map.keys())?, boxed(map.values())?)
            }
            DataType::Struct(_) => {
                Form::Struct(array.as_struct().columns().iter().map(Self::new).collect::<Result<_, _>>()?)
            }
            _ => Form::Text(text()?),
        };
        Ok(Self { array, form })
    }

    /// The value for people.
    fn cell(&self, row: usize) -> String {
        match &self.form {
            _ if self.array.is_null(row) => String::new(),
            Form::Text(text) => text.value(row).to_string(),
            _ => {
                let mut text = String::new();
                self.json(row, &mut text);
                text
            }
        }
    }

    fn json(&self, row: usize, out: &mut String) {
        let range = |offsets: &[i32]| offsets[row] as usize..offsets[row + 1] as usize;
        match &self.form {
            _ if self.array.is_null(row) => out.push_str("null"),
            Form::Bare(text) => out.push_str(&text.value(row).to_string()),
            Form::Double(values) => out.push_str(&serde_json::json!(values.value(row)).to_string()),
            Form::Text(text) => quoted(out, &text.value(row).to_string()),
            Form::List(offsets, items) => sequence(out, ['[', ']'], range(offsets), |out, item| items.json(item, out)),
            Form::Map(offsets, keys, values) => sequence(out, ['{', '}'], range(offsets), |out, entry| {
                quoted(out, &keys.cell(entry));
                out.push(':');
                values.json(entry, out);
            }),
            Form::Struct(fields) => sequence(out, ['[', ']'], fields, |out, field| field.json(row, out)),
        }
    }
}

/// Each item with commas between, and a bracket at either end.
fn sequence<T>(
    out: &mut String,
    [open, close]: [char; 2],
    items: impl IntoIterator<Item = T>,
    mut print: impl FnMut(&mut String, T),
) {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        print(out, item);
    }
    out.push(close);
}

/// A JSON string.
fn quoted(out: &mut String, text: &str) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

const FORMAT: FormatOptions<'static> = FormatOptions::new().with_display_error(true);

fn printers(batch: &RecordBatch) -> Result<Vec<Printer<'_>>, ArrowError> {
    batch.columns().iter().map(Printer::new).collect()
}

fn unprintable(error: ArrowError) -> Error {
    Error::internal(format!("rows cannot be printed: {error}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        Decimal128Array, Int64Array, ListBuilder, MapBuilder, StringArray, StringBuilder, StructArray,
        TimestampMillisecondArray,
    };
    use arrow::buffer::OffsetBuffer;
    use arrow::datatypes::Field;

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

    /// A map to lists, a counted list and a decimal; a null each in the second row.
    fn nested() -> RecordBatch {
        let mut map = MapBuilder::new(None, StringBuilder::new(), ListBuilder::new(StringBuilder::new()));
        map.keys().append_value("a\"b");
        map.values().append_value([Some("x"), None]);
        map.append(true).unwrap();
        map.append(false).unwrap();
        let values: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![0, 1]).with_timezone("UTC"));
        let counts: ArrayRef = Arc::new(Int64Array::from(vec![3, 1]));
        let pair = |name, array: &ArrayRef| Arc::new(Field::new(name, array.data_type().clone(), false));
        let pairs = StructArray::from(vec![(pair("value", &values), values), (pair("n", &counts), counts)]);
        let item = Arc::new(Field::new("item", pairs.data_type().clone(), true));
        let nulls = Some(vec![true, false].into());
        let top = arrow::array::ListArray::new(item, OffsetBuffer::new(vec![0, 2, 2].into()), Arc::new(pairs), nulls);
        let price = Decimal128Array::from(vec![Some(10i128.pow(20)), None]).with_precision_and_scale(38, 2).unwrap();
        let columns: [(&str, ArrayRef); 3] =
            [("by", Arc::new(map.finish())), ("top", Arc::new(top)), ("price", Arc::new(price))];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, values)| (name, values, true))).unwrap()
    }

    #[test]
    fn lists_and_maps_are_json_in_both_and_decimals_keep_their_digits() {
        let map = r#"{"a\"b":["x",null]}"#;
        let top = r#"[["1970-01-01T00:00:00Z",3],["1970-01-01T00:00:00.001Z",1]]"#;
        let price = "1000000000000000000.00";
        let lines = as_json_lines(&[nested()]).unwrap();
        assert_eq!(lines, format!("{{\"by\":{map},\"top\":{top},\"price\":{price}}}\n{{}}\n"));
        let table = as_table(&[nested()]).unwrap();
        assert_eq!(table.lines().nth(1).unwrap(), [map, top, price].join("  "));
    }
}
