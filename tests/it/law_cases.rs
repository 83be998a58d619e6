//! What the law says of classes, keys and bounds, as cases of `kappa test` that are computed by hand.

use std::path::Path;
use std::process::Command;

#[test]
fn the_cases_of_classes_keys_and_bounds_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/law");
    let output = Command::new(env!("CARGO_BIN_EXE_kappa")).args(["test", "law.yaml"]).current_dir(folder).output();
    let output = output.unwrap();
    let [stdout, stderr] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned());
    assert_eq!(output.status.code(), Some(0), "{stdout}{stderr}");
    assert!(stdout.contains(" 7 passed, 0 failed"), "{stdout}");
}
