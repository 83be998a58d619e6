//! A strict scanner of JSON text (RFC 8259), in byte order, without building anything.
//!
//! Always holds: the text is valid UTF-8; a position only moves forward; the first fault met is the first in byte
//! order, so a text that nests too deep before its grammar breaks is told apart from one that breaks first. There is
//! one scanner of our own, rather than serde_json, because a record's class hangs on exactly that, and on literals
//! that a general parser folds away (`-0`, `1e400`, lone surrogates, repeated names); serde_json is the reference that
//! the tests compare it with.

/// Deepest nesting that is read; the outermost container counts as 1.
pub(super) const MAX_DEPTH: usize = 128;

/// Why a text was not read to its end, and at which byte that shows. Small, so that it travels in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub at: usize,
    pub why: Why,
}

/// The two kinds of fault: too deep, or what the grammar wants instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// Nested deeper than [`MAX_DEPTH`]; the byte is the bracket's.
    Depth,
    Value,
    Digit,
    Name,
    Colon,
    CommaOrBrace,
    CommaOrBracket,
    NoControl,
    EndOfString,
    Escape,
    End,
}

impl Why {
    /// What was expected, in words.
    pub fn expected(self) -> &'static str {
        match self {
            Self::Depth => "less depth",
            Self::Value => "a value",
            Self::Digit => "a digit",
            Self::Name => "a name in double quotes",
            Self::Colon => "`:` after the name",
            Self::CommaOrBrace => "`,` or `}`",
            Self::CommaOrBracket => "`,` or `]`",
            Self::NoControl => "no control character in a string",
            Self::EndOfString => "the end of the string",
            Self::Escape => "one of the escapes of JSON",
            Self::End => "nothing after the object",
        }
    }
}

/// A string literal between its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Literal<'a> {
    pub raw: &'a str,
    /// True when it has no escapes: the raw text is then the text.
    pub plain: bool,
}

/// A number literal.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'a> {
    raw: &'a str,
    /// Neither fraction nor exponent.
    whole: bool,
    /// All its digits as one number, when they are at most 19 and no exponent follows.
    digits: Option<u64>,
    /// How many of the digits stand behind the point.
    scale: usize,
}

/// Reads one JSON text.
#[derive(Debug, Clone)]
pub(super) struct Scanner<'a> {
    text: &'a str,
    pub pos: usize,
}

/// Powers of ten that a double holds exactly.
const EXACT_TENS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];
/// Most decimal digits that 64 bits always hold.
const MAX_DIGITS: usize = 19;

impl<'a> Scanner<'a> {
    /// At the start of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, pos: 0 }
    }

    /// The byte here; 0, which no grammar wants anywhere, at the end.
    #[inline(always)]
    pub fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.pos).copied().unwrap_or(0)
    }

    /// Moves over white space.
    #[inline(always)]
    pub fn white(&mut self) {
        // Most producers write none.
        while matches!(self.byte(), b' ' | b'\n' | b'\t' | b'\r') {
            self.pos += 1;
        }
    }

    /// The fault that something else is expected here.
    #[cold]
    pub fn wants<T>(&self, why: Why) -> Result<T, Fault> {
        Err(Fault { at: self.pos, why })
    }

    /// Moves over this byte.
    #[inline(always)]
    pub fn expect(&mut self, byte: u8, why: Why) -> Result<(), Fault> {
        if self.byte() != byte {
            return self.wants(why);
        }
        self.pos += 1;
        Ok(())
    }

    /// The bytes from here on.
    #[inline(always)]
    pub fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.pos..]
    }

    /// Whether the text goes on with these bytes; moves over them if so.
    #[inline(always)]
    pub fn take(&mut self, bytes: &[u8]) -> bool {
        let taken = self.rest().starts_with(bytes);
        if taken {
            self.pos += bytes.len();
        }
        taken
    }

    /// Moves over a string literal; the opening quote is here.
    #[inline]
    pub fn string(&mut self) -> Result<Literal<'a>, Fault> {
        let (start, bytes) = (self.pos + 1, self.text.as_bytes());
        let mut at = start;
        let mut plain = true;
        loop {
            at = special(bytes, at);
            match bytes.get(at) {
                Some(b'"') => {
                    self.pos = at + 1;
                    return Ok(Literal { raw: &self.text[start..at], plain });
                }
                Some(b'\\') => {
                    plain = false;
                    at += escape_len(bytes, at)?;
                }
                Some(_) => return Err(Fault { at, why: Why::NoControl }),
                None => return Err(Fault { at, why: Why::EndOfString }),
            }
        }
    }

    /// Moves over a number literal; its first byte, a digit or `-`, is here.
    #[inline]
    pub fn number(&mut self) -> Result<Number<'a>, Fault> {
        let start = self.pos;
        if self.byte() == b'-' {
            self.pos += 1;
        }
        let (mut digits, mut count) = (0_u64, 0_usize);
        if self.byte() == b'0' {
            self.pos += 1;
            count = 1;
        } else {
            self.digits(&mut digits, &mut count)?;
        }
        let (mut scale, mut whole, mut exponent) = (0, true, false);
        if self.byte() == b'.' {
            self.pos += 1;
            whole = false;
            let before = count;
            self.digits(&mut digits, &mut count)?;
            scale = count - before;
        }
        if matches!(self.byte(), b'e' | b'E') {
            self.pos += 1;
            (whole, exponent) = (false, true);
            if matches!(self.byte(), b'+' | b'-') {
                self.pos += 1;
            }
            self.digits(&mut 0, &mut 0)?;
        }
        let digits = (count <= MAX_DIGITS && !exponent).then_some(digits);
        Ok(Number { raw: &self.text[start..self.pos], whole, digits, scale })
    }

    /// One digit or more. `value` wraps beyond [`MAX_DIGITS`]; the count tells.
    #[inline(always)]
    fn digits(&mut self, value: &mut u64, count: &mut usize) -> Result<(), Fault> {
        let from = self.pos;
        loop {
            let digit = self.byte().wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            *value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.pos += 1;
        }
        *count += self.pos - from;
        if self.pos == from { self.wants(Why::Digit) } else { Ok(()) }
    }

    /// Moves over one value that nobody declared; `depth` containers are open around it.
    pub fn skip(&mut self, depth: usize) -> Result<(), Fault> {
        match self.byte() {
            b'"' => self.string().map(drop),
            b'-' | b'0'..=b'9' => self.number().map(drop),
            b'{' => self.skip_object(depth),
            b'[' => self.skip_array(depth),
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.wants(Why::Value),
        }
    }

    /// Moves over one of the three words.
    pub fn word(&mut self, word: &'static [u8]) -> Result<(), Fault> {
        if self.take(word) { Ok(()) } else { self.wants(Why::Value) }
    }

    /// Moves over an opening bracket into depth `depth + 1`.
    #[inline(always)]
    pub fn open(&mut self, depth: usize) -> Result<(), Fault> {
        if depth >= MAX_DEPTH {
            return Err(Fault { at: self.pos, why: Why::Depth });
        }
        self.pos += 1;
        self.white();
        Ok(())
    }

    fn skip_object(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(depth)?;
        if self.take(b"}") {
            return Ok(());
        }
        loop {
            if self.byte() != b'"' {
                return self.wants(Why::Name);
            }
            self.string()?;
            self.colon()?;
            self.skip(depth + 1)?;
            if !self.another(b'}', Why::CommaOrBrace)? {
                return Ok(());
            }
        }
    }

    fn skip_array(&mut self, depth: usize) -> Result<(), Fault> {
        self.open(depth)?;
        if self.take(b"]") {
            return Ok(());
        }
        loop {
            self.skip(depth + 1)?;
            if !self.another(b']', Why::CommaOrBracket)? {
                return Ok(());
            }
        }
    }

    /// Moves from behind a name to its value.
    #[inline(always)]
    pub fn colon(&mut self) -> Result<(), Fault> {
        self.white();
        self.expect(b':', Why::Colon)?;
        self.white();
        Ok(())
    }

    /// Moves from behind a value to the next one's start, or over the closing bracket: then false.
    #[inline(always)]
    pub fn another(&mut self, close: u8, why: Why) -> Result<bool, Fault> {
        self.white();
        let byte = self.byte();
        if byte == b',' {
            self.pos += 1;
            self.white();
            return Ok(true);
        }
        self.expect(close, why)?;
        Ok(false)
    }

    /// Moves to the end, past white space only.
    pub fn end(&mut self) -> Result<(), Fault> {
        self.white();
        if self.pos == self.text.len() { Ok(()) } else { self.wants(Why::End) }
    }
}

impl Number<'_> {
    /// As it stands in the text.
    pub fn text(&self) -> &str {
        self.raw
    }

    /// Its value when it is written as an integer and within 64 bits; `-0` is 0.
    #[inline]
    pub fn int(&self) -> Option<i64> {
        let digits = self.digits.filter(|_| self.whole)?;
        if self.raw.starts_with('-') { 0_i64.checked_sub_unsigned(digits) } else { i64::try_from(digits).ok() }
    }

    /// The nearest double, without -0.0; `None` beyond the largest.
    #[inline]
    pub fn double(&self) -> Option<f64> {
        // Both operands and so the quotient are exact or rounded once: the same double as by the long way.
        if let Some(digits) = self.digits.filter(|digits| *digits <= 1 << 53)
            && let Some(ten) = EXACT_TENS.get(self.scale)
        {
            let size = digits as f64 / ten;
            return Some(if self.raw.starts_with('-') { 0.0 - size } else { size });
        }
        // Rust reads the nearest double of any decimal, and its grammar contains JSON's.
        self.raw.parse().ok().filter(|x: &f64| x.is_finite()).map(|x| x + 0.0)
    }
}

impl Literal<'_> {
    /// Appends its text to `out`; false, with `out` as it was, when an escape is half of a surrogate pair.
    pub fn unescape(&self, out: &mut String) -> bool {
        let before = out.len();
        let mut rest = self.raw;
        while let Some(slash) = rest.find('\\') {
            out.push_str(&rest[..slash]);
            let Some((letter, used)) = unescaped(&rest[slash..]) else {
                out.truncate(before);
                return false;
            };
            out.push(letter);
            rest = &rest[slash + used..];
        }
        out.push_str(rest);
        true
    }
}

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);

/// Where, at `at` or after, the first quote, backslash or control character is; the length when there is none.
#[inline(always)]
fn special(bytes: &[u8], mut at: usize) -> usize {
    // Eight bytes at a time: a byte below `n` borrows when `n` is taken from it. A borrow also reaches the byte above,
    // but never one below: the lowest mark is always right.
    while let Some(eight) = bytes.get(at..at + 8).and_then(|slice| <[u8; 8]>::try_from(slice).ok()) {
        let word = u64::from_le_bytes(eight);
        let quote = word ^ ONES.wrapping_mul(u64::from(b'"'));
        let slash = word ^ ONES.wrapping_mul(u64::from(b'\\'));
        let marks = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES.wrapping_mul(0x20)) & !word);
        let marks = marks & HIGHS;
        if marks != 0 {
            return at + marks.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while let Some(byte) = bytes.get(at) {
        if matches!(byte, b'"' | b'\\' | 0..0x20) {
            break;
        }
        at += 1;
    }
    at
}

/// Length of the escape at `at` (a backslash), by the grammar alone.
fn escape_len(bytes: &[u8], at: usize) -> Result<usize, Fault> {
    let wrong = Err(Fault { at, why: Why::Escape });
    match bytes.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
        Some(b'u') => match bytes.get(at + 2..at + 6) {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => Ok(6),
            _ => wrong,
        },
        _ => wrong,
    }
}

/// The character of the escape at the start of `text`, and its length; the grammar has been checked.
fn unescaped(text: &str) -> Option<(char, usize)> {
    let unit = |at: usize| u32::from_str_radix(text.get(at + 2..at + 6)?, 16).ok();
    let simple = match text.as_bytes()[1] {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => {
            let first = unit(0)?;
            if !(0xD800..0xDC00).contains(&first) {
                return Some((char::from_u32(first)?, 6));
            }
            // The grammar of what follows is checked, but it may be anything: only `\u` is half of a pair.
            let second = text[6..].starts_with("\\u").then(|| unit(6)).flatten()?;
            let low = second.checked_sub(0xDC00).filter(|low| *low < 0x400)?;
            return Some((char::from_u32(0x10000 + ((first - 0xD800) << 10) + low)?, 12));
        }
        other => char::from(other),
    };
    Some((simple, 2))
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
