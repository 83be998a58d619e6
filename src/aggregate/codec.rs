//! Compact bytes: the encoding of everything that state keeps.
//!
//! Small numbers are the rule (counts, deltas, prices with few digits), so all integers are variable-length. Reading
//! past the end or an impossible value is [`Corrupt`], never a panic: the store's checksums make it a defect, not an
//! event.

/// State bytes that do not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corrupt;

impl From<Corrupt> for crate::error::Error {
    fn from(_: Corrupt) -> Self {
        Self::state(
            "state bytes do not decode: they were written by another version of Kappa, or are damaged; rebuild them with --replay-from 0",
        )
    }
}

/// Appends an unsigned number, 7 bits a byte.
#[inline]
pub fn put_u64(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a signed number, small magnitudes short.
#[inline]
pub fn put_i64(out: &mut Vec<u8>, n: i64) {
    put_u64(out, ((n << 1) ^ (n >> 63)) as u64);
}

/// Appends a signed 128-bit number, small magnitudes short.
pub fn put_i128(out: &mut Vec<u8>, n: i128) {
    let mut n = ((n << 1) ^ (n >> 127)) as u128;
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

/// Appends a length and the bytes.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads what the `put_` functions wrote.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.bytes.split_first().ok_or(Corrupt)?;
        self.bytes = rest;
        Ok(*first)
    }

    /// The next unsigned number.
    pub fn u64(&mut self) -> Result<u64, Corrupt> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            n |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(n);
            }
        }
        Err(Corrupt)
    }

    /// The next signed number.
    pub fn i64(&mut self) -> Result<i64, Corrupt> {
        let n = self.u64()?;
        Ok((n >> 1) as i64 ^ -((n & 1) as i64))
    }

    /// The next signed 128-bit number.
    pub fn i128(&mut self) -> Result<i128, Corrupt> {
        let mut n = 0u128;
        for shift in (0..128).step_by(7) {
            let byte = self.byte()?;
            n |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok((n >> 1) as i128 ^ -((n & 1) as i128));
            }
        }
        Err(Corrupt)
    }

    /// The next length and that many bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let len = self.u64()? as usize;
        self.take(len)
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.bytes.split_at_checked(len).ok_or(Corrupt)?;
        self.bytes = rest;
        Ok(taken)
    }
}
