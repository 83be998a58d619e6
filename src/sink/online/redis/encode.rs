//! Rows as arguments of `publish.lua` and `feast.lua`: one blob for the call and one for its rows, both MessagePack, which
//! Redis' Lua decodes in C. Names go once a call, values as ready bytes; a blob is one argument, so neither side pays per
//! value.
//!
//! Leaves out MessagePack's floats, maps and extensions: nothing here needs them.

use redis::Cmd;

use super::super::column::Column;
use super::super::text::{OnlineKey, RowText};
use super::super::{OnlineBatch, Position};
use super::feast::{FeastView, timestamp};
use crate::error::Result;

const FALSE: u8 = 0xc2;
const TRUE: u8 = 0xc3;
/// Text up to this length has its length in its one head byte.
const FIXSTR_MAX: usize = 31;

/// In which of its forms an entity is written.
pub(super) enum Form<'a> {
    /// A hash of plain text.
    Hash(OnlineKey<'a>),
    /// As Feast's own clients read it.
    Feast(FeastView<'a>),
}

/// Writes the calls of one batch in one form.
pub(super) struct Encoder<'a> {
    batch: &'a OnlineBatch<'a>,
    text: &'a RowText<'a>,
    form: Form<'a>,
    sha: &'a str,
    head: Vec<u8>,
    scratch: Vec<u8>,
    rows: Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(batch: &'a OnlineBatch<'a>, text: &'a RowText<'a>, form: Form<'a>, sha: &'a str) -> Self {
        let head = head(batch, &form);
        Self { batch, text, form, sha, head, scratch: Vec::new(), rows: Vec::new() }
    }

    /// The key of a row's hash.
    pub(super) fn key(&self, row: u32) -> Result<Vec<u8>> {
        let mut key = Vec::new();
        self.form.write_key(self.text.key(row as usize), &mut key)?;
        Ok(key)
    }

    /// One call of the script for these rows.
    pub(super) fn call(&mut self, picks: &[u32]) -> Result<Cmd> {
        let mut cmd = Cmd::with_capacity(picks.len() + 5, 64 + self.head.len() + picks.len() * 160);
        cmd.arg("EVALSHA").arg(self.sha).arg(picks.len());
        self.rows.clear();
        array_head(&mut self.rows, picks.len() * (self.text.columns().len() + 5));
        for pick in picks {
            let row = *pick as usize;
            self.scratch.clear();
            self.form.write_key(self.text.key(row), &mut self.scratch)?;
            cmd.arg(self.scratch.as_slice());
            self.row(row);
        }
        cmd.arg(self.head.as_slice()).arg(self.rows.as_slice());
        Ok(cmd)
    }

    fn row(&mut self, row: usize) {
        let position = self.text.position(row, self.batch.partition, self.batch.generation, self.batch.refresh);
        let out = &mut self.rows;
        int(out, position.offset);
        int(out, i64::from(position.sequence));
        out.push(if self.text.all_empty(row) { TRUE } else { FALSE });
        let version = matches!(self.form, Form::Feast(_)).then_some(self.batch.version);
        position_text(out, &position, version);
        let event_time = self.batch.refresh.unwrap_or_else(|| self.text.event_time(row));
        match &self.form {
            Form::Hash(_) => {
                short(out, |out| out.extend_from_slice(itoa::Buffer::new().format(event_time).as_bytes()));
                self.text.columns().iter().for_each(|column| text(column, row, out));
            }
            Form::Feast(view) => {
                bytes(out, &timestamp(event_time));
                for column in self.text.columns() {
                    match column.is_null(row) {
                        true => out.push(FALSE),
                        false => long(out, |out| view.write(column, row, out)),
                    }
                }
            }
        }
    }
}

impl Form<'_> {
    fn write_key(&self, id: &str, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Hash(key) => {
                key.write(id, out);
                Ok(())
            }
            Self::Feast(view) => view.write_key(id, out),
        }
    }
}

/// A value as plain text.
fn text(column: &Column<'_>, row: usize, out: &mut Vec<u8>) {
    match column {
        column if column.is_null(row) => out.push(FALSE),
        Column::String(array) => bytes(out, array.value(row).as_bytes()),
        Column::Decimal(_) | Column::Nested(_) => long(out, |out| column.write(row, out)),
        column => short(out, |out| column.write(row, out)),
    }
}

fn head(batch: &OnlineBatch<'_>, form: &Form<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let columns = batch.entity.columns().count();
    array_head(&mut out, columns + 5);
    int(&mut out, batch.generation as i64);
    match batch.refresh {
        Some(refresh) => int(&mut out, refresh),
        None => out.push(FALSE),
    }
    match form {
        Form::Hash(_) => bytes(&mut out, itoa::Buffer::new().format(batch.version).as_bytes()),
        Form::Feast(view) => bytes(&mut out, view.name().as_bytes()),
    }
    bytes(&mut out, itoa::Buffer::new().format(batch.entity.empty_ttl).as_bytes());
    int(&mut out, columns as i64);
    match form {
        Form::Hash(_) => batch.entity.columns().for_each(|(name, _)| bytes(&mut out, name.as_bytes())),
        Form::Feast(view) => view.fields().iter().for_each(|field| bytes(&mut out, field)),
    }
    out
}

fn array_head(out: &mut Vec<u8>, len: usize) {
    out.push(0xdd);
    out.extend_from_slice(&(len as u32).to_be_bytes());
}

fn int(out: &mut Vec<u8>, value: i64) {
    match value {
        0..=127 => out.push(value as u8),
        _ => {
            out.push(0xd3);
            out.extend_from_slice(&value.to_be_bytes());
        }
    }
}

fn bytes(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..=FIXSTR_MAX => out.push(0xa0 | len as u8),
        len => {
            out.push(0xdb);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    out.extend_from_slice(text);
}

/// Text whose length is known only once it is written, and never above [`FIXSTR_MAX`]: a number, a bool, a time.
#[inline]
fn short(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    debug_assert!(len <= FIXSTR_MAX);
    out[at] = 0xa0 | len as u8;
}

/// Text of any length that is known only once it is written.
fn long(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(0xdb);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    write(out);
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_be_bytes());
}

/// A position takes up to 73 bytes, a version 11 more: one length byte always.
fn position_text(out: &mut Vec<u8>, position: &Position, version: Option<u32>) {
    out.push(0xd9);
    let at = out.len();
    out.push(0);
    position.write(out);
    if let Some(version) = version {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(version).as_bytes());
    }
    out[at] = (out.len() - at - 1) as u8;
}
