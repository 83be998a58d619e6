//! The metrics (prometheus's only room): what there is to see, each series with its name, labels and unit.
//!
//! Always holds: labels are bounded by the topology and the partitions; no entity id is ever one. Handles are resolved
//! when a task or a sink starts; the hot path adds to them in bulk, once an epoch. Nothing here is needed to compute a
//! value: dropping every metric would change no row.

mod families;
mod handles;

use std::sync::Arc;

pub use handles::{Counter, FloatGauge, Gauge, Histogram};

use families::Families;

/// The classes of records, in the order in which they are tested: the index of a class in
/// [`TaskMetrics::records`].
pub const CLASSES: [&str; 7] = ["tombstone", "over_limit", "malformed", "filtered", "future", "late", "applied"];

/// All metrics of a process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: prometheus::Registry,
    families: Arc<Families>,
    /// Seconds from a record's Kafka time to the online store's answer, for rows that a record wrote, live.
    pub freshness: Histogram,
    /// Seconds that one epoch took from its first record to its commit.
    pub epoch_seconds: Histogram,
    /// Entities sent to the online store.
    pub online_entities: Counter,
    /// Rows that were not sent because a newer one of the same entity was.
    pub online_coalesced: Counter,
    /// Rows, bytes and commits in the offline store.
    pub offline_rows: Counter,
    pub offline_bytes: Counter,
    pub offline_commits: Counter,
}

/// The series of one task, which is one partition.
#[derive(Debug, Clone)]
pub struct TaskMetrics {
    /// Records by class, indexed as [`CLASSES`]. The counts survive a kill in state: start them there.
    pub records: [Counter; 7],
    /// Null entity keys of applied records.
    pub null_keys: Counter,
    /// Values of expressions that failed and are null.
    pub expression_failures: Counter,
    pub dead_letters: Counter,
    pub epochs: Counter,
    /// Records between the task's position and the end of its partition.
    pub lag: Gauge,
    /// The watermark, in seconds since 1970, and how far it is behind the wall clock.
    pub watermark: FloatGauge,
    pub watermark_delay: FloatGauge,
    /// 1 once the task has seen the end of its partition.
    pub caught_up: Gauge,
    pub state_bytes: Gauge,
    pub cache_bytes: Gauge,
    pub cache_entities: Gauge,
    /// 1 while RocksDB accepts no writes, and the rate (bytes a second) to which it slows them; 0: not slowed.
    pub write_stopped: Gauge,
    pub delayed_write_rate: Gauge,
}

/// What one sink has not yet taken of one task's outbox.
#[derive(Debug, Clone)]
pub struct OutboxMetrics {
    pub bytes: Gauge,
    pub epochs: Gauge,
}

/// The series of one sink: `online`, `offline` or `dead_letters`.
#[derive(Debug, Clone)]
pub struct SinkMetrics {
    /// Seconds of one call, failed ones too.
    pub seconds: Histogram,
    pub errors: Counter,
    /// 1 while its last call succeeded.
    pub up: Gauge,
}

/// The series of one entity.
#[derive(Debug, Clone)]
pub struct EntityMetrics {
    pub rows: Counter,
    /// By index of the feature in the topology.
    pub features: Vec<FeatureMetrics>,
}

/// The series of one feature.
#[derive(Debug, Clone)]
pub struct FeatureMetrics {
    /// Rows in which it has a value.
    pub updates: Counter,
    /// Rows in which it is null.
    pub nulls: Counter,
}

impl Metrics {
    /// Fresh series, with the build's and the process's own.
    pub fn new() -> Self {
        let registry = prometheus::Registry::new();
        let families = Families::register(&registry);
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        families::register_process(&registry);
        Self {
            freshness: Histogram(families.freshness.clone()),
            epoch_seconds: Histogram(families.epoch_seconds.clone()),
            online_entities: Counter(families.online_entities.clone()),
            online_coalesced: Counter(families.online_coalesced.clone()),
            offline_rows: Counter(families.offline_rows.clone()),
            offline_bytes: Counter(families.offline_bytes.clone()),
            offline_commits: Counter(families.offline_commits.clone()),
            registry,
            families: Arc::new(families),
        }
    }

    /// The series of a partition's task.
    pub fn task(&self, partition: i32) -> TaskMetrics {
        let (families, partition) = (&self.families, partition.to_string());
        let label = [partition.as_str()];
        let counter = |family: &prometheus::IntCounterVec| Counter(family.with_label_values(&label));
        let gauge = |family: &prometheus::IntGaugeVec| Gauge(family.with_label_values(&label));
        TaskMetrics {
            records: CLASSES.map(|class| Counter(families.records.with_label_values(&[label[0], class]))),
            null_keys: counter(&families.null_keys),
            expression_failures: counter(&families.expression_failures),
            dead_letters: counter(&families.dead_letters),
            epochs: counter(&families.epochs),
            lag: gauge(&families.lag),
            watermark: FloatGauge(families.watermark.with_label_values(&label)),
            watermark_delay: FloatGauge(families.watermark_delay.with_label_values(&label)),
            caught_up: gauge(&families.caught_up),
            state_bytes: gauge(&families.state_bytes),
            cache_bytes: gauge(&families.cache_bytes),
            cache_entities: gauge(&families.cache_entities),
            write_stopped: gauge(&families.write_stopped),
            delayed_write_rate: gauge(&families.delayed_write_rate),
        }
    }

    /// What a sink has not yet taken of a partition's outbox.
    pub fn outbox(&self, partition: i32, sink: &str) -> OutboxMetrics {
        let partition = partition.to_string();
        let labels = [partition.as_str(), sink];
        OutboxMetrics {
            bytes: Gauge(self.families.outbox_bytes.with_label_values(&labels)),
            epochs: Gauge(self.families.outbox_epochs.with_label_values(&labels)),
        }
    }

    /// The series of a sink.
    pub fn sink(&self, sink: &str) -> SinkMetrics {
        SinkMetrics {
            seconds: Histogram(self.families.sink_seconds.with_label_values(&[sink])),
            errors: Counter(self.families.sink_errors.with_label_values(&[sink])),
            up: Gauge(self.families.sink_up.with_label_values(&[sink])),
        }
    }

    /// The series of an entity and its features, which are given in the topology's order.
    pub fn entity<'a>(&self, entity: &str, features: impl IntoIterator<Item = &'a str>) -> EntityMetrics {
        let feature = |feature: &str| FeatureMetrics {
            updates: Counter(self.families.feature_updates.with_label_values(&[entity, feature])),
            nulls: Counter(self.families.feature_nulls.with_label_values(&[entity, feature])),
        };
        EntityMetrics {
            rows: Counter(self.families.rows.with_label_values(&[entity])),
            features: features.into_iter().map(feature).collect(),
        }
    }

    /// Shows a bound beside the series that it bounds.
    pub fn set_bound(&self, name: &str, value: u64) {
        self.families.bound.with_label_values(&[name]).set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Everything in Prometheus's text format.
    pub fn render(&self) -> String {
        let gathered = self.registry.gather();
        prometheus::TextEncoder::new().encode_to_string(&gathered).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Metrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_added_is_what_is_rendered() {
        let metrics = Metrics::new();
        let task = metrics.clone().task(3);
        task.records[6].add(41);
        task.lag.set(7);
        metrics.entity("user", ["views_1h"]).features[0].updates.add(2);
        metrics.sink("online").errors.add(1);
        metrics.outbox(3, "offline").bytes.set(1024);
        metrics.set_bound("outbox_bytes", 1 << 30);
        metrics.freshness.observe(0.004);
        let text = metrics.render();
        for line in [
            "kappa_records_total{class=\"applied\",partition=\"3\"} 41",
            "kappa_records_total{class=\"late\",partition=\"3\"} 0",
            "kappa_lag_records{partition=\"3\"} 7",
            "kappa_feature_updates_total{entity=\"user\",feature=\"views_1h\"} 2",
            "kappa_sink_errors_total{sink=\"online\"} 1",
            "kappa_outbox_bytes{partition=\"3\",sink=\"offline\"} 1024",
            "kappa_bound{name=\"outbox_bytes\"} 1073741824",
            "kappa_freshness_seconds_count 1",
            "kappa_freshness_seconds_bucket{le=\"0.005\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing from\n{text}");
        }
        assert!(text.contains("kappa_build_info{version="), "{text}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_itself_is_seen() {
        assert!(Metrics::new().render().contains("process_resident_memory_bytes"));
    }

    #[test]
    fn every_series_is_described() {
        let text = Metrics::new().render();
        for name in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = name.split(' ').next().unwrap_or_default();
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        }
    }
}
