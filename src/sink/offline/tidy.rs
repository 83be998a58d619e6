//! Keeping a version's tables tidy, one after the other: compaction, then vacuum.
//!
//! Safe beside the writer of the same tables, and beside another process that does the same.

use super::compact::{CompactHow, Compacted, compact};
use super::read::name_of;
use super::schema;
use super::vacuum::{Vacuumed, vacuum};
use crate::config::OfflineSettings;
use crate::error::{Error, Result};
use crate::lake::Place;
use crate::time::Span;
use crate::topology::Plan;

/// What to do with the tables of a version.
#[derive(Debug, Clone, Copy)]
pub struct Tidying<'a> {
    /// Only those of these entities, or `dead_letters`; none is all.
    pub names: &'a [String],
    pub compact: Option<CompactHow>,
    /// The retention of a vacuum, if there is to be one.
    pub vacuum: Option<Span>,
    /// Only say what would be done.
    pub dry_run: bool,
}

/// What became of one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tidied {
    /// Of its entity, or `dead_letters`.
    pub name: String,
    pub compacted: Option<Compacted>,
    pub vacuumed: Option<Vacuumed>,
}

/// Tidies the tables of a version that are there. `stop` is asked often: what is done by then stays.
///
/// # Errors
/// Configuration: a name that the version has no table of. Refused: a table is not the one that the topology describes,
/// or a manifest's version is gone. Unavailable: the store.
pub async fn tidy(
    settings: &OfflineSettings,
    plan: &Plan,
    version: u32,
    what: Tidying<'_>,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<Vec<Tidied>> {
    let (place, specs) = (Place::new(settings), schema::tables(plan, version)?);
    let known: Vec<&str> = specs.iter().map(|spec| name_of(plan, spec)).collect();
    if let Some(unknown) = what.names.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(Error::configuration(format!(
            "{} has no table of `{unknown}`; it has: {}",
            plan.topology,
            known.join(", ")
        )));
    }
    let mut done = Vec::new();
    for spec in &specs {
        let name = name_of(plan, spec).to_string();
        if stop() || (!what.names.is_empty() && !what.names.contains(&name)) {
            continue;
        }
        let compacted = match what.compact {
            Some(how) => compact(&place, spec, CompactHow { dry_run: what.dry_run, ..how }, stop).await?,
            None => None,
        };
        let vacuumed = match what.vacuum {
            Some(retention) if !stop() => vacuum(&place, spec, retention, what.dry_run).await?,
            _ => None,
        };
        if compacted.is_some() || vacuumed.is_some() {
            done.push(Tidied { name, compacted, vacuumed });
        }
    }
    Ok(done)
}
