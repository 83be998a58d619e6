//! From a question's names to places: entities, features, the labels' columns, the columns of the answer.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};

use super::Question;
use super::labels::time_type;
use crate::error::{Error, Result};
use crate::features::clock::Needed;
use crate::lake::LabelColumns;
use crate::sink::offline::stored_type;
use crate::time::Millis;
use crate::topology::{DerivedOn, EntityPlan, FieldType, Plan, did_you_mean, listed};

/// The column that marks labels whose answer may still change.
pub const INCOMPLETE: &str = "_incomplete";
/// What the columns of a row's position hold, by name in the history.
pub const POSITION: [&str; 5] = ["event_time", "known_at", "partition", "offset", "sequence"];

/// A question, its names resolved.
#[derive(Debug, Clone)]
pub struct Ask {
    pub entities: Vec<EntityAsk>,
    /// The columns with features, in order: which entity, which of its wanted values.
    pub columns: Vec<(usize, usize)>,
}

/// What is asked of one entity.
#[derive(Debug, Clone)]
pub struct EntityAsk {
    /// Its index in the plan, and its name.
    pub entity: usize,
    pub name: String,
    /// The labels' columns with its key.
    pub key: Vec<KeyPart>,
    pub wanted: Vec<Wanted>,
    pub needed: Needed,
    /// Whether anything has to be computed at the label's time.
    pub computes: bool,
    /// Of each of the entity's stored columns where it is in `read`.
    pub stored: Vec<Option<usize>>,
    /// The history's columns that are read of the rows that answer.
    pub read: SchemaRef,
}

/// A part of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPart {
    /// The key field, and the labels' column with it.
    pub field: String,
    pub column: String,
    pub is_int64: bool,
}

/// One value that is asked for.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name in the topology, and its column's.
    pub feature: String,
    pub name: String,
    /// Among all that the entity shows.
    pub place: usize,
    /// Not as it is stored.
    pub computed: bool,
    pub max_age: Option<Millis>,
    pub data_type: DataType,
}

/// The columns that a CSV file's labels must have, and of which type.
pub fn label_columns(plan: &Plan, question: &Question) -> Result<LabelColumns> {
    let mut columns = LabelColumns { text: [question.timestamp.clone()].into(), ..LabelColumns::default() };
    for part in resolve(plan, question)?.entities.into_iter().flat_map(|entity| entity.key) {
        if part.is_int64 { &mut columns.int64 } else { &mut columns.text }.insert(part.column);
    }
    Ok(columns)
}

/// Resolves the names of a question.
///
/// # Errors
/// Configuration: a name that there is not, or that is asked for twice.
pub fn resolve(plan: &Plan, question: &Question) -> Result<Ask> {
    let mut ask = Ask { entities: Vec::new(), columns: Vec::new() };
    let mut places: Vec<(usize, usize)> = Vec::new();
    for text in &question.features {
        let (name, feature) = text.split_once(':').map_or((text.as_str(), None), |(name, of)| (name, Some(of)));
        let (entity, of) = plan.entity(name.trim()).ok_or_else(|| no_entity(plan, text, name))?;
        if !of.history {
            return Err(Error::configuration(format!(
                "{text}: entity `{name}` has `history: off`: nothing of its past is kept"
            )));
        }
        let found = match feature {
            None => (0..of.shown().count()).collect(),
            Some(feature) => vec![place(of, feature.trim(), text)?],
        };
        places.extend(found.into_iter().map(|place| (entity, place)));
    }
    let mut seen = BTreeSet::new();
    if let Some((entity, place)) = places.iter().find(|place| !seen.insert(**place)) {
        let of = &plan.entities[*entity];
        let name = of.shown().nth(*place).map_or("", |(name, _)| name);
        return Err(Error::configuration(format!("{}:{name} is asked for twice in --features", of.name)));
    }
    for (entity, place) in places {
        let at = ask.entities.iter().position(|asked| asked.entity == entity);
        let at = at.unwrap_or_else(|| {
            ask.entities.push(EntityAsk::of(plan, entity, question));
            ask.entities.len() - 1
        });
        ask.columns.push((at, ask.entities[at].wanted.len()));
        ask.entities[at].want(&plan.entities[entity], place, question);
    }
    if ask.entities.is_empty() {
        return Err(Error::configuration("--features names nothing: name entities, or entity:feature"));
    }
    for asked in &mut ask.entities {
        asked.close(&plan.entities[asked.entity], question);
    }
    unknown_keys(&ask, question)?;
    Ok(ask)
}

impl Ask {
    /// The columns of the answer over labels of these columns.
    ///
    /// # Errors
    /// Configuration: labels lack a column, or have one that the answer would have again.
    pub fn schema(&self, labels: &SchemaRef, question: &Question) -> Result<SchemaRef> {
        let has = |column: &str| labels.column_with_name(column).is_some();
        let names = || listed(labels.fields().iter().map(|field| field.name().as_str()));
        if !has(&question.timestamp) {
            return Err(Error::configuration(format!(
                "the labels have no column `{}` with their time; they have {}: name it with --timestamp",
                question.timestamp,
                names()
            )));
        }
        if let Some(part) = self.entities.iter().flat_map(|asked| &asked.key).find(|part| !has(&part.column)) {
            return Err(Error::configuration(format!(
                "the labels have no column `{}` for the key field `{}`; they have {}: name it with --key {}=COLUMN",
                part.column,
                part.field,
                names(),
                part.field
            )));
        }
        let mut fields: Vec<Field> = Vec::new();
        for field in labels.fields() {
            let is_time = *field.name() == question.timestamp;
            let data_type = if is_time { time_type(field.data_type()) } else { field.data_type().clone() };
            fields.push(Field::new(field.name(), data_type, true));
        }
        for (entity, wanted) in &self.columns {
            let wanted = &self.entities[*entity].wanted[*wanted];
            fields.push(Field::new(&wanted.name, wanted.data_type.clone(), true));
        }
        fields.extend(self.entities.iter().flat_map(|asked| asked.position_fields(question)));
        fields.push(Field::new(INCOMPLETE, DataType::Boolean, false));
        let mut seen = BTreeSet::new();
        match fields.iter().find(|field| !seen.insert(field.name())) {
            Some(twice) => Err(Error::configuration(format!(
                "two columns would be named `{}`: use --full-names (entity__feature), or rename the labels' column",
                twice.name()
            ))),
            None => Ok(Arc::new(Schema::new(fields))),
        }
    }
}

impl EntityAsk {
    fn of(plan: &Plan, entity: usize, question: &Question) -> Self {
        let of = &plan.entities[entity];
        let part = |field: &usize| {
            let field = &plan.source.fields[*field];
            let column = question.keys.get(&field.name).unwrap_or(&field.name).clone();
            KeyPart { field: field.name.clone(), column, is_int64: field.ty == FieldType::Int64 }
        };
        Self {
            entity,
            name: of.name.clone(),
            key: of.key.iter().map(part).collect(),
            wanted: Vec::new(),
            needed: Needed::of(of, []),
            computes: false,
            stored: Vec::new(),
            read: Arc::new(Schema::empty()),
        }
    }

    fn want(&mut self, of: &EntityPlan, place: usize, question: &Question) {
        let Some((feature, ty)) = of.shown().nth(place) else { return };
        let (decays, max_age) = match place.checked_sub(of.features.len()) {
            None => (of.features[place].decays().is_some(), of.features[place].max_age),
            Some(index) => (false, of.derived[index].max_age),
        };
        let name = if question.full_names { full_name(of, feature) } else { feature.to_string() };
        let computed = decays || !is_stored(of, place);
        let data_type = stored_type(&ty.data_type());
        self.wanted.push(Wanted { feature: feature.to_string(), name, place, computed, max_age, data_type });
    }

    /// Once everything is wanted: what has to be read.
    fn close(&mut self, of: &EntityPlan, question: &Question) {
        self.computes = self.wanted.iter().any(|wanted| wanted.computed);
        self.needed = Needed::of(of, self.wanted.iter().map(|wanted| wanted.place));
        let mut fields: Vec<Field> = Vec::new();
        if question.positions {
            fields.extend(POSITION.iter().map(|name| Field::new(*name, position_type(name), true)));
        }
        for (place, (name, ty)) in of.shown().enumerate().filter(|(place, _)| is_stored(of, *place)) {
            let is_needed = self.needed.contains(place);
            self.stored.push(is_needed.then_some(fields.len()));
            if is_needed {
                fields.push(Field::new(name, stored_type(&ty.data_type()), true));
            }
        }
        self.read = Arc::new(Schema::new(fields));
    }

    /// The name of the entity's columns of positions begins with it.
    fn position_fields(&self, question: &Question) -> Vec<Field> {
        let entity = &self.name;
        let field = |name: &&str| Field::new(format!("{entity}__{name}"), position_type(name), true);
        if question.positions { POSITION.iter().map(field).collect() } else { Vec::new() }
    }
}

fn position_type(name: &str) -> DataType {
    match name {
        "event_time" | "known_at" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        "offset" => DataType::Int64,
        _ => DataType::Int32,
    }
}

/// As Feast has them.
fn full_name(of: &EntityPlan, feature: &str) -> String {
    format!("{}__{feature}", of.name)
}

/// Whether the history has a column of it.
pub fn is_stored(of: &EntityPlan, place: usize) -> bool {
    let derived = place.checked_sub(of.features.len()).map(|index| &of.derived[index]);
    derived.is_none_or(|derived| derived.on == DerivedOn::Row)
}

fn place(of: &EntityPlan, feature: &str, text: &str) -> Result<usize> {
    of.shown().position(|(name, _)| name == feature).ok_or_else(|| {
        let known = || of.shown().map(|(name, _)| name);
        let remedy = match did_you_mean(feature, known()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("it has {}", listed(known())),
        };
        Error::configuration(format!("{text}: {} has no feature `{feature}`; {remedy}", of.name))
    })
}

fn no_entity(plan: &Plan, text: &str, name: &str) -> Error {
    let known = listed(plan.entities.iter().map(|entity| entity.name.as_str()));
    let of_one = plan.entities.iter().find(|entity| entity.shown().any(|(feature, _)| feature == name));
    let remedy = match of_one {
        Some(entity) => format!("write {}:{name}", entity.name),
        None => format!("it has {known}"),
    };
    Error::configuration(format!("{text}: {} has no entity `{name}`; {remedy}", plan.topology))
}

/// A key field in --key that no entity that is asked for has.
fn unknown_keys(ask: &Ask, question: &Question) -> Result<()> {
    let fields = || ask.entities.iter().flat_map(|asked| asked.key.iter().map(|part| part.field.as_str()));
    match question.keys.keys().find(|field| !fields().any(|known| known == *field)) {
        Some(field) => Err(Error::configuration(format!(
            "--key {field}=...: no entity in --features has the key field `{field}`; they have {}",
            listed(fields())
        ))),
        None => Ok(()),
    }
}
