//! The features: their names, and what stands beside aggregate and window.
//!
//! Always holds for the plan that comes out: one aggregate a feature, inputs of a type that the aggregate takes, buckets
//! that are texts, an `empty` of the feature's own type.

use super::aggregate::{Read, output_type};
use super::keys::{self, RESERVED, is_feature_name};
use super::plan::{By, FeaturePlan};
use super::types::{OutputType, ValueType};
use super::walk::{Section, Walk};
use super::yaml::{Node, Scalar};
use crate::time::Millis;

/// The bound `buckets`: its default, and the most that may be asked for.
pub(super) const DEFAULT_BUCKETS: u32 = 1_000;
const MAX_BUCKETS: u32 = 100_000;

impl Walk {
    /// Reads an entity's features in the topology's order.
    pub fn features(&mut self, entity: &str, key: &Scalar, node: &Node, key_names: &[&str]) -> Vec<FeaturePlan> {
        let Some(mapping) = self.names(key, node, entity, "a feature") else { return vec![] };
        mapping.entries.iter().filter_map(|(name, node)| self.feature(name, node, key_names)).collect()
    }

    fn feature(&mut self, name: &Scalar, node: &Node, key_names: &[&str]) -> Option<FeaturePlan> {
        let place = format!("feature `{}`", name.text);
        self.feature_name(name, &place, key_names);
        let section = self.section(node, name.mark, &place, keys::FEATURE, &[])?;
        let input = self.aggregate(&section);
        let filter = section.get("where").is_some().then(|| self.condition(&section, "where"));
        let window = self.window(&section);
        let max_age = self.max_age(&section);
        let by = section.get("by").map(|(_, node)| self.by(&section, node));
        if let (None, Some((key, _))) = (&by, section.get("buckets")) {
            self.problem(key.mark, &place, "`buckets` without `by`", "remove it, or say by what to bucket");
        }
        let read = input.and_then(|read| {
            let output_type = output_type(&read);
            let output_type = if by.is_some() { OutputType::Map(Box::new(output_type)) } else { output_type };
            let empty = self.empty(&section, &read, &output_type)?;
            Some((read, output_type, empty))
        });
        let (Read { aggregate, input, input_type }, output_type, empty) = read?;
        let filter = match filter {
            Some(filter) => Some(filter?),
            None => None,
        };
        let by = match by {
            Some(by) => Some(by?),
            None => None,
        };
        let (name, window, max_age) = (name.text.clone(), window?, max_age?);
        Some(FeaturePlan { name, aggregate, input, filter, by, window, input_type, output_type, empty, max_age })
    }

    /// How old a row may be as its value is read; the outer `None` is a problem that was noted.
    pub(super) fn max_age(&mut self, section: &Section<'_>) -> Option<Option<Millis>> {
        match section.get("max_age") {
            Some(_) => self.positive(section, "max_age").map(Some),
            None => Some(None),
        }
    }

    fn by(&mut self, section: &Section<'_>, node: &Node) -> Option<By> {
        let buckets = self.count(section, "buckets", 1..=MAX_BUCKETS).map(|buckets| buckets.unwrap_or(DEFAULT_BUCKETS));
        let scalar = self.scalar(node, &section.place, "by", "an SQL expression")?;
        let bucket = self.sql(scalar, &section.place, "by")?;
        if !matches!(bucket.ty, ValueType::String | ValueType::Int64 | ValueType::Bool) {
            let found = format!("by `{}` is {}, which cannot name a bucket", scalar.text, bucket.ty);
            let remedy = "write a string, int64 or bool, for instance with cast(x as varchar)";
            self.problem(scalar.mark, &section.place, found, remedy);
            return None;
        }
        Some(By { bucket: bucket.id, buckets: buckets? })
    }

    pub(super) fn feature_name(&mut self, name: &Scalar, place: &str, key_names: &[&str]) {
        let text = name.text.as_str();
        if text.starts_with('_') && is_feature_name(text) {
            self.problem(name.mark, place, "names that begin with `_` are Kappa's own", "begin it with a letter");
        } else if !is_feature_name(text) {
            self.problem(
                name.mark,
                place,
                "this is not a name for a feature",
                "use a to z, 0 to 9 and `_`, a letter first",
            );
        } else if RESERVED.contains(&text) {
            let found = "this is the name of a column that every feature row has";
            self.problem(name.mark, place, found, format!("choose another, like `{text}_value`"));
        } else if key_names.contains(&text) {
            let found = "this is the name of a field of the entity's key";
            self.problem(name.mark, place, found, format!("choose another, like `{text}_value`"));
        }
    }
}
