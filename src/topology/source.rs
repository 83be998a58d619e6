//! The source section: topic, schema and the bounds of the record classes.
//!
//! Always holds for the plan that comes out: the event time is a declared timestamp that is never nulled on error, and
//! no two fields read the same place of a record. The partition field is decided with the entities (`entity.rs`).

use std::collections::HashSet;

use super::keys::{self, TYPES, did_you_mean, is_field_name, listed};
use super::plan::{Field, FieldSource, SourcePlan};
use super::types::{FieldType, ValueType};
use super::walk::{Section, Walk};
use super::yaml::{Mark, Node, Scalar};
use crate::time::Millis;

/// Defaults, which are also in docs/topology.md.
pub(super) const DEFAULT_MAX_FUTURE: Millis = 60_000;
pub(super) const DEFAULT_MAX_RECORD_BYTES: usize = 1 << 20;
pub(super) const DEFAULT_MAX_KEY_BYTES: usize = 1 << 10;
/// The largest values that may be chosen: a batch's text columns and a state key must hold them.
const LARGEST_MAX_RECORD_BYTES: usize = 256 << 20;
const LARGEST_MAX_KEY_BYTES: usize = 64 << 10;

/// The source, and where it names its partition field.
pub(super) struct SourceRead<'a> {
    pub plan: SourcePlan,
    pub partitioned_by: Option<&'a Scalar>,
}

impl Walk {
    /// Reads the source; its `partition_field` is still to be decided.
    pub fn source<'a>(&mut self, key: &Scalar, node: &'a Node) -> Option<SourceRead<'a>> {
        let section = self.section(node, key.mark, "source", keys::SOURCE, keys::SOURCE_LATER)?;
        let fields = self.schema(&section);
        let topic = self.topic(&section);
        self.format(&section);
        let event_time = self.event_time(&section, &fields);
        let lateness = self.duration(&section, "lateness").unwrap_or(0);
        let grace = self.duration(&section, "grace").unwrap_or(0);
        let max_future = self.max_future(&section);
        let filter = self.condition(&section, "where");
        let max_record_bytes = self.bytes(&section, "max_record_bytes", LARGEST_MAX_RECORD_BYTES);
        let max_key_bytes = self.bytes(&section, "max_key_bytes", LARGEST_MAX_KEY_BYTES);
        let partitioned_by = self.text(&section, "partitioned_by", "the name of a field");
        let plan = SourcePlan {
            topic,
            event_time: event_time.unwrap_or(0),
            fields,
            lateness,
            grace,
            max_future,
            filter,
            partition_field: 0,
            trusts_partitioning: section.get("partitioned_by").is_some(),
            max_record_bytes: max_record_bytes.unwrap_or(DEFAULT_MAX_RECORD_BYTES),
            max_key_bytes: max_key_bytes.unwrap_or(DEFAULT_MAX_KEY_BYTES),
        };
        Some(SourceRead { plan, partitioned_by })
    }

    fn topic(&mut self, section: &Section<'_>) -> String {
        let Some(scalar) = self.text(section, "topic", "the name of a topic") else { return String::new() };
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let name = &scalar.text;
        if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
            let found = format!("topic `{name}` is not a name that Kafka allows");
            self.problem(scalar.mark, "source", found, "write 1 to 249 of a-z, A-Z, 0-9, `.`, `_` and `-`");
        }
        scalar.text.clone()
    }

    fn format(&mut self, section: &Section<'_>) {
        match section.get("format") {
            Some((_, Node::Scalar(format))) if keys::FORMAT_LATER.contains(&format.text.as_str()) => {
                self.not_yet(format.mark, "source", &format.text, "write `json` for now");
            }
            Some(_) => _ = self.one_of(section, "format", &["json"]),
            None => {}
        }
    }

    fn max_future(&mut self, section: &Section<'_>) -> Option<Millis> {
        match section.get("max_future") {
            None => Some(DEFAULT_MAX_FUTURE),
            Some((_, Node::Scalar(off))) if off.text == "off" => None,
            Some(_) => self.duration(section, "max_future"),
        }
    }

    fn event_time(&mut self, section: &Section<'_>, fields: &[Field]) -> Option<usize> {
        let scalar = self.text(section, "event_time", "the name of a field")?;
        let index = self.field(scalar, "source", "event_time", fields)?;
        let field = &fields[index];
        if field.ty.value_type() != ValueType::Timestamp {
            let found = format!("event_time `{}` is {}, a timestamp is needed", field.name, field.ty);
            let remedy = "declare it as timestamp_ms (or _s, _us, _ns), or as timestamp for RFC 3339 text";
            self.problem(scalar.mark, "source", found, remedy);
        } else if field.null_on_error {
            let found = format!("event_time `{}` is declared `on_error: null`", field.name);
            self.problem(scalar.mark, "source", found, "remove `on_error`: a record needs its event time");
        }
        Some(index)
    }

    /// The index of a declared field that is named here.
    pub fn field(&mut self, scalar: &Scalar, place: &str, what: &str, fields: &[Field]) -> Option<usize> {
        let found = fields.iter().position(|field| field.name == scalar.text);
        if found.is_none() && self.has_schema() && !self.is_broken(&scalar.text) {
            let names = fields.iter().map(|field| field.name.as_str());
            let remedy = match did_you_mean(&scalar.text, names.clone()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => format!("declare it in the schema, or name one of {}", listed(names)),
            };
            self.problem(scalar.mark, place, format!("{what} `{}` is not a declared field", scalar.text), remedy);
        }
        found
    }

    /// Reads the declared fields and makes them known to SQL.
    fn schema(&mut self, section: &Section<'_>) -> Vec<Field> {
        let Some((key, node)) = section.get("schema") else { return vec![] };
        let entries = match node {
            Node::Mapping(mapping) if !mapping.entries.is_empty() => &mapping.entries,
            _ => {
                let found = format!("schema is {}, a mapping of fields is expected", describe_empty(node));
                self.problem(key.mark, "source", found, "write the fields that features need, like `price: double`");
                return vec![];
            }
        };
        let mut fields: Vec<Field> = vec![];
        let mut broken = HashSet::new();
        for (name, value) in entries {
            let field = self.declared(name, value).filter(|field| self.reads_alone(name.mark, field, &fields));
            match field {
                Some(field) => fields.push(field),
                None => _ = broken.insert(name.text.clone()),
            }
        }
        self.declare(&fields, broken);
        fields
    }

    fn declared(&mut self, name: &Scalar, value: &Node) -> Option<Field> {
        let place = format!("field `{}`", name.text);
        if !is_field_name(&name.text) {
            let remedy = "use letters, digits and `_`, and say with `path: [...]` what it is called in the record";
            self.problem(name.mark, &place, "this is not a name that SQL reads without quotes", remedy);
            return None;
        }
        let whole = || FieldSource::Value(vec![name.text.clone()]);
        if let Node::Mapping(_) = value {
            let section = self.section(value, name.mark, &place, keys::FIELD, &[])?;
            let ty = section.get("type").and_then(|(_, node)| self.field_type(node, &place));
            let path = section.get("path").map(|(_, node)| self.path(node, &place));
            let from = section.get("from").map(|(_, node)| self.from(node, &place));
            let null_on_error = section.get("on_error").is_some();
            if let Some((key, node)) = section.get("on_error").filter(|(_, node)| !is_null_word(node)) {
                let found = format!("on_error is {}", node.describe());
                self.problem(key.mark, &place, found, "write `on_error: null` or remove it");
                return None;
            }
            if let (Some((key, _)), true) = (section.get("from"), path.is_some()) {
                self.problem(key.mark, &place, "has both `path` and `from`", "keep the one where the value is found");
                return None;
            }
            let (ty, from) = (ty?, path.or(from).unwrap_or_else(|| Some(whole()))?);
            if !matches!(from, FieldSource::Value(_)) && ty != FieldType::String {
                let found = format!("type {ty} cannot be read from a key or header, which is text");
                self.problem(name.mark, &place, found, "declare it as string and cast it in SQL");
                return None;
            }
            return Some(Field { name: name.text.clone(), from, ty, null_on_error });
        }
        let ty = self.field_type(value, &place)?;
        Some(Field { name: name.text.clone(), from: whole(), ty, null_on_error: false })
    }

    fn field_type(&mut self, node: &Node, place: &str) -> Option<FieldType> {
        let scalar = self.scalar(node, place, "type", "a type like string or int64")?;
        if let Ok(ty) = scalar.text.parse() {
            return Some(ty);
        }
        if scalar.text.starts_with("decimal") {
            let found = format!("type `{}` is no decimal(p,s) of 1 to 38 digits, 0 to p of them fraction", scalar.text);
            let remedy = match scalar.text.split_once('(') {
                // A comma ends a value inside braces.
                Some((_, rest)) if !rest.ends_with(')') => "quote it inside {...}, like \"decimal(12,2)\"",
                _ => "write p digits in all, s of them after the point, like decimal(12,2)",
            };
            self.problem(scalar.mark, place, found, remedy);
            return None;
        }
        let remedy = match other_name(&scalar.text).or_else(|| did_you_mean(&scalar.text, TYPES.iter().copied())) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("write one of {}", listed(TYPES.iter().copied().chain(["decimal(p,s)"]))),
        };
        self.problem(scalar.mark, place, format!("type `{}` is not known", scalar.text), remedy);
        None
    }

    fn path(&mut self, node: &Node, place: &str) -> Option<FieldSource> {
        let names: Vec<String> = match node {
            Node::Scalar(scalar) => scalar.text.split('.').map(str::to_string).collect(),
            Node::Sequence(sequence) => {
                let names = sequence.items.iter().map(|item| self.scalar(item, place, "path", "a name"));
                names.map(|name| name.map(|name| name.text.clone())).collect::<Option<_>>()?
            }
            Node::Mapping(_) => vec![],
        };
        if names.is_empty() || names.iter().any(String::is_empty) {
            let found = format!("path is {}, names joined by dots are expected", node.describe());
            self.problem(node.mark(), place, found, "write it like a.b.c, or as a list when a name holds a dot");
            return None;
        }
        Some(FieldSource::Value(names))
    }

    fn from(&mut self, node: &Node, place: &str) -> Option<FieldSource> {
        match node {
            Node::Scalar(scalar) if scalar.text == "key" => Some(FieldSource::Key),
            Node::Mapping(_) => {
                let section = self.section(node, node.mark(), &format!("{place}: from"), keys::FROM, &[])?;
                let name = self.text(&section, "header", "the name of a header")?;
                Some(FieldSource::Header(name.text.clone()))
            }
            _ => {
                let found = format!("from is {}", node.describe());
                self.problem(node.mark(), place, found, "write `from: key` or `from: {header: name}`");
                None
            }
        }
    }

    /// Whether a field reads a place that no earlier field reads, holds or lies in.
    fn reads_alone(&mut self, at: Mark, field: &Field, earlier: &[Field]) -> bool {
        let place = format!("field `{}`", field.name);
        for other in earlier {
            if let (FieldSource::Value(a), FieldSource::Value(b)) = (&field.from, &other.from)
                && a != b
                && (a.starts_with(b) || b.starts_with(a))
            {
                let (outer, inner) = if a.len() < b.len() { (a, b) } else { (b, a) };
                let found = format!(
                    "`{}` lies inside `{}`, which field `{}` and this one both read",
                    inner.join("."),
                    outer.join("."),
                    other.name
                );
                self.problem(at, &place, found, "declare only the inner fields: an object has no type here");
                return false;
            }
            if field.from == other.from {
                let found = format!("reads the same place as field `{}`", other.name);
                self.problem(at, &place, found, "declare it once and use SQL (cast) for its other form");
                return false;
            }
        }
        true
    }
}

fn is_null_word(node: &Node) -> bool {
    matches!(node, Node::Scalar(scalar) if scalar.is_null() || scalar.text == "null")
}

fn describe_empty(node: &Node) -> String {
    if matches!(node, Node::Mapping(_)) { "empty".to_string() } else { node.describe() }
}

/// What other languages call our types.
fn other_name(written: &str) -> Option<&'static str> {
    Some(match written.to_ascii_lowercase().as_str() {
        "str" | "text" | "varchar" | "utf8" => "string",
        "int" | "integer" | "long" | "bigint" | "int32" | "i64" => "int64",
        "float" | "float64" | "float32" | "number" | "real" | "f64" => "double",
        "boolean" => "bool",
        "datetime" | "date" | "time" | "rfc3339" | "iso8601" => "timestamp",
        _ => return None,
    })
}
