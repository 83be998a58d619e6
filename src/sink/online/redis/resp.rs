//! The protocol of Redis (RESP2), as far as reads over a connection of our own need it: calls are lists of texts, and
//! answers lists of texts too, taken apart where they lie.
//!
//! Why not the client's own parser: it makes a value of each text on the way, which is half of what a read of many
//! entities costs. Left out: lists in lists, maps, pushes; nothing that is asked here is answered so.

use std::ops::Range;

use redis::{ErrorKind, RedisError, RedisResult, Value};

use super::super::rows::Place;

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
    /// From the first answer's first byte to the last one's end.
    pub bytes: Vec<u8>,
    /// Where the texts lie in them.
    pub texts: Vec<Place>,
}

impl Answers {
    pub(super) fn text(&self, index: usize) -> Option<&[u8]> {
        self.bytes.get(self.texts.get(index)?.get()?)
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
    texts: Vec<Place>,
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
            let Some(kind) = bytes.get(self.at) else { return Ok(false) };
            let after = self.at + 1;
            match (kind, self.left) {
                (b'$', 1..) => {
                    let Some((length, head)) = length(&bytes[after..])? else { return Ok(false) };
                    let start = after + head;
                    let (text, end) = match length {
                        Some(length) => {
                            let end = start.saturating_add(length);
                            (Place::of(start..end), end.saturating_add(2))
                        }
                        None => (Place::NONE, start),
                    };
                    if bytes.len() < end {
                        return Ok(false);
                    }
                    self.texts.push(text);
                    self.left -= 1;
                    self.at = end;
                }
                (b'*', 0) => {
                    let Some((length, head)) = length(&bytes[after..])? else { return Ok(false) };
                    self.calls -= 1;
                    self.left = length.unwrap_or(0);
                    self.at = after + head;
                }
                (b'+' | b':' | b'-', 0) => {
                    let Some(end) = memchr::memchr(b'\n', &bytes[after..]) else { return Ok(false) };
                    let line = self.at..after + end + 1;
                    self.calls -= 1;
                    self.at = line.end;
                    if *kind == b'-' {
                        self.refused.get_or_insert(line);
                    }
                }
                _ => return Err(broken()),
            }
        }
        Ok(true)
    }

    /// The answers, once all are there: cut off the bytes that were decoded.
    ///
    /// # Errors
    /// The first of them that is an error.
    pub(super) fn finish(self, bytes: &mut Vec<u8>) -> RedisResult<Answers> {
        let rest = bytes.split_off(self.at);
        let bytes = std::mem::replace(bytes, rest);
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

/// A length, `None` for -1, and how many bytes it takes with the end of its line; `None` while that has not come.
#[inline]
fn length(bytes: &[u8]) -> RedisResult<Option<(Option<usize>, usize)>> {
    let digit = |byte: &u8| usize::from(byte & 15);
    match bytes {
        // Less than 100, as most are.
        [ones @ b'0'..=b'9', b'\r', b'\n', ..] => Ok(Some((Some(digit(ones)), 3))),
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', b'\r', b'\n', ..] => {
            Ok(Some((Some(digit(tens) * 10 + digit(ones)), 4)))
        }
        _ => any_length(bytes),
    }
}

fn any_length(bytes: &[u8]) -> RedisResult<Option<(Option<usize>, usize)>> {
    let mut number = 0usize;
    for (at, byte) in bytes.iter().enumerate() {
        match byte {
            b'0'..=b'9' => number = number.saturating_mul(10).saturating_add(usize::from(byte - b'0')),
            b'\r' if at > 0 => {
                return match bytes.get(at + 1) {
                    Some(b'\n') => Ok(Some((Some(number), at + 2))),
                    Some(_) => Err(broken()),
                    None => Ok(None),
                };
            }
            b'-' if at == 0 => return minus_one(bytes),
            _ => return Err(broken()),
        }
    }
    Ok(None)
}

fn minus_one(bytes: &[u8]) -> RedisResult<Option<(Option<usize>, usize)>> {
    const LINE: &[u8] = b"-1\r\n";
    match bytes.starts_with(LINE) {
        true => Ok(Some((None, LINE.len()))),
        false if LINE.starts_with(bytes) => Ok(None),
        false => Err(broken()),
    }
}

/// What answers nothing that is asked here.
pub(super) fn broken() -> RedisError {
    (ErrorKind::Parse, "the answer is none of Redis's to what was asked").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(answers: &Answers) -> Vec<Option<&[u8]>> {
        (0..answers.texts.len()).map(|index| answers.text(index)).collect()
    }

    /// What these bytes are decoded to, when they come in parts of this size.
    fn decoded(bytes: &[u8], calls: usize, part: usize) -> RedisResult<(Option<Answers>, usize)> {
        let (mut decoder, mut input) = (Decoder::new(calls, 0), Vec::new());
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
