//! Who may ask: bearer tokens.
//!
//! Always holds: no token is in a message or a log; a wrong one takes as long as a right one, whatever of it is right.
//! Without tokens everybody may ask.

use std::hint::black_box;

use axum::http::{HeaderMap, header};

use crate::config::{HttpSettings, token_problem};
use crate::error::{Error, Result};

pub(super) struct Tokens(Vec<String>);

impl Tokens {
    /// Those of the settings and of the file that they name.
    ///
    /// # Errors
    /// A configuration error: the file cannot be read, or a token in it is too short.
    pub(super) fn load(settings: &HttpSettings) -> Result<Self> {
        let mut tokens = Vec::new();
        if let Some(text) = &settings.tokens {
            tokens.extend(text.split(',').map(|token| token.trim().to_string()));
        }
        if let Some(file) = &settings.tokens_file {
            let wrong = |what: String| Error::configuration(format!("http.tokens_file `{}`: {what}", file.display()));
            let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            for (index, token) in lines.enumerate() {
                match token_problem(index, token) {
                    Some(problem) => return Err(wrong(problem)),
                    None => tokens.push(token.to_string()),
                }
            }
        }
        Ok(Self(tokens))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them: what our own commands send.
    pub(super) fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }

    /// Whether a request with this head may ask.
    pub(super) fn admit(&self, head: &HeaderMap) -> bool {
        if self.is_empty() {
            return true;
        }
        let given = head.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, given)) = given.and_then(|value| value.split_once(' ')) else { return false };
        // All are compared: which of them it is does not show.
        let known = self.0.iter().fold(false, |known, token| known | same(token.as_bytes(), given.trim().as_bytes()));
        known && scheme.eq_ignore_ascii_case("bearer")
    }
}

fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differs, (a, b)| black_box(differs | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Override, Settings};

    fn settings(pairs: &[(&str, &str)]) -> HttpSettings {
        let from = |(key, value): &(&str, &str)| {
            let (key, value) = (format!("http.{key}"), value.to_string());
            Override { key, value, from: "--set".into() }
        };
        Settings::load(None, &pairs.iter().map(from).collect::<Vec<_>>()).unwrap().http
    }

    fn admits(tokens: &Tokens, value: Option<&str>) -> bool {
        let mut head = HeaderMap::new();
        if let Some(value) = value {
            head.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        tokens.admit(&head)
    }

    #[test]
    fn only_a_whole_token_admits() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# the trainers\n\n  cccccccccccccccccc\n").unwrap();
        let path = file.path().display().to_string();
        let both = [("tokens", "aaaaaaaaaaaaaaaaaa, bbbbbbbbbbbbbbbbbb"), ("tokens_file", path.as_str())];
        let tokens = Tokens::load(&settings(&both)).unwrap();
        for admitted in ["Bearer aaaaaaaaaaaaaaaaaa", "bearer bbbbbbbbbbbbbbbbbb", "Bearer  cccccccccccccccccc"] {
            assert!(admits(&tokens, Some(admitted)), "{admitted}");
        }
        for refused in
            ["Bearer aaaaaaaaaaaaaaaaa", "Bearer aaaaaaaaaaaaaaaaab", "Basic aaaaaaaaaaaaaaaaaa", "Bearer", ""]
        {
            assert!(!admits(&tokens, Some(refused)), "{refused}");
        }
        assert!(!admits(&tokens, None));
        assert!(admits(&Tokens::load(&settings(&[])).unwrap(), None));
    }

    #[test]
    fn a_file_that_is_missing_or_has_a_weak_token_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "long-enough-to-be-a-token\nweak\n").unwrap();
        let path = file.path().display().to_string();
        let refused = |path: &str| Tokens::load(&settings(&[("tokens_file", path)])).err().unwrap().to_string();
        assert!(refused(&path).contains("number 2 has fewer than 16") && !refused(&path).contains("weak"));
        assert!(refused("/nonexistent").contains("http.tokens_file `/nonexistent`"));
    }
}
