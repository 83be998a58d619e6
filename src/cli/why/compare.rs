//! What the stores say, beside what the log comes to at their own moments.

use arrow::array::ArrayRef;
use serde_json::Value;

use super::Question;
use super::answer::value;
use super::stored::Stored;
use crate::error::Result;
use crate::sink::online::text;
use crate::task::{Moment, Trace};

/// Inexact values this near to each other, as a share, are the same.
const NEAR: f64 = 1e-9;

/// What a store says beside the log.
pub enum Said {
    /// Why it says nothing.
    Nothing(String),
    Value(Compared),
}

/// A stored value beside what the log comes to at the stored value's own moment; both as the online store writes them.
pub struct Compared {
    pub stored: Option<String>,
    pub moment: Moment,
    /// The version that wrote the row, in the history.
    pub version: Option<u32>,
    pub recomputed: Option<String>,
    pub same: bool,
}

/// What the history says, and what the online store says.
pub fn compare(question: &Question, trace: &Trace, stored: &Stored) -> Result<(Said, Said)> {
    if !question.is_stored() {
        let nothing = || Said::Nothing("it is computed as it is read, and stored nowhere".to_string());
        return Ok((nothing(), nothing()));
    }
    let history = match &stored.history {
        Err(why) => Said::Nothing(why.clone()),
        Ok(None) => Said::Nothing("no row up to then".to_string()),
        Ok(Some(row)) => {
            let value = row.value.as_ref().and_then(|value| shown(question, value));
            Said::Value(Compared { version: stored.version, ..compared(question, trace, value, row.moment)? })
        }
    };
    let online = match &stored.online {
        Err(why) => Said::Nothing(why.clone()),
        Ok(None) => Said::Nothing("nothing is stored: every feature is empty".to_string()),
        Ok(Some(online)) => Said::Value(compared(question, trace, online.value.clone(), online.moment)?),
    };
    Ok((history, online))
}

/// A value as the online store writes it.
pub fn shown(question: &Question, array: &ArrayRef) -> Option<String> {
    text::value(array, question.output_type(), 0)
}

fn compared(question: &Question, trace: &Trace, stored: Option<String>, moment: Moment) -> Result<Compared> {
    let recomputed = shown(question, &value(question, trace, moment)?);
    let is_near = !question.is_exact() && is_near(stored.as_deref(), recomputed.as_deref());
    let same = stored == recomputed || is_near;
    Ok(Compared { stored, moment, version: None, recomputed, same })
}

/// Whether two inexact values are as good as each other.
pub fn is_near(a: Option<&str>, b: Option<&str>) -> bool {
    fn near(a: &Value, b: &Value) -> bool {
        match (a, b) {
            (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| near(a, b)),
            (Value::Object(a), Value::Object(b)) => {
                a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| near(a, b)))
            }
            (Value::Number(a), Value::Number(b)) => match (a.as_f64(), b.as_f64()) {
                (Some(a), Some(b)) => (a - b).abs() <= NEAR * a.abs().max(b.abs()),
                _ => a == b,
            },
            _ => a == b,
        }
    }
    let parse = |text: Option<&str>| serde_json::from_str::<Value>(text?).ok();
    parse(a).zip(parse(b)).is_some_and(|(a, b)| near(&a, &b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inexact_values_need_not_have_the_same_last_digit() {
        assert!(is_near(Some("[1.0,null]"), Some("[1.0000000000001,null]")));
        assert!(is_near(Some(r#"{"a":2}"#), Some(r#"{"a":2.0}"#)));
        assert!(!is_near(Some(r#"{"a":2}"#), Some(r#"{"b":2}"#)) && !is_near(Some("1"), Some("1.1")));
        assert!(!is_near(None, Some("0.0")) && !is_near(Some("x"), Some("y")));
    }
}
