//! The room's tests: mistakes with their words (a golden file), defaults, what changes a fingerprint, explanations, and
//! the examples of docs/topology.md.

use super::*;

const BASE: &str = include_str!("../../tests/golden/topology/base.yaml");
const MISTAKES: &str = include_str!("../../tests/golden/topology/mistakes.txt");
const SHOP: &str = include_str!("../../topologies/shop.yaml");

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
    assert!(count >= 30);
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
fn the_shop_is_valid_and_reads_as_written() {
    let plan = plan(SHOP);
    assert_eq!((plan.topology.as_str(), plan.source.topic.as_str()), ("shop", "shop.events"));
    assert_eq!(plan.source.fields[plan.source.event_time].name, "ts");
    assert_eq!(plan.source.fields[plan.source.partition_field].name, "user_id");
    assert_eq!((plan.source.lateness, plan.source.grace, plan.source.max_future), (5_000, 0, Some(60_000)));
    let windows: Vec<String> = plan.entities[0].features.iter().map(|feature| feature.window.to_string()).collect();
    let expected =
        ["1h by 1m", "1d by 1h", "90d by 1d", "lifetime", "30d by 1d", "session 30m", "1d by 1h", "lifetime"];
    assert_eq!(windows, expected);
    let types: Vec<ValueType> = plan.entities[0].features.iter().map(|feature| feature.output_type).collect();
    use ValueType::{Double, Int64, String as Text, Timestamp};
    assert_eq!(types, [Int64, Int64, Double, Double, Double, Int64, Text, Timestamp]);
}

#[test]
fn what_is_not_written_has_its_default() {
    let plan = plan(BASE);
    let source = &plan.source;
    assert_eq!((source.grace, source.max_future, source.filter), (0, Some(60_000), None));
    assert_eq!((source.max_record_bytes, source.max_key_bytes), (1 << 20, 1 << 10));
    assert!(!source.trusts_partitioning);
    let entity = &plan.entities[0];
    assert_eq!((entity.online_key.as_str(), entity.empty_ttl, entity.history), ("features:{id}", 86_400_000, true));
    assert_eq!(entity.online_key_of("u42"), "features:u42");
    assert_eq!(entity.features[0].input, None);
}

#[test]
fn every_entity_has_an_online_key_of_its_own() {
    let more = "\n  user_item:\n    key: [user_id, item_id]\n    features: {n: {count: \"*\", window: 1h}}\n";
    let plan = plan(&format!("{}{more}", BASE.trim_end()));
    let keys: Vec<&str> = plan.entities.iter().map(|entity| entity.online_key.as_str()).collect();
    assert_eq!(keys, ["features:{id}", "features.user_item:{id}"]);
}

#[test]
fn what_is_written_is_kept() {
    let yaml = changed(
        "  lateness: 5s\n",
        "  lateness: 1m30s\n  grace: 2h\n  max_future: off\n  partitioned_by: user_id\n  max_record_bytes: 64KiB\n  \
         max_key_bytes: 99\n  where: \"price > 0\"\n",
    );
    let yaml = yaml.replace(
        "key: user_id",
        "key: [user_id, item_id]\n    online_key: \"ui:{id}\"\n    empty_ttl: 2d\n    history: off",
    );
    let plan = plan(&yaml);
    let source = &plan.source;
    assert_eq!((source.lateness, source.grace, source.max_future), (90_000, 7_200_000, None));
    assert_eq!((source.max_record_bytes, source.max_key_bytes), (65_536, 99));
    assert!(source.trusts_partitioning && source.filter.is_some());
    let entity = &plan.entities[0];
    assert_eq!((entity.key.as_slice(), entity.online_key.as_str()), (&[0, 2][..], "ui:{id}"));
    assert_eq!((entity.empty_ttl, entity.history), (172_800_000, false));
}

#[test]
fn fields_come_from_paths_keys_and_headers() {
    let yaml = changed(
        "    active: bool\n",
        "    a: {type: bool, path: x.y}\n    b: {type: string, from: key}\n    \
         c: {type: string, from: {header: trace}}\n    d: {type: int64, path: [x, \"z.z\"], on_error: null}\n",
    );
    let fields = &plan(&yaml).source.fields;
    let from = |name: &str| fields.iter().find(|field| field.name == name).unwrap().clone();
    assert_eq!(from("a").from, FieldSource::Value(vec!["x".into(), "y".into()]));
    assert_eq!(from("b").from, FieldSource::Key);
    assert_eq!(from("c").from, FieldSource::Header("trace".into()));
    assert_eq!(from("d").from, FieldSource::Value(vec!["x".into(), "z.z".into()]));
    assert!(from("d").null_on_error && !from("a").null_on_error);
    assert_eq!(from("price").from, FieldSource::Value(vec!["price".into()]));
}

#[test]
fn every_type_has_a_name_that_reads_back() {
    for name in keys::TYPES {
        assert_eq!(name.parse::<FieldType>().map(FieldType::name), Ok(*name));
    }
}

#[test]
fn a_slide_is_chosen_by_the_twelfth_of_the_window() {
    for (window, slide) in [("12s", "1s"), ("11m", "1s"), ("12m", "1m"), ("59m", "1m"), ("1h", "5m"), ("12h", "1h")] {
        let chosen = first(&changed("window: 1h, slide: 1m", &format!("window: {window}"))).window;
        assert_eq!(chosen.to_string(), format!("{window} by {slide}"));
    }
    for (window, slide) in [("11d", "1h"), ("12d", "1d"), ("365d", "1d")] {
        let chosen = first(&changed("window: 1h, slide: 1m", &format!("window: {{sliding: {window}}}"))).window;
        assert_eq!(chosen.to_string(), format!("{window} by {slide}"));
    }
    let most = first(&changed("window: 1h, slide: 1m", "window: 100s, slide: 1ms")).window;
    assert_eq!(most, Window::Sliding { size: 100_000, slide: 1 });
}

#[test]
fn a_value_has_the_type_of_its_aggregate() {
    use ValueType::{Bool, Double, Int64, String as Text, Timestamp};
    for (feature, input, output) in [
        ("count: event", Int64, Int64),
        ("sum: quantity", Int64, Int64),
        ("sum: price", Double, Double),
        ("avg: quantity", Int64, Double),
        ("min: event", Text, Text),
        ("max: active", Bool, Bool),
        ("max: ts", Timestamp, Timestamp),
        ("last: item_id", Text, Text),
    ] {
        let feature = first(&changed("count: \"*\"", feature));
        assert_eq!((feature.input_type, feature.output_type), (input, output));
    }
}

#[test]
fn equal_sql_is_one_expression() {
    let plan = plan(SHOP);
    let features = &plan.entities[0].features;
    assert_eq!(features[1].filter, features[7].filter);
    assert_eq!(features[2].input, features[3].input);
    assert_ne!(features[0].filter, features[1].filter);
}

#[test]
fn comments_order_of_names_and_the_online_side_are_not_meaning() {
    let fingerprint = plan(BASE).fingerprint;
    assert_eq!(fingerprint.len(), 32);
    for (from, to) in [
        ("topology: shop", "# a comment\ntopology: shop"),
        ("topology: shop", "topology: other"),
        ("    event: string\n    item_id: string\n", "    item_id: string\n    event: string\n"),
        ("{sum: price, window: lifetime}", "{window: lifetime, sum: \"price\"}"),
        ("{sum: price, window: lifetime}", "\n        sum: price\n        window: lifetime"),
        ("window: 1h", "window: 60m"),
        ("window: 1h", "window: {sliding: 1h}"),
        ("  lateness: 5s\n", "  lateness: 5s\n  grace: 0\n  max_future: 1m\n  max_record_bytes: 1MiB\n"),
        ("  lateness: 5s\n", "  lateness: 5s\n  partitioned_by: user_id\n"),
        ("event = 'view'", "event   =  'view'"),
        ("key: user_id", "key: [user_id]"),
        ("key: user_id", "key: user_id\n    online_key: \"u:{id}\"\n    empty_ttl: 3d\n    history: on"),
        ("event: string", "event: {type: string, path: event}"),
    ] {
        assert_eq!(plan(&changed(from, to)).fingerprint, fingerprint, "{from} -> {to}");
    }
}

#[test]
fn whatever_decides_a_value_or_a_row_is_meaning() {
    let mut seen = vec![plan(BASE).fingerprint];
    for (from, to) in [
        ("topic: shop.events", "topic: shop.events2"),
        ("lateness: 5s", "lateness: 6s"),
        ("lateness: 5s", "lateness: 5s\n  grace: 1s"),
        ("lateness: 5s", "lateness: 5s\n  max_future: off"),
        ("lateness: 5s", "lateness: 5s\n  max_record_bytes: 1000"),
        ("lateness: 5s", "lateness: 5s\n  max_key_bytes: 1000"),
        ("lateness: 5s", "lateness: 5s\n  where: \"price > 0\""),
        ("    active: bool\n", ""),
        ("active: bool", "active: {type: bool, on_error: null}"),
        ("active: bool", "active: {type: bool, path: other}"),
        ("active: bool", "active: string"),
        ("key: user_id", "key: [user_id, item_id]"),
        ("key: user_id", "key: user_id\n    history: off"),
        ("  user:", "  client:"),
        ("spent: ", "spent2: "),
        ("sum: price", "avg: price"),
        ("sum: price", "sum: price * 2"),
        ("window: lifetime", "window: 1h"),
        ("slide: 1m", "slide: 2m"),
        ("session: 30m", "session: 31m"),
        ("event = 'view'", "event = 'click'"),
        ("where: \"event = 'view'\", ", ""),
    ] {
        let fingerprint = plan(&changed(from, to)).fingerprint;
        assert!(!seen.contains(&fingerprint), "{from} -> {to}");
        seen.push(fingerprint);
    }
    let swapped = plan(
        &changed("      views_1h: {count: \"*\", where: \"event = 'view'\", window: 1h, slide: 1m}\n", "").replace(
            "      visit:",
            "      views_1h: {count: \"*\", where: \"event = 'view'\", window: 1h, slide: 1m}\n      visit:",
        ),
    );
    assert!(!seen.contains(&swapped.fingerprint), "the order of features is the order of columns");
}

#[test]
fn a_features_fingerprint_is_its_own() {
    let of = |plan: &Plan, index: usize| plan.feature_fingerprint(&plan.entities[0], &plan.entities[0].features[index]);
    let base = plan(BASE);
    let renamed = plan(&changed("spent: ", "money: ").replace("session: 30m", "session: 31m"));
    assert_eq!((of(&base, 0), of(&base, 1)), (of(&renamed, 0), of(&renamed, 1)));
    assert_ne!(of(&base, 2), of(&renamed, 2));
    assert_ne!(of(&base, 0), of(&base, 1));
    let other_log = plan(&changed("topic: shop.events", "topic: other"));
    assert_ne!(of(&base, 0), of(&other_log, 0));
}

#[test]
fn an_explanation_shows_shared_tiles_and_the_rows_of_an_event() {
    let explanation = Explanation::of(&plan(SHOP));
    let entity = &explanation.entities[0];
    let shared: Vec<(&str, u64, usize)> =
        entity.tiles.iter().map(|tiles| (tiles.window.as_str(), tiles.tiles_at_most, tiles.features.len())).collect();
    assert_eq!(shared, [("1h by 1m", 61, 1), ("1d by 1h", 25, 2), ("30d by 1d", 31, 1), ("90d by 1d", 91, 1)]);
    assert_eq!((entity.timers_at_most, entity.rows_per_event_at_most), (5, 6));
    assert_eq!(entity.history.as_deref(), Some("{offline.url}/shop/user/v{n}"));
    let bytes = &entity.state_bytes;
    assert_eq!(bytes.total_at_most, bytes.head + bytes.tiles_at_most + bytes.timers_at_most);
    let category = explanation.columns.iter().find(|column| column.name == "category").unwrap();
    assert_eq!(category.used_by, ["user.last_category last"]);
    let price = explanation.expressions.iter().find(|expression| expression.sql == "price").unwrap();
    assert_eq!(price.used_by.len(), 3);
}

#[test]
fn an_explanation_is_text_and_json() {
    let explanation = Explanation::of(&plan(SHOP));
    let text = explanation.to_string();
    for part in ["topology shop, fingerprint ", "1d by 1h", "at most 61 of 9 B", "rows per event: at most 6"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    assert!(text.lines().all(|line| line.trim_end() == line), "{text}");
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["entities"][0]["rows_per_event_at_most"], 6);
    assert_eq!(json["columns"][0]["type"], "string");
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
    for keys in [keys::TOPOLOGY, keys::SOURCE, keys::FIELD, keys::FROM, keys::ENTITY, keys::FEATURE, keys::WINDOW] {
        for key in keys {
            assert!(text.contains(&format!("`{}", key.name)), "{} is not in docs/topology.md", key.name);
        }
    }
    for ty in keys::TYPES {
        assert!(text.contains(&format!("`{ty}`")), "{ty} is not in docs/topology.md");
    }
}
