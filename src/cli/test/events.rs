//! Events as cases write them: YAML (or JSON) into the bytes of Kafka records.
//!
//! An event is a record's JSON value as a mapping; or a text, which is the value as it stands, for what is malformed;
//! or nothing, a tombstone. What the record has beside its value (key, headers, Kafka time, partition, offset) needs
//! the long form, which has the value under `value`: a mapping is the long form when it has the key `value` and not
//! the event-time field.

use std::fmt::Write as _;

use super::file::Reading;
use super::times::{self, Clock};
use crate::time::Millis;
use crate::topology::yaml::{Mark, Node, Scalar};
use crate::topology::{FieldSource, FieldType, Plan, SourcePlan, TimeUnit};

/// The keys of the long form.
const KEYS: [&str; 6] = ["value", "key", "headers", "kafka_time", "partition", "offset"];

/// One event.
#[derive(Debug, Clone)]
pub struct Event {
    pub mark: Mark,
    pub partition: i32,
    pub offset: i64,
    /// Outer `None`: the event time. Inner `None`: the record has no Kafka time.
    pub kafka_time: Option<Option<Millis>>,
    /// Outer `None`: the partition field's text. Inner `None`: the record has no key.
    pub key: Option<Option<String>>,
    /// `None` is a tombstone.
    pub value: Option<String>,
    pub headers: Vec<(String, Option<String>)>,
}

/// Reads the events of one case, and numbers them.
#[derive(Debug)]
pub struct Events<'p> {
    source: &'p SourcePlan,
    /// The fields of timestamp types: where in the value, and how they count.
    times: Vec<(&'p [String], FieldType)>,
    pub clock: Clock,
    pub list: Vec<Event>,
}

impl<'p> Events<'p> {
    /// No events yet of a case that begins at `start`.
    pub fn new(plan: &'p Plan, start: Millis) -> Self {
        let times = plan.source.fields.iter().filter_map(|field| match (&field.from, field.ty) {
            (FieldSource::Value(path), FieldType::Timestamp(_) | FieldType::TimestampText) => {
                Some((path.as_slice(), field.ty))
            }
            _ => None,
        });
        let clock = Clock { start, relative: false };
        Self { source: &plan.source, times: times.collect(), clock, list: vec![] }
    }

    /// Adds an event.
    pub fn add(&mut self, node: &Node, reading: &mut Reading) {
        let mut event = Event {
            mark: node.mark(),
            partition: 0,
            offset: 0,
            kafka_time: None,
            key: None,
            value: None,
            headers: vec![],
        };
        let offset = match node {
            Node::Mapping(mapping) if self.is_long(node) => {
                let entries = reading.section(node, "the event", &KEYS);
                debug_assert!(entries.len() <= mapping.entries.len());
                self.long(&mut event, &entries, reading)
            }
            _ => {
                event.value = self.value(node, reading);
                None
            }
        };
        let last = self.list.iter().rev().find(|earlier| earlier.partition == event.partition);
        let next = last.map_or(0, |earlier| earlier.offset + 1);
        event.offset = offset.unwrap_or(next);
        if event.offset < next {
            let found = format!("offset {} does not come after offset {}", event.offset, next - 1);
            reading.problem(event.mark, found, "offsets ascend within a partition, and may leave gaps");
        }
        self.list.push(event);
    }

    /// Whether a mapping is the long form.
    fn is_long(&self, node: &Node) -> bool {
        let Node::Mapping(mapping) = node else { return false };
        let has = |name: &str| mapping.entries.iter().any(|(key, _)| key.text == name);
        let event_time = match &self.source.fields[self.source.event_time].from {
            FieldSource::Value(path) => path.first().map_or("", String::as_str),
            _ => "",
        };
        has("value") && !has(event_time)
    }

    /// Reads the long form; answers the offset, when it has one.
    fn long(&mut self, event: &mut Event, entries: &[(&Scalar, &Node)], reading: &mut Reading) -> Option<i64> {
        let mut offset = None;
        for (key, node) in entries {
            match key.text.as_str() {
                "value" => event.value = self.value(node, reading),
                "key" => event.key = reading.text_or_null(node, "key"),
                "headers" => event.headers = headers(node, reading),
                "kafka_time" if node.is_null() => event.kafka_time = Some(None),
                "kafka_time" => event.kafka_time = self.time(node, reading).map(Some),
                "partition" => event.partition = reading.number(node, "partition", 0).unwrap_or(0) as i32,
                _ => offset = reading.number(node, "offset", 0),
            }
        }
        offset
    }

    fn time(&mut self, node: &Node, reading: &mut Reading) -> Option<Millis> {
        let at = match node {
            Node::Scalar(scalar) => self.clock.read(&scalar.text),
            _ => None,
        };
        if at.is_none() {
            reading.not_a_time(node);
        }
        at
    }

    /// The bytes of a value; `None` is a tombstone.
    fn value(&mut self, node: &Node, reading: &mut Reading) -> Option<String> {
        match node {
            node if node.is_null() => None,
            Node::Scalar(raw) => Some(raw.text.clone()),
            node => {
                let mut out = String::new();
                self.json(node, &mut vec![], &mut out, reading);
                Some(out)
            }
        }
    }

    /// Appends a node as JSON; what stands at the path of a timestamp field in the form that the field declares.
    fn json<'n>(&mut self, node: &'n Node, path: &mut Vec<&'n str>, out: &mut String, reading: &mut Reading) {
        match node {
            Node::Scalar(scalar) => match self.declared_time(scalar, path, reading) {
                Some(text) => out.push_str(&text),
                None => json_scalar(scalar, out),
            },
            Node::Sequence(sequence) => {
                out.push('[');
                for (index, item) in sequence.items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    path.push("[]");
                    self.json(item, path, out, reading);
                    path.pop();
                }
                out.push(']');
            }
            Node::Mapping(mapping) => {
                out.push('{');
                for (index, (key, item)) in mapping.entries.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    json_text(&key.text, out);
                    out.push(':');
                    path.push(&key.text);
                    self.json(item, path, out, reading);
                    path.pop();
                }
                out.push('}');
            }
        }
    }

    /// A time of a declared timestamp field, as that field wants it; `None` where the text is to stand as it is.
    fn declared_time(&mut self, scalar: &Scalar, path: &[&str], reading: &mut Reading) -> Option<String> {
        let (_, ty) = self.times.iter().find(|(of, _)| of.iter().map(String::as_str).eq(path.iter().copied()))?;
        let ty = *ty;
        let offset = self.clock.read_offset(&scalar.text).filter(|_| scalar.text.parse::<i64>().is_err());
        self.clock.relative |= offset.is_some();
        let unit = match ty {
            FieldType::Timestamp(unit) => unit,
            _ => return offset.map(|at| serde_json::Value::from(times::show_instant(at)).to_string()),
        };
        let at = offset.or_else(|| times::read_instant(&scalar.text))?;
        let factor = match unit {
            TimeUnit::Seconds => return Some(at.div_euclid(1000).to_string()),
            TimeUnit::Millis => 1,
            TimeUnit::Micros => 1_000,
            TimeUnit::Nanos => 1_000_000,
        };
        let count = at.checked_mul(factor);
        if count.is_none() {
            reading.problem(
                scalar.mark,
                format!("`{}` is beyond this field's unit", scalar.text),
                "choose a nearer one",
            );
        }
        count.map(|count| count.to_string())
    }
}

fn headers(node: &Node, reading: &mut Reading) -> Vec<(String, Option<String>)> {
    let Node::Mapping(mapping) = node else {
        reading.problem(node.mark(), "headers are a mapping", "write them like {source: app}");
        return vec![];
    };
    let header = |(name, node): &(Scalar, Node)| Some((name.text.clone(), reading.text_or_null(node, "a header")?));
    mapping.entries.iter().filter_map(header).collect()
}

/// Quoted text is text; of plain words null, true, false and JSON's numbers are themselves, as in YAML.
fn json_scalar(scalar: &Scalar, out: &mut String) {
    let text = scalar.text.as_str();
    match text {
        _ if scalar.is_null() => out.push_str("null"),
        "true" | "false" if scalar.plain => out.push_str(text),
        _ if scalar.plain && is_number(text) => out.push_str(text),
        _ => json_text(text, out),
    }
}

fn json_text(text: &str, out: &mut String) {
    // Writing into a string cannot fail.
    let _ = write!(out, "{}", serde_json::Value::from(text));
}

/// JSON's grammar of numbers.
fn is_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.strip_prefix(['+', '-']).unwrap_or(exponent)),
        None => (text, "0"),
    };
    let mantissa = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    digits(whole) && digits(fraction) && digits(exponent) && (whole == "0" || !whole.starts_with('0'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::yaml;

    const TOPOLOGY: &str = "
topology: t
source: {topic: t, format: json, event_time: at, schema: {k: string, at: timestamp_s, seen: timestamp, value: double}}
entities: {e: {key: k, features: {n: {count: '*', window: lifetime}}}}";

    fn events(text: &str) -> (Vec<Event>, String) {
        let plan = crate::topology::parse("t.yaml", TOPOLOGY).unwrap();
        let mut events = Events::new(&plan, times::DEFAULT_START);
        let mut reading = Reading::default();
        let (node, _) = yaml::read(text).unwrap();
        let Node::Sequence(list) = node else { panic!("no list") };
        list.items.iter().for_each(|item| events.add(item, &mut reading));
        (events.list, reading.problems.iter().map(|problem| format!("{problem}\n")).collect())
    }

    fn value(text: &str) -> String {
        events(&format!("- {text}")).0.remove(0).value.unwrap_or_else(|| "a tombstone".to_string())
    }

    #[test]
    fn a_mapping_is_a_json_object_and_declared_times_are_as_declared() {
        assert_eq!(
            value("{k: u1, at: +10m, seen: +1s, n: [1.0, 2e5, 007, true, null, 'true'], o: {at: +10m}}"),
            r#"{"k":"u1","at":1767226200,"seen":"2026-01-01T00:00:01Z","n":[1.0,2e5,"007",true,null,"true"],"o":{"at":"+10m"}}"#
        );
        assert_eq!(value("{at: 2026-01-01T00:00:01Z, seen: soon}"), r#"{"at":1767225601,"seen":"soon"}"#);
        assert_eq!(value("{at: -5, value: 1}"), r#"{"at":-5,"value":1}"#);
    }

    #[test]
    fn text_is_the_value_as_it_stands_and_nothing_is_a_tombstone() {
        assert_eq!((value("'{\"k\": '").as_str(), value("null").as_str()), ("{\"k\": ", "a tombstone"));
        assert_eq!(value("{value: not json}"), "not json");
    }

    #[test]
    fn the_long_form_says_what_stands_beside_the_value() {
        let (found, problems) = events(
            "- {value: {k: u1}, key: null, headers: {a: b}, kafka_time: +1m, partition: 1, offset: 7}\n\
             - {value: {k: u1}, key: 5, kafka_time: null, partition: 1}\n- {k: u2, at: 0}",
        );
        assert_eq!(problems, "");
        assert_eq!((found[0].partition, found[0].offset, found[1].offset, found[2].offset), (1, 7, 8, 0));
        assert_eq!((&found[0].key, &found[1].key, &found[2].key), (&Some(None), &Some(Some("5".to_string())), &None));
        let minute = Some(Some(times::DEFAULT_START + 60_000));
        assert_eq!((found[0].kafka_time, found[1].kafka_time, found[2].kafka_time), (minute, Some(None), None));
        assert_eq!(found[0].headers, [("a".to_string(), Some("b".to_string()))]);
        let (_, problems) = events("- {value: {}, kafkatime: 1}\n- {value: {}, offset: 3}\n- {value: {}, offset: 3}");
        assert!(
            problems.contains("1:15: the event: unknown key `kafkatime`; did you mean `kafka_time`?"),
            "{problems}"
        );
        assert!(problems.contains("offset 3 does not come after offset 3"), "{problems}");
    }
}
