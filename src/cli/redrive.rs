//! `kappa redrive`: a replay in which dead letters enter again in their right place, also those that the log no longer
//! has.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::settings::SettingsArgs;
use super::{block_on, output, pipeline, signals};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::runtime::{self, Observer, Reason, Redrive, ReplayFrom, RunOptions, Versions};
use crate::source::RedrivenCounts;
use crate::time::Millis;
use crate::topology::Plan;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology, with the cause mended
    topology: PathBuf,
    /// Only dead letters of this class: malformed, over_limit, future or late
    #[arg(long, value_name = "CLASS", value_parser = parse_reason)]
    reason: Option<Reason>,
    /// Only those whose Kafka time is this or later: 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    since: Option<Millis>,
    /// The version whose dead letters they are [default: the live one]
    #[arg(long, value_name = "NUMBER")]
    of: Option<u32>,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let (settings, plan) = args.settings.begin(&args.topology)?;
    let redrive = Redrive { of: version(args, &settings, &plan)?, reason: args.reason, since: args.since };
    let report = block_on(rebuild(plan, settings, redrive))?;
    output::print(&report)
}

fn version(args: &Args, settings: &Settings, plan: &Plan) -> Result<u32> {
    if let Some(of) = args.of {
        return Ok(of);
    }
    let versions = Versions::open(&settings.data_dir, &plan.topology)?;
    versions.live().map(|version| version.number).ok_or_else(|| {
        Error::configuration(format!(
            "no version of {} is live in `{}`: name the one whose dead letters they are with --of, or the place with \
             --data-dir",
            plan.topology,
            settings.data_dir.display()
        ))
    })
}

/// Runs the replay to the end of the log; what became of the dead letters.
async fn rebuild(plan: Plan, settings: Settings, redrive: Redrive) -> Result<String> {
    let letters = runtime::dead_letters(&settings, &plan, &redrive).await?;
    let places: BTreeSet<(i32, i64)> = letters.places().collect();
    drop(letters);
    if places.is_empty() {
        return Ok(format!("version {} has no such dead letter: nothing to redrive", redrive.of));
    }
    let observer = Observer::default();
    let stop = signals::stop_on_signal(observer.clone())?;
    let options =
        RunOptions { replay_from: Some(ReplayFrom::Redrive(redrive)), until_caught_up: true, ..RunOptions::default() };
    let summary = pipeline::run(plan.clone(), settings.clone(), options, observer.clone(), stop, |_| {}).await?;
    let still_dead = match summary.version {
        0 => None,
        version => Some(runtime::still_dead(&settings, &plan, version, &places).await?),
    };
    Ok(format!("{summary}\n{}", report(places.len(), observer.redriven(), still_dead)))
}

fn report(asked: usize, counts: RedrivenCounts, still_dead: Option<usize>) -> String {
    let RedrivenCounts { table, archive, log, before } = counts;
    let mut text = format!(
        "{asked} dead letters redriven: {log} read from the log, {archive} from the archive, {table} taken from the table of \
         dead letters"
    );
    if before > 0 {
        text += &format!(", {before} by an earlier run");
    }
    if let Some(still_dead) = still_dead {
        text += &format!("; {still_dead} of them still fail");
    }
    text
}

fn parse_reason(text: &str) -> Result<Reason, String> {
    let names = Reason::ALL.map(Reason::name);
    Reason::ALL.into_iter().find(|reason| reason.name() == text).ok_or_else(|| format!("write {}", names.join(", ")))
}

fn parse_time(text: &str) -> Result<Millis, String> {
    let time: Result<jiff::Timestamp, _> = text.parse();
    time.map(|time| time.as_millisecond()).map_err(|_| "write an RFC 3339 time: 2026-01-31T00:00:00Z".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_says_from_where_and_how_many_still_fail() {
        let counts = RedrivenCounts { table: 4, archive: 0, log: 3, before: 0 };
        assert_eq!(
            report(7, counts, Some(1)),
            "7 dead letters redriven: 3 read from the log, 0 from the archive, 4 taken from the table of dead letters; 1 of \
             them still fail"
        );
        let resumed = RedrivenCounts { before: 2, ..counts };
        assert!(report(9, resumed, None).ends_with("dead letters, 2 by an earlier run"));
    }

    #[test]
    fn reasons_and_times_are_read_as_they_are_written() {
        assert_eq!(parse_reason("over_limit"), Ok(Reason::OverLimit));
        assert!(parse_reason("tombstone").unwrap_err().contains("malformed, over_limit, future, late"));
        assert_eq!(parse_time("1970-01-01T00:00:01Z"), Ok(1_000));
        assert!(parse_time("yesterday").is_err());
    }
}
