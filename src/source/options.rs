//! The consumer's settings: what we fix, and the allow-list for what the user may pass on.
//!
//! The fixed keys are promises (exact offsets, committed records only, checked sums, the end of a partition shown);
//! `kafka.options` cannot change them. What loads code or runs a shell (`plugin.library.paths`, `ssl.engine.*`,
//! `sasl.kerberos.*`) is not on the list. Values are never put into a message: they may be secrets.

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

use crate::config::KafkaSettings;
use crate::error::{Error, Result};

/// Names that `kafka.options` may set.
const ALLOWED: [&str; 44] = [
    "broker.address.family",
    "broker.address.ttl",
    "client.dns.lookup",
    "client.id",
    "client.rack",
    "connections.max.idle.ms",
    "enable.ssl.certificate.verification",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.message.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "max.partition.fetch.bytes",
    "queued.min.messages",
    "receive.message.max.bytes",
    "reconnect.backoff.max.ms",
    "reconnect.backoff.ms",
    "sasl.mechanism",
    "sasl.mechanisms",
    "sasl.password",
    "sasl.username",
    "security.protocol",
    "socket.connection.setup.timeout.ms",
    "socket.keepalive.enable",
    "socket.max.fails",
    "socket.nagle.disable",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "socket.timeout.ms",
    "ssl.ca.location",
    "ssl.ca.pem",
    "ssl.certificate.location",
    "ssl.certificate.pem",
    "ssl.cipher.suites",
    "ssl.crl.location",
    "ssl.curves.list",
    "ssl.endpoint.identification.algorithm",
    "ssl.key.location",
    "ssl.key.password",
    "ssl.key.pem",
    "ssl.keystore.location",
    "ssl.keystore.password",
    "ssl.sigalgs.list",
];

/// The configuration of a consumer in this group. The group serves only to show committed offsets to lag tools.
pub(super) fn client_config(settings: &KafkaSettings, group: &str) -> Result<ClientConfig> {
    let mut config = ClientConfig::new();
    // Defaults that the user may change.
    config
        .set("client.id", "kappa")
        .set("fetch.queue.backoff.ms", "10")
        .set("fetch.error.backoff.ms", "100")
        .set("reconnect.backoff.max.ms", "2000")
        .set("socket.keepalive.enable", "true");
    let refused: Vec<&str> =
        settings.options.keys().map(String::as_str).filter(|name| !ALLOWED.contains(name)).collect();
    if !refused.is_empty() {
        return Err(Error::configuration(format!(
            "kafka.options: `{}` may not be set; remove it. The names accepted are: {}",
            refused.join("`, `"),
            ALLOWED.join(", ")
        )));
    }
    config.extend(settings.options.iter().map(|(name, value)| (name.clone(), value.clone())));
    // Promises that nobody may change.
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .set("allow.auto.create.topics", "false")
        .set("topic.metadata.refresh.interval.ms", "30000")
        .set("queued.max.messages.kbytes", settings.queue_kbytes.to_string())
        .set("enable.metrics.push", "false")
        .set("log.connection.close", "false")
        .set_log_level(RDKafkaLogLevel::Info);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn settings(options: &[(&str, &str)]) -> KafkaSettings {
        KafkaSettings {
            brokers: "localhost:1".into(),
            group: "g".into(),
            queue_kbytes: 1024,
            poll_records: 8192,
            options: options.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        }
    }

    #[test]
    fn every_allowed_name_is_known_to_the_client() {
        // The client judges names before values, so a wrong name cannot hide behind a wrong value.
        for name in ALLOWED {
            let mut config = ClientConfig::new();
            config.set(name, "x");
            if let Err(error) = config.create_native_config() {
                assert!(!error.to_string().contains("No such configuration property"), "{name}: {error}");
            }
        }
    }

    #[test]
    fn an_option_that_loads_code_or_breaks_a_promise_is_refused_by_name_and_not_by_value() {
        for name in
            ["plugin.library.paths", "sasl.kerberos.kinit.cmd", "ssl.engine.location", "auto.offset.reset", "group.id"]
        {
            let error = client_config(&settings(&[(name, "a-secret")]), "g").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
            assert!(error.to_string().contains(name) && error.to_string().contains("security.protocol"));
            assert!(!error.to_string().contains("a-secret"));
        }
    }

    #[test]
    fn allowed_options_are_passed_on_and_promises_stay() {
        let config = client_config(&settings(&[("security.protocol", "SASL_SSL"), ("client.id", "me")]), "g").unwrap();
        assert_eq!((config.get("security.protocol"), config.get("client.id")), (Some("SASL_SSL"), Some("me")));
        assert_eq!((config.get("auto.offset.reset"), config.get("group.id")), (Some("error"), Some("g")));
        assert!(config.create_native_config().is_ok());
    }
}
