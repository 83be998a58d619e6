//! Handles on single series: resolved once by their labels, then one atomic operation each.

/// Only grows (from the start of the process, or from what state kept).
#[derive(Debug, Clone)]
pub struct Counter(pub(super) prometheus::IntCounter);

/// A whole number that goes up and down.
#[derive(Debug, Clone)]
pub struct Gauge(pub(super) prometheus::IntGauge);

/// A number that goes up and down; seconds, mostly.
#[derive(Debug, Clone)]
pub struct FloatGauge(pub(super) prometheus::Gauge);

/// A distribution of seconds.
#[derive(Debug, Clone)]
pub struct Histogram(pub(super) prometheus::Histogram);

impl Counter {
    /// Adds `n`; meant to be called once an epoch, not once a record.
    pub fn add(&self, n: u64) {
        self.0.inc_by(n);
    }

    /// What it stands at.
    pub fn value(&self) -> u64 {
        self.0.get()
    }
}

impl Gauge {
    /// Sets it.
    pub fn set(&self, value: i64) {
        self.0.set(value);
    }

    /// Sets it to 1 or 0.
    pub fn set_flag(&self, value: bool) {
        self.0.set(i64::from(value));
    }

    /// What it stands at.
    pub fn value(&self) -> i64 {
        self.0.get()
    }
}

impl FloatGauge {
    /// Sets it.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }
}

impl Histogram {
    /// Adds one observation, in seconds.
    pub fn observe(&self, seconds: f64) {
        self.0.observe(seconds);
    }

    /// Adds the time since `start`.
    pub fn observe_since(&self, start: std::time::Instant) {
        self.0.observe(start.elapsed().as_secs_f64());
    }

    /// How many observations there are.
    pub fn count(&self) -> u64 {
        self.0.get_sample_count()
    }
}
