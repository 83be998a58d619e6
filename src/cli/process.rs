//! The way to a running process: its HTTP door at `http.listen`, with the token and the certificate of its settings.

use std::io::ErrorKind;

use serde_json::Value;

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::http::client::{Answer, Caller};

/// A process that answers.
pub struct Process {
    caller: Caller,
    /// What it says of itself.
    pub status: Value,
}

impl Process {
    /// The process that answers at `http.listen`, if there is one.
    ///
    /// # Errors
    /// When something answers there that is not kappa, or does not answer in time.
    pub fn find(settings: &Settings) -> Result<Option<Self>> {
        let address = settings.http.listen.as_str();
        if address.is_empty() || address.ends_with(":0") {
            return Ok(None);
        }
        let caller = Caller::new(&settings.http)?;
        let answer = match caller.get("/v1/status") {
            Ok(answer) => answer,
            Err(error) if is_absence(error.kind()) => return Ok(None),
            Err(error) => return Err(strange(address, &error.to_string())),
        };
        match serde_json::from_str(&answer.body) {
            Ok(status) if answer.status == 200 => Ok(Some(Self { caller, status })),
            _ if answer.status == 401 => Err(Error::configuration(format!(
                "{address}: the process asks for a token: set http.tokens (KAPPA_HTTP__TOKENS) as it has them"
            ))),
            _ => Err(strange(address, &format!("/v1/status answers {}", answer.status))),
        }
    }

    /// The topology that it runs.
    pub fn topology(&self) -> Option<&str> {
        self.status.get("topology").and_then(Value::as_str)
    }

    /// One page of it.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.caller.get(path).map_err(|error| strange(self.caller.address(), &error.to_string()))
    }
}

/// Nobody is there: not refused by a firewall, not silent, just nobody.
fn is_absence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::TimedOut | ErrorKind::AddrNotAvailable)
}

fn strange(address: &str, what: &str) -> Error {
    Error::unavailable(format!("{address}: {what}; name the running process with --listen, or none with --listen ''"))
}
