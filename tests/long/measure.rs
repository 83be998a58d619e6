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
    fields(&stat).skip(11 + skip).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The fields behind the name, which stands in parentheses and may hold blanks: state, parent, ... utime, stime, cutime
/// and cstime are the 12th to 15th of them.
fn fields(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit(')').next().unwrap_or_default().split_whitespace()
}

/// User and system time of another process and of all below it that run, in seconds (hundredths).
pub fn tree_cpu_seconds(root: u32) -> f64 {
    let read = |entry: std::fs::DirEntry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((id, std::fs::read_to_string(entry.path().join("stat")).ok()?))
    };
    let all: Vec<(u32, String)> =
        std::fs::read_dir("/proc").expect("linux has /proc").flatten().filter_map(read).collect();
    let parent = |stat: &str| fields(stat).nth(1).and_then(|field| field.parse::<u32>().ok());
    let mut tree = vec![root];
    let mut seen = 0;
    while seen < tree.len() {
        let of = tree[seen];
        tree.extend(all.iter().filter(|(_, stat)| parent(stat) == Some(of)).map(|(id, _)| *id));
        seen += 1;
    }
    let seconds = |stat: &str| fields(stat).skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>();
    all.iter().filter(|(id, _)| tree.contains(id)).map(|(_, stat)| seconds(stat)).sum::<f64>() / 100.0
}
