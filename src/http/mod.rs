//! What a process answers over HTTP (axum's only room): features, metrics, health, status.
//!
//! Always holds: a client can hold neither memory nor a connection for ever. Connections are capped and have a longest
//! life; a head must come within a bound of time and bytes, a body too, and an answer must be taken (`patient`). Nothing
//! here changes anything. A connection lives on one of the server's own `threads`, from its first byte to its last, so
//! that answering neither waits for the pipeline beside it nor wakes other threads. `features` and `feast` write what the
//! read side answers, each in its own form; `guard` knows who may ask, `tls` certificates, `openapi` the pages by their
//! schemas, and `pulse` makes reads cheaper. Left out: other versions of HTTP than 1.

pub mod client;
mod feast;
mod feast_values;
mod features;
mod guard;
mod openapi;
mod patient;
mod pulse;
mod request;
mod routes;
mod threads;
mod tls;

use std::net::SocketAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

pub use self::features::found_as_json;
use self::patient::Patient;
use self::routes::{Pages, Rooms};
use self::threads::Threads;
use crate::config::HttpSettings;
use crate::error::{Error, Result};
use crate::features::Reader;
use crate::metrics::Metrics;
use crate::time::Span;

/// What a connection may hold of requests that are read and answers that are written, beside the answer itself; a head
/// has its own bound.
const BUFFER_BYTES: usize = 64 * 1024;

/// What the process behind the routes can tell. Methods return at once; they may be called often.
pub trait Door: Send + Sync {
    /// Where everything stands, for people and for `kappa status`.
    fn status(&self) -> serde_json::Value;
    /// Ok once everything answers as it should; otherwise what is missing.
    fn ready(&self) -> Result<(), String>;
    /// Ok while the process works; otherwise why it does not.
    fn health(&self) -> Result<(), String>;
}

/// How long requests that are under way may take once the server is to close.
const CLOSING: Duration = Duration::from_secs(1);

/// A running server; dropped, it stops.
#[derive(Debug)]
pub struct Server {
    /// Where it listens, with the port that the system chose when 0 was asked for.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
    closing: watch::Sender<bool>,
    /// Last: dropped, they end, with all connections.
    _threads: Arc<Threads>,
}

impl Server {
    /// Takes no more connections, answers what has been asked, and closes.
    pub async fn close(self) {
        self.accepting.abort();
        self.closing.send_replace(true);
        // Each connection listens until its end.
        let _ = tokio::time::timeout(CLOSING, self.closing.closed()).await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What every connection needs.
struct House {
    pages: Pages,
    tls: Option<TlsAcceptor>,
    settings: HttpSettings,
}

/// Binds `settings.listen` and serves until the [`Server`] is dropped.
///
/// # Errors
/// A configuration error when the address cannot be bound, or a file of tokens or certificates cannot be read.
pub async fn serve(
    settings: &HttpSettings,
    metrics: Metrics,
    door: Arc<dyn Door>,
    reader: Arc<Reader>,
) -> Result<Server> {
    let listen = &settings.listen;
    let refused = |error: std::io::Error| {
        Error::configuration(format!("`http.listen`: {listen}: {error}; choose another with --listen, or port 0"))
    };
    let tokens = guard::Tokens::load(settings)?;
    let tls = tls::server(settings)?.map(TlsAcceptor::from);
    let listener = TcpListener::bind(listen).await.map_err(refused)?;
    let address = listener.local_addr().map_err(refused)?;
    if !address.ip().is_loopback() && tokens.is_empty() {
        tracing::warn!(%address, "everybody who can reach this address may read features: see http.tokens");
    }
    tracing::info!(%address, tls = tls.is_some(), "http listens");
    show_bounds(&metrics, settings);
    let pages = Pages::new(Rooms::new(settings.clone(), tokens, metrics, door, reader));
    let (closing, closes) = watch::channel(false);
    let house = Arc::new(House { pages, tls, settings: settings.clone() });
    let threads = Arc::new(Threads::start()?);
    let accepting = tokio::spawn(accept(listener, house, closes, Arc::downgrade(&threads)));
    Ok(Server { address, accepting, closing, _threads: threads })
}

fn show_bounds(metrics: &Metrics, settings: &HttpSettings) {
    metrics.set_bound("http_max_connections", settings.max_connections as u64);
    metrics.set_bound("http_max_head_bytes", settings.max_head_bytes as u64);
    metrics.set_bound("http_max_body_bytes", settings.max_body_bytes as u64);
    metrics.set_bound("http_max_entities", settings.max_entities as u64);
    metrics.set_bound("http_read_timeout_ms", settings.read_timeout.millis().max(0) as u64);
}

/// A setting as the standard library's length of time.
fn duration(span: Span) -> Duration {
    Duration::from_millis(span.millis().max(0) as u64)
}

async fn accept(listener: TcpListener, house: Arc<House>, closes: watch::Receiver<bool>, threads: Weak<Threads>) {
    let slots = Arc::new(Semaphore::new(house.settings.max_connections.min(Semaphore::MAX_PERMITS)));
    loop {
        // The semaphore is never closed.
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                // Without threads the server is gone; a stream that cannot be handed over is closed.
                let (Some(threads), Ok(stream)) = (threads.upgrade(), stream.into_std()) else { continue };
                threads.next().spawn(greet(stream, Arc::clone(&house), closes.clone(), slot));
            }
            Err(error) => {
                // Out of file descriptors, most likely: give others time to close theirs.
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }
}

/// One connection, from TLS's greeting to its end; the slot is free again afterwards.
async fn greet(
    stream: std::net::TcpStream,
    house: Arc<House>,
    closes: watch::Receiver<bool>,
    _slot: OwnedSemaphorePermit,
) {
    let Ok(stream) = TcpStream::from_std(stream) else { return };
    // An answer is whole when it is sent: nothing is gained by waiting for more. A socket that refuses this works.
    let _ = stream.set_nodelay(true);
    let stream = Patient::new(stream, duration(house.settings.request_timeout));
    let Some(tls) = &house.tls else { return converse(stream, &house, closes).await };
    // A client that speaks no TLS, or too slowly, is its own affair.
    if let Ok(Ok(stream)) = tokio::time::timeout(duration(house.settings.head_timeout), tls.accept(stream)).await {
        converse(stream, &house, closes).await;
    }
}

/// The requests of one connection.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(stream: S, house: &House, mut closes: watch::Receiver<bool>) {
    let settings = &house.settings;
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(duration(settings.head_timeout))
        .max_header_size(settings.max_head_bytes)
        .max_buf_size(BUFFER_BYTES.max(settings.max_head_bytes));
    let answer = service_fn(|request| house.pages.answer(request));
    let connection = http.serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A client that goes away or is too slow is its own affair.
        _ = connection.as_mut() => return,
        () = tokio::time::sleep(duration(settings.connection_age)) => connection.as_mut().graceful_shutdown(),
        _ = closes.wait_for(|closes| *closes) => connection.as_mut().graceful_shutdown(),
    }
    let _ = tokio::time::timeout(duration(settings.request_timeout), connection).await;
}

#[cfg(test)]
mod tests;
