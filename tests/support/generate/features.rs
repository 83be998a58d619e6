//! Random features, and what may be derived from them.

use rand::Rng;
use rand::rngs::SmallRng;

use super::pick;

/// What a column is to those that derive from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Int,
    Double,
    Text,
    Bool,
    Time,
    /// A map to counts, of which shares make sense.
    Counts,
    Other,
}

/// The text of a feature and what its value is.
pub(super) struct RandomFeature {
    pub(super) yaml: String,
    pub(super) kind: Kind,
}

const SLIDING: [&str; 12] = ["10ms", "25ms", "100ms", "1s", "5s", "12s", "1m", "10m", "1h", "1d", "7d", "30d"];
const GAPS: [&str; 6] = ["1ms", "5ms", "100ms", "1s", "30s", "30m"];
const HALF_LIVES: [&str; 6] = ["1ms", "40ms", "1s", "1m", "1h", "7d"];
const INTS: [&str; 6] = [
    "qty",
    "qty * 3 - 1",
    "item",
    "case when flag then qty else 0 end",
    "case event when 'add' then qty when 'remove' then -qty end",
    "qty * 4611686018427387904",
];
const DOUBLES: [&str; 5] = [
    "price",
    "price * qty",
    "price - 10",
    "case event when 'add' then price when 'remove' then -price end",
    "case when flag then price else 0 end",
];
const DECIMALS: [&str; 4] = ["amount", "amount", "huge", "case when flag then amount end"];
const TEXTS: [&str; 2] = ["category", "event"];
const TIMES: [&str; 2] = ["seen", "ts"];
const BUCKETS: [&str; 6] =
    ["event", "event", "category", "item", "flag", "case when qty > 2 then 'many' else 'few' end"];
const WHERES: [&str; 16] = [
    "event = 'view'",
    "event in ('view', 'click')",
    "event not in ('view', 'add')",
    "event = 'never'",
    "price > 10",
    "price < 0 or qty = 3",
    "flag",
    "not flag",
    "flag is null",
    "category is not null and event != 'click'",
    "qty != 3 and event <> 'add'",
    "category = 'a' or category is null",
    "price * 2 >= qty",
    "qty between 1 and 5",
    "amount > 3",
    "amount is not null",
];
const CONDITIONS: [&str; 7] = [
    "event = 'remove'",
    "event = 'add' or flag",
    "qty > 5",
    "price < 0",
    "category = 'a'",
    "event = 'never'",
    "ts = seen",
];

/// An input with the kind of its values.
fn input(rng: &mut SmallRng, kinds: &[&str]) -> (&'static str, Kind) {
    match *pick(rng, kinds) {
        "int" => (*pick(rng, &INTS), Kind::Int),
        "double" => (*pick(rng, &DOUBLES), Kind::Double),
        "decimal" => (*pick(rng, &DECIMALS), Kind::Other),
        "text" => (*pick(rng, &TEXTS), Kind::Text),
        "time" => (*pick(rng, &TIMES), Kind::Time),
        _ => ("flag", Kind::Bool),
    }
}

const ANY: [&str; 6] = ["int", "double", "decimal", "text", "time", "bool"];
const NUMBERS: [&str; 4] = ["int", "double", "double", "decimal"];
const ORDERED: [&str; 6] = ["int", "double", "decimal", "decimal", "text", "time"];

/// A valid feature.
pub(super) fn random_feature(rng: &mut SmallRng) -> RandomFeature {
    let (head, mut kind, mut scalar) = aggregate(rng);
    let mut parts = vec![head];
    if rng.random_bool(0.5) {
        parts.push(format!("where: \"{}\"", pick(rng, &WHERES)));
    }
    parts.push(window(rng));
    if rng.random_bool(0.25) {
        parts.push(format!("by: \"{}\"", pick(rng, &BUCKETS)));
        if rng.random_bool(0.5) {
            parts.push(format!("buckets: {}", rng.random_range(1..=3)));
        }
        let counts = parts[0].starts_with("count") || parts[0].starts_with("distinct");
        kind = if counts { Kind::Counts } else { Kind::Other };
        scalar = false;
    }
    if rng.random_bool(0.15) {
        let literal = match (scalar, kind) {
            (true, Kind::Int) => *pick(rng, &["-1", "0", "1", "null"]),
            (true, Kind::Double) => *pick(rng, &["-1.5", "0", "1e3", "null"]),
            (true, Kind::Text) => *pick(rng, &["none", "'a'", "null"]),
            (true, Kind::Bool) => *pick(rng, &["false", "true", "null"]),
            _ => "null",
        };
        parts.push(format!("empty: {literal}"));
    }
    RandomFeature { yaml: format!("{{{}}}", parts.join(", ")), kind }
}

/// The aggregate with its own keys, the kind of its value, and whether that is a scalar.
fn aggregate(rng: &mut SmallRng) -> (String, Kind, bool) {
    let half_life =
        if rng.random_bool(0.25) { format!(", half_life: {}", pick(rng, &HALF_LIVES)) } else { String::new() };
    let limit = if rng.random_bool(0.6) { format!(", limit: {}", rng.random_range(1..=4)) } else { String::new() };
    let q = *pick(rng, &["0", "0.25", "0.5", "0.95", "1"]);
    let error = *pick(rng, &["", "", ", relative_error: 0.001", ", relative_error: 0.1"]);
    let k = rng.random_range(1..=4);
    let decayed = |kind: Kind| if half_life.is_empty() { kind } else { Kind::Double };
    let plain = |name: &str, of: (&str, Kind)| (format!("{name}: \"{}\"", of.0), of.1, true);
    match rng.random_range(0..22) {
        0 => (format!("count: \"*\"{half_life}"), decayed(Kind::Int), true),
        1 => (format!("count: \"{}\"{half_life}", input(rng, &ANY).0), decayed(Kind::Int), true),
        2..=3 => {
            let (sql, kind) = input(rng, &NUMBERS);
            (format!("sum: \"{sql}\"{half_life}"), decayed(kind), true)
        }
        4..=5 => (format!("avg: \"{}\"{half_life}", input(rng, &NUMBERS).0), Kind::Double, true),
        6 => plain("min", input(rng, &ORDERED)),
        7 => plain("max", input(rng, &ORDERED)),
        8 => plain("last", input(rng, &ANY)),
        9 => plain("first", input(rng, &ANY)),
        10 => (format!("variance: \"{}\"", input(rng, &NUMBERS).0), Kind::Double, true),
        11 => (format!("stddev: \"{}\"", input(rng, &NUMBERS).0), Kind::Double, true),
        12..=13 => (format!("distinct: \"{}\"{limit}", input(rng, &ANY).0), Kind::Int, true),
        14 => {
            let precision = *pick(rng, &["", ", precision: 4", ", precision: 18"]);
            (format!("approx_distinct: \"{}\"{precision}", input(rng, &ANY).0), Kind::Int, true)
        }
        15 => (format!("quantile: \"{}\", q: {q}{error}", input(rng, &NUMBERS).0), Kind::Double, true),
        16 => (format!("quantiles: \"{}\", q: [0.5, {q}]{error}", input(rng, &NUMBERS).0), Kind::Other, false),
        17..=18 => (format!("first_k: \"{}\", k: {k}", input(rng, &ANY).0), Kind::Other, false),
        19 => (format!("last_k: \"{}\", k: {k}", input(rng, &ANY).0), Kind::Other, false),
        _ => (format!("top_k: \"{}\", k: {k}{limit}", input(rng, &ANY).0), Kind::Other, false),
    }
}

fn window(rng: &mut SmallRng) -> String {
    match rng.random_range(0..16) {
        0..=1 => "window: lifetime".into(),
        2..=3 => format!("window: {{session: {}}}", pick(rng, &GAPS)),
        4..=6 => tumbling(rng),
        7..=8 => format!("window: {{since: \"{}\"}}", pick(rng, &CONDITIONS)),
        9..=10 => format!("window: {{last: {}}}", pick(rng, &[1, 2, 3, 5, 20])),
        _ => sliding(rng),
    }
}

/// A size with its default slide, a slide that divides it, one that does not, or one as long as it.
fn sliding(rng: &mut SmallRng) -> String {
    let size = *pick(rng, &SLIDING);
    let millis = crate::support::oracle::span(size);
    if millis >= 12_000 && rng.random_bool(0.3) {
        return if rng.random_bool(0.3) { format!("window: {{sliding: {size}}}") } else { format!("window: {size}") };
    }
    let slide = match rng.random_range(0..4) {
        0 => millis,
        1 => (millis / 2).max(1),
        2 => (millis / 10).max(1),
        _ => (millis / 3 + 1).min(millis),
    };
    format!("window: {size}, slide: {slide}ms")
}

fn tumbling(rng: &mut SmallRng) -> String {
    let size = *pick(rng, &SLIDING);
    let millis = crate::support::oracle::span(size);
    let offset = match rng.random_range(0..4) {
        0 => format!(", offset: {}ms", rng.random_range(1..millis)),
        1 => format!(", offset: {}ms", millis / 2),
        _ => String::new(),
    };
    let complete = if rng.random_bool(0.4) { ", complete: true" } else { "" };
    format!("window: {{tumbling: {size}{offset}{complete}}}")
}

/// Up to three lines of what is derived from these columns, each with its name.
pub(super) fn random_derived(rng: &mut SmallRng, features: &[(String, Kind)]) -> Vec<String> {
    let (mut columns, mut lines) = (features.to_vec(), vec![]);
    for index in 0..*pick(rng, &[0, 0, 1, 2, 3]) {
        let (a, b) = (pick(rng, &columns).clone(), pick(rng, &columns).clone());
        let (sql, kind) = expression(rng, &a, &b);
        let name = format!("d{index}");
        if a.1 == Kind::Time && rng.random_bool(0.3) {
            lines.push(format!("{name}: {{sql: \"now() - {}\", on: read}}", a.0));
            continue;
        }
        lines.push(match rng.random_range(0..3) {
            0 => format!("{name}: \"{sql}\""),
            1 => format!("{name}: {{sql: \"{sql}\"}}"),
            _ => format!("{name}: {{sql: \"{sql}\", on: row}}"),
        });
        columns.push((name, kind));
    }
    lines
}

/// An expression over one or two columns.
fn expression(rng: &mut SmallRng, a: &(String, Kind), b: &(String, Kind)) -> (String, Kind) {
    let (one, two) = (&a.0, &b.0);
    match (a.1, b.1) {
        (Kind::Counts, _) => (format!("share({one})"), Kind::Other),
        (Kind::Time, Kind::Time) => (format!("{one} - {two}"), Kind::Int),
        (Kind::Int | Kind::Double, Kind::Int | Kind::Double) if one != two && rng.random_bool(0.6) => {
            let number = if a.1 == Kind::Int && b.1 == Kind::Int { Kind::Int } else { Kind::Double };
            match rng.random_range(0..6) {
                0 => (format!("{one} / {two}"), number),
                1 => (format!("{one} + {two} * 2"), number),
                2 => (format!("cast({one} as double) / {two}"), Kind::Double),
                3 => (format!("{one} >= {two}"), Kind::Bool),
                4 => (format!("case when {one} > {two} then {one} else {two} end"), number),
                _ => (format!("coalesce({one}, {two})"), number),
            }
        }
        (Kind::Int, _) => match rng.random_range(0..4) {
            0 => (format!("{one} % 3"), Kind::Int),
            1 => (format!("nullif({one}, 0)"), Kind::Int),
            2 => (format!("10 / {one}"), Kind::Int),
            _ => (format!("case when {one} > 2 then 'high' when {one} > 0 then 'low' end"), Kind::Text),
        },
        (Kind::Double, _) => match rng.random_range(0..4) {
            0 => (format!("{one} / 0"), Kind::Double),
            1 => (format!("coalesce({one}, 0) + 1"), Kind::Double),
            2 => (format!("{one} is null or {one} < 5.5"), Kind::Bool),
            _ => (format!("-{one}"), Kind::Double),
        },
        (Kind::Text, _) => (format!("coalesce({one}, 'none')"), Kind::Text),
        (Kind::Bool, _) => (format!("not {one}"), Kind::Bool),
        _ => (format!("{one} is not null"), Kind::Bool),
    }
}
