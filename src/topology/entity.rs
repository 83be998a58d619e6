//! The entities: their keys, and the one field with which all keys begin.
//!
//! Always holds for the plan that comes out: every key begins with the partition field, key fields are string or int64
//! and never nulled on error, and no online key can be that of two entities, whatever their ids are. Entities whose key
//! begins with another field are refused here: they need a topic that is partitioned by it.

use std::sync::Arc;

use super::keys::{self, is_path_name};
use super::plan::{EntityPlan, Field};
use super::source::SourceRead;
use super::types::FieldType;
use super::walk::{Section, Walk};
use super::yaml::{Mapping, Mark, Node, Scalar};
use crate::time::{Millis, Span};

/// Defaults, which are also in docs/topology.md.
pub(super) const DEFAULT_ONLINE_KEY: &str = "features:{id}";
pub(super) const DEFAULT_EMPTY_TTL: Millis = 86_400_000;
pub(super) const DEFAULT_HORIZON_RECORDS: u32 = 100_000;
const MAX_HORIZON_RECORDS: u32 = 10_000_000;

/// That of every entity but the first: an id can hold anything, so it may not begin with `features:`. No name has a dot.
fn default_online_key(entity: &str) -> String {
    format!("features.{entity}:{{id}}")
}

/// An entity, and where its parts stand.
pub(super) struct EntityRead {
    pub plan: EntityPlan,
    name: Mark,
    key: Mark,
    forget_at: Option<Mark>,
    online_key: Option<Mark>,
}

impl Walk {
    /// Reads the entities in the topology's order.
    pub fn entities(&mut self, key: &Scalar, node: &Node, fields: &[Field]) -> Vec<EntityRead> {
        let Some(mapping) = self.names(key, node, "entities", "an entity") else { return vec![] };
        let entries = mapping.entries.iter().enumerate();
        entries.filter_map(|(index, (name, node))| self.entity(index, name, node, fields)).collect()
    }

    /// A mapping of free names that has at least one.
    pub fn names<'a>(&mut self, key: &Scalar, node: &'a Node, place: &str, one: &str) -> Option<&'a Mapping> {
        match node {
            Node::Mapping(mapping) if !mapping.entries.is_empty() => Some(mapping),
            Node::Mapping(_) => {
                self.problem(key.mark, place, format!("`{}` is empty", key.text), format!("add {one}"));
                None
            }
            _ => {
                let found = format!("`{}` is {}, a mapping by name is expected", key.text, node.describe());
                self.problem(node.mark(), place, found, format!("write the name of {one}, a colon and what it is"));
                None
            }
        }
    }

    fn entity(&mut self, index: usize, name: &Scalar, node: &Node, fields: &[Field]) -> Option<EntityRead> {
        let place = format!("entity `{}`", name.text);
        if !is_path_name(&name.text) {
            let remedy = "use a to z, 0 to 9, `_` and `-`, a letter first, at most 100";
            self.problem(name.mark, &place, "this is not a name for an entity", remedy);
        }
        let section = self.section(node, name.mark, &place, keys::ENTITY, keys::ENTITY_LATER)?;
        let (key_at, key) = self.entity_key(&section, fields);
        let key_names: Vec<&str> = key.iter().map(|&index| fields[index].name.as_str()).collect();
        let features = match section.get("features") {
            Some((key, node)) => self.features(&place, key, node, &key_names),
            None => vec![],
        };
        let derived = self.derived(&section, &features, &key_names);
        let forget_after = section
            .get("forget_after")
            .and_then(|(_, node)| Some((node.mark(), self.positive(&section, "forget_after")?)));
        let horizon_records = self.count(&section, "horizon_records", 1..=MAX_HORIZON_RECORDS).flatten();
        let online_key = self.online_key(&section);
        let history = self.one_of(&section, "history", &["on", "off"]) != Some("off");
        let empty_ttl = self.positive(&section, "empty_ttl").unwrap_or(DEFAULT_EMPTY_TTL);
        let default = if index == 0 { DEFAULT_ONLINE_KEY.to_string() } else { default_online_key(&name.text) };
        let plan = EntityPlan {
            name: name.text.clone(),
            key,
            online_key: online_key.map_or(default, |scalar| scalar.text.clone()),
            empty_ttl,
            history,
            features,
            derived: derived.derived,
            derived_exprs: Arc::new(derived.exprs),
            forget_after: forget_after.map(|(_, after)| after),
            horizon_records: horizon_records.unwrap_or(DEFAULT_HORIZON_RECORDS) as usize,
        };
        let forget_at = forget_after.map(|(at, _)| at);
        Some(EntityRead {
            plan,
            name: name.mark,
            key: key_at,
            forget_at,
            online_key: online_key.map(|scalar| scalar.mark),
        })
    }

    /// The key's fields; those with problems are left out.
    fn entity_key(&mut self, section: &Section<'_>, fields: &[Field]) -> (Mark, Vec<usize>) {
        let Some((at, node)) = section.get("key") else { return (section.at, vec![]) };
        let place = &section.place;
        let parts: Vec<&Scalar> = match node {
            Node::Scalar(scalar) => vec![scalar],
            Node::Sequence(list) if !list.items.is_empty() => {
                let parts = list.items.iter().map(|item| self.scalar(item, place, "key", "the name of a field"));
                parts.collect::<Vec<_>>().into_iter().flatten().collect()
            }
            _ => {
                let found = format!("key is {}, a field or a list of fields is expected", node.describe());
                self.problem(at.mark, place, found, "write `key: user_id` or `key: [user_id, item_id]`");
                vec![]
            }
        };
        let mut key = vec![];
        for part in parts {
            let Some(index) = self.field(part, place, "key", fields) else { continue };
            if key.contains(&index) {
                let found = format!("key field `{}` appears twice", part.text);
                self.problem(part.mark, place, found, "name every field of the key once");
                continue;
            }
            self.key_field(part, place, &fields[index]);
            key.push(index);
        }
        (node.mark(), key)
    }

    fn key_field(&mut self, part: &Scalar, place: &str, field: &Field) {
        if !matches!(field.ty, FieldType::String | FieldType::Int64) {
            let found = format!("key field `{}` is {}", field.name, field.ty);
            self.problem(part.mark, place, found, "a key is string or int64: declare the field so, or choose another");
        }
        if field.null_on_error {
            let found = format!("key field `{}` is declared `on_error: null`", field.name);
            self.problem(part.mark, place, found, "remove `on_error`: a key that cannot be read makes no entity");
        }
    }

    fn online_key<'a>(&mut self, section: &Section<'a>) -> Option<&'a Scalar> {
        let scalar = self.text(section, "online_key", "a text with one {id}")?;
        if scalar.text.matches("{id}").count() != 1 {
            let found = format!("online_key `{}` does not have one {{id}}", scalar.text);
            self.problem(scalar.mark, &section.place, found, "write it like `features:{id}`");
        }
        Some(scalar)
    }

    /// The partition field: named by the source, or the first of every key. Notes the keys that do not begin with it.
    pub fn partition_field(&mut self, source: &SourceRead<'_>, entities: &[EntityRead]) -> Option<usize> {
        let fields = &source.plan.fields;
        let firsts = || entities.iter().filter_map(|entity| Some((entity, *entity.plan.key.first()?)));
        let (field, reason) = match source.partitioned_by {
            Some(scalar) => {
                let field = self.field(scalar, "source", "partitioned_by", fields)?;
                (field, "the source is `partitioned_by` it".to_string())
            }
            None => {
                let (entity, field) = firsts().next()?;
                (field, format!("the key of entity `{}` begins with it", entity.plan.name))
            }
        };
        let name = &fields[field].name;
        for (entity, first) in firsts().filter(|(_, first)| *first != field) {
            let rest = entity.plan.key.iter().filter(|&&part| part != field).map(|&part| fields[part].name.as_str());
            let key: Vec<&str> = std::iter::once(name.as_str()).chain(rest).collect();
            let found = format!(
                "key begins with `{}`, not with the partition field `{name}` ({reason}), so its records would lie in several partitions",
                fields[first].name
            );
            let remedy = format!(
                "write `key: [{}]`, or give it a topology of its own over a topic keyed by `{}`",
                key.join(", "),
                fields[first].name
            );
            self.problem(entity.key, &format!("entity `{}`", entity.plan.name), found, remedy);
        }
        Some(field)
    }

    /// Notes the entities that would be emptied before their late records have come.
    pub fn forgetting(&mut self, entities: &[EntityRead], grace: Millis) {
        for entity in entities {
            let (Some(after), Some(at)) = (entity.plan.forget_after, entity.forget_at) else { continue };
            if after <= grace {
                let found =
                    format!("forget_after {} is not longer than the source's grace {}", Span(after), Span(grace));
                let remedy = "write a longer one: what the grace lets in would come to an emptied entity";
                self.problem(at, &format!("entity `{}`", entity.plan.name), found, remedy);
            }
        }
    }

    /// Notes the entities of which an online key can be another's.
    pub fn online_keys(&mut self, entities: &[EntityRead]) {
        for (index, entity) in entities.iter().enumerate() {
            let EntityPlan { name, online_key, .. } = &entity.plan;
            let clash = |other: &EntityRead| shared(&other.plan.online_key, online_key);
            let Some((other, both)) = entities[..index].iter().find_map(|other| Some((&other.plan, clash(other)?)))
            else {
                continue;
            };
            let found = match other.online_key == *online_key {
                true => format!("online key `{online_key}` is also entity `{}`'s", other.name),
                false => format!(
                    "online key `{online_key}` can be one of entity `{}`, `{}`: `{both}` is of both",
                    other.name, other.online_key
                ),
            };
            let own = default_online_key(name);
            let remedy = match shared(&other.online_key, &own) {
                None => format!("write `online_key: \"{own}\"` here"),
                Some(_) => {
                    format!("write `online_key: \"{}\"` in entity `{}`", default_online_key(&other.name), other.name)
                }
            };
            let at = entity.online_key.unwrap_or(entity.name);
            self.problem(at, &format!("entity `{name}`"), found, remedy);
        }
    }
}

/// A key that both templates can become, when there is one: ids can hold anything, so it is there as soon as one's
/// beginning goes on like the other's, and one's end too.
fn shared(a: &str, b: &str) -> Option<String> {
    let ((a_before, a_after), (b_before, b_after)) = (a.split_once("{id}")?, b.split_once("{id}")?);
    let (before, after) = (longer(a_before, b_before), longer(a_after, b_after));
    let is_of = |start: &str, end: &str| before.starts_with(start) && after.ends_with(end);
    (is_of(a_before, a_after) && is_of(b_before, b_after)).then(|| format!("{before}x{after}"))
}

fn longer<'a>(a: &'a str, b: &'a str) -> &'a str {
    if a.len() >= b.len() { a } else { b }
}
