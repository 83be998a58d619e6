//! What the state of a version keeps of the entity, asked where the log has lost its beginning.

use super::Question;
use super::log::Log;
use crate::config::Settings;
use crate::error::{Error, Result};
use crate::runtime::Versions;
use crate::source::PartitionInfo;
use crate::state::{RocksShared, RocksStore};
use crate::task::{self, KeptState};

/// What the state says; `None` where the log is whole, `Err` says why it was not asked.
pub type Asked = Option<Result<KeptState, String>>;

/// The partition that has the entity, with its state where the log has lost its beginning: the first that knows it, or
/// the first of all.
///
/// # Errors
/// Unavailable: there is none.
pub fn choose(settings: &Settings, question: &Question, version: Option<u32>, logs: Vec<Log>) -> Result<(Log, Asked)> {
    let mut first = None;
    for log in logs {
        let state = (log.partition.low > 0).then(|| {
            let version = version.ok_or("no version is live")?;
            look(settings, question, version, log.partition.partition).map_err(|error| error.to_string())
        });
        let in_state = matches!(&state, Some(Ok(KeptState { entity: Some(_), .. })));
        if in_state || !log.trace.records().is_empty() {
            return Ok((log, state));
        }
        first.get_or_insert((log, state));
    }
    first.ok_or_else(|| Error::unavailable(format!("{} has no partition", question.plan.source.topic)))
}

fn look(settings: &Settings, question: &Question, version: u32, partition: i32) -> Result<KeptState> {
    let versions = Versions::open(&settings.data_dir, &question.plan.topology)?;
    let path = versions.state_dir(version, partition);
    let nothing = || Error::configuration(format!("no state at {}: name its data_dir", path.display()));
    if !path.exists() {
        return Err(nothing());
    }
    let bounds = &settings.bounds;
    let shared = RocksShared::new(bounds.block_cache_bytes, bounds.write_buffer_bytes, bounds.open_files);
    let store = RocksStore::open_read_only(&path, &shared)?;
    task::kept(&question.plan, &store, question.entity, &question.id, &question.features)?.ok_or_else(nothing)
}

/// The offsets that the version has folded and that the log has lost: from the first up to and without the second.
pub fn lost(partition: &PartitionInfo, state: &Asked) -> Option<(i64, i64)> {
    let began = match state {
        Some(Ok(state)) => state.start_offset,
        _ => 0,
    };
    (began < partition.low).then_some((began, partition.low))
}
