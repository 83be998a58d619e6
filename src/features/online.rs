//! The online read: what the store holds of some entities, as of now.
//!
//! Always holds: names are resolved before anything is read; all entities of a question are read in one round trip,
//! each id once, and of their hashes only the fields that the answer needs; one clock holds for the whole answer.
//! Stored text passes through as it is (its form is JSON already, but for strings); decayed sums and what is derived
//! `on: read` are computed, for all entities in one evaluation. What has no row in the store is not found: that is not
//! the same as null. A value whose row is older than its `max_age` is not given.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, new_null_array};

use super::clock::{Needed, at_clock};
use super::parse;
use crate::error::{Error, Result};
use crate::sink::online::text::{OnlineKey, POSITION_FIELD, VERSION_FIELD};
use crate::sink::online::{Clock, Column, OnlineRow, OnlineStore};
use crate::time::Millis;
use crate::topology::{DerivedOn, EntityPlan, OutputType, Plan, ValueType, did_you_mean, listed};

/// Gives the store, or why there is none yet.
pub type StoreDoor = Box<dyn Fn() -> Result<Arc<dyn OnlineStore>> + Send + Sync>;

/// Reads features of one topology from one store.
pub struct Reader {
    plan: Arc<Plan>,
    store: StoreDoor,
    clock: Clock,
    timeout: Duration,
    /// Of each entity, name to place.
    places: Vec<HashMap<String, usize>>,
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
pub struct Ask {
    entity: usize,
    /// What is asked for, in order.
    wanted: Vec<Wanted>,
    /// What the computed ones among them need.
    needed: Needed,
    /// The hash's fields to read.
    fields: Vec<String>,
    /// Of each place, where its text is among `fields`.
    slots: Vec<Option<usize>>,
    with_origin: bool,
}

/// One thing that is asked for.
#[derive(Debug, Clone)]
struct Wanted {
    name: String,
    place: usize,
    /// Not as it is stored.
    computed: bool,
    max_age: Option<Millis>,
    ty: OutputType,
}

/// What one value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Present,
    /// The row has no value.
    NullValue,
    /// There is no row.
    NotFound,
    /// The row is older than the feature's `max_age`.
    OutsideMaxAge,
    /// What is stored is not of the feature's type: written by another version, or by somebody else.
    Invalid,
}

impl Status {
    /// Its name, which is Feast's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Present => "PRESENT",
            Self::NullValue => "NULL_VALUE",
            Self::NotFound => "NOT_FOUND",
            Self::OutsideMaxAge => "OUTSIDE_MAX_AGE",
            Self::Invalid => "INVALID",
        }
    }
}

/// A value as the store writes it, where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    pub status: Status,
    /// `Some` when present.
    pub text: Option<String>,
}

/// What was found of one entity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What its row is as of.
    pub event_time: Millis,
    /// The version that wrote it and its position, where they were asked for.
    pub version: Option<u32>,
    pub position: Option<String>,
    /// As they were asked for.
    pub cells: Vec<Cell>,
}

/// The answer to one question.
#[derive(Debug, Clone)]
pub struct Answer {
    /// What every value is as of that has a clock in it.
    pub now: Millis,
    found: Vec<Option<Found>>,
    /// Of each id asked for, where it is in `found`.
    at: Vec<usize>,
}

impl Answer {
    /// What was found of the id at this place of the question; `None`: nothing is stored.
    pub fn get(&self, index: usize) -> Option<&Found> {
        self.found[self.at[index]].as_ref()
    }
}

impl Ask {
    /// The version and the position of each row, too.
    pub fn with_origin(mut self) -> Self {
        if !self.with_origin {
            self.fields.extend([VERSION_FIELD, POSITION_FIELD].map(String::from));
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
    fn stored_columns(&self, entity: &EntityPlan, rows: &[&OnlineRow]) -> Result<Vec<ArrayRef>> {
        let column = |(place, ty): (usize, &OutputType)| match self.slots[place] {
            Some(slot) if self.needed.contains(place) => {
                parse::column(ty, rows.iter().map(|row| row.texts[slot].as_deref()))
            }
            _ => Ok(new_null_array(&ty.data_type(), rows.len())),
        };
        let stored = entity.shown().enumerate().filter(|(place, _)| is_stored(entity, *place));
        stored.map(|(place, (_, ty))| column((place, ty))).collect()
    }

    /// The texts of the computed values, each of all rows; nothing for values that are not.
    fn computed(&self, entity: &EntityPlan, rows: &[&OnlineRow], now: Millis) -> Result<Vec<Vec<Option<String>>>> {
        if !self.is_computed() || rows.is_empty() {
            return Ok(vec![Vec::new(); self.wanted.len()]);
        }
        let stored = self.stored_columns(entity, rows)?;
        let event_times: Vec<Millis> = rows.iter().map(|row| row.event_time).collect();
        let columns = at_clock(entity, &self.needed, &stored, &event_times, &vec![now; rows.len()])?;
        let texts = |wanted: &Wanted| match wanted.computed {
            true => texts(&columns[wanted.place], &wanted.ty),
            false => Ok(Vec::new()),
        };
        self.wanted.iter().map(texts).collect()
    }

    /// What these rows, of online keys in their order, answer at `now`.
    pub(super) fn answer(
        &self,
        entity: &EntityPlan,
        rows: Vec<Option<OnlineRow>>,
        now: Millis,
    ) -> Result<Vec<Option<Found>>> {
        let present: Vec<&OnlineRow> = rows.iter().flatten().collect();
        let mut computed = self.computed(entity, &present, now)?;
        let mut index = 0;
        let mut found = |mut row: OnlineRow| {
            let age = now.saturating_sub(row.event_time);
            let cells = self.wanted.iter().zip(&mut computed).map(|(wanted, computed)| {
                let stored = self.slots[wanted.place].and_then(|slot| row.texts[slot].take());
                match wanted.max_age {
                    Some(max_age) if age > max_age => Cell { status: Status::OutsideMaxAge, text: None },
                    _ if wanted.computed => Cell::computed(computed[index].take(), stored),
                    _ => Cell::stored(stored, &wanted.ty),
                }
            });
            let cells = cells.collect();
            index += 1;
            self.found(row, cells)
        };
        Ok(rows.into_iter().map(|row| row.map(&mut found)).collect())
    }

    fn found(&self, mut row: OnlineRow, cells: Vec<Cell>) -> Found {
        let (mut version, mut position) = (None, None);
        if self.with_origin {
            position = row.texts.pop().flatten();
            version = row.texts.pop().flatten().and_then(|text| text.parse().ok());
        }
        Found { event_time: row.event_time, version, position, cells }
    }
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

impl Cell {
    /// A value as it is stored, if that is one of its type.
    fn stored(text: Option<String>, ty: &OutputType) -> Self {
        match text {
            Some(text) if parse::is_value(&text, ty) => Self { status: Status::Present, text: Some(text) },
            Some(_) => Self { status: Status::Invalid, text: None },
            None => Self { status: Status::NullValue, text: None },
        }
    }

    /// A computed value; `stored` is what it decays from, if it is one of those.
    fn computed(text: Option<String>, stored: Option<String>) -> Self {
        let status = match (&text, stored) {
            (Some(_), _) => Status::Present,
            (None, Some(_)) => Status::Invalid,
            (None, None) => Status::NullValue,
        };
        Self { status, text }
    }

    /// Appends it as JSON, `null` where there is no value.
    pub fn write_json(&self, ty: &OutputType, out: &mut Vec<u8>) {
        match (&self.text, ty) {
            (None, _) => out.extend_from_slice(b"null"),
            // Text always has a JSON form, and memory takes all that is written.
            (Some(text), OutputType::Scalar(ValueType::String)) => {
                serde_json::to_writer(out, text).expect("text is written to memory as JSON");
            }
            (Some(text), _) => out.extend_from_slice(text.as_bytes()),
        }
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topology", &self.plan.topology).finish_non_exhaustive()
    }
}

impl Reader {
    /// Of this topology; `timeout` is how long the store may take for one question.
    pub fn new(plan: Arc<Plan>, store: StoreDoor, clock: Clock, timeout: Duration) -> Self {
        let names = |entity: &EntityPlan| {
            entity.shown().enumerate().map(|(place, (name, _))| (name.to_string(), place)).collect()
        };
        let places = plan.entities.iter().map(names).collect();
        Self { plan, store, clock, timeout, places }
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
    pub fn ask(&self, entity: usize, names: &[&str]) -> Result<Ask, ReadError> {
        let plan = &self.plan.entities[entity];
        let mut places = Vec::with_capacity(names.len());
        for name in names {
            let place = self.places[entity].get(*name).copied().ok_or_else(|| unknown(plan, name))?;
            if places.contains(&place) {
                return Err(ReadError::Asked(format!("`{name}` of {} is asked for twice", plan.name)));
            }
            places.push(place);
        }
        if names.is_empty() {
            places = (0..plan.shown().count()).collect();
        }
        Ok(ask(plan, entity, &places))
    }

    /// The answer for these ids; the same id may come several times.
    ///
    /// # Errors
    /// Asked: an id is longer than any that the topology takes. Late or store: it is not there, or too slow.
    pub async fn read(&self, ask: &Ask, ids: &[String]) -> Result<Answer, ReadError> {
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
        Ok(Answer { now, found: ask.answer(entity, rows, now)?, at })
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

/// Resolves places: which fields to read, and what to compute.
fn ask(plan: &EntityPlan, entity: usize, places: &[usize]) -> Ask {
    let shown: Vec<(&str, &OutputType)> = plan.shown().collect();
    let wanted = |place: &usize| {
        let (name, ty) = shown[*place];
        let (decays, max_age) = match place.checked_sub(plan.features.len()) {
            None => (plan.features[*place].decays().is_some(), plan.features[*place].max_age),
            Some(index) => (false, plan.derived[index].max_age),
        };
        let computed = decays || !is_stored(plan, *place);
        Wanted { name: name.to_string(), place: *place, computed, max_age, ty: ty.clone() }
    };
    let wanted: Vec<Wanted> = places.iter().map(wanted).collect();
    let needed = Needed::of(plan, wanted.iter().filter(|wanted| wanted.computed).map(|wanted| wanted.place));
    let (mut fields, mut slots) = (Vec::new(), vec![None; shown.len()]);
    for (place, (name, _)) in shown.iter().enumerate() {
        if is_stored(plan, place) && (places.contains(&place) || needed.contains(place)) {
            slots[place] = Some(fields.len());
            fields.push(name.to_string());
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

/// Each id once, and where each of all is among them.
fn distinct(ids: &[String]) -> (Vec<&str>, Vec<usize>) {
    let mut seen: HashMap<&str, usize> = HashMap::with_capacity(ids.len());
    let mut unique = Vec::with_capacity(ids.len());
    let place = |id| {
        *seen.entry(id).or_insert_with(|| {
            unique.push(id);
            unique.len() - 1
        })
    };
    let at = ids.iter().map(String::as_str).map(place).collect();
    (unique, at)
}
