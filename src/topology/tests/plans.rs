//! What a valid topology reads as: defaults, types, windows, and what `explain` says of it.

use super::*;

#[test]
fn the_shop_is_valid_and_reads_as_written() {
    let plan = plan(SHOP);
    assert_eq!((plan.topology.as_str(), plan.source.topic.as_str()), ("shop", "shop.events"));
    assert_eq!(plan.source.fields[plan.source.event_time].name, "ts");
    assert_eq!(plan.source.fields[plan.source.partition_field].name, "user_id");
    assert_eq!((plan.source.lateness, plan.source.grace, plan.source.max_future), (5_000, 0, Some(60_000)));
    let windows: Vec<String> = plan.entities[0].features.iter().map(|feature| feature.window.to_string()).collect();
    let expected = [
        "1h by 1m",
        "1d by 1h",
        "30d by 1d",
        "1d by 1h",
        "30d by 1d",
        "90d by 1d",
        "lifetime",
        "30d by 1d",
        "30d by 1d",
        "session 30m",
        "since a condition",
        "30d by 1d",
        "1d by 1h",
        "lifetime",
    ];
    assert_eq!(windows, expected);
    let columns: Vec<String> = plan.entities[0].columns().map(|(name, ty)| format!("{name} {ty}")).collect();
    let expected = [
        "views_1h int64",
        "views_24h int64",
        "views_30d int64",
        "clicks_24h int64",
        "purchases_30d int64",
        "user_avg_purchase_90d double",
        "lifetime_value double",
        "largest_purchase_30d double",
        "category_weight_30d map to int64",
        "items_viewed_this_session int64",
        "cart_value double",
        "last_10_items list of string",
        "last_category string",
        "last_click_at timestamp",
        "category_affinity_score map to double",
        "conversion_rate_30d double",
    ];
    assert_eq!(columns, expected);
}

#[test]
fn the_other_topologies_are_valid() {
    assert_eq!(plan(FRAUD).topology, "fraud");
    assert_eq!(plan(SENSORS).topology, "sensors");
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
    assert_eq!((entity.forget_after, entity.horizon_records, entity.derived.len()), (None, 100_000, 0));
}

#[test]
fn arguments_have_their_defaults_and_go_as_far_as_their_bounds() {
    for (feature, aggregate) in [
        ("distinct: item_id", Aggregate::Distinct { limit: 10_000 }),
        ("distinct: item_id, limit: 1000000", Aggregate::Distinct { limit: 1_000_000 }),
        ("approx_distinct: item_id", Aggregate::ApproxDistinct { precision: 12 }),
        ("approx_distinct: item_id, precision: 18", Aggregate::ApproxDistinct { precision: 18 }),
        ("quantile: price, q: 1", Aggregate::Quantile { q: 1.0, error: 0.01 }),
        ("quantile: price, q: -0.0, relative_error: 0.1", Aggregate::Quantile { q: 0.0, error: 0.1 }),
        ("quantiles: price, q: [0.9, 0.1, 0.9]", Aggregate::Quantiles { qs: vec![0.9, 0.1, 0.9], error: 0.01 }),
        ("first_k: item_id, k: 1", Aggregate::FirstK { k: 1 }),
        ("last_k: item_id, k: 1000", Aggregate::LastK { k: 1_000 }),
        ("top_k: item_id, k: 3", Aggregate::TopK { k: 3, limit: 10_000 }),
        ("top_k: item_id, k: 3, limit: 1", Aggregate::TopK { k: 3, limit: 1 }),
        ("avg: price, half_life: 1d12h", Aggregate::DecayedAvg { half_life: 129_600_000 }),
    ] {
        assert_eq!(first(&changed("count: \"*\"", feature)).aggregate, aggregate, "{feature}");
    }
    let by = |feature| first(&changed("count: \"*\"", feature)).by.unwrap().buckets;
    assert_eq!((by("count: \"*\", by: event"), by("count: \"*\", by: event, buckets: 100000")), (1_000, 100_000));
}

#[test]
fn an_entity_keeps_what_is_written() {
    let plan = plan(&changed("key: user_id", "key: user_id\n    forget_after: 30d\n    horizon_records: 7"));
    assert_eq!((plan.entities[0].forget_after, plan.entities[0].horizon_records), (Some(2_592_000_000), 7));
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
        assert_eq!(name.parse::<FieldType>().map(|ty| ty.to_string()), Ok(name.to_string()));
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
    let most = first(&changed("window: 1h, slide: 1m", "window: 1000s, slide: 1ms")).window;
    assert_eq!(most, Window::Sliding { size: 1_000_000, slide: 1 });
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
        assert_eq!((feature.input_type, feature.output_type), (input, OutputType::Scalar(output)));
    }
}

#[test]
fn every_aggregate_has_its_type_and_what_it_shows_of_nothing() {
    let base = BASE.replace("price: double", "price: decimal(10,2)");
    for (feature, output, empty) in [
        ("count: \"*\", half_life: 1d", "double", Literal::Double(0.0)),
        ("sum: price", "decimal(38,2)", Literal::Decimal(0)),
        ("sum: price * 2", "decimal(38,2)", Literal::Decimal(0)),
        ("sum: quantity, half_life: 1d", "double", Literal::Double(0.0)),
        ("avg: price", "double", Literal::Null),
        ("avg: price, half_life: 1d", "double", Literal::Null),
        ("min: price", "decimal(10,2)", Literal::Null),
        ("first: item_id", "string", Literal::Null),
        ("variance: quantity", "double", Literal::Null),
        ("stddev: price", "double", Literal::Null),
        ("distinct: price", "int64", Literal::Int(0)),
        ("approx_distinct: item_id", "int64", Literal::Int(0)),
        ("quantile: price, q: 0.5", "double", Literal::Null),
        ("quantiles: quantity, q: [0.5]", "list of double", Literal::Null),
        ("first_k: ts, k: 3", "list of timestamp", Literal::Null),
        ("last_k: price, k: 3", "list of decimal(10,2)", Literal::Null),
        ("top_k: item_id, k: 3", "list of (string, n)", Literal::Null),
        ("count: \"*\", by: active", "map to int64", Literal::Null),
        ("sum: price, by: quantity", "map to decimal(38,2)", Literal::Null),
        ("top_k: item_id, k: 3, by: event", "map to list of (string, n)", Literal::Null),
    ] {
        let plan = first(&base.replacen("count: \"*\"", feature, 1));
        assert_eq!((plan.output_type.to_string().as_str(), plan.empty), (output, empty), "{feature}");
    }
}

#[test]
fn empty_is_a_constant_of_the_features_own_type() {
    let base = BASE.replace("price: double", "price: decimal(10,2)");
    for (feature, empty) in [
        ("max: quantity, empty: -1", Literal::Int(-1)),
        ("avg: price, empty: -0.0", Literal::Double(0.0)),
        ("avg: price, empty: 1e3", Literal::Double(1000.0)),
        ("min: price, empty: 1.5", Literal::Decimal(150)),
        ("last: event, empty: none", Literal::Str("none".into())),
        ("last: event, empty: \"null\"", Literal::Str("null".into())),
        ("last: active, empty: false", Literal::Bool(false)),
        ("last: ts, empty: 0", Literal::Time(0)),
        ("count: \"*\", empty: null", Literal::Null),
        ("count: \"*\", empty: 7", Literal::Int(7)),
        ("last_k: event, k: 2, empty: null", Literal::Null),
        ("count: \"*\", by: event, empty: ~", Literal::Null),
    ] {
        assert_eq!(first(&base.replacen("count: \"*\"", feature, 1)).empty, empty, "{feature}");
    }
    let Literal::Double(zero) = first(&base.replacen("count: \"*\"", "avg: price, empty: -0.0", 1)).empty else {
        panic!("a constant of a double is one");
    };
    assert_eq!(zero.to_bits(), 0);
}

#[test]
fn a_window_prints_as_it_is_meant() {
    for (window, printed) in [
        ("{sliding: 1d}", "1d by 1h"),
        ("{session: 30m}", "session 30m"),
        ("{tumbling: 24h}", "tumbling 1d"),
        ("{tumbling: 7d, offset: 4d}", "tumbling 7d from 4d"),
        ("{tumbling: 1h, offset: 0, complete: false}", "tumbling 1h"),
        ("{tumbling: 7d, offset: 4d, complete: true}", "tumbling 7d from 4d complete"),
        ("{since: \"event = 'purchase'\"}", "since a condition"),
        ("{last: 1000}", "last 1000"),
    ] {
        let feature = first(&changed("window: 1h, slide: 1m", &format!("window: {window}")));
        assert_eq!(feature.window.to_string(), printed);
    }
    for (feature, printed) in [
        ("last_k: event, k: 10", "last_k 10"),
        ("quantile: price, q: 0.5", "quantile 0.5"),
        ("sum: price, half_life: 7d", "sum half-life 7d"),
        ("stddev: price", "stddev"),
    ] {
        assert_eq!(first(&changed("count: \"*\"", feature)).aggregate.to_string(), printed);
    }
}

#[test]
fn an_exact_type_is_one_whose_bits_do_not_hang_on_the_order() {
    for (feature, exact) in [
        ("count: \"*\"", true),
        ("count: \"*\", half_life: 1d", false),
        ("sum: quantity", true),
        ("sum: cast(price as decimal(10,2))", true),
        ("sum: price", false),
        ("sum: price, by: event", false),
        ("count: price, by: event", true),
        ("avg: quantity", false),
        ("stddev: quantity", false),
        ("max: price", true),
        ("first: price", true),
        ("distinct: item_id", true),
        ("approx_distinct: item_id", false),
        ("quantiles: price, q: [0.5]", false),
        ("top_k: price, k: 2", true),
    ] {
        // A plain text may not hold a comma in braces.
        let feature = feature.replace("cast(price as decimal(10,2))", "\"cast(price as decimal(10,2))\"");
        assert_eq!(first(&changed("count: \"*\"", &feature)).is_exact(), exact, "{feature}");
    }
}

#[test]
fn what_is_derived_reads_features_and_what_stands_above() {
    let more = "
      last_at: {last: ts, window: lifetime}
      by_event: {count: \"*\", by: event, window: 1h}
    derived:
      ratio: \"spent / nullif(views_1h, 0)\"
      twice: {sql: \"ratio * 2\", on: row}
      part: \"share(by_event)\"
      age: {sql: \"now() - last_at\", on: read}
      old: {sql: \"age > 1000 and ratio > 1\", on: read}
";
    let plan = plan(&format!("{}{more}", BASE.trim_end()));
    let entity = &plan.entities[0];
    let columns: Vec<&str> = entity.columns().map(|(name, _)| name).collect();
    assert_eq!(columns, ["views_1h", "spent", "visit", "last_at", "by_event", "ratio", "twice", "part"]);
    let derived: Vec<(String, bool)> =
        entity.derived.iter().map(|one| (one.output_type.to_string(), one.on == DerivedOn::Read)).collect();
    let expected = [("double", false), ("double", false), ("map to double", false), ("int64", true), ("bool", true)];
    assert_eq!(derived, expected.map(|(ty, read)| (ty.to_string(), read)));
}

#[test]
fn a_max_age_is_of_one_feature_and_shown_in_its_explanation() {
    let read = "\n      last_at: {last: ts, window: lifetime}\n    derived:\n      gone: {sql: \"now() - last_at\", on: read, max_age: 2h}\n";
    let plan = plan(&format!("{}{read}", changed("sum: price, ", "sum: price, max_age: 1d, ").trim_end()));
    let entity = &plan.entities[0];
    let of = |name: &str| entity.features.iter().find(|feature| feature.name == name).unwrap().max_age;
    assert_eq!((of("spent"), of("views_1h"), entity.derived[0].max_age), (Some(86_400_000), None, Some(7_200_000)));
    let text = Explanation::of(&plan).to_string();
    for part in ["read up to an age of 1d\n", "on read, read up to an age of 2h"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn equal_sql_is_one_expression() {
    let plan = plan(SHOP);
    let features = &plan.entities[0].features;
    assert_eq!(features[0].filter, features[1].filter);
    assert_eq!(features[5].input, features[7].input);
    assert_ne!(features[0].filter, features[3].filter);
}

#[test]
fn an_explanation_shows_shared_tiles_and_the_rows_of_an_event() {
    let explanation = Explanation::of(&plan(SHOP));
    let entity = &explanation.entities[0];
    let shared: Vec<(&str, u64, usize)> =
        entity.tiles.iter().map(|tiles| (tiles.window.as_str(), tiles.tiles_at_most, tiles.features.len())).collect();
    assert_eq!(shared, [("1h by 1m", 61, 1), ("1d by 1h", 25, 3), ("30d by 1d", 31, 5), ("90d by 1d", 91, 1)]);
    assert_eq!((entity.timers_at_most, entity.rows_per_event_at_most), (5, 6));
    assert_eq!(entity.history.as_deref(), Some("{offline.url}/shop/user/v{n}"));
    let bytes = &entity.state_bytes;
    assert_eq!(bytes.total_at_most, bytes.head + bytes.tiles_at_most + bytes.timers_at_most);
    let category = explanation.columns.iter().find(|column| column.name == "category").unwrap();
    assert_eq!(category.used_by, ["user.category_weight_30d by", "user.last_category last"]);
    let price = explanation.expressions.iter().find(|expression| expression.sql == "price").unwrap();
    assert_eq!(price.used_by.len(), 2);
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
