//! `kappa validate FILE...`: reads topologies, without I/O beyond the files, and reports every problem of each.
//!
//! All files are read before it answers; one that is wrong makes the answer an error of the kind configuration
//! (exit code 2), whose message holds the problems of all files.

use std::path::PathBuf;

use super::open;
use crate::error::{Error, Result};
use crate::topology::{self, Plan};

/// The arguments of `kappa validate`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Topology files.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Prints a line for each valid file; fails with the problems of the others.
pub fn run(args: &Args) -> Result<()> {
    let mut problems = vec![];
    // `topologies/*.yaml` names files of cases too: those are for `kappa test`.
    for file in args.files.iter().filter(|file| args.files.len() == 1 || !open::is_cases(file)) {
        match topology::load(file) {
            Ok(plan) => println!("{}: {}", file.display(), summary(&plan)),
            Err(error) => problems.push(error.to_string()),
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Error::configuration(problems.join("\n"))) }
}

/// `ok (2 entities, 16 features, fingerprint ...)`.
fn summary(plan: &Plan) -> String {
    let entities = plan.entities.len();
    let features: usize = plan.entities.iter().map(|entity| entity.features.len()).sum();
    let entities = format!("{entities} {}", if entities == 1 { "entity" } else { "entities" });
    let features = format!("{features} feature{}", if features == 1 { "" } else { "s" });
    format!("ok ({entities}, {features}, fingerprint {})", plan.fingerprint)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHOP: &str = include_str!("../../topologies/shop.yaml");

    #[test]
    fn a_summary_counts_entities_and_features() {
        let plan = topology::parse("shop.yaml", SHOP).unwrap();
        assert_eq!(summary(&plan), format!("ok (2 entities, 16 features, fingerprint {})", plan.fingerprint));
    }

    #[test]
    fn the_problems_of_all_files_are_one_error_of_exit_code_2() {
        let dir = tempfile::tempdir().unwrap();
        let (good, bad) = (dir.path().join("good.yaml"), dir.path().join("bad.yaml"));
        std::fs::write(&good, SHOP).unwrap();
        std::fs::write(&bad, SHOP.replace("topology: shop", "topolgy: shop")).unwrap();
        assert!(run(&Args { files: vec![good.clone()] }).is_ok());
        let missing = dir.path().join("missing.yaml");
        let error = run(&Args { files: vec![bad.clone(), good, missing.clone()] }).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        let first = format!("{}:2:1: unknown key `topolgy`; did you mean `topology`?", bad.display());
        assert_eq!(text.lines().next(), Some(first.as_str()));
        assert!(text.lines().nth(1).is_some_and(|line| line.starts_with(&missing.display().to_string())), "{text}");
    }
}
