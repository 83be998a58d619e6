//! What DuckDB needs to read Delta tables without a network.

use std::path::Path;
use std::process::Command;

/// DuckDB loads its reader of Delta tables by itself, from its site or from here: the package that deps.sh installs.
pub fn offer_delta_to_duckdb(python: &Path, home: &Path) {
    let code = "import duckdb_ext, pathlib; print(pathlib.Path(duckdb_ext.__path__[0]) / 'extensions')";
    let found = Command::new(python).args(["-c", code]).output().unwrap();
    let extensions = String::from_utf8(found.stdout).unwrap();
    assert!(Path::new(extensions.trim()).is_dir(), "duckdb-ext-delta is not installed: run scripts/deps.sh");
    std::fs::create_dir(home.join(".duckdb")).unwrap();
    std::os::unix::fs::symlink(extensions.trim(), home.join(".duckdb/extensions")).unwrap();
}
