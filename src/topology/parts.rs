//! What a topology means, part by part, so that it can be said what a changed one changes.
//!
//! Always holds: two plans have the same parts exactly when they have the same fingerprint. Whoever says what differs (a start that is refused, `kappa plan`) has it from here.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::fingerprint::digest;
use super::plan::{EntityPlan, Plan};

/// The digest of each part by its name: `source.lateness`, `source.schema.price`, `key of user`, `user.views_1h`.
pub type Parts = BTreeMap<String, String>;

/// The part that no topology decides.
const ENGINE: &str = "Kappa's own rules";
/// The part that says in which order things stand. Its digest differs as well whenever one comes or goes.
const ORDER: &str = "the order of entities and features";

/// Names of one kind that a difference shows.
const SHOWN: usize = 12;

/// How something stands against what there was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Changed,
    New,
    Gone,
    Unchanged,
}

impl Status {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::New => "new",
            Self::Gone => "gone",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The parts in which two topologies differ. For people: `changed: user.views_1h; new: user.carts_1d; gone: user.spent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// By name; none that is unchanged.
    parts: BTreeMap<String, Status>,
    order: Vec<String>,
}

impl Plan {
    /// The parts of its meaning.
    pub fn parts(&self) -> Parts {
        let mut parts = Parts::new();
        let mut add = |name: String, meaning: &Value| {
            parts.insert(name, digest(meaning));
        };
        add(ORDER.into(), &self.entities.iter().map(|entity| json!([entity.name, names(entity)])).collect());
        let source = self.source_meaning();
        for (key, meaning) in source.as_object().into_iter().flatten() {
            match meaning.as_array().filter(|_| key == "fields") {
                Some(fields) => {
                    for field in fields {
                        add(format!("source.schema.{}", field["name"].as_str().unwrap_or_default()), field);
                    }
                }
                None => add(format!("source.{key}"), meaning),
            }
        }
        for entity in &self.entities {
            let name = &entity.name;
            add(format!("key of {name}"), &self.key_meaning(entity));
            add(format!("history of {name}"), &json!(entity.history));
            add(format!("forget_after of {name}"), &json!(entity.forget_after));
            for feature in &entity.features {
                add(of_entity(name, &feature.name), &self.feature_meaning(feature));
            }
            for (derived, meaning) in entity.derived.iter().zip(self.derived_meaning(entity)) {
                add(of_entity(name, &derived.name), &meaning);
            }
        }
        parts
    }
}

impl Difference {
    /// From one topology to another. `built_as` is the fingerprint that a version of the first was begun under: when this
    /// program would give it another one, its own rules have changed since.
    pub fn between(before: &Plan, built_as: &str, now: &Plan) -> Self {
        let (old, new, order) = (before.parts(), now.parts(), order(before, now));
        let status = |name: &String| match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => Status::Unchanged,
            (Some(_), Some(_)) => Status::Changed,
            (None, _) => Status::New,
            (_, None) => Status::Gone,
        };
        let all = old.keys().chain(new.keys()).map(|name| (name.clone(), status(name)));
        let mut parts: BTreeMap<String, Status> = all.filter(|(_, status)| *status != Status::Unchanged).collect();
        parts.remove(ORDER);
        let whole = [(ORDER, !order.is_empty()), (ENGINE, before.fingerprint != built_as)];
        parts.extend(whole.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| (name.into(), Status::Changed)));
        Self { parts, order }
    }

    /// Whether this part differs.
    pub fn has(&self, part: &str) -> bool {
        self.parts.contains_key(part)
    }

    /// Whether a feature, or what is derived from features, differs in itself.
    pub fn has_feature(&self, entity: &str, name: &str) -> bool {
        self.has(&of_entity(entity, name))
    }

    /// Whether the source differs, on which every feature depends.
    pub fn has_source(&self) -> bool {
        self.parts.keys().any(|name| name.starts_with("source."))
    }

    /// Whether Kappa's own rules do.
    pub fn has_engine(&self) -> bool {
        self.has(ENGINE)
    }

    /// What that both have stands in another order: this decides the order of rows and columns, and no value.
    pub fn order(&self) -> &[String] {
        &self.order
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for status in [Status::Changed, Status::New, Status::Gone] {
            let of_it = self.parts.iter().filter(|(_, found)| **found == status);
            let names: Vec<&str> = of_it.map(|(name, _)| name.as_str()).collect();
            if names.is_empty() {
                continue;
            }
            write!(f, "{separator}{}: {}", status.name(), names[..names.len().min(SHOWN)].join(", "))?;
            if let more @ 1.. = names.len().saturating_sub(SHOWN) {
                write!(f, " and {more} more")?;
            }
            separator = "; ";
        }
        Ok(())
    }
}

/// The part that is a feature of an entity, or derived from its features; told from the source's where an entity has
/// this name.
fn of_entity(entity: &str, name: &str) -> String {
    let entity = if entity == "source" { "entity source" } else { entity };
    format!("{entity}.{name}")
}

/// The names of an entity's features and what is derived from them, as they follow each other.
fn names(entity: &EntityPlan) -> Vec<&str> {
    let derived = entity.derived.iter().map(|derived| derived.name.as_str());
    entity.features.iter().map(|feature| feature.name.as_str()).chain(derived).collect()
}

/// Which of the names that both have follow each other in another order.
fn order(old: &Plan, new: &Plan) -> Vec<String> {
    let entities = |plan: &Plan| plan.entities.iter().map(|entity| entity.name.clone()).collect::<Vec<_>>();
    let mut what = vec![];
    if is_moved(&entities(old), &entities(new)) {
        what.push("entities in another order".to_string());
    }
    for entity in &new.entities {
        let Some((_, before)) = old.entity(&entity.name) else { continue };
        if is_moved(&names(before), &names(entity)) {
            what.push(format!("features of {} in another order", entity.name));
        }
    }
    what
}

fn is_moved<T: PartialEq>(old: &[T], new: &[T]) -> bool {
    let left = old.iter().filter(|name| new.contains(name));
    let right = new.iter().filter(|name| old.contains(name));
    left.ne(right)
}
