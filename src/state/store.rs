//! The store port: ordered keys, atomic batches.
//!
//! What holds after a crash: a batch is there whole or not at all, and if it is there, so are all batches before it.
//! After a repetition of a batch: the same as after one.

use crate::error::Result;

/// One key and its value, as a scan answers them.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered key-value store of one task.
pub trait Store: Send + Sync {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// The values under `keys`, in their order.
    fn multi_get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>>;
    /// The same without waiting for a disk, each value as of its own moment; `None` where it might have to wait.
    fn multi_get_in_memory(&self, keys: &[&[u8]]) -> Result<Option<Vec<Option<Vec<u8>>>>>;
    /// At most `limit` pairs with `from <= key < to`, by key.
    fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>>;
    /// Applies a batch atomically; on return it survives the process (not necessarily the machine).
    fn write(&self, batch: &Batch) -> Result<()>;
    /// On return everything written survives the machine.
    fn sync(&self) -> Result<()>;
    /// Bytes on disk or in memory, approximately.
    fn bytes(&self) -> u64;
}

/// Puts and deletes, applied in order, in one arena.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    ops: Vec<(u32, Option<u32>)>,
}

impl Batch {
    /// Stores `value` under `key`.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        self.ops.push((key.len() as u32, Some(value.len() as u32)));
    }

    /// Removes `key`, if it is there.
    pub fn delete(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ops.push((key.len() as u32, None));
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.ops.is_empty()
    }

    /// How many operations.
    pub fn len(&self) -> usize {
        self.ops.len()
    }

    /// Forgets the operations, keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ops.clear();
    }

    /// The operations in order: key, and value or `None` for a delete.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        let mut at = 0;
        self.ops.iter().map(move |&(key_len, value_len)| {
            let key = &self.bytes[at..at + key_len as usize];
            at += key_len as usize;
            let value = value_len.map(|len| &self.bytes[at..at + len as usize]);
            at += value_len.unwrap_or(0) as usize;
            (key, value)
        })
    }
}
