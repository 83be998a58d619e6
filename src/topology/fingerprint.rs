//! Fingerprints: digests of what a topology means, so that changed logic is told from a changed comment.
//!
//! A digest is the xxh3 (128 bits, in hex) of a canonical JSON text, in which order is kept where it means something
//! and names are sorted where it does not. Part of the meaning is whatever decides a value, a row, its place in the
//! order of rows, or a record's class. So:
//!
//! - in: the engine's semantics number, topic and format, every declared field (each can make a record malformed),
//!   event time, lateness, grace, max_future, the source's `where`, both bounds (they decide what is over limit), the
//!   entities with their keys in order, their features in order (the order of columns and of folding), what is derived
//!   from them, `forget_after`, and `history` (it decides whether the version's rows are kept: a history that begins in
//!   the middle would be no history);
//! - out: the bound that stops a task (`horizon_records`), the topology's name (it says which versions are compared, not
//!   what they hold), `online_key`, `empty_ttl` and `max_age` (where and how long a value is shown), `partitioned_by` (it says that
//!   the order of keys may be trusted; values are the same when it is true), formatting, comments, the order of schema
//!   fields and of keys in a mapping.
//!
//! SQL counts in its compiled, canonical form: blanks and the case of keywords do not matter.

use serde_json::{Value, json};
use xxhash_rust::xxh3::xxh3_128;

use super::plan::{Aggregate, DerivedOn, DerivedPlan, EntityPlan, FeaturePlan, Field, FieldSource, Plan, Window};
use super::types::Literal;
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
            "forget_after": entity.forget_after,
            "feature": self.feature_meaning(feature),
        }))
    }

    pub(super) fn source_meaning(&self) -> Value {
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
            "derived": self.derived_meaning(entity),
            "forget_after": entity.forget_after,
        })
    }

    pub(super) fn derived_meaning(&self, entity: &EntityPlan) -> Vec<Value> {
        let one = |derived: &DerivedPlan| {
            json!([derived.name, entity.derived_exprs.canonical(derived.expr), derived.on == DerivedOn::Row])
        };
        entity.derived.iter().map(one).collect()
    }

    pub(super) fn key_meaning(&self, entity: &EntityPlan) -> Value {
        entity.key.iter().map(|&field| self.source.fields[field].name.as_str()).collect()
    }

    pub(super) fn feature_meaning(&self, feature: &FeaturePlan) -> Value {
        let window = match feature.window {
            Window::Sliding { size, slide } => json!({ "sliding": size, "slide": slide }),
            Window::Session { gap } => json!({ "session": gap }),
            Window::Lifetime => json!("lifetime"),
            Window::Tumbling { size, offset, complete } => {
                json!({ "tumbling": size, "offset": offset, "complete": complete })
            }
            Window::Since { condition } => json!({ "since": self.sql(Some(condition)) }),
            Window::LastN { n } => json!({ "last": n }),
        };
        let by = feature.by.map(|by| json!([self.sql(Some(by.bucket)), by.buckets]));
        json!({
            "aggregate": aggregate_meaning(&feature.aggregate),
            "input": self.sql(feature.input),
            "where": self.sql(feature.filter),
            "window": window,
            "by": by,
            "empty": literal_meaning(&feature.empty),
        })
    }

    fn sql(&self, id: Option<ExprId>) -> Option<&str> {
        id.map(|id| self.exprs.canonical(id))
    }
}

fn aggregate_meaning(aggregate: &Aggregate) -> Value {
    let arguments = match aggregate {
        Aggregate::Distinct { limit } => json!(limit),
        Aggregate::ApproxDistinct { precision } => json!(precision),
        Aggregate::Quantile { q, error } => json!([q, error]),
        Aggregate::Quantiles { qs, error } => json!([qs, error]),
        Aggregate::FirstK { k } | Aggregate::LastK { k } => json!(k),
        Aggregate::TopK { k, limit } => json!([k, limit]),
        Aggregate::DecayedCount { half_life }
        | Aggregate::DecayedSum { half_life }
        | Aggregate::DecayedAvg { half_life } => json!({ "half_life": half_life }),
        _ => Value::Null,
    };
    json!([aggregate.name(), arguments])
}

fn literal_meaning(literal: &Literal) -> Value {
    match literal {
        Literal::Null => Value::Null,
        Literal::Int(n) | Literal::Time(n) => json!(n),
        Literal::Double(x) => json!(x),
        Literal::Bool(b) => json!(b),
        Literal::Str(s) => json!(s),
        Literal::Decimal(n) => json!(n.to_string()),
    }
}

fn field_meaning(field: &Field) -> Value {
    let from = match &field.from {
        FieldSource::Value(path) => json!(path),
        FieldSource::Key => json!("key"),
        FieldSource::Header(name) => json!({ "header": name }),
    };
    json!({ "name": field.name, "from": from, "type": field.ty.to_string(), "null_on_error": field.null_on_error })
}

/// The text is canonical because every mapping above is written in a fixed order, which serde_json keeps.
pub(super) fn digest(meaning: &Value) -> String {
    format!("{:032x}", xxh3_128(meaning.to_string().as_bytes()))
}
