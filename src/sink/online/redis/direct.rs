//! A connection for reads alone, to one server over plain TCP: many questions are under way on it at once.
//!
//! Always holds: questions are answered in their order, those that come together are sent together, and one that nobody
//! waits for any more is still taken off the wire. A server that answers nothing for as long as it may is given up, and
//! with it all that is under way. Written for reads because they are Kappa's promise to those who serve; everything else,
//! and TLS and clusters, goes over the client's own connections (`link`).

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use redis::{ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;

use super::resp::{self, Answers, Decoder};

/// Questions that may wait to be sent.
const QUEUE: usize = 256;
/// Bytes that may wait to be sent before more questions are taken.
const UNSENT_BYTES: usize = 1 << 20;
/// What is read at once, at least.
const READ_BYTES: usize = 16 * 1024;

/// An open connection; clones share it, and the last one closes it.
#[derive(Debug, Clone)]
pub(super) struct Direct {
    calls: mpsc::Sender<Call>,
}

/// Calls that are sent and answered together.
#[derive(Debug)]
struct Call {
    bytes: Vec<u8>,
    under_way: UnderWay,
}

#[derive(Debug)]
struct UnderWay {
    decoder: Decoder,
    answer: oneshot::Sender<RedisResult<Answers>>,
}

impl Direct {
    /// Whether a server can be reached this way.
    pub(super) fn can_reach(info: &ConnectionInfo) -> bool {
        matches!(info.addr(), ConnectionAddr::Tcp(..))
    }

    /// Connects and logs in. The connection lives on the runtime that this is called on.
    pub(super) async fn open(info: &ConnectionInfo, patience: Duration) -> RedisResult<Self> {
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err((ErrorKind::InvalidClientConfig, "not a plain TCP address").into());
        };
        let opened = tokio::time::timeout(patience, async {
            let mut stream = TcpStream::connect((host.as_str(), *port)).await?;
            stream.set_nodelay(true)?;
            log_in(&mut stream, info).await?;
            Ok::<_, RedisError>(stream)
        });
        let stream = opened.await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))?;
        let (calls, taken) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            // Whoever waits is told that it has ended; why is the server's affair.
            if let Err(error) = converse(stream, taken, patience).await {
                tracing::debug!(%error, "a connection for reads has ended");
            }
        });
        Ok(Self { calls })
    }

    /// Sends so many calls that may be answered with so many texts in all.
    pub(super) async fn ask(&self, bytes: Vec<u8>, calls: usize, texts: usize) -> RedisResult<Answers> {
        let ended = || io::Error::new(io::ErrorKind::ConnectionReset, "the connection has ended").into();
        let (answer, answered) = oneshot::channel();
        let under_way = UnderWay { decoder: Decoder::new(calls, texts), answer };
        self.calls.send(Call { bytes, under_way }).await.map_err(|_| ended())?;
        answered.await.unwrap_or_else(|_| Err(ended()))
    }
}

async fn log_in(stream: &mut TcpStream, info: &ConnectionInfo) -> RedisResult<()> {
    let login = info.redis_settings();
    if let Some(password) = login.password() {
        let words: Vec<&str> = ["AUTH"].into_iter().chain(login.username()).chain([password]).collect();
        let refused = |error: RedisError| match error.kind() {
            ErrorKind::Io | ErrorKind::Parse => error,
            _ => (ErrorKind::AuthenticationFailed, "the server refuses the password").into(),
        };
        simple(stream, &words).await.map_err(refused)?;
    }
    if login.db() != 0 {
        simple(stream, &["SELECT", &login.db().to_string()]).await?;
    }
    Ok(())
}

/// One call whose answer says nothing but that it is done.
async fn simple(stream: &mut TcpStream, words: &[&str]) -> RedisResult<()> {
    let mut bytes = Vec::new();
    resp::call(&mut bytes, words.len());
    words.iter().for_each(|word| resp::text(&mut bytes, word.as_bytes()));
    stream.write_all(&bytes).await?;
    let (mut decoder, mut input) = (Decoder::new(1, 0), Vec::new());
    while !decoder.decode(&input)? {
        if stream.read_buf(&mut input).await? == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
    }
    decoder.finish(&mut input).map(drop)
}

/// Until nobody can ask any more, or the server has ended it.
async fn converse(mut stream: TcpStream, mut calls: mpsc::Receiver<Call>, patience: Duration) -> RedisResult<()> {
    let (mut reader, mut writer) = stream.split();
    let (mut out, mut sent, mut input) = (Vec::new(), 0, Vec::new());
    let mut under_way: VecDeque<UnderWay> = VecDeque::new();
    // How many questions were answered by the last tick, and in all.
    let (mut before, mut answered) = (None, 0u64);
    let mut ticks = tokio::time::interval(patience.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        input.reserve(READ_BYTES);
        tokio::select! {
            biased;
            wrote = writer.write(&out[sent..]), if sent < out.len() => {
                sent += wrote?;
                if sent == out.len() {
                    out.clear();
                    sent = 0;
                }
            }
            read = reader.read_buf(&mut input) => {
                if read? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
                while let Some(first) = under_way.front_mut() {
                    if !first.decoder.decode(&input)? {
                        break;
                    }
                    answered += 1;
                    if let Some(UnderWay { decoder, answer }) = under_way.pop_front() {
                        // Nobody may wait for it any more.
                        let _ = answer.send(decoder.finish(&mut input));
                    }
                }
            }
            call = calls.recv(), if out.len() < UNSENT_BYTES => {
                let Some(call) = call else { return Ok(()) };
                take(call, &mut out, &mut under_way);
                // Those that have come meanwhile go with it.
                while let Ok(call) = calls.try_recv() {
                    take(call, &mut out, &mut under_way);
                }
            }
            _ = ticks.tick() => {
                if !under_way.is_empty() && before == Some(answered) {
                    return Err(io::Error::from(io::ErrorKind::TimedOut).into());
                }
                before = (!under_way.is_empty()).then_some(answered);
            }
        }
    }
}

fn take(call: Call, out: &mut Vec<u8>, under_way: &mut VecDeque<UnderWay>) {
    match out.is_empty() {
        true => *out = call.bytes,
        false => out.extend_from_slice(&call.bytes),
    }
    under_way.push_back(call.under_way);
}
