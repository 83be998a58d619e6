//! `kappa versions`: every version with its standing, progress, rate and position.

use serde_json::{Value, json};

use super::{Args, output};
use crate::cli::process::Process;
use crate::config::Settings;
use crate::error::Result;
use crate::runtime::{Version, Versions};
use crate::state::keys::Key;
use crate::state::{RocksShared, RocksStore, Store};
use crate::task::Meta;

pub fn run(args: &Args) -> Result<()> {
    let (settings, versions, topology) = args.open()?;
    // A process that cannot be asked is no reason to show nothing.
    let process = Process::find(&settings).ok().flatten();
    let running = process.filter(|process| process.topology() == Some(topology.as_str()));
    let running = running.and_then(|process| process.status.get("versions").cloned());
    let seen = |number: u32| {
        let runs = running.as_ref()?.as_array()?;
        runs.iter().find(|run| run.pointer("/version/number").and_then(Value::as_u64) == Some(u64::from(number)))
    };
    let mut listed = Vec::new();
    for version in versions.all() {
        let positions = match seen(version.number) {
            Some(run) => run.clone(),
            None => json!({"partitions": stored(&settings, &versions, version)?}),
        };
        listed.push((version, positions));
    }
    if args.ask.json {
        let all: Vec<Value> = listed.into_iter().map(|(version, seen)| with(version, seen)).collect();
        return output::tree(
            &json!({"versions": all, "wanted": versions.wanted(), "previous": versions.previous()}),
            true,
        );
    }
    let head = ["version", "standing", "from", "fingerprint", "begun", "done", "rate", "left", "lag", "next offsets"];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(listed.iter().map(|(version, seen)| row(version, seen)));
    output::print(&output::table(&rows))?;
    for (version, _) in &listed {
        if let Some(failure) = &version.failure {
            output::print(&format!("version {} stopped: {failure}; kappa resume {0} tries again", version.number))?;
        }
    }
    match versions.wanted() {
        Some(wanted) => output::print(&format!("version {wanted} is to be live as soon as it can")),
        None => Ok(()),
    }
}

fn with(version: &Version, seen: Value) -> Value {
    let mut all = json!(version);
    if let (Some(all), Value::Object(seen)) = (all.as_object_mut(), seen) {
        all.extend(seen.into_iter().filter(|(name, _)| name != "version"));
    }
    all
}

fn row(version: &Version, seen: &Value) -> Vec<String> {
    let number = |path: &str| seen.pointer(path).and_then(Value::as_f64);
    let (done, total) = (number("/progress/done").unwrap_or(0.0), number("/progress/total").unwrap_or(0.0));
    let mut standing = version.standing.name().to_string();
    for (is_so, word) in
        [(version.paused, "paused"), (version.dropped, "being dropped"), (version.failure.is_some(), "stopped")]
    {
        if is_so {
            standing = format!("{standing}, {word}");
        }
    }
    let known = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
    vec![
        version.number.to_string(),
        standing,
        version.start.to_string(),
        version.fingerprint.chars().take(8).collect(),
        known(
            jiff::Timestamp::from_millisecond(version.created_at)
                .ok()
                .filter(|_| version.created_at > 0)
                .map(|time| format!("{time:.0}")),
        ),
        known((total > 0.0).then(|| format!("{:.1}%", 100.0 * done / total))),
        known(number("/rate").map(|rate| format!("{rate:.0}/s"))),
        known(number("/progress/seconds_left").map(|seconds| format!("{seconds:.0} s"))),
        known(number("/lag").map(|lag| format!("{lag:.0}"))),
        known(offsets(seen)),
    ]
}

/// `0:1200 1:1300`.
fn offsets(seen: &Value) -> Option<String> {
    let partitions = seen.get("partitions")?.as_object()?;
    let next = |(partition, standing): (&String, &Value)| Some(format!("{partition}:{}", standing.get("next_offset")?));
    let all: Vec<String> = partitions.iter().filter_map(next).collect();
    (!all.is_empty()).then(|| all.join(" "))
}

/// Where the state of a version that does not run stands.
fn stored(settings: &Settings, versions: &Versions, version: &Version) -> Result<Value> {
    let bounds = &settings.bounds;
    let shared = RocksShared::new(bounds.block_cache_bytes, bounds.write_buffer_bytes, bounds.open_files);
    let mut found = serde_json::Map::new();
    for partition in 0..i32::try_from(version.partitions).unwrap_or(0) {
        let dir = versions.state_dir(version.number, partition);
        if !dir.exists() {
            continue;
        }
        let store = RocksStore::open_read_only(&dir, &shared)?;
        if let Some(bytes) = store.get(&Key::Meta.bytes())? {
            let meta = Meta::decode(&bytes)?;
            found.insert(partition.to_string(), json!({"next_offset": meta.next_offset, "watermark": meta.watermark}));
        }
    }
    Ok(Value::Object(found))
}
