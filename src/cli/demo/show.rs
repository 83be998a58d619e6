//! A few users' features as they change: a table in place on a terminal, some plain tables otherwise.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::time::Duration;

use crate::cli::answer::Answer as Answered;
use crate::cli::output;
use crate::error::Result;
use crate::features::InOrder;
use crate::http::client::{self, Answer};

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

/// Shows these features of `ids` for `time`, asked for at the process's own HTTP door.
pub async fn features(address: SocketAddr, entity: &str, names: &[&str], ids: &[&str], time: Duration) -> Result<()> {
    let terminal = std::io::stdout().is_terminal();
    let pause = if terminal { REFRESH } else { REPEAT };
    let times = time.as_millis() / pause.as_millis() + 1;
    let mut shown = 0;
    for time in 0..times {
        if time > 0 {
            tokio::time::sleep(pause).await;
        }
        let text = table(address, entity, names, ids).await;
        match terminal && shown > 0 {
            // Up over the last table, and clear it.
            true => output::print(&format!("\x1b[{shown}A\x1b[J{text}"))?,
            false => output::print(&format!("{}{text}", if shown > 0 { "\n" } else { "" }))?,
        }
        shown = text.lines().count();
    }
    Ok(())
}

async fn table(address: SocketAddr, entity: &str, names: &[&str], ids: &[&str]) -> String {
    let mut rows = vec![vec![entity.to_string()]];
    rows.extend(names.iter().map(|name| vec![name.to_string()]));
    for id in ids {
        let values = values(address, entity, names, id).await;
        rows[0].push((*id).to_string());
        for (index, row) in rows[1..].iter_mut().enumerate() {
            let value = values.as_ref().and_then(|values| values.get(index)).filter(|value| !value.is_empty());
            row.push(value.map_or("-".to_string(), |value| short(value)));
        }
    }
    output::table(&rows)
}

/// The values in the order of the names; empty where there is none.
async fn values(address: SocketAddr, entity: &str, names: &[&str], id: &str) -> Option<Vec<String>> {
    let (entity, id, names) = (client::encode(entity), client::encode(id), client::encode(&names.join(",")));
    let answer = ask(address, format!("/v1/features/{entity}?id={id}&names={names}")).await?;
    let answer: Answered = serde_json::from_str(&answer.body).ok()?;
    Some(answer.features.0.iter().map(|(_, feature)| feature.text()).collect())
}

async fn ask(address: SocketAddr, path: String) -> Option<Answer> {
    tokio::task::spawn_blocking(move || client::get(&address.to_string(), &path)).await.ok()?.ok()
}

/// Doubles to two places, so that the columns hold still; of a map its largest value.
fn short(value: &str) -> String {
    if let Ok(InOrder(shares)) = serde_json::from_str::<InOrder<f64>>(value) {
        let largest = shares.into_iter().max_by(|a, b| a.1.total_cmp(&b.1));
        return largest.map_or(String::new(), |(bucket, share)| format!("{bucket} {share:.2}"));
    }
    match (value.contains('.'), value.parse::<f64>()) {
        (true, Ok(number)) => format!("{number:.2}"),
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_short() {
        let cells = ["12.345", "42", "books", r#"{"books":0.25,"toys":0.75}"#].map(short);
        assert_eq!(cells, ["12.35", "42", "books", "toys 0.75"]);
    }
}
