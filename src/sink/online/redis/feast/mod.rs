//! Feast's own form in Redis, for its unchanged clients: keys, fields and values as Feast 0.67 reads and writes them.
//!
//! A feature view is an entity of the topology, its join keys are the entity's key fields, a project holds them all. Always
//! holds: a key is `serialize_entity_key` of version 3 and then the project; a field is the 4 bytes of a hash over
//! `view:feature`; `_ts:{view}` is what the values are as of; null has no field, which Feast reads as null. Beside them
//! lies a guard that Feast never reads (`feast.lua`).
//!
//! Left out: reading. Whoever wants the text of a value keeps the plain hash too.

#[cfg(test)]
mod tests;
mod value;

use std::collections::HashMap;

use prost::Message;

use self::value::Timestamp;
use super::super::column::Column;
use crate::error::{Error, Result};
use crate::time::Millis;
use crate::topology::{EntityPlan, FieldType, SourcePlan};

/// `feast.types.ValueType`.
const STRING: u32 = 2;
const INT64: u32 = 4;

/// The view of one entity.
#[derive(Debug)]
pub(super) struct FeastView<'a> {
    entity: &'a EntityPlan,
    project: &'a str,
    /// How many join keys, and their names: what every key begins with.
    names: Vec<u8>,
    /// In Feast's order: where each stands in the entity's key, and its type.
    parts: Vec<(usize, FieldType)>,
    fields: Vec<[u8; 4]>,
}

impl<'a> FeastView<'a> {
    pub(super) fn new(project: &'a str, source: &SourcePlan, entity: &'a EntityPlan) -> Self {
        let mut keys: Vec<(&str, usize, FieldType)> = Vec::with_capacity(entity.key.len());
        for (at, field) in entity.key.iter().map(|field| &source.fields[*field]).enumerate() {
            keys.push((&field.name, at, field.ty));
        }
        keys.sort_unstable_by_key(|(name, ..)| *name);
        let mut names = (keys.len() as u32).to_le_bytes().to_vec();
        keys.iter().for_each(|(name, ..)| part(STRING, name.as_bytes(), &mut names));
        let parts = keys.iter().map(|(_, at, ty)| (*at, *ty)).collect();
        let fields = entity.columns().map(|(name, _)| field(&entity.name, name)).collect();
        Self { entity, project, names, parts, fields }
    }

    /// The view's name.
    pub(super) fn name(&self) -> &'a str {
        &self.entity.name
    }

    /// The field of each column, in their order.
    pub(super) fn fields(&self) -> &[[u8; 4]] {
        &self.fields
    }

    /// Appends the key of the hash of the entity with this id.
    ///
    /// # Errors
    /// Internal: the id is not of the entity's key, which no row has.
    pub(super) fn write_key(&self, id: &str, out: &mut Vec<u8>) -> Result<()> {
        out.extend_from_slice(&self.names);
        self.write_parts(id, out).ok_or_else(|| {
            Error::internal(format!("{id:?} is no key of entity `{}`: it has {} parts", self.name(), self.parts.len()))
        })?;
        out.extend_from_slice(self.project.as_bytes());
        Ok(())
    }

    fn write_parts(&self, id: &str, out: &mut Vec<u8>) -> Option<()> {
        match self.parts.as_slice() {
            [(_, FieldType::Int64)] => part(INT64, &id.parse::<i64>().ok()?.to_le_bytes(), out),
            [_] => part(STRING, id.as_bytes(), out),
            parts => {
                let values: Vec<serde_json::Value> = serde_json::from_str(id).ok()?;
                for (at, ty) in parts {
                    match ty {
                        FieldType::Int64 => part(INT64, &values.get(*at)?.as_i64()?.to_le_bytes(), out),
                        _ => part(STRING, values.get(*at)?.as_str()?.as_bytes(), out),
                    }
                }
            }
        }
        Some(())
    }

    /// Appends a value that is not null.
    pub(super) fn write(&self, column: &Column<'_>, row: usize, out: &mut Vec<u8>) {
        // A message always has a form, and memory takes all that is written.
        value::of(column, row).encode(out).expect("a message is written to memory");
    }
}

/// The name of a feature's field.
fn field(view: &str, feature: &str) -> [u8; 4] {
    let name = format!("{view}:{feature}");
    let hash = murmur3::murmur3_32(&mut name.as_bytes(), 0).expect("a text in memory can be read");
    hash.to_le_bytes()
}

/// What values are as of.
pub(super) fn timestamp(time: Millis) -> Vec<u8> {
    Timestamp::of(time).encode_to_vec()
}

fn part(ty: u32, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(&ty.to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Names are only hashes there: two features of one hash in one field would take each other's place.
///
/// # Errors
/// Configuration: there are two such features.
pub(super) fn refuse_collisions(entities: &[EntityPlan]) -> Result<()> {
    let mut taken: HashMap<[u8; 4], String> = HashMap::new();
    for entity in entities {
        for (name, _) in entity.columns() {
            let full = format!("{}:{name}", entity.name);
            if let Some(other) = taken.insert(field(&entity.name, name), full.clone()) {
                return Err(Error::configuration(format!(
                    "online.redis.formats has feast, where `{other}` and `{full}` have the same field (names are hashed \
                     to 4 bytes): rename one of them"
                )));
            }
        }
    }
    Ok(())
}
