//! The way to a running process: its HTTP door at `http.listen`.

use std::io::ErrorKind;

use serde_json::Value;

use crate::config::Settings;
use crate::error::{Error, Result};
use crate::http::client::{self, Answer};

/// A process that answers.
pub struct Process<'a> {
    address: &'a str,
    /// What it says of itself.
    pub status: Value,
}

impl<'a> Process<'a> {
    /// The process that answers at `http.listen`, if there is one.
    ///
    /// # Errors
    /// When something answers there that is not kappa, or does not answer in time.
    pub fn find(settings: &'a Settings) -> Result<Option<Self>> {
        let address = settings.http.listen.as_str();
        if address.is_empty() || address.ends_with(":0") {
            return Ok(None);
        }
        let answer = match client::get(address, "/v1/status") {
            Ok(answer) => answer,
            Err(error) if is_absence(error.kind()) => return Ok(None),
            Err(error) => return Err(strange(address, &error.to_string())),
        };
        match serde_json::from_str(&answer.body) {
            Ok(status) if answer.status == 200 => Ok(Some(Self { address, status })),
            _ => Err(strange(address, &format!("/v1/status answers {}", answer.status))),
        }
    }

    /// The topology that it runs.
    pub fn topology(&self) -> Option<&str> {
        self.status.get("topology").and_then(Value::as_str)
    }

    /// One page of it.
    pub fn get(&self, path: &str) -> Result<Answer> {
        client::get(self.address, path).map_err(|error| strange(self.address, &error.to_string()))
    }
}

/// Nobody is there: not refused by a firewall, not silent, just nobody.
fn is_absence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionRefused | ErrorKind::TimedOut | ErrorKind::AddrNotAvailable)
}

fn strange(address: &str, what: &str) -> Error {
    Error::unavailable(format!("{address}: {what}; name the running process with --listen, or none with --listen ''"))
}
