//! What is meaning and what is not.

use super::*;

/// A topology with a key of every kind.
const WIDE: &str = r#"
topology: wide
source:
  topic: events
  format: json
  event_time: ts
  schema:
    user: string
    kind: string
    n: int64
    x: double
    price: decimal(10,2)
    ts: timestamp_ms
entities:
  user:
    key: user
    forget_after: 30d
    features:
      decayed: {count: "*", half_life: 1h, window: lifetime}
      seen: {last: ts, window: lifetime}
      newest: {last: n, empty: 7, window: 1h}
      spread: {stddev: x, window: {session: 30m}}
      different: {distinct: kind, limit: 500, window: {tumbling: 7d, offset: 4d}}
      about: {approx_distinct: kind, precision: 11, window: 1d}
      middle: {quantile: x, q: 0.5, relative_error: 0.02, window: 1d}
      shares: {quantiles: x, q: [0.1, 0.9], window: {tumbling: 1d, complete: true}}
      oldest: {first_k: n, k: 3, window: lifetime}
      recent: {last_k: n, k: 4, window: {last: 10}}
      top: {top_k: kind, k: 5, limit: 600, window: 30d}
      paid: {sum: price, by: kind, buckets: 50, window: {since: "kind = 'paid'"}}
    derived:
      part: "share(paid)"
      twice: "newest * 2"
      age: {sql: "now() - seen", on: read}
"#;

/// What a topology means: as a whole, and part by part.
fn meaning(yaml: &str) -> (String, Parts) {
    let plan = plan(yaml);
    (plan.fingerprint.clone(), plan.parts())
}

fn wide(from: &str, to: &str) -> (String, Parts) {
    assert!(WIDE.contains(from), "the wide topology does not hold {from:?}");
    meaning(&WIDE.replacen(from, to, 1))
}

/// Neither the whole nor the parts are those of a meaning that was seen.
fn is_new(seen: &[(String, Parts)], (fingerprint, parts): &(String, Parts)) -> bool {
    seen.iter().all(|(other, others)| other != fingerprint && others != parts)
}

#[test]
fn defaults_that_are_written_out_and_bounds_that_stop_are_not_meaning() {
    let base = meaning(WIDE);
    for (from, to) in [
        ("forget_after: 30d", "forget_after: 720h"),
        ("forget_after: 30d", "forget_after: 30d\n    horizon_records: 5"),
        ("half_life: 1h", "half_life: 60m"),
        ("half_life: 1h", "half_life: 1h, empty: 0"),
        ("empty: 7", "empty: \"7\""),
        ("different: {distinct: kind, limit: 500", "different: {limit: 500, distinct: kind"),
        ("x, q: 0.5, relative", "x, q: 0.50, relative"),
        ("relative_error: 0.02", "relative_error: 2e-2"),
        ("[0.1, 0.9], ", "[0.1, 0.9], relative_error: 0.01, "),
        ("tumbling: 7d, offset: 4d", "tumbling: 168h, offset: 96h, complete: false"),
        ("tumbling: 1d, complete: true", "tumbling: 1d, complete: true, offset: 0"),
        ("kind = 'paid'", "kind  =  'paid'"),
        ("twice: \"newest * 2\"", "twice: {sql: newest  *  2}"),
        ("twice: \"newest * 2\"", "twice: {sql: newest * 2, on: row}"),
        ("decimal(10,2)", "decimal( 10, 2 )"),
        ("window: {session: 30m}}", "window: {session: 30m}, empty: null}"),
        ("empty: 7", "empty: 7, max_age: 1h"),
        ("on: read}", "on: read, max_age: 1h}"),
    ] {
        assert_eq!(wide(from, to), base, "{from} -> {to}");
    }
}

#[test]
fn every_argument_is_meaning() {
    let mut seen = vec![meaning(WIDE)];
    for (from, to) in [
        ("    forget_after: 30d\n", ""),
        ("forget_after: 30d", "forget_after: 31d"),
        ("half_life: 1h, ", ""),
        ("half_life: 1h", "half_life: 2h"),
        ("empty: 7, ", ""),
        ("empty: 7", "empty: 8"),
        ("empty: 7", "empty: null, where: n > 0"),
        ("{last: n", "{first: n"),
        ("stddev: x", "variance: x"),
        ("limit: 500", "limit: 501"),
        ("tumbling: 7d, offset: 4d", "tumbling: 7d"),
        ("offset: 4d", "offset: 3d"),
        ("precision: 11", "precision: 12"),
        ("x, q: 0.5, relative", "x, q: 0.25, relative"),
        ("relative_error: 0.02", "relative_error: 0.01"),
        ("[0.1, 0.9]", "[0.9, 0.1]"),
        (", complete: true", ""),
        ("k: 3", "k: 6"),
        ("k: 4", "k: 6"),
        ("{last: 10}", "{last: 11}"),
        ("limit: 600", "limit: 601"),
        ("by: kind, buckets: 50", "by: n, buckets: 50"),
        ("{stddev: x", "{stddev: x, by: kind"),
        ("buckets: 50", "buckets: 51"),
        ("kind = 'paid'", "kind = 'sent'"),
        ("price: decimal(10,2)", "price: decimal(11,2)"),
        ("price: decimal(10,2)", "price: decimal(10,3)"),
        ("newest * 2", "newest * 3"),
        ("      twice:", "      double:"),
        (
            "      twice: \"newest * 2\"\n      age: {sql: \"now() - seen\", on: read}",
            "      age: {sql: \"now() - seen\", on: read}\n      twice: \"newest * 2\"",
        ),
        ("\"newest * 2\"", "{sql: newest * 2, on: read}"),
    ] {
        let other = wide(from, to);
        assert!(is_new(&seen, &other), "{from} -> {to}");
        seen.push(other);
    }
}

#[test]
fn what_an_entity_forgets_is_its_features_meaning_and_what_it_derives_is_not() {
    let of = |plan: &Plan| plan.feature_fingerprint(&plan.entities[0], &plan.entities[0].features[0]);
    let base = of(&plan(WIDE));
    assert_ne!(of(&plan(&WIDE.replace("forget_after: 30d", "forget_after: 31d"))), base);
    assert_eq!(of(&plan(&WIDE.replace("newest * 2", "newest * 3"))), base);
}

#[test]
fn comments_order_of_names_and_the_online_side_are_not_meaning() {
    let base = meaning(BASE);
    assert_eq!(base.0.len(), 32);
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
        assert_eq!(meaning(&changed(from, to)), base, "{from} -> {to}");
    }
}

#[test]
fn whatever_decides_a_value_or_a_row_is_meaning() {
    let mut seen = vec![meaning(BASE)];
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
        let other = meaning(&changed(from, to));
        assert!(is_new(&seen, &other), "{from} -> {to}");
        seen.push(other);
    }
    let swapped = meaning(
        &changed("      views_1h: {count: \"*\", where: \"event = 'view'\", window: 1h, slide: 1m}\n", "").replace(
            "      visit:",
            "      views_1h: {count: \"*\", where: \"event = 'view'\", window: 1h, slide: 1m}\n      visit:",
        ),
    );
    assert!(is_new(&seen, &swapped), "the order of features is the order of columns");
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
fn what_a_changed_topology_changes_is_named() {
    let base = plan(BASE);
    let to = |yaml: &str| Difference::between(&base, &base.fingerprint, &plan(yaml)).to_string();
    let said = |from: &str, into: &str| to(&changed(from, into));
    assert_eq!(said("session: 30m", "session: 31m"), "changed: user.visit");
    assert_eq!(said("lateness: 5s", "lateness: 6s"), "changed: source.lateness");
    assert_eq!(said("active: bool", "active: string"), "changed: source.schema.active");
    assert_eq!(said("spent: ", "spent2: "), "new: user.spent2; gone: user.spent");
    assert_eq!(said("key: user_id", "key: user_id\n    history: off"), "changed: history of user");
    let feature = "      views_1h: {count: \"*\", where: \"event = 'view'\", window: 1h, slide: 1m}\n";
    let swapped = changed(feature, "").replace("      visit:", &format!("{feature}      visit:"));
    assert_eq!(to(&swapped), "changed: the order of entities and features");
    assert_eq!(to(BASE), "");
    let rebuilt = Difference::between(&base, "as an older Kappa has it", &base).to_string();
    assert_eq!(rebuilt, "changed: Kappa's own rules");
}
