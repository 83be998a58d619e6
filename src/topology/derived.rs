//! Derived features: SQL over the features of the same row.
//!
//! Always holds for the plan that comes out: what is derived reads features and what was derived before it; with a row
//! only what is of the row; the clock (`now()`, column 0 of what the SQL sees) is for values derived as they are read.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field as Column, Schema};

use super::keys::{self, is_feature_name};
use super::plan::{DerivedOn, DerivedPlan, FeaturePlan};
use super::types::{OutputType, ValueType};
use super::walk::{Section, Walk, mentions, value_type};
use super::yaml::{Node, Scalar};
use crate::expr::{ExprSet, NOW};

/// What an entity derives.
pub(super) struct DerivedRead {
    pub derived: Vec<DerivedPlan>,
    pub exprs: ExprSet,
    /// Names of features, derived ones among them, that have problems of their own: SQL over them is not judged.
    broken: Vec<String>,
}

impl Walk {
    /// Reads an entity's `derived`.
    pub fn derived(&mut self, section: &Section<'_>, features: &[FeaturePlan], key_names: &[&str]) -> DerivedRead {
        // Null where rows are derived: the clock is for reading.
        let clock = Column::new(NOW, ValueType::Timestamp.data_type(), true);
        let columns = features.iter().map(|feature| Column::new(&feature.name, feature.output_type.data_type(), true));
        let exprs = ExprSet::new(Arc::new(Schema::new([clock].into_iter().chain(columns).collect::<Vec<_>>())));
        let mut read = DerivedRead { derived: vec![], exprs, broken: vec![] };
        let Some((key, node)) = section.get("derived") else { return read };
        let Some((_, Node::Mapping(named))) = section.get("features") else { return read };
        let is_broken = |name: &&String| read.exprs.schema().index_of(name).is_err();
        read.broken = named.entries.iter().map(|(name, _)| &name.text).filter(is_broken).cloned().collect();
        let Some(mapping) = self.names(key, node, &section.place, "a derived feature") else { return read };
        for (name, node) in &mapping.entries {
            let place = format!("derived `{}`", name.text);
            self.feature_name(name, &place, key_names);
            if is_feature_name(&name.text) && read.exprs.schema().index_of(&name.text).is_ok() {
                let found = "this is already the name of a feature";
                self.problem(name.mark, &place, found, "give it a name of its own");
                continue;
            }
            if self.derive(&mut read, features.len(), name, node, &place).is_none() {
                read.broken.push(name.text.clone());
            }
        }
        read
    }

    fn derive(
        &mut self,
        read: &mut DerivedRead,
        features: usize,
        name: &Scalar,
        node: &Node,
        place: &str,
    ) -> Option<()> {
        let (sql, on, max_age) = match node {
            Node::Mapping(_) => {
                let section = self.section(node, name.mark, place, keys::DERIVED, &[])?;
                let on = section.get("on").map(|_| self.one_of(&section, "on", &["row", "read"]));
                let max_age = self.max_age(&section);
                (self.text(&section, "sql", "an SQL expression")?, on.unwrap_or(Some("row"))?, max_age?)
            }
            _ => (self.scalar(node, place, "derived", "an SQL expression")?, "row", None),
        };
        let on = if on == "read" { DerivedOn::Read } else { DerivedOn::Row };
        if read.broken.iter().any(|name| mentions(&sql.text, name)) {
            return None;
        }
        let expr = match read.exprs.add(&sql.text) {
            Ok(expr) => expr,
            Err(wrong) => {
                let at = wrong.at.map_or(sql.mark, |at| sql.mark_at(at));
                self.problem(at, place, wrong.message, wrong.remedy);
                return None;
            }
        };
        if on == DerivedOn::Row {
            for field in read.exprs.fields(expr) {
                let later = field.checked_sub(1 + features).map(|index| &read.derived[index]);
                let what = match later {
                    _ if *field == 0 => "now()",
                    Some(earlier) if earlier.on == DerivedOn::Read => earlier.name.as_str(),
                    _ => continue,
                };
                let found = format!("`{what}` is known only when the value is read");
                let remedy = match node {
                    Node::Mapping(_) => "say `on: read`",
                    _ => "write it as {sql: \"...\", on: read}",
                };
                self.problem(sql.mark, place, found, remedy);
                return None;
            }
        }
        let data_type = read.exprs.data_type(expr);
        let Some(output_type) = output_type(&data_type) else {
            let found = format!("it gives {data_type}, which no feature can hold");
            self.problem(sql.mark, place, found, "cast it to varchar, bigint, double, boolean or timestamp");
            return None;
        };
        read.exprs.declare(Column::new(&name.text, data_type, true));
        read.derived.push(DerivedPlan { name: name.text.clone(), expr, on, output_type, max_age });
        Some(())
    }
}

fn output_type(data_type: &DataType) -> Option<OutputType> {
    match data_type {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => Some(OutputType::Counted(value_type(fields.first()?.data_type())?)),
            item => Some(OutputType::List(value_type(item)?)),
        },
        DataType::Map(entry, _) => {
            let DataType::Struct(fields) = entry.data_type() else { return None };
            Some(OutputType::Map(Box::new(output_type(fields.get(1)?.data_type())?)))
        }
        scalar => value_type(scalar).map(OutputType::Scalar),
    }
}
