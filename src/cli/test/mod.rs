//! `kappa test TOPOLOGY`: a topology's own cases: events in, expected rows and values out. No Kafka, no Redis, no disk.
//!
//! Always holds: what runs is what the runtime runs (decoder, expressions, task), over a store in memory; a case knows
//! nothing of another; no clock decides anything, a case names its times. The way of a case: `file` (or `lines`) finds
//! and reads it with `events` and `expect`, `drive` runs it, `align` and `compare` find what differs, `report` says so,
//! `update` writes what was found into the file.

mod align;
mod compare;
mod drive;
mod events;
mod expect;
mod file;
mod lines;
pub(super) mod read;
mod report;
pub(super) mod times;
mod update;
pub(super) mod value;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::compare::compare;
use self::expect::{Cell, Column, Expect};
use self::file::{Case, CaseFile};
use self::report::{Outcome, Report};
use self::update::Edit;
use self::value::Shown;
use super::open;
use crate::error::{Error, Result};
use crate::topology::Plan;

/// The arguments of `kappa test`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A topology; its cases are in NAME.test.yaml beside it, and in the files of NAME.tests/
    #[arg(value_name = "TOPOLOGY")]
    pub topology: PathBuf,
    /// A file of cases (.yaml, or .jsonl for long ones), or a folder of them, instead
    #[arg(long, value_name = "FILE_OR_DIR")]
    pub cases: Vec<PathBuf>,
    /// Only cases whose name has this text in it
    #[arg(long, value_name = "TEXT")]
    pub only: Option<String>,
    /// Write what was found into the expectations that differ, and into cases that expect nothing yet
    #[arg(long)]
    pub update: bool,
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

/// Runs the cases and prints their outcome; an error of the kind unmet when some fail.
pub fn run(args: &Args) -> Result<()> {
    let plan = Arc::new(open::plan(&args.topology)?);
    let shown: Vec<Vec<Shown>> = plan.entities.iter().map(value::shown).collect();
    let bench = Bench { plan, shown, args };
    let mut updated = vec![];
    if args.update {
        updated = bench.update()?;
    }
    let report = Report { updated, ..bench.report()? };
    report.print(args.json)?;
    match (report.failed(), report.outcomes.len()) {
        (0, _) => Ok(()),
        (failed, all) => Err(Error::unmet(format!(
            "{failed} of {all} cases of {} failed: mend the topology, or what they expect (--update writes what was found)",
            args.topology.display()
        ))),
    }
}

/// What cases are run with.
struct Bench<'a> {
    plan: Arc<Plan>,
    shown: Vec<Vec<Shown>>,
    args: &'a Args,
}

impl Bench<'_> {
    /// All files of cases, read; the problems of all of them are one error.
    fn files(&self, fill: bool) -> Result<Vec<CaseFile>> {
        let mut paths = vec![];
        for given in &self.args.cases {
            if given.is_dir() { paths.extend(file::in_folder(given)?) } else { paths.push(given.clone()) }
        }
        if self.args.cases.is_empty() {
            paths = file::beside(&self.args.topology)?;
        }
        let (mut files, mut problems) = (vec![], vec![]);
        for path in &paths {
            match file::read(path, &self.plan, &self.shown, fill) {
                Ok(file) => files.push(file),
                Err(error) => problems.push(error.to_string()),
            }
        }
        let only = |case: &Case| self.args.only.as_ref().is_none_or(|text| case.name.contains(text.as_str()));
        files.iter_mut().for_each(|file| file.cases.retain(only));
        if !problems.is_empty() {
            return Err(Error::configuration(problems.join("\n")));
        }
        match (&self.args.only, files.iter().any(|file| !file.cases.is_empty())) {
            (_, true) => Ok(files),
            (Some(text), false) => Err(Error::configuration(format!("no case has `{text}` in its name"))),
            (None, false) => Err(Error::configuration("there is no case: write one, as docs/testing.md shows")),
        }
    }

    fn report(&self) -> Result<Report> {
        let (mut outcomes, mut seen) = (vec![], BTreeSet::new());
        for file in self.files(false)? {
            let name = file.path.display().to_string();
            for case in &file.cases {
                let Some(expect) = &case.expect else { continue };
                look(expect, &mut seen);
                let mut run = drive::run(&self.plan, &self.shown, &case.events, case.clock.start)?;
                let differences = compare(case, expect, &mut run, file.lines)?;
                let (file, line, name) = (name.clone(), case.mark.line, case.name.clone());
                outcomes.push(Outcome { file, line, name, differences });
            }
        }
        let all = || (0..self.shown.len()).flat_map(|entity| (0..self.shown[entity].len()).map(move |at| (entity, at)));
        let name = |(entity, at): (usize, usize)| {
            format!("{}.{}", self.plan.entities[entity].name, self.shown[entity][at].name)
        };
        let unseen = all().filter(|feature| !seen.contains(feature)).map(name).collect();
        let (topology, features) = (self.plan.topology.clone(), all().count());
        Ok(Report { topology, outcomes, unseen, features, updated: vec![] })
    }

    /// Writes what is found into what is expected; answers the files that have changed.
    fn update(&self) -> Result<Vec<String>> {
        let mut updated = vec![];
        for file in self.files(true)? {
            let name = file.path.display().to_string();
            let mut edits: Vec<Edit> = vec![];
            for case in &file.cases {
                let mut run = drive::run(&self.plan, &self.shown, &case.events, case.clock.start)?;
                match &case.expect {
                    Some(expect) => {
                        let differences = compare(case, expect, &mut run, file.lines)?;
                        edits.extend(differences.into_iter().flat_map(|difference| difference.edits));
                    }
                    None => edits.push(update::fill(case, &run, file.lines, &file.text)),
                }
            }
            if !edits.is_empty() {
                write(&file.path, &update::apply(&name, &file.text, edits)?)?;
                updated.push(name);
            }
        }
        Ok(updated)
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text)
        .map_err(|error| Error::configuration(format!("{}: what was found cannot be written: {error}", path.display())))
}

/// Notes the features that a case looks at, by entity and index.
fn look(expect: &Expect, seen: &mut BTreeSet<(usize, usize)>) {
    let rows = expect.rows.iter().flat_map(|rows| rows.rows.iter().map(|row| (rows.entity, &row.cells)));
    let standing = expect.standing.iter().filter_map(|one| Some((one.entity, one.cells.as_ref()?)));
    for (entity, cells) in rows.chain(standing) {
        let index = |cell: &Cell| if let Column::Shown(index) = cell.column { Some(index) } else { None };
        seen.extend(cells.iter().filter_map(index).map(|index| (entity, index)));
    }
}
