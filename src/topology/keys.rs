//! The grammar's keys: which key may stand where, what its value is and what it means.
//!
//! The one source of truth: the validator reads its known keys here and the JSON Schema is built from the same lists.
//! Keys of the next stage of the language stand in lists of their own, so that they are answered by name.

/// A key of a mapping.
#[derive(Debug)]
pub(super) struct Key {
    pub name: &'static str,
    pub value: Value,
    pub required: bool,
    pub doc: &'static str,
}

impl Key {
    /// What to say when it is missing.
    pub fn remedy(&self) -> String {
        format!("add `{}: ...`: {}", self.name, self.doc.trim_end_matches('.'))
    }
}

/// What the value of a key may be; the JSON Schema of each stands in `schema.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value {
    Text,
    /// A name that becomes part of paths: see [`is_path_name`].
    PathName,
    OneOf(&'static [&'static str]),
    Field,
    Duration,
    DurationOrOff,
    Bytes,
    Sql,
    Path,
    From,
    EntityKey,
    Source,
    Schema,
    Entities,
    Features,
    Window,
}

const fn required(name: &'static str, value: Value, doc: &'static str) -> Key {
    Key { name, value, required: true, doc }
}

const fn optional(name: &'static str, value: Value, doc: &'static str) -> Key {
    Key { name, value, required: false, doc }
}

pub(super) const TOPOLOGY: &[Key] = &[
    required("topology", Value::PathName, "The topology's name; the first part of every path."),
    required("source", Value::Source, "Where records come from and how they are judged."),
    required("entities", Value::Entities, "What features are about, in the order of folding."),
];

pub(super) const SOURCE: &[Key] = &[
    required("topic", Value::Text, "The Kafka topic."),
    required("format", Value::OneOf(&["json"]), "How a record's value is written."),
    required("event_time", Value::Field, "The field that says when it happened; of a timestamp type."),
    required("schema", Value::Schema, "The declared fields: name to type, or to {type, path, from, on_error}."),
    optional("lateness", Value::Duration, "How long timers wait behind the largest event time; default 0."),
    optional("grace", Value::Duration, "How much later than the watermark a record is still folded; default 0."),
    optional("max_future", Value::DurationOrOff, "How far event time may run ahead of Kafka's; default 1m."),
    optional("where", Value::Sql, "Records for which this is not true are filtered."),
    optional("partitioned_by", Value::Field, "Trust that the topic is partitioned by this field."),
    optional("max_record_bytes", Value::Bytes, "Longer records are over limit; default 1MiB."),
    optional("max_key_bytes", Value::Bytes, "Longer keys are over limit; default 1KiB."),
];

pub(super) const FIELD: &[Key] = &[
    required("type", Value::OneOf(TYPES), "The field's type."),
    optional("path", Value::Path, "Where it stands in the JSON value: a.b.c, or a list of names; default its name."),
    optional("from", Value::From, "`key` (the Kafka key) or {header: name}, instead of the value."),
    optional("on_error", Value::OneOf(&["null"]), "A value of another type is null instead of malformed."),
];

pub(super) const FROM: &[Key] = &[required("header", Value::Text, "The name of a Kafka header; the last one counts.")];

pub(super) const ENTITY: &[Key] = &[
    required("key", Value::EntityKey, "A field, or a list that begins with the partition field."),
    required("features", Value::Features, "The features, in the order of columns."),
    optional("history", Value::OneOf(&["on", "off"]), "off keeps the entity online only; default on."),
    optional("online_key", Value::Text, "The online key, with one {id}; default features:{id}."),
    optional("empty_ttl", Value::Duration, "How long an empty entity stays online; default 1d."),
];

pub(super) const FEATURE: &[Key] = &[
    optional("count", Value::Sql, "Records (\"*\"), or values of an expression that are not null."),
    optional("sum", Value::Sql, "The sum of an int64 or double expression."),
    optional("avg", Value::Sql, "The mean of an int64 or double expression."),
    optional("min", Value::Sql, "The smallest value."),
    optional("max", Value::Sql, "The largest value."),
    optional("last", Value::Sql, "The newest value that is not null."),
    optional("where", Value::Sql, "Only records for which this is true are aggregated."),
    required("window", Value::Window, "A duration (sliding), lifetime, {sliding: 1h} or {session: 30m}."),
    optional("slide", Value::Duration, "The tile of a sliding window."),
];

pub(super) const WINDOW: &[Key] = &[
    optional("sliding", Value::Duration, "The last so long."),
    optional("session", Value::Duration, "The run of records no more than this gap apart."),
];

/// The aggregates: of these a feature has exactly one.
pub(super) const AGGREGATES: &[&str] = &["count", "sum", "avg", "min", "max", "last"];

/// The types of declared fields.
pub(super) const TYPES: &[&str] =
    &["string", "int64", "double", "bool", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns", "timestamp"];

/// Columns of a feature row: no feature may take their names.
pub(super) const RESERVED: &[&str] =
    &["key", "event_time", "known_at", "partition", "offset", "sequence", "ordinal", "version", "event_date"];

/// Known by name, not built yet.
pub(super) const SOURCE_LATER: &[&str] = &["repartition", "horizon_records"];
pub(super) const ENTITY_LATER: &[&str] = &["derived", "forget_after", "repartition", "horizon_records"];
pub(super) const FEATURE_LATER: &[&str] = &[
    "distinct",
    "approx_distinct",
    "variance",
    "stddev",
    "quantile",
    "quantiles",
    "last_k",
    "top_k",
    "half_life",
    "by",
    "empty",
    "derived",
];
pub(super) const WINDOW_LATER: &[&str] = &["tumbling", "since", "last", "offset", "complete"];
pub(super) const FORMAT_LATER: &[&str] = &["avro", "protobuf", "csv"];

/// `[a-z][a-z0-9_-]*`, at most 100 characters: safe in paths, keys and identifiers of commits.
pub(super) fn is_path_name(name: &str) -> bool {
    name.len() <= 100
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-')
}

/// `[a-z_][a-z0-9_]*`.
pub(super) fn is_feature_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// `[A-Za-z_][A-Za-z0-9_]*`.
pub(super) fn is_field_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The known name that was probably meant: at most a third of it, and at most two letters, are different.
pub(super) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    let far = (written.chars().count() / 3).clamp(1, 2);
    let near = known.into_iter().map(|name| (distance(&written, name), name)).filter(|(d, _)| *d <= far);
    near.min_by_key(|(d, _)| *d).map(|(_, name)| name)
}

/// Letters to insert, remove, replace or swap with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                let swap = if swapped { rows[i - 2][j - 2] + 1 } else { usize::MAX };
                replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(swap)
            };
        }
    }
    rows[a.len()][b.len()]
}

/// `a`, `b` and `c`.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
