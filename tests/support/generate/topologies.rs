//! Random topologies over one schema: every window with every aggregate, with and without `where`, buckets and a
//! declared empty value, bounds that are sometimes exceeded, what is derived, lateness, grace, forgetting.

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use super::features::{random_derived, random_feature};
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
                          amount: 'decimal(9,2)', huge: 'decimal(38,6)', flag: bool, seen: timestamp_ms, \
                          ts: timestamp_ms}";

const SOURCE_WHERES: [&str; 4] =
    ["event != 'noise'", "event is not null", "price is null or price < 1000000", "not flag"];

/// With the milliseconds; a grace must be shorter than what an entity is forgotten after.
const GRACES: [(&str, i64); 5] = [("1ms", 1), ("100ms", 100), ("10s", 10_000), ("5m", 300_000), ("1d", 86_400_000)];
const FORGETS: [(&str, i64); 6] =
    [("2ms", 2), ("150ms", 150), ("11s", 11_000), ("1h", 3_600_000), ("25h", 90_000_000), ("40d", 3_456_000_000)];

/// The topology of a seed; always valid.
pub fn random_topology(seed: u64) -> RandomTopology {
    let rng = &mut SmallRng::seed_from_u64(seed ^ 0x70_70_01);
    let mut yaml = format!(
        "topology: random\nsource:\n  topic: random.events\n  format: json\n  event_time: ts\n  \
         partitioned_by: user_id\n  lateness: {}\n",
        pick(rng, &["0ms", "0ms", "1ms", "10ms", "1s", "5s", "1m"])
    );
    let mut grace = 0;
    if rng.random_bool(0.4) {
        let (text, millis) = *pick(rng, &GRACES);
        yaml += &format!("  grace: {text}\n");
        grace = millis;
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
        yaml += &format!("  {}:\n    key: {}\n    online_key: \"{0}:{{id}}\"\n", names[which], keys[which]);
        yaml += &entity(rng, grace);
    }
    RandomTopology { topology: Topology::from_yaml(&yaml), yaml }
}

/// When it is forgotten, its features, what is derived from them.
fn entity(rng: &mut SmallRng, grace: i64) -> String {
    let mut yaml = String::new();
    if rng.random_bool(0.35) {
        let longer: Vec<&str> = FORGETS.iter().filter(|(_, after)| *after > grace).map(|(text, _)| *text).collect();
        yaml += &format!("    forget_after: {}\n", pick(rng, &longer));
    }
    yaml += "    features:\n";
    let mut columns = vec![];
    for index in 0..rng.random_range(1..=6) {
        let feature = random_feature(rng);
        yaml += &format!("      f{index}: {}\n", feature.yaml);
        columns.push((format!("f{index}"), feature.kind));
    }
    let derived = random_derived(rng, &columns);
    if !derived.is_empty() {
        yaml += "    derived:\n";
        yaml.extend(derived.iter().map(|line| format!("      {line}\n")));
    }
    yaml
}
