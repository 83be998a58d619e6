//! A fixed HTTP client for measuring: one thread a connection, kept alive, the next request when the answer has come, or
//! when it is due. A request that is due while the one before it is under way has waited since then.
//!
//! Always holds: an answer counts when it has every value that was asked for, and only then; 504 are counted apart, and
//! anything else ends the program. Each answer is looked through for its statuses, but not parsed: the client must cost
//! little beside the server that it measures.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use memchr::memmem;

use crate::support::http::Connection;

/// The same question about several entities.
pub struct Questions {
    pub what: &'static str,
    /// Whole requests, sent in turn.
    pub requests: Vec<Vec<u8>>,
    /// How often a right answer says that a value is present.
    pub present: usize,
}

/// What came back.
#[derive(Default)]
pub struct Answers {
    /// Milliseconds, ascending, of answers that have all values.
    pub taken: Vec<f64>,
    pub timeouts: u64,
    pub seconds: f64,
}

impl Answers {
    pub fn quantile(&self, share: f64) -> f64 {
        let last = self.taken.len().saturating_sub(1);
        self.taken.get((self.taken.len() as f64 * share) as usize).or(self.taken.get(last)).copied().unwrap_or(f64::NAN)
    }

    pub fn per_second(&self) -> f64 {
        self.taken.len() as f64 / self.seconds
    }

    /// Of all requests, in percent.
    pub fn timed_out(&self) -> f64 {
        100.0 * self.timeouts as f64 / (self.timeouts as f64 + self.taken.len() as f64).max(1.0)
    }
}

/// Asks for so long over so many connections, as fast as the answers come.
pub fn ask(address: &str, questions: &Questions, connections: usize, time: Duration) -> Answers {
    paced(address, questions, connections, time, f64::INFINITY)
}

/// Asks so many requests a second, at most.
pub fn paced(address: &str, questions: &Questions, connections: usize, time: Duration, rate: f64) -> Answers {
    let start = Barrier::new(connections);
    let between = Duration::from_secs_f64(connections as f64 / rate);
    let per_connection: Vec<Answers> = std::thread::scope(|scope| {
        let client = |index: usize| {
            let start = &start;
            scope.spawn(move || {
                let mut connection = Connection::open(address);
                let mut turn = index * questions.requests.len() / connections;
                start.wait();
                let (mut answers, began) = (Answers::default(), Instant::now());
                // Not all at the same moment.
                let mut due = began + between * index as u32 / connections as u32;
                while began.elapsed() < time {
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    let since = if between.is_zero() { Instant::now() } else { due };
                    one(&mut connection, questions, &mut turn, since, &mut answers);
                    due += between;
                }
                Answers { seconds: began.elapsed().as_secs_f64(), ..answers }
            })
        };
        let clients: Vec<_> = (0..connections).map(client).collect();
        clients.into_iter().map(|client| client.join().expect("a client ends well")).collect()
    });
    let mut all = Answers::default();
    for one in per_connection {
        all.taken.extend(one.taken);
        all.timeouts += one.timeouts;
        all.seconds = all.seconds.max(one.seconds);
    }
    all.taken.sort_by(f64::total_cmp);
    all
}

fn one(connection: &mut Connection, questions: &Questions, turn: &mut usize, since: Instant, answers: &mut Answers) {
    let request = &questions.requests[*turn % questions.requests.len()];
    *turn += 1;
    let (status, body) = connection.send(request);
    let taken = since.elapsed().as_secs_f64() * 1e3;
    let text = || String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
    match status {
        200 => {
            let present = memmem::find_iter(body, b"\"PRESENT\"").count();
            let is_whole = present == questions.present && memmem::find(body, b"null").is_none();
            assert!(is_whole, "{}: {present} of {} values: {}", questions.what, questions.present, text());
            answers.taken.push(taken);
        }
        504 => answers.timeouts += 1,
        _ => panic!("{}: {status}: {}", questions.what, text()),
    }
}
