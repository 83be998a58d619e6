//! The oracle's own description of a topology, and its own reader of the YAML.
//!
//! The reader takes what is valid and panics on the rest with the place: it judges no topology, the engine does.

use serde_json::{Map, Value as Json};

use super::sql::{Expr, Type};

/// What the oracle must know of a topology. Lengths of time are in ms.
#[derive(Debug, Clone)]
pub struct Topology {
    pub name: String,
    pub topic: String,
    pub fields: Vec<Field>,
    /// Index of the event-time field.
    pub event_time: usize,
    pub lateness: i64,
    pub grace: i64,
    /// `None` is `max_future: off`.
    pub max_future: Option<i64>,
    pub filter: Option<Expr>,
    pub max_record_bytes: usize,
    pub max_key_bytes: usize,
    pub entities: Vec<Entity>,
}

#[derive(Debug, Clone)]
pub struct Field {
    pub name: String,
    pub from: FieldFrom,
    pub ty: FieldType,
    pub null_on_error: bool,
}

#[derive(Debug, Clone)]
pub enum FieldFrom {
    /// A path of names into the value.
    Path(Vec<String>),
    /// The Kafka key.
    Key,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldType {
    Str,
    Int,
    Double,
    Bool,
    /// A whole number; in ms it is `floor(n * times / by)`.
    Ts {
        times: i64,
        by: i64,
    },
    /// RFC 3339.
    TsText,
}

#[derive(Debug, Clone)]
pub struct Entity {
    pub name: String,
    /// Indices of the key fields.
    pub key: Vec<usize>,
    /// With one `{id}`.
    pub online_key: String,
    /// False for `history: off`.
    pub history: bool,
    pub features: Vec<Feature>,
}

#[derive(Debug, Clone)]
pub struct Feature {
    pub name: String,
    pub aggregate: Aggregate,
    /// `None` for `count: "*"`.
    pub input: Option<Expr>,
    pub filter: Option<Expr>,
    pub window: Window,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregate {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    Last,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    Sliding { size: i64, slide: i64 },
    Session { gap: i64 },
    Lifetime,
}

impl Feature {
    /// The type of the input; `Int` for `count: "*"`.
    pub fn input_type(&self) -> Type {
        self.input.as_ref().map_or(Type::Int, |input| input.ty)
    }

    pub fn value_type(&self) -> Type {
        match self.aggregate {
            Aggregate::Count => Type::Int,
            Aggregate::Avg => Type::Double,
            _ => self.input_type(),
        }
    }

    /// Exact types decide by their value whether a row is due, the others by what entered or left.
    pub fn is_exact(&self) -> bool {
        match self.aggregate {
            Aggregate::Avg => false,
            Aggregate::Sum => self.input_type() == Type::Int,
            _ => true,
        }
    }
}

impl Topology {
    /// Reads a valid topology; panics on one that it does not understand.
    pub fn from_yaml(yaml: &str) -> Self {
        // YAML 1.2: `n` and `off` are text.
        let options = serde_saphyr::options! { strict_booleans: true };
        let root: Json =
            serde_saphyr::from_str_with_options(yaml, options).unwrap_or_else(|error| panic!("{error}\n{yaml}"));
        let source = object(&root["source"], "source");
        let fields: Vec<Field> =
            object(&source["schema"], "schema").iter().map(|(name, field)| read_field(name, field)).collect();
        let index = |name: &str| {
            fields.iter().position(|field| field.name == name).unwrap_or_else(|| panic!("no field `{name}`"))
        };
        let entities = object(&root["entities"], "entities");
        let time = |name: &str, default: i64| source.get(name).map_or(default, read_span);
        let bytes = |name: &str, default: usize| source.get(name).map_or(default, |size| read_bytes(&text(size)));
        Self {
            name: text(&root["topology"]),
            topic: text(&source["topic"]),
            event_time: index(&text(&source["event_time"])),
            lateness: time("lateness", 0),
            grace: time("grace", 0),
            max_future: match source.get("max_future") {
                None => Some(60_000),
                Some(Json::Bool(false)) => None,
                Some(Json::String(text)) if text == "off" => None,
                Some(value) => Some(read_span(value)),
            },
            filter: source.get("where").map(|sql| parse(sql, &fields)),
            max_record_bytes: bytes("max_record_bytes", 1 << 20),
            max_key_bytes: bytes("max_key_bytes", 1024),
            entities: entities
                .iter()
                .enumerate()
                .map(|(index_of_entity, (name, entity))| Entity {
                    name: name.clone(),
                    key: match &entity["key"] {
                        Json::Array(names) => names.iter().map(|name| index(&text(name))).collect(),
                        name => vec![index(&text(name))],
                    },
                    online_key: match (entity.get("online_key"), index_of_entity) {
                        (Some(template), _) => text(template),
                        (None, 0) => "features:{id}".into(),
                        (None, _) => format!("features.{name}:{{id}}"),
                    },
                    history: !matches!(entity.get("history"), Some(Json::Bool(false)))
                        && entity.get("history").and_then(Json::as_str) != Some("off"),
                    features: object(&entity["features"], "features")
                        .iter()
                        .map(|(name, feature)| read_feature(name, object(feature, name), &fields))
                        .collect(),
                })
                .collect(),
            fields,
        }
    }
}

fn read_field(name: &str, field: &Json) -> Field {
    let ty = text(if field.is_object() { &field["type"] } else { field });
    let ty = match ty.as_str() {
        "string" => FieldType::Str,
        "int64" => FieldType::Int,
        "double" => FieldType::Double,
        "bool" => FieldType::Bool,
        "timestamp_s" => FieldType::Ts { times: 1000, by: 1 },
        "timestamp_ms" => FieldType::Ts { times: 1, by: 1 },
        "timestamp_us" => FieldType::Ts { times: 1, by: 1000 },
        "timestamp_ns" => FieldType::Ts { times: 1, by: 1_000_000 },
        "timestamp" | "timestamp_text" | "rfc3339" => FieldType::TsText,
        other => panic!("field `{name}`: no type `{other}`"),
    };
    let from = match (field.get("path"), field.get("from")) {
        (Some(Json::Array(names)), _) => FieldFrom::Path(names.iter().map(text).collect()),
        (Some(path), _) => FieldFrom::Path(text(path).split('.').map(String::from).collect()),
        (None, Some(Json::String(from))) if from == "key" => FieldFrom::Key,
        _ => FieldFrom::Path(vec![name.into()]),
    };
    Field { name: name.into(), from, ty, null_on_error: field.get("on_error").is_some() }
}

fn read_feature(name: &str, feature: &Map<String, Json>, fields: &[Field]) -> Feature {
    let aggregates = [
        ("count", Aggregate::Count),
        ("sum", Aggregate::Sum),
        ("avg", Aggregate::Avg),
        ("min", Aggregate::Min),
        ("max", Aggregate::Max),
        ("last", Aggregate::Last),
    ];
    let (input, aggregate) = aggregates
        .iter()
        .find_map(|(word, aggregate)| feature.get(*word).map(|input| (input, *aggregate)))
        .unwrap_or_else(|| panic!("feature `{name}` has no aggregate"));
    let window = match &feature["window"] {
        Json::String(word) if word == "lifetime" => Window::Lifetime,
        Json::Object(map) if map.contains_key("session") => Window::Session { gap: read_span(&map["session"]) },
        size => {
            let size = read_span(size.get("sliding").unwrap_or(size));
            Window::Sliding { size, slide: feature.get("slide").map_or_else(|| default_slide(size), read_span) }
        }
    };
    Feature {
        name: name.into(),
        aggregate,
        input: if input.as_str() == Some("*") { None } else { Some(parse(input, fields)) },
        filter: feature.get("where").map(|sql| parse(sql, fields)),
        window,
    }
}

/// The largest of 1 s, 1 m, 5 m, 1 h, 1 d that is no more than a twelfth of the window.
fn default_slide(size: i64) -> i64 {
    let slides = [86_400_000, 3_600_000, 300_000, 60_000, 1_000];
    *slides.iter().find(|slide| **slide <= size / 12).expect("a window under 12 s names its slide")
}

fn parse(sql: &Json, fields: &[Field]) -> Expr {
    Expr::parse(&text(sql), fields).unwrap_or_else(|error| panic!("{error}"))
}

fn object<'a>(value: &'a Json, place: &str) -> &'a Map<String, Json> {
    value.as_object().unwrap_or_else(|| panic!("`{place}` is not a mapping: {value}"))
}

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// `1MiB`, `64KiB`, `512` or `512B`.
fn read_bytes(text: &str) -> usize {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let factor = match &text[digits..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        other => panic!("`{text}`: no unit `{other}`"),
    };
    text[..digits].parse::<usize>().unwrap_or_else(|_| panic!("`{text}` is not a size")) * factor
}

fn read_span(value: &Json) -> i64 {
    span(&text(value))
}

/// `1h30m` in ms; a bare 0 is 0.
pub fn span(text: &str) -> i64 {
    let mut total = 0;
    let mut number = String::new();
    let mut unit = String::new();
    for c in text.chars().chain(['0']) {
        if c.is_ascii_digit() {
            if !unit.is_empty() {
                let factor = match unit.as_str() {
                    "ms" => 1,
                    "s" => 1_000,
                    "m" => 60_000,
                    "h" => 3_600_000,
                    "d" => 86_400_000,
                    "w" => 604_800_000,
                    other => panic!("`{text}`: no unit `{other}`"),
                };
                total += number.parse::<i64>().unwrap_or_else(|_| panic!("`{text}` is not a duration")) * factor;
                number.clear();
                unit.clear();
            }
            number.push(c);
        } else {
            unit.push(c);
        }
    }
    total
}
