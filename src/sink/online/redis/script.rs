//! The scripts: called by their digest, and taught again to a server that forgot them.

use redis::{Cmd, ErrorKind, Pipeline, RedisError, RedisResult, ServerErrorKind, Value};

use super::link::Link;
use crate::config::RedisFormat;

/// The script of a form's rows: what both have in common, and then its own.
macro_rules! newer_wins {
    ($file:literal) => {
        concat!(include_str!("newer.lua"), include_str!($file))
    };
}

pub(super) struct Script {
    code: &'static str,
    pub(super) sha: String,
}

impl Script {
    /// The one that applies rows of this form.
    pub(super) fn of(format: RedisFormat) -> Self {
        match format {
            RedisFormat::Hash => Self::new(newer_wins!("publish.lua")),
            RedisFormat::Feast => Self::new(newer_wins!("feast.lua")),
        }
    }

    /// The one that advances the progress of a partition.
    pub(super) fn progress() -> Self {
        Self::new(include_str!("progress.lua"))
    }

    fn new(code: &'static str) -> Self {
        Self { code, sha: redis::Script::new(code).get_hash().to_string() }
    }

    pub(super) async fn load(&self, link: &mut Link) -> RedisResult<()> {
        link.command(redis::cmd("SCRIPT").arg("LOAD").arg(self.code)).await.map(drop)
    }

    /// Sends one call of it.
    pub(super) async fn call(&self, link: &mut Link, call: &Cmd) -> RedisResult<Value> {
        match link.command(call).await {
            Err(e) if is_unknown_script(&e) => {
                self.load(link).await?;
                link.command(call).await
            }
            outcome => outcome,
        }
    }

    /// Sends these calls of it.
    pub(super) async fn calls(&self, link: &mut Link, calls: &Pipeline) -> RedisResult<()> {
        match link.calls(calls).await {
            Err(e) if is_unknown_script(&e) => {
                self.load(link).await?;
                link.calls(calls).await
            }
            outcome => outcome,
        }
    }
}

fn is_unknown_script(e: &RedisError) -> bool {
    e.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
