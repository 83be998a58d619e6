//! One accumulator for each bucket.

use std::collections::BTreeMap;

use super::acc::{Acc, AccKind, Item};
use super::codec::{Corrupt, Reader, put_bytes, put_u64};

/// Accumulators by the bucket's text, in byte order; nothing but the fact once there are more than `limit`.
#[derive(Debug, Clone, PartialEq)]
pub struct Buckets {
    accs: Option<BTreeMap<Box<str>, Acc>>,
    kind: AccKind,
    limit: u32,
    /// How many inputs: also known when nothing else is.
    n: u64,
}

impl Buckets {
    /// None yet.
    pub fn new(kind: AccKind, limit: u32) -> Self {
        Self { accs: Some(BTreeMap::new()), kind, limit, n: 0 }
    }

    /// Folds one input into its bucket.
    pub fn add(&mut self, item: &Item<'_>) {
        self.n += 1;
        let Some(accs) = &mut self.accs else { return };
        match accs.get_mut(item.bucket) {
            Some(acc) => {
                acc.add(item);
            }
            None => {
                let mut acc = self.kind.empty();
                acc.add(item);
                accs.insert(item.bucket.into(), acc);
            }
        }
        self.bound();
    }

    /// Folds other buckets.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        let (Some(accs), Some(others)) = (&mut self.accs, &other.accs) else {
            self.accs = None;
            return;
        };
        for (bucket, other) in others {
            match accs.get_mut(bucket) {
                Some(acc) => {
                    acc.merge(other);
                }
                None => {
                    accs.insert(bucket.clone(), other.clone());
                }
            }
        }
        self.bound();
    }

    fn bound(&mut self) {
        if self.accs.as_ref().is_some_and(|accs| accs.len() > self.limit as usize) {
            self.accs = None;
        }
    }

    /// The buckets, in byte order; `None` when there are more than the limit.
    pub fn get(&self) -> Option<&BTreeMap<Box<str>, Acc>> {
        self.accs.as_ref()
    }

    /// Whether no input is in any.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.n);
        put_u64(out, self.accs.as_ref().map_or(0, |accs| accs.len() as u64 + 1));
        for (bucket, acc) in self.accs.iter().flatten() {
            put_bytes(out, bucket.as_bytes());
            acc.encode(out);
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(&mut self, input: &mut Reader<'_>) -> Result<(), Corrupt> {
        self.n = input.u64()?;
        let Some(len) = input.u64()?.checked_sub(1) else {
            self.accs = None;
            return Ok(());
        };
        let mut accs = BTreeMap::new();
        for _ in 0..len {
            let bucket = std::str::from_utf8(input.bytes()?).map_err(|_| Corrupt)?.into();
            accs.insert(bucket, self.kind.decode(input)?);
        }
        self.accs = Some(accs);
        Ok(())
    }

    /// Bytes in memory beyond the struct, approximately.
    pub fn heap_bytes(&self) -> usize {
        let entry = 2 * size_of::<(Box<str>, Acc)>();
        self.accs.iter().flatten().map(|(bucket, acc)| entry + bucket.len() + acc.heap_bytes()).sum()
    }
}
