//! The JSON Schema of the topology file, for editors: draft 2020-12, built from the validator's own lists of keys.
//!
//! Always holds: it knows exactly the keys that the validator knows. It says what a value looks like, not what it
//! means: SQL, names of fields, the partition rule and the bound on tiles are the validator's.

use serde_json::{Map, Value as Json, json};

use super::keys::{self, AGGREGATES, Key, RESERVED, TYPES, Value, WINDOWS};

const DURATION: &str = "^([0-9]+(ms|s|m|h|d|w))+$";

/// The JSON Schema of a topology file.
pub fn json_schema() -> Json {
    let mut schema = object(keys::TOPOLOGY);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("Kappa topology");
    schema["description"] = json!("A source, its schema, entities, and a line for each feature.");
    schema
}

/// A mapping with exactly these keys.
fn object(keys: &[Key]) -> Json {
    let properties: Map<String, Json> = keys.iter().map(|key| (key.name.to_string(), property(key))).collect();
    let required: Vec<&str> = keys.iter().filter(|key| key.required).map(|key| key.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn property(key: &Key) -> Json {
    let mut schema = value(key.value);
    schema["description"] = json!(key.doc);
    schema
}

/// A mapping from free names to values of one kind.
fn named(pattern: &str, of: Json) -> Json {
    json!({
        "type": "object",
        "propertyNames": { "pattern": pattern },
        "additionalProperties": of,
        "minProperties": 1,
    })
}

fn value(kind: Value) -> Json {
    let duration = || json!({ "anyOf": [{ "type": "string", "pattern": DURATION }, { "enum": [0, "0"] }] });
    match kind {
        Value::Text | Value::Field => json!({ "type": "string", "minLength": 1 }),
        Value::PathName => json!({ "type": "string", "pattern": "^[a-z][a-z0-9_-]*$", "maxLength": 100 }),
        // YAML reads the bare word as JSON's null.
        Value::OneOf(&["null"]) => json!({ "enum": [null, "null"] }),
        Value::OneOf(words) => json!({ "enum": words }),
        Value::Duration => duration(),
        Value::DurationOrOff => json!({ "anyOf": [duration(), { "const": "off" }] }),
        Value::Bytes => json!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string", "pattern": "^[0-9]+ *(KiB|MiB)?$" },
        ] }),
        // `sum: 1` and `where: true` are SQL too, and YAML reads them as a number and a boolean.
        Value::Sql => json!({ "type": ["string", "number", "boolean"] }),
        Value::Path => json!({ "anyOf": [{ "type": "string", "minLength": 1 }, names()] }),
        Value::From => json!({ "anyOf": [{ "const": "key" }, object(keys::FROM)] }),
        Value::EntityKey => json!({ "anyOf": [{ "type": "string", "minLength": 1 }, names()] }),
        Value::Source => object(keys::SOURCE),
        Value::Schema => named("^[A-Za-z_][A-Za-z0-9_]*$", json!({ "anyOf": [field_type(), object(keys::FIELD)] })),
        Value::FieldType => field_type(),
        Value::Count => json!({ "type": "integer", "minimum": 1 }),
        Value::Share => share(),
        Value::Shares => json!({ "anyOf": [share(), { "type": "array", "items": share(), "minItems": 1 }] }),
        Value::Constant => json!({ "type": ["string", "number", "boolean", "null"] }),
        Value::Truth => json!({ "type": "boolean" }),
        Value::Derived => named("^[a-z][a-z0-9_]*$", json!({ "anyOf": [value(Value::Sql), object(keys::DERIVED)] })),
        Value::Entities => named("^[a-z][a-z0-9_-]*$", object(keys::ENTITY)),
        Value::Features => features(),
        Value::Window => window(duration()),
    }
}

fn share() -> Json {
    json!({ "type": "number", "minimum": 0, "maximum": 1 })
}

fn field_type() -> Json {
    json!({ "anyOf": [{ "enum": TYPES }, { "type": "string", "pattern": "^decimal\\( *[0-9]+ *, *[0-9]+ *\\)$" }] })
}

fn names() -> Json {
    json!({ "type": "array", "items": { "type": "string", "minLength": 1 }, "minItems": 1 })
}

fn features() -> Json {
    let mut feature = object(keys::FEATURE);
    feature["oneOf"] = AGGREGATES.iter().map(|name| json!({ "required": [name] })).collect();
    let mut features = named("^[a-z][a-z0-9_]*$", feature);
    features["propertyNames"]["not"] = json!({ "enum": RESERVED });
    features
}

fn window(duration: Json) -> Json {
    let mut kinds = object(keys::WINDOW);
    kinds["oneOf"] = WINDOWS.iter().map(|name| json!({ "required": [name] })).collect();
    json!({ "anyOf": [{ "const": "lifetime" }, duration, kinds] })
}

#[cfg(test)]
mod tests {
    use super::super::types::FieldType;
    use super::super::yaml::{self, Node};
    use super::*;

    /// What YAML's core schema makes of a tree: what an editor validates.
    fn json_of(node: &Node) -> Json {
        match node {
            Node::Scalar(scalar) if scalar.is_null() => Json::Null,
            Node::Scalar(scalar) if scalar.plain => match serde_json::from_str::<Json>(&scalar.text) {
                Ok(value @ (Json::Bool(_) | Json::Number(_))) => value,
                _ => json!(scalar.text),
            },
            Node::Scalar(scalar) => json!(scalar.text),
            Node::Sequence(sequence) => sequence.items.iter().map(json_of).collect(),
            Node::Mapping(mapping) => {
                Json::Object(mapping.entries.iter().map(|(key, value)| (key.text.clone(), json_of(value))).collect())
            }
        }
    }

    /// The keywords of JSON Schema that are used here, but for the patterns of names and durations.
    fn accepts(schema: &Json, value: &Json) -> bool {
        let all = |name: &str| schema[name].as_array().cloned().unwrap_or_default();
        let count = |name: &str| all(name).iter().filter(|one| accepts(one, value)).count();
        let types = match &schema["type"] {
            Json::String(name) => vec![name.as_str()],
            Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
            _ => vec![],
        };
        let is = |name: &&str| match *name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "integer" => value.is_i64(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("type {other}"),
        };
        (types.is_empty() || types.iter().any(is))
            && (schema["enum"].is_null() || all("enum").contains(value))
            && (schema.get("const").is_none_or(|one| one == value))
            && (schema["anyOf"].is_null() || count("anyOf") > 0)
            && (schema["oneOf"].is_null() || count("oneOf") == 1)
            && (schema["not"].is_null() || !accepts(&schema["not"], value))
            && value.as_str().is_none_or(|text| !is_decimal(schema) || text.parse::<FieldType>().is_ok())
            && value.as_str().is_none_or(|text| text.len() as u64 >= schema["minLength"].as_u64().unwrap_or(0))
            && value.as_i64().is_none_or(|number| number >= schema["minimum"].as_i64().unwrap_or(i64::MIN))
            && value.as_f64().is_none_or(|number| number <= schema["maximum"].as_f64().unwrap_or(f64::MAX))
            && value.as_array().is_none_or(|items| accepts_items(schema, items))
            && value.as_object().is_none_or(|object| accepts_object(schema, object))
    }

    /// Whether only a decimal's type has this pattern.
    fn is_decimal(schema: &Json) -> bool {
        schema["pattern"].as_str().is_some_and(|pattern| pattern.starts_with("^decimal"))
    }

    fn accepts_items(schema: &Json, items: &[Json]) -> bool {
        items.len() as u64 >= schema["minItems"].as_u64().unwrap_or(0)
            && items.iter().all(|item| schema["items"].is_null() || accepts(&schema["items"], item))
    }

    fn accepts_object(schema: &Json, object: &Map<String, Json>) -> bool {
        let size = object.len() as u64;
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        let entry =
            |(name, value): (&String, &Json)| match (&schema["properties"][name], &schema["additionalProperties"]) {
                (Json::Null, Json::Bool(allowed)) => *allowed,
                (Json::Null, Json::Null) => true,
                (Json::Null, of) | (of, _) => accepts(of, value),
            };
        size >= schema["minProperties"].as_u64().unwrap_or(0)
            && size <= schema["maxProperties"].as_u64().unwrap_or(u64::MAX)
            && required.iter().filter_map(Json::as_str).all(|name| object.contains_key(name))
            && object
                .keys()
                .all(|name| schema["propertyNames"].is_null() || accepts(&schema["propertyNames"], &json!(name)))
            && object.iter().all(entry)
    }

    fn accepts_text(text: &str) -> bool {
        accepts(&json_schema(), &json_of(&yaml::read(text).unwrap().0))
    }

    #[test]
    fn it_accepts_the_topologies_and_the_examples_of_the_documentation() {
        assert!(accepts_text(include_str!("../../topologies/shop.yaml")));
        assert!(accepts_text(include_str!("../../topologies/fraud.yaml")));
        assert!(accepts_text(include_str!("../../topologies/sensors.yaml")));
        let text = include_str!("../../docs/topology.md");
        for example in text.split("```yaml\n").skip(1) {
            let example = example.split("```").next().unwrap();
            assert!(accepts_text(example), "{example}");
        }
    }

    #[test]
    fn it_refuses_what_the_shape_alone_shows_to_be_wrong() {
        let base = include_str!("../../tests/golden/topology/base.yaml");
        assert!(accepts_text(base));
        for (from, to) in [
            ("topology: shop", "topolgy: shop"),
            ("topology: shop", "topology: shop\ncolour: blue"),
            ("topic: shop.events", "topics: shop.events"),
            ("format: json", "format: avro"),
            ("price: double", "price: float"),
            ("price: double", "price: {path: a}"),
            ("price: double", "price: {type: double, on_error: zero}"),
            ("price: double", "price: {type: string, from: value}"),
            ("lateness: 5s", "lateness: [5s]"),
            ("lateness: 5s", "max_key_bytes: 0"),
            ("key: user_id", "key: []"),
            ("key: user_id", "key: user_id\n    history: maybe"),
            ("spent: ", "offset: "),
            ("sum: price, ", ""),
            ("sum: price", "sum: price, avg: price"),
            ("window: lifetime", "where: \"true\""),
            ("session: 30m", "sesion: 30m"),
            ("session: 30m", "session: 30m, sliding: 1h"),
            ("session: 30m", "last: 0"),
            ("session: 30m", "tumbling: 1d, complete: maybe"),
            ("sum: price", "quantile: price, q: 1.5"),
            ("sum: price", "quantiles: price, q: []"),
            ("sum: price", "last_k: price, k: 0"),
            ("sum: price", "last_k: price, k: ten"),
            ("sum: price", "last: price, empty: [1]"),
            ("price: double", "price: decimal(10)"),
            ("key: user_id", "key: user_id\n    horizon_records: 0"),
            ("key: user_id", "key: user_id\n    derived: {}"),
            ("key: user_id", "key: user_id\n    derived: {x: {sql: spent, on: write}}"),
            ("key: user_id", "key: user_id\n    derived: {x: {on: row}}"),
            ("{sum: price, window: lifetime}", "sum of price"),
        ] {
            assert!(base.contains(from) && !accepts_text(&base.replacen(from, to, 1)), "{from} -> {to}");
        }
    }

    #[test]
    fn its_keys_are_the_validators() {
        let schema = json_schema();
        let entity = &schema["properties"]["entities"]["additionalProperties"];
        let feature = &entity["properties"]["features"]["additionalProperties"];
        let source = &schema["properties"]["source"];
        let field = &source["properties"]["schema"]["additionalProperties"]["anyOf"][1];
        for (schema, keys) in [
            (&schema, keys::TOPOLOGY),
            (source, keys::SOURCE),
            (field, keys::FIELD),
            (entity, keys::ENTITY),
            (feature, keys::FEATURE),
            (&feature["properties"]["window"]["anyOf"][2], keys::WINDOW),
            (&entity["properties"]["derived"]["additionalProperties"]["anyOf"][1], keys::DERIVED),
        ] {
            let shown: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
            assert_eq!(shown, keys.iter().map(|key| key.name).collect::<Vec<_>>());
            assert_eq!(schema["additionalProperties"], json!(false));
        }
        let aggregates: Vec<&str> = keys::FEATURE.iter().map(|key| key.name).take(AGGREGATES.len()).collect();
        assert_eq!(aggregates, AGGREGATES);
    }
}
