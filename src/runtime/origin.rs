//! Where a version's records come from before the log: the archive, and dead letters that enter again.
//!
//! A version that was begun from the archive needs it. Any other one needs it only where the log no longer has what comes
//! next, so there it is used when it is kept (`archive.enabled`), and an archive that does not answer holds nobody up.

use tokio::runtime::Handle;

use super::ReplayFrom;
use super::keeper::describe_again;
use super::redrive::dead_letters;
use super::versions::Version;
use crate::config::Settings;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{KeptLog, Place};
use crate::source::{KafkaSource, Letters, Past, Source};
use crate::topology::{FieldSource, Plan};

/// The topic with as much of its past as the version may need.
///
/// # Errors
/// Refused: no archive, one of another topic, dead letters that are not whole; unavailable.
pub async fn with_past(settings: &Settings, plan: &Plan, version: &Version, kafka: KafkaSource) -> Result<Source> {
    let begins_with_it = matches!(version.start, ReplayFrom::Archive | ReplayFrom::Redrive(_));
    if !begins_with_it && !settings.archive.enabled {
        return Ok(kafka.into());
    }
    let kept = match open_archive(settings, plan, version).await {
        Err(error) if error.kind() == ErrorKind::Unavailable && !begins_with_it => {
            tracing::warn!("going on without the archive: {error}");
            None
        }
        opened => opened?,
    };
    if kept.is_none() && version.start == ReplayFrom::Archive {
        return Err(Error::refused(format!(
            "there is no archive of {} at archive.url `{}`: name its place, or say --replay-from earliest; kappa archive \
             begins one with what the log has",
            plan.source.topic, settings.archive.url
        )));
    }
    let letters = match &version.start {
        ReplayFrom::Redrive(redrive) => dead_letters(settings, plan, redrive).await?,
        _ => Letters::default(),
    };
    let past = Past { kept, letters, prefers_archive: begins_with_it, runtime: Handle::current() };
    // Asked after the archive: it may have gone on meanwhile, and then the log has too.
    let log = describe_again(&kafka).await?;
    let source = Source::with_past(kafka, &log, past);
    check_headers(plan, source.letters_without_log())?;
    Ok(source)
}

/// The archive of the topic, which must be the version's own.
async fn open_archive(settings: &Settings, plan: &Plan, version: &Version) -> Result<Option<KeptLog>> {
    let Some(kept) = KeptLog::open(&Place::of_archive(&settings.archive), &plan.source.topic).await? else {
        return Ok(None);
    };
    match (kept.topic_id(), version.topic_id.as_deref()) {
        (Some(before), Some(now)) if before != now => Err(Error::refused(format!(
            "the archive {} is of another topic of this name (its id was {before} and is {now}): its offsets mean other \
             records. Give another archive.url",
            kept.url()
        ))),
        _ => Ok(Some(kept)),
    }
}

/// The table of dead letters has no headers: a field that comes from one would be null.
fn check_headers(plan: &Plan, letters: usize) -> Result<()> {
    let from_header = plan.source.fields.iter().find(|field| matches!(field.from, FieldSource::Header(_)));
    match from_header {
        Some(field) if letters > 0 => Err(Error::refused(format!(
            "{letters} dead letters are neither in the log nor in the archive, and the table of dead letters keeps no \
             headers: `{}`, which comes from one, would be null in them. Redrive them with a topology that does not use it, \
             or produce them again",
            field.name
        ))),
        _ => Ok(()),
    }
}
