//! The routes, what every request goes through before them, and the small pages.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{Method, Request, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use tower::util::ServiceExt;

use super::guard::Tokens;
use super::request::{Problem, refuse_long};
use super::{Door, duration, feast, features, openapi, pulse};
use crate::config::HttpSettings;
use crate::features::Reader;
use crate::metrics::{Counter, Histogram, Metrics};

/// A scrape younger than this is given again, so that many scrapers cost as much as one.
const SCRAPE_AGE: Duration = Duration::from_secs(1);
/// The pages, as metrics name them; each is a path, or what a path begins with.
const PAGES: [&str; 9] = [
    "/get-online-features",
    "/v1/features",
    "/v1/status",
    "/metrics",
    "/health",
    "/ready",
    "/openapi.json",
    "/docs",
    "/",
];
/// Answered without the router, whose ways cost as much again as the answer to a small question.
const FEAST: &str = PAGES[0];
/// Pages that need no token: they say nothing of what is stored.
const OPEN: [&str; 4] = ["/", "/docs", "/health", "/ready"];

/// A page with the series that almost every answer adds to, found once.
struct Page {
    name: &'static str,
    seconds: Histogram,
    good: Counter,
}

/// What the routes need.
pub(super) struct Rooms {
    pub settings: HttpSettings,
    pub reader: Arc<Reader>,
    tokens: Tokens,
    metrics: Metrics,
    /// Those of [`PAGES`], in that order, and what belongs to none of them.
    pages: Vec<Page>,
    door: Arc<dyn Door>,
    scrape: Mutex<Option<(Instant, Arc<str>)>>,
    openapi: Bytes,
}

pub(super) type Shared = State<Arc<Rooms>>;

impl Rooms {
    pub(super) fn new(
        settings: HttpSettings,
        tokens: Tokens,
        metrics: Metrics,
        door: Arc<dyn Door>,
        reader: Arc<Reader>,
    ) -> Self {
        let openapi = openapi::document(reader.plan(), &settings, !tokens.is_empty()).to_string().into();
        let page = |name| Page {
            name,
            seconds: metrics.http_seconds(name),
            good: metrics.http_responses(name, StatusCode::OK.as_str()),
        };
        let pages = PAGES.into_iter().chain(["other"]).map(page).collect();
        Self { settings, reader, tokens, metrics, pages, door, scrape: Mutex::new(None), openapi }
    }

    /// The page that a path belongs to.
    fn page(&self, path: &str) -> &Page {
        let is_below = |page: &&str| {
            path.strip_prefix(*page)
                .is_some_and(|rest| rest.is_empty() || (*page == "/v1/features" && rest.starts_with('/')))
        };
        &self.pages[PAGES.iter().position(is_below).unwrap_or(PAGES.len())]
    }
}

/// All pages.
pub(super) struct Pages {
    rooms: Arc<Rooms>,
    router: Router,
}

impl Pages {
    pub(super) fn new(rooms: Rooms) -> Self {
        let rooms = Arc::new(rooms);
        let router = Router::new()
            .route("/", get(async || Html(include_str!("index.html"))))
            .route("/docs", get(async || Html(include_str!("docs.html"))))
            .route("/openapi.json", get(described))
            .route("/metrics", get(scrape))
            .route("/health", get(health))
            .route("/ready", get(ready))
            .route("/v1/status", get(status))
            .route("/v1/features/{entity}", get(features::by_id))
            .route("/v1/features/{entity}/{id}", get(features::by_path))
            .method_not_allowed_fallback(wrong_method)
            .fallback(nowhere)
            .with_state(Arc::clone(&rooms));
        Self { rooms, router }
    }

    /// The answer to a request: strangers and long bodies are refused, what takes too long is cut, and all is counted.
    pub(super) async fn answer(&self, mut request: Request<Incoming>) -> Result<Response, Infallible> {
        let rooms = self.rooms.as_ref();
        let (page, began) = (rooms.page(request.uri().path()), Instant::now());
        pulse::feel(began, duration(rooms.settings.read_timeout));
        let response = if !OPEN.contains(&page.name) && !rooms.tokens.admit(request.headers()) {
            stranger()
        } else if let Some(refused) = refuse_long(&mut request, rooms.settings.max_body_bytes).await {
            refused.into_response()
        } else {
            self.page(page.name, request).await
        };
        page.seconds.observe_since(began);
        match response.status() {
            StatusCode::OK => page.good.add(1),
            status => rooms.metrics.http_responses(page.name, status.as_str()).add(1),
        }
        Ok(response)
    }

    async fn page(&self, name: &str, request: Request<Incoming>) -> Response {
        match (name, request.method()) {
            // Its body and its read have bounds of their own.
            (FEAST, &Method::POST) => feast::get_online_features(&self.rooms, request.into_body())
                .await
                .unwrap_or_else(Problem::into_response),
            (FEAST, _) => wrong_method().await.into_response(),
            _ => {
                // A body has a bound of half the length, and is said to be late itself.
                let patience = duration(self.rooms.settings.request_timeout) * 2;
                let routed = self.router.clone().oneshot(request.map(Body::new));
                let late = || Problem::new(StatusCode::GATEWAY_TIMEOUT, format!("no answer within {patience:?}"));
                match tokio::time::timeout(patience, routed).await {
                    Ok(Ok(response)) => response,
                    Err(_) => late().into_response(),
                }
            }
        }
    }
}

fn stranger() -> Response {
    let what = "a token is needed: send `Authorization: Bearer <token>` with one of http.tokens";
    ([(header::WWW_AUTHENTICATE, "Bearer")], Problem::new(StatusCode::UNAUTHORIZED, what)).into_response()
}

async fn described(State(rooms): Shared) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], rooms.openapi.clone()).into_response()
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

async fn nowhere() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no such page; /docs lists them")
}

async fn wrong_method() -> Problem {
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this page takes another method; /docs says which")
}
