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
    /// A whole number of at least 1.
    Count,
    /// A number from 0 to 1.
    Share,
    Shares,
    /// A constant, or null.
    Constant,
    Truth,
    Derived,
    FieldType,
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
    required("type", Value::FieldType, "The field's type."),
    optional("path", Value::Path, "Where it stands in the JSON value: a.b.c, or a list of names; default its name."),
    optional("from", Value::From, "`key` (the Kafka key) or {header: name}, instead of the value."),
    optional("on_error", Value::OneOf(&["null"]), "A value of another type is null instead of malformed."),
];

pub(super) const FROM: &[Key] = &[required("header", Value::Text, "The name of a Kafka header; the last one counts.")];

pub(super) const ENTITY: &[Key] = &[
    required("key", Value::EntityKey, "A field, or a list that begins with the partition field."),
    required("features", Value::Features, "The features, in the order of columns."),
    optional("derived", Value::Derived, "Features computed from features: name to SQL, or to {sql, on}."),
    optional("history", Value::OneOf(&["on", "off"]), "off keeps the entity online only; default on."),
    optional("online_key", Value::Text, "The online key, with one {id}; default features:{id}."),
    optional("empty_ttl", Value::Duration, "How long an empty entity stays online; default 1d."),
    optional("forget_after", Value::Duration, "So long after its largest event time the entity is emptied."),
    optional(
        "horizon_records",
        Value::Count,
        "The most records that a `since` window keeps one by one; default 100000.",
    ),
];

pub(super) const FEATURE: &[Key] = &[
    optional("count", Value::Sql, "Records (\"*\"), or values of an expression that are not null."),
    optional("sum", Value::Sql, "The sum of an int64, decimal or double expression."),
    optional("avg", Value::Sql, "The mean of an int64, decimal or double expression."),
    optional("min", Value::Sql, "The smallest value."),
    optional("max", Value::Sql, "The largest value."),
    optional("last", Value::Sql, "The newest value that is not null."),
    optional("first", Value::Sql, "The oldest value that is not null."),
    optional("variance", Value::Sql, "The sample variance of numbers."),
    optional("stddev", Value::Sql, "The sample standard deviation of numbers."),
    optional("distinct", Value::Sql, "How many different values; exact up to `limit`."),
    optional("approx_distinct", Value::Sql, "About how many different values, however many."),
    optional("quantile", Value::Sql, "The value at share `q` of the numbers in order."),
    optional("quantiles", Value::Sql, "Several of them, as a list."),
    optional("first_k", Value::Sql, "The `k` oldest values, oldest first."),
    optional("last_k", Value::Sql, "The `k` newest values, newest first."),
    optional("top_k", Value::Sql, "The `k` most frequent values with how often each occurs."),
    optional("where", Value::Sql, "Only records for which this is true are aggregated."),
    required("window", Value::Window, "A duration (sliding), lifetime, or a kind: {session: 30m}."),
    optional("slide", Value::Duration, "The tile of a sliding window."),
    optional("by", Value::Sql, "A map from this expression's values to the aggregate of each."),
    optional("buckets", Value::Count, "The most buckets of `by`; with more the map is null. Default 1000."),
    optional("empty", Value::Constant, "What it shows when nothing is left, instead of 0 or null."),
    optional("half_life", Value::Duration, "For count, sum and avg: a value weighs half after each."),
    optional("k", Value::Count, "For first_k, last_k and top_k: how many."),
    optional("limit", Value::Count, "For distinct and top_k: with more different values it is null. Default 10000."),
    optional("precision", Value::Count, "For approx_distinct: 2^precision registers, 4 to 18; default 12."),
    optional("q", Value::Shares, "For quantile a share from 0 to 1, for quantiles a list of them."),
    optional("relative_error", Value::Share, "For quantile and quantiles: 0.001 to 0.1, default 0.01."),
    optional("max_age", Value::Duration, MAX_AGE),
];

pub(super) const WINDOW: &[Key] = &[
    optional("sliding", Value::Duration, "The last so long."),
    optional("tumbling", Value::Duration, "Windows of this length, one after the other: the current one."),
    optional("session", Value::Duration, "The run of records no more than this gap apart."),
    optional("since", Value::Sql, "The records after the newest one for which this is true."),
    optional("last", Value::Count, "So many newest records."),
    optional("offset", Value::Duration, "Of tumbling windows: how long after 1970 one begins; default 0."),
    optional("complete", Value::Truth, "Of tumbling windows: true for the last whole one."),
];

pub(super) const DERIVED: &[Key] = &[
    required("sql", Value::Sql, "SQL over the entity's features, and features derived before."),
    optional(
        "on",
        Value::OneOf(&["row", "read"]),
        "read computes it as it is read, when it may use now(); default row.",
    ),
    optional("max_age", Value::Duration, MAX_AGE),
];

const MAX_AGE: &str = "An online read gives no value of a row that is older than this; default: of any age.";

/// The aggregates: of these a feature has exactly one.
pub(super) const AGGREGATES: &[&str] = &[
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "last",
    "first",
    "variance",
    "stddev",
    "distinct",
    "approx_distinct",
    "quantile",
    "quantiles",
    "first_k",
    "last_k",
    "top_k",
];

/// The kinds of window: of these a window has exactly one.
pub(super) const WINDOWS: &[&str] = &["sliding", "tumbling", "session", "since", "last"];

/// Keys that belong to some aggregates only, and to which.
pub(super) const ARGUMENTS: &[(&str, &[&str])] = &[
    ("half_life", &["count", "sum", "avg"]),
    ("k", &["first_k", "last_k", "top_k"]),
    ("limit", &["distinct", "top_k"]),
    ("precision", &["approx_distinct"]),
    ("q", &["quantile", "quantiles"]),
    ("relative_error", &["quantile", "quantiles"]),
];

/// The types of declared fields.
pub(super) const TYPES: &[&str] =
    &["string", "int64", "double", "bool", "timestamp_s", "timestamp_ms", "timestamp_us", "timestamp_ns", "timestamp"];

/// Columns of a feature row: no feature may take their names.
pub(super) const RESERVED: &[&str] =
    &["key", "event_time", "known_at", "partition", "offset", "sequence", "ordinal", "version", "event_date"];

/// Known by name, not built yet.
pub(super) const SOURCE_LATER: &[&str] = &["repartition"];
pub(super) const ENTITY_LATER: &[&str] = &["repartition"];
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

/// What other languages call our keys.
pub(super) fn other_word(written: &str) -> Option<&'static str> {
    Some(match written.to_ascii_lowercase().as_str() {
        "mean" | "average" => "avg",
        "std" | "stdev" | "stddev_samp" => "stddev",
        "var" | "var_samp" => "variance",
        "minimum" => "min",
        "maximum" => "max",
        "latest" => "last",
        "count_distinct" | "distinct_count" | "nunique" | "unique" => "distinct",
        "approx_count_distinct" | "hll" => "approx_distinct",
        "median" | "percentile" | "approx_percentile" => "quantile",
        "p" => "q",
        "n" => "k",
        "filter" | "condition" => "where",
        "group_by" | "bucket" => "by",
        "default" => "empty",
        "decay" => "half_life",
        "expr" | "expression" => "sql",
        _ => return None,
    })
}

/// The known name that was probably meant: at most a third of it, and at most two letters, are different.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_ascii_lowercase();
    // A letter more, less or other than one letter is any word of two.
    let far = match written.chars().count() {
        1 => 0,
        letters => (letters / 3).clamp(1, 2),
    };
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
pub(crate) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        Some((last, _)) => last.clone(),
        None => String::new(),
    }
}
