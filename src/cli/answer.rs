//! The features of one entity as the page `/v1/features` writes them, read back.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::features::InOrder;

/// What is known of an entity.
#[derive(Debug, Deserialize)]
pub struct Answer {
    pub position: String,
    /// In the order of the question.
    pub features: InOrder<Feature>,
}

/// One feature.
#[derive(Debug, Deserialize)]
pub struct Feature {
    /// As it is written: a number keeps all its digits.
    value: Box<RawValue>,
    pub status: String,
    pub event_time: String,
    pub age_ms: i64,
    pub version: Option<u32>,
}

impl Feature {
    /// Its value as JSON, as it is written.
    pub fn json(&self) -> &str {
        self.value.get()
    }

    /// Its value for people: text without quotes; nothing where there is no value.
    pub fn text(&self) -> String {
        match self.value.get() {
            "null" => String::new(),
            raw if raw.starts_with('"') => serde_json::from_str(raw).unwrap_or_else(|_| raw.to_string()),
            raw => raw.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_shown_as_it_is_written() {
        let of = |value: &str| {
            let rest = r#""status":"PRESENT","event_time":"1970-01-01T00:00:00Z","age_ms":0,"version":1"#;
            let text = format!(r#"{{"position":"1:0:0:0","features":{{"b":{{"value":{value},{rest}}}}}}}"#);
            let answer: Answer = serde_json::from_str(&text).unwrap();
            answer.features.0[0].1.text()
        };
        let cases =
            [("12.50", "12.50"), ("null", ""), (r#""a\"b""#, "a\"b"), (r#"{"x":[1,null]}"#, r#"{"x":[1,null]}"#)];
        for (value, text) in cases {
            assert_eq!(of(value), text);
        }
    }
}
