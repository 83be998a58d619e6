//! Random topologies over one schema: every window with every aggregate, with and without `where`, lateness and grace.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::pick;
use crate::support::oracle::Topology;

/// A topology as the engine reads it and as the oracle does.
#[derive(Debug, Clone)]
pub struct RandomTopology {
    pub yaml: String,
    pub topology: Topology,
}

/// The declared fields of every random topology.
pub const SCHEMA: &str = "{user_id: string, item: int64, event: string, category: string, qty: int64, price: double, \
                          flag: bool, seen: timestamp_ms, ts: timestamp_ms}";

const SLIDING: [&str; 12] = ["10ms", "25ms", "100ms", "1s", "5s", "12s", "1m", "10m", "1h", "1d", "7d", "30d"];
const GAPS: [&str; 6] = ["1ms", "5ms", "100ms", "1s", "30s", "30m"];
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
const ORDERED: [&str; 4] = ["category", "seen", "event", "ts"];
const WHERES: [&str; 14] = [
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
];
const SOURCE_WHERES: [&str; 4] =
    ["event != 'noise'", "event is not null", "price is null or price < 1000000", "not flag"];

/// The topology of a seed; always valid.
pub fn random_topology(seed: u64) -> RandomTopology {
    let rng = &mut SmallRng::seed_from_u64(seed ^ 0x70_70_01);
    let mut yaml = format!(
        "topology: random\nsource:\n  topic: random.events\n  format: json\n  event_time: ts\n  \
         partitioned_by: user_id\n  lateness: {}\n",
        pick(rng, &["0ms", "0ms", "1ms", "10ms", "1s", "5s", "1m"])
    );
    if rng.random_bool(0.4) {
        yaml += &format!("  grace: {}\n", pick(rng, &["1ms", "100ms", "10s", "5m", "1d"]));
    }
    if rng.random_bool(0.5) {
        yaml += &format!("  max_future: {}\n", pick(rng, &["off", "0ms", "10ms", "10s", "1h"]));
    }
    if rng.random_bool(0.3) {
        yaml += &format!("  where: \"{}\"\n", pick(rng, &SOURCE_WHERES));
    }
    yaml += &format!("  schema: {SCHEMA}\nentities:\n");
    let keys = ["user_id", "[user_id, item]", "[user_id, category]"];
    let names = ["user", "user_item", "user_category"];
    let first = if rng.random_bool(0.8) { 0 } else { 1 };
    let count = *pick(rng, &[1, 1, 1, 2, 2, 3]);
    for index in 0..count {
        let which = (first + index) % 3;
        let name = names[which];
        yaml += &format!("  {name}:\n    key: {}\n    online_key: \"{name}:{{id}}\"\n    features:\n", keys[which]);
        for feature in 0..rng.random_range(1..=6) {
            yaml += &format!("      f{feature}: {}\n", random_feature(rng));
        }
    }
    RandomTopology { topology: Topology::from_yaml(&yaml), yaml }
}

fn random_feature(rng: &mut SmallRng) -> String {
    let any = |rng: &mut SmallRng| -> &'static str {
        let kinds: [&[&str]; 4] = [&INTS, &DOUBLES, &ORDERED, &["flag"]];
        let kind: &[&'static str] = kinds[rng.random_range(0..4)];
        kind[rng.random_range(0..kind.len())]
    };
    let number = |rng: &mut SmallRng| if rng.random_bool(0.5) { *pick(rng, &INTS) } else { *pick(rng, &DOUBLES) };
    let ordered = |rng: &mut SmallRng| if rng.random_bool(0.6) { number(rng) } else { *pick(rng, &ORDERED) };
    let (aggregate, input) = match rng.random_range(0..7) {
        0 => ("count", "*"),
        1 => ("count", any(rng)),
        2 => ("sum", number(rng)),
        3 => ("avg", number(rng)),
        4 => ("min", ordered(rng)),
        5 => ("max", ordered(rng)),
        _ => ("last", any(rng)),
    };
    let mut feature = format!("{{{aggregate}: \"{input}\"");
    if rng.random_bool(0.5) {
        feature += &format!(", where: \"{}\"", pick(rng, &WHERES));
    }
    feature += ", ";
    feature += &match rng.random_range(0..10) {
        0..=1 => "window: lifetime".to_string(),
        2..=4 => format!("window: {{session: {}}}", pick(rng, &GAPS)),
        _ => sliding(rng),
    };
    feature + "}"
}

/// A size with its default slide, a slide that divides it, one that does not, or one as long as it.
fn sliding(rng: &mut SmallRng) -> String {
    let size = *pick(rng, &SLIDING);
    let millis = crate::support::oracle::span(size);
    if millis >= 12_000 && rng.random_bool(0.3) {
        return format!("window: {size}");
    }
    let slide = match rng.random_range(0..4) {
        0 => millis,
        1 => (millis / 2).max(1),
        2 => (millis / 10).max(1),
        _ => (millis / 3 + 1).min(millis),
    };
    format!("window: {size}, slide: {slide}ms")
}
