//! Settings for people's eyes: secrets replaced, everything else as it is.
//!
//! Secrets are: values whose key says so, the password in a URL, and a URL's query (signed URLs carry theirs there).

use serde::Serialize;
use serde_json::Value;

use super::Settings;

const HIDDEN: &str = "***";
const SECRET_WORDS: [&str; 8] = ["password", "secret", "token", "tokens", "key", "pem", "sas", "credential"];
/// Names of places and identifiers, not of secrets: `ssl.key.location`, `online.redis.key_file`.
const PLAIN_ENDS: [&str; 4] = ["location", "_file", ".file", "dir"];

impl Settings {
    /// All settings as a tree, secrets replaced by `***`.
    pub fn redacted(&self) -> Value {
        redacted(self)
    }
}

/// As [`Settings::redacted`], for any part of them.
pub(super) fn redacted(settings: &impl Serialize) -> Value {
    // Settings are maps with text keys of plain values: serialising them cannot fail; if it did, nothing is shown.
    let mut value = serde_json::to_value(settings).unwrap_or(Value::Null);
    hide("", &mut value);
    value
}

/// Whether the value under this dotted key is a secret.
pub(super) fn is_secret(key: &str) -> bool {
    // `sasl.mechanism` holds "sas" but is none: words are taken between dots and underscores.
    let mut words = key.split(['.', '_']);
    let named = words.any(|word| SECRET_WORDS.contains(&word) || word.ends_with("password"));
    named && !PLAIN_ENDS.iter().any(|end| key.ends_with(end))
}

fn hide(key: &str, value: &mut Value) {
    match value {
        Value::Object(map) => {
            for (name, value) in map.iter_mut() {
                hide(name, value);
            }
        }
        Value::String(_) if is_secret(key) => *value = Value::String(HIDDEN.into()),
        Value::String(text) if text.contains("://") => *text = hide_in_urls(text),
        _ => {}
    }
}

/// Hides passwords and queries in a comma-separated list of URLs.
fn hide_in_urls(urls: &str) -> String {
    urls.split(',').map(hide_in_url).collect::<Vec<_>>().join(",")
}

fn hide_in_url(url: &str) -> String {
    let (url, query) = url.split_once('?').map_or((url, ""), |(url, _)| (url, "?***"));
    let Some((scheme, rest)) = url.split_once("://") else { return format!("{url}{query}") };
    // The last `@`: a password with a raw `/` or `@` in it must not show either.
    match rest.rsplit_once('@') {
        Some((login, host)) => {
            let user = login.split_once(':').map_or(login, |(user, _)| user);
            format!("{scheme}://{user}:{HIDDEN}@{host}{query}")
        }
        None => format!("{url}{query}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Override;

    #[test]
    fn no_secret_is_printed() {
        let secrets = [
            ("online.redis.password", "s3cret"),
            ("online.redis.url", "rediss://me:s3cret@host:6379/1"),
            ("offline.url", "az://container/path?sig=s3cret"),
            ("offline.options.aws_secret_access_key", "s3cret"),
            ("offline.options.azure_storage_sas_token", "s3cret"),
            ("kafka.options.sasl.password", "s3cret"),
            ("kafka.options.ssl.key.pem", "s3cret"),
            ("kafka.options.ssl.keystore.password", "s3cret"),
            ("http.tokens", "s3cret-and-long-enough, another-s3cret-as-long"),
        ];
        let overrides: Vec<Override> = secrets
            .iter()
            .map(|(key, value)| Override { key: key.to_string(), value: value.to_string(), from: "--set".into() })
            .collect();
        let settings = Settings::load(None, &overrides).unwrap();
        let (printed, debugged) =
            (settings.redacted().to_string(), format!("{settings:?} {:?} {:?}", settings.online.redis, settings.http));
        assert!(!printed.contains("s3cret") && !debugged.contains("s3cret"), "{printed}");
        assert!(printed.contains("rediss://me:***@host:6379/1"), "{printed}");
    }

    #[test]
    fn names_of_files_and_mechanisms_are_no_secrets() {
        for key in [
            "ssl.key.location",
            "sasl.mechanism",
            "online.redis.key_file",
            "kafka.group",
            "cache_bytes",
            "http.tokens_file",
        ] {
            assert!(!is_secret(key), "{key}");
        }
    }
}
