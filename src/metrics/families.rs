//! Every metric's name, help, labels and buckets, in one table.

use prometheus::core::Collector;
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// From a tenth of a millisecond to ten seconds: a read of the online store takes less than a millisecond.
const READ_SECONDS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
/// From a millisecond to ten minutes: a live row takes milliseconds, a sink that was down takes minutes.
const SECONDS: [f64; 16] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0, 600.0];

pub(super) struct Families {
    pub records: IntCounterVec,
    pub null_keys: IntCounterVec,
    pub expression_failures: IntCounterVec,
    pub dead_letters: IntCounterVec,
    pub epochs: IntCounterVec,
    pub lag: IntGaugeVec,
    pub watermark: GaugeVec,
    pub watermark_delay: GaugeVec,
    pub caught_up: IntGaugeVec,
    pub state_bytes: IntGaugeVec,
    pub cache_bytes: IntGaugeVec,
    pub cache_entities: IntGaugeVec,
    pub cache_hits: IntCounterVec,
    pub cache_misses: IntCounterVec,
    pub write_stopped: IntGaugeVec,
    pub delayed_write_rate: IntGaugeVec,
    pub outbox_bytes: IntGaugeVec,
    pub outbox_epochs: IntGaugeVec,
    pub sink_seconds: HistogramVec,
    pub sink_errors: IntCounterVec,
    pub sink_up: IntGaugeVec,
    pub rows: IntCounterVec,
    pub feature_updates: IntCounterVec,
    pub feature_nulls: IntCounterVec,
    pub feature_lost: IntCounterVec,
    pub source_up: IntGaugeVec,
    pub freshness: Histogram,
    pub epoch_seconds: Histogram,
    pub online_entities: IntCounter,
    pub online_coalesced: IntCounter,
    pub offline_rows: IntCounter,
    pub offline_bytes: IntCounter,
    pub offline_commits: IntCounter,
    pub offline_files: IntGaugeVec,
    pub compacted_files: IntCounter,
    pub vacuumed_files: IntCounter,
    pub tidy_errors: IntCounter,
    pub served_checked: IntCounter,
    pub served_different: IntCounter,
}

impl Families {
    pub fn register(registry: &Registry) -> Self {
        let to = Register(registry);
        let partition = &["partition"];
        Self {
            records: to.counters("kappa_records_total", "Records by class.", &["partition", "class"]),
            null_keys: to.counters("kappa_null_keys_total", "Applied records with a null entity key.", partition),
            expression_failures: to.counters(
                "kappa_expression_failures_total",
                "Values of expressions that failed and are null.",
                partition,
            ),
            dead_letters: to.counters("kappa_dead_letters_total", "Records kept as dead letters.", partition),
            epochs: to.counters("kappa_epochs_total", "Atomic commits of a task.", partition),
            lag: to.gauges("kappa_lag_records", "Records between the task and the end of its partition.", partition),
            watermark: to.float_gauges("kappa_watermark_seconds", "The watermark, in seconds since 1970.", partition),
            watermark_delay: to.float_gauges(
                "kappa_watermark_delay_seconds",
                "How far the watermark is behind the wall clock.",
                partition,
            ),
            caught_up: to.gauges("kappa_caught_up", "1 once the end of the partition has been seen.", partition),
            state_bytes: to.gauges("kappa_state_bytes", "Bytes of a task's state on disk.", partition),
            cache_bytes: to.gauges("kappa_cache_bytes", "Bytes of entities kept in memory.", partition),
            cache_entities: to.gauges("kappa_cache_entities", "Entities kept in memory.", partition),
            cache_hits: to.counters(
                "kappa_cache_hits_total",
                "Entities that a record or a timer found in memory.",
                partition,
            ),
            cache_misses: to.counters(
                "kappa_cache_misses_total",
                "Entities that were not in memory: read from disk, or new.",
                partition,
            ),
            write_stopped: to.gauges(
                "kappa_rocksdb_write_stopped",
                "1 while RocksDB accepts no writes until compaction has caught up.",
                partition,
            ),
            delayed_write_rate: to.gauges(
                "kappa_rocksdb_delayed_write_rate",
                "Bytes a second to which RocksDB slows writes; 0: not slowed.",
                partition,
            ),
            outbox_bytes: to.gauges(
                "kappa_outbox_bytes",
                "Bytes of committed rows that a sink has not taken yet.",
                &["partition", "sink"],
            ),
            outbox_epochs: to.gauges(
                "kappa_outbox_epochs",
                "Committed epochs that a sink has not taken yet.",
                &["partition", "sink"],
            ),
            sink_seconds: to.histograms("kappa_sink_seconds", "Seconds of one call of a sink.", &["sink"], &SECONDS),
            sink_errors: to.counters("kappa_sink_errors_total", "Failed calls of a sink; each is retried.", &["sink"]),
            sink_up: to.gauges("kappa_sink_up", "1 while the last call of a sink succeeded.", &["sink"]),
            rows: to.counters("kappa_rows_total", "Feature rows written.", &["entity"]),
            feature_updates: to.counters(
                "kappa_feature_updates_total",
                "Rows in which a feature has a value.",
                &["entity", "feature"],
            ),
            feature_nulls: to.counters(
                "kappa_feature_nulls_total",
                "Rows in which the feature is null.",
                &["entity", "feature"],
            ),
            feature_lost: to.counters(
                "kappa_feature_lost_total",
                "Rows in which the feature is null for a bound or an overflow.",
                &["entity", "feature"],
            ),
            source_up: to.gauges("kappa_source_up", "1 while the brokers answer for the topic.", &[]),
            freshness: to.histogram(
                "kappa_freshness_seconds",
                "Seconds from a record's Kafka time to the online store's answer.",
            ),
            epoch_seconds: to.histogram("kappa_epoch_seconds", "Seconds from an epoch's first record to its commit."),
            online_entities: to.counter("kappa_online_entities_total", "Entities sent to the online store."),
            online_coalesced: to.counter(
                "kappa_online_coalesced_rows_total",
                "Rows not sent because a newer one of the same entity was.",
            ),
            offline_rows: to.counter("kappa_offline_rows_total", "Rows committed to the offline store."),
            offline_bytes: to.counter("kappa_offline_bytes_total", "Bytes of Parquet committed to the offline store."),
            offline_commits: to.counter("kappa_offline_commits_total", "Commits to the offline store."),
            offline_files: to.gauges(
                "kappa_offline_files",
                "Files of the table of an entity, or of the dead letters.",
                &["entity"],
            ),
            compacted_files: to.counter("kappa_compacted_files_total", "Small files that compaction has replaced."),
            vacuumed_files: to.counter("kappa_vacuumed_files_total", "Files of the history that vacuum has removed."),
            tidy_errors: to.counter("kappa_tidy_errors_total", "Compactions and vacuums that failed; they come again."),
            served_checked: to.counter(
                "kappa_served_checked_total",
                "Entities read back from the online store and held against the history.",
            ),
            served_different: to.counter(
                "kappa_served_different_total",
                "Those whose values were not those of the same row of the history.",
            ),
        }
    }
}

/// What does not belong to one version.
pub(super) struct ProcessFamilies {
    pub bound: IntGaugeVec,
    pub build_info: IntGaugeVec,
    pub version_standing: IntGaugeVec,
    pub version_lag: IntGaugeVec,
    pub version_progress: GaugeVec,
    pub version_rate: GaugeVec,
    pub archive_records: IntCounter,
    pub archive_bytes: IntCounter,
    pub archive_commits: IntCounter,
    pub archive_lag: IntGauge,
    pub http_responses: IntCounterVec,
    pub http_seconds: HistogramVec,
}

impl ProcessFamilies {
    pub fn register(registry: &Registry) -> Self {
        let to = Register(registry);
        let version = &["version"];
        Self {
            bound: to.gauges("kappa_bound", "A bound's value.", &["name"]),
            build_info: to.gauges("kappa_build_info", "Always 1; the version is the label.", version),
            version_standing: to.gauges(
                "kappa_version_standing",
                "1 for where a version stands: building, ready, live or retired.",
                &["version", "standing"],
            ),
            version_lag: to.gauges("kappa_version_lag_records", "Records that a version has not folded yet.", version),
            version_progress: to.float_gauges(
                "kappa_version_progress_ratio",
                "How much of what the log held when a version was opened it has folded, from 0 to 1.",
                version,
            ),
            version_rate: to.float_gauges(
                "kappa_version_records_per_second",
                "Records that a version folds in a second.",
                version,
            ),
            archive_records: to.counter("kappa_archive_records_total", "Records committed to the archive."),
            archive_bytes: to.counter("kappa_archive_bytes_total", "Bytes of Parquet committed to the archive."),
            archive_commits: to.counter("kappa_archive_commits_total", "Commits to the archive."),
            archive_lag: to.gauge("kappa_archive_lag_records", "Records between the archive and the end of the log."),
            http_responses: to.counters(
                "kappa_http_responses_total",
                "Answers over HTTP by page and status.",
                &["page", "status"],
            ),
            http_seconds: to.histograms(
                "kappa_http_seconds",
                "Seconds from a request's head to its answer, by page.",
                &["page"],
                &READ_SECONDS,
            ),
        }
    }
}

/// The process's own series: CPU, memory, open files, start time.
#[cfg(target_os = "linux")]
pub(super) fn register_process(registry: &Registry) {
    let collector = prometheus::process_collector::ProcessCollector::for_self();
    // Fails only when registered twice, and the registry is new; without it the rest is still shown.
    let _ = registry.register(Box::new(collector));
}

/// Elsewhere the library cannot see the process.
#[cfg(not(target_os = "linux"))]
pub(super) fn register_process(_registry: &Registry) {}

/// Makes and registers. Names, labels and buckets are the constants above: a wrong one fails in every test.
struct Register<'a>(&'a Registry);

/// Why making and registering cannot fail.
const CONSTANT: &str = "the names and labels above are valid and differ";

impl Register<'_> {
    fn keep<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let family = made.expect(CONSTANT);
        self.0.register(Box::new(family.clone())).expect(CONSTANT);
        family
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.keep(IntCounterVec::new(Opts::new(name, help), labels))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.keep(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    fn float_gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.keep(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        self.keep(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), labels))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.keep(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.keep(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str) -> Histogram {
        self.keep(Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec())))
    }
}
