//! The labels of a training set: a Parquet or CSV file, or a Delta table.
//!
//! Always holds: rows come in the order of the file, of a table in the order of its files' names; the same labels have
//! the same digest, and another digest means other labels. A table is read as it was at one version. Columns keep their
//! names and types; what a CSV file's columns are is decided over the whole file.

mod csv;
mod delta;

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use deltalake::parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::place::Place;
use super::training::hex;
use crate::error::{Error, Result};

/// What labels are kept in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Parquet,
    Csv,
    Delta,
}

/// The columns whose types a CSV file does not decide.
#[derive(Debug, Clone, Default)]
pub struct LabelColumns {
    /// Read as text: the time, and keys that are strings.
    pub text: BTreeSet<String>,
    /// Read as int64.
    pub int64: BTreeSet<String>,
}

/// Labels, being read.
pub struct Labels {
    place: String,
    format: Format,
    schema: SchemaRef,
    table_version: Option<u64>,
    digest: String,
    rows: Rows,
}

enum Rows {
    Parquet(ParquetRecordBatchReader),
    Csv(Box<csv::Reader>),
    Delta(BoxStream<'static, Result<RecordBatch>>),
}

impl Labels {
    /// The labels at this path or url; a table at `version`, or as it is now.
    ///
    /// # Errors
    /// Configuration: there are none, or they cannot be read as what they are. Refused: the version is gone.
    /// Unavailable.
    pub async fn open(place: &str, options: Place, columns: &LabelColumns, version: Option<u64>) -> Result<Self> {
        let path = local(place);
        let format = match &path {
            Some(path) if !path.join("_delta_log").is_dir() => format_of(path)?,
            _ => Format::Delta,
        };
        if let (Format::Delta, _) | (_, None) = (format, &path) {
            let (schema, version, digest, rows) = delta::open(&options, version).await?;
            let (place, table_version) = (place.to_string(), Some(version));
            return Ok(Self { place, format, schema, table_version, digest, rows: Rows::Delta(rows) });
        }
        let path = path.unwrap_or_default();
        let digest = digest(&path)?;
        let (schema, rows) = match format {
            Format::Csv => csv::open(&path, columns).map(|(schema, reader)| (schema, Rows::Csv(Box::new(reader))))?,
            _ => parquet(&path).map(|(schema, reader)| (schema, Rows::Parquet(reader)))?,
        };
        Ok(Self { place: place.to_string(), format, schema, table_version: None, digest, rows })
    }

    /// Their columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Where they are, as it was given.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What they are kept in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The version of a table.
    pub fn table_version(&self) -> Option<u64> {
        self.table_version
    }

    /// SHA-256: of a file's bytes, or of the names and sizes of a table's files.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The next rows; `None` at the end.
    ///
    /// # Errors
    /// Configuration: a row cannot be read. Of a table as [`super::ColumnsFile::open`].
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        match &mut self.rows {
            Rows::Parquet(reader) => reader.next().transpose().map_err(|error| unreadable(&self.place, &error)),
            Rows::Csv(reader) => reader.next().transpose().map_err(|error| unreadable(&self.place, &error)),
            Rows::Delta(stream) => stream.try_next().await,
        }
    }
}

/// The path of what is no url; `file://` is one, too.
fn local(place: &str) -> Option<PathBuf> {
    match url::Url::parse(place) {
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok(),
        Ok(_) => None,
        Err(_) => Some(PathBuf::from(place)),
    }
}

/// By the name, and where that does not tell, by the first bytes.
fn format_of(path: &Path) -> Result<Format> {
    if path.is_dir() {
        return Err(Error::configuration(format!(
            "labels {}: it is a directory without a Delta table in it; give a Parquet or CSV file, or a Delta table",
            path.display()
        )));
    }
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
    if extension == "csv" {
        return Ok(Format::Csv);
    }
    let mut start = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match read {
        Ok(()) if &start == b"PAR1" => Ok(Format::Parquet),
        Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => Err(unreadable(&path.display(), &error)),
        _ => Err(Error::configuration(format!(
            "labels {}: it is no Parquet file; a CSV file's name ends with .csv",
            path.display()
        ))),
    }
}

fn parquet(path: &Path) -> Result<(SchemaRef, ParquetRecordBatchReader)> {
    let wrong = |error: &dyn std::fmt::Display| unreadable(&path.display(), error);
    let file = File::open(path).map_err(|error| wrong(&error))?;
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| wrong(&error))?;
    let schema = plain(builder.schema());
    let reader = builder.with_batch_size(super::BATCH_ROWS).build().map_err(|error| wrong(&error))?;
    Ok((schema, reader))
}

/// The columns without what a writer said beside them.
fn plain(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().clone()))
}

fn digest(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut file = File::open(path).map_err(|error| unreadable(&path.display(), &error))?;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(hex(&hasher.finalize())),
            Ok(count) => hasher.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(&path.display(), &error)),
        }
    }
}

fn unreadable(place: &dyn std::fmt::Display, error: &dyn std::fmt::Display) -> Error {
    Error::configuration(format!("labels {place}: {error}; give a Parquet or CSV file, or a Delta table"))
}
