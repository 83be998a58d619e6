//! `kappa archive`: the raw log of a topic, kept for as long as one likes.

use std::path::PathBuf;

use serde_json::json;

use super::settings::SettingsArgs;
use super::{block_on, output, signals};
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::lake::{KeptLog, Place};
use crate::metrics::Metrics;
use crate::runtime::{self, Observer};
use crate::topology::Plan;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The topology whose topic is kept
    topology: PathBuf,
    /// Stop, with exit code 0, once everything that is in the log now has been kept
    #[arg(long, conflicts_with = "show")]
    until_caught_up: bool,
    /// Show what the archive has, and keep nothing
    #[arg(long)]
    show: bool,
    /// With --show: as JSON
    #[arg(long, requires = "show")]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let (settings, plan) = args.settings.begin(&args.topology)?;
    if args.show {
        return block_on(show(&settings, &plan, args.json));
    }
    let kept = block_on(async {
        let observer = Observer::default();
        let stop = signals::stop_on_signal(observer.clone())?;
        runtime::keep(&plan, &settings, args.until_caught_up, Metrics::new(), &observer, stop).await
    })?;
    output::print(&kept.to_string())
}

async fn show(settings: &Settings, plan: &Plan, json: bool) -> Result<()> {
    let topic = &plan.source.topic;
    let kept = KeptLog::open(&Place::of_archive(&settings.archive), topic).await?.ok_or_else(|| {
        Error::configuration(format!(
            "there is no archive of {topic} at archive.url `{}`: name its place, or begin one with kappa archive",
            settings.archive.url
        ))
    })?;
    let partitions = kept.segments().iter().filter_map(|(partition, segments)| {
        let covers = kept.covers(*partition)?;
        let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
        Some((*partition, covers, segments.len(), bytes))
    });
    if json {
        let partition = |(partition, covers, files, bytes): (i32, std::ops::Range<i64>, usize, u64)| json!({"partition": partition, "from": covers.start, "next": covers.end, "files": files, "bytes": bytes});
        let partitions: Vec<_> = partitions.map(partition).collect();
        return output::tree(&json!({"topic": topic, "url": kept.url().as_str(), "partitions": partitions}), true);
    }
    let mut rows = vec![["partition", "from", "next", "files", "bytes"].map(String::from).to_vec()];
    rows.extend(partitions.map(|(partition, covers, files, bytes)| {
        vec![
            partition.to_string(),
            covers.start.to_string(),
            covers.end.to_string(),
            files.to_string(),
            bytes.to_string(),
        ]
    }));
    output::print(&output::table(&rows))
}
