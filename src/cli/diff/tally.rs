//! What a comparison has counted: for each entity and each feature that both versions have.

use std::cmp::Ordering;

use sketches_ddsketch::{Config, DDSketch};

use super::values::{Distance, distance};
use crate::cli::test::value::Value;

/// How many of the entities that differ most are kept of each feature.
pub const WORST: usize = 10;

/// The sketch of relative differences: within 1 %, from this small on; below it they count as 0.
const SKETCH_ERROR: f64 = 0.01;
const SMALLEST: f64 = 1e-15;
const SKETCH_BINS: u32 = 4096;

/// A feature that both versions have.
#[derive(Debug)]
pub struct Common {
    pub name: String,
    /// Its index in what the entity shows, in either version.
    pub at: [usize; 2],
    /// What it shows where nothing is left: what an entity without a row has.
    pub empty: [Value; 2],
    /// Its type in either version.
    pub types: [String; 2],
    /// Whether its own logic differs.
    pub is_changed: bool,
}

/// One key of an entity: where it lives, and what either version shows; `None` where a version has no row of it.
#[derive(Debug, Clone, Copy)]
pub struct Pair<'a> {
    pub key: &'a str,
    pub partition: i32,
    pub rows: [Option<&'a [Value]>; 2],
}

/// What is counted of an entity.
#[derive(Debug)]
pub struct EntityTally {
    pub entity: String,
    /// Keys that either version has.
    pub compared: u64,
    /// Of them those that only one has.
    pub only: [u64; 2],
    /// Keys of which any common feature is not equal.
    pub changed: u64,
    pub features: Vec<FeatureTally>,
    /// Features that only one version has.
    pub features_only: [Vec<String>; 2],
}

/// What is counted of a feature.
#[derive(Debug)]
pub struct FeatureTally {
    pub common: Common,
    pub equal: u64,
    pub changed: u64,
    /// A value in one version, and none in the other: null, or no such entity.
    pub only: [u64; 2],
    pub spread: Spread,
    pub worst: Worst,
}

/// The relative differences where both versions have numbers, equal ones (0) among them.
pub struct Spread {
    sketch: DDSketch,
    pub numbers: u64,
    pub max: f64,
}

impl std::fmt::Debug for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spread").field("numbers", &self.numbers).field("max", &self.max).finish_non_exhaustive()
    }
}

/// An entity whose feature differs.
#[derive(Debug, Clone)]
pub struct Odd {
    pub key: String,
    pub partition: i32,
    pub values: [Option<Value>; 2],
    pub distance: Distance,
}

/// The entities that differ most: relatively, then in the feature's own unit, then by key.
#[derive(Debug, Default)]
pub struct Worst(Vec<Odd>);

impl EntityTally {
    /// Nothing counted yet.
    pub fn new(entity: &str, common: Vec<Common>, features_only: [Vec<String>; 2]) -> Self {
        let features = common.into_iter().map(FeatureTally::new).collect();
        Self { entity: entity.to_string(), compared: 0, only: [0; 2], changed: 0, features, features_only }
    }

    /// Counts one key.
    pub fn add(&mut self, pair: Pair<'_>, tolerance: f64) {
        self.compared += 1;
        for side in [0, 1] {
            self.only[side] += u64::from(pair.rows[side].is_some() && pair.rows[1 - side].is_none());
        }
        let mut differs = false;
        for feature in &mut self.features {
            differs |= !feature.add(pair, tolerance);
        }
        self.changed += u64::from(differs);
    }
}

impl FeatureTally {
    fn new(common: Common) -> Self {
        let (spread, worst) = (Spread::default(), Worst::default());
        Self { common, equal: 0, changed: 0, only: [0; 2], spread, worst }
    }

    /// How many keys do not have the same value in both.
    pub fn differing(&self) -> u64 {
        self.changed + self.only[0] + self.only[1]
    }

    /// Counts one key; answers whether it has the same value in both.
    fn add(&mut self, pair: Pair<'_>, tolerance: f64) -> bool {
        let value = |side: usize| pair.rows[side].map(|row| &row[self.common.at[side]]);
        let values = [value(0), value(1)];
        let has = |side: usize| values[side].is_some_and(|value| *value != Value::Null);
        let is_empty = |side: usize| values[side].is_none_or(|value| *value == self.common.empty[side]);
        let no_row = pair.rows.iter().any(Option::is_none);
        let found = match values {
            [Some(left), Some(right)] => distance(left, right, tolerance),
            [Some(one), None] | [None, Some(one)] => distance(one, &Value::Null, 0.0),
            [None, None] => return true,
        };
        match (has(0), has(1)) {
            (false, false) => self.equal += 1,
            // No row means that every feature is empty.
            _ if no_row && is_empty(0) && is_empty(1) => self.equal += 1,
            (true, true) => {
                if let Some(relative) = found.relative {
                    self.spread.add(relative);
                }
                if found.equal {
                    self.equal += 1;
                    return true;
                }
                self.changed += 1;
                self.worst.add(pair, values, found);
                return false;
            }
            (left, _) => {
                self.only[usize::from(!left)] += 1;
                self.worst.add(pair, values, found);
                return false;
            }
        }
        true
    }
}

impl Default for Spread {
    fn default() -> Self {
        Self { sketch: DDSketch::new(Config::new(SKETCH_ERROR, SKETCH_BINS, SMALLEST)), numbers: 0, max: 0.0 }
    }
}

impl Spread {
    fn add(&mut self, relative: f64) {
        self.sketch.add(relative);
        self.numbers += 1;
        self.max = self.max.max(relative);
    }

    /// The relative difference at rank `floor(q * (n - 1))`, within 1 % of it; `None` without numbers.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        self.sketch.quantile(q).ok().flatten().map(|found| found.min(self.max))
    }
}

impl Worst {
    fn add(&mut self, pair: Pair<'_>, values: [Option<&Value>; 2], distance: Distance) {
        let is_full = self.0.len() == WORST;
        if is_full && self.0.last().is_some_and(|least| order(&distance, pair.key, least) != Ordering::Less) {
            return;
        }
        let at = self.0.partition_point(|odd| order(&distance, pair.key, odd) == Ordering::Greater);
        let values = values.map(|value| value.cloned());
        self.0.insert(at, Odd { key: pair.key.to_string(), partition: pair.partition, values, distance });
        self.0.truncate(WORST);
    }

    /// Worst first.
    pub fn entities(&self) -> &[Odd] {
        &self.0
    }
}

/// The order of one that is to be placed, by its distance and key: less is worse.
fn order(distance: &Distance, key: &str, odd: &Odd) -> Ordering {
    let size = |distance: &Distance| (distance.relative.unwrap_or(0.0), distance.absolute);
    let ((relative, absolute), (its_relative, its_absolute)) = (size(distance), size(&odd.distance));
    its_relative.total_cmp(&relative).then(its_absolute.total_cmp(&absolute)).then(key.cmp(&odd.key))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(empty: Value) -> EntityTally {
        let common = Common {
            name: "f".into(),
            at: [0, 0],
            empty: [empty.clone(), empty],
            types: ["int64".into(), "int64".into()],
            is_changed: false,
        };
        EntityTally::new("user", vec![common], [vec![], vec![]])
    }

    /// Counts keys k0, k1, ... with these values; `None`: no row.
    fn count(empty: Value, pairs: &[[Option<Value>; 2]], tolerance: f64) -> EntityTally {
        let mut tally = tally(empty);
        for (index, values) in pairs.iter().enumerate() {
            let key = format!("k{index}");
            let rows = [0, 1].map(|side: usize| values[side].as_ref().map(std::slice::from_ref));
            tally.add(Pair { key: &key, partition: 0, rows }, tolerance);
        }
        tally
    }

    fn int(n: i64) -> Option<Value> {
        Some(Value::Int(n))
    }

    #[test]
    fn a_value_is_equal_changed_or_only_in_one() {
        let null = || Some(Value::Null);
        let pairs =
            [[int(1), int(1)], [int(1), int(2)], [null(), int(1)], [int(1), null()], [null(), null()], [int(1), None]];
        let counted = count(Value::Null, &pairs, 0.0);
        let feature = &counted.features[0];
        assert_eq!((feature.equal, feature.changed, feature.only), (2, 1, [2, 1]));
        assert_eq!((counted.compared, counted.changed, counted.only), (6, 4, [1, 0]));
    }

    #[test]
    fn an_entity_that_one_version_lacks_is_empty_there() {
        let counted = count(Value::Int(0), &[[int(0), None], [None, int(0)], [None, int(3)]], 0.0);
        let feature = &counted.features[0];
        assert_eq!((feature.equal, feature.changed, feature.only), (2, 0, [0, 1]));
        assert_eq!((counted.only, counted.changed), ([1, 2], 1));
    }

    #[test]
    fn quantiles_are_of_all_numbers_and_within_one_percent() {
        // Relative differences 0, 0.001, 0.002 ... 0.999.
        let pairs: Vec<_> = (0..1000).map(|n| [int(1000), int(1000 - n)]).collect();
        let feature = &count(Value::Null, &pairs, 0.0).features[0];
        assert_eq!((feature.spread.numbers, feature.equal), (1000, 1));
        for (q, expected) in [(0.5, 0.499), (0.9, 0.899), (0.99, 0.989)] {
            let found = feature.spread.quantile(q).unwrap();
            assert!((found - expected).abs() <= 0.0101 * expected, "{q}: {found}");
        }
        assert!((feature.spread.max - 0.999).abs() < 1e-12);
    }

    #[test]
    fn the_worst_are_kept_whatever_the_order_they_come_in() {
        let mut pairs: Vec<_> = (0..100).map(|n| [int(200 + n), int(200)]).collect();
        pairs.swap(3, 90);
        let counted = count(Value::Null, &pairs, 0.0);
        let worst: Vec<_> = counted.features[0].worst.entities().iter().map(|odd| odd.values[0].clone()).collect();
        let expected: Vec<_> = (290..300).rev().map(int).collect();
        assert_eq!(worst, expected);
        // Equally far relatively: the larger numbers first, then by key.
        let counted = count(Value::Null, &[[int(1), int(0)], [int(9), int(0)], [int(9), int(0)]], 0.0);
        let keys: Vec<_> = counted.features[0].worst.entities().iter().map(|odd| odd.key.as_str()).collect();
        assert_eq!(keys, ["k1", "k2", "k0"]);
    }

    #[test]
    fn what_is_within_the_tolerance_is_equal_but_still_in_the_quantiles() {
        let counted = count(Value::Null, &[[int(100), int(101)], [int(100), int(150)]], 0.05);
        let feature = &counted.features[0];
        assert_eq!((feature.equal, feature.changed, counted.changed), (1, 1, 1));
        assert!(feature.spread.quantile(0.0).unwrap() > 0.0);
    }
}
