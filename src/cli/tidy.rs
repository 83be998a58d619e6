//! `kappa compact` and `kappa vacuum`: the files of the offline store kept few and large, and those that nobody needs
//! removed. Both are safe beside a running process, which does the same by itself.

use std::path::PathBuf;

use serde_json::json;

use super::ask::AskArgs;
use super::process::Process;
use super::{block_on, logging, open, output};
use crate::config::{MIN_RETENTION, OfflineKind, Settings};
use crate::error::{Error, Result};
use crate::runtime::{self, Version, Versions};
use crate::sink::offline::{CompactHow, Compacted, Tidied, Tidying, tidy};
use crate::time::Span;
use crate::topology::Plan;

/// The retention of a vacuum where the settings have none.
const RETENTION: Span = Span(7 * 24 * 3_600_000);

/// Which tables.
#[derive(Debug, clap::Args)]
pub struct Tables {
    /// The topology
    topology: PathBuf,
    /// Only the table of this entity, or dead_letters; may be given several times
    #[arg(long, value_name = "NAME")]
    entity: Vec<String>,
    /// Only this version [default: all that data_dir or the running process knows]
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    ask: AskArgs,
}

#[derive(Debug, clap::Args)]
pub struct CompactArgs {
    /// Afterwards remove the files that no state within the retention needs, as kappa vacuum does
    #[arg(long)]
    vacuum: bool,
    #[command(flatten)]
    tables: Tables,
}

#[derive(Debug, clap::Args)]
pub struct VacuumArgs {
    /// Keep what states of the tables within this time need: 7d [default: offline.vacuum_retention]
    #[arg(long, value_name = "DURATION")]
    retain: Option<Span>,
    #[command(flatten)]
    tables: Tables,
}

/// `kappa compact`: every date's small files become large ones.
pub fn compact(args: &CompactArgs) -> Result<()> {
    let how = CompactHow { all: true, dry_run: args.tables.dry_run, now: runtime::now() };
    let settings = args.tables.settings()?;
    let vacuum = args.vacuum.then(|| settings.offline.vacuum_retention.unwrap_or(RETENTION));
    args.tables.tidy(&settings, Some(how), vacuum)
}

/// `kappa vacuum`: files that no state of a table within the retention needs are removed.
pub fn vacuum(args: &VacuumArgs) -> Result<()> {
    let settings = args.tables.settings()?;
    let retention = args.retain.or(settings.offline.vacuum_retention).unwrap_or(RETENTION);
    if retention < MIN_RETENTION {
        return Err(Error::configuration(format!(
            "--retain {retention}: at least {MIN_RETENTION}, for a file may wait that long for its commit"
        )));
    }
    args.tables.tidy(&settings, None, Some(retention))
}

impl Tables {
    fn settings(&self) -> Result<Settings> {
        let settings = self.ask.load()?;
        logging::start(&settings.log)?;
        if settings.offline.store == OfflineKind::None {
            return Err(Error::configuration("`offline.store` is none: there are no tables"));
        }
        Ok(settings)
    }

    fn tidy(&self, settings: &Settings, compact: Option<CompactHow>, vacuum: Option<Span>) -> Result<()> {
        let what = Tidying { names: &self.entity, compact, vacuum, dry_run: self.dry_run };
        let versions = versions(settings, open::plan(&self.topology)?, self.version)?;
        let done = block_on(async {
            let mut done = Vec::new();
            for (version, plan) in versions {
                let tables = tidy(&settings.offline, &plan, version, what, &|| false).await?;
                done.extend(tables.into_iter().map(|table| (version, table)));
            }
            Ok(done)
        })?;
        if self.ask.json {
            return output::tree(&json!(done.iter().map(as_json).collect::<Vec<_>>()), true);
        }
        let lines: Vec<String> = done.iter().map(|(version, table)| line(*version, table, self.dry_run)).collect();
        match lines.is_empty() {
            true => output::print("there is no such table in the offline store yet"),
            false => output::print(&lines.join("\n")),
        }
    }
}

/// The versions whose tables are meant, each with its topology.
pub fn versions(settings: &Settings, plan: Plan, asked: Option<u32>) -> Result<Vec<(u32, Plan)>> {
    let known = Versions::open(&settings.data_dir, &plan.topology)?;
    let plan_of = |version: &Version| {
        let plan = if version.fingerprint == plan.fingerprint { plan.clone() } else { known.plan(version.number)? };
        Ok((version.number, plan))
    };
    let registered = known.all().iter().filter(|version| asked.is_none_or(|asked| asked == version.number));
    let found = registered.map(plan_of).collect::<Result<Vec<_>>>()?;
    if !found.is_empty() {
        return Ok(found);
    }
    if let Some(asked) = asked {
        return Ok(vec![(asked, plan)]);
    }
    let process = Process::find(settings)?.filter(|process| process.topology() == Some(plan.topology.as_str()));
    let running =
        process.and_then(|process| serde_json::from_value::<Version>(process.status.get("version")?.clone()).ok());
    match running {
        Some(version) if version.fingerprint == plan.fingerprint => Ok(vec![(version.number, plan)]),
        _ => Err(Error::configuration(format!(
            "no version of {} is known in `{}`: name one with --version, or the place with --data-dir",
            plan.topology,
            settings.data_dir.display()
        ))),
    }
}

fn as_json((version, table): &(u32, Tidied)) -> serde_json::Value {
    let Tidied { name, compacted, vacuumed } = table;
    let compacted = compacted.map(|done| {
        json!({
            "files": done.files, "replaced": done.replaced, "written": done.written, "rows": done.rows,
            "replaced_bytes": done.replaced_bytes, "written_bytes": done.written_bytes,
        })
    });
    let vacuumed = vacuumed.as_ref().map(|done| json!({"files": done.files, "kept_versions": done.kept_versions}));
    json!({"version": version, "table": name, "compacted": compacted, "vacuumed": vacuumed})
}

fn line(version: u32, table: &Tidied, dry_run: bool) -> String {
    let mut parts = Vec::new();
    if let Some(done) = table.compacted {
        let Compacted { files, replaced, written, replaced_bytes, written_bytes, .. } = done;
        parts.push(match (replaced, dry_run) {
            (0, _) => format!("{files} files, none to merge"),
            (_, true) => format!("{replaced} of {files} files ({replaced_bytes} bytes) would be merged"),
            (_, false) => {
                format!("{replaced} of {files} files ({replaced_bytes} bytes) became {written} ({written_bytes} bytes)")
            }
        });
    }
    if let Some(done) = &table.vacuumed {
        let (count, verb) = (done.files.len(), if dry_run { "would be removed" } else { "were removed" });
        let kept = match done.kept_versions {
            0 => String::new(),
            kept => format!(", {kept} versions are kept for manifests"),
        };
        parts.push(format!("{count} files that nothing needs {verb}{kept}"));
    }
    format!("v{version} {}: {}", table.name, parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::offline::Vacuumed;

    #[test]
    fn a_line_says_what_was_done_or_would_be() {
        let compacted = Compacted {
            files: 10,
            replaced: 9,
            written: 1,
            replaced_bytes: 900,
            written_bytes: 300,
            ..Compacted::default()
        };
        let vacuumed = Vacuumed { files: vec!["a".into()], kept_versions: 2 };
        let table = Tidied { name: "user".into(), compacted: Some(compacted), vacuumed: Some(vacuumed) };
        assert_eq!(
            line(3, &table, false),
            "v3 user: 9 of 10 files (900 bytes) became 1 (300 bytes); 1 files that nothing needs were removed, 2 versions \
             are kept for manifests"
        );
        assert!(line(3, &table, true).contains("9 of 10 files (900 bytes) would be merged; 1 files"));
        let nothing = Tidied { compacted: Some(Compacted { files: 4, ..Compacted::default() }), ..table };
        assert!(line(3, &nothing, false).starts_with("v3 user: 4 files, none to merge"));
    }
}
