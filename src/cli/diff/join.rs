//! The last rows of two versions side by side: a merge of two ordered streams for each partition and entity.
//!
//! Always holds: both states are opened to read only, one partition at a time, and each is whole at the end of an epoch;
//! a key is met once. Entities and features belong together by name. Whoever runs the versions is not disturbed.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use xxhash_rust::xxh3::xxh3_64;

use super::tally::{Common, EntityTally, Pair};
use crate::cli::test::read;
use crate::cli::test::value::{self, Shown, Value};
use crate::error::{Error, Result};
use crate::runtime::Versions;
use crate::state::{ROW_COLUMNS, open_beside};
use crate::task::LastRows;
use crate::time::Millis;
use crate::topology::{EntityPlan, Plan};

/// Keys that are read at once.
const PAGE: usize = 1024;
/// Block cache of each open state, in bytes.
const CACHE_BYTES: u64 = 32 << 20;

/// One of the two versions.
pub struct Side {
    pub number: u32,
    pub standing: &'static str,
    pub plan: Arc<Plan>,
    partitions: usize,
    /// What each entity shows.
    shown: Vec<Vec<Shown>>,
}

/// What is compared, and how.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Only these; empty: all.
    pub entities: Vec<String>,
    /// The share of keys.
    pub sample: Option<f64>,
    pub tolerance: f64,
}

/// Where a version stands in a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    pub next_offset: i64,
    pub watermark: Option<Millis>,
}

/// Where both stand in a partition; `None`: not begun.
#[derive(Debug)]
pub struct Positions {
    pub partition: i32,
    pub at: [Option<Position>; 2],
}

/// All that was compared.
#[derive(Debug)]
pub struct Comparison {
    pub partitions: Vec<Positions>,
    pub entities: Vec<EntityTally>,
    /// Entities that only one version has.
    pub entities_only: [Vec<String>; 2],
}

impl Side {
    /// The version of this number, with its own kept topology.
    ///
    /// # Errors
    /// Configuration: there is none. Refused: it has not begun. State: its topology cannot be read.
    pub fn open(versions: &Versions, number: u32) -> Result<Self> {
        let version = versions.known(number)?;
        if version.partitions == 0 {
            return Err(Error::refused(format!("version {number} has not begun: start it, then compare")));
        }
        let (standing, partitions) = (version.standing.name(), version.partitions);
        let plan = Arc::new(versions.plan(number)?);
        let shown = plan.entities.iter().map(value::shown).collect();
        Ok(Self { number, standing, plan, partitions, shown })
    }

    fn last_rows(&self, versions: &Versions, partition: i32) -> Result<Option<LastRows>> {
        let place = format!("version {}, partition {partition}", self.number);
        let store = open_beside(&versions.state_dir(self.number, partition), CACHE_BYTES);
        let store = store.map_err(|error| error.within(&place))?;
        LastRows::open(Arc::clone(&self.plan), Arc::new(store)).map_err(|error| error.within(&place))
    }

    /// The values of a row for a reader at `at`: decayed ones go on to decay, so that two rows compare at one time.
    fn values(&self, entity: usize, (rows, row): (&RecordBatch, usize), at: Millis) -> Result<Vec<Value>> {
        let shown = &self.shown[entity];
        let of = &self.plan.entities[entity];
        if shown.iter().any(|shown| shown.read) || of.features.iter().any(|feature| feature.decays().is_some()) {
            return read::with_clock(of, (rows, row, event_time(rows, row)), at);
        }
        Ok(rows.columns()[ROW_COLUMNS.len()..].iter().map(|column| Value::of(column, row)).collect())
    }
}

/// Compares two versions of one topology.
///
/// # Errors
/// Configuration: an entity that neither has. Refused: their topics have not as many partitions. State: a state cannot
/// be read.
pub fn compare(versions: &Versions, sides: &[Side; 2], scope: &Scope) -> Result<Comparison> {
    let [left, right] = sides;
    if left.partitions != right.partitions {
        return Err(Error::refused(format!(
            "version {} has {} partitions and version {} has {}: the same key lives in another one, and their states \
             cannot be laid side by side; compare their histories in the offline store instead",
            left.number, left.partitions, right.number, right.partitions
        )));
    }
    let (mut pairs, entities_only) = pair_entities(sides, &scope.entities)?;
    let mut partitions = vec![];
    for partition in 0..left.partitions as i32 {
        let rows = [left.last_rows(versions, partition)?, right.last_rows(versions, partition)?];
        let position =
            |rows: &LastRows| Position { next_offset: rows.meta().next_offset, watermark: rows.meta().watermark };
        partitions.push(Positions { partition, at: [0, 1].map(|side: usize| rows[side].as_ref().map(position)) });
        for (tally, indices) in &mut pairs {
            merge(sides, &rows, *indices, partition, scope, tally)?;
        }
    }
    let entities = pairs.into_iter().map(|(tally, _)| tally).collect();
    Ok(Comparison { partitions, entities, entities_only })
}

type Paired = (EntityTally, [usize; 2]);

/// The entities of both versions with what they have in common; and the names of those that only one has.
fn pair_entities(sides: &[Side; 2], wanted: &[String]) -> Result<(Vec<Paired>, [Vec<String>; 2])> {
    let is_wanted = |name: &String| wanted.is_empty() || wanted.contains(name);
    let names = |side: usize| sides[side].plan.entities.iter().map(|entity| entity.name.clone());
    if let Some(unknown) = wanted.iter().find(|name| !names(0).chain(names(1)).any(|known| known == **name)) {
        let known: Vec<String> = names(0).collect();
        return Err(Error::configuration(format!("no entity `{unknown}`; there is: {}", known.join(", "))));
    }
    let only = |side: usize| {
        let missing = |name: &String| sides[1 - side].plan.entity(name).is_none();
        names(side).filter(is_wanted).filter(missing).collect::<Vec<String>>()
    };
    let both = names(0).filter(is_wanted).filter_map(|name| {
        let indices = [sides[0].plan.entity(&name)?.0, sides[1].plan.entity(&name)?.0];
        Some((pair_features(sides, indices), indices))
    });
    Ok((both.collect(), [only(0), only(1)]))
}

/// The features of one entity that both versions have, and those that only one has.
fn pair_features(sides: &[Side; 2], indices: [usize; 2]) -> EntityTally {
    let shown = |side: usize| &sides[side].shown[indices[side]];
    let find = |side: usize, name: &str| shown(side).iter().position(|shown| shown.name == name);
    let only = |side: usize| {
        let missing = shown(side).iter().filter(|shown| find(1 - side, &shown.name).is_none());
        missing.map(|shown| shown.name.clone()).collect::<Vec<String>>()
    };
    let common = shown(0).iter().enumerate().filter_map(|(at, one)| {
        let at = [at, find(1, &one.name)?];
        let of = |side: usize| &sides[side].plan.entities[indices[side]];
        let empty = [0, 1].map(|side: usize| empty(of(side), at[side]));
        let types = [0, 1].map(|side: usize| shown(side)[at[side]].ty.to_string());
        let meaning = |side: usize| meaning(&sides[side].plan, of(side), at[side]);
        Some(Common { name: one.name.clone(), at, empty, types, is_changed: meaning(0) != meaning(1) })
    });
    EntityTally::new(&sides[0].plan.entities[indices[0]].name, common.collect(), [only(0), only(1)])
}

/// What an entity without a row shows at this index.
fn empty(entity: &EntityPlan, at: usize) -> Value {
    entity.features.get(at).map_or(Value::Null, |feature| Value::constant(&feature.empty, &feature.output_type))
}

/// What decides the values at this index: a fingerprint, or for what is derived its own SQL.
fn meaning(plan: &Plan, entity: &EntityPlan, at: usize) -> String {
    match entity.features.get(at) {
        Some(feature) => plan.feature_fingerprint(entity, feature),
        None => {
            let derived = &entity.derived[at - entity.features.len()];
            format!("{:?}: {}", derived.on, entity.derived_exprs.canonical(derived.expr))
        }
    }
}

/// Counts every key of an entity in one partition, in the order of keys.
fn merge(
    sides: &[Side; 2],
    rows: &[Option<LastRows>; 2],
    indices: [usize; 2],
    partition: i32,
    scope: &Scope,
    tally: &mut EntityTally,
) -> Result<()> {
    let keep = |key: &[u8]| scope.sample.is_none_or(|share| in_sample(key, share));
    let mut left = Cursor::new(rows[0].as_ref(), indices[0], &keep);
    let mut right = Cursor::new(rows[1].as_ref(), indices[1], &keep);
    loop {
        let order = match (left.fill()?, right.fill()?) {
            (false, false) => return Ok(()),
            (true, false) => Ordering::Less,
            (false, true) => Ordering::Greater,
            (true, true) => left.key().cmp(right.key()),
        };
        let here = [(&left, order.is_le()), (&right, order.is_ge())];
        let at = here.iter().filter(|(_, is_here)| *is_here).map(|(cursor, _)| cursor.event_time()).max();
        let values = |side: usize| {
            let (cursor, is_here) = here[side];
            is_here.then(|| sides[side].values(indices[side], cursor.row(), at.unwrap_or(0))).transpose()
        };
        let values = [values(0)?, values(1)?];
        let rows = [values[0].as_deref(), values[1].as_deref()];
        let key = if order.is_le() { left.key() } else { right.key() };
        tally.add(Pair { key, partition, rows }, scope.tolerance);
        left.at += usize::from(order.is_le());
        right.at += usize::from(order.is_ge());
    }
}

/// Whether a key is among this share of all: the same ones in every version and every run.
fn in_sample(key: &[u8], share: f64) -> bool {
    (xxh3_64(key) as f64) < share * 2f64.powi(64)
}

fn event_time(rows: &RecordBatch, row: usize) -> Millis {
    rows["event_time"].as_primitive::<Int64Type>().value(row)
}

/// A stream of last rows, page by page.
struct Cursor<'a> {
    rows: Option<&'a LastRows>,
    entity: usize,
    keep: &'a dyn Fn(&[u8]) -> bool,
    page: RecordBatch,
    at: usize,
    from: Option<Vec<u8>>,
}

impl<'a> Cursor<'a> {
    fn new(rows: Option<&'a LastRows>, entity: usize, keep: &'a dyn Fn(&[u8]) -> bool) -> Self {
        let page = RecordBatch::new_empty(Arc::new(arrow::datatypes::Schema::empty()));
        Self { rows, entity, keep, page, at: 0, from: None }
    }

    /// Whether there is a row; reads on where the page has ended.
    fn fill(&mut self) -> Result<bool> {
        while self.at == self.page.num_rows() {
            let Some(rows) = self.rows else { return Ok(false) };
            let page = rows.page(self.entity, self.from.as_deref(), PAGE, self.keep)?;
            if page.next.is_none() {
                self.rows = None;
            }
            (self.page, self.at, self.from) = (page.rows, 0, page.next);
        }
        Ok(true)
    }

    /// Once filled.
    fn key(&self) -> &str {
        self.page["key"].as_string::<i32>().value(self.at)
    }

    fn event_time(&self) -> Millis {
        event_time(&self.page, self.at)
    }

    fn row(&self) -> (&RecordBatch, usize) {
        (&self.page, self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_its_share_and_the_larger_one_holds_the_smaller() {
        let keys: Vec<String> = (0..20_000).map(|n| format!("u{n}")).collect();
        let sample = |share: f64| keys.iter().filter(|key| in_sample(key.as_bytes(), share)).collect::<Vec<_>>();
        let (tenth, half) = (sample(0.1), sample(0.5));
        assert!((1_800..2_200).contains(&tenth.len()), "{}", tenth.len());
        assert!(tenth.iter().all(|key| half.contains(key)));
        assert_eq!((sample(1.0).len(), sample(0.0).len()), (keys.len(), 0));
    }
}
