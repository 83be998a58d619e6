//! From key columns to small numbers: 0, 1, 2 ... by first appearance.
//!
//! Always holds: two rows have the same number when all their key values are equal, and only then: bytes are compared,
//! not hashes. A key with a null in it has none.

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, StringArray};
use arrow::datatypes::{DataType, Int64Type};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::error::{Error, Result};

/// Of a label without a key.
pub const NO_KEY: u32 = u32::MAX;

/// The key columns of a batch.
pub struct KeyColumns<'a>(Vec<KeyColumn<'a>>);

enum KeyColumn<'a> {
    Text(&'a StringArray),
    Int(&'a Int64Array),
}

impl<'a> KeyColumns<'a> {
    /// Of columns of text and int64.
    ///
    /// # Errors
    /// Internal: a column has another type.
    pub fn new(columns: impl IntoIterator<Item = &'a ArrayRef>) -> Result<Self> {
        let column = |column: &'a ArrayRef| match column.data_type() {
            DataType::Utf8 => Ok(KeyColumn::Text(column.as_string())),
            DataType::Int64 => Ok(KeyColumn::Int(column.as_primitive::<Int64Type>())),
            other => Err(Error::internal(format!("a key column is {other}"))),
        };
        columns.into_iter().map(column).collect::<Result<_>>().map(Self)
    }

    /// The key of a row as bytes, in `scratch` where it is not one text; `None` when a part is null.
    fn bytes<'s>(&'s self, row: usize, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        if let [KeyColumn::Text(texts)] = self.0.as_slice() {
            return texts.is_valid(row).then(|| texts.value(row).as_bytes());
        }
        scratch.clear();
        for column in &self.0 {
            match column {
                KeyColumn::Text(texts) if texts.is_valid(row) => {
                    let text = texts.value(row).as_bytes();
                    scratch.extend_from_slice(&text.len().to_le_bytes());
                    scratch.extend_from_slice(text);
                }
                KeyColumn::Int(numbers) if numbers.is_valid(row) => {
                    scratch.extend_from_slice(&numbers.value(row).to_le_bytes());
                }
                _ => return None,
            }
        }
        Some(scratch)
    }
}

/// The keys that labels have.
#[derive(Default)]
pub struct KeyIndex {
    table: HashTable<u32>,
    bytes: Vec<u8>,
    /// Where each key ends in `bytes`.
    ends: Vec<usize>,
}

impl KeyIndex {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// The bytes that it holds in memory, about.
    pub fn memory(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * 8 + self.table.capacity() * 5
    }

    /// The number of a row's key, which is new if need be; [`NO_KEY`] when a part of it is null.
    pub fn add(&mut self, keys: &KeyColumns<'_>, row: usize, scratch: &mut Vec<u8>) -> u32 {
        let Some(key) = keys.bytes(row, scratch) else { return NO_KEY };
        let Self { table, bytes, ends } = self;
        let hash = xxh3_64(key);
        if let Some(number) = table.find(hash, |number| of(bytes, ends, *number) == key) {
            return *number;
        }
        let number = ends.len() as u32;
        bytes.extend_from_slice(key);
        ends.push(bytes.len());
        table.insert_unique(hash, number, |number| xxh3_64(of(bytes, ends, *number)));
        number
    }

    /// The number of a row's key, if a label has it.
    pub fn find(&self, keys: &KeyColumns<'_>, row: usize, scratch: &mut Vec<u8>) -> Option<u32> {
        let key = keys.bytes(row, scratch)?;
        self.table.find(xxh3_64(key), |number| of(&self.bytes, &self.ends, *number) == key).copied()
    }
}

fn of<'a>(bytes: &'a [u8], ends: &[usize], number: u32) -> &'a [u8] {
    let number = number as usize;
    let start = if number == 0 { 0 } else { ends[number - 1] };
    &bytes[start..ends[number]]
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn equal_keys_and_only_they_have_one_number() {
        let texts: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), Some(""), None, Some("a"), Some("ab")]));
        let more: ArrayRef = Arc::new(StringArray::from(vec![Some("bc"), Some(""), Some("x"), Some("bc"), Some("c")]));
        let ints: ArrayRef = Arc::new(Int64Array::from(vec![Some(7), Some(7), Some(7), Some(-7), None]));
        let numbers = |columns: &[&ArrayRef]| {
            let keys = KeyColumns::new(columns.iter().copied()).unwrap();
            let (mut index, mut scratch) = (KeyIndex::default(), Vec::new());
            let numbers: Vec<u32> = (0..5).map(|row| index.add(&keys, row, &mut scratch)).collect();
            let again: Vec<u32> = (0..5).map(|row| index.find(&keys, row, &mut scratch).unwrap_or(NO_KEY)).collect();
            assert_eq!(numbers, again);
            numbers
        };
        assert_eq!(numbers(&[&texts]), [0, 1, NO_KEY, 0, 2]);
        assert_eq!(numbers(&[&ints]), [0, 0, 0, 1, NO_KEY]);
        assert_eq!(numbers(&[&texts, &more]), [0, 1, NO_KEY, 0, 2], "\"a\" \"bc\" is not \"ab\" \"c\"");
        assert_eq!(numbers(&[&texts, &ints]), [0, 1, NO_KEY, 2, NO_KEY]);
    }
}
