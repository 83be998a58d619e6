//! `POST /get-online-features`: Feast's question and answer, so that its clients read from here unchanged.
//!
//! A feature view is an entity of the topology, its join keys are the entity's key fields; a feature service is an
//! entity (all its features) or the topology (those of all entities). Always holds: `results[i]` belongs to the i-th of
//! `feature_names`, the keys first and then the features in the order of the request, and has one value for each
//! entity. A mistake in the request is a 4xx that names it.

use std::collections::HashMap;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::request::{Problem, bare, body, instant, quoted, shortened, written};
use super::routes::Shared;
use super::{duration, feast_values};
use crate::features::{Answer, Ask, Reader, Status, id_of};
use crate::topology::{OutputType, listed};

/// What is as of no time: a key, or what is not found.
const NEVER: &str = "1970-01-01T00:00:00Z";

#[derive(Deserialize)]
struct Question {
    features: Option<Vec<String>>,
    feature_service: Option<String>,
    entities: Map<String, Value>,
    #[serde(default)]
    full_feature_names: bool,
}

/// One feature that was asked for.
struct Feature {
    /// Its entity, by place in the plan, and its place among what is asked of that.
    entity: usize,
    index: usize,
    /// As the answer names it.
    name: String,
}

/// Everything that is asked of one entity.
struct View {
    ask: Ask,
    ids: Vec<String>,
}

pub(super) async fn get_online_features(State(rooms): Shared, request: Request) -> Result<Response, Problem> {
    let settings = &rooms.settings;
    let text = body(request.into_body(), settings.max_body_bytes, duration(settings.request_timeout)).await?;
    let wrong = |error: serde_json::Error| {
        Problem::mistake(format!("the body is not understood: {}", shortened(&error.to_string())))
    };
    let question: Question = serde_json::from_slice(&text).map_err(wrong)?;
    let reader = rooms.reader.as_ref();
    let named = named(reader, &question)?;
    let rows = rows(&question.entities, settings.max_entities)?;
    let views = views(reader, &question.entities, rows, &named)?;
    let reads = views.iter().map(|(entity, view)| async move {
        Ok::<_, Problem>((*entity, (&view.ask, reader.read(&view.ask, &view.ids).await?)))
    });
    let answers: HashMap<usize, (&Ask, Answer)> = try_join_all(reads).await?.into_iter().collect();
    let features = features(reader, &question, &named)?;
    Ok(written(answer(&question.entities, rows, &features, &answers)))
}

/// The features that are asked for, in the order of the request: entity, and name.
fn named<'q>(reader: &'q Reader, question: &'q Question) -> Result<Vec<(usize, &'q str)>, Problem> {
    match (&question.features, &question.feature_service) {
        (Some(names), None) if !names.is_empty() => names.iter().map(|name| reference(reader, name)).collect(),
        (None, Some(service)) => service_of(reader, service),
        (Some(_), Some(_)) => {
            Err(Problem::mistake("`features` and `feature_service` are both given: send one of them"))
        }
        _ => Err(Problem::mistake(
            "no features are asked for: send `features` as [\"view:feature\"], or `feature_service`",
        )),
    }
}

fn reference<'q>(reader: &Reader, text: &'q str) -> Result<(usize, &'q str), Problem> {
    let Some((view, feature)) = text.split_once(':') else {
        let what = format!("feature `{}` names no view: write it as `view:feature`", shortened(text));
        return Err(Problem::mistake(what));
    };
    Ok((reader.entity(view)?, feature))
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
fn views(
    reader: &Reader,
    columns: &Map<String, Value>,
    rows: usize,
    named: &[(usize, &str)],
) -> Result<Vec<(usize, View)>, Problem> {
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
            let of_row: Vec<&Value> = parts.iter().map(|column| &column[row]).collect();
            let wrong = |what: String| Problem::mistake(format!("entity {row} of `entities`: {what}"));
            id_of(plan, entity, &of_row).map_err(wrong)
        };
        let ids = (0..rows).map(id).collect::<Result<_, _>>()?;
        views.push((index, View { ask: reader.ask(index, &names)?, ids }));
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
fn features(reader: &Reader, question: &Question, named: &[(usize, &str)]) -> Result<Vec<Feature>, Problem> {
    let mut counts: HashMap<usize, usize> = HashMap::new();
    let mut taken: Vec<&str> = question.entities.keys().map(String::as_str).collect();
    let mut features = Vec::with_capacity(named.len());
    for (entity, feature) in named {
        let count = counts.entry(*entity).or_default();
        let index = *count;
        *count += 1;
        let name = match question.full_feature_names {
            true => format!("{}__{feature}", reader.plan().entities[*entity].name),
            false if taken.contains(feature) => {
                let what = format!("two columns would be called `{feature}`: send \"full_feature_names\": true");
                return Err(Problem::mistake(what));
            }
            false => feature.to_string(),
        };
        taken.push(*feature);
        features.push(Feature { entity: *entity, index, name });
    }
    Ok(features)
}

fn answer(
    keys: &Map<String, Value>,
    rows: usize,
    features: &[Feature],
    answers: &HashMap<usize, (&Ask, Answer)>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + features.len() * (32 + rows * 64));
    out.extend_from_slice(b"{\"metadata\":{\"feature_names\":[");
    let names = keys.keys().map(String::as_str).chain(features.iter().map(|feature| feature.name.as_str()));
    separated(names, &mut out, quoted);
    out.extend_from_slice(b"]},\"results\":[");
    for column in keys.values() {
        key_column(column, rows, &mut out);
        out.push(b',');
    }
    // An entity's time is written once, and then copied for each of its features.
    let times: HashMap<usize, Vec<Option<String>>> =
        answers.iter().map(|(entity, (_, answer))| (*entity, times(answer, rows))).collect();
    separated(features, &mut out, |feature, out| {
        let (ask, answer) = &answers[&feature.entity];
        if let Some((_, ty)) = ask.columns().nth(feature.index) {
            feature_column(answer, feature.index, ty, &times[&feature.entity], out);
        }
    });
    out.extend_from_slice(b"]}");
    out
}

/// One column of the answer: its three parts, one item for each entity.
fn column(
    rows: usize,
    out: &mut Vec<u8>,
    value: impl Fn(usize, &mut Vec<u8>),
    status: impl Fn(usize) -> Status,
    time: impl Fn(usize, &mut Vec<u8>),
) {
    out.extend_from_slice(b"{\"values\":[");
    separated(0..rows, out, value);
    out.extend_from_slice(b"],\"statuses\":[");
    separated(0..rows, out, |row, out| bare(status(row).name(), out));
    out.extend_from_slice(b"],\"event_timestamps\":[");
    separated(0..rows, out, time);
    out.extend_from_slice(b"]}");
}

fn key_column(values: &Value, rows: usize, out: &mut Vec<u8>) {
    let value = |row: usize, out: &mut Vec<u8>| {
        // A value that was read from JSON has a JSON form, and memory takes all that is written.
        serde_json::to_writer(out, &values[row]).expect("a value is written to memory as JSON");
    };
    column(rows, out, value, |_| Status::Present, |_, out| bare(NEVER, out));
}

fn feature_column(answer: &Answer, index: usize, ty: &OutputType, times: &[Option<String>], out: &mut Vec<u8>) {
    let cell = |row: usize| answer.get(row).map(|found| &found.cells[index]);
    let value = |row: usize, out: &mut Vec<u8>| match cell(row) {
        Some(cell) => feast_values::write(cell, ty, out),
        None => out.extend_from_slice(b"null"),
    };
    let status = |row: usize| cell(row).map_or(Status::NotFound, |cell| cell.status);
    let time = |row: usize, out: &mut Vec<u8>| bare(times[row].as_deref().unwrap_or(NEVER), out);
    column(times.len(), out, value, status, time);
}

/// What each entity's row is as of.
fn times(answer: &Answer, rows: usize) -> Vec<Option<String>> {
    (0..rows).map(|row| answer.get(row).map(|found| instant(found.event_time))).collect()
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
