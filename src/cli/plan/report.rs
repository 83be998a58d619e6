//! What `kappa plan` has found out, for people and for programs.

use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::changes::{Changes, EntityChange, FeatureChange};
use crate::cli::output;
use crate::time::Span;
use crate::topology::Status;

/// What a run with this file would do.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "does", content = "version")]
pub enum Outcome {
    /// There is no version yet.
    First,
    /// The live version has this logic and this start.
    Resumes(u32),
    /// Building had begun already.
    Continues(u32),
    /// It was built before, and kept.
    IsKept(u32),
    /// Another version is to be built.
    Builds,
}

/// The version that is compared with.
#[derive(Debug, Serialize)]
pub struct Against {
    pub version: u32,
    pub fingerprint: String,
}

/// What a replay reads of one partition.
#[derive(Debug, Serialize)]
pub struct PartLine {
    pub partition: i32,
    pub low: i64,
    pub high: i64,
    pub start: i64,
    pub records: u64,
    pub first_kafka_time: Option<String>,
    pub first_event_time: Option<String>,
}

/// Why the estimate of the time is what it is.
#[derive(Debug, Serialize)]
pub struct Rate {
    pub records_per_second: f64,
    pub measured: String,
}

/// What has to be replayed.
#[derive(Debug, Serialize)]
pub struct Replay {
    pub from: String,
    pub partitions: Vec<PartLine>,
    /// At most: offsets may have gaps.
    pub records: u64,
    pub bytes: Option<u64>,
    pub seconds: Option<f64>,
    pub rate: Option<Rate>,
    pub sample: SampleLine,
}

/// What the sample was.
#[derive(Debug, Serialize)]
pub struct SampleLine {
    pub records: u64,
    pub bytes: u64,
    /// Records by class, those that there were.
    pub classes: Vec<(&'static str, u64)>,
    /// Why the new version would stop, and where.
    pub stopped: Option<String>,
}

/// What the replay cannot see.
#[derive(Debug, Serialize)]
pub struct Retention {
    /// Up to when records may be missing; `None` where no record is left to tell.
    pub missing_up_to: Option<String>,
    /// The partitions whose beginning is not read.
    pub partitions: Vec<i32>,
    pub features: Vec<WholeLine>,
}

/// From when on a feature is whole.
#[derive(Debug, Serialize)]
pub struct WholeLine {
    pub entity: String,
    pub feature: String,
    pub whole_from: Option<String>,
    pub words: String,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub topology: String,
    pub fingerprint: String,
    pub against: Option<Against>,
    pub outcome: Outcome,
    pub changes: Changes,
    pub replay: Replay,
    pub retention: Option<Retention>,
    /// Why a run would refuse this start.
    pub refused: Option<String>,
}

impl Report {
    /// Columns of text.
    pub fn text(&self) -> String {
        let mut text = format!("{}: {}\n", self.topology, self.outcome());
        let changes = &self.changes;
        section(&mut text, "source (every feature depends on it)", &changes.source);
        for entity in &changes.entities {
            text.push_str(&entity_text(entity));
        }
        section(&mut text, "order (another version, the same values)", &changes.order);
        text.push_str(&self.replay.text());
        if let Some(retention) = &self.retention {
            text.push_str(&retention.text());
        }
        if let Some(refused) = &self.refused {
            text.push_str(&format!("\nrefused: {refused}\n"));
        }
        text
    }

    fn outcome(&self) -> String {
        let from = &self.replay.from;
        let against = self.against.as_ref().map_or(0, |against| against.version);
        match self.outcome {
            Outcome::First => "there is no version yet: kappa run builds the first".to_string(),
            Outcome::Resumes(live) => {
                format!("the same logic as version {live}, which is live: kappa run resumes it, nothing is replayed")
            }
            Outcome::Continues(number) => {
                format!(
                    "against version {against}; version {number} has this logic and is not live yet: --replay-from {from} goes on with it"
                )
            }
            Outcome::IsKept(number) => {
                format!(
                    "against version {against}; version {number}, which is kept, has this logic: kappa promote {number}"
                )
            }
            Outcome::Builds => {
                format!("against version {against}, which is live: --replay-from {from} builds a new version")
            }
        }
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    if !lines.is_empty() {
        text.push_str(&format!("\n{title}\n"));
        lines.iter().for_each(|line| text.push_str(&format!("  {line}\n")));
    }
}

fn entity_text(entity: &EntityChange) -> String {
    let mut text = format!("\n{}: {}\n", entity.entity, entity.status.name());
    entity.what.iter().for_each(|what| text.push_str(&format!("  {what}\n")));
    entity.no_replay.iter().for_each(|what| text.push_str(&format!("  {what} (needs no replay)\n")));
    let mut features: Vec<&FeatureChange> = entity.features.iter().collect();
    features.sort_by_key(|feature| feature.status);
    let (same, differing): (Vec<_>, Vec<_>) = features.iter().partition(|feature| feature.status == Status::Unchanged);
    let line = |feature: &&FeatureChange| {
        vec![feature.status.name().to_string(), feature.feature.clone(), feature.what.join("; ")]
    };
    let rows: Vec<Vec<String>> = differing.into_iter().map(line).collect();
    output::table(&rows).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
    if !same.is_empty() {
        let names: Vec<&str> = same.iter().map(|feature| feature.feature.as_str()).collect();
        text.push_str(&format!("  unchanged  {}: {}\n", names.len(), names.join(", ")));
    }
    text
}

impl Replay {
    fn text(&self) -> String {
        let head = ["partition", "log", "from", "records", "first record"].map(String::from).to_vec();
        let line = |part: &PartLine| {
            let log = format!("{}..{}", part.low, part.high);
            let first = part.first_kafka_time.clone().unwrap_or_default();
            vec![part.partition.to_string(), log, part.start.to_string(), HumanCount(part.records).to_string(), first]
        };
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(self.partitions.iter().map(line)).collect();
        let mut text = format!("\nreplay from {}\n", self.from);
        output::table(&rows).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
        text.push_str(&format!("  records  at most {}\n", HumanCount(self.records)));
        let sampled = HumanCount(self.sample.records);
        if let Some(bytes) = self.bytes {
            text.push_str(&format!("  bytes    about {}, by {sampled} records from the start\n", HumanBytes(bytes)));
        }
        if let (Some(seconds), Some(rate)) = (self.seconds, &self.rate) {
            let (time, rate, how) = (duration(seconds), HumanCount(rate.records_per_second as u64), &rate.measured);
            text.push_str(&format!("  time     about {time}, at {rate} records a second: {how}\n"));
        }
        let classes =
            self.sample.classes.iter().map(|(class, n)| format!("{} {}", HumanCount(*n), class.replace('_', " ")));
        let classes: Vec<String> = classes.collect();
        if !classes.is_empty() {
            text.push_str(&format!("  sample   of {sampled} records: {}\n", classes.join(", ")));
        }
        if let Some(stopped) = &self.sample.stopped {
            text.push_str(&format!("  STOPS    {stopped}\n"));
        }
        text
    }
}

impl Retention {
    fn text(&self) -> String {
        let numbers: Vec<String> = self.partitions.iter().map(i32::to_string).collect();
        let mut text = format!("\nmissing: what came before the start in partition {}", numbers.join(", "));
        match &self.missing_up_to {
            Some(time) => text.push_str(&format!(", with event times up to {time}\n")),
            None => text.push_str("; no record is left to tell up to when\n"),
        }
        let line = |line: &WholeLine| vec![format!("{}.{}", line.entity, line.feature), line.words.clone()];
        let rows: Vec<Vec<String>> = self.features.iter().map(line).collect();
        output::table(&rows).lines().for_each(|line| text.push_str(&format!("  {line}\n")));
        text
    }
}

/// Whole seconds.
fn duration(seconds: f64) -> String {
    if seconds < 1.0 { "1s".to_string() } else { Span((seconds.round() as i64).saturating_mul(1000)).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let feature = |name: &str, status, what: &str| FeatureChange {
            feature: name.into(),
            derived: false,
            status,
            what: vec![what.into()],
        };
        let entity = EntityChange {
            entity: "user".into(),
            status: Status::Changed,
            what: vec![],
            no_replay: vec!["empty_ttl 1d -> 2d".into()],
            features: vec![
                feature("a", Status::Unchanged, ""),
                feature("b", Status::New, "count of *, window 7d by 1h"),
                feature("c", Status::Changed, "window 1h by 5m -> 2h by 5m"),
            ],
        };
        let replay = Replay {
            from: "0".into(),
            partitions: vec![PartLine {
                partition: 0,
                low: 0,
                high: 1_000_000,
                start: 0,
                records: 1_000_000,
                first_kafka_time: Some("2026-01-01T00:00:00Z".into()),
                first_event_time: None,
            }],
            records: 1_000_000,
            bytes: Some(256_000_000),
            seconds: Some(75.2),
            rate: Some(Rate { records_per_second: 13_333.3, measured: "as version 1 was built".into() }),
            sample: SampleLine { records: 20_000, bytes: 1, classes: vec![("over_limit", 3)], stopped: None },
        };
        Report {
            topology: "shop".into(),
            fingerprint: "f".into(),
            against: Some(Against { version: 1, fingerprint: "e".into() }),
            outcome: Outcome::Builds,
            changes: Changes { source: vec!["lateness 5s -> 10s".into()], entities: vec![entity], order: vec![] },
            replay,
            retention: None,
            refused: None,
        }
    }

    #[test]
    fn what_changes_comes_first_and_what_does_not_is_only_named() {
        let text = report().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "shop: against version 1, which is live: --replay-from 0 builds a new version");
        let at =
            |wanted: &str| lines.iter().position(|line| *line == wanted).unwrap_or_else(|| panic!("{wanted}: {text}"));
        let changed = at("  changed  c  window 1h by 5m -> 2h by 5m");
        let new = at("  new      b  count of *, window 7d by 1h");
        assert!(at("  lateness 5s -> 10s") < changed && changed < new && new < at("  unchanged  1: a"));
        at("  empty_ttl 1d -> 2d (needs no replay)");
        at("  time     about 1m15s, at 13,333 records a second: as version 1 was built");
        at("  sample   of 20,000 records: 3 over limit");
        at("  0          0..1000000  0     1,000,000  2026-01-01T00:00:00Z");
    }

    #[test]
    fn programs_read_the_same() {
        let tree = serde_json::to_value(report()).unwrap();
        assert_eq!(tree["outcome"], serde_json::json!({"does": "builds"}));
        assert_eq!(tree["changes"]["entities"][0]["features"][2]["status"], "changed");
        assert_eq!(tree["replay"]["records"], 1_000_000);
        let kept = serde_json::to_value(Outcome::IsKept(3)).unwrap();
        assert_eq!(kept, serde_json::json!({"does": "is_kept", "version": 3}));
    }
}
