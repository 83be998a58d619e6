//! The room's tests: mistakes with their words (a golden file) and the examples of docs/topology.md. What a plan reads,
//! what changes a fingerprint, and decimals have files of their own.

mod decimals;
mod fingerprints;
mod plans;

use super::*;

const BASE: &str = include_str!("../../tests/golden/topology/base.yaml");
const MISTAKES: &str = include_str!("../../tests/golden/topology/mistakes.txt");
const SHOP: &str = include_str!("../../topologies/shop.yaml");
const FRAUD: &str = include_str!("../../topologies/fraud.yaml");
const SENSORS: &str = include_str!("../../topologies/sensors.yaml");

fn plan(yaml: &str) -> Plan {
    parse("t.yaml", yaml).unwrap_or_else(|problems| panic!("{problems}\nin\n{yaml}"))
}

/// The base with a part replaced.
fn changed(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "base.yaml does not hold {from:?}");
    BASE.replacen(from, to, 1)
}

fn first(yaml: &str) -> FeaturePlan {
    plan(yaml).entities[0].features[0].clone()
}

/// The problems of a case, without the file's name.
fn problems_of(yaml: &str) -> Vec<String> {
    match parse("t.yaml", yaml) {
        Ok(_) => vec!["(valid)".to_string()],
        Err(problems) => problems.list().iter().map(ToString::to_string).collect(),
    }
}

/// One case of the golden file: its lines but for the expected ones, and the file that it describes.
fn input_of(case: &str) -> String {
    let (mut yaml, mut old, mut new) = (BASE.to_string(), vec![], vec![]);
    let mut apply = |old: &mut Vec<&str>, new: &mut Vec<&str>| {
        if old.is_empty() && !new.is_empty() {
            yaml = new.join("\n");
        } else if !old.is_empty() {
            let old = old.join("\n");
            assert!(yaml.contains(&old), "base.yaml does not hold {old:?}");
            yaml = yaml.replacen(&old, &new.join("\n"), 1);
        }
        old.clear();
        new.clear();
    };
    for line in case.lines() {
        if let Some(line) = line.strip_prefix("- ") {
            if !new.is_empty() {
                apply(&mut old, &mut new);
            }
            old.push(line);
        } else if let Some(line) = line.strip_prefix('+') {
            new.push(line.strip_prefix(' ').unwrap_or(line));
        }
    }
    apply(&mut old, &mut new);
    yaml
}

#[test]
fn every_mistake_is_named_with_its_place_and_remedy() {
    let mut cases = MISTAKES.split("\n== ");
    let mut actual = cases.next().unwrap_or_default().to_string();
    let mut count = 0;
    for case in cases {
        count += 1;
        let kept: Vec<&str> = case.lines().filter(|line| !line.starts_with('>') && !line.is_empty()).collect();
        let said = problems_of(&input_of(case)).into_iter().map(|problem| format!("> {problem}\n"));
        actual += &format!("\n== {}\n{}", kept.join("\n"), said.collect::<String>());
    }
    if std::env::var_os("KAPPA_WRITE_GOLDEN").is_some() {
        std::fs::write("tests/golden/topology/mistakes.txt", &actual).unwrap();
    }
    assert!(count >= 130);
    for (expected, actual) in MISTAKES.lines().zip(actual.lines()) {
        assert_eq!(expected, actual);
    }
    assert_eq!(MISTAKES, actual);
}

#[test]
fn a_problem_prints_as_file_line_column_finding_and_remedy() {
    let problems = parse("topologies/x.yaml", &changed("window: 1h", "window: 1x")).unwrap_err();
    assert_eq!(
        problems.to_string(),
        "topologies/x.yaml:20:63: feature `views_1h`: window `1x` is not a duration; write it like 1h, 30m or 90d"
    );
    assert_eq!(crate::error::Error::from(problems).exit_code(), 2);
}

#[test]
fn a_problem_in_sql_points_into_the_text() {
    for (written, column) in [
        (r#""event = 'view' and nme = 1""#, "where: \"event = 'view' and ".len()),
        (r#"'event = ''view'' and nme = 1'"#, "where: 'event = ''view'' and ".len()),
        (r#""event = '\u0041\"' and nme = 1""#, "where: \"event = '\\u0041\\\"' and ".len()),
        ("event = 'é' and nme = 1", "where: event = 'e' and ".len()),
    ] {
        let yaml = changed(r#"where: "event = 'view'""#, &format!("where: {written}"));
        let problems = parse("t.yaml", &yaml).unwrap_err();
        let [problem] = problems.list() else { panic!("{problems}") };
        assert_eq!((problem.line, problem.column as usize), (20, 30 + column), "{problem}");
        assert!(problem.message.starts_with("feature `views_1h`: where: ") && !problem.remedy.is_empty(), "{problem}");
    }
    let folded = changed(r#"where: "event = 'view'""#, "where: \"event = 'view'\n        and nme = 1\"");
    let problems = parse("t.yaml", &folded).unwrap_err();
    assert_eq!((problems.list()[0].line, problems.list()[0].column), (20, 37), "{problems}");
}

#[test]
fn aliases_stand_for_what_they_name_and_cannot_grow_without_bound() {
    let yaml = changed("where: \"event = 'view'\"", "where: &view \"event = 'view'\"")
        .replace("{count: item_id, ", "{count: item_id, where: *view, ");
    let features = &plan(&yaml).entities[0].features;
    assert_eq!(features[0].filter, features[2].filter);
    let mut bomb = String::from("a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let row = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb += &format!("b{level}: &a{level} [{row}]\n");
    }
    assert!(parse("t.yaml", &bomb).unwrap_err().to_string().contains("more than 100000 values"));
}

#[test]
fn a_file_beyond_the_bound_is_refused() {
    let yaml = format!("{BASE}# {}", "x".repeat(MAX_FILE_BYTES));
    assert!(parse("t.yaml", &yaml).unwrap_err().to_string().contains("bound topology bytes"));
}

#[test]
fn no_text_makes_the_validator_panic() {
    for end in 0..BASE.len() {
        if BASE.is_char_boundary(end) {
            _ = parse("t.yaml", &BASE[..end]);
            _ = parse("t.yaml", &format!("{}{}", &BASE[..end], &BASE[(end + 1).min(BASE.len())..]));
        }
    }
}

#[test]
fn the_examples_of_the_documentation_are_valid() {
    let text = include_str!("../../docs/topology.md");
    let examples: Vec<&str> =
        text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default()).collect();
    assert!(examples.len() >= 5);
    for example in examples {
        plan(example);
    }
}

#[test]
fn the_documentation_names_every_key() {
    let text = include_str!("../../docs/topology.md");
    for keys in [
        keys::TOPOLOGY,
        keys::SOURCE,
        keys::FIELD,
        keys::FROM,
        keys::ENTITY,
        keys::FEATURE,
        keys::WINDOW,
        keys::DERIVED,
    ] {
        for key in keys {
            assert!(text.contains(&format!("`{}", key.name)), "{} is not in docs/topology.md", key.name);
        }
    }
    for key in keys::FEATURE.iter().chain(keys::WINDOW).chain(keys::DERIVED) {
        let example = format!("{}: ", key.name);
        let examples = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
        assert!(examples.into_iter().any(|yaml| yaml.contains(&example)), "no example has {}", key.name);
    }
    for ty in keys::TYPES {
        assert!(text.contains(&format!("`{ty}`")), "{ty} is not in docs/topology.md");
    }
}
