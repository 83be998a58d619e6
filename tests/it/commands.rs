//! The binary as people call it: results on stdout, errors on stderr, and the documented exit codes.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// Runs the binary in a folder of its own, without settings from this environment.
fn kappa(folder: &Path, args: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("KAPPA_")) {
            command.env_remove(name);
        }
    }
    command.args(args).envs(environment.iter().copied()).current_dir(folder).output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A folder with the shop's topology in `topologies/`.
fn folder_with_shop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("topologies")).unwrap();
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("topologies/shop.yaml");
    std::fs::copy(shop, folder.path().join("topologies/shop.yaml")).unwrap();
    folder
}

#[test]
fn a_flag_wins_over_the_environment_which_wins_over_the_file() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("my.yaml"), "workers: 1\nkafka: {brokers: 'file:1'}\nlog: {level: warn}\n")
        .unwrap();
    let args = ["config", "--json", "--config", "my.yaml", "--brokers", "flag:1"];
    let environment =
        [("KAPPA_KAFKA__BROKERS", "env:1"), ("KAPPA_WORKERS", "2"), ("KAPPA_ONLINE__REDIS__PASSWORD", "pw")];
    let output = kappa(folder.path(), &args, &environment);
    let settings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(settings["kafka"]["brokers"], "flag:1");
    assert_eq!(settings["workers"], 2);
    assert_eq!(settings["log"]["level"], "warn");
    assert_eq!(settings["online"]["redis"]["password"], "***");
}

#[test]
fn what_config_prints_is_a_file_that_config_reads() {
    let folder = tempfile::tempdir().unwrap();
    for flags in [&["config"][..], &["config", "--defaults"]] {
        std::fs::write(folder.path().join("all.yaml"), &kappa(folder.path(), flags, &[]).stdout).unwrap();
        let again = kappa(folder.path(), &["config", "--config", "all.yaml"], &[]);
        assert_eq!(stdout(&again), stdout(&kappa(folder.path(), &["config"], &[])), "{}", stderr(&again));
    }
}

#[test]
fn an_unknown_setting_is_exit_code_2_and_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let output = kappa(folder.path(), &["config"], &[("KAPPA_KAFKA__BROKER", "x:1")]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "error: KAPPA_KAFKA__BROKER: `kafka.broker` is no setting: did you mean `kafka.brokers`?\n"
    );
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_wrong_command_line_or_topology_is_exit_code_2() {
    let folder = folder_with_shop();
    std::fs::write(folder.path().join("wrong.yaml"), "topolgy: shop\n").unwrap();
    for args in [
        &["run"][..],
        &["run", "topologies/shop.yaml", "--again"],
        &["run", "topologies/shop.yaml", "--replay-from", "yesterday"],
        &["run", "missing.yaml"],
        &["validate", "wrong.yaml"],
        &["get", "item", "i1", "--listen", ""],
        &["history", "item", "i1", "--listen", ""],
        &["why", "user", "u1", "no_such_feature"],
        &["why", "user", "u1", "views_1h", "--at", "yesterday"],
        &["nonsense"],
    ] {
        let output = kappa(folder.path(), args, &[]);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).starts_with("error: "), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn nobody_there_is_exit_code_4() {
    let folder = folder_with_shop();
    // Port 1 is never listened to.
    let nobody = ["--listen", "127.0.0.1:1"];
    let redis = ["--redis-url", "redis://127.0.0.1:1"];
    for args in [&[&["status"][..], &nobody].concat()[..], &[&["get", "user", "u1"][..], &nobody, &redis].concat()] {
        let output = kappa(folder.path(), args, &[]);
        assert_eq!(output.status.code(), Some(4), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("127.0.0.1:1"), "{args:?}: {}", stderr(&output));
    }
}

#[test]
fn several_topologies_have_to_be_told_apart() {
    let folder = folder_with_shop();
    std::fs::copy(folder.path().join("topologies/shop.yaml"), folder.path().join("topologies/other.yaml")).unwrap();
    let output = kappa(folder.path(), &["get", "user", "u1", "--listen", ""], &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--topology"), "{}", stderr(&output));
}

#[test]
fn the_demo_shows_all_of_it_and_leaves_a_history() {
    let folder = folder_with_shop();
    let output = kappa(folder.path(), &["demo", "--dir", "demo", "--seconds", "6"], &[]);
    let (shown, said) = (stdout(&output), stderr(&output));
    assert_eq!(output.status.code(), Some(0), "{said}\n{shown}");
    assert!(said.is_empty(), "nothing is amiss, so nothing is logged: {said}");
    let features = [
        "user_avg_purchase_90d",
        "category_affinity_score",
        "lifetime_value",
        "items_viewed_this_session",
        "cart_value",
        "time_since_last_click",
    ];
    for name in features {
        // The busiest user has a value of each: the last one is nowhere but in the answer.
        let line = shown.lines().rev().find(|line| line.starts_with(&format!("{name}  ")));
        let value = line.and_then(|line| line.split_whitespace().nth(1));
        assert!(value.is_some_and(|value| value != "-"), "{name}: {line:?} in\n{shown}\n{said}");
    }
    for part in ["HMGET features:u42", "drained", "Training data", "What to try next"] {
        assert!(shown.contains(part), "{part} is missing from\n{shown}\n{said}");
    }
    // The busiest user was known two days ago and an hour ago.
    assert_eq!(shown.lines().filter(|line| line.starts_with("u1  ")).count(), 2, "{shown}");
    assert!(folder.path().join("demo/offline/shop/user/v1/_delta_log").is_dir());
    let place = ["--listen", "", "--data-dir", "demo/state", "--offline-url", "demo/offline"];
    let history =
        kappa(folder.path(), &[&["history", "user", "u1", "--json", "--limit", "5"][..], &place].concat(), &[]);
    let rows = stdout(&history);
    assert_eq!(rows.lines().count(), 5, "{}", stderr(&history));
    for row in rows.lines() {
        assert_eq!(serde_json::from_str::<Value>(row).unwrap()["user_id"], "u1");
    }
}
