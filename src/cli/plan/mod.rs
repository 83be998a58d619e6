//! `kappa plan NEW.yaml`: what a changed topology would change and what rebuilding it takes, before anything runs.
//!
//! Always holds: it reads (the registry of versions, the live version's own topology, a bounded sample of the log) and
//! writes nothing; no process need run. `changes` compares the topologies, `reach` says what of the log is read, `sample`
//! measures a part of it, `whole` says from when on values are whole where the log does not begin at its beginning,
//! `report` prints.

mod changes;
mod reach;
mod report;
mod sample;
mod whole;
mod words;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::reach::Reach;
use self::report::{Against, Outcome, PartLine, Rate, Replay, Report, Retention, SampleLine, WholeLine};
use self::sample::Sample;
use self::whole::Begin;
use super::ask::AskArgs;
use super::test::times::show_instant;
use super::{open, output};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::runtime::{ReplayFrom, Standing, Version, Versions};
use crate::source::KafkaSource;
use crate::topology::{Difference, Plan};

/// The arguments of `kappa plan`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology as it is to be
    #[arg(value_name = "NEW")]
    topology: PathBuf,
    /// Where the replay would start: 0, earliest, an RFC 3339 time, or offset:PARTITION=OFFSET,...
    #[arg(long, value_name = "START", default_value = "0")]
    replay_from: ReplayFrom,
    /// The most records to read for the estimates of bytes and time
    #[arg(long, value_name = "RECORDS", default_value_t = 20_000)]
    sample: usize,
    #[command(flatten)]
    ask: AskArgs,
}

/// Prints the plan; an error of the kind refused when a run would refuse it.
pub fn run(args: &Args) -> Result<()> {
    if matches!(args.replay_from, ReplayFrom::Archive | ReplayFrom::Redrive(_)) {
        return Err(Error::configuration(
            "kappa plan estimates by the log alone: say --replay-from earliest for what the log has; kappa archive --show \
             says what the archive has",
        ));
    }
    let settings = args.ask.load()?;
    let plan = Arc::new(open::plan(&args.topology)?);
    let versions = Versions::open(&settings.data_dir, &plan.topology)?;
    let report = report(&settings, &plan, &versions, args)?;
    if args.ask.json {
        let tree = serde_json::to_value(&report)
            .map_err(|error| Error::internal(format!("the plan cannot be written as JSON: {error}")))?;
        output::tree(&tree, true)?;
    } else {
        output::print(&report.text())?;
    }
    report.refused.map_or(Ok(()), |why| Err(Error::refused(why)))
}

fn report(settings: &Settings, plan: &Arc<Plan>, versions: &Versions, args: &Args) -> Result<Report> {
    let from = &args.replay_from;
    let live = versions.live();
    let before = live.map(|live| versions.plan(live.number)).transpose()?;
    let against = live.zip(before.as_ref());
    let against = against.map(|(live, before)| (before, Difference::between(before, &live.fingerprint, plan)));
    let outcome = outcome(versions, plan, from);
    let (reach, sample) = look(settings, plan, args)?;
    let replays = matches!(outcome, Outcome::First | Outcome::Builds);
    Ok(Report {
        topology: plan.topology.clone(),
        fingerprint: plan.fingerprint.clone(),
        against: live.map(|live| Against { version: live.number, fingerprint: live.fingerprint.clone() }),
        outcome,
        changes: changes::between(against.as_ref().map(|(before, difference)| (*before, difference)), plan),
        replay: replay(settings, versions, from, &reach, &sample),
        retention: retention(plan, &reach, &sample),
        refused: reach.refusal.filter(|_| replays),
    })
}

/// What the log has, and a sample of what would be replayed.
fn look(settings: &Settings, plan: &Arc<Plan>, args: &Args) -> Result<(Reach, Sample)> {
    let group = settings.kafka.group.replace("{topology}", &plan.topology);
    let mut source = KafkaSource::open(&settings.kafka, &plan.source.topic, &group)?;
    let log = source.describe()?;
    let by_time = match &args.replay_from {
        ReplayFrom::Time(time) => {
            let partitions: Vec<i32> = log.iter().map(|info| info.partition).collect();
            source.handle().offsets_at(&partitions, *time)?
        }
        _ => vec![],
    };
    let reach = reach::reach(&plan.source.topic, &log, &args.replay_from, &by_time);
    let batches = sample::read(&mut source, &reach.parts, args.sample)?;
    let sample = sample::fold(plan, &batches)?;
    // Batches hold the client: they go first.
    drop(batches);
    source.close(Duration::from_secs(2));
    Ok((reach, sample))
}

/// What a run with this topology and this start would do: as `Versions::choose` decides.
fn outcome(versions: &Versions, plan: &Plan, from: &ReplayFrom) -> Outcome {
    let Some(live) = versions.live() else { return Outcome::First };
    let same =
        |version: &&Version| !version.dropped && version.fingerprint == plan.fingerprint && version.start == *from;
    let unfinished = |version: &&Version| matches!(version.standing, Standing::Building | Standing::Ready);
    let kept = || versions.all().iter().rev().filter(same);
    if let Some(version) = kept().find(unfinished) {
        return Outcome::Continues(version.number);
    }
    if same(&live) {
        return Outcome::Resumes(live.number);
    }
    kept().next().map_or(Outcome::Builds, |version| Outcome::IsKept(version.number))
}

fn replay(settings: &Settings, versions: &Versions, from: &ReplayFrom, reach: &Reach, sample: &Sample) -> Replay {
    let partitions = reach.parts.iter().map(|part| {
        let first = sample.firsts.get(&part.partition);
        PartLine {
            partition: part.partition,
            low: part.low,
            high: part.high,
            start: part.start,
            records: part.records(),
            first_kafka_time: first.and_then(|first| first.kafka_time).map(show_instant),
            first_event_time: first.and_then(|first| first.event_time).map(show_instant),
        }
    });
    let records: u64 = reach.parts.iter().map(reach::Part::records).sum();
    let rate = rate(settings, versions, reach, sample);
    Replay {
        from: from.to_string(),
        partitions: partitions.collect(),
        records,
        bytes: sample.record_bytes().map(|bytes| (bytes * records as f64) as u64),
        seconds: rate.as_ref().map(|rate| records as f64 / rate.records_per_second),
        rate,
        sample: SampleLine {
            records: sample.records,
            bytes: sample.bytes,
            classes: sample.classes.iter().filter(|(_, n)| *n > 0).copied().collect(),
            stopped: sample.stopped.clone(),
        },
    }
}

/// As a version was really built, the newest that tells; else as the sample was folded.
fn rate(settings: &Settings, versions: &Versions, reach: &Reach, sample: &Sample) -> Option<Rate> {
    let built = |version: &Version| Some((version.number, version.built_at_rate.filter(|rate| *rate > 0.0)?));
    if let Some((number, records_per_second)) = versions.all().iter().rev().find_map(built) {
        return Some(Rate { records_per_second, measured: format!("as version {number} was built here") });
    }
    let one = sample.rate()?;
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let workers = if settings.workers == 0 { cores } else { settings.workers };
    let workers = workers.min(reach.parts.iter().filter(|part| part.records() > 0).count()).max(1);
    let measured = format!(
        "the sample, folded on one core, times {workers} workers; reading Kafka and writing state and history come on top"
    );
    Some(Rate { records_per_second: one * workers as f64, measured })
}

/// What is missing, when the replay does not see the beginning of some partition.
fn retention(plan: &Plan, reach: &Reach, sample: &Sample) -> Option<Retention> {
    let cut: Vec<i32> = reach.parts.iter().filter(|part| part.misses_some()).map(|part| part.partition).collect();
    if cut.is_empty() {
        return None;
    }
    let begins = cut.iter().map(|partition| {
        let first = sample.firsts.get(partition)?;
        Begin::of(plan, first.kafka_time, first.event_time)
    });
    // One partition that cannot tell leaves all entities in doubt: any of them may live there.
    let begin =
        begins.collect::<Option<Vec<Begin>>>().and_then(|begins| begins.into_iter().max_by_key(|begin| begin.0));
    let features = plan.entities.iter().flat_map(|entity| {
        let known = begin.map(|begin| whole::of_entity(plan, entity, begin)).unwrap_or_default();
        known.into_iter().map(|(feature, whole)| WholeLine {
            entity: entity.name.clone(),
            feature,
            whole_from: whole.from.map(show_instant),
            words: whole.words,
        })
    });
    let missing_up_to = begin.map(|begin| show_instant(begin.0));
    Some(Retention { missing_up_to, partitions: cut, features: features.collect() })
}
