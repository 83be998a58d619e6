//! The pages by their schemas: an OpenAPI 3.1 document of this topology, for `/docs`, clients and generators.
//!
//! Always holds: it names exactly the entities and features of the plan, with their types, and the bounds as they are
//! set. It is written once, at the start.

use serde_json::{Map, Value, json};

use crate::config::HttpSettings;
use crate::topology::{EntityPlan, FieldType, OutputType, Plan, ValueType};

/// The document; `guarded` says whether tokens are needed.
pub(super) fn document(plan: &Plan, settings: &HttpSettings, guarded: bool) -> Value {
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": format!("Features of {}", plan.topology),
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Online features by Kappa. Problems are {{\"error\": \"...\"}}. Topology {}, fingerprint {}.",
                plan.topology, plan.fingerprint
            ),
        },
        "paths": paths(plan, settings),
        "components": {
            "schemas": {
                "Problem": {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
                "Status": {"enum": ["PRESENT", "NULL_VALUE", "NOT_FOUND", "OUTSIDE_MAX_AGE", "INVALID"]},
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    });
    if guarded {
        document["security"] = json!([{"token": []}]);
    }
    document
}

fn paths(plan: &Plan, settings: &HttpSettings) -> Value {
    let mut paths = Map::new();
    for entity in &plan.entities {
        paths.insert(format!("/v1/features/{}/{{id}}", entity.name), json!({"get": one_entity(plan, entity)}));
    }
    paths.insert("/get-online-features".to_string(), json!({"post": many_entities(plan, settings)}));
    let text = |summary: &str, answers: &[(&str, &str)]| {
        let answers = answers.iter().map(|(status, what)| (status.to_string(), json!({"description": what})));
        json!({"get": {"summary": summary, "responses": answers.collect::<Map<_, _>>()}})
    };
    let (ok, not) = (("200", "yes"), ("503", "no, and why"));
    paths.insert("/health".to_string(), text("Whether the process works", &[ok, not]));
    paths.insert("/ready".to_string(), text("Whether everything it needs answers", &[ok, not]));
    paths.insert("/v1/status".to_string(), text("Where everything stands", &[("200", "JSON")]));
    paths.insert("/metrics".to_string(), text("Prometheus's text", &[("200", "text")]));
    Value::Object(paths)
}

fn one_entity(plan: &Plan, entity: &EntityPlan) -> Value {
    let fields: Vec<&str> = entity.key.iter().map(|field| plan.source.fields[*field].name.as_str()).collect();
    let form = match fields.as_slice() {
        [field] => format!("The `{field}`."),
        fields => format!("A JSON list without blanks: [{}].", fields.join(",")),
    };
    let names: Vec<&str> = entity.shown().map(|(name, _)| name).collect();
    let features: Map<String, Value> = entity.shown().map(|(name, ty)| (name.to_string(), feature(ty))).collect();
    let answer = json!({
        "type": "object",
        "properties": {
            "entity": {"const": entity.name},
            "id": {"type": "string"},
            "position": {"type": "string", "description": "generation:partition:offset:sequence of the row"},
            "features": {"type": "object", "properties": features},
        },
    });
    json!({
        "summary": format!("Features of one {}", entity.name),
        "parameters": [
            {"name": "id", "in": "path", "required": true, "schema": {"type": "string"}, "description": form},
            {
                "name": "names", "in": "query", "style": "form", "explode": false,
                "schema": {"type": "array", "items": {"enum": names}},
                "description": "Which features, comma separated; all without it.",
            },
        ],
        "responses": responses(answer, &[("404", "Nothing is stored: every feature is empty.")]),
    })
}

/// One feature of an answer.
fn feature(ty: &OutputType) -> Value {
    json!({
        "type": "object",
        "properties": {
            "value": {"anyOf": [schema(ty), {"type": "null"}]},
            "status": {"$ref": "#/components/schemas/Status"},
            "event_time": {"type": "string", "format": "date-time"},
            "age_ms": {"type": "integer"},
            "version": {"type": "integer"},
        },
    })
}

fn many_entities(plan: &Plan, settings: &HttpSettings) -> Value {
    let features =
        plan.entities.iter().flat_map(|entity| entity.shown().map(move |(name, _)| format!("{}:{name}", entity.name)));
    let services = plan.entities.iter().map(|entity| entity.name.as_str()).chain([plan.topology.as_str()]);
    let keys = plan.entities.iter().flat_map(|entity| &entity.key).map(|field| {
        let field = &plan.source.fields[*field];
        let ty = if field.ty == FieldType::Int64 { "integer" } else { "string" };
        let limit = settings.max_entities;
        (field.name.clone(), json!({"type": "array", "items": {"type": ty}, "maxItems": limit}))
    });
    let question = json!({
        "type": "object",
        "properties": {
            "features": {"type": "array", "items": {"enum": features.collect::<Vec<_>>()}, "uniqueItems": true},
            "feature_service": {"enum": services.collect::<Vec<_>>()},
            "entities": {"type": "object", "properties": keys.collect::<Map<_, _>>()},
            "full_feature_names": {"type": "boolean", "default": false},
        },
        "required": ["entities"],
        "oneOf": [{"required": ["features"]}, {"required": ["feature_service"]}],
    });
    let column = json!({
        "type": "object",
        "properties": {
            "values": {"type": "array"},
            "statuses": {"type": "array", "items": {"$ref": "#/components/schemas/Status"}},
            "event_timestamps": {"type": "array", "items": {"type": "string", "format": "date-time"}},
        },
    });
    let names = json!({"type": "array", "items": {"type": "string"}});
    let answer = json!({
        "type": "object",
        "properties": {
            "metadata": {"type": "object", "properties": {"feature_names": names}},
            "results": {"type": "array", "items": column},
        },
    });
    let too_many = format!(
        "More than {} entities (http.max_entities), or a body of more than {} bytes (http.max_body_bytes).",
        settings.max_entities, settings.max_body_bytes
    );
    json!({
        "summary": "Features of many entities, as Feast asks for them",
        "requestBody": {"required": true, "content": {"application/json": {"schema": question}}},
        "responses": responses(answer, &[("408", "The body came too slowly."), ("413", too_many.as_str())]),
    })
}

/// The answers of a page that reads features: its own, and the problems.
fn responses(answer: Value, more: &[(&str, &str)]) -> Value {
    let mut responses = Map::new();
    responses.insert(
        "200".to_string(),
        json!({"description": "The features.", "content": {"application/json": {"schema": answer}}}),
    );
    let always = [
        ("400", "The request is wrong: the message says where."),
        ("401", "A token is needed."),
        ("503", "The online store does not answer, or is not open yet."),
        ("504", "The online store took longer than http.read_timeout: nothing is known, try again."),
    ];
    let mut problems: Vec<&(&str, &str)> = always.iter().chain(more).collect();
    problems.sort_unstable();
    for (status, what) in problems {
        let content = json!({"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}});
        responses.insert(status.to_string(), json!({"description": what, "content": content}));
    }
    Value::Object(responses)
}

/// What a value of this type is as JSON.
fn schema(ty: &OutputType) -> Value {
    match ty {
        OutputType::Scalar(ty) => scalar(*ty),
        OutputType::List(ty) => json!({"type": "array", "items": {"anyOf": [scalar(*ty), {"type": "null"}]}}),
        OutputType::Counted(ty) => {
            json!({"type": "array", "items": {"type": "array", "prefixItems": [scalar(*ty), {"type": "integer"}]}})
        }
        OutputType::Map(ty) => {
            json!({"type": "object", "additionalProperties": {"anyOf": [schema(ty), {"type": "null"}]}})
        }
    }
}

fn scalar(ty: ValueType) -> Value {
    match ty {
        ValueType::String => json!({"type": "string"}),
        ValueType::Int64 => json!({"type": "integer", "format": "int64"}),
        ValueType::Double => json!({"type": "number", "format": "double"}),
        ValueType::Bool => json!({"type": "boolean"}),
        ValueType::Timestamp => {
            json!({"type": "integer", "format": "int64", "description": "Milliseconds since 1970."})
        }
        ValueType::Decimal { .. } => {
            json!({"type": "number", "description": format!("{ty}: a plain number with all its digits.")})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;
    use crate::topology;

    #[test]
    fn every_feature_is_described_with_its_type() {
        let plan = topology::parse("shop.yaml", include_str!("../../topologies/shop.yaml")).unwrap();
        let settings = Settings::load(None, &[]).unwrap().http;
        let document = document(&plan, &settings, true);
        for entity in &plan.entities {
            let page = &document["paths"][format!("/v1/features/{}/{{id}}", entity.name)]["get"];
            let answer = &page["responses"]["200"]["content"]["application/json"]["schema"];
            let features = answer["properties"]["features"]["properties"].as_object().unwrap();
            let described: Vec<&String> = features.keys().collect();
            assert_eq!(described, entity.shown().map(|(name, _)| name).collect::<Vec<_>>());
        }
        let user = &document["paths"]["/v1/features/user/{id}"]["get"]["responses"]["200"]["content"];
        let features = &user["application/json"]["schema"]["properties"]["features"]["properties"];
        let value = |name: &str| &features[name]["properties"]["value"]["anyOf"][0]["type"];
        assert_eq!((value("views_1h"), value("lifetime_value")), (&json!("integer"), &json!("number")));
        assert_eq!((value("category_affinity_score"), value("last_10_items")), (&json!("object"), &json!("array")));
        let question = &document["paths"]["/get-online-features"]["post"]["requestBody"]["content"];
        let question = &question["application/json"]["schema"]["properties"];
        assert_eq!(question["entities"]["properties"]["user_id"]["maxItems"], settings.max_entities);
        let features = question["features"]["items"]["enum"].as_array().unwrap();
        assert!(features.contains(&json!("user:time_since_last_click")), "{features:?}");
        assert_eq!(document["security"], json!([{"token": []}]));
    }
}
