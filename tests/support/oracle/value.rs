//! The values of fields, expressions and features, and their forms as text.
//!
//! Always holds: equal means equal bits, so a double is never compared by nearness here; a map is in byte order of its
//! keys.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use num_bigint::BigInt;

/// One value of a field, an expression or a feature. Equal means equal bits.
#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Int(i64),
    /// Never NaN, infinite or -0.0 where it leaves the oracle.
    Double(f64),
    Bool(bool),
    Str(Arc<str>),
    /// Milliseconds since 1970.
    Ts(i64),
    /// A whole number and how many of its digits stand after the point.
    Decimal(i128, u8),
    List(Arc<[Value]>),
    /// In byte order of the keys.
    Map(Arc<[(Arc<str>, Value)]>),
    /// Values and how often each is there.
    Counted(Arc<[(Value, i64)]>),
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Int(a), Value::Int(b)) | (Value::Ts(a), Value::Ts(b)) => a == b,
            (Value::Double(a), Value::Double(b)) => a.to_bits() == b.to_bits(),
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Str(a), Value::Str(b)) => a == b,
            (Value::Decimal(a, s), Value::Decimal(b, t)) => (a, s) == (b, t),
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Map(a), Value::Map(b)) => a == b,
            (Value::Counted(a), Value::Counted(b)) => a == b,
            _ => false,
        }
    }
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// As the online store shows it; `None` is an absent field.
    pub fn text(&self) -> Option<String> {
        match self {
            Value::Null => None,
            Value::Str(v) => Some(v.to_string()),
            other => Some(other.json()),
        }
    }

    /// As it stands inside a list or a map of the online store.
    fn json(&self) -> String {
        match self {
            Value::Null => "null".into(),
            Value::Int(v) | Value::Ts(v) => v.to_string(),
            Value::Double(v) => serde_json::to_string(v).expect("a finite double prints"),
            Value::Bool(v) => v.to_string(),
            Value::Str(v) => quoted(v),
            Value::Decimal(v, scale) => decimal_text(*v, *scale),
            Value::List(items) => format!("[{}]", joined(items.iter(), Value::json)),
            Value::Map(pairs) => {
                format!("{{{}}}", joined(pairs.iter(), |(key, value)| format!("{}:{}", quoted(key), value.json())))
            }
            Value::Counted(pairs) => {
                format!("[{}]", joined(pairs.iter(), |(value, n)| format!("[{},{n}]", value.json())))
            }
        }
    }

    /// A number as a double; `None` for what is no number.
    pub fn number(&self) -> Option<f64> {
        match self {
            Value::Int(v) => Some(*v as f64),
            Value::Double(v) => Some(*v + 0.0),
            Value::Decimal(v, scale) => Some(decimal_text(*v, *scale).parse().expect("a decimal's text is a number")),
            _ => None,
        }
    }

    /// The order of two values of one type; strings by bytes.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) | (Value::Ts(a), Value::Ts(b)) => a.cmp(b),
            (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
            (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
            (Value::Str(a), Value::Str(b)) => a.as_bytes().cmp(b.as_bytes()),
            (Value::Decimal(a, s), Value::Decimal(b, t)) if s == t => a.cmp(b),
            (Value::Decimal(a, s), Value::Decimal(b, t)) => {
                (BigInt::from(*a) * ten_to(*t)).cmp(&(BigInt::from(*b) * ten_to(*s)))
            }
            _ => panic!("{self} and {other} have no order"),
        }
    }
}

fn joined<T>(items: impl Iterator<Item = T>, text: impl Fn(T) -> String) -> String {
    items.map(text).collect::<Vec<_>>().join(",")
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string prints")
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |items: Vec<String>| items.join(", ");
        match self {
            Value::Null => f.write_str("null"),
            Value::Int(v) => write!(f, "{v}"),
            Value::Double(v) => write!(f, "{v:?}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Str(v) => write!(f, "'{v}'"),
            Value::Ts(v) => write!(f, "@{v}"),
            Value::Decimal(v, scale) => f.write_str(&decimal_text(*v, *scale)),
            Value::List(items) => write!(f, "[{}]", list(items.iter().map(Value::to_string).collect())),
            Value::Map(pairs) => write!(f, "{{{}}}", list(pairs.iter().map(|(k, v)| format!("{k}: {v}")).collect())),
            Value::Counted(pairs) => {
                write!(f, "[{}]", list(pairs.iter().map(|(v, n)| format!("{v} x {n}")).collect()))
            }
        }
    }
}

pub fn ten_to(exponent: u8) -> BigInt {
    BigInt::from(10).pow(u32::from(exponent))
}

/// Plain decimal text with `scale` digits after the point.
pub fn decimal_text(value: i128, scale: u8) -> String {
    let scale = usize::from(scale);
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
}

/// The whole number that stands for `text` at this scale; `None` when it is no number or its digits do not fit.
/// Zeros behind the last digit that counts need no room.
pub fn read_decimal(text: &str, precision: u8, scale: u8, exponents: bool) -> Option<i128> {
    let (number, exponent) = match text.find(['e', 'E']) {
        Some(at) if exponents => (&text[..at], text[at + 1..].parse::<i64>().ok()?),
        Some(_) => return None,
        None => (text, 0),
    };
    let (negative, number) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || (number.contains('.') && !plain(fraction)) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some(0);
    }
    // The value is kept * 10^power.
    let power = exponent - fraction.len() as i64 + (digits.len() - kept.len()) as i64 + i64::from(scale);
    if power < 0 || kept.len() as i64 + power > i64::from(precision) {
        return None;
    }
    let value = format!("{kept}{}", "0".repeat(power as usize)).parse::<i128>().ok()?;
    Some(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_printed_digit_by_digit() {
        let read = |text: &str| read_decimal(text, 5, 2, true);
        let cases = [("0", 0), ("-0.0", 0), ("1", 100), ("1.5", 150), ("-1.05", -105), ("999.99", 99999)];
        for (text, value) in cases {
            assert_eq!(read(text), Some(value), "{text}");
        }
        assert_eq!([read("1e2"), read("12.500"), read("5E-2")], [Some(10000), Some(1250), Some(5)]);
        for text in ["1000", "0.001", "1e3", "", "-", ".5", "1.", "1,5", "+1", "1e", "x", " 1"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(read_decimal("1e2", 5, 2, false), None);
        assert_eq!(read_decimal(&"9".repeat(38), 38, 0, false), Some(10i128.pow(38) - 1));
        let texts = [decimal_text(-5, 2), decimal_text(12345, 2), decimal_text(-7, 0), decimal_text(0, 3)];
        assert_eq!(texts, ["-0.05", "123.45", "-7", "0.000"]);
    }

    #[test]
    fn nested_values_are_json_without_blanks() {
        let list = Value::List([Value::Double(1.5), Value::Str("a\"".into()), Value::Null].into());
        let map = Value::Map([("a".into(), Value::Int(1)), ("b".into(), Value::Null)].into());
        let counted = Value::Counted([(Value::Str("a".into()), 3), (Value::Decimal(150, 2), 1)].into());
        assert_eq!(list.text().as_deref(), Some(r#"[1.5,"a\"",null]"#));
        assert_eq!(map.text().as_deref(), Some(r#"{"a":1,"b":null}"#));
        assert_eq!(counted.text().as_deref(), Some(r#"[["a",3],[1.50,1]]"#));
    }
}
