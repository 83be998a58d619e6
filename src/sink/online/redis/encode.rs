//! Rows as arguments of `publish.lua`: one blob for the call and one for its rows, both MessagePack, which Redis' Lua
//! decodes in C. Names go once a call, values as ready text; a blob is one argument, so neither side pays per value.
//!
//! Leaves out MessagePack's floats, maps and extensions: nothing here needs them.

use redis::Cmd;

use super::super::column::Column;
use super::super::text::{OnlineKey, RowText};
use super::super::{OnlineBatch, Position};

const FALSE: u8 = 0xc2;
const TRUE: u8 = 0xc3;
/// Text up to this length has its length in its one head byte.
const FIXSTR_MAX: usize = 31;

/// Writes the calls of one batch.
pub(super) struct Encoder<'a> {
    batch: &'a OnlineBatch<'a>,
    text: RowText<'a>,
    key: OnlineKey<'a>,
    sha: &'a str,
    head: Vec<u8>,
    scratch: Vec<u8>,
    rows: Vec<u8>,
}

impl<'a> Encoder<'a> {
    pub(super) fn new(batch: &'a OnlineBatch<'a>, text: RowText<'a>, sha: &'a str) -> Self {
        let head = head(batch);
        let key = OnlineKey::of(batch.entity);
        Self { batch, text, key, sha, head, scratch: Vec::new(), rows: Vec::new() }
    }

    /// The online key of a row.
    pub(super) fn key(&self, row: u32) -> Vec<u8> {
        let mut key = Vec::new();
        self.key.write(self.text.key(row as usize), &mut key);
        key
    }

    /// One call of the script for these rows.
    pub(super) fn call(&mut self, picks: &[u32]) -> Cmd {
        let mut cmd = Cmd::with_capacity(picks.len() + 5, 64 + self.head.len() + picks.len() * 160);
        cmd.arg("EVALSHA").arg(self.sha).arg(picks.len());
        self.rows.clear();
        array_head(&mut self.rows, picks.len() * (self.text.columns().len() + 5));
        for pick in picks {
            let row = *pick as usize;
            self.scratch.clear();
            self.key.write(self.text.key(row), &mut self.scratch);
            cmd.arg(self.scratch.as_slice());
            self.row(row);
        }
        cmd.arg(self.head.as_slice()).arg(self.rows.as_slice());
        cmd
    }

    fn row(&mut self, row: usize) {
        let position = self.text.position(row, self.batch.partition, self.batch.generation, self.batch.refresh);
        let out = &mut self.rows;
        int(out, position.offset);
        int(out, i64::from(position.sequence));
        out.push(if self.text.all_empty(row) { TRUE } else { FALSE });
        position_text(out, &position);
        let event_time = self.batch.refresh.unwrap_or_else(|| self.text.event_time(row));
        short(out, |out| out.extend_from_slice(itoa::Buffer::new().format(event_time).as_bytes()));
        for column in self.text.columns() {
            match column {
                column if column.is_null(row) => out.push(FALSE),
                Column::String(array) => bytes(out, array.value(row).as_bytes()),
                Column::Decimal(_) | Column::Nested(_) => long(out, |out| column.write(row, out)),
                column => short(out, |out| column.write(row, out)),
            }
        }
    }
}

fn head(batch: &OnlineBatch<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let columns = batch.entity.columns().count();
    array_head(&mut out, columns + 5);
    int(&mut out, batch.generation as i64);
    match batch.refresh {
        Some(refresh) => int(&mut out, refresh),
        None => out.push(FALSE),
    }
    bytes(&mut out, itoa::Buffer::new().format(batch.version).as_bytes());
    bytes(&mut out, itoa::Buffer::new().format(batch.entity.empty_ttl).as_bytes());
    int(&mut out, columns as i64);
    batch.entity.columns().for_each(|(name, _)| bytes(&mut out, name.as_bytes()));
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

/// A position takes up to 73 bytes: one length byte always.
fn position_text(out: &mut Vec<u8>, position: &Position) {
    out.push(0xd9);
    let at = out.len();
    out.push(0);
    position.write(out);
    out[at] = (out.len() - at - 1) as u8;
}
