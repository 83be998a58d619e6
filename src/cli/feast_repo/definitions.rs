//! `features.py`: the topology's entities as Feast's entities, feature views, sources and services.
//!
//! A feature view is an entity of the topology, of the same name. `ttl=0`, for a row holds until the next one; `event_time`
//! is what a row is as of, and `known_at` when it could be known: with `filter_by_created_timestamp` Feast's join is the
//! one that knows no more than was known then. A join key has the type of the key field: with another, reads would miss.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::store::quoted;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::topology::{DerivedOn, EntityPlan, FieldType, OutputType, Plan, ValueType};

/// The repository's definitions; the training data is the history of this version.
pub(super) fn of(plan: &Plan, settings: &Settings, version: u32) -> Result<String> {
    let mut text = head(plan, version);
    let mut keys = BTreeMap::new();
    for entity in &plan.entities {
        for field in entity.key.iter().map(|field| &plan.source.fields[*field]) {
            keys.entry(field.name.as_str()).or_insert(field.ty);
        }
    }
    for (name, ty) in &keys {
        let (variable, name, ty) = (variable("key", name), quoted(name)?, key_type(*ty).to_uppercase());
        push(&mut text, format!("{variable} = Entity(name={name}, join_keys=[{name}], value_type=ValueType.{ty})"));
    }
    for entity in &plan.entities {
        push(&mut text, String::new());
        view(plan, entity, settings, version, &mut text)?;
    }
    services(plan, &mut text)?;
    Ok(text)
}

fn head(plan: &Plan, version: u32) -> String {
    format!(
        "\"\"\"The features of {}, as kappa feast-repo writes them; training data is the history of version {version}.\"\"\"\n\n\
         from datetime import timedelta\n\n\
         from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType\n\
         from feast.data_format import DeltaFormat\n\
         from feast.types import Array, Bool, Decimal, Float64, Int64, Map, String, Struct\n\n\
         # Rows hold until the next one.\n\
         FOREVER = timedelta(0)\n\n",
        plan.topology
    )
}

fn view(plan: &Plan, entity: &EntityPlan, settings: &Settings, version: u32, text: &mut String) -> Result<()> {
    let name = quoted(&entity.name)?;
    let (source, view) = (variable("source", &entity.name), variable("view", &entity.name));
    let table = format!("{}/{}/v{version}", plan.topology, entity.name);
    let path = quoted(&format!("{}/{table}", absolute(settings.offline.url.trim_end_matches('/'))?))?;
    if !entity.history {
        push(text, "# It has no history: online only, there is nothing to train on.".into());
    }
    push(text, format!("{source} = FileSource("));
    push(text, format!("    name={name},\n    path={path},\n    file_format=DeltaFormat(),"));
    push(text, "    timestamp_field=\"event_time\",\n    created_timestamp_column=\"known_at\",\n)".into());
    let fields: Vec<_> = entity.key.iter().map(|field| &plan.source.fields[*field]).collect();
    let keys: Vec<String> = fields.iter().map(|field| variable("key", &field.name)).collect();
    push(text, format!("{view} = FeatureView(\n    name={name},\n    entities=[{}],", keys.join(", ")));
    push(text, format!("    ttl=FOREVER,\n    online=True,\n    source={source},\n    schema=["));
    for field in fields {
        let (name, ty) = (quoted(&field.name)?, key_type(field.ty));
        push(text, format!("        Field(name={name}, dtype={ty}),"));
    }
    for (name, ty) in entity.columns() {
        let is_time = holds_time(ty);
        let note =
            if is_time { ", description=\"online: milliseconds since 1970; in the history: a timestamp\"" } else { "" };
        push(text, format!("        Field(name={}, dtype={}{note}),", quoted(name)?, feast_type(ty)));
    }
    push(text, "    ],\n)".into());
    let read: Vec<&str> = derived_on_read(entity).collect();
    if !read.is_empty() {
        push(
            text,
            "# Computed as they are read, so only our server has them (feature_store.http.yaml), by these names:"
                .into(),
        );
        read.iter().for_each(|name| push(text, format!("#   {}:{name}", entity.name)));
    }
    Ok(())
}

/// One of each view, and one of all: what our server knows under the same names.
fn services(plan: &Plan, text: &mut String) -> Result<()> {
    push(text, "\n# All features of a view, and of all views.".into());
    let mut all = Vec::new();
    for entity in &plan.entities {
        let (view, service) = (variable("view", &entity.name), variable("service", &entity.name));
        push(text, format!("{service} = FeatureService(name={}, features=[{view}])", quoted(&entity.name)?));
        all.push(view);
    }
    if plan.entities.iter().all(|entity| entity.name != plan.topology) {
        let name = quoted(&plan.topology)?;
        push(text, format!("service_of_all = FeatureService(name={name}, features=[{}])", all.join(", ")));
    }
    Ok(())
}

fn derived_on_read(entity: &EntityPlan) -> impl Iterator<Item = &str> {
    entity.derived.iter().filter(|derived| derived.on == DerivedOn::Read).map(|derived| derived.name.as_str())
}

/// A variable for something of this name.
fn variable(kind: &str, name: &str) -> String {
    format!("{kind}_{}", name.replace('-', "__"))
}

fn push(text: &mut String, line: String) {
    // Text takes all that is written.
    let _ = writeln!(text, "{line}");
}

fn key_type(ty: FieldType) -> &'static str {
    match ty {
        FieldType::Int64 => "Int64",
        // The plan holds no key of another type.
        _ => "String",
    }
}

/// The type of a feature, as Feast's form in Redis has it.
fn feast_type(ty: &OutputType) -> String {
    match ty {
        OutputType::Scalar(ty) => scalar(*ty).into(),
        OutputType::List(ty) => format!("Array({})", scalar(*ty)),
        OutputType::Counted(ty) => format!("Array(Struct({{\"value\": {}, \"n\": Int64}}))", scalar(*ty)),
        OutputType::Map(_) => "Map".into(),
    }
}

fn scalar(ty: ValueType) -> &'static str {
    match ty {
        ValueType::String => "String",
        // Feast's own type for times counts whole seconds.
        ValueType::Int64 | ValueType::Timestamp => "Int64",
        ValueType::Double => "Float64",
        ValueType::Bool => "Bool",
        ValueType::Decimal { .. } => "Decimal",
    }
}

fn holds_time(ty: &OutputType) -> bool {
    match ty {
        OutputType::Scalar(ty) | OutputType::List(ty) | OutputType::Counted(ty) => *ty == ValueType::Timestamp,
        OutputType::Map(ty) => holds_time(ty),
    }
}

/// A path that is found from any folder; a URL is one already.
pub(super) fn absolute(path: &str) -> Result<String> {
    if path.contains("://") {
        return Ok(path.strip_prefix("file://").unwrap_or(path).to_string());
    }
    let found = std::path::absolute(path)
        .map_err(|error| Error::configuration(format!("`{path}` is no path: {error}; name the place in full")))?;
    Ok(found.to_string_lossy().into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_has_one_of_feasts() {
        let decimal = ValueType::Decimal { precision: 10, scale: 2 };
        for (ty, expected) in [
            (OutputType::Scalar(ValueType::Timestamp), "Int64"),
            (OutputType::Scalar(decimal), "Decimal"),
            (OutputType::List(ValueType::Double), "Array(Float64)"),
            (OutputType::Counted(ValueType::String), "Array(Struct({\"value\": String, \"n\": Int64}))"),
            (OutputType::Map(Box::new(OutputType::List(ValueType::Bool))), "Map"),
        ] {
            assert_eq!(feast_type(&ty), expected);
        }
    }

    #[test]
    fn the_shop_is_two_views_over_its_tables() {
        let plan = crate::topology::load(std::path::Path::new("topologies/shop.yaml")).unwrap();
        let offline =
            crate::config::Override { key: "offline.url".into(), value: "/lake/".into(), from: "--set".into() };
        let text = of(&plan, &Settings::load(None, &[offline]).unwrap(), 3).unwrap();
        for line in [
            "key_user_id = Entity(name=\"user_id\", join_keys=[\"user_id\"], value_type=ValueType.STRING)",
            "    path=\"/lake/shop/user_item/v3\",",
            "    entities=[key_user_id, key_item_id],",
            "        Field(name=\"category_weight_30d\", dtype=Map),",
            "        Field(name=\"last_10_items\", dtype=Array(String)),",
            "#   user:time_since_last_click",
            "service_user = FeatureService(name=\"user\", features=[view_user])",
            "service_of_all = FeatureService(name=\"shop\", features=[view_user, view_user_item])",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("name=\"time_since_last_click\""));
    }
}
