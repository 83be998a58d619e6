//! A few users' features as they change: a table in place on a terminal, some plain tables otherwise.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::output;
use crate::error::Result;
use crate::http::client;
use crate::topology::EntityPlan;

/// How long it is shown.
const SHOWN: Duration = Duration::from_secs(15);
/// Between two looks: on a terminal, and otherwise.
const REFRESH: Duration = Duration::from_millis(500);
const REPEAT: Duration = Duration::from_secs(5);

/// Shows the features of `ids`, asked for at the process's own HTTP door.
pub async fn features(address: SocketAddr, entity: &EntityPlan, ids: &[&str]) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let pause = if terminal { REFRESH } else { REPEAT };
    let times = SHOWN.as_millis() / pause.as_millis();
    let mut shown = 0;
    for _ in 0..times {
        tokio::time::sleep(pause).await;
        let text = table(address, entity, ids).await;
        if terminal && shown > 0 {
            // Up over the last table, and clear it.
            output::print(&format!("\x1b[{shown}A\x1b[J"))?;
        }
        output::print(&text)?;
        shown = text.lines().count();
    }
    Ok(())
}

async fn table(address: SocketAddr, entity: &EntityPlan, ids: &[&str]) -> String {
    let mut rows = vec![vec![entity.name.clone()]];
    rows.extend(entity.features.iter().map(|feature| vec![feature.name.clone()]));
    for id in ids {
        let values = values(address, &entity.name, id).await.unwrap_or_default();
        rows[0].push((*id).to_string());
        for (row, feature) in rows[1..].iter_mut().zip(&entity.features) {
            row.push(values.get(&feature.name).map(|value| short(value)).unwrap_or_else(|| "-".into()));
        }
    }
    output::table(&rows)
}

async fn values(address: SocketAddr, entity: &str, id: &str) -> Option<BTreeMap<String, String>> {
    let path = format!("/v1/features/{}?id={}", client::encode(entity), client::encode(id));
    let answer = tokio::task::spawn_blocking(move || client::get(&address.to_string(), &path)).await.ok()?.ok()?;
    let body: serde_json::Value = serde_json::from_str(&answer.body).ok()?;
    serde_json::from_value(body.get("values")?.clone()).ok()
}

/// Doubles to two places, so that the columns hold still.
fn short(value: &str) -> String {
    match (value.contains('.'), value.parse::<f64>()) {
        (true, Ok(number)) => format!("{number:.2}"),
        _ => value.to_string(),
    }
}
