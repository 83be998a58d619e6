//! A few users' features as they change: a table in place on a terminal, some plain tables otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::output;
use crate::error::Result;
use crate::http::client::{self, Answer};
use crate::topology::EntityPlan;

/// How long it is shown.
const SHOWN: Duration = Duration::from_secs(15);
/// Between two looks: on a terminal, and otherwise.
const REFRESH: Duration = Duration::from_millis(500);
const REPEAT: Duration = Duration::from_secs(5);

/// How long catching up may take before it is shown all the same.
const CATCH_UP: Duration = Duration::from_secs(20);

/// Returns once the process says that it has caught up.
pub async fn ready(address: SocketAddr) {
    let caught_up = async {
        while ask(address, "/ready".to_string()).await.is_none_or(|answer| answer.status != 200) {
            tokio::time::sleep(REFRESH).await;
        }
    };
    let _ = tokio::time::timeout(CATCH_UP, caught_up).await;
}

/// Shows the features of `ids`, asked for at the process's own HTTP door.
pub async fn features(address: SocketAddr, entity: &EntityPlan, ids: &[&str]) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let pause = if terminal { REFRESH } else { REPEAT };
    let times = SHOWN.as_millis() / pause.as_millis() + 1;
    let mut shown = 0;
    for time in 0..times {
        if time > 0 {
            tokio::time::sleep(pause).await;
        }
        let text = table(address, entity, ids).await;
        match terminal && shown > 0 {
            // Up over the last table, and clear it.
            true => output::print(&format!("\x1b[{shown}A\x1b[J{text}"))?,
            false => output::print(&format!("{}{text}", if shown > 0 { "\n" } else { "" }))?,
        }
        shown = text.lines().count();
    }
    Ok(())
}

async fn table(address: SocketAddr, entity: &EntityPlan, ids: &[&str]) -> String {
    let mut rows = vec![vec![entity.name.clone()]];
    rows.extend(entity.columns().map(|(name, _)| vec![name.to_string()]));
    for id in ids {
        let values = values(address, &entity.name, id).await.unwrap_or_default();
        rows[0].push((*id).to_string());
        for (row, (name, _)) in rows[1..].iter_mut().zip(entity.columns()) {
            row.push(values.get(name).map(|value| short(value)).unwrap_or_else(|| "-".into()));
        }
    }
    output::table(&rows)
}

async fn values(address: SocketAddr, entity: &str, id: &str) -> Option<BTreeMap<String, String>> {
    let path = format!("/v1/features/{}?id={}", client::encode(entity), client::encode(id));
    let answer = ask(address, path).await?;
    let body: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    serde_json::from_value(body.get("values")?.clone()).ok()
}

async fn ask(address: SocketAddr, path: String) -> Option<Answer> {
    tokio::task::spawn_blocking(move || client::get(&address.to_string(), &path)).await.ok()?.ok()
}

/// Doubles to two places, so that the columns hold still.
fn short(value: &str) -> String {
    match (value.contains('.'), value.parse::<f64>()) {
        (true, Ok(number)) => format!("{number:.2}"),
        _ => value.to_string(),
    }
}
