//! Log lines on stderr, beside the progress line.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;

use super::progress;
use crate::config::{LogFormat, LogSettings};
use crate::error::{Error, Result};

/// Starts logging for the rest of the process; a second call changes nothing.
pub fn start(settings: &LogSettings) -> Result<()> {
    let filter = EnvFilter::try_new(directives(&settings.level)).map_err(|error| {
        Error::configuration(format!(
            "`log.level`: `{}`: {error}; write error, warn, info, debug or trace",
            settings.level
        ))
    })?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| BesideProgress);
    // Fails only when logging has started already.
    let _ = match settings.format {
        LogFormat::Text => builder.with_target(false).with_ansi(progress::is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

/// A plain level is ours; the libraries say warnings only. Anything else is taken as it is.
fn directives(level: &str) -> String {
    match level.parse::<tracing::Level>() {
        Ok(level) if level >= tracing::Level::WARN => format!("warn,kappa={}", level.to_string().to_lowercase()),
        _ => level.to_string(),
    }
}

/// Stderr, with the progress line put aside for as long as a line is written. A line that cannot be written (a file on a
/// full disk) is dropped: logging must not end what it tells of.
struct BesideProgress;

impl Write for BesideProgress {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = progress::aside(|| io::stderr().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_level_is_ours_and_libraries_only_warn() {
        assert_eq!(directives("debug"), "warn,kappa=debug");
        assert_eq!(directives("error"), "error");
        assert_eq!(directives("info,kappa::task=trace"), "info,kappa::task=trace");
    }
}
