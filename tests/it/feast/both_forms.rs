//! Feast's form beside the plain one through what happens to a run: versions that take over, entities and features that
//! go, a Redis that comes back empty, a form that is added later. Always the same row stands in both.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kappa::source::{Codec, Record};

use crate::support::verify::Place;
use crate::support::{kafka, producer};

const USERS: usize = 300;
const FEAST: [&str; 2] = ["--set", "online.redis.formats=hash,feast"];

/// The entity's name, its features, and the source's own condition.
fn topology(folder: &Path, topic: &str, entity: &str, features: &str, condition: &str) -> PathBuf {
    let yaml = format!(
        "topology: forms\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  max_future: off\n  where: \"{condition}\"\n  \
         schema: {{user_id: string, n: int64, ts: timestamp_ms}}\nentities:\n  {entity}:\n    key: user_id\n    features:\n{features}"
    );
    let file = folder.join("forms.yaml");
    std::fs::write(&file, yaml).unwrap();
    file
}

fn run(place: &Place<'_>, file: &Path, more: &[&str]) {
    let name = file.display().to_string();
    let mut command = place.kappa(&["run", &name, "--until-caught-up"]);
    let output = command.args(more).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn field(view: &str, feature: &str) -> Vec<u8> {
    let name = format!("{view}:{feature}");
    murmur3::murmur3_32(&mut name.as_bytes(), 0).unwrap().to_le_bytes().to_vec()
}

fn feast_key(id: &str) -> Vec<u8> {
    let length = |text: &str| (text.len() as u32).to_le_bytes();
    let (one, string) = (1u32.to_le_bytes(), 2u32.to_le_bytes());
    [&one[..], &string, &length("user_id"), b"user_id", &string, &length(id), id.as_bytes(), b"forms"].concat()
}

/// Holds both forms of the first `users` against each other; answers how many of them have one.
fn agree(place: &Place<'_>, users: usize, view: &str, features: &[&str], gone: &[(&str, &str)]) -> usize {
    let mut connection = redis::Client::open(place.redis.url()).unwrap().get_connection().unwrap();
    let mut found = 0;
    for id in (0..users).map(|user| format!("u{user}")) {
        let plain: BTreeMap<String, String> =
            redis::cmd("HGETALL").arg(format!("features:{id}")).query(&mut connection).unwrap();
        let feast: BTreeMap<Vec<u8>, Vec<u8>> =
            redis::cmd("HGETALL").arg(feast_key(&id)).query(&mut connection).unwrap();
        if plain.is_empty() {
            assert!(feast.is_empty(), "{id} is only in Feast's form: {feast:?}");
            continue;
        }
        found += 1;
        let guard = feast.get(format!("_kappa:{view}").as_bytes());
        let guard = guard.unwrap_or_else(|| panic!("{id} has no view {view}, but {plain:?}: {feast:?}"));
        let expected = format!("{} {} ", plain["_position"], plain["_version"]);
        assert!(guard.starts_with(expected.as_bytes()), "{id}: {expected} and {}", String::from_utf8_lossy(guard));
        for feature in features {
            let in_feast = feast.contains_key(&field(view, feature));
            assert_eq!(plain.contains_key(*feature), in_feast, "{id} {feature}");
        }
        for (view, feature) in gone {
            assert!(!feast.contains_key(&field(view, feature)), "{id} has {view}:{feature} still");
        }
    }
    found
}

/// The values of a view whose every feature is a count, by user: 0 and 1 and so on as Feast's bytes have them.
fn counts(place: &Place<'_>, view: &str, feature: &str) -> Vec<Option<u8>> {
    let mut connection = redis::Client::open(place.redis.url()).unwrap().get_connection().unwrap();
    let mut read = |user: usize| -> Option<u8> {
        let id = format!("u{user}");
        let value: Option<Vec<u8>> =
            redis::cmd("HGET").arg(feast_key(&id)).arg(field(view, feature)).query(&mut connection).unwrap();
        // An int64 below 128 is its tag and one byte.
        value.map(|bytes| if let [0x20, count] = bytes[..] { count } else { panic!("{bytes:?} is no small count") })
    };
    (0..USERS).map(&mut read).collect()
}

#[test]
fn feasts_form_goes_with_the_plain_one_through_versions_losses_and_a_later_start() {
    let (folder, mut place) = (tempfile::tempdir().unwrap(), Place::new(kafka::shared()));
    let topic = kafka::shared().new_topic("forms", 2);
    let events: Vec<(String, String)> = (0..3 * USERS)
        .map(|index| {
            let (id, ts) = (format!("u{}", index % USERS), 1_767_225_600_000 + index as i64 * 1_000);
            let value = format!("{{\"user_id\":\"{id}\",\"n\":{},\"ts\":{ts}}}", index % USERS);
            (id, value)
        })
        .collect();
    let record = |(id, value): &'static (String, String)| Record {
        key: Some(id.as_bytes()),
        value: Some(value.as_bytes()),
        time: Some(1_767_230_000_000),
        ..Record::default()
    };
    producer::write(kafka::shared(), &topic, Codec::None, Vec::leak(events).iter().map(record));
    let first = "      events: {count: \"*\", window: lifetime}\n      odd: {last: n, where: \"n % 2 = 1\", window: lifetime}\n      \
                 legacy: {max: n, window: lifetime}\n";
    let second = "      events: {count: \"*\", window: lifetime}\n      odd: {last: n, where: \"n % 2 = 1\", window: lifetime}\n      \
                  adds: {min: n, window: lifetime}\n";

    // The plain form alone, and then both: Feast's is filled from state.
    let file = topology(folder.path(), &topic, "user", first, "true");
    run(&place, &file, &[]);
    run(&place, &file, &FEAST);
    assert_eq!(agree(&place, USERS, "user", &["events", "odd", "legacy"], &[("user", "adds")]), USERS);

    // Another feature, and fewer users: the others show nothing.
    let file = topology(folder.path(), &topic, "user", second, "n < 200");
    run(&place, &file, &[&FEAST[..], &["--replay-from", "0"]].concat());
    assert_eq!(agree(&place, USERS, "user", &["events", "odd", "adds"], &[("user", "legacy")]), USERS);
    let shown = counts(&place, "user", "events");
    assert!(shown[..200].iter().all(|count| *count == Some(3)) && shown[200..].iter().all(|count| *count == Some(0)));

    // The entity has another name: what it was called before shows nothing.
    let file = topology(folder.path(), &topic, "person", second, "n < 200");
    run(&place, &file, &[&FEAST[..], &["--replay-from", "0"]].concat());
    assert_eq!(agree(&place, 200, "person", &["events", "odd", "adds"], &[]), 200);
    assert!(counts(&place, "user", "events")[..200].iter().all(|count| *count == Some(0)));
    assert!(counts(&place, "person", "events")[..200].iter().all(|count| *count == Some(3)));

    // And its old name again.
    let file = topology(folder.path(), &topic, "user", second, "n < 200");
    run(&place, &file, &[&FEAST[..], &["--replay-from", "0", "--again"]].concat());
    assert_eq!(agree(&place, 200, "user", &["events", "odd", "adds"], &[("user", "legacy")]), 200);
    assert!(counts(&place, "user", "events")[..200].iter().all(|count| *count == Some(3)));
    assert!(counts(&place, "person", "events")[..200].iter().all(|count| *count == Some(0)));

    // A Redis that comes back empty has both forms again.
    place.redis.kill();
    place.redis.start_again();
    run(&place, &file, &FEAST);
    assert_eq!(agree(&place, USERS, "user", &["events", "odd", "adds"], &[("person", "events")]), 200);
}
