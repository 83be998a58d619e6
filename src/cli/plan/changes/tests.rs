//! Two topologies side by side: what is said of their differences.

use super::*;
use crate::topology;

const OLD: &str = r#"
topology: t
source:
  topic: t
  format: json
  event_time: ts
  lateness: 5s
  schema: {user: string, event: string, price: double, ts: timestamp_ms}
entities:
  user:
    key: user
    features:
      views_1h: {count: "*", where: "event = 'view'", window: 1h}
      spent: {sum: price, window: lifetime}
      paid: {sum: price, where: "event = 'paid'", window: {since: "event = 'start'"}}
      kinds: {distinct: event, window: 1d}
    derived:
      spent_a_view: "spent / nullif(cast(views_1h as double), 0)"
      double_that: "2 * spent_a_view"
      spent_twice: "2 * spent"
"#;

fn plan(text: &str) -> Plan {
    topology::parse("t.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// What is said of one topology after another.
fn compared(old: &Plan, new: &Plan) -> Changes {
    between(Some((old, &Difference::between(old, &old.fingerprint, new))), new)
}

/// What is said of OLD after these replacements.
fn changes(replacements: &[(&str, &str)]) -> Changes {
    let new = replacements.iter().fold(OLD.to_string(), |text, (from, to)| {
        assert!(text.contains(from), "{from} is not in the topology");
        text.replacen(from, to, 1)
    });
    compared(&plan(OLD), &plan(&new))
}

/// The changes of the only entity: name, status, and what is said.
fn features(changes: &Changes) -> Vec<(String, Status, String)> {
    let [entity] = changes.entities.as_slice() else { panic!("{changes:?}") };
    let all = entity.features.iter().filter(|feature| feature.status != Status::Unchanged);
    all.map(|feature| (feature.feature.clone(), feature.status, feature.what.join("; "))).collect()
}

fn changed(name: &str, what: &str) -> (String, Status, String) {
    (name.into(), Status::Changed, what.into())
}

#[test]
fn nothing_is_said_of_what_means_the_same() {
    let same = changes(&[("  topic: t", "  # a comment\n  topic: t")]);
    assert!(features(&same).is_empty() && same.source.is_empty() && same.order.is_empty());
    assert_eq!(same.entities[0].status, Status::Unchanged);
}

#[test]
fn a_changed_window_names_both_and_reaches_what_is_derived_from_it() {
    let found = features(&changes(&[("window: 1h", "window: 2h")]));
    assert_eq!(
        found,
        [
            changed("views_1h", "window 1h by 5m -> 2h by 5m"),
            changed("spent_a_view", "reads views_1h, which changes"),
            changed("double_that", "reads spent_a_view, which changes"),
        ]
    );
}

#[test]
fn every_part_of_a_feature_has_its_words() {
    for (from, to, said) in [
        ("{sum: price, window: lifetime}", "{avg: price, window: lifetime}", "aggregate sum -> avg; empty 0.0 -> null"),
        ("{sum: price, window: lifetime}", "{sum: 2 * price, window: lifetime}", "of price -> 2 * price"),
        (
            "{sum: price, window: lifetime}",
            "{sum: price, where: price > 0, window: lifetime}",
            "where added: price > 0",
        ),
        ("{sum: price, window: lifetime}", "{sum: price, window: {last: 3}}", "window lifetime -> last 3"),
    ] {
        let found = features(&changes(&[(from, to)]));
        assert_eq!(found[0], changed("spent", said));
    }
    let found = features(&changes(&[(", where: \"event = 'paid'\"", "")]));
    assert_eq!(found, [changed("paid", "where gone: event = 'paid'")]);
    let found = features(&changes(&[("since: \"event = 'start'\"", "since: \"event = 'open'\"")]));
    assert_eq!(found, [changed("paid", "window since event = 'start' -> since event = 'open'")]);
    let found = features(&changes(&[("{distinct: event, window", "{distinct: event, limit: 50, window")]));
    assert_eq!(found, [changed("kinds", "aggregate distinct up to 10000 -> distinct up to 50")]);
}

#[test]
fn a_changed_source_changes_every_feature_and_says_how() {
    let found = changes(&[
        ("lateness: 5s", "lateness: 10s\n  where: \"price > 0\""),
        ("price: double, ", "price: double, n: int64, "),
    ]);
    assert_eq!(found.source, ["lateness 5s -> 10s", "where added: price > 0", "field n added: int64"]);
    let features = features(&found);
    assert_eq!(features[0], changed("views_1h", "by way of the source"));
    assert_eq!(features.iter().filter(|(_, status, _)| *status == Status::Changed).count(), 7);
}

#[test]
fn a_key_and_forgetting_change_all_features_of_their_entity() {
    let found =
        changes(&[("    key: user\n", "    key: user\n    forget_after: 30d\n    history: off\n    empty_ttl: 2d\n")]);
    let entity = &found.entities[0];
    assert_eq!(entity.what, ["forget_after never -> 30d", "history on -> off"]);
    assert_eq!(entity.no_replay, ["empty_ttl 1d -> 2d"]);
    assert_eq!(features(&found)[1], changed("spent", "by way of the entity"));
}

#[test]
fn new_and_gone_features_are_described_and_a_renamed_one_is_recognized() {
    let found = features(&changes(&[
        ("      spent: {", "      total: {"),
        ("spent_twice: \"2 * spent\"", "total_twice: \"2 * total\""),
        ("\"spent / ", "\"total / "),
    ]));
    let said = |name: &str| {
        let (_, status, what) = found.iter().find(|(of, ..)| of == name).unwrap();
        (*status, what.as_str())
    };
    assert_eq!(said("total"), (Status::New, "sum of price, window lifetime; as spent, which is gone"));
    assert_eq!(said("spent"), (Status::Gone, "sum of price, window lifetime"));
    assert_eq!((said("total_twice").0, said("spent_twice").0), (Status::New, Status::Gone));
    assert_eq!(said("spent_a_view").0, Status::Changed);
}

#[test]
fn another_order_is_another_version_and_no_changed_feature() {
    let spent = "      spent: {sum: price, window: lifetime}\n";
    let found = changes(&[(spent, ""), ("    features:\n", &format!("    features:\n{spent}"))]);
    assert_eq!(found.order, ["features of user in another order"]);
    assert!(features(&found).is_empty());
}

#[test]
fn without_a_version_all_is_new_and_another_engine_changes_all() {
    let new = between(None, &plan(OLD));
    assert!(new.entities[0].features.iter().all(|feature| feature.status == Status::New));
    assert_eq!(new.entities[0].what, ["key user"]);
    let old = plan(OLD);
    let rules = Difference::between(&old, "under other rules", &old);
    let engine = between(Some((&old, &rules)), &old);
    assert!(engine.source[0].contains("semantics"));
    assert_eq!(features(&engine)[0], changed("views_1h", "by way of the source"));
}

#[test]
fn entities_come_and_go_as_a_whole() {
    let (one, other) = (plan(OLD), plan(&OLD.replace("  user:\n", "  person:\n")));
    let found = compared(&one, &other);
    let all: Vec<_> = found.entities.iter().map(|entity| (entity.entity.as_str(), entity.status)).collect();
    assert_eq!(all, [("person", Status::New), ("user", Status::Gone)]);
}
