//! `kappa materialize`: an online store filled from the history, for a Redis that is new or was lost, without a replay.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use serde_json::json;

use super::ask::AskArgs;
use super::process::Process;
use super::progress::Bar;
use super::{block_on, logging, open, output};
use crate::config::{OfflineKind, OnlineKind, Settings};
use crate::error::{Error, Result};
use crate::features::{Filled, Materializer, id_of};
use crate::runtime::{self, Version, Versions};
use crate::sink::offline::{History, Progress};
use crate::topology::{EntityPlan, FieldType, Plan};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology
    topology: PathBuf,
    /// Only this entity; may be given several times [default: all that have a history]
    #[arg(long, value_name = "NAME")]
    entity: Vec<String>,
    /// Only this id of the one entity named; may be given several times
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    id: Vec<String>,
    /// Only the ids in this file, one a line
    #[arg(long, value_name = "FILE")]
    ids: Option<PathBuf>,
    /// The version whose history it is, where neither data_dir nor a running process knows which one serves
    #[arg(long, value_name = "NUMBER")]
    version: Option<u32>,
    #[command(flatten)]
    ask: AskArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let settings = args.ask.load()?;
    logging::start(&settings.log)?;
    let plan = open::plan(&args.topology)?;
    if settings.online.store == OnlineKind::None || settings.offline.store == OfflineKind::None {
        return Err(Error::configuration(
            "materialize goes from the offline store to the online store: neither may be none",
        ));
    }
    let process = Process::find(&settings)?.filter(|process| process.topology() == Some(plan.topology.as_str()));
    let source = Source::find(args, &settings, plan, process.as_ref())?;
    let entities = covered(&source.plan, &args.entity)?;
    let ids = ids(args, &source.plan, &entities)?;
    let report = block_on(fill(&settings, &source, &entities, ids.as_deref()))?;
    let behind = process.as_ref().map(|process| &process.status);
    output::print(&report.shown(&source, behind, args.ask.json)?)
}

/// Whose history goes online, and with which rank.
struct Source {
    plan: Plan,
    version: u32,
    /// What its rows outrank; 0, below every pipeline's, where it is not known.
    generation: u64,
}

impl Source {
    /// The running process knows the version that serves and its generation, and so does the registry below `data_dir`.
    /// Without either the version must be named, and its rows get the generation 0: values are the same, and whatever a
    /// pipeline writes wins.
    fn find(args: &Args, settings: &Settings, plan: Plan, process: Option<&Process>) -> Result<Self> {
        let versions = Versions::open(&settings.data_dir, &plan.topology)?;
        let running = process.and_then(|process| serde_json::from_value(process.status.get("version")?.clone()).ok());
        let live: Option<Version> = running.or_else(|| versions.live().cloned());
        let Some(live) = live else {
            let version = args.version.ok_or_else(|| {
                Error::configuration(format!(
                    "no version of {} is live in `{}` and no process answers: name the place with --data-dir, the process \
                     with --listen, or the version whose history it is with --version (its rows then rank below those of \
                     every pipeline)",
                    plan.topology,
                    settings.data_dir.display()
                ))
            })?;
            return Ok(Self { plan, version, generation: 0 });
        };
        if let Some(asked) = args.version.filter(|asked| *asked != live.number) {
            return Err(Error::refused(format!(
                "version {} serves, and the store must hold no other one's rows: kappa promote {asked} first, or leave \
                 --version away",
                live.number
            )));
        }
        if let Some(other) = versions.all().iter().find(|other| !other.cut.is_empty()) {
            return Err(Error::refused(format!(
                "version {} is taking over just now, and some partitions are its own already: start kappa run and wait until it \
                 is live, then try again",
                other.number
            )));
        }
        let plan = if plan.fingerprint == live.fingerprint { plan } else { versions.plan(live.number)? };
        Ok(Self { plan, version: live.number, generation: live.generation })
    }
}

/// The entities with a history, of those that are named; indices in the plan.
fn covered(plan: &Plan, names: &[String]) -> Result<Vec<usize>> {
    for name in names {
        let entity = open::entity(plan, name)?;
        if !entity.history {
            return Err(Error::configuration(without_history(entity)));
        }
    }
    let is_asked = |entity: &EntityPlan| names.is_empty() || names.contains(&entity.name);
    let mut covered = Vec::new();
    for (index, entity) in plan.entities.iter().enumerate().filter(|(_, entity)| is_asked(entity)) {
        if entity.history {
            covered.push(index);
        } else {
            eprintln!("{}", without_history(entity));
        }
    }
    Ok(covered)
}

fn without_history(entity: &EntityPlan) -> String {
    format!(
        "entity `{}` has `history: off`: the history holds nothing of it, only a pipeline can publish it (kappa run does, from \
         its state)",
        entity.name
    )
}

/// The ids asked for, in the form that online keys have.
fn ids(args: &Args, plan: &Plan, entities: &[usize]) -> Result<Option<Vec<String>>> {
    if args.id.is_empty() && args.ids.is_none() {
        return Ok(None);
    }
    let ([entity], [_]) = (entities, args.entity.as_slice()) else {
        return Err(Error::configuration("ids are those of one entity: name it with --entity"));
    };
    let mut ids = args.id.clone();
    if let Some(file) = &args.ids {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Error::configuration(format!("--ids {}: {e}", file.display())))?;
        ids.extend(text.lines().filter(|line| !line.is_empty()).map(String::from));
    }
    let entity = &plan.entities[*entity];
    ids.iter().map(|id| normal_id(plan, entity, id)).collect::<Result<_>>().map(Some)
}

/// An id as it stands in an online key.
fn normal_id(plan: &Plan, entity: &EntityPlan, id: &str) -> Result<String> {
    let is_text = |field: &usize| plan.source.fields[*field].ty != FieldType::Int64;
    let parts = match entity.key.as_slice() {
        [field] if is_text(field) => return Ok(id.to_string()),
        [_] => id.parse::<i64>().map(|number| vec![json!(number)]).ok(),
        several => serde_json::from_str::<Vec<serde_json::Value>>(id).ok().filter(|parts| parts.len() == several.len()),
    };
    let wrong = |what: &str| {
        let names: Vec<&str> = entity.key.iter().map(|field| plan.source.fields[*field].name.as_str()).collect();
        Error::configuration(format!(
            "`{id}` is no id of `{}` ({}){what}: give a number, or for several fields a JSON list like [\"u1\",7]",
            entity.name,
            names.join(", ")
        ))
    };
    let parts = parts.ok_or_else(|| wrong(""))?;
    id_of(plan, entity, &parts.iter().collect::<Vec<_>>()).map_err(|what| wrong(&format!(": {what}")))
}

/// What was done.
#[derive(Default)]
struct Report {
    entities: Vec<(String, Filled, Progress)>,
    /// Entities whose tables are not there.
    absent: Vec<String>,
}

async fn fill(settings: &Settings, source: &Source, entities: &[usize], ids: Option<&[String]>) -> Result<Report> {
    let Source { plan, version, generation } = source;
    let mut report = Report::default();
    let mut histories = Vec::new();
    for &entity in entities {
        match History::open(&settings.offline, plan, *version, entity).await? {
            Some(history) => histories.push(history),
            None => report.absent.push(plan.entities[entity].name.clone()),
        }
    }
    let store = runtime::open_online(settings, plan).await?;
    let store = store.ok_or_else(|| Error::configuration("`online.store` is none"))?;
    let total = histories.iter().map(History::rows).sum();
    let (bar, left) = (Bar::new(total), Mutex::new(total));
    let progress = |rows: u64| {
        let mut left = left.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *left = left.saturating_sub(rows);
        bar.left(*left);
    };
    let materializer = Materializer {
        plan,
        store: store.as_ref(),
        generation: *generation,
        version: *version,
        bound_bytes: settings.bounds.materialize_bytes,
        patience: Duration::from_millis(settings.start_timeout.millis().max(0) as u64),
        progress: &progress,
    };
    for history in histories {
        let filled = materializer.fill(&history, ids).await?;
        report.entities.push((plan.entities[history.entity].name.clone(), filled, history.progress));
    }
    Ok(report)
}

impl Report {
    fn shown(&self, source: &Source, status: Option<&serde_json::Value>, as_json: bool) -> Result<String> {
        let reach = self.reach(status);
        if as_json {
            let entity = |(name, filled, _): &(String, Filled, Progress)| json!({"entity": name, "rows": filled.rows, "written": filled.written, "present": filled.present, "missing": filled.missing});
            let report = json!({
                "version": source.version,
                "generation": source.generation,
                "entities": self.entities.iter().map(entity).collect::<Vec<_>>(),
                "without_table": self.absent,
                "reach": reach.iter().map(Reach::json).collect::<Vec<_>>(),
            });
            return serde_json::to_string_pretty(&report).map_err(|e| Error::internal(e.to_string()));
        }
        let mut lines = Vec::new();
        for (name, filled, _) in &self.entities {
            let Filled { rows, written, present, missing } = filled;
            lines.push(format!("{name}: {written} entities written, {present} were there ({rows} rows gone through)"));
            if let Some(first) = missing.first() {
                lines.push(format!("{name}: {} ids have no row in the history, {first:?} the first", missing.len()));
            }
        }
        for name in &self.absent {
            lines.push(format!("{name}: version {} has no table of it in the offline store yet", source.version));
        }
        lines.extend(reach.iter().map(Reach::text));
        if source.generation == 0 {
            lines.push("written with generation 0: every row of a pipeline replaces these".into());
        }
        Ok(lines.join("\n"))
    }

    /// How far the tables reach; of several the least.
    fn reach(&self, status: Option<&serde_json::Value>) -> Vec<Reach> {
        let mut found: std::collections::BTreeMap<i32, Reach> = std::collections::BTreeMap::new();
        for (partition, task) in self.entities.iter().flat_map(|(_, _, progress)| &progress.partitions) {
            let folded = status.and_then(|status| {
                status.pointer(&format!("/partitions/{partition}/next_offset")).and_then(serde_json::Value::as_i64)
            });
            let reach = Reach {
                partition: *partition,
                next_offset: task.next_offset,
                watermark: task.watermark,
                waiting: folded.map(|folded| (folded - task.next_offset).max(0)),
            };
            let known = found.entry(*partition).or_insert(reach);
            if task.next_offset < known.next_offset {
                *known = reach;
            }
        }
        found.into_values().collect()
    }
}

/// How far the history of a partition reaches.
#[derive(Debug, Clone, Copy)]
struct Reach {
    partition: i32,
    next_offset: i64,
    watermark: Option<i64>,
    /// Records that a running process has folded and that wait for its next commit.
    waiting: Option<i64>,
}

impl Reach {
    fn json(&self) -> serde_json::Value {
        let Self { partition, next_offset, watermark, waiting } = self;
        json!({"partition": partition, "next_offset": next_offset, "watermark": watermark, "waiting": waiting})
    }

    fn text(&self) -> String {
        let Self { partition, next_offset, watermark, waiting } = self;
        let watermark = watermark.map_or("none".to_string(), super::instant::show_instant);
        let waiting = match waiting {
            Some(0) => "; the running process is no further".to_string(),
            Some(records) => format!("; the running process is {records} offsets further, and publishes those itself"),
            None => String::new(),
        };
        format!("partition {partition}: the history reaches offset {next_offset}, watermark {watermark}{waiting}")
    }
}
