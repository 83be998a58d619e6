//! `POST /get-online-features`: Feast's question and answer, so that its clients read from here unchanged.
//!
//! A feature view is an entity of the topology, its join keys are the entity's key fields; a feature service is an
//! entity (all its features) or the topology (those of all entities). Always holds: `results[i]` belongs to the i-th of
//! `feature_names`, the keys first and then the features in the order of the request, and has one value for each
//! entity. A mistake in the request is a 4xx that names it.

use std::borrow::Cow;

use axum::http::StatusCode;
use axum::response::Response;
use futures::future::try_join_all;
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Map, Value};
use smallvec::SmallVec;

use super::request::{Instants, Problem, bare, body, shortened, written};
use super::routes::Rooms;
use super::{duration, feast_values};
use crate::features::{Answer, AnswerColumn, Ask, Reader, Status, id_of};
use crate::sink::online::quoted;
use crate::topology::{OutputType, listed};

/// What is as of no time: a key, or what is not found.
const NEVER: &str = "1970-01-01T00:00:00Z";

#[derive(Deserialize)]
struct Question<'q> {
    #[serde(borrow)]
    features: Option<Vec<Text<'q>>>,
    feature_service: Option<String>,
    entities: Map<String, Value>,
    #[serde(default)]
    full_feature_names: bool,
}

/// Text of the request, where it lies.
#[derive(Deserialize)]
struct Text<'q>(#[serde(borrow)] Cow<'q, str>);

/// One feature that was asked for.
struct Feature<'q> {
    /// Its view, by place, and its place among what is asked of that.
    view: usize,
    index: usize,
    /// As the answer names it.
    name: Cow<'q, str>,
}

/// Everything that is asked of one entity.
struct View<'r> {
    /// By place in the plan.
    entity: usize,
    ask: Ask<'r>,
    ids: Vec<String>,
}

pub(super) async fn get_online_features(rooms: &Rooms, question: Incoming) -> Result<Response, Problem> {
    let settings = &rooms.settings;
    let text = body(question, settings.max_body_bytes, duration(settings.request_timeout)).await?;
    let wrong = |error: serde_json::Error| {
        Problem::mistake(format!("the body is not understood: {}", shortened(&error.to_string())))
    };
    let question: Question = serde_json::from_slice(&text).map_err(wrong)?;
    let reader = rooms.reader.as_ref();
    let named = named(reader, &question)?;
    let rows = rows(&question.entities, settings.max_entities)?;
    let views = views(reader, &question.entities, rows, &named)?;
    let features = features(reader, &question, &named, &views)?;
    let answers = match views.as_slice() {
        // The rule, and two allocations less.
        [view] => vec![reader.read(&view.ask, &view.ids).await?],
        views => try_join_all(views.iter().map(|view| reader.read(&view.ask, &view.ids))).await?,
    };
    Ok(written(answer(&question.entities, rows, &features, &views, &answers)))
}

/// The features that are asked for, in the order of the request: entity, and name.
fn named<'q>(reader: &'q Reader, question: &'q Question<'_>) -> Result<Vec<(usize, &'q str)>, Problem> {
    match (&question.features, &question.feature_service) {
        (Some(names), None) if !names.is_empty() => {
            let mut last = None;
            names.iter().map(|Text(name)| reference(reader, name, &mut last)).collect()
        }
        (None, Some(service)) => service_of(reader, service),
        (Some(_), Some(_)) => {
            Err(Problem::mistake("`features` and `feature_service` are both given: send one of them"))
        }
        _ => Err(Problem::mistake(
            "no features are asked for: send `features` as [\"view:feature\"], or `feature_service`",
        )),
    }
}

/// `last` is the view that was named before, which is the same one mostly.
fn reference<'q>(
    reader: &Reader,
    text: &'q str,
    last: &mut Option<(&'q str, usize)>,
) -> Result<(usize, &'q str), Problem> {
    let Some((view, feature)) = text.split_once(':') else {
        let what = format!("feature `{}` names no view: write it as `view:feature`", shortened(text));
        return Err(Problem::mistake(what));
    };
    let entity = match *last {
        Some((known, entity)) if known == view => entity,
        _ => reader.entity(view)?,
    };
    *last = Some((view, entity));
    Ok((entity, feature))
}

fn service_of<'q>(reader: &'q Reader, name: &str) -> Result<Vec<(usize, &'q str)>, Problem> {
    let plan = reader.plan();
    let entities: Vec<usize> = match name == plan.topology {
        true => (0..plan.entities.len()).collect(),
        false => vec![reader.entity(name)?],
    };
    let features = |entity: usize| plan.entities[entity].shown().map(move |(name, _)| (entity, name));
    Ok(entities.into_iter().flat_map(features).collect())
}

/// How many entities are asked for: all columns of keys have as many values.
fn rows(columns: &Map<String, Value>, limit: usize) -> Result<usize, Problem> {
    let mut rows = None;
    for (name, column) in columns {
        let Value::Array(values) = column else {
            return Err(Problem::mistake(format!("`entities.{}` is not a list of values", shortened(name))));
        };
        let first = *rows.get_or_insert(values.len());
        if values.len() != first {
            let (name, count) = (shortened(name), values.len());
            let what = format!("`entities.{name}` has {count} values, and the first column {first}");
            return Err(Problem::mistake(what));
        }
    }
    match rows.unwrap_or(0) {
        rows if rows > limit => Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("{rows} entities are asked for, and at most {limit} at once (http.max_entities)"),
        )),
        rows => Ok(rows),
    }
}

/// What to read, by entity: the features of each, and the ids that its key columns make.
fn views<'r>(
    reader: &'r Reader,
    columns: &Map<String, Value>,
    rows: usize,
    named: &[(usize, &str)],
) -> Result<Vec<View<'r>>, Problem> {
    let plan = reader.plan();
    let mut grouped: Vec<(usize, Vec<&str>)> = Vec::new();
    for (entity, name) in named {
        match grouped.iter_mut().find(|(known, _)| known == entity) {
            Some((_, names)) => names.push(*name),
            None => grouped.push((*entity, vec![*name])),
        }
    }
    let mut used: Vec<&str> = Vec::new();
    let mut views = Vec::with_capacity(grouped.len());
    for (index, names) in grouped {
        let entity = &plan.entities[index];
        let mut parts: Vec<&Vec<Value>> = Vec::with_capacity(entity.key.len());
        for field in &entity.key {
            let name = plan.source.fields[*field].name.as_str();
            let column = columns.get(name).and_then(Value::as_array);
            let missing = || Problem::mistake(format!("`entities` has no `{name}`, of the key of `{}`", entity.name));
            parts.push(column.ok_or_else(missing)?);
            used.push(name);
        }
        let id = |row: usize| {
            let of_row: SmallVec<[&Value; 4]> = parts.iter().map(|column| &column[row]).collect();
            let wrong = |what: String| Problem::mistake(format!("entity {row} of `entities`: {what}"));
            id_of(plan, entity, &of_row).map_err(wrong)
        };
        let ids = (0..rows).map(id).collect::<Result<_, _>>()?;
        views.push(View { entity: index, ask: reader.ask(index, &names)?, ids });
    }
    match columns.keys().find(|name| !used.contains(&name.as_str())) {
        Some(name) => {
            let (name, keys) = (shortened(name), listed(used));
            Err(Problem::mistake(format!("`entities.{name}` is no key of what is asked for, which is by {keys}")))
        }
        None => Ok(views),
    }
}

/// Where each feature that is asked for stands in the answers, and its name there.
fn features<'q>(
    reader: &Reader,
    question: &Question<'_>,
    named: &[(usize, &'q str)],
    views: &[View<'_>],
) -> Result<Vec<Feature<'q>>, Problem> {
    let mut counts = vec![0; views.len()];
    let mut taken: Vec<&str> = question.entities.keys().map(String::as_str).collect();
    let mut features = Vec::with_capacity(named.len());
    for (entity, feature) in named {
        let view = views.iter().position(|view| view.entity == *entity).unwrap_or_default();
        let index = counts[view];
        counts[view] += 1;
        let name = match question.full_feature_names {
            true => Cow::Owned(format!("{}__{feature}", reader.plan().entities[*entity].name)),
            false if taken.contains(feature) => {
                let what = format!("two columns would be called `{feature}`: send \"full_feature_names\": true");
                return Err(Problem::mistake(what));
            }
            false => Cow::Borrowed(*feature),
        };
        taken.push(*feature);
        features.push(Feature { view, index, name });
    }
    Ok(features)
}

fn answer(
    keys: &Map<String, Value>,
    rows: usize,
    features: &[Feature<'_>],
    views: &[View<'_>],
    answers: &[Answer<'_>],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + features.len() * (32 + rows * 64));
    out.extend_from_slice(b"{\"metadata\":{\"feature_names\":[");
    let names = keys.keys().map(String::as_str).chain(features.iter().map(|feature| feature.name.as_ref()));
    separated(names, &mut out, quoted);
    out.extend_from_slice(b"]},\"results\":[");
    let all_present = Statuses::all_present(rows);
    let never = Times::never(rows);
    for values in keys.values() {
        let value = |row: usize, out: &mut Vec<u8>| {
            // A value that was read from JSON has a JSON form, and memory takes all that is written.
            serde_json::to_writer(out, &values[row]).expect("a value is written to memory as JSON");
        };
        out.extend_from_slice(b"{\"values\":[");
        separated(0..rows, &mut out, value);
        column_end(&all_present, &never, &mut out);
        out.push(b',');
    }
    let times: Vec<Times> = answers.iter().map(|answer| Times::of(answer, rows)).collect();
    separated(features, &mut out, |feature, out| {
        let view = feature.view;
        if let Some((_, ty)) = views[view].ask.columns().nth(feature.index) {
            out.extend_from_slice(b"{\"values\":[");
            let statuses = feature_values(answers[view].column(feature.index), rows, ty, out);
            column_end(statuses.as_ref().unwrap_or(&all_present), &times[view], out);
        }
    });
    out.extend_from_slice(b"]}");
    out
}

/// The statuses of a column, as they are written.
struct Statuses(Vec<u8>);

/// Its times: those of all features of an entity are the same.
struct Times(Vec<u8>);

impl Statuses {
    fn all_present(rows: usize) -> Self {
        Self::of((0..rows).map(|_| Status::Present))
    }

    fn of(statuses: impl ExactSizeIterator<Item = Status>) -> Self {
        let mut out = Vec::with_capacity(statuses.len() * 10);
        separated(statuses, &mut out, |status, out| bare(status.name(), out));
        Self(out)
    }
}

impl Times {
    fn never(rows: usize) -> Self {
        let mut out = Vec::with_capacity(rows * (NEVER.len() + 3));
        separated(0..rows, &mut out, |_, out| bare(NEVER, out));
        Self(out)
    }

    /// What each entity's row is as of.
    fn of(answer: &Answer<'_>, rows: usize) -> Self {
        let mut out = Vec::with_capacity(rows * (NEVER.len() + 7));
        let mut instants = Instants::default();
        separated(0..rows, &mut out, |row, out| match answer.get(row) {
            Some(found) => instants.write(found.event_time(), out),
            None => bare(NEVER, out),
        });
        Self(out)
    }
}

/// Ends a column that begins with its values.
fn column_end(statuses: &Statuses, times: &Times, out: &mut Vec<u8>) {
    out.extend_from_slice(b"],\"statuses\":[");
    out.extend_from_slice(&statuses.0);
    out.extend_from_slice(b"],\"event_timestamps\":[");
    out.extend_from_slice(&times.0);
    out.extend_from_slice(b"]}");
}

/// Writes the values of a feature; their statuses, if not all are present.
fn feature_values(column: AnswerColumn<'_>, rows: usize, ty: &OutputType, out: &mut Vec<u8>) -> Option<Statuses> {
    let write = feast_values::writer(ty);
    let mut statuses = Vec::with_capacity(rows);
    separated(0..rows, out, |row, out| {
        let cell = column.cell(row);
        statuses.push(cell.status);
        match cell.text {
            Some(text) => write(text, ty, out),
            None => out.extend_from_slice(b"null"),
        }
    });
    let all_present = statuses.iter().all(|status| *status == Status::Present);
    (!all_present).then(|| Statuses::of(statuses.into_iter()))
}

/// Items with commas between.
fn separated<T>(items: impl IntoIterator<Item = T>, out: &mut Vec<u8>, mut write: impl FnMut(T, &mut Vec<u8>)) {
    for (index, item) in items.into_iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write(item, out);
    }
}
