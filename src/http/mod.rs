//! What a running process answers over HTTP (axum's only room): metrics, health, status, and the features of one entity.
//!
//! Always holds: a client can hold neither memory nor a connection for ever. Headers must come within a bound, a
//! request has a time limit and no body worth the name, connections are capped and have a longest life. Nothing here
//! changes anything: every route is a GET. Left out: TLS and logins; bind a private address and put a proxy before it.

pub mod client;
mod routes;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};
use crate::metrics::Metrics;

/// How long a client may take to send its request's head, and how long a kept-alive connection may be silent.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an answer may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Open connections; further ones wait in the system's queue.
const MAX_CONNECTIONS: usize = 256;
/// The longest life of a connection; then it is closed between two requests, and soon after in any case.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(600);
/// Bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Bytes of a request's body; no route reads one.
const MAX_BODY_BYTES: u64 = 64 * 1024;

/// What the process behind the routes can tell. Methods return at once but for `get`; they may be called often.
pub trait Door: Send + Sync {
    /// Where everything stands, for people and for `kappa status`.
    fn status(&self) -> serde_json::Value;
    /// Ok once every partition is caught up and the sinks answer; otherwise what is missing.
    fn ready(&self) -> Result<(), String>;
    /// Ok while the process works; otherwise why it does not.
    fn health(&self) -> Result<(), String>;
    /// What the online store holds for an entity; `None`: nothing, so every feature is empty.
    fn get(&self, entity: &str, id: &str) -> BoxFuture<'_, Result<Option<BTreeMap<String, String>>>>;
}

/// A running server; dropped, it stops.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, with the port that the system chose when 0 was asked for.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Binds `listen` (address:port) and serves until the [`Server`] is dropped.
///
/// # Errors
/// A configuration error when the address cannot be bound.
pub async fn serve(listen: &str, metrics: Metrics, door: Arc<dyn Door>) -> Result<Server> {
    let refused = |error: std::io::Error| {
        Error::configuration(format!("`http.listen`: {listen}: {error}; choose another with --listen, or port 0"))
    };
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    let router = routes::router(metrics, door);
    tracing::info!(%address, "http listens");
    Ok(Server { address, accepting: tokio::spawn(accept(listener, router)) })
}

async fn accept(listener: TcpListener, router: axum::Router) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(converse(stream, router.clone(), slot));
            }
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// One connection, from its first request to its end; the slot is free again afterwards.
async fn converse(stream: TcpStream, router: axum::Router, _slot: OwnedSemaphorePermit) {
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).max_buf_size(MAX_HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that goes away or is too slow is its own affair.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(MAX_CONNECTION_AGE) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(REQUEST_TIMEOUT, connection).await;
}

#[cfg(test)]
mod tests;
