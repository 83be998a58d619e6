//! The one error type, named by what the caller must do about it.
//!
//! A message names the place, the value and the remedy; the kind decides the exit code and whether a retry helps.
//! `anyhow` is for the command line only.

/// What the caller must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The topology, the configuration or the command line is wrong: mend it. Exit code 2.
    Configuration,
    /// Starting would break a promise (changed logic, trimmed topic, an evicting Redis): choose a remedy. Exit code 3.
    Refused,
    /// Something outside does not answer (Kafka, Redis, the object store): wait and retry. Exit code 4.
    Unavailable,
    /// A record or the log itself cannot be processed under the law: the task stops at that position. Exit code 5.
    Stopped,
    /// Our own state could not be read or written (disk full, corruption): restart, then restore. Exit code 6.
    State,
    /// Some of the user's own cases fail (`kappa test`): mend the topology, or what they expect. Exit code 7.
    Unmet,
    /// A defect of Kappa. Exit code 1.
    Internal,
}

/// An error: its kind, and a message with place, value and remedy.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// Every fallible function of the library answers with this.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of this kind.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// [`ErrorKind::Configuration`].
    pub fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// [`ErrorKind::Refused`].
    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Refused, message)
    }

    /// [`ErrorKind::Unavailable`].
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// [`ErrorKind::Stopped`].
    pub fn stopped(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Stopped, message)
    }

    /// [`ErrorKind::State`].
    pub fn state(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::State, message)
    }

    /// [`ErrorKind::Unmet`].
    pub fn unmet(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unmet, message)
    }

    /// [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error with the place before its message.
    pub fn within(self, place: &str) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }

    /// What the caller must do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The process's exit code for this error.
    pub fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Internal => 1,
            ErrorKind::Configuration => 2,
            ErrorKind::Refused => 3,
            ErrorKind::Unavailable => 4,
            ErrorKind::Stopped => 5,
            ErrorKind::State => 6,
            ErrorKind::Unmet => 7,
        }
    }
}
