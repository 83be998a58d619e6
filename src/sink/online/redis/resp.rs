//! The protocol of Redis (RESP2), as far as reads over a connection of our own need it: calls are lists of texts, and
//! answers lists of texts too, taken apart where they lie.
//!
//! Why not the client's own parser: it makes a value of each text on the way, which is half of what a read of many
//! entities costs. Left out: lists in lists, maps, pushes; nothing that is asked here is answered so.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use redis::{ErrorKind, RedisError, RedisResult, Value};

/// Appends the head of a call of so many texts.
pub(super) fn call(out: &mut Vec<u8>, texts: usize) {
    number(out, b'*', texts);
}

/// Appends a text of a call.
pub(super) fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    number(out, b'$', bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}

fn number(out: &mut Vec<u8>, kind: u8, number: usize) {
    out.push(kind);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// What some calls were answered: the texts of all of them, in order. An answer that is no list has none.
#[derive(Debug)]
pub(super) struct Answers {
    bytes: Bytes,
    texts: Vec<Option<Range<usize>>>,
}

impl Answers {
    pub(super) fn texts(&self) -> impl ExactSizeIterator<Item = Option<&[u8]>> {
        self.texts.iter().map(|text| text.clone().map(|at| &self.bytes[at]))
    }
}

/// Takes the answers to some calls apart, as they come.
#[derive(Debug)]
pub(super) struct Decoder {
    /// Answers that are to come, and texts of the one that has begun.
    calls: usize,
    left: usize,
    /// Bytes that are done with.
    at: usize,
    texts: Vec<Option<Range<usize>>>,
    /// The first answer that is an error.
    refused: Option<Range<usize>>,
}

impl Decoder {
    /// Of so many calls, which may be answered with so many texts.
    pub(super) fn new(calls: usize, texts: usize) -> Self {
        Self { calls, left: 0, at: 0, texts: Vec::with_capacity(texts), refused: None }
    }

    /// Goes on in `bytes`, which begin where the first answer does; whether all answers are there.
    ///
    /// # Errors
    /// The bytes are not of the protocol, or not of this part of it.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> RedisResult<bool> {
        while self.calls > 0 || self.left > 0 {
            let Some((head, line)) = line(&bytes[self.at..]) else { return Ok(false) };
            let (start, after) = (self.at + 1, self.at + line);
            match (head, self.left) {
                (b'*', 0) => {
                    self.calls -= 1;
                    self.left = length(&bytes[start..after])?.unwrap_or(0);
                }
                (b'$', 1..) => {
                    let mut end = after;
                    let text = length(&bytes[start..after])?.map(|length| {
                        end = after.saturating_add(length).saturating_add(2);
                        after..end - 2
                    });
                    if bytes.len() < end {
                        return Ok(false);
                    }
                    self.texts.push(text);
                    self.left -= 1;
                    self.at = end;
                    continue;
                }
                (b'+' | b':', 0) => self.calls -= 1,
                (b'-', 0) => {
                    self.calls -= 1;
                    self.refused.get_or_insert(self.at..after);
                }
                _ => return Err(broken()),
            }
            self.at = after;
        }
        Ok(true)
    }

    /// The answers, once all are there: cut off the bytes that were decoded.
    ///
    /// # Errors
    /// The first of them that is an error.
    pub(super) fn finish(self, bytes: &mut BytesMut) -> RedisResult<Answers> {
        let bytes = bytes.split_to(self.at).freeze();
        match self.refused {
            None => Ok(Answers { bytes, texts: self.texts }),
            // As the client would say it.
            Some(at) => match redis::parse_redis_value(&bytes[at]).and_then(Value::extract_error) {
                Ok(_) => Err(broken()),
                Err(error) => Err(error),
            },
        }
    }
}

/// The kind of a line and its length in bytes, with its end; `None` while that has not come.
#[inline]
fn line(bytes: &[u8]) -> Option<(u8, usize)> {
    Some((*bytes.first()?, memchr::memchr(b'\n', bytes)? + 1))
}

/// A length, `None` for -1, of `3\r\n`.
#[inline]
fn length(line: &[u8]) -> RedisResult<Option<usize>> {
    let digits = line.strip_suffix(b"\r\n").ok_or_else(broken)?;
    let mut number = 0usize;
    for digit in digits {
        match digit {
            b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(usize::from(digit - b'0')),
            _ if digits == b"-1" => return Ok(None),
            _ => return Err(broken()),
        }
    }
    if digits.is_empty() { Err(broken()) } else { Ok(Some(number)) }
}

fn broken() -> RedisError {
    (ErrorKind::Parse, "the answer is none of Redis's to what was asked").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(answers: &Answers) -> Vec<Option<&[u8]>> {
        answers.texts().collect()
    }

    /// What these bytes are decoded to, when they come in parts of this size.
    fn decoded(bytes: &[u8], calls: usize, part: usize) -> RedisResult<(Option<Answers>, usize)> {
        let (mut decoder, mut input) = (Decoder::new(calls, 0), BytesMut::new());
        for part in bytes.chunks(part) {
            input.extend_from_slice(part);
            if decoder.decode(&input)? {
                let answers = decoder.finish(&mut input)?;
                return Ok((Some(answers), input.len()));
            }
        }
        Ok((None, input.len()))
    }

    #[test]
    fn a_call_is_a_list_of_texts() {
        let mut out = Vec::new();
        call(&mut out, 2);
        text(&mut out, b"GET");
        text(&mut out, "ä\r\n".as_bytes());
        assert_eq!(out, "*2\r\n$3\r\nGET\r\n$4\r\nä\r\n\r\n".as_bytes());
    }

    #[test]
    fn answers_are_the_same_in_whatever_parts_they_come() {
        let bytes = b"*2\r\n$1\r\na\r\n$-1\r\n*0\r\n+OK\r\n:5\r\n*1\r\n$4\r\n\r\n*1\r\n*9";
        for part in 1..=bytes.len() {
            let (answers, left) = decoded(bytes, 5, part).unwrap();
            let answers = answers.unwrap();
            assert_eq!(texts(&answers), [Some(b"a".as_slice()), None, Some(b"\r\n*1".as_slice())]);
            // What comes after them stays where it is.
            assert!(left <= 2);
        }
        assert!(decoded(&bytes[..20], 5, 3).unwrap().0.is_none());
        assert!(decoded(b"*-1\r\n", 1, 9).unwrap().0.is_some_and(|answers| texts(&answers).is_empty()));
    }

    #[test]
    fn an_error_is_the_one_that_the_client_would_give_and_others_are_still_taken() {
        let bytes = b"*1\r\n$1\r\na\r\n-WRONGTYPE no hash\r\n*1\r\n$1\r\nb\r\n-ERR later\r\n";
        for part in 1..=bytes.len() {
            let error = decoded(bytes, 4, part).unwrap_err();
            assert_eq!(error.code(), Some("WRONGTYPE"));
        }
    }

    #[test]
    fn what_is_not_of_the_protocol_is_an_error() {
        for bytes in [
            b"HTTP/1.1 400\r\n".as_slice(),
            b"$1\r\na\r\n",
            b"*1\r\n*0\r\n",
            b"*1\r\n:5\r\n",
            b"*x\r\n",
            b"*1\n",
            b"*\r\n",
            b"*1\r\n$-2\r\n",
            b"%1\r\n",
        ] {
            assert_eq!(decoded(bytes, 1, 64).unwrap_err().kind(), ErrorKind::Parse, "{bytes:?}");
        }
        // A length beyond all memory is waited for, and no memory is taken for it.
        assert!(decoded(b"*1\r\n$99999999999999999999999\r\n", 1, 64).unwrap().0.is_none());
    }
}
