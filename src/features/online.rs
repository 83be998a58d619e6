//! The online read: what the store holds of some entities, as of now.
//!
//! Always holds: names are resolved before anything is read; all entities of a question are read in one round trip,
//! each id once, and of their hashes only the fields that the answer needs; one clock holds for the whole answer.
//! Stored text passes through as it is (its form is JSON already, but for strings); decayed sums and what is derived
//! `on: read` are computed, for all entities in one evaluation. What has no row in the store is not found: that is not
//! the same as null. A value whose row is older than its `max_age` is not given.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, new_null_array};
use hashbrown::HashMap;

use super::answer::{Answer, Source, Texts};
use super::clock::{Needed, at_clock};
use super::parse;
use crate::error::{Error, Result};
use crate::sink::online::text::{OnlineKey, POSITION_FIELD, VERSION_FIELD};
use crate::sink::online::{Clock, Column, OnlineRow, OnlineRows, OnlineStore};
use crate::time::Millis;
use crate::topology::{DerivedOn, EntityPlan, OutputType, Plan, did_you_mean, listed};

/// Gives the store, or why there is none yet.
pub type StoreDoor = Box<dyn Fn() -> Result<Arc<dyn OnlineStore>> + Send + Sync>;

/// Reads features of one topology from one store.
pub struct Reader {
    plan: Arc<Plan>,
    store: StoreDoor,
    clock: Clock,
    timeout: Duration,
    /// Of each entity in the plan.
    shown: Vec<Shown>,
}

/// What an entity shows.
struct Shown {
    /// By place.
    all: Vec<Wanted>,
    /// Name to place.
    places: HashMap<String, usize>,
}

/// Why there is no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The question is wrong: which part, and what it should be.
    #[error("{0}")]
    Asked(String),
    /// The store took longer than it may.
    #[error("the online store did not answer within {0:?}")]
    Late(Duration),
    /// The store failed, or there is none yet.
    #[error("{0}")]
    Store(#[from] Error),
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Asked(what) => Self::configuration(what),
            ReadError::Late(_) => Self::unavailable(format!("{error}: try again, or raise http.read_timeout")),
            ReadError::Store(error) => error,
        }
    }
}

/// A question about entities of one kind, its names resolved.
#[derive(Debug, Clone)]
pub struct Ask<'r> {
    entity: usize,
    /// What is asked for, in order.
    wanted: Vec<&'r Wanted>,
    /// What the computed ones among them need.
    needed: Needed,
    /// The hash's fields to read.
    fields: Vec<&'r str>,
    /// Of each place, where its text is among `fields`.
    slots: Vec<Option<usize>>,
    with_origin: bool,
}

/// One thing that can be asked for.
#[derive(Debug)]
struct Wanted {
    name: String,
    place: usize,
    /// The store has a field of it.
    stored: bool,
    /// Not as it is stored.
    computed: bool,
    max_age: Option<Millis>,
    ty: OutputType,
    /// Tells whether a stored text is a value of the type.
    is_value: fn(&str, &OutputType) -> bool,
}

impl<'r> Ask<'r> {
    /// The version and the position of each row, too.
    pub fn with_origin(mut self) -> Self {
        if !self.with_origin {
            self.fields.extend([VERSION_FIELD, POSITION_FIELD]);
            self.with_origin = true;
        }
        self
    }

    /// The index of the entity in the plan.
    pub fn entity(&self) -> usize {
        self.entity
    }

    /// What is asked for, in order: name and type.
    pub fn columns(&self) -> impl ExactSizeIterator<Item = (&str, &OutputType)> {
        self.wanted.iter().map(|wanted| (wanted.name.as_str(), &wanted.ty))
    }

    fn is_computed(&self) -> bool {
        self.wanted.iter().any(|wanted| wanted.computed)
    }

    /// The stored columns that the computed values need, of these rows; nulls for all others.
    fn stored_columns(&self, entity: &EntityPlan, rows: &[OnlineRow<'_>]) -> Result<Vec<ArrayRef>> {
        let column = |(place, ty): (usize, &OutputType)| match self.slots[place] {
            Some(slot) if self.needed.contains(place) => parse::column(ty, rows.iter().map(|row| row.text(slot))),
            _ => Ok(new_null_array(&ty.data_type(), rows.len())),
        };
        let stored = entity.shown().enumerate().filter(|(place, _)| is_stored(entity, *place));
        stored.map(|(place, (_, ty))| column((place, ty))).collect()
    }

    /// The columns of everything that is shown, of these rows at `now`.
    fn computed(&self, entity: &EntityPlan, rows: &[OnlineRow<'_>], now: Millis) -> Result<Vec<ArrayRef>> {
        let stored = self.stored_columns(entity, rows)?;
        let event_times: Vec<Millis> = rows.iter().map(|row| row.event_time).collect();
        at_clock(entity, &self.needed, &stored, &event_times, &vec![now; rows.len()])
    }

    /// Where the values of everything that is asked for are, of these rows at `now`.
    fn sources(&self, entity: &EntityPlan, rows: &OnlineRows, now: Millis) -> Result<Vec<Source<'r>>> {
        let present: Vec<OnlineRow<'_>> = match self.is_computed() {
            true => rows.iter().flatten().collect(),
            false => Vec::new(),
        };
        let columns = if present.is_empty() { Vec::new() } else { self.computed(entity, &present, now)? };
        let places = |wanted: &Wanted| {
            let slot = self.slots[wanted.place];
            if !wanted.computed {
                return slot.map(Texts::Stored).ok_or_else(|| unread(wanted));
            }
            // No column, no row that is there.
            let column = columns.get(wanted.place).map(|column| texts(column, &wanted.ty)).transpose()?;
            let mut computed = column.into_iter().flatten();
            let of_row = |row: Option<OnlineRow<'_>>| row.and_then(|_| computed.next().flatten());
            Ok(Texts::Computed(rows.iter().map(of_row).collect(), slot))
        };
        let source = |wanted: &&'r Wanted| {
            let oldest = wanted.max_age.map_or(Millis::MIN, |max_age| now.saturating_sub(max_age));
            Ok(Source { ty: &wanted.ty, is_value: wanted.is_value, oldest, texts: places(wanted)? })
        };
        self.wanted.iter().map(source).collect()
    }

    /// What these rows, of online keys in their order, answer at `now`; `at` says which of them each id is.
    fn answer(&self, entity: &EntityPlan, rows: OnlineRows, at: Option<Vec<usize>>, now: Millis) -> Result<Answer<'r>> {
        let sources = self.sources(entity, &rows, now)?;
        let origin = self.with_origin.then(|| [self.fields.len() - 2, self.fields.len() - 1]);
        Ok(Answer { now, at, rows, sources, origin })
    }
}

fn unread(wanted: &Wanted) -> Error {
    Error::internal(format!("`{}` is stored, and not among the fields to read", wanted.name))
}

/// Whether the store has a field of it.
fn is_stored(entity: &EntityPlan, place: usize) -> bool {
    let derived = place.checked_sub(entity.features.len()).map(|index| &entity.derived[index]);
    derived.is_none_or(|derived| derived.on == DerivedOn::Row)
}

/// What readers get of stored rows, each as of its own clock: for everything that the entity shows a text a row, as the
/// store writes it; nothing for null.
///
/// # Errors
/// Internal: the columns are not those of the entity.
pub fn shown_at(
    entity: &EntityPlan,
    stored: &[ArrayRef],
    event_times: &[Millis],
    clocks: &[Millis],
) -> Result<Vec<Vec<Option<String>>>> {
    let columns = at_clock(entity, &Needed::all(entity), stored, event_times, clocks)?;
    columns.iter().zip(entity.shown()).map(|(column, (_, ty))| texts(column, ty)).collect()
}

/// A column as the store would write it.
fn texts(column: &ArrayRef, ty: &OutputType) -> Result<Vec<Option<String>>> {
    let mistyped = || Error::internal(format!("a computed value is {} and not {ty}", column.data_type()));
    let values = Column::new(column, ty).ok_or_else(mistyped)?;
    let text = |row: usize| {
        let mut text = Vec::new();
        values.write(row, &mut text);
        String::from_utf8_lossy(&text).into_owned()
    };
    Ok((0..column.len()).map(|row| (!values.is_null(row)).then(|| text(row))).collect())
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topology", &self.plan.topology).finish_non_exhaustive()
    }
}

impl Reader {
    /// Of this topology; `timeout` is how long the store may take for one question.
    pub fn new(plan: Arc<Plan>, store: StoreDoor, clock: Clock, timeout: Duration) -> Self {
        let shown = plan.entities.iter().map(Shown::of).collect();
        Self { plan, store, clock, timeout, shown }
    }

    /// The topology.
    pub fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// The index of the entity of this name.
    ///
    /// # Errors
    /// Asked: there is none.
    pub fn entity(&self, name: &str) -> Result<usize, ReadError> {
        let names = || self.plan.entities.iter().map(|entity| entity.name.as_str());
        names().position(|known| known == name).ok_or_else(|| {
            let name: String = name.chars().take(100).collect();
            ReadError::Asked(format!("{} has no entity `{name}`; it has {}", self.plan.topology, listed(names())))
        })
    }

    /// A question about these features of an entity; no names are all of them, in the topology's order.
    ///
    /// # Errors
    /// Asked: a name is unknown, or named twice.
    pub fn ask(&self, entity: usize, names: &[&str]) -> Result<Ask<'_>, ReadError> {
        let (plan, shown) = (&self.plan.entities[entity], &self.shown[entity]);
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let place = shown.places.get(*name).copied().ok_or_else(|| unknown(plan, name))?;
            if places.contains(&place) {
                return Err(ReadError::Asked(format!("`{name}` of {} is asked for twice", plan.name)));
            }
            places.push(place);
        }
        if names.is_empty() {
            places = (0..shown.all.len()).collect();
        }
        Ok(ask(shown, plan, entity, &places))
    }

    /// The answer for these ids; the same id may come several times.
    ///
    /// # Errors
    /// Asked: an id is longer than any that the topology takes. Late or store: it is not there, or too slow.
    pub async fn read<'r>(&self, ask: &Ask<'r>, ids: &[String]) -> Result<Answer<'r>, ReadError> {
        let entity = &self.plan.entities[ask.entity];
        let longest = self.plan.source.max_key_bytes;
        if let Some(id) = ids.iter().find(|id| id.len() > longest) {
            let what =
                format!("an id of {} has {} bytes, and at most {longest} (max_key_bytes)", entity.name, id.len());
            return Err(ReadError::Asked(what));
        }
        let (unique, at) = distinct(ids);
        let key = OnlineKey::of(entity);
        let keys: Vec<String> = unique.iter().map(|id| key.text(id)).collect();
        let store = (self.store)()?;
        let read = tokio::time::timeout(self.timeout, store.get_many(&keys, &ask.fields));
        let rows = read.await.map_err(|_| ReadError::Late(self.timeout))??;
        let now = (self.clock)();
        Ok(ask.answer(entity, rows, at, now)?)
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// Unavailable, with its words.
    pub async fn check(&self) -> Result<()> {
        // A key that may be read, whatever else may not.
        let keys: Vec<String> =
            self.plan.entities.iter().take(1).map(|entity| OnlineKey::of(entity).text("")).collect();
        (self.store)()?.get_many(&keys, &[]).await.map(drop)
    }
}

impl Shown {
    fn of(plan: &EntityPlan) -> Self {
        let wanted = |(place, (name, ty)): (usize, (&str, &OutputType))| {
            let (decays, max_age) = match place.checked_sub(plan.features.len()) {
                None => (plan.features[place].decays().is_some(), plan.features[place].max_age),
                Some(index) => (false, plan.derived[index].max_age),
            };
            let stored = is_stored(plan, place);
            let (computed, is_value) = (decays || !stored, parse::checker(ty));
            Wanted { name: name.to_string(), place, stored, computed, max_age, ty: ty.clone(), is_value }
        };
        let all: Vec<Wanted> = plan.shown().enumerate().map(wanted).collect();
        let places = all.iter().map(|wanted| (wanted.name.clone(), wanted.place)).collect();
        Self { all, places }
    }
}

/// Resolves places: which fields to read, and what to compute.
fn ask<'r>(shown: &'r Shown, plan: &EntityPlan, entity: usize, places: &[usize]) -> Ask<'r> {
    let wanted: Vec<&Wanted> = places.iter().map(|place| &shown.all[*place]).collect();
    let needed = Needed::of(plan, wanted.iter().filter(|wanted| wanted.computed).map(|wanted| wanted.place));
    let (mut fields, mut slots) = (Vec::new(), vec![None; shown.all.len()]);
    for Wanted { name, place, .. } in shown.all.iter().filter(|one| one.stored) {
        if places.contains(place) || needed.contains(*place) {
            slots[*place] = Some(fields.len());
            fields.push(name.as_str());
        }
    }
    Ask { entity, wanted, needed, fields, slots, with_origin: false }
}

fn unknown(entity: &EntityPlan, name: &str) -> ReadError {
    let name: String = name.chars().take(100).collect();
    let known = || entity.shown().map(|(name, _)| name);
    let remedy = match did_you_mean(&name, known()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("it has {}", listed(known())),
    };
    ReadError::Asked(format!("{} has no feature `{name}`; {remedy}", entity.name))
}

/// Each id once, and where each of all is among them; `None` when they are these.
fn distinct(ids: &[String]) -> (Vec<&str>, Option<Vec<usize>>) {
    if let [id] = ids {
        return (vec![id], None);
    }
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(ids.len());
    let mut unique = Vec::with_capacity(ids.len());
    let place = |id| {
        *seen.entry(id).or_insert_with(|| {
            unique.push(id);
            unique.len() - 1
        })
    };
    let at: Vec<usize> = ids.iter().map(String::as_str).map(place).collect();
    let at = (unique.len() < at.len()).then_some(at);
    (unique, at)
}
