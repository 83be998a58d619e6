//! Wall time and processor time of this process, and the line that tells them.

use std::time::Instant;

/// A measurement that runs.
pub struct Measure {
    wall: Instant,
    cpu: f64,
}

impl Measure {
    pub fn start() -> Self {
        Self { wall: Instant::now(), cpu: cpu_seconds() }
    }

    /// `{events, bytes, wall_s, cpu_s, events_per_cpu_s, events_per_s}` and what else is told.
    pub fn finish(&self, events: u64, bytes: u64, more: &[(&str, serde_json::Value)]) -> serde_json::Value {
        let (wall, cpu) = (self.wall.elapsed().as_secs_f64(), cpu_seconds() - self.cpu);
        let mut line = serde_json::json!({
            "events": events,
            "bytes": bytes,
            "wall_s": rounded(wall),
            "cpu_s": rounded(cpu),
            "events_per_cpu_s": (events as f64 / cpu.max(0.01)) as u64,
            "events_per_s": (events as f64 / wall.max(0.001)) as u64,
        });
        for (name, value) in more {
            line[*name] = value.clone();
        }
        line
    }
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}

/// User and system time of all threads of this process, also those that ended, in seconds (hundredths).
pub fn cpu_seconds() -> f64 {
    ticks(0)
}

/// The same of all child processes that have ended and been waited for.
pub fn children_cpu_seconds() -> f64 {
    ticks(2)
}

fn ticks(skip: usize) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("linux has /proc");
    // The name, in parentheses, may hold blanks; behind it utime, stime, cutime and cstime are fields 14 to 17.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let fields = after.split_whitespace().skip(11 + skip).take(2);
    fields.filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}
