//! A comparison for people and for programs.

use indicatif::HumanCount;
use serde_json::{Value as Json, json};

use super::join::{Comparison, Position, Positions, Scope, Side};
use super::tally::{EntityTally, FeatureTally, Odd};
use super::values;
use crate::cli::output;
use crate::cli::test::times::show_instant;

/// The quantiles that are shown.
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99)];

/// All that a comparison says.
pub struct Report<'a> {
    pub sides: &'a [Side; 2],
    pub scope: &'a Scope,
    pub found: &'a Comparison,
}

/// How many keys were compared, and how many of them have a common feature that is not equal.
pub fn totals(found: &Comparison) -> (u64, u64) {
    let sum = |of: fn(&EntityTally) -> u64| found.entities.iter().map(of).sum();
    (sum(|entity| entity.compared), sum(|entity| entity.changed))
}

/// A part of a whole, as a share; nothing of nothing is 0.
pub fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

/// `7.3%`, with as many digits as it needs to not be 0 or all.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let near_a_border = (percent > 0.0 && percent < 0.1) || (percent > 99.9 && percent < 100.0);
    if near_a_border { format!("{percent:.3}%") } else { format!("{percent:.1}%") }
}

/// Three digits of a relative difference.
fn small(relative: f64) -> String {
    match relative {
        0.0 => "0".to_string(),
        small if small < 0.001 => format!("{small:.1e}"),
        plain => format!("{plain:.3}"),
    }
}

fn count(n: u64) -> String {
    HumanCount(n).to_string()
}

impl Report<'_> {
    /// Columns of text.
    pub fn text(&self) -> String {
        let [left, right] = self.sides;
        let (compared, changed) = totals(self.found);
        let sample = self.scope.sample.map_or_else(String::new, |share| format!(", a sample of {}", percent(share)));
        let mut text = format!(
            "{}: version {} ({}) against version {} ({}): {} keys compared{sample}; {} changed ({})\n",
            left.plan.topology,
            left.number,
            left.standing,
            right.number,
            right.standing,
            count(compared),
            count(changed),
            percent(share(changed, compared))
        );
        text.push('\n');
        text.push_str(&self.positions());
        for entity in &self.found.entities {
            text.push('\n');
            text.push_str(&self.entity(entity));
        }
        for (side, names) in self.found.entities_only.iter().enumerate().filter(|(_, names)| !names.is_empty()) {
            text.push_str(&format!("\nonly in version {}: {}\n", self.sides[side].number, names.join(", ")));
        }
        text.push_str(&self.worst());
        text
    }

    fn positions(&self) -> String {
        let numbers = self.sides.each_ref().map(|side| format!("version {}", side.number));
        let mut rows = vec![vec!["partition".to_string(), numbers[0].clone(), numbers[1].clone()]];
        for positions in &self.found.partitions {
            let offset = |at: Option<Position>| at.map_or("-".to_string(), |at| at.next_offset.to_string());
            let mut row = vec![positions.partition.to_string(), offset(positions.at[0]), offset(positions.at[1])];
            row.extend(self.remark(positions));
            rows.push(row);
        }
        output::table(&rows)
    }

    /// Which version is behind in a partition.
    fn remark(&self, positions: &Positions) -> Option<String> {
        let offset = |side: usize| positions.at[side].map(|at| at.next_offset);
        let (behind, records) = match (offset(0), offset(1)) {
            (Some(left), Some(right)) if left == right => return None,
            (Some(left), Some(right)) => (usize::from(left > right), left.abs_diff(right)),
            (None, None) => return None,
            (left, _) => {
                return Some(format!("version {} has not begun here", self.number(usize::from(left.is_some()))));
            }
        };
        let number = self.number(behind);
        Some(format!("version {number} is {} offsets behind: part of what differs may be those", count(records)))
    }

    fn number(&self, side: usize) -> u32 {
        self.sides[side].number
    }

    fn entity(&self, entity: &EntityTally) -> String {
        let only =
            [0, 1].map(|side: usize| format!("{} only in version {}", count(entity.only[side]), self.number(side)));
        let mut text = format!(
            "{}: {} keys, {}; {} changed ({})\n",
            entity.entity,
            count(entity.compared),
            only.join(", "),
            count(entity.changed),
            percent(share(entity.changed, entity.compared))
        );
        let only = [0, 1].map(|side: usize| format!("only in {}", self.number(side)));
        let mut head: Vec<String> = ["feature", "logic", "equal", "changed"].map(String::from).to_vec();
        head.extend(only);
        head.extend(QUANTILES.map(|(name, _)| name.to_string()));
        head.push("max".to_string());
        let mut rows = vec![head];
        rows.extend(entity.features.iter().map(line));
        text.push_str(&indented(&output::table(&rows)));
        for (side, names) in entity.features_only.iter().enumerate().filter(|(_, names)| !names.is_empty()) {
            text.push_str(&format!("  only in version {}: {}\n", self.number(side), names.join(", ")));
        }
        text
    }

    fn worst(&self) -> String {
        let mut text = String::new();
        for entity in &self.found.entities {
            for feature in entity.features.iter().filter(|feature| !feature.worst.entities().is_empty()) {
                let name = &feature.common.name;
                text.push_str(&format!("\n{}.{name}: what differs most\n", entity.entity));
                let versions = self.sides.each_ref().map(|side| format!("version {}", side.number));
                let [left, right] = versions;
                let mut rows = vec![vec!["key".to_string(), left, right, "relative".to_string()]];
                rows.extend(feature.worst.entities().iter().map(|odd| {
                    let [left, right] = odd.values.each_ref().map(|value| cut(values::text(value.as_ref())));
                    vec![cut(odd.key.clone()), left, right, odd.distance.relative.map_or(String::new(), small)]
                }));
                text.push_str(&indented(&output::table(&rows)));
            }
        }
        text
    }

    /// The same, and all of it, as a tree.
    pub fn json(&self) -> Json {
        let version = |side: &Side| json!({"version": side.number, "standing": side.standing, "fingerprint": side.plan.fingerprint});
        let (compared, changed) = totals(self.found);
        json!({
            "topology": self.sides[0].plan.topology,
            "left": version(&self.sides[0]),
            "right": version(&self.sides[1]),
            "sample": self.scope.sample,
            "tolerance": self.scope.tolerance,
            "compared": compared,
            "changed": changed,
            "changed_share": share(changed, compared),
            "partitions": self.found.partitions.iter().map(|positions| self.positions_json(positions)).collect::<Vec<_>>(),
            "entities": self.found.entities.iter().map(entity_json).collect::<Vec<_>>(),
            "entities_only_left": self.found.entities_only[0],
            "entities_only_right": self.found.entities_only[1],
        })
    }

    fn positions_json(&self, positions: &Positions) -> Json {
        let position =
            |at: &Position| json!({"next_offset": at.next_offset, "watermark": at.watermark.map(show_instant)});
        json!({
            "partition": positions.partition,
            "left": positions.at[0].as_ref().map(position),
            "right": positions.at[1].as_ref().map(position),
            "remark": self.remark(positions),
        })
    }
}

/// A feature's line in the table.
fn line(feature: &FeatureTally) -> Vec<String> {
    let common = &feature.common;
    let logic = match (&common.types, common.is_changed) {
        ([left, right], _) if left != right => format!("{left} -> {right}"),
        (_, true) => "changed".to_string(),
        (_, false) => "same".to_string(),
    };
    let mut line = vec![common.name.clone(), logic];
    line.extend([feature.equal, feature.changed, feature.only[0], feature.only[1]].map(count));
    if feature.spread.numbers > 0 {
        line.extend(QUANTILES.map(|(_, q)| feature.spread.quantile(q).map_or(String::new(), small)));
        line.push(small(feature.spread.max));
    }
    line
}

fn entity_json(entity: &EntityTally) -> Json {
    json!({
        "entity": entity.entity,
        "compared": entity.compared,
        "only_left": entity.only[0],
        "only_right": entity.only[1],
        "changed": entity.changed,
        "features": entity.features.iter().map(feature_json).collect::<Vec<_>>(),
        "features_only_left": entity.features_only[0],
        "features_only_right": entity.features_only[1],
    })
}

fn feature_json(feature: &FeatureTally) -> Json {
    let spread = &feature.spread;
    let relative = (spread.numbers > 0).then(|| {
        let mut quantiles = json!({"numbers": spread.numbers});
        for (name, q) in QUANTILES {
            quantiles[name] = json!(spread.quantile(q));
        }
        quantiles["max"] = json!(spread.max);
        quantiles
    });
    let odd = |odd: &Odd| {
        let [left, right] = odd.values.each_ref().map(|value| values::json(value.as_ref()));
        let relative = odd.distance.relative;
        json!({"key": odd.key, "partition": odd.partition, "left": left, "right": right, "relative": relative})
    };
    json!({
        "feature": feature.common.name,
        "logic_changed": feature.common.is_changed,
        "types": feature.common.types,
        "equal": feature.equal,
        "changed": feature.changed,
        "only_left": feature.only[0],
        "only_right": feature.only[1],
        "relative": relative,
        "worst": feature.worst.entities().iter().map(odd).collect::<Vec<_>>(),
    })
}

/// Long lists and maps are shown as they begin.
fn cut(text: String) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

fn indented(table: &str) -> String {
    table.lines().map(|line| format!("  {line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_near_its_borders_is_not_rounded_to_them() {
        assert_eq!((percent(0.0), percent(1.0), percent(0.073)), ("0.0%".into(), "100.0%".into(), "7.3%".into()));
        assert_eq!((percent(0.0004), percent(0.99999)), ("0.040%".into(), "99.999%".into()));
        assert_eq!(share(0, 0), 0.0);
    }

    #[test]
    fn relative_differences_have_three_digits_and_are_only_0_when_they_are() {
        assert_eq!([0.0, 0.25, 2.0, 1e-16].map(small), ["0", "0.250", "2.000", "1.0e-16"]);
    }

    #[test]
    fn long_values_are_cut_between_letters() {
        assert_eq!(cut("ä".repeat(61)), format!("{}...", "ä".repeat(60)));
        assert_eq!(cut("short".into()), "short");
    }
}
