//! The reads of one history, each held against its row, and against the join at its moment.

use std::collections::{HashMap, HashSet};

use super::heads::{self, Head};
use super::law::Law;
use super::reads::Served;
use super::report::{Different, Report};
use super::rows::Rows;
use super::values::Values;
use crate::config::Settings;
use crate::error::Result;
use crate::sink::offline::{self, Progress};
use crate::time::Millis;
use crate::topology::Plan;

/// One history: of an entity (by its index) and a version.
pub struct Checker<'a> {
    pub settings: &'a Settings,
    pub plan: &'a Plan,
    pub law: &'a Law,
    pub version: u32,
    pub entity: usize,
}

/// A read with the rows of its entity.
struct Case<'a> {
    read: &'a Served,
    /// In the order in which they were written.
    heads: &'a [Head],
    /// The row that the read names, and the last that could be known at its moment, as places among them.
    own: Option<usize>,
    joined: Option<usize>,
}

/// Texts by place, as they are served; `None`: the row is not there.
type Shown = Option<Vec<Option<String>>>;

/// What a history is held with.
struct Against<'a> {
    values: Values<'a>,
    progress: Progress,
}

impl Checker<'_> {
    /// Holds these reads against it.
    ///
    /// # Errors
    /// Unavailable: the history cannot be read.
    pub async fn check(&self, reads: &[&Served], report: &mut Report) -> Result<()> {
        let Self { settings, plan, version, .. } = *self;
        let entity = &plan.entities[self.entity];
        // Before the rows: what it says to be there is among them.
        let progress = offline::read_progress(&settings.offline, plan, version, &entity.name).await?;
        let ids: HashSet<&str> = reads.iter().map(|read| read.id.as_str()).collect();
        let heads = heads::read(settings, plan, version, entity, &ids).await?;
        let cases: Vec<Case<'_>> = reads.iter().map(|read| Case::new(read, &heads)).collect();
        let own: Vec<_> = cases.iter().map(|case| case.row(case.own)).collect();
        let joined: Vec<_> = cases.iter().map(|case| case.row(case.joined)).collect();
        let wanted = own.iter().chain(&joined).flatten().map(|(head, _)| head.name()).collect();
        let rows = Rows::read(settings, plan, version, entity, &wanted).await?;
        let against = Against { values: Values::new(entity)?, progress };
        let (own, joined) = (shown(&rows, &own)?, shown(&rows, &joined)?);
        for ((case, own), joined) in cases.iter().zip(own).zip(joined) {
            let is_right = match case.refreshed() {
                Some(_) => self.refreshed(&against, case, report)?,
                None => against.own_row(case, own, report),
            };
            against.moment(case, joined, is_right, report);
        }
        Ok(())
    }

    /// A read of what the clock has refreshed, against the law; `None` where it cannot be told.
    fn refreshed(&self, against: &Against<'_>, case: &Case<'_>, report: &mut Report) -> Result<Option<bool>> {
        let (read, Some(row)) = (case.read, &case.read.row) else { return Ok(None) };
        let next = case.own.and_then(|own| case.heads.get(own + 1)).map(|head| head.offset);
        let Some(candidates) = self.law.shown(self.plan, read, next) else {
            report.refreshed.untold += 1;
            return Ok(None);
        };
        let mut first = None;
        for shown in candidates {
            match against.values.difference(read, row, &shown?, true) {
                None => {
                    report.refreshed.count(true);
                    return Ok(Some(true));
                }
                differs => first = first.or(differs),
            }
        }
        report.refreshed.count(false);
        first.into_iter().for_each(|different| report.differs(&different));
        Ok(Some(false))
    }
}

impl Against<'_> {
    /// A read against the row that it names; `None` where it cannot be told.
    fn own_row(&self, case: &Case<'_>, own: Shown, report: &mut Report) -> Option<bool> {
        let row = case.read.row.as_ref()?;
        let Some(own) = own else {
            let committed = self.progress.partitions.get(&row.position.partition).map_or(0, |task| task.next_offset);
            if row.position.offset >= committed {
                report.rows.untold += 1;
                return None;
            }
            report.rows.count(false);
            let expected = "no such row in the history".to_string();
            report.differs(&Different { expected, ..self.values.different(case.read) });
            return Some(false);
        };
        let different = self.values.difference(case.read, row, &own, false);
        report.rows.count(different.is_none());
        different.iter().for_each(|different| report.differs(different));
        Some(different.is_none())
    }

    /// A read against what training data says of its moment.
    fn moment(&self, case: &Case<'_>, joined: Shown, is_right: Option<bool>, report: &mut Report) {
        let moment = &mut report.moment;
        let Some(row) = &case.read.row else {
            // Nothing was stored: then nothing was known, or all has been empty for long.
            match joined {
                Some(shown) if !self.values.is_empty(&shown) => moment.on_their_way.push(case.waited(0)),
                _ => moment.same += 1,
            }
            return;
        };
        let Some(own) = case.own else {
            match is_right {
                Some(_) => moment.different += 1,
                None => moment.incomplete += 1,
            }
            return;
        };
        let near = case.refreshed().is_some();
        let is_same = |shown: &Vec<Option<String>>| self.values.difference(case.read, row, shown, near).is_none();
        let watermark = self.progress.partitions.get(&row.position.partition).and_then(|task| task.watermark);
        match case.joined {
            _ if joined.as_ref().is_some_and(is_same) => moment.same += 1,
            Some(joined) if joined > own => moment.on_their_way.push(case.waited(own + 1)),
            // The log has not come to where the timers are that the clock has fired.
            Some(joined) if joined == own && case.refreshed() > watermark => moment.incomplete += 1,
            Some(joined) if joined == own && case.is_overtaken(own) => moment.ahead += 1,
            Some(joined) if joined == own => {
                moment.different += 1;
                // What differs from its own row is told already.
                if is_right != Some(false) {
                    let expected = "the history has other values at its moment".to_string();
                    report.differs(&Different { expected, ..self.values.different(case.read) });
                }
            }
            _ => moment.ahead += 1,
        }
    }
}

impl<'a> Case<'a> {
    fn new(read: &'a Served, heads: &'a HashMap<&str, Vec<Head>>) -> Self {
        let heads = heads.get(read.id.as_str()).map_or(&[][..], Vec::as_slice);
        let position = read.row.as_ref().map(|row| row.position);
        let is_own = |head: &Head| {
            position.is_some_and(|own| {
                (own.partition, own.offset, own.sequence) == (head.partition, head.offset, head.sequence)
            })
        };
        let is_known = |head: &Head| head.event_time <= read.at && head.known_at <= read.at;
        Self { read, heads, own: heads.iter().position(is_own), joined: heads.iter().rposition(is_known) }
    }

    /// A row at the moment of the read.
    fn row(&self, place: Option<usize>) -> Option<(Head, Millis)> {
        Some((self.heads[place?], self.read.at))
    }

    /// The T' of a read of what the clock has refreshed.
    fn refreshed(&self) -> Option<Millis> {
        self.read.row.as_ref()?.position.refresh
    }

    /// Whether the timers that the clock had fired found a record, when the log came to them, that came after the read.
    fn is_overtaken(&self, own: usize) -> bool {
        let was_shown = |head: &Head| self.refreshed().is_some_and(|at| head.event_time <= at);
        self.heads[own + 1..].iter().any(|head| was_shown(head) && head.known_at > self.read.at)
    }

    /// For how long the first row from this place on that the read does not show had been known.
    fn waited(&self, from: usize) -> Millis {
        let is_shown = |head: &Head| self.refreshed().is_some_and(|at| head.event_time <= at);
        let newer = &self.heads[from..];
        let first = newer.iter().find(|head| !is_shown(head)).or(newer.first());
        first.map_or(0, |head| (self.read.at - head.known_at).max(0))
    }
}

/// What readers get of some rows; nothing in the places where none is asked for.
fn shown(rows: &Rows<'_>, wanted: &[Option<(Head, Millis)>]) -> Result<Vec<Shown>> {
    let asked: Vec<(Head, Millis)> = wanted.iter().flatten().copied().collect();
    let mut found = rows.at(&asked)?.into_iter();
    Ok(wanted.iter().map(|one| one.and_then(|_| found.next().flatten())).collect())
}
