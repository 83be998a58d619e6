//! Labels from a CSV file with a header.
//!
//! Always holds: a column's type fits all its rows, because all of them are looked at before the first is given; keys
//! and the time are what they have to be and not what they look like (`007` is a text where the key is one).

use std::fs::File;
use std::io::{BufReader, Seek};
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::arrow::csv;
use deltalake::arrow::csv::reader::Format;

use super::{LabelColumns, unreadable};
use crate::error::Result;

pub type Reader = csv::Reader<File>;

/// The columns of a file, and its rows.
pub fn open(path: &Path, columns: &LabelColumns) -> Result<(SchemaRef, Reader)> {
    let wrong = |error: &dyn std::fmt::Display| unreadable(&path.display(), error);
    let mut file = File::open(path).map_err(|error| wrong(&error))?;
    let format = Format::default().with_header(true);
    let (inferred, _) = format.infer_schema(BufReader::new(&file), None).map_err(|error| wrong(&error))?;
    let fields: Vec<Field> = inferred.fields().iter().map(|field| declared(field, columns)).collect();
    let schema = Arc::new(Schema::new(fields));
    file.rewind().map_err(|error| wrong(&error))?;
    let builder =
        csv::ReaderBuilder::new(Arc::clone(&schema)).with_header(true).with_batch_size(super::super::BATCH_ROWS);
    let reader = builder.build(file).map_err(|error| wrong(&error))?;
    Ok((schema, reader))
}

fn declared(field: &Field, columns: &LabelColumns) -> Field {
    let data_type = match field.data_type() {
        _ if columns.text.contains(field.name()) => DataType::Utf8,
        _ if columns.int64.contains(field.name()) => DataType::Int64,
        // A column without a value has no type; text holds nothing as well.
        DataType::Null => DataType::Utf8,
        other => other.clone(),
    };
    Field::new(field.name(), data_type, true)
}
