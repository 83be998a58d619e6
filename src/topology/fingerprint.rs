//! Fingerprints: digests of what a topology means, so that changed logic is told from a changed comment.
//!
//! A digest is the xxh3 (128 bits, in hex) of a canonical JSON text, in which order is kept where it means something
//! and names are sorted where it does not. Part of the meaning is whatever decides a value, a row, its place in the
//! order of rows, or a record's class. So:
//!
//! - in: the engine's semantics number, topic and format, every declared field (each can make a record malformed),
//!   event time, lateness, grace, max_future, the source's `where`, both bounds (they decide what is over limit), the
//!   entities with their keys in order, their features in order (the order of columns and of folding), and `history`
//!   (it decides whether the version's rows are kept: a history that begins in the middle would be no history);
//! - out: the topology's name (it says which versions are compared, not what they hold), `online_key` and `empty_ttl`
//!   (where and how long a value is shown), `partitioned_by` (it says that the order of keys may be trusted; values
//!   are the same when it is true), formatting, comments, the order of schema fields and of keys in a mapping.
//!
//! SQL counts in its compiled, canonical form: blanks and the case of keywords do not matter.

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use super::plan::{EntityPlan, FeaturePlan, Field, FieldSource, Plan, Window};
use crate::expr::ExprId;

/// The engine's own semantics: raised whenever the same topology over the same log would give other values or rows.
pub const ENGINE_SEMANTICS: u32 = 1;

impl Plan {
    /// The digest of everything that the plan means.
    pub(super) fn meaning_digest(&self) -> String {
        let entities: Vec<Value> = self.entities.iter().map(|entity| self.entity_meaning(entity)).collect();
        digest(&json!({ "engine": ENGINE_SEMANTICS, "source": self.source_meaning(), "entities": entities }))
    }

    /// The digest of what one feature means: the same under another name, beside other features, and with another
    /// online key. Two plans whose features agree here give them the same values.
    pub fn feature_fingerprint(&self, entity: &EntityPlan, feature: &FeaturePlan) -> String {
        digest(&json!({
            "engine": ENGINE_SEMANTICS,
            "source": self.source_meaning(),
            "key": self.key_meaning(entity),
            "feature": self.feature_meaning(feature),
        }))
    }

    fn source_meaning(&self) -> Value {
        let source = &self.source;
        let mut fields: Vec<&Field> = source.fields.iter().collect();
        fields.sort_by(|a, b| a.name.cmp(&b.name));
        json!({
            "topic": source.topic,
            "format": "json",
            "fields": fields.into_iter().map(field_meaning).collect::<Vec<_>>(),
            "event_time": source.fields[source.event_time].name,
            "lateness": source.lateness,
            "grace": source.grace,
            "max_future": source.max_future,
            "where": self.sql(source.filter),
            "max_record_bytes": source.max_record_bytes,
            "max_key_bytes": source.max_key_bytes,
        })
    }

    fn entity_meaning(&self, entity: &EntityPlan) -> Value {
        let features = entity.features.iter().map(|feature| json!([feature.name, self.feature_meaning(feature)]));
        json!({
            "name": entity.name,
            "key": self.key_meaning(entity),
            "history": entity.history,
            "features": features.collect::<Vec<_>>(),
        })
    }

    fn key_meaning(&self, entity: &EntityPlan) -> Value {
        entity.key.iter().map(|&field| self.source.fields[field].name.as_str()).collect()
    }

    fn feature_meaning(&self, feature: &FeaturePlan) -> Value {
        let window = match feature.window {
            Window::Sliding { size, slide } => json!({ "sliding": size, "slide": slide }),
            Window::Session { gap } => json!({ "session": gap }),
            Window::Lifetime => json!("lifetime"),
        };
        json!({
            "aggregate": feature.aggregate.to_string(),
            "input": self.sql(feature.input),
            "where": self.sql(feature.filter),
            "window": window,
        })
    }

    fn sql(&self, id: Option<ExprId>) -> Option<&str> {
        id.map(|id| self.exprs.canonical(id))
    }
}

fn field_meaning(field: &Field) -> Value {
    let from = match &field.from {
        FieldSource::Value(path) => json!(path),
        FieldSource::Key => json!("key"),
        FieldSource::Header(name) => json!({ "header": name }),
    };
    json!({ "name": field.name, "from": from, "type": field.ty.name(), "null_on_error": field.null_on_error })
}

/// The text is canonical because every mapping above is written in a fixed order, which serde_json keeps.
fn digest(meaning: &Value) -> String {
    format!("{:032x}", xxh3_128(meaning.to_string().as_bytes()))
}
