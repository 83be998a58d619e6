//! How settings come together: embedded defaults < file < environment < flags, each leaf with its source.
//!
//! Always holds: a key that is not in the defaults is refused with the nearest name, a value of another type is refused
//! with the source that set it, and all problems are reported at once. The defaults name every key, so they are the
//! schema: text from the environment or a flag is read as the type that the default has.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{DEFAULTS, Settings, redact};
use crate::error::{Error, Result};

/// Every environment variable with this prefix is a setting.
const PREFIX: &str = "KAPPA_";

/// A setting from a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The dotted key: `kafka.brokers`.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// The flag, for messages: `--brokers`.
    pub from: String,
}

/// One leaf of one layer.
struct Leaf {
    path: Vec<String>,
    value: Value,
    from: String,
}

impl Settings {
    /// The effective settings: defaults, then `file`, then the environment (`KAPPA_`), then `overrides`; checked
    /// without any I/O but reading the file.
    ///
    /// # Errors
    /// A configuration error that lists every problem, one a line.
    pub fn load(file: Option<&Path>, overrides: &[Override]) -> Result<Self> {
        let text = match file {
            Some(path) => Some((path.display().to_string(), read(path)?)),
            None => None,
        };
        let file = text.as_ref().map(|(name, text)| (name.as_str(), text.as_str()));
        assemble(file, environment()?, overrides)
    }
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Error::configuration(format!("the settings file {}: {error}; name another with --config", path.display()))
    })
}

/// The variables that are settings. Kubernetes puts `KAPPA_SERVICE_HOST`, `KAPPA_PORT_9464_TCP` and the like into every
/// container beside a service named kappa: those are not ours. `KAPPA_CONFIG` names the file.
fn environment() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for (name, value) in std::env::vars_os() {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let rest = &name[PREFIX.len()..];
        if rest == "CONFIG" || rest == "PORT" || rest.starts_with("PORT_") || rest.starts_with("SERVICE_") {
            continue;
        }
        let value = value.into_string().map_err(|_| Error::configuration(format!("{name}: its value is not UTF-8")))?;
        found.push((name.to_string(), value));
    }
    found.sort();
    Ok(found)
}

fn assemble(
    file: Option<(&str, &str)>,
    environment: Vec<(String, String)>,
    overrides: &[Override],
) -> Result<Settings> {
    let defaults = parse(DEFAULTS).map_err(|error| Error::internal(format!("config/default.yaml: {error}")))?;
    let mut problems = Vec::new();
    let mut leaves = Vec::new();
    if let Some((name, text)) = file {
        match parse(text) {
            Ok(value) => flatten(&defaults, value, &mut Vec::new(), name, &mut leaves, &mut problems),
            Err(error) => problems.push(format!("{name}: {error}")),
        }
    }
    for (name, value) in environment {
        let path: Vec<String> = name[PREFIX.len()..].to_lowercase().split("__").map(str::to_string).collect();
        from_text(&defaults, option_names(path), value, &name, &mut leaves, &mut problems);
    }
    for Override { key, value, from } in overrides {
        let path = split(&defaults, key);
        from_text(&defaults, path, value.clone(), from, &mut leaves, &mut problems);
    }
    let settings = merge(&defaults, leaves, &mut problems);
    match settings {
        Some(settings) if problems.is_empty() => settings.checked(),
        _ => Err(Error::configuration(problems.join("\n"))),
    }
}

/// YAML 1.2: `yes` and `off` are text.
fn parse(text: &str) -> std::result::Result<Value, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Option<Value> = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    Ok(value.unwrap_or(Value::Null))
}

/// Client options carry dots, which a variable's name cannot: `KAPPA_KAFKA__OPTIONS__SASL_PASSWORD` is
/// `sasl.password`.
fn option_names(mut path: Vec<String>) -> Vec<String> {
    if path.len() == 3 && path[0] == "kafka" && path[1] == "options" {
        path[2] = path[2].replace('_', ".");
    }
    path
}

/// A dotted key, of which what follows an open map is one name: `kafka.options.sasl.mechanism`.
fn split(defaults: &Value, key: &str) -> Vec<String> {
    let mut path: Vec<String> = Vec::new();
    let mut rest = key;
    while !is_open_map(find(defaults, &path))
        && let Some((first, after)) = rest.split_once('.')
    {
        path.push(first.to_string());
        rest = after;
    }
    path.push(rest.to_string());
    path
}

fn find<'a>(root: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(root, |node, name| node.get(name))
}

/// A map whose keys are the user's own: empty in the defaults.
fn is_open_map(value: Option<&Value>) -> bool {
    value.and_then(Value::as_object).is_some_and(Map::is_empty)
}

/// The leaves of a file's tree, guided by the defaults' tree.
fn flatten(
    defaults: &Value,
    value: Value,
    path: &mut Vec<String>,
    from: &str,
    leaves: &mut Vec<Leaf>,
    problems: &mut Vec<String>,
) {
    let default = find(defaults, path);
    match (default, value) {
        // A section with all its keys commented out.
        (Some(Value::Object(_)), Value::Null) => {}
        (Some(Value::Object(known)), Value::Object(given)) => {
            for (name, value) in given {
                let open = known.is_empty();
                path.push(name);
                match open {
                    true => leaves.push(Leaf { path: path.clone(), value: option_text(value), from: from.into() }),
                    false => flatten(defaults, value, path, from, leaves, problems),
                }
                path.pop();
            }
        }
        (Some(Value::Object(_)), _) if path.is_empty() => {
            problems.push(format!("{from}: settings are a mapping of keys to values"));
        }
        (Some(Value::Object(_)), _) => {
            problems.push(format!("{from}: `{}` is a section: it holds keys, not a value", path.join(".")));
        }
        (None, _) => problems.push(unknown(defaults, path, from)),
        (Some(_), value) => leaves.push(Leaf { path: path.clone(), value, from: from.into() }),
    }
}

/// Options are text, however YAML reads their value.
fn option_text(value: Value) -> Value {
    match value {
        Value::Number(number) => Value::String(number.to_string()),
        Value::Bool(flag) => Value::String(flag.to_string()),
        other => other,
    }
}

/// A leaf from a variable or a flag, read as the type of its default.
fn from_text(
    defaults: &Value,
    path: Vec<String>,
    text: String,
    from: &str,
    leaves: &mut Vec<Leaf>,
    problems: &mut Vec<String>,
) {
    let parent = &path[..path.len() - 1];
    let open = is_open_map(find(defaults, parent));
    let value = match find(defaults, &path) {
        _ if open => Value::String(text),
        None => return problems.push(unknown(defaults, &path, from)),
        Some(Value::Object(_)) => match parse(&text) {
            Ok(value) => return flatten(defaults, value, &mut path.clone(), from, leaves, problems),
            Err(error) => return problems.push(format!("{from}: {error}")),
        },
        Some(Value::Null) if text.is_empty() => Value::Null,
        Some(Value::Bool(_)) => text.parse::<bool>().map_or(Value::String(text), Value::Bool),
        Some(Value::Number(_)) => text.parse::<i64>().map_or(Value::String(text), Value::from),
        Some(_) => Value::String(text),
    };
    leaves.push(Leaf { path, value, from: from.to_string() });
}

/// Lays the leaves over the defaults, later ones over earlier ones. Each is first tried alone over the defaults, so
/// that a value of another type is reported with its own source.
fn merge(defaults: &Value, leaves: Vec<Leaf>, problems: &mut Vec<String>) -> Option<Settings> {
    let mut merged = defaults.clone();
    for leaf in leaves {
        let mut alone = defaults.clone();
        set(&mut alone, &leaf.path, leaf.value.clone());
        if let Err(error) = Settings::deserialize(alone) {
            problems.push(wrong_type(defaults, &leaf, &error.to_string()));
            continue;
        }
        set(&mut merged, &leaf.path, leaf.value);
    }
    Settings::deserialize(merged).map_err(|error| problems.push(error.to_string())).ok()
}

fn set(root: &mut Value, path: &[String], value: Value) {
    let mut node = root;
    for name in path {
        let Value::Object(map) = node else { return };
        node = map.entry(name.clone()).or_insert(Value::Null);
    }
    *node = value;
}

fn wrong_type(defaults: &Value, leaf: &Leaf, error: &str) -> String {
    let (key, from) = (leaf.path.join("."), &leaf.from);
    if redact::is_secret(&key) {
        return format!("{from}: `{key}` must be text: put it in quotes");
    }
    let mut error = error.to_string();
    for number in ["usize", "u64", "u32", "i32"] {
        error = error.replace(&format!("expected {number}"), "expected a whole number");
    }
    let default = find(defaults, &leaf.path).filter(|value| !value.is_null());
    let default = default.map(|value| format!("; the default is {value}")).unwrap_or_default();
    format!("{from}: `{key}`: {error}{default}")
}

fn unknown(defaults: &Value, path: &[String], from: &str) -> String {
    let key = path.join(".");
    let mut known = Vec::new();
    keys(defaults, "", &mut known);
    let nearest = known
        .iter()
        .map(|name| (distance(&key, name).min(distance(&key, name.rsplit('.').next().unwrap_or(name)) + 1), name))
        .min();
    match nearest {
        Some((distance, name)) if distance <= 2.max(key.len() / 3) => {
            format!("{from}: `{key}` is no setting: did you mean `{name}`?")
        }
        _ => format!("{from}: `{key}` is no setting: `kappa config --defaults` lists them"),
    }
}

/// The dotted names of all leaves.
fn keys(value: &Value, prefix: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (name, value) in map {
                let dotted = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                keys(value, &dotted, found);
            }
        }
        _ => found.push(prefix.to_string()),
    }
}

/// Edits between two names (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Settings> {
        let environment = environment.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let flags: Vec<Override> = flags
            .iter()
            .map(|(key, value)| Override { key: key.to_string(), value: value.to_string(), from: "--set".into() })
            .collect();
        assemble(Some(("kappa.yaml", file)), environment, &flags)
    }

    fn error(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> String {
        with(file, environment, flags).unwrap_err().to_string()
    }

    #[test]
    fn the_defaults_are_valid() {
        let settings = with("", &[], &[]).unwrap();
        assert_eq!(settings.kafka.brokers, "localhost:9092");
        assert_eq!(settings.idle_after.map(|span| span.millis()), Some(1000));
    }

    #[test]
    fn the_defaults_name_every_key_and_no_other() {
        let defaults = parse(DEFAULTS).unwrap();
        let settings = serde_json::to_value(with("", &[], &[]).unwrap()).unwrap();
        let (mut documented, mut typed) = (Vec::new(), Vec::new());
        keys(&defaults, "", &mut documented);
        keys(&settings, "", &mut typed);
        documented.sort();
        typed.sort();
        assert_eq!(documented, typed);
    }

    #[test]
    fn every_key_of_the_defaults_has_a_comment_of_its_own() {
        let lines: Vec<&str> = DEFAULTS.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            if !line.trim().is_empty() && !line.trim_start().starts_with('#') {
                let above = index.checked_sub(1).map(|before| lines[before].trim_start()).unwrap_or_default();
                assert!(above.starts_with('#'), "config/default.yaml:{}: {line} has no comment above", index + 1);
            }
        }
    }

    #[test]
    fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
        let file = "kafka: {brokers: 'file:1'}\nworkers: 1\nlog: {level: debug}";
        let environment = [("KAPPA_KAFKA__BROKERS", "env:1"), ("KAPPA_WORKERS", "2")];
        let settings = with(file, &environment, &[("kafka.brokers", "flag:1")]).unwrap();
        assert_eq!(
            (settings.kafka.brokers.as_str(), settings.workers, settings.log.level.as_str()),
            ("flag:1", 2, "debug")
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest_name() {
        assert_eq!(
            error("kafka: {broker: a}\n", &[("KAPPA_ONLINE__REDIS__PASWORD", "x")], &[("brokers", "x")]),
            "kappa.yaml: `kafka.broker` is no setting: did you mean `kafka.brokers`?\n\
             KAPPA_ONLINE__REDIS__PASWORD: `online.redis.pasword` is no setting: did you mean `online.redis.password`?\n\
             --set: `brokers` is no setting: did you mean `kafka.brokers`?"
        );
    }

    #[test]
    fn a_value_of_another_type_names_its_source() {
        assert_eq!(
            error("workers: [1]", &[("KAPPA_EPOCH__MAX_ROWS", "many")], &[("epoch.interval", "20")]),
            "kappa.yaml: `workers`: invalid type: sequence, expected a whole number; the default is 0\n\
             KAPPA_EPOCH__MAX_ROWS: `epoch.max_rows`: invalid type: string \"many\", expected a whole number; the default is 65536\n\
             --set: `epoch.interval`: `20` is not a duration: write it like 500ms, 30m, 1h, 90d or 1h30m; the default is \"20ms\""
        );
        assert!(error("online: {store: memcached}", &[], &[]).contains("expected one of `redis`, `embedded`, `none`"));
    }

    #[test]
    fn a_secret_of_another_type_is_not_printed() {
        assert_eq!(
            error("online: {redis: {password: 12345}}", &[], &[]),
            "kappa.yaml: `online.redis.password` must be text: put it in quotes"
        );
    }

    #[test]
    fn text_that_looks_like_a_number_stays_text_where_text_belongs() {
        let settings = with("", &[("KAPPA_ONLINE__REDIS__PASSWORD", "0123")], &[]).unwrap();
        assert_eq!(settings.online.redis.password.as_deref(), Some("0123"));
    }

    #[test]
    fn off_is_a_value_of_idle_after() {
        assert_eq!(with("idle_after: off", &[], &[]).unwrap().idle_after, None);
        assert_eq!(with("", &[("KAPPA_IDLE_AFTER", "off")], &[]).unwrap().idle_after, None);
        assert!(error("idle_after: never", &[], &[]).contains("or off"));
    }

    #[test]
    fn client_options_come_from_every_layer() {
        let settings = with(
            "kafka: {options: {socket.timeout.ms: 1000, client.id: a}}",
            &[("KAPPA_KAFKA__OPTIONS__SASL_MECHANISM", "PLAIN"), ("KAPPA_OFFLINE__OPTIONS", "{aws_region: eu}")],
            &[("kafka.options.client.id", "b")],
        )
        .unwrap();
        let options: Vec<String> =
            settings.kafka.options.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(options, ["client.id=b", "sasl.mechanism=PLAIN", "socket.timeout.ms=1000"]);
        assert_eq!(settings.offline.options["aws_region"], "eu");
    }

    #[test]
    fn a_file_that_is_no_mapping_is_refused() {
        assert_eq!(error("- a", &[], &[]), "kappa.yaml: settings are a mapping of keys to values");
        assert_eq!(error("kafka: 5", &[], &[]), "kappa.yaml: `kafka` is a section: it holds keys, not a value");
        assert!(error("a: [", &[], &[]).starts_with("kappa.yaml: "));
    }
}
