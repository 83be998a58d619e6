//! The oracle's own reader of a topology's YAML.
//!
//! It takes what is valid and panics on the rest with the place: it judges no topology, the engine does.

use serde_json::{Map, Value as Json};

use super::Value;
use super::sql::{Expr, Type};
use super::topology::{Aggregate, By, Derived, Entity, Feature, Field, FieldFrom, FieldType, Topology, Window};
use super::value::read_decimal;

/// Names and types of the columns that an expression may use.
type Columns = Vec<(String, Type)>;

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
        let columns: Columns = fields.iter().map(|field| (field.name.clone(), field.ty.column())).collect();
        let index = |name: &str| {
            fields.iter().position(|field| field.name == name).unwrap_or_else(|| panic!("no field `{name}`"))
        };
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
            filter: source.get("where").map(|sql| parse(sql, &columns)),
            max_record_bytes: bytes("max_record_bytes", 1 << 20),
            max_key_bytes: bytes("max_key_bytes", 1024),
            entities: object(&root["entities"], "entities")
                .iter()
                .enumerate()
                .map(|(place, (name, entity))| read_entity(place, name, entity, &columns))
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
        other => match read_decimal_type(other) {
            Some((precision, scale)) => FieldType::Decimal(precision, scale),
            None => panic!("field `{name}`: no type `{other}`"),
        },
    };
    let from = match (field.get("path"), field.get("from")) {
        (Some(Json::Array(names)), _) => FieldFrom::Path(names.iter().map(text).collect()),
        (Some(path), _) => FieldFrom::Path(text(path).split('.').map(String::from).collect()),
        (None, Some(Json::String(from))) if from == "key" => FieldFrom::Key,
        _ => FieldFrom::Path(vec![name.into()]),
    };
    Field { name: name.into(), from, ty, null_on_error: field.get("on_error").is_some() }
}

/// `decimal(p,s)`.
fn read_decimal_type(text: &str) -> Option<(u8, u8)> {
    let (precision, scale) = text.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

fn read_entity(place: usize, name: &str, entity: &Json, columns: &Columns) -> Entity {
    let index = |name: &Json| {
        let name = text(name);
        columns.iter().position(|column| column.0 == name).unwrap_or_else(|| panic!("no field `{name}`"))
    };
    let features: Vec<Feature> = object(&entity["features"], "features")
        .iter()
        .map(|(name, feature)| read_feature(name, object(feature, name), columns))
        .collect();
    Entity {
        name: name.into(),
        key: match &entity["key"] {
            Json::Array(names) => names.iter().map(index).collect(),
            name => vec![index(name)],
        },
        online_key: match (entity.get("online_key"), place) {
            (Some(template), _) => text(template),
            (None, 0) => "features:{id}".into(),
            (None, _) => format!("features.{name}:{{id}}"),
        },
        history: !matches!(entity.get("history"), Some(Json::Bool(false)))
            && entity.get("history").and_then(Json::as_str) != Some("off"),
        forget_after: entity.get("forget_after").map(read_span),
        derived: read_derived(entity.get("derived"), &features),
        features,
    }
}

/// The columns are the features, then everything derived, then `now()`. What may not be seen has no name.
fn read_derived(derived: Option<&Json>, features: &[Feature]) -> Vec<Derived> {
    let Some(derived) = derived else { return vec![] };
    let derived = object(derived, "derived");
    let mut columns: Columns = features.iter().map(|feature| (feature.name.clone(), feature.value_type())).collect();
    columns.extend(derived.iter().map(|_| (String::new(), Type::Null)));
    columns.push((String::new(), Type::Ts));
    let (mut seen_on_read, mut out) = (columns.clone(), vec![]);
    seen_on_read.last_mut().expect("now() is there").0 = "now()".into();
    for (index, (name, value)) in derived.iter().enumerate() {
        let on_read = value.get("on").is_some_and(|on| text(on) == "read");
        let sql = value.get("sql").unwrap_or(value);
        let expr = parse(sql, if on_read { &seen_on_read } else { &columns });
        let column = (name.clone(), expr.ty.clone());
        if !on_read {
            columns[features.len() + index] = column.clone();
        }
        seen_on_read[features.len() + index] = column;
        out.push(Derived { name: name.clone(), expr, on_read });
    }
    out
}

fn read_feature(name: &str, feature: &Map<String, Json>, columns: &Columns) -> Feature {
    let (input, aggregate) = read_aggregate(name, feature);
    let mut read = Feature {
        name: name.into(),
        aggregate,
        input: if input.as_str() == Some("*") { None } else { Some(parse(input, columns)) },
        filter: feature.get("where").map(|sql| parse(sql, columns)),
        window: read_window(feature, columns),
        by: feature.get("by").map(|sql| By { bucket: parse(sql, columns), most: whole(feature, "buckets", 1_000) }),
        half_life: feature.get("half_life").map(read_span),
        empty: None,
    };
    read.empty = feature.get("empty").map(|literal| read_empty(literal, &read.value_type()));
    read
}

fn read_aggregate<'a>(name: &str, feature: &'a Map<String, Json>) -> (&'a Json, Aggregate) {
    let k = || whole(feature, "k", 0);
    let limit = whole(feature, "limit", 10_000);
    let error = feature.get("relative_error").map_or(0.01, number);
    let qs = || match &feature["q"] {
        Json::Array(list) => list.iter().map(number).collect(),
        one => vec![number(one)],
    };
    let words: [(&str, &dyn Fn() -> Aggregate); 16] = [
        ("count", &|| Aggregate::Count),
        ("sum", &|| Aggregate::Sum),
        ("avg", &|| Aggregate::Avg),
        ("min", &|| Aggregate::Min),
        ("max", &|| Aggregate::Max),
        ("last", &|| Aggregate::Last),
        ("first", &|| Aggregate::First),
        ("variance", &|| Aggregate::Variance),
        ("stddev", &|| Aggregate::Stddev),
        ("distinct", &|| Aggregate::Distinct { limit }),
        ("approx_distinct", &|| Aggregate::ApproxDistinct { precision: whole(feature, "precision", 12) as u32 }),
        ("quantile", &|| Aggregate::Quantile { q: qs()[0], error }),
        ("quantiles", &|| Aggregate::Quantiles { q: qs(), error }),
        ("first_k", &|| Aggregate::FirstK(k())),
        ("last_k", &|| Aggregate::LastK(k())),
        ("top_k", &|| Aggregate::TopK { k: k(), limit }),
    ];
    words
        .iter()
        .find_map(|(word, aggregate)| feature.get(*word).map(|input| (input, aggregate())))
        .unwrap_or_else(|| panic!("feature `{name}` has no aggregate"))
}

fn read_window(feature: &Map<String, Json>, columns: &Columns) -> Window {
    let window = &feature["window"];
    let of = |key: &str| window.get(key);
    if window.as_str() == Some("lifetime") {
        Window::Lifetime
    } else if let Some(size) = of("tumbling") {
        Window::Tumbling {
            size: read_span(size),
            offset: of("offset").map_or(0, read_span),
            complete: of("complete") == Some(&Json::Bool(true)),
        }
    } else if let Some(gap) = of("session") {
        Window::Session { gap: read_span(gap) }
    } else if let Some(condition) = of("since") {
        Window::Since(parse(condition, columns))
    } else if let Some(n) = of("last") {
        Window::Last(n.as_u64().unwrap_or_else(|| panic!("{n} is no number of records")) as usize)
    } else {
        let size = read_span(of("sliding").unwrap_or(window));
        Window::Sliding { size, slide: feature.get("slide").map_or_else(|| default_slide(size), read_span) }
    }
}

/// A literal of the value's type.
fn read_empty(literal: &Json, ty: &Type) -> Value {
    let wrong = || -> ! { panic!("`empty: {literal}` is no {ty:?}") };
    match (literal, ty) {
        (Json::Null, _) => Value::Null,
        (Json::Number(n), Type::Int) => n.as_i64().map_or_else(|| wrong(), Value::Int),
        (Json::Number(n), Type::Double) => n.as_f64().map_or_else(|| wrong(), |n| Value::Double(n + 0.0)),
        (_, Type::Decimal(precision, scale)) => read_decimal(&text(literal), *precision, *scale, true)
            .map_or_else(|| wrong(), |value| Value::Decimal(value, *scale)),
        (Json::String(text), Type::Str) => Value::Str(text.as_str().into()),
        (Json::Number(n), Type::Ts) => n.as_i64().map_or_else(|| wrong(), Value::Ts),
        (Json::Bool(value), Type::Bool) => Value::Bool(*value),
        _ => wrong(),
    }
}

/// The largest of 1 s, 1 m, 5 m, 1 h, 1 d that is no more than a twelfth of the window.
fn default_slide(size: i64) -> i64 {
    let slides = [86_400_000, 3_600_000, 300_000, 60_000, 1_000];
    *slides.iter().find(|slide| **slide <= size / 12).expect("a window under 12 s names its slide")
}

fn parse(sql: &Json, columns: &Columns) -> Expr {
    Expr::parse(&text(sql), columns).unwrap_or_else(|error| panic!("{error}"))
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

fn number(value: &Json) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn whole(feature: &Map<String, Json>, key: &str, default: usize) -> usize {
    feature.get(key).map_or(default, |n| n.as_u64().unwrap_or_else(|| panic!("`{key}: {n}`")) as usize)
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
