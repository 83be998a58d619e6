//! What the routes share: a request's body within its bounds, problems as JSON, and pieces of answers.
//!
//! Always holds: a problem is `{"error": "..."}` with the status that says whose it is: 4xx the client's, 503 and 504
//! the store's, 500 ours.

use std::future::poll_fn;
use std::pin::Pin;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body, Incoming};
use jiff::tz::Offset;
use serde_json::json;

use crate::error::ErrorKind;
use crate::features::ReadError;
use crate::time::Millis;

/// How long what a refused client still sends is taken, so that it reads the answer before its connection ends.
const DRAIN: Duration = Duration::from_secs(5);

/// Why a request has no other answer: whose fault it is, and one sentence.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    message: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The client's mistake.
    pub(super) fn mistake(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        (self.status, Json(json!({"error": self.message}))).into_response()
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        let status = match &error {
            ReadError::Asked(_) => StatusCode::BAD_REQUEST,
            ReadError::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            ReadError::Store(error) if error.kind() == ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            ReadError::Store(error) => {
                tracing::error!("a read failed: {error}");
                StatusCode::INTERNAL_SERVER_ERROR
            }
        };
        Self::new(status, error.to_string())
    }
}

/// Not all of a text that may be a client's and long.
pub(super) fn shortened(text: &str) -> &str {
    const LONGEST: usize = 200;
    text.char_indices().nth(LONGEST).map_or(text, |(end, _)| &text[..end])
}

/// JSON that is written already.
pub(super) fn written(bytes: Vec<u8>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], bytes).into_response()
}

/// What a head says of its body's length, in bytes; `None` where it does not say. A length that is no number is not
/// let through by the protocol.
fn promised_bytes(head: &HeaderMap) -> Option<u64> {
    head.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The answer to a request whose head promises too long a body, if it does.
pub(super) async fn refuse_long(request: &mut Request<Incoming>, limit: usize) -> Option<Problem> {
    if promised_bytes(request.headers()).is_none_or(|bytes| bytes <= limit as u64) {
        return None;
    }
    // One that asks before it sends needs no draining: it reads the answer first.
    if !request.headers().contains_key(header::EXPECT) {
        drain(request.body_mut()).await;
    }
    Some(too_long(limit))
}

fn too_long(limit: usize) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format!("a body may have {limit} bytes (http.max_body_bytes)"))
}

/// The body, of at most `limit` bytes and within `patience`. Memory is taken as bytes come, not as they are promised.
pub(super) async fn body(mut body: Incoming, limit: usize, patience: Duration) -> Result<Bytes, Problem> {
    let whole = async {
        let mut bytes = Bytes::new();
        let mut several = Vec::new();
        while let Some(part) = part(&mut body).await {
            let part = part.map_err(|error| Some(format!("the body cannot be read to its end: {error}")))?;
            if several.len().max(bytes.len()) + part.len() > limit {
                return Err(None);
            }
            // One part is the rule, and needs no copy.
            match bytes.is_empty() {
                true => bytes = part,
                false => {
                    if several.is_empty() {
                        several.extend_from_slice(&bytes);
                    }
                    several.extend_from_slice(&part);
                }
            }
        }
        Ok::<Bytes, Option<String>>(if several.is_empty() { bytes } else { several.into() })
    };
    let outcome = tokio::time::timeout(patience, whole).await;
    match outcome {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(Some(broken))) => Err(Problem::mistake(broken)),
        Ok(Err(None)) => {
            drain(&mut body).await;
            Err(too_long(limit))
        }
        Err(_) => Err(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {patience:?} (http.request_timeout)"),
        )),
    }
}

/// The next bytes of a body; trailers are none.
async fn part(body: &mut Incoming) -> Option<Result<Bytes, hyper::Error>> {
    let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await?;
    Some(frame.map(|frame| frame.into_data().unwrap_or_default()))
}

async fn drain(body: &mut Incoming) {
    let rest = async { while let Some(Ok(_)) = part(body).await {} };
    // Whoever sends for longer has had time to read.
    let _ = tokio::time::timeout(DRAIN, rest).await;
}

/// Appends text in which nothing needs an escape.
pub(super) fn bare(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// Writes instants as JSON has them: RFC 3339 in UTC, with milliseconds where there are some. What lies beyond the
/// calendar is 1970.
///
/// Most rows of an answer are of the same day: its date is kept, since to find it costs ten times the rest.
#[derive(Debug, Default)]
pub(super) struct Instants {
    day: Option<i64>,
    date: String,
}

impl Instants {
    pub(super) fn write(&mut self, at: Millis, out: &mut Vec<u8>) {
        const DAY: Millis = 86_400_000;
        let day = at.div_euclid(DAY);
        if self.day != Some(day) {
            let Ok(first) = jiff::Timestamp::from_millisecond(day.saturating_mul(DAY)) else {
                return self.write(0, out);
            };
            self.date = Offset::UTC.to_datetime(first).date().to_string();
            self.day = Some(day);
        }
        let in_day = at.rem_euclid(DAY);
        let (seconds, millis) = (in_day / 1_000, in_day % 1_000);
        let two = |number: i64| [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        let ([h, i], [m, j], [s, k]) = (two(seconds / 3_600), two(seconds / 60 % 60), two(seconds % 60));
        out.push(b'"');
        out.extend_from_slice(self.date.as_bytes());
        out.extend_from_slice(&[b'T', h, i, b':', m, j, b':', s, k]);
        if millis > 0 {
            let [tens, ones] = two(millis % 100);
            out.extend_from_slice(&[b'.', b'0' + (millis / 100) as u8, tens, ones]);
        }
        out.extend_from_slice(b"Z\"");
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn instant(at: Millis) -> String {
        let mut out = Vec::new();
        Instants::default().write(at, &mut out);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn an_instant_has_no_more_digits_than_it_needs() {
        let shown = [0, 1_704_067_200_123, 1_704_067_200_120, -1, i64::MAX, i64::MIN].map(instant);
        let expected = [
            "1970-01-01T00:00:00Z",
            "2024-01-01T00:00:00.123Z",
            "2024-01-01T00:00:00.120Z",
            "1969-12-31T23:59:59.999Z",
            "1970-01-01T00:00:00Z",
            "1970-01-01T00:00:00Z",
        ];
        assert_eq!(shown, expected);
    }

    proptest! {
        #[test]
        fn an_instant_reads_back_whatever_was_written_before_it(instants in vec(-377_000_000_000_000i64..=253_000_000_000_000, 1..5)) {
            let mut written = Instants::default();
            for at in instants {
                for at in [at, at / 1_000 * 1_000, at + 1] {
                    let mut out = Vec::new();
                    written.write(at, &mut out);
                    let text: String = serde_json::from_slice(&out).unwrap();
                    prop_assert_eq!(text.parse::<jiff::Timestamp>().unwrap().as_millisecond(), at, "{}", text);
                }
            }
        }
    }
}
