//! Every kind of key of a task's store, in one enum.
//!
//! One byte for the kind, then what orders it. Numbers are big-endian; signed ones have their sign bit flipped, so that
//! bytes order as numbers do. Within a kind no key is another's prefix in a way that matters: either the length is
//! fixed, or the variable part comes last, or a fixed tail follows it and only whole keys are looked up.

use crate::time::Millis;

/// The kind byte of outbox entries, which live in a column family of their own.
pub const OUTBOX: u8 = b'o';

/// A key of a task's store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key<'a> {
    /// The task's position, watermark, ordinals and counts.
    Meta,
    /// A sink's cursor: the number of the last epoch it has taken; the online one also the next offset published with
    /// it.
    Cursor { sink: &'a str },
    /// An entity's head: running totals, current tiles, sessions.
    Head { entity: u16, id: &'a [u8] },
    /// Sealed tiles of one of an entity's windows, named by the start of the first.
    Chunk { entity: u16, id: &'a [u8], window: u16, first: Millis },
    /// The entity's next timer.
    Timer { tau: Millis, entity: u16, id: &'a [u8] },
    /// A frozen epoch.
    Outbox { epoch: u64 },
}

impl Key<'_> {
    /// Its bytes, appended to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match *self {
            Key::Meta => out.push(b'm'),
            Key::Cursor { sink } => {
                out.push(b'k');
                out.extend_from_slice(sink.as_bytes());
            }
            Key::Head { entity, id } => {
                out.push(b'h');
                out.extend_from_slice(&entity.to_be_bytes());
                out.extend_from_slice(id);
            }
            Key::Chunk { entity, id, window, first } => {
                out.push(b'c');
                out.extend_from_slice(&entity.to_be_bytes());
                out.extend_from_slice(id);
                out.extend_from_slice(&window.to_be_bytes());
                out.extend_from_slice(&ordered(first));
            }
            Key::Timer { tau, entity, id } => {
                out.push(b't');
                out.extend_from_slice(&ordered(tau));
                out.extend_from_slice(&entity.to_be_bytes());
                out.extend_from_slice(id);
            }
            Key::Outbox { epoch } => {
                out.push(OUTBOX);
                out.extend_from_slice(&epoch.to_be_bytes());
            }
        }
    }

    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(32);
        self.write(&mut out);
        out
    }
}

/// Whether a key lies in the outbox's column family.
pub fn is_outbox(key: &[u8]) -> bool {
    key.first() == Some(&OUTBOX)
}

/// The entity's index and id of a head's key.
pub fn parse_head(key: &[u8]) -> Option<(u16, &[u8])> {
    let (entity, id) = key.strip_prefix(b"h")?.split_first_chunk::<2>()?;
    Some((u16::from_be_bytes(*entity), id))
}

/// The time, entity index and id of a timer's key.
pub fn parse_timer(key: &[u8]) -> Option<(Millis, u16, &[u8])> {
    let (tau, rest) = key.strip_prefix(b"t")?.split_first_chunk::<8>()?;
    let (entity, id) = rest.split_first_chunk::<2>()?;
    Some(((u64::from_be_bytes(*tau) ^ SIGN) as i64, u16::from_be_bytes(*entity), id))
}

/// The epoch's number of an outbox key.
pub fn parse_outbox(key: &[u8]) -> Option<u64> {
    key.strip_prefix(&[OUTBOX])?.try_into().ok().map(u64::from_be_bytes)
}

const SIGN: u64 = 1 << 63;

fn ordered(number: i64) -> [u8; 8] {
    (number as u64 ^ SIGN).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_order_by_time_then_entity_then_id_before_1970_too() {
        let key = |tau, entity, id: &str| Key::Timer { tau, entity, id: id.as_bytes() }.bytes();
        let mut keys = [key(5, 0, "b"), key(-1, 1, ""), key(-1, 0, "z"), key(5, 0, "a"), key(i64::MIN, 9, "q")];
        keys.sort();
        let parsed: Vec<_> =
            keys.iter().filter_map(|key| parse_timer(key)).map(|(tau, entity, _)| (tau, entity)).collect();
        assert_eq!(parsed, [(i64::MIN, 9), (-1, 0), (-1, 1), (5, 0), (5, 0)]);
    }

    #[test]
    fn keys_parse_as_they_were_written() {
        assert_eq!(parse_head(&Key::Head { entity: 3, id: b"u1" }.bytes()), Some((3, &b"u1"[..])));
        assert_eq!(parse_outbox(&Key::Outbox { epoch: 7 }.bytes()), Some(7));
        assert_eq!(parse_timer(b"t123"), None);
    }
}
