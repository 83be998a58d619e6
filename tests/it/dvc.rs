//! docs/examples/dvc in the real DVC: `dvc repro` makes the training file from its manifest, the same bytes after the
//! history has grown; a changed manifest is another file.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use kappa::source::{Codec, Record};

use crate::support::verify::Place;
use crate::support::{kafka, producer};

const STAGES: &str = include_str!("../../docs/examples/dvc/dvc.yaml");
/// 2026-01-05T09:00Z.
const NINE: i64 = 1_767_603_600_000;
const MANIFEST: &str = "training.parquet.manifest.json";

/// DVC, as scripts/deps.sh installs it.
fn dvc() -> PathBuf {
    let home = PathBuf::from(std::env::var_os("HOME").expect("HOME is set"));
    let dvc = home.join(".cache/kappa/venv-dvc/bin/dvc");
    assert!(dvc.exists(), "{} is not there: run scripts/deps.sh", dvc.display());
    dvc
}

/// One more view of each of ten users, in each of these minutes.
fn write(topic: &str, minutes: std::ops::Range<i64>) {
    let events: Vec<(String, i64, String)> = minutes
        .flat_map(|minute| (0..10).map(move |user| (minute, user)))
        .map(|(minute, user)| {
            let (id, ts) = (format!("u{user}"), NINE + minute * 60_000 + user);
            let value = format!("{{\"user_id\":\"{id}\",\"ts\":{ts}}}");
            (id, ts, value)
        })
        .collect();
    let record = |(id, ts, value): &'static (String, i64, String)| Record {
        key: Some(id.as_bytes()),
        value: Some(value.as_bytes()),
        time: Some(*ts),
        ..Record::default()
    };
    producer::write(kafka::shared(), topic, Codec::None, Vec::leak(events).iter().map(record));
}

fn succeeded(what: &str, output: Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{what}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

/// A folder with the example in it.
struct Project<'a> {
    folder: &'a Path,
}

impl Project<'_> {
    /// Runs a command of DVC's; `kappa` is found on the path.
    fn dvc(&self, arguments: &[&str]) -> String {
        let binary = Path::new(env!("CARGO_BIN_EXE_kappa")).parent().unwrap();
        let mut command = Command::new(dvc());
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("KAPPA_")) {
            command.env_remove(name);
        }
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        command.args(arguments).current_dir(self.folder).env("PATH", path).env("DVC_NO_ANALYTICS", "1");
        succeeded(&arguments.join(" "), command.output().unwrap())
    }

    fn file(&self) -> Vec<u8> {
        std::fs::read(self.folder.join("training.parquet")).unwrap()
    }
}

#[test]
fn dvc_makes_the_training_file_of_a_manifest_again_whatever_the_history_has_become() {
    let (folder, place) = (tempfile::tempdir().unwrap(), Place::new(kafka::shared()));
    let topic = kafka::shared().new_topic("dvc", 2);
    let yaml = format!(
        "topology: repro\nsource:\n  topic: {topic}\n  format: json\n  event_time: ts\n  schema: {{user_id: string, ts: \
         timestamp_ms}}\nentities:\n  user:\n    key: user_id\n    features:\n      views: {{count: \"*\", window: lifetime}}\n"
    );
    let topology = folder.path().join("repro.yaml");
    std::fs::write(&topology, yaml).unwrap();
    let topology = topology.display().to_string();
    let run = || succeeded("run", place.kappa(&["run", &topology, "--until-caught-up"]).output().unwrap());
    let labels: String = (0..40).map(|at| format!("u{},2026-01-05T09:{:02}:30Z,{}\n", at % 11, at, at % 2)).collect();
    std::fs::write(folder.path().join("labels.csv"), format!("user_id,event_timestamp,bought\n{labels}")).unwrap();
    let train = || {
        let mut command = place.kappa(&["training-data", "--topology", &topology]);
        command.args(["--labels", "labels.csv", "--features", "user", "--out", "training.parquet"]);
        succeeded("training-data", command.current_dir(folder.path()).output().unwrap());
    };

    write(&topic, 0..20);
    run();
    train();
    std::fs::write(folder.path().join("dvc.yaml"), STAGES).unwrap();
    let project = Project { folder: folder.path() };
    let first = project.file();
    project.dvc(&["init", "--no-scm"]);
    project.dvc(&["repro"]);
    assert_eq!(project.file(), first, "the manifest's own file");
    assert!(project.dvc(&["status"]).contains("up to date"));

    // The history goes on: the manifest's file stays what it was, also for whoever has none yet.
    write(&topic, 20..40);
    run();
    std::fs::remove_file(folder.path().join("training.parquet")).unwrap();
    project.dvc(&["repro", "--force"]);
    assert_eq!(project.file(), first, "made again over a longer history");

    // A new manifest is a new file, and DVC sees it.
    train();
    let second = project.file();
    assert_ne!(second, first);
    std::fs::remove_file(folder.path().join("training.parquet")).unwrap();
    assert!(project.dvc(&["status"]).contains(MANIFEST));
    project.dvc(&["repro"]);
    assert_eq!(project.file(), second);
    assert!(project.dvc(&["status"]).contains("up to date"));
}
