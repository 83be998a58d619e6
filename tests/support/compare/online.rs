//! The online store against the last row of every entity, as text.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use super::{SHOWN, same_value};
use crate::support::oracle::{FeatureRow, PartitionRun, Topology, Type, Value};

/// Online key to hash.
pub type StoredHashes = HashMap<String, BTreeMap<String, String>>;

/// What differs between the online store and the last rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnlineDifferences {
    /// Entities with a row.
    pub expected: u64,
    /// Expected, with a value that is not empty, and not there.
    pub missing: u64,
    /// There and not expected.
    pub extra: u64,
    /// There with a field that differs.
    pub different: u64,
    /// The first ten, by key.
    pub first: Vec<String>,
}

impl OnlineDifferences {
    pub fn is_none(&self) -> bool {
        self.total() == 0
    }

    pub fn total(&self) -> u64 {
        self.missing + self.extra + self.different
    }
}

impl fmt::Display for OnlineDifferences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, missing, extra, different, first } = self;
        write!(f, "{expected} expected: {missing} missing, {extra} extra, {different} different")?;
        first.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Compares every hash with the last row of its entity. A hash whose `_event_time` lies after that row was refreshed
/// by the wall clock and is compared with the law at that time. A hash whose features are all empty may have expired.
pub fn compare_online(topology: &Topology, runs: &[PartitionRun], stored: &StoredHashes) -> OnlineDifferences {
    let mut last: BTreeMap<String, (&PartitionRun, &FeatureRow)> = BTreeMap::new();
    for run in runs {
        for row in &run.rows {
            let key = topology.entities[row.entity].online_key.replace("{id}", &row.key);
            last.insert(key, (run, row));
        }
    }
    let mut found = OnlineDifferences { expected: last.len() as u64, ..OnlineDifferences::default() };
    let mut lines = vec![];
    for (key, (run, row)) in &last {
        match stored.get(key) {
            None if all_empty(topology, row) => {}
            None => {
                found.missing += 1;
                lines.push(format!("missing: {key} expected {row}"));
            }
            Some(hash) => {
                let wrong = wrong_fields(topology, run, row, hash);
                if !wrong.is_empty() {
                    found.different += 1;
                    lines.push(format!("different: {key} {} (last row {row})", wrong.join("; ")));
                }
            }
        }
        if lines.len() > SHOWN {
            lines.truncate(SHOWN);
        }
    }
    let mut extra: Vec<&String> = stored.keys().filter(|key| !last.contains_key(*key)).collect();
    extra.sort();
    found.extra = extra.len() as u64;
    lines.extend(extra.iter().take(SHOWN).map(|key| format!("extra: {key} {:?}", stored[*key])));
    lines.truncate(SHOWN);
    found.first = lines;
    found
}

fn all_empty(topology: &Topology, row: &FeatureRow) -> bool {
    topology.entities[row.entity].features.iter().zip(&row.values).all(|(_, value)| match value {
        Value::Null | Value::Int(0) => true,
        Value::Double(value) => *value == 0.0,
        _ => false,
    })
}

fn wrong_fields(
    topology: &Topology,
    run: &PartitionRun,
    row: &FeatureRow,
    hash: &BTreeMap<String, String>,
) -> Vec<String> {
    let features = &topology.entities[row.entity].features;
    let shown_at = hash.get("_event_time").and_then(|text| text.parse::<i64>().ok());
    let mut wrong = vec![];
    if shown_at.is_none_or(|time| time < row.event_time) {
        wrong.push(format!("_event_time is {:?}", hash.get("_event_time")));
    }
    let refreshed = shown_at.filter(|time| *time > row.event_time);
    let values: Vec<Value> = match refreshed {
        Some(time) => run.values_at(topology, row.entity, &row.key, time).expect("it has a row"),
        None => row.values.to_vec(),
    };
    for (index, (feature, wanted)) in features.iter().zip(&values).enumerate() {
        let text = hash.get(&feature.name);
        let slack = row.slack.as_ref().map_or(0.0, |slack| slack[index]);
        let same = match (text, feature.value_type()) {
            (Some(text), Type::Double) => {
                double(text).is_some_and(|found| same_value(wanted, &Value::Double(found), feature.is_exact(), slack))
            }
            (text, _) => text == wanted.text().as_ref(),
        };
        if !same {
            wrong.push(format!("{} is {text:?}, expected {wanted}", feature.name));
        }
    }
    for name in hash.keys().filter(|name| !name.starts_with('_')) {
        if !features.iter().any(|feature| feature.name == **name) {
            wrong.push(format!("`{name}` is no feature"));
        }
    }
    wrong
}

/// A double in its shortest form, as JSON shows it; any other form is wrong.
fn double(text: &str) -> Option<f64> {
    let value: f64 = text.parse().ok()?;
    serde_json::to_string(&value).ok().filter(|shortest| shortest == text).map(|_| value)
}

/// Reads every hash whose key fits the online key of one of the topology's entities.
pub fn read_redis(url: &str, topology: &Topology) -> redis::RedisResult<StoredHashes> {
    let mut connection = redis::Client::open(url)?.get_connection()?;
    let mut stored = StoredHashes::new();
    for entity in &topology.entities {
        let (before, after) = entity.online_key.split_once("{id}").expect("an online key has {id}");
        let mut cursor = 0u64;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(format!("{}*{}", escaped(before), escaped(after)));
            let (next, keys): (u64, Vec<String>) =
                scan.arg("COUNT").arg(2000).arg("TYPE").arg("hash").query(&mut connection)?;
            for keys in keys.chunks(500) {
                let mut pipe = redis::pipe();
                for key in keys {
                    pipe.cmd("HGETALL").arg(key);
                }
                let hashes: Vec<BTreeMap<String, String>> = pipe.query(&mut connection)?;
                // A hash that expired in between is absent.
                stored.extend(keys.iter().cloned().zip(hashes).filter(|(_, hash)| !hash.is_empty()));
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
    }
    Ok(stored)
}

/// A literal text inside a glob pattern.
fn escaped(text: &str) -> String {
    text.chars().flat_map(|c| if "*?[]\\".contains(c) { vec!['\\', c] } else { vec![c] }).collect()
}
