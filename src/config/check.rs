//! What settings must be beyond their types: checked without I/O, every problem at once.
//!
//! Left out: whether anything answers at an address, and which client options are allowed (their rooms know).

use std::net::Ipv6Addr;

use super::Settings;
use crate::error::{Error, Result};
use crate::time::Span;

/// librdkafka's own limit of `queued.max.messages.kbytes`.
const MAX_QUEUE_KBYTES: u32 = 2_097_151;
const OFFLINE_SCHEMES: [&str; 9] = ["file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "memory"];

impl Settings {
    /// These settings, when they make sense.
    pub(super) fn checked(self) -> Result<Self> {
        let mut problems = Vec::new();
        self.check_addresses(&mut problems);
        self.check_numbers(&mut problems);
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
        match self.offline.url.split_once("://") {
            Some((scheme, _)) if !OFFLINE_SCHEMES.contains(&scheme) => problems.push(format!(
                "`offline.url`: `{scheme}://` is not known: use a directory, file://, s3://, gs:// or az://"
            )),
            None if self.offline.url.is_empty() => problems.push("`offline.url` is empty: name a directory".into()),
            _ => {}
        }
        let listen = &self.http.listen;
        if !listen.is_empty() && !is_host_port(listen) && listen.parse::<std::net::SocketAddr>().is_err() {
            problems.push(format!("`http.listen`: `{listen}` is not address:port; empty is none, port 0 any free one"));
        }
    }

    fn check_numbers(&self, problems: &mut Vec<String>) {
        let (bounds, redis) = (&self.bounds, &self.online.redis);
        let numbers = [
            ("kafka.queue_kbytes", u64::from(self.kafka.queue_kbytes)),
            ("online.redis.entities_per_call", redis.entities_per_call as u64),
            ("online.redis.calls_per_pipeline", redis.calls_per_pipeline as u64),
            ("offline.commit_bytes", self.offline.commit_bytes),
            ("epoch.max_rows", self.epoch.max_rows as u64),
            ("epoch.max_records", self.epoch.max_records as u64),
            ("bounds.outbox_bytes", bounds.outbox_bytes),
            ("bounds.cache_bytes", bounds.cache_bytes),
            ("bounds.block_cache_bytes", bounds.block_cache_bytes),
            ("bounds.write_buffer_bytes", bounds.write_buffer_bytes),
            ("bounds.open_files", bounds.open_files.max(0) as u64),
        ];
        for (key, _) in numbers.iter().filter(|(_, value)| *value == 0) {
            problems.push(format!("`{key}` must be more than 0"));
        }
        if self.kafka.queue_kbytes > MAX_QUEUE_KBYTES {
            problems.push(format!("`kafka.queue_kbytes` is {}: at most {MAX_QUEUE_KBYTES}", self.kafka.queue_kbytes));
        }
        let spans = [
            ("online.redis.timeout", Some(redis.timeout)),
            ("offline.commit_interval", Some(self.offline.commit_interval)),
            ("epoch.interval", Some(self.epoch.interval)),
            ("idle_after", self.idle_after),
            ("bounds.shutdown", Some(bounds.shutdown)),
        ];
        for (key, _) in spans.iter().filter(|(_, span)| *span == Some(Span(0))) {
            problems.push(format!("`{key}` must be more than 0"));
        }
    }

    fn check_files(&self, problems: &mut Vec<String>) {
        let redis = &self.online.redis;
        if redis.cert_file.is_some() != redis.key_file.is_some() {
            problems.push("`online.redis.cert_file` and `online.redis.key_file` belong together: give both".into());
        }
        if self.data_dir.as_os_str().is_empty() {
            problems.push("`data_dir` is empty: name a directory".into());
        }
        if !self.kafka.group.trim().eq(&self.kafka.group) || self.kafka.group.is_empty() {
            problems.push(format!("`kafka.group`: `{}` is empty or has blanks around it", self.kafka.group));
        }
    }
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
                ("http.listen", "9464"),
                ("bounds.open_files", "-1"),
                ("epoch.interval", "0"),
                ("online.redis.cert_file", "a.pem"),
            ]),
            "`kafka.brokers`: `b` is not host:port\n\
             `online.redis.url` (http) must be redis://host:port, or rediss://host:port for TLS\n\
             `offline.url`: `ftp://` is not known: use a directory, file://, s3://, gs:// or az://\n\
             `http.listen`: `9464` is not address:port; empty is none, port 0 any free one\n\
             `bounds.open_files` must be more than 0\n\
             `epoch.interval` must be more than 0\n\
             `online.redis.cert_file` and `online.redis.key_file` belong together: give both"
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
        ] {
            assert_eq!(problems(&[(key, value)]), "", "{key} = {value}");
        }
    }
}
