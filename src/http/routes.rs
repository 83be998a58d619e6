//! The routes: each turns one answer of the door, or the metrics, into one response.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::{Door, MAX_BODY_BYTES, REQUEST_TIMEOUT};
use crate::error::ErrorKind;
use crate::metrics::Metrics;

/// A scrape younger than this is given again, so that many scrapers cost as much as one.
const SCRAPE_AGE: Duration = Duration::from_secs(1);

struct Rooms {
    metrics: Metrics,
    door: Arc<dyn Door>,
    scrape: Mutex<Option<(Instant, Arc<str>)>>,
}

type Shared = State<Arc<Rooms>>;

pub(super) fn router(metrics: Metrics, door: Arc<dyn Door>) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("index.html"))))
        .route("/metrics", get(scrape))
        .route("/health", get(health))
        .route("/ready", get(ready))
        .route("/v1/status", get(status))
        .route("/v1/features/{entity}", get(features_by_query))
        .route("/v1/features/{entity}/{id}", get(features_by_path))
        .fallback(nowhere)
        .layer(middleware::from_fn(within_bounds))
        .with_state(Arc::new(Rooms { metrics, door, scrape: Mutex::new(None) }))
}

/// Refuses bodies and cuts answers that take too long.
async fn within_bounds(request: Request, next: Next) -> Response {
    if body_bytes(request.headers()).is_none_or(|bytes| bytes > MAX_BODY_BYTES) {
        return problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("a body may have {MAX_BODY_BYTES} bytes"));
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => problem(StatusCode::GATEWAY_TIMEOUT, &format!("no answer within {REQUEST_TIMEOUT:?}")),
    }
}

/// What the head says about the body; `None`: of unknown length.
fn body_bytes(headers: &HeaderMap) -> Option<u64> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return None;
    }
    headers.get(header::CONTENT_LENGTH).map_or(Some(0), |length| length.to_str().ok()?.parse().ok())
}

async fn scrape(State(rooms): Shared) -> Response {
    let text = {
        // A panic while rendering leaves the old text, which is still true of its time.
        let mut cached = rooms.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        match &*cached {
            Some((at, text)) if at.elapsed() < SCRAPE_AGE => text.clone(),
            _ => {
                let text: Arc<str> = rooms.metrics.render().into();
                *cached = Some((Instant::now(), text.clone()));
                text
            }
        }
    };
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text.to_string()).into_response()
}

async fn health(State(rooms): Shared) -> Response {
    verdict(rooms.door.health())
}

async fn ready(State(rooms): Shared) -> Response {
    verdict(rooms.door.ready())
}

/// 200 `ok`, or 503 with the reason, as text: for people, `curl -f` and orchestrators alike.
fn verdict(verdict: Result<(), String>) -> Response {
    match verdict {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn status(State(rooms): Shared) -> Response {
    Json(rooms.door.status()).into_response()
}

async fn features_by_path(State(rooms): Shared, Path((entity, id)): Path<(String, String)>) -> Response {
    features(&rooms, &entity, &id).await
}

#[derive(serde::Deserialize)]
struct ById {
    id: String,
}

/// `?id=` takes every id, the empty one too.
async fn features_by_query(State(rooms): Shared, Path(entity): Path<String>, Query(by): Query<ById>) -> Response {
    features(&rooms, &entity, &by.id).await
}

async fn features(rooms: &Rooms, entity: &str, id: &str) -> Response {
    match rooms.door.get(entity, id).await {
        Ok(Some(values)) => Json(json!({"entity": entity, "id": id, "values": values})).into_response(),
        Ok(None) => {
            problem(StatusCode::NOT_FOUND, &format!("nothing is stored for {entity} {id:?}: every feature is empty"))
        }
        Err(error) => {
            let status = match error.kind() {
                ErrorKind::Configuration => StatusCode::BAD_REQUEST,
                ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            problem(status, &error.to_string())
        }
    }
}

async fn nowhere() -> Response {
    problem(StatusCode::NOT_FOUND, "no such page; / lists them")
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({"error": message}))).into_response()
}
