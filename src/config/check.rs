//! What settings must be beyond their types: checked without I/O, every problem at once.
//!
//! Left out: whether anything answers at an address, and which client options are allowed (their rooms know).

use std::net::Ipv6Addr;

use super::{RedisFormat, Settings};
use crate::error::{Error, Result};
use crate::time::Span;

/// librdkafka's own limit of `queued.max.messages.kbytes`.
const MAX_QUEUE_KBYTES: u32 = 2_097_151;
/// A poll makes room for as many before it asks.
const MAX_POLL_RECORDS: usize = 1_000_000;
/// A vacuum must keep files for longer than one may be on its way to a commit.
pub const MIN_RETENTION: Span = Span(3_600_000);
const STORE_SCHEMES: [&str; 9] = ["file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory"];

impl Settings {
    /// These settings, when they make sense.
    pub(super) fn checked(self) -> Result<Self> {
        let mut problems = Vec::new();
        self.check_addresses(&mut problems);
        self.check_numbers(&mut problems);
        self.check_formats(&mut problems);
        self.check_files(&mut problems);
        match problems.is_empty() {
            true => Ok(self),
            false => Err(Error::configuration(problems.join("\n"))),
        }
    }

    fn check_addresses(&self, problems: &mut Vec<String>) {
        for broker in self.kafka.brokers.split(',').map(str::trim) {
            if !is_host_port(broker) {
                problems.push(format!("`kafka.brokers`: `{broker}` is not host:port"));
            }
        }
        for url in self.online.redis.url.split(',').map(str::trim) {
            let scheme = url.split_once("://").map(|(scheme, _)| scheme);
            let parsed = url::Url::parse(url).is_ok_and(|url| url.has_host());
            if !matches!(scheme, Some("redis" | "rediss")) || !parsed {
                // The url may hold a password: only its scheme is named.
                let scheme = scheme.unwrap_or("no scheme");
                problems.push(format!(
                    "`online.redis.url` ({scheme}) must be redis://host:port, or rediss://host:port for TLS"
                ));
            }
        }
        for (key, url) in [("offline.url", &self.offline.url), ("archive.url", &self.archive.url)] {
            match url.split_once("://") {
                Some((scheme, _)) if !STORE_SCHEMES.contains(&scheme) => problems.push(format!(
                    "`{key}`: `{scheme}://` is not known: use a directory, file://, s3://, gs:// or az://"
                )),
                None if url.is_empty() => problems.push(format!("`{key}` is empty: name a directory")),
                _ => {}
            }
        }
        let listen = &self.http.listen;
        if !listen.is_empty() && !is_host_port(listen) && listen.parse::<std::net::SocketAddr>().is_err() {
            problems.push(format!("`http.listen`: `{listen}` is not address:port; empty is none, port 0 any free one"));
        }
    }

    fn check_numbers(&self, problems: &mut Vec<String>) {
        let (bounds, redis, http) = (&self.bounds, &self.online.redis, &self.http);
        let numbers = [
            ("kafka.queue_kbytes", u64::from(self.kafka.queue_kbytes)),
            ("kafka.poll_records", self.kafka.poll_records as u64),
            ("online.redis.entities_per_call", redis.entities_per_call as u64),
            ("online.redis.calls_per_pipeline", redis.calls_per_pipeline as u64),
            ("offline.commit_bytes", self.offline.commit_bytes),
            ("archive.commit_bytes", self.archive.commit_bytes),
            ("epoch.max_rows", self.epoch.max_rows as u64),
            ("epoch.max_records", self.epoch.max_records as u64),
            ("bounds.outbox_bytes", bounds.outbox_bytes),
            ("bounds.cache_bytes", bounds.cache_bytes),
            ("bounds.block_cache_bytes", bounds.block_cache_bytes),
            ("bounds.write_buffer_bytes", bounds.write_buffer_bytes),
            ("bounds.open_files", bounds.open_files.max(0) as u64),
            ("bounds.materialize_bytes", bounds.materialize_bytes),
            ("http.max_connections", http.max_connections as u64),
            ("http.max_head_bytes", http.max_head_bytes as u64),
            ("http.max_body_bytes", http.max_body_bytes as u64),
            ("http.max_entities", http.max_entities as u64),
        ];
        for (key, _) in numbers.iter().filter(|(_, value)| *value == 0) {
            problems.push(format!("`{key}` must be more than 0"));
        }
        if self.kafka.queue_kbytes > MAX_QUEUE_KBYTES {
            problems.push(format!("`kafka.queue_kbytes` is {}: at most {MAX_QUEUE_KBYTES}", self.kafka.queue_kbytes));
        }
        if self.kafka.poll_records > MAX_POLL_RECORDS {
            problems.push(format!("`kafka.poll_records` is {}: at most {MAX_POLL_RECORDS}", self.kafka.poll_records));
        }
        let spans = [
            ("online.redis.timeout", Some(redis.timeout)),
            ("offline.commit_interval", Some(self.offline.commit_interval)),
            ("offline.compact_interval", self.offline.compact_interval),
            ("archive.commit_interval", Some(self.archive.commit_interval)),
            ("epoch.interval", Some(self.epoch.interval)),
            ("idle_after", self.idle_after),
            ("bounds.shutdown", Some(bounds.shutdown)),
            ("http.read_timeout", Some(http.read_timeout)),
            ("http.request_timeout", Some(http.request_timeout)),
            ("http.head_timeout", Some(http.head_timeout)),
            ("http.connection_age", Some(http.connection_age)),
        ];
        for (key, _) in spans.iter().filter(|(_, span)| *span == Some(Span(0))) {
            problems.push(format!("`{key}` must be more than 0"));
        }
        if let Some(retention) = self.offline.vacuum_retention.filter(|retention| *retention < MIN_RETENTION) {
            problems.push(format!(
                "`offline.vacuum_retention` is {retention}: at least {MIN_RETENTION}, for a file may wait that long for its \
                 commit; off removes nothing"
            ));
        }
    }

    fn check_formats(&self, problems: &mut Vec<String>) {
        let redis = &self.online.redis;
        let twice = |(at, format): (usize, &RedisFormat)| redis.formats[..at].contains(format);
        if redis.formats.is_empty() || redis.formats.iter().enumerate().any(twice) {
            problems.push("`online.redis.formats` names hash, feast, or both, each once".into());
        }
        // Feast's own rule.
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphanumeric())
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
        };
        if let Some(project) = redis.feast_project.as_deref().filter(|project| !is_name(project)) {
            let rule = "letters, digits, `_` and `-`, a letter or a digit first";
            problems.push(format!("`online.redis.feast_project`: `{project}` is no name of a Feast project: {rule}"));
        }
    }

    fn check_files(&self, problems: &mut Vec<String>) {
        let redis = &self.online.redis;
        if redis.cert_file.is_some() != redis.key_file.is_some() {
            problems.push("`online.redis.cert_file` and `online.redis.key_file` belong together: give both".into());
        }
        let http = &self.http;
        if http.tls_cert_file.is_some() != http.tls_key_file.is_some() {
            problems.push("`http.tls_cert_file` and `http.tls_key_file` belong together: give both".into());
        }
        if let Some(problem) = http.tokens.as_deref().map(str::trim).and_then(tokens_problem) {
            problems.push(format!("`http.tokens` {problem}"));
        }
        if self.data_dir.as_os_str().is_empty() {
            problems.push("`data_dir` is empty: name a directory".into());
        }
        if !self.kafka.group.trim().eq(&self.kafka.group) || self.kafka.group.is_empty() {
            problems.push(format!("`kafka.group`: `{}` is empty or has blanks around it", self.kafka.group));
        }
    }
}

/// The fewest characters of a bearer token.
const MIN_TOKEN: usize = 16;

/// What is wrong with comma-separated tokens; the tokens themselves are secrets and not said.
fn tokens_problem(tokens: &str) -> Option<String> {
    tokens.split(',').map(str::trim).enumerate().find_map(|(index, token)| token_problem(index, token))
}

/// What is wrong with one token, the one at this place.
pub fn token_problem(index: usize, token: &str) -> Option<String> {
    let at = index + 1;
    if token.len() < MIN_TOKEN {
        return Some(format!(
            "number {at} has fewer than {MIN_TOKEN} characters: `openssl rand -hex 16` makes a good one"
        ));
    }
    let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
    (!visible).then(|| format!("number {at} has blanks or letters beyond ASCII, which no header can carry"))
}

/// `host:port`, with `[...]` around an IPv6 address; nothing is looked up.
fn is_host_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => !host.is_empty() && !host.contains([':', '/', ' ', '@']),
    };
    host_ok && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Override;

    fn problems(pairs: &[(&str, &str)]) -> String {
        let overrides: Vec<Override> = pairs
            .iter()
            .map(|(key, value)| Override { key: key.to_string(), value: value.to_string(), from: "--set".into() })
            .collect();
        Settings::load(None, &overrides).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn every_senseless_value_is_named_with_its_remedy() {
        assert_eq!(
            problems(&[
                ("kafka.brokers", "a:1,b"),
                ("online.redis.url", "http://user:secret@x"),
                ("offline.url", "ftp://x"),
                ("archive.url", ""),
                ("http.listen", "9464"),
                ("bounds.open_files", "-1"),
                ("epoch.interval", "0"),
                ("kafka.poll_records", "2000000"),
                ("online.redis.cert_file", "a.pem"),
                ("http.tls_key_file", "a.pem"),
                ("http.tokens", "long-enough-to-be-one, short"),
                ("http.read_timeout", "0"),
                ("online.redis.formats", "hash,hash"),
                ("online.redis.feast_project", "_a b"),
            ]),
            "`kafka.brokers`: `b` is not host:port\n\
             `online.redis.url` (http) must be redis://host:port, or rediss://host:port for TLS\n\
             `offline.url`: `ftp://` is not known: use a directory, file://, s3://, gs:// or az://\n\
             `archive.url` is empty: name a directory\n\
             `http.listen`: `9464` is not address:port; empty is none, port 0 any free one\n\
             `bounds.open_files` must be more than 0\n\
             `kafka.poll_records` is 2000000: at most 1000000\n\
             `epoch.interval` must be more than 0\n\
             `http.read_timeout` must be more than 0\n\
             `online.redis.formats` names hash, feast, or both, each once\n\
             `online.redis.feast_project`: `_a b` is no name of a Feast project: letters, digits, `_` and `-`, a letter or \
             a digit first\n\
             `online.redis.cert_file` and `online.redis.key_file` belong together: give both\n\
             `http.tls_cert_file` and `http.tls_key_file` belong together: give both\n\
             `http.tokens` number 2 has fewer than 16 characters: `openssl rand -hex 16` makes a good one"
        );
    }

    #[test]
    fn usual_addresses_are_accepted() {
        for (key, value) in [
            ("kafka.brokers", "kafka-1:9092, 10.0.0.1:9092,[::1]:9092"),
            ("online.redis.url", "rediss://me:pa%40ss@redis.example:6380/1"),
            ("online.redis.url", "redis://a:1,redis://b:2"),
            ("offline.url", "s3://bucket/prefix"),
            ("offline.url", "../offline"),
            ("http.listen", ""),
            ("http.listen", "127.0.0.1:0"),
            ("http.listen", "[::]:9464"),
            ("online.redis.formats", "feast"),
            ("online.redis.formats", "feast, hash"),
            ("online.redis.feast_project", "2-b_c"),
        ] {
            assert_eq!(problems(&[(key, value)]), "", "{key} = {value}");
        }
    }
}
