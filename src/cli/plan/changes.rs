//! What a topology changes against another: its source, its entities, and every feature, in words.
//!
//! What differs is known already ([`Difference`]); here it gets its words, and it is said what follows from it. Always
//! holds: a feature is unchanged exactly when its fingerprint is; what is derived is unchanged when its SQL is and
//! nothing that it reads has changed.

use serde::Serialize;

use super::words;
use crate::topology::{DerivedOn, Difference, EntityPlan, FeaturePlan, Plan, Status};

/// All that is different.
#[derive(Debug, Default, Serialize)]
pub struct Changes {
    /// What every feature depends on.
    pub source: Vec<String>,
    pub entities: Vec<EntityChange>,
    /// What makes another version and changes no feature's value.
    pub order: Vec<String>,
}

/// An entity.
#[derive(Debug, Serialize)]
pub struct EntityChange {
    pub entity: String,
    pub status: Status,
    /// What all its features depend on, and what is done with its rows.
    pub what: Vec<String>,
    /// What needs no new version.
    pub no_replay: Vec<String>,
    pub features: Vec<FeatureChange>,
}

/// A feature, or what is derived from features.
#[derive(Debug, Serialize)]
pub struct FeatureChange {
    pub feature: String,
    pub derived: bool,
    pub status: Status,
    /// What has changed, or what is new.
    pub what: Vec<String>,
}

/// What is different from `old`, a topology and its difference from `new`; all of `new` is new when there is none.
pub fn between(old: Option<(&Plan, &Difference)>, new: &Plan) -> Changes {
    let Some((old, difference)) = old else {
        let entities = new.entities.iter().map(|entity| one_sided(new, entity, Status::New)).collect();
        return Changes { entities, ..Changes::default() };
    };
    let mut entities: Vec<EntityChange> = new
        .entities
        .iter()
        .map(|entity| match old.entity(&entity.name) {
            Some((_, before)) => Pair { old, new, before, entity, difference }.compare(),
            None => one_sided(new, entity, Status::New),
        })
        .collect();
    let gone = old.entities.iter().filter(|entity| new.entity(&entity.name).is_none());
    entities.extend(gone.map(|entity| one_sided(old, entity, Status::Gone)));
    Changes { source: source(difference, old, new), entities, order: difference.order().to_vec() }
}

/// An entity that only one topology has.
fn one_sided(plan: &Plan, entity: &EntityPlan, status: Status) -> EntityChange {
    let features = entity.features.iter().map(|feature| FeatureChange {
        feature: feature.name.clone(),
        derived: false,
        status,
        what: vec![words::feature(plan, feature)],
    });
    let derived = (0..entity.derived.len()).map(|at| FeatureChange {
        feature: entity.derived[at].name.clone(),
        derived: true,
        status,
        what: vec![derived_words(entity, at)],
    });
    let what = vec![format!("key {}", words::key(plan, entity))];
    EntityChange {
        entity: entity.name.clone(),
        status,
        what,
        no_replay: vec![],
        features: features.chain(derived).collect(),
    }
}

fn derived_words(entity: &EntityPlan, at: usize) -> String {
    let derived = &entity.derived[at];
    let on = if derived.on == DerivedOn::Read { ", on read" } else { "" };
    format!("{}{on}", entity.derived_exprs.canonical(derived.expr))
}

/// Notes a difference between two texts.
fn differ(what: &mut Vec<String>, name: &str, old: &str, new: &str) {
    if old != new {
        what.push(format!("{name} {old} -> {new}"));
    }
}

/// A difference of something that may not be there.
fn said(name: &str, old: Option<String>, new: Option<String>) -> String {
    match (old, new) {
        (Some(old), Some(new)) => format!("{name} {old} -> {new}"),
        (None, Some(new)) => format!("{name} added: {new}"),
        (Some(old), None) => format!("{name} gone: {old}"),
        (None, None) => format!("{name} changed"),
    }
}

/// Notes a difference of something that may not be there.
fn differ_option(what: &mut Vec<String>, name: &str, old: Option<String>, new: Option<String>) {
    if old != new {
        what.push(said(name, old, new));
    }
}

/// What a plan says of one part of its source.
type Words = fn(&Plan) -> Option<String>;

fn source(difference: &Difference, old: &Plan, new: &Plan) -> Vec<String> {
    let parts: [(&str, Words); 8] = [
        ("topic", |plan| Some(plan.source.topic.clone())),
        ("event_time", |plan| Some(plan.source.fields[plan.source.event_time].name.clone())),
        ("lateness", |plan| Some(words::span(Some(plan.source.lateness), "0"))),
        ("grace", |plan| Some(words::span(Some(plan.source.grace), "0"))),
        ("max_future", |plan| Some(words::span(plan.source.max_future, "off"))),
        ("where", |plan| plan.source.filter.map(|id| plan.exprs.canonical(id).to_string())),
        ("max_record_bytes", |plan| Some(plan.source.max_record_bytes.to_string())),
        ("max_key_bytes", |plan| Some(plan.source.max_key_bytes.to_string())),
    ];
    let differs = |part: &str| difference.has(&format!("source.{part}"));
    let parts = parts.into_iter().filter(|(part, _)| differs(part));
    let mut what: Vec<String> = parts.map(|(part, words)| said(part, words(old), words(new))).collect();
    let (a, b) = (&old.source, &new.source);
    let field = |plan: &Plan, name: &str| plan.source.field(name).map(|at| words::field(&plan.source.fields[at]));
    let names = a.fields.iter().chain(b.fields.iter().filter(|field| a.field(&field.name).is_none()));
    let names = names.map(|field| field.name.as_str()).filter(|name| differs(&format!("schema.{name}")));
    what.extend(names.map(|name| said(&format!("field {name}"), field(old, name), field(new, name))));
    if difference.has_engine() {
        what.push("this Kappa's own semantics differ from those that the version was built with".to_string());
    }
    what
}

/// An entity that both topologies have.
struct Pair<'p> {
    old: &'p Plan,
    new: &'p Plan,
    before: &'p EntityPlan,
    entity: &'p EntityPlan,
    difference: &'p Difference,
}

impl Pair<'_> {
    fn compare(&self) -> EntityChange {
        let (before, entity) = (self.before, self.entity);
        let mut what = vec![];
        if self.has("key") {
            differ(&mut what, "key", &words::key(self.old, before), &words::key(self.new, entity));
        }
        if self.has("forget_after") {
            let forget = |of: &EntityPlan| words::span(of.forget_after, "never");
            differ(&mut what, "forget_after", &forget(before), &forget(entity));
        }
        if self.has("history") {
            let history = |of: &EntityPlan| if of.history { "on" } else { "off" };
            differ(&mut what, "history", history(before), history(entity));
        }
        let mut features = self.features();
        self.derived(&mut features);
        let differs = !what.is_empty() || features.iter().any(|feature| feature.status != Status::Unchanged);
        let status = if differs { Status::Changed } else { Status::Unchanged };
        EntityChange { entity: entity.name.clone(), status, what, no_replay: self.no_replay(), features }
    }

    /// What is no part of the meaning.
    fn no_replay(&self) -> Vec<String> {
        let (before, entity) = (self.before, self.entity);
        let mut what = vec![];
        differ(&mut what, "online_key", &before.online_key, &entity.online_key);
        let empty_ttl = |of: &EntityPlan| words::span(Some(of.empty_ttl), "");
        differ(&mut what, "empty_ttl", &empty_ttl(before), &empty_ttl(entity));
        let horizon = |of: &EntityPlan| of.horizon_records.to_string();
        differ(&mut what, "horizon_records", &horizon(before), &horizon(entity));
        what
    }

    /// Whether a part of this entity differs.
    fn has(&self, part: &str) -> bool {
        self.difference.has(&format!("{part} of {}", self.entity.name))
    }

    /// What makes all features of this entity others.
    fn because(&self) -> Option<&'static str> {
        let source = self.difference.has_source() || self.difference.has_engine();
        let entity = self.has("key") || self.has("forget_after");
        match (source, entity) {
            (true, true) => Some("the source and the entity"),
            (true, false) => Some("the source"),
            (false, true) => Some("the entity"),
            (false, false) => None,
        }
    }

    /// Those of the new topology in its order, then those that are gone.
    fn features(&self) -> Vec<FeatureChange> {
        let find = |of: &EntityPlan, name: &str| of.features.iter().position(|feature| feature.name == name);
        let one = |feature: &FeaturePlan| {
            let (status, what) = match find(self.before, &feature.name) {
                None => (Status::New, self.new_feature(feature)),
                Some(at) => self.kept_feature(&self.before.features[at], feature),
            };
            FeatureChange { feature: feature.name.clone(), derived: false, status, what }
        };
        let mut features: Vec<FeatureChange> = self.entity.features.iter().map(one).collect();
        let gone = self.before.features.iter().filter(|feature| find(self.entity, &feature.name).is_none());
        features.extend(gone.map(|feature| FeatureChange {
            feature: feature.name.clone(),
            derived: false,
            status: Status::Gone,
            what: vec![words::feature(self.old, feature)],
        }));
        features
    }

    fn fingerprint(&self, feature: &FeaturePlan) -> String {
        self.new.feature_fingerprint(self.entity, feature)
    }

    fn fingerprint_before(&self, feature: &FeaturePlan) -> String {
        self.old.feature_fingerprint(self.before, feature)
    }

    /// A new feature may be an old one under another name.
    fn new_feature(&self, feature: &FeaturePlan) -> Vec<String> {
        let mut what = vec![words::feature(self.new, feature)];
        let fingerprint = self.fingerprint(feature);
        let gone = |before: &&FeaturePlan| self.entity.features.iter().all(|kept| kept.name != before.name);
        let same =
            self.before.features.iter().filter(gone).find(|before| self.fingerprint_before(before) == fingerprint);
        what.extend(same.map(|before| format!("as {}, which is gone", before.name)));
        what
    }

    fn kept_feature(&self, before: &FeaturePlan, feature: &FeaturePlan) -> (Status, Vec<String>) {
        let because = self.because();
        if because.is_none() && !self.difference.has_feature(&self.entity.name, &feature.name) {
            return (Status::Unchanged, vec![]);
        }
        let mut what = self.changed_feature(before, feature);
        if what.is_empty() {
            what.extend(because.map(|because| format!("by way of {because}")));
        }
        (Status::Changed, what)
    }

    fn changed_feature(&self, before: &FeaturePlan, feature: &FeaturePlan) -> Vec<String> {
        let (old, new) = (self.old, self.new);
        let mut what = vec![];
        let aggregates = (words::aggregate(&before.aggregate), words::aggregate(&feature.aggregate));
        differ(&mut what, "aggregate", &aggregates.0, &aggregates.1);
        differ(&mut what, "of", words::input(old, before), words::input(new, feature));
        let filter = |plan: &Plan, of: &FeaturePlan| of.filter.map(|id| plan.exprs.canonical(id).to_string());
        differ_option(&mut what, "where", filter(old, before), filter(new, feature));
        let by = |plan: &Plan, of: &FeaturePlan| of.by.map(|by| words::bucket(plan, &by));
        differ_option(&mut what, "by", by(old, before), by(new, feature));
        differ(&mut what, "window", &words::window(old, &before.window), &words::window(new, &feature.window));
        let empty = |of: &FeaturePlan| words::literal(&of.empty, &of.output_type);
        differ(&mut what, "empty", &empty(before), &empty(feature));
        differ(&mut what, "type", &before.output_type.to_string(), &feature.output_type.to_string());
        what
    }

    /// What is derived, after the features that it reads.
    fn derived(&self, features: &mut Vec<FeatureChange>) {
        let find = |of: &EntityPlan, name: &str| of.derived.iter().position(|derived| derived.name == name);
        for (at, derived) in self.entity.derived.iter().enumerate() {
            let now = derived_words(self.entity, at);
            let (status, what) = match find(self.before, &derived.name) {
                None => (Status::New, vec![now]),
                Some(was_at) => {
                    let mut what = vec![];
                    if self.difference.has_feature(&self.entity.name, &derived.name) {
                        differ(&mut what, "sql", &derived_words(self.before, was_at), &now);
                    }
                    what.extend(self.changed_inputs(at, features).map(|name| format!("reads {name}, which changes")));
                    (if what.is_empty() { Status::Unchanged } else { Status::Changed }, what)
                }
            };
            features.push(FeatureChange { feature: derived.name.clone(), derived: true, status, what });
        }
        for (at, gone) in self.before.derived.iter().enumerate() {
            if find(self.entity, &gone.name).is_none() {
                let what = vec![derived_words(self.before, at)];
                features.push(FeatureChange { feature: gone.name.clone(), derived: true, status: Status::Gone, what });
            }
        }
    }

    /// The names that the derived feature at this index reads and that are known to have changed.
    fn changed_inputs<'a>(&'a self, at: usize, known: &'a [FeatureChange]) -> impl Iterator<Item = &'a str> {
        let changed = move |name: &&str| {
            known.iter().any(|feature| feature.feature == **name && feature.status == Status::Changed)
        };
        reads(self.entity, at).filter(changed)
    }
}

/// The names that the derived feature at this index reads, the clock left out.
pub fn reads(entity: &EntityPlan, at: usize) -> impl Iterator<Item = &str> {
    // Column 0 is the clock; then come the features, then what is derived before.
    let name = move |&column: &usize| {
        let index = column.checked_sub(1)?;
        match index.checked_sub(entity.features.len()) {
            None => Some(entity.features[index].name.as_str()),
            Some(derived) => Some(entity.derived[derived].name.as_str()),
        }
    };
    entity.derived_exprs.fields(entity.derived[at].expr).iter().filter_map(name)
}

#[cfg(test)]
mod tests;
