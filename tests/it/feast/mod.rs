//! Feast's real SDK on what a run has written: the repository that `kappa feast-repo` makes, online values through both
//! doors, training data from the Delta tables. What is read is compared by `tests/support/read_feast.py`.

mod both_forms;

use std::path::{Path, PathBuf};
use std::process::Command;

use kappa::source::{Codec, Record};

use crate::support::duckdb::offer_delta_to_duckdb;
use crate::support::running::{Live, free_address, is_ready, wait_until};
use crate::support::verify::Place;
use crate::support::{kafka, producer};

const TOPOLOGY: &str = include_str!("everything.yaml");
/// As many as KAPPA_FEAST_USERS says (make feast: 10,000, which takes minutes).
const USERS: usize = 2_000;
/// 2026-01-01.
const START: i64 = 1_767_225_600_000;
const KINDS: [&str; 4] = ["view", "buy", "back", "süß \"x\""];

/// The Python with Feast, as scripts/deps.sh installs it.
fn python() -> PathBuf {
    let own = std::env::var_os("KAPPA_FEAST_PYTHON").map(PathBuf::from);
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    let python = own.unwrap_or_else(|| home.join(".cache/kappa/venv-feast/bin/python3"));
    assert!(python.exists(), "{} is not there: run scripts/deps.sh", python.display());
    python
}

struct Event {
    user: String,
    known_at: i64,
    value: String,
}

fn users() -> usize {
    let given = std::env::var("KAPPA_FEAST_USERS").ok();
    given.map_or(USERS, |text| text.parse().expect("KAPPA_FEAST_USERS is a number"))
}

/// Three events of every user in three rounds, each at a second of its own and off the full second.
fn events() -> Vec<Event> {
    let users = users();
    let event = |index: usize| {
        let (user, round) = (index % users, index / users);
        let name = if user % 1_000 == 0 { format!("ü\"{user}") } else { format!("u{user}") };
        let ts = START + index as i64 * 1_000 + 137;
        // Some users never buy, some values are absent.
        let kind = KINDS[if user % 3 == 0 { 0 } else { (user + round * 7) % KINDS.len() }];
        let price = if (user + round) % 5 == 0 { "null".into() } else { format!("{}.{:02}", user % 97, index % 100) };
        let score = if user % 4 == 1 { "null".into() } else { format!("{}", (index as f64 * 0.37).sin() * 1e3) };
        let count = (1i64 << 53) + index as i64;
        let value = format!(
            "{{\"user_id\":{},\"item\":{},\"kind\":{},\"price\":{price},\"score\":{score},\"count\":{count},\"flag\":{},\"ts\":{ts}}}",
            serde_json::json!(name),
            -(user as i64 % 7),
            serde_json::json!(kind),
            (user + round) % 2 == 0
        );
        // It reaches the log some seconds after it happened.
        Event { user: name, known_at: ts + (index as i64 * 7_919) % 5_000, value }
    };
    (0..3 * users).map(event).collect()
}

fn topology(folder: &Path) -> PathBuf {
    let topic = kafka::shared().new_topic("everything", 4);
    let file = folder.join("everything.yaml");
    std::fs::write(&file, TOPOLOGY.replace("everything.events", &topic)).unwrap();
    let events = events();
    let record = |event: &'static Event| Record {
        key: Some(event.user.as_bytes()),
        value: Some(event.value.as_bytes()),
        time: Some(event.known_at),
        ..Record::default()
    };
    producer::write(kafka::shared(), &topic, Codec::Lz4, Vec::leak(events).iter().map(record));
    file
}

#[test]
fn feasts_sdk_reads_the_same_values_through_both_doors_and_trains_on_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let file = topology(folder.path());
    let place = Place::new(kafka::shared());
    let formats = ["--set", "online.redis.formats=hash,feast"];
    let name = file.display().to_string();
    let mut run = place.kappa(&["run", &name, "--until-caught-up"]);
    let ran = run.args(formats).output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));

    let (address, listen) = free_address();
    let settings = ["--set", &listen, "--set", "http.read_timeout=10s"];
    let mut serve = place.kappa(&["serve", &name]);
    serve.args(settings);
    let _serving = Live::spawn(serve);
    wait_until("the server is ready", || is_ready(&address));

    let repository = folder.path().join("repository");
    let mut command = place.kappa(&["feast-repo", &name, "--out", &repository.display().to_string()]);
    let made = command.args(settings).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));

    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/read_feast.py");
    // DuckDB looks for its reader of Delta tables there.
    offer_delta_to_duckdb(&python(), folder.path());
    let mut read = Command::new(python());
    read.env("HOME", folder.path());
    // Those of the tests are no settings of the program's, which the script runs.
    std::env::vars().filter(|(name, _)| name.starts_with("KAPPA_")).for_each(|(name, _)| {
        read.env_remove(name);
    });
    read.arg(script).arg(&repository).arg(&address).args(["--labels", &users().to_string()]);
    let get =
        [env!("CARGO_BIN_EXE_kappa"), "get", "--topology", &name, "--listen", "", "--redis-url", &place.redis.url()];
    read.args(["--get", &serde_json::json!(get).to_string()]);
    if std::env::var_os("KAPPA_FEAST_FILE").is_some() {
        read.arg("--file-nested");
    }
    let (data, offline) = (place.path("data"), place.path("offline"));
    let training = [env!("CARGO_BIN_EXE_kappa"), "training-data", "--topology", &name, "--data-dir", &data];
    let training = [&training[..], &["--offline-url", &offline, "--listen", ""]].concat();
    read.args(["--training", &serde_json::json!(training).to_string()]);
    let output = read.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{said}");
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for line in [
        "redis: 0 different",
        "server: 0 different",
        "kappa get: 0 different",
        "duckdb: 0 different",
        "file: 0 different",
        "training-data: 0 different",
    ] {
        assert!(said.lines().any(|found| found.starts_with(line)), "{line} is not in {said}");
    }
}
