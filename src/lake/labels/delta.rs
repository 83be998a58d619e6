//! Labels from a Delta table, as it was at one version.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use deltalake::logstore::object_store::path::Path;
use deltalake::{DeltaTable, DeltaTableError};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use sha2::{Digest, Sha256};

use super::super::columns::ColumnsFile;
use super::super::place::{Place, unavailable};
use super::super::training::hex;
use crate::error::{Error, Result};

/// One file: where it is, its size, and the partition columns' values.
type LabelFile = (Path, u64, HashMap<String, Option<String>>);

/// The columns, the version, the digest and the rows.
pub type Opened = (SchemaRef, u64, String, BoxStream<'static, Result<RecordBatch>>);

/// The table of this place.
pub async fn open(place: &Place, version: Option<u64>) -> Result<Opened> {
    let Some(mut table) = place.load("").await? else {
        return Err(Error::configuration(format!(
            "labels: there is no Delta table at {}; give a Parquet or CSV file, or a Delta table",
            place.url()
        )));
    };
    let url = table.table_url().clone();
    if let Some(version) = version {
        table.load_version(version).await.map_err(|error| {
            Error::refused(format!(
                "labels: the table {url} cannot be read as it was at version {version}: {error}; its log no longer reaches \
                 back so far, or it was replaced"
            ))
        })?;
    }
    let files = list(&table)?;
    let snapshot = table.snapshot().map_err(|e: DeltaTableError| unavailable(&url, "read", &e))?;
    let partitioned = snapshot.metadata().partition_columns().to_vec();
    let fields = columns(&table, &files).await?;
    let schema = Arc::new(Schema::new(fields));
    let mut hasher = Sha256::new();
    for (path, bytes, _) in &files {
        hasher.update(format!("{path} {bytes}\n"));
    }
    let (version, wanted) = (table.version().unwrap_or(0), Arc::clone(&schema));
    let rows = futures::stream::iter(files).map(Ok).and_then(move |file| {
        let (table, wanted, partitioned) = (table.clone(), Arc::clone(&wanted), partitioned.clone());
        async move { rows_of(&table, file, &wanted, &partitioned).await }
    });
    Ok((schema, version, hex(&hasher.finalize()), rows.try_flatten().boxed()))
}

fn list(table: &DeltaTable) -> Result<Vec<LabelFile>> {
    let url = table.table_url();
    let snapshot = table.snapshot().map_err(|e: DeltaTableError| unavailable(url, "read", &e))?;
    let mapped = snapshot.metadata().configuration().get("delta.columnMapping.mode").is_some_and(|mode| mode != "none");
    let mut files = Vec::new();
    for file in snapshot.log_data().iter() {
        if mapped || file.deletion_vector_descriptor().is_some() {
            let what = if mapped { "maps its columns' names" } else { "has deletion vectors" };
            return Err(Error::configuration(format!(
                "labels: the table {url} {what}, which is not read here; write the labels as a Parquet file"
            )));
        }
        files.push((file.object_store_path(), u64::try_from(file.size()).unwrap_or(0), file.partition_values_map()));
    }
    files.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
    Ok(files)
}

/// The table's columns in its order, with the types of its files.
async fn columns(table: &DeltaTable, files: &[LabelFile]) -> Result<Vec<Field>> {
    let url = table.table_url();
    let snapshot = table.snapshot().map_err(|e: DeltaTableError| unavailable(url, "read", &e))?;
    let of_file = match files.first() {
        Some((path, bytes, _)) => Arc::clone(ColumnsFile::open(table, path, *bytes).await?.schema()),
        None => Arc::new(Schema::empty()),
    };
    let schema = snapshot.schema();
    let field = |field: &deltalake::kernel::StructField| {
        let found = of_file.field_with_name(field.name()).ok().map(|found| found.data_type().clone());
        let data_type = found.or_else(|| primitive(&field.data_type().to_string())).ok_or_else(|| {
            Error::configuration(format!(
                "labels: the column `{}` of {url} is {}, which is not read here; leave it out",
                field.name(),
                field.data_type()
            ))
        })?;
        Ok(Field::new(field.name(), data_type, true))
    };
    schema.fields().map(field).collect()
}

/// The type of a partition column, or of one that the first file has not, by Delta's name of it.
fn primitive(name: &str) -> Option<DataType> {
    Some(match name {
        "string" => DataType::Utf8,
        "long" => DataType::Int64,
        "integer" => DataType::Int32,
        "short" => DataType::Int16,
        "byte" => DataType::Int8,
        "double" => DataType::Float64,
        "float" => DataType::Float32,
        "boolean" => DataType::Boolean,
        "date" => DataType::Date32,
        "timestamp" => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, Some("UTC".into())),
        _ => return None,
    })
}

/// The rows of a file, with the values of the partition columns, which it has not itself.
async fn rows_of(
    table: &DeltaTable,
    (path, bytes, values): LabelFile,
    wanted: &SchemaRef,
    partitioned: &[String],
) -> Result<BoxStream<'static, Result<RecordBatch>>> {
    let open = ColumnsFile::open(table, &path, bytes).await?;
    let groups = (0..open.groups()).map(|group| open.read(group, wanted, None)).collect::<Result<Vec<_>>>()?;
    let (wanted, url) = (Arc::clone(wanted), table.table_url().clone());
    let constant = partitioned.iter().filter_map(|name| {
        let index = wanted.index_of(name).ok()?;
        let text = StringArray::from(vec![values.get(name).cloned().flatten()]);
        Some(cast(&text, wanted.field(index).data_type()).map(|value| (index, value)))
    });
    let failed = move |error: &dyn std::fmt::Display| {
        Error::configuration(format!("labels: {path} of {url} cannot be read: {error}; write them as a Parquet file"))
    };
    let constant: Vec<(usize, ArrayRef)> = constant.collect::<Result<_, _>>().map_err(|error| failed(&error))?;
    let rows = futures::stream::iter(groups).flatten();
    Ok(rows
        .map(move |batch| {
            let batch = batch?;
            let mut columns = batch.columns().to_vec();
            for (index, value) in &constant {
                let repeated = arrow::array::UInt32Array::from(vec![0; batch.num_rows()]);
                columns[*index] = arrow::compute::take(value, &repeated, None).map_err(|error| failed(&error))?;
            }
            RecordBatch::try_new(Arc::clone(&wanted), columns).map_err(|error| failed(&error))
        })
        .boxed())
}
