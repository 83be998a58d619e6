//! A single value of a record or a feature.

use std::cmp::Ordering;

use super::codec::{Corrupt, Reader, put_bytes, put_i64, put_i128};

/// A value that state may keep: an extreme, the newest, a key of a bucket.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Value {
    #[default]
    Null,
    Int(i64),
    /// Finite, never -0.0.
    Double(f64),
    Bool(bool),
    /// Milliseconds since 1970.
    Time(i64),
    Str(Box<str>),
    /// Without its scale, which the type says.
    Decimal(Wide),
}

/// 128 bits in two halves: an `i128` would align every value that holds one to 16 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wide {
    hi: i64,
    lo: u64,
}

impl From<i128> for Wide {
    fn from(n: i128) -> Self {
        Self { hi: (n >> 64) as i64, lo: n as u64 }
    }
}

impl From<Wide> for i128 {
    fn from(wide: Wide) -> Self {
        (Self::from(wide.hi) << 64) | Self::from(wide.lo)
    }
}

impl Value {
    /// Whether there is none.
    pub fn is_null(&self) -> bool {
        *self == Self::Null
    }

    /// The order of values of one type: numbers by size, strings by bytes. Values of one feature never mix types.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) | (Self::Time(a), Self::Time(b)) => a.cmp(b),
            (Self::Double(a), Self::Double(b)) => a.total_cmp(b),
            (Self::Bool(a), Self::Bool(b)) => a.cmp(b),
            (Self::Str(a), Self::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Self::Decimal(a), Self::Decimal(b)) => i128::from(*a).cmp(&i128::from(*b)),
            (a, b) => a.rank().cmp(&b.rank()),
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Self::Null => 0,
            Self::Int(_) => 1,
            Self::Double(_) => 2,
            Self::Bool(_) => 3,
            Self::Time(_) => 4,
            Self::Str(_) => 5,
            Self::Decimal(_) => 6,
        }
    }

    /// Bytes in memory beyond the value itself.
    pub fn heap_bytes(&self) -> usize {
        if let Self::Str(text) = self { text.len() } else { 0 }
    }

    /// Appends its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.rank());
        match self {
            Self::Null => {}
            Self::Int(n) | Self::Time(n) => put_i64(out, *n),
            Self::Double(x) => out.extend_from_slice(&x.to_le_bytes()),
            Self::Bool(b) => out.push(u8::from(*b)),
            Self::Str(s) => put_bytes(out, s.as_bytes()),
            Self::Decimal(n) => put_i128(out, (*n).into()),
        }
    }

    /// Reads what [`Self::encode`] wrote.
    pub fn decode(input: &mut Reader<'_>) -> Result<Self, Corrupt> {
        Ok(match input.byte()? {
            0 => Self::Null,
            1 => Self::Int(input.i64()?),
            2 => Self::Double(f64::from_le_bytes(input.take(8)?.try_into().map_err(|_| Corrupt)?)),
            3 => Self::Bool(input.byte()? != 0),
            4 => Self::Time(input.i64()?),
            5 => Self::Str(std::str::from_utf8(input.bytes()?).map_err(|_| Corrupt)?.into()),
            6 => Self::Decimal(input.i128()?.into()),
            _ => return Err(Corrupt),
        })
    }
}

/// Values are ordered within one type; a double is never NaN or -0.0, so equality is an equivalence.
impl Eq for Value {}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.order(other)
    }
}
