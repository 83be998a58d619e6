//! The metrics (prometheus's only room): what there is to see, each series with its name, labels and unit.
//!
//! Always holds: labels are bounded by the topology and the partitions; no entity id is ever one. Handles are resolved
//! when a task or a sink starts; the hot path adds to them in bulk, once an epoch. Nothing here is needed to compute a
//! value: dropping every metric would change no row.
//!
//! Every version has series of its own, and those of the one that serves are shown, so that a dashboard need not know of
//! versions: at a cut-over its counters begin anew. What is shown of the others is `kappa_version_*`.

mod families;
mod handles;

use std::sync::{Arc, Mutex, PoisonError};

pub use handles::{Counter, FloatGauge, Gauge, Histogram};

use families::{Families, ProcessFamilies};

/// The classes of records, in the order in which they are tested: the index of a class in
/// [`TaskMetrics::records`].
pub const CLASSES: [&str; 7] = ["tombstone", "over_limit", "malformed", "filtered", "future", "late", "applied"];

/// The metrics of one version, and through it those of the process; cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: prometheus::Registry,
    families: Arc<Families>,
    process: Arc<Process>,
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
    /// Small files that compaction replaced, files that vacuum removed, and attempts of either that failed.
    pub compacted_files: Counter,
    pub vacuumed_files: Counter,
    pub tidy_errors: Counter,
    /// Entities read back from the online store and held against the history, and those that differed.
    pub served_checked: Counter,
    pub served_different: Counter,
    /// Records, bytes and commits in the archive.
    pub archive_records: Counter,
    pub archive_bytes: Counter,
    pub archive_commits: Counter,
    /// Records of all partitions that the log has and the archive has not.
    pub archive_lag: Gauge,
}

/// The standings of a version, by name.
const STANDINGS: [&str; 4] = ["building", "ready", "live", "retired"];

/// What all versions of a process have in common.
struct Process {
    registry: prometheus::Registry,
    families: ProcessFamilies,
    /// The series of the version that serves.
    shown: Mutex<prometheus::Registry>,
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
    /// Entities that a record or a timer found in memory, and those that it did not.
    pub cache_hits: Counter,
    pub cache_misses: Counter,
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
    /// Of these, rows in which it is null for a bound or an overflow.
    pub lost: Counter,
}

impl Metrics {
    /// Fresh series, with the build's and the process's own. They are shown.
    pub fn new() -> Self {
        let registry = prometheus::Registry::new();
        let families = ProcessFamilies::register(&registry);
        families.build_info.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        families::register_process(&registry);
        let shown = Mutex::new(prometheus::Registry::new());
        let metrics = Self::within(Arc::new(Process { registry, families, shown }));
        metrics.show();
        metrics
    }

    /// Fresh series for another version of the same process. They are not shown.
    pub fn beside(&self) -> Self {
        Self::within(Arc::clone(&self.process))
    }

    /// Shows these series, and those of no other version.
    pub fn show(&self) {
        *self.process.shown.lock().unwrap_or_else(PoisonError::into_inner) = self.registry.clone();
    }

    fn within(process: Arc<Process>) -> Self {
        let registry = prometheus::Registry::new();
        let families = Families::register(&registry);
        Self {
            freshness: Histogram(families.freshness.clone()),
            epoch_seconds: Histogram(families.epoch_seconds.clone()),
            online_entities: Counter(families.online_entities.clone()),
            online_coalesced: Counter(families.online_coalesced.clone()),
            offline_rows: Counter(families.offline_rows.clone()),
            offline_bytes: Counter(families.offline_bytes.clone()),
            offline_commits: Counter(families.offline_commits.clone()),
            compacted_files: Counter(families.compacted_files.clone()),
            vacuumed_files: Counter(families.vacuumed_files.clone()),
            tidy_errors: Counter(families.tidy_errors.clone()),
            served_checked: Counter(families.served_checked.clone()),
            served_different: Counter(families.served_different.clone()),
            archive_records: Counter(process.families.archive_records.clone()),
            archive_bytes: Counter(process.families.archive_bytes.clone()),
            archive_commits: Counter(process.families.archive_commits.clone()),
            archive_lag: Gauge(process.families.archive_lag.clone()),
            registry,
            families: Arc::new(families),
            process,
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
            cache_hits: counter(&families.cache_hits),
            cache_misses: counter(&families.cache_misses),
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

    /// The seconds of the answers of one page, which is one of a fixed list.
    pub fn http_seconds(&self, page: &str) -> Histogram {
        Histogram(self.process.families.http_seconds.with_label_values(&[page]))
    }

    /// The answers of one page with one status.
    pub fn http_responses(&self, page: &str, status: &str) -> Counter {
        Counter(self.process.families.http_responses.with_label_values(&[page, status]))
    }

    /// The series of an entity and its features, which are given in the topology's order.
    pub fn entity<'a>(&self, entity: &str, features: impl IntoIterator<Item = &'a str>) -> EntityMetrics {
        let feature = |feature: &str| FeatureMetrics {
            updates: Counter(self.families.feature_updates.with_label_values(&[entity, feature])),
            nulls: Counter(self.families.feature_nulls.with_label_values(&[entity, feature])),
            lost: Counter(self.families.feature_lost.with_label_values(&[entity, feature])),
        };
        EntityMetrics {
            rows: Counter(self.families.rows.with_label_values(&[entity])),
            features: features.into_iter().map(feature).collect(),
        }
    }

    /// Shows how many files the table of an entity, or of the dead letters, has.
    pub fn set_offline_files(&self, entity: &str, files: usize) {
        self.families.offline_files.with_label_values(&[entity]).set(files as i64);
    }

    /// 1 while the brokers answer for the topic. Shown from the first call on: before, nobody has asked them.
    pub fn source_up(&self) -> Gauge {
        Gauge(self.families.source_up.with_label_values::<&str>(&[]))
    }

    /// Shows a bound beside the series that it bounds.
    pub fn set_bound(&self, name: &str, value: u64) {
        self.process.families.bound.with_label_values(&[name]).set(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// Shows where a version stands.
    pub fn set_version(&self, number: u32, standing: &str, seen: &VersionSeen) {
        let (families, number) = (&self.process.families, number.to_string());
        for known in STANDINGS {
            families.version_standing.with_label_values(&[&number, known]).set(i64::from(known == standing));
        }
        let label = [number.as_str()];
        families.version_lag.with_label_values(&label).set(seen.lag as i64);
        families.version_progress.with_label_values(&label).set(seen.progress);
        families.version_rate.with_label_values(&label).set(seen.rate);
    }

    /// Shows nothing of a version any more.
    pub fn forget_version(&self, number: u32) {
        let (families, number) = (&self.process.families, number.to_string());
        // What was never shown cannot be taken away: that is no loss.
        for known in STANDINGS {
            let _ = families.version_standing.remove_label_values(&[&number, known]);
        }
        let _ = families.version_lag.remove_label_values(&[&number]);
        let _ = families.version_progress.remove_label_values(&[&number]);
        let _ = families.version_rate.remove_label_values(&[&number]);
    }

    /// Everything in Prometheus's text format: the process's own, and the shown version's.
    pub fn render(&self) -> String {
        let shown = self.process.shown.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut gathered = self.process.registry.gather();
        gathered.extend(shown.gather());
        prometheus::TextEncoder::new().encode_to_string(&gathered).unwrap_or_else(|error| format!("# {error}\n"))
    }
}

/// Where a version stands, as [`Metrics::set_version`] shows it.
#[derive(Debug, Clone, Copy, Default)]
pub struct VersionSeen {
    /// Records that it has not folded yet.
    pub lag: u64,
    /// From 0 to 1: how much of what the log held at its start is folded.
    pub progress: f64,
    /// Records a second.
    pub rate: f64,
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
        assert!(!metrics.render().contains("kappa_source_up"), "nobody has asked the brokers yet");
        metrics.source_up().set_flag(true);
        metrics.freshness.observe(0.004);
        let text = metrics.render();
        for line in [
            "kappa_records_total{class=\"applied\",partition=\"3\"} 41",
            "kappa_records_total{class=\"late\",partition=\"3\"} 0",
            "kappa_lag_records{partition=\"3\"} 7",
            "kappa_source_up 1",
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
    fn the_version_that_serves_is_the_one_that_is_shown() {
        let first = Metrics::new();
        let second = first.beside();
        first.task(0).lag.set(1);
        second.task(0).lag.set(2);
        let shows = |lag: u64| first.render().contains(&format!("kappa_lag_records{{partition=\"0\"}} {lag}"));
        assert!(shows(1) && !shows(2));
        second.show();
        assert!(shows(2) && !shows(1));
        first.set_version(2, "live", &VersionSeen { lag: 7, progress: 0.5, rate: 10.0 });
        assert!(second.render().contains("kappa_version_standing{standing=\"live\",version=\"2\"} 1"));
        assert!(second.render().contains("kappa_version_lag_records{version=\"2\"} 7"));
        first.forget_version(2);
        assert!(!first.render().contains("version=\"2\""));
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
