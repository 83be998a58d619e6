//! `GET /v1/features/{entity}/{id}?names=a,b`: the features of one entity, each with value, status, event time, age and
//! the version that wrote it.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;

use super::request::{Instants, Problem, bare, written};
use super::routes::{Rooms, Shared};
use crate::features::{Answer, Ask, Found};
use crate::sink::online::quoted;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ByPath {
    names: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ById {
    id: String,
    names: Option<String>,
}

pub(super) async fn by_path(
    State(rooms): Shared,
    path: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<ByPath>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path((entity, id)) = path.map_err(|wrong| Problem::mistake(wrong.body_text()))?;
    let Query(by) = query.map_err(|wrong| Problem::mistake(wrong.body_text()))?;
    features(&rooms, &entity, id, by.names.as_deref()).await
}

/// `?id=` takes every id, the empty one too.
pub(super) async fn by_id(
    State(rooms): Shared,
    path: Result<Path<String>, PathRejection>,
    query: Result<Query<ById>, QueryRejection>,
) -> Result<Response, Problem> {
    let Path(entity) = path.map_err(|wrong| Problem::mistake(wrong.body_text()))?;
    let Query(by) = query.map_err(|wrong| Problem::mistake(wrong.body_text()))?;
    features(&rooms, &entity, by.id, by.names.as_deref()).await
}

async fn features(rooms: &Rooms, entity: &str, id: String, names: Option<&str>) -> Result<Response, Problem> {
    let names: Vec<&str> = names.map(|names| names.split(',').map(str::trim).collect()).unwrap_or_default();
    let ask = rooms.reader.ask(rooms.reader.entity(entity)?, &names)?.with_origin();
    let ids = [id];
    let answer = rooms.reader.read(&ask, &ids).await?;
    let [id] = &ids;
    match answer.get(0) {
        Some(found) => Ok(written(found_as_json(entity, id, &ask, &answer, &found))),
        None => {
            let what = format!("nothing is stored for {entity} {id:?}: every feature is empty");
            Err(Problem::new(StatusCode::NOT_FOUND, what))
        }
    }
}

/// What was found of an entity, as this page writes it.
pub fn found_as_json(entity: &str, id: &str, ask: &Ask<'_>, answer: &Answer<'_>, found: &Found<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + 128 * ask.columns().len());
    out.extend_from_slice(b"{\"entity\":");
    quoted(entity, &mut out);
    out.extend_from_slice(b",\"id\":");
    quoted(id, &mut out);
    out.extend_from_slice(b",\"position\":");
    quoted(found.position().unwrap_or_default(), &mut out);
    out.extend_from_slice(b",\"features\":{");
    let age = answer.now.saturating_sub(found.event_time());
    let version = found.version().map_or("null".to_string(), |version| version.to_string());
    let mut of_row = b",\"event_time\":".to_vec();
    Instants::default().write(found.event_time(), &mut of_row);
    of_row.extend_from_slice(format!(",\"age_ms\":{age},\"version\":{version}}}").as_bytes());
    for (index, ((name, ty), cell)) in ask.columns().zip(found.cells()).enumerate() {
        if index > 0 {
            out.push(b',');
        }
        quoted(name, &mut out);
        out.extend_from_slice(b":{\"value\":");
        cell.write_json(ty, &mut out);
        out.extend_from_slice(b",\"status\":");
        bare(cell.status.name(), &mut out);
        out.extend_from_slice(&of_row);
    }
    out.extend_from_slice(b"}}");
    out
}
