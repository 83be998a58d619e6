//! The online store against the last row of every entity, as text.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::value::RawValue;

use super::SHOWN;
use super::values::wrong_columns;
use crate::support::oracle::{FeatureRow, PartitionRun, Topology, Type, Value, read_decimal};

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
    let is_extra = |key: &&String| !last.contains_key(*key) && !shows_nothing(topology, key, &stored[*key]);
    let mut extra: Vec<&String> = stored.keys().filter(is_extra).collect();
    extra.sort();
    found.extra = extra.len() as u64;
    lines.extend(extra.iter().take(SHOWN).map(|key| format!("extra: {key} {:?}", stored[*key])));
    lines.truncate(SHOWN);
    found.first = lines;
    found
}

/// Whether a hash shows what an absent one means: every feature empty. A version that took over leaves such ones of
/// entities that only the one before it knew, until they expire.
fn shows_nothing(topology: &Topology, key: &str, hash: &BTreeMap<String, String>) -> bool {
    let is_of = |template: &str| {
        let (before, after) = template.split_once("{id}").expect("a template");
        key.starts_with(before) && key.ends_with(after)
    };
    topology.entities.iter().filter(|entity| is_of(&entity.online_key)).any(|entity| {
        let types: HashMap<&str, Type> = entity.columns().into_iter().collect();
        let names: Vec<&String> = hash.keys().filter(|name| !name.starts_with('_')).collect();
        names.iter().all(|name| types.contains_key(name.as_str()))
            && entity.features.iter().all(|feature| {
                let ty = &types[feature.name.as_str()];
                let found = hash.get(&feature.name).map_or(Some(Value::Null), |text| read_text(text, ty));
                found.is_some_and(|found| found == feature.empty_value())
            })
    })
}

fn all_empty(topology: &Topology, row: &FeatureRow) -> bool {
    let features = topology.entities[row.entity].features.iter();
    features.zip(&row.values).all(|(feature, value)| *value == feature.empty_value())
}

fn wrong_fields(
    topology: &Topology,
    run: &PartitionRun,
    row: &FeatureRow,
    hash: &BTreeMap<String, String>,
) -> Vec<String> {
    let entity = &topology.entities[row.entity];
    let columns = entity.columns();
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
    let mut found = vec![];
    for ((name, ty), wanted) in columns.iter().zip(&values) {
        let text = hash.get(*name);
        match text.map_or(Some(Value::Null), |text| read_text(text, ty)) {
            Some(value) => found.push(value),
            None => wrong.push(format!("{name} is {text:?}, expected {wanted}")),
        }
    }
    if found.len() == columns.len() {
        for name in wrong_columns(entity, &values, row.slack.as_deref(), &found) {
            let index = columns.iter().position(|column| column.0 == name).expect("it is a column");
            wrong.push(format!("{name} is {:?}, expected {}", hash.get(&name), values[index]));
        }
    }
    for name in hash.keys().filter(|name| !name.starts_with('_')) {
        if !columns.iter().any(|column| column.0 == name.as_str()) {
            wrong.push(format!("`{name}` is no column"));
        }
    }
    wrong
}

/// The value that a text of the online store stands for; `None` when it is not written as it must be.
fn read_text(text: &str, ty: &Type) -> Option<Value> {
    let value = match ty {
        Type::Str | Type::Null => Value::Str(text.into()),
        _ => read_json(text, ty)?,
    };
    (value.text().as_deref() == Some(text)).then_some(value)
}

fn read_json(raw: &str, ty: &Type) -> Option<Value> {
    if raw == "null" {
        return Some(Value::Null);
    }
    Some(match ty {
        Type::Null => return None,
        Type::Str => Value::Str(serde_json::from_str::<String>(raw).ok()?.into()),
        Type::Int => Value::Int(raw.parse().ok()?),
        Type::Ts => Value::Ts(raw.parse().ok()?),
        Type::Bool => Value::Bool(raw.parse().ok()?),
        Type::Double => Value::Double(raw.parse().ok().filter(|value: &f64| value.is_finite())?),
        Type::Decimal(precision, scale) => Value::Decimal(read_decimal(raw, *precision, *scale, false)?, *scale),
        Type::List(of) => {
            let items: Vec<&RawValue> = serde_json::from_str(raw).ok()?;
            Value::List(items.iter().map(|item| read_json(item.get(), of)).collect::<Option<_>>()?)
        }
        Type::Map(of) => {
            // In byte order, so that another order shows when it is written again.
            let pairs: BTreeMap<String, &RawValue> = serde_json::from_str(raw).ok()?;
            let pairs = pairs.into_iter().map(|(key, value)| Some((key.into(), read_json(value.get(), of)?)));
            Value::Map(pairs.collect::<Option<_>>()?)
        }
        Type::Counted(of) => {
            let pairs: Vec<(&RawValue, i64)> = serde_json::from_str(raw).ok()?;
            Value::Counted(
                pairs.iter().map(|(value, n)| Some((read_json(value.get(), of)?, *n))).collect::<Option<_>>()?,
            )
        }
    })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_as_they_must_be_written() {
        let read = |text: &str, ty: &Type| read_text(text, ty).map(|value| value.to_string());
        let list = |of: Type| Type::List(Box::new(of));
        assert_eq!(read("1.50", &Type::Decimal(5, 2)).as_deref(), Some("1.50"));
        assert_eq!(read("[1.5,null]", &list(Type::Double)).as_deref(), Some("[1.5, null]"));
        assert_eq!(
            read(r#"[["a",3],["b",1]]"#, &Type::Counted(Box::new(Type::Str))).as_deref(),
            Some("['a' x 3, 'b' x 1]")
        );
        let map = Type::Map(Box::new(list(Type::Int)));
        assert_eq!(read(r#"{"a":[1],"b":null}"#, &map).as_deref(), Some("{a: [1], b: null}"));
        let wrong =
            [("1.5", Type::Decimal(5, 2)), ("1.50", Type::Double), ("[1, 2]", list(Type::Int)), ("null", Type::Int)];
        for (text, ty) in wrong {
            assert_eq!(read(text, &ty), None, "{text}");
        }
        assert_eq!(read(r#"{"b":[1],"a":[2]}"#, &map), None);
    }
}
