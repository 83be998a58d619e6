//! Values in the forms that Feast's clients take: its JSON, where that is not ours.
//!
//! Its clients guess a value's type from its JSON, and give up on the whole answer where they cannot. So a decimal is text,
//! as from Feast's own server (a number would be read as a double), and what `top_k` counts is `{"value": ..., "n": ...}`
//! each, as in the history: of lists of lists they make nothing. All else is as our own page has it.

use serde_json::value::RawValue;

use crate::features::InOrder;
use crate::sink::online::quoted;
use crate::topology::{OutputType, ValueType};

/// Appends texts of values of this type, which is given again, as JSON.
pub(super) fn writer(ty: &OutputType) -> fn(&str, &OutputType, &mut Vec<u8>) {
    match ty {
        OutputType::Scalar(ValueType::String) => |text, _, out| quoted(text, out),
        ty if differs(ty) => |text, ty, out| {
            let start = out.len();
            if of_text(text, ty, out).is_none() {
                // Text of another form is not present, so this is what is written as it is.
                out.truncate(start);
                out.extend_from_slice(text.as_bytes());
            }
        },
        _ => |text, _, out| out.extend_from_slice(text.as_bytes()),
    }
}

fn differs(ty: &OutputType) -> bool {
    match ty {
        OutputType::Scalar(ty) | OutputType::List(ty) => matches!(ty, ValueType::Decimal { .. }),
        OutputType::Counted(_) => true,
        OutputType::Map(ty) => differs(ty),
    }
}

fn of_text(text: &str, ty: &OutputType, out: &mut Vec<u8>) -> Option<()> {
    match ty {
        _ if !differs(ty) || text == "null" => out.extend_from_slice(text.as_bytes()),
        OutputType::Scalar(_) => quoted(text, out),
        OutputType::List(ty) => {
            let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
            let item = OutputType::Scalar(*ty);
            between(*b"[]", items, out, |raw, out| of_text(raw.get(), &item, out))?;
        }
        OutputType::Counted(ty) => {
            let items: Vec<(&RawValue, &RawValue)> = serde_json::from_str(text).ok()?;
            let value = OutputType::Scalar(*ty);
            between(*b"[]", items, out, |(raw, n), out| {
                out.extend_from_slice(b"{\"value\":");
                of_text(raw.get(), &value, out)?;
                out.extend_from_slice(b",\"n\":");
                out.extend_from_slice(n.get().as_bytes());
                out.push(b'}');
                Some(())
            })?;
        }
        OutputType::Map(ty) => {
            let InOrder(members) = serde_json::from_str::<InOrder<&RawValue>>(text).ok()?;
            between(*b"{}", members, out, |(name, raw), out| {
                quoted(&name, out);
                out.push(b':');
                of_text(raw.get(), ty, out)
            })?;
        }
    }
    Some(())
}

/// Items between two brackets, with commas between them.
fn between<T>(
    [open, close]: [u8; 2],
    items: Vec<T>,
    out: &mut Vec<u8>,
    mut write: impl FnMut(T, &mut Vec<u8>) -> Option<()>,
) -> Option<()> {
    out.push(open);
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out)?;
    }
    out.push(close);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, ty: &OutputType) -> String {
        let mut out = Vec::new();
        writer(ty)(text, ty, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn decimals_are_text_and_counted_values_have_names() {
        let decimal = ValueType::Decimal { precision: 10, scale: 2 };
        let map = |ty| OutputType::Map(Box::new(ty));
        for (ty, text, expected) in [
            (OutputType::Scalar(decimal), "12.50", r#""12.50""#),
            (OutputType::List(decimal), "[1.00,null]", r#"["1.00",null]"#),
            (
                OutputType::Counted(ValueType::String),
                r#"[["a\"b",3],["",1]]"#,
                r#"[{"value":"a\"b","n":3},{"value":"","n":1}]"#,
            ),
            (OutputType::Counted(decimal), "[[1.00,3]]", r#"[{"value":"1.00","n":3}]"#),
            (map(OutputType::Scalar(decimal)), r#"{"ä":1.00,"b":null}"#, r#"{"ä":"1.00","b":null}"#),
            (map(OutputType::Counted(ValueType::Int64)), r#"{"a":[[7,2]]}"#, r#"{"a":[{"value":7,"n":2}]}"#),
            (map(OutputType::Scalar(ValueType::Double)), r#"{"a":1.0}"#, r#"{"a":1.0}"#),
            (OutputType::Scalar(ValueType::String), "a\"b", r#""a\"b""#),
            (OutputType::Scalar(ValueType::Timestamp), "1700000000123", "1700000000123"),
        ] {
            assert_eq!(written(text, &ty), expected);
        }
    }
}
