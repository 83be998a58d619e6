//! The topology: one YAML file, validated without I/O into a typed [`Plan`].
//!
//! The way of a file: `yaml` reads it into a tree with positions, `walk` and the walkers (`source`, `entity`,
//! `feature`, `aggregate`, `window`, `derived`) turn the tree into the plan and note every problem, `fingerprint` names
//! the plan's meaning, `parts` what it is made of. `schema` and `explain` say in other forms what the grammar and a plan
//! are. All problems of a file are reported at once.

mod aggregate;
mod derived;
mod entity;
mod explain;
mod feature;
mod fingerprint;
mod keys;
mod parts;
mod plan;
mod problems;
mod schema;
mod source;
#[cfg(test)]
mod tests;
mod types;
mod walk;
mod window;
pub(crate) mod yaml;

use std::path::Path;
use std::sync::Arc;

pub use explain::Explanation;
pub use fingerprint::ENGINE_SEMANTICS;
pub(crate) use keys::{did_you_mean, listed};
pub use parts::{Difference, Parts, Status};
pub use plan::*;
pub use problems::{Problem, Problems};
pub use schema::json_schema;
pub use types::*;
pub use walk::value_type;

use crate::error::{Error, Result};
use walk::Walk;
use yaml::Mark;

/// The bound `topology bytes`: the largest file that is read.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Reads and validates the topology file at `path`.
pub fn load(path: &Path) -> Result<Plan> {
    let name = path.display().to_string();
    let text = std::fs::read(path).map_err(|error| {
        Error::configuration(format!("{name}: the topology cannot be read ({error}); check the path and its rights"))
    })?;
    let text = String::from_utf8(text).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Error::configuration(format!("{name}: byte {at} is not UTF-8; save the file as UTF-8"))
    })?;
    Ok(parse(&name, &text)?)
}

/// Validates a topology; `file_name` is for messages only. Reports all problems of the file at once.
pub fn parse(file_name: &str, yaml: &str) -> Result<Plan, Problems> {
    if yaml.len() > MAX_FILE_BYTES {
        let found = format!("the file has {} bytes, over the bound topology bytes ({MAX_FILE_BYTES})", yaml.len());
        let problem = Problem::new(Mark { line: 1, column: 1 }, found, "split it into several topologies");
        return Err(Problems::new(file_name, vec![problem]));
    }
    let (root, problems) = yaml::read(yaml).map_err(|problem| Problems::new(file_name, vec![problem]))?;
    let mut walk = Walk::new(problems);
    let plan = walk.topology(&root);
    match plan {
        Some(plan) if walk.problems.is_empty() => Ok(finish(plan, walk, yaml)),
        _ => Err(Problems::new(file_name, walk.problems)),
    }
}

/// Seals a plan that has no problems: gives it its text, its expressions and its fingerprint.
fn finish(mut plan: Plan, walk: Walk, text: &str) -> Plan {
    plan.text = text.into();
    plan.exprs = Arc::new(walk.exprs);
    plan.fingerprint = plan.meaning_digest();
    plan
}

impl Walk {
    /// The whole file. `None` when a section that others need could not be read; the problem is noted.
    fn topology(&mut self, root: &yaml::Node) -> Option<Plan> {
        let section = self.section(root, root.mark(), "", keys::TOPOLOGY, &[])?;
        let topology = self.text(&section, "topology", "a name").map(|name| {
            if !keys::is_path_name(&name.text) {
                let found = format!("`{}` is not a name for a topology", name.text);
                self.problem(name.mark, "", found, "use a to z, 0 to 9, `_` and `-`, a letter first, at most 100");
            }
            name.text.clone()
        });
        let source = section.get("source").and_then(|(key, node)| self.source(key, node));
        let fields = source.as_ref().map_or(&[][..], |source| &source.plan.fields);
        let entities = match section.get("entities") {
            Some((key, node)) => self.entities(key, node, fields),
            None => vec![],
        };
        self.online_keys(&entities);
        let source = source?;
        self.forgetting(&entities, source.plan.grace);
        let partition_field = self.partition_field(&source, &entities);
        let source = SourcePlan { partition_field: partition_field.unwrap_or(0), ..source.plan };
        let entities = entities.into_iter().map(|entity| entity.plan).collect();
        let (exprs, fingerprint) = (Arc::new(crate::expr::ExprSet::new(source.schema())), String::new());
        Some(Plan { topology: topology?, source, entities, exprs, fingerprint, text: "".into() })
    }
}
