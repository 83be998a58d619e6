//! Results to stdout. A reader that goes away (`| head`) is no error.

use std::io::{self, Write};

use crate::error::{Error, Result};

/// Prints text, and a line's end if it has none.
pub fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    match write!(stdout, "{text}{end}").and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::unavailable(format!("stdout: {error}"))),
        _ => Ok(()),
    }
}

/// A tree as YAML, or as JSON.
pub fn tree(value: &serde_json::Value, json: bool) -> Result<()> {
    let text = match json {
        true => serde_json::to_string_pretty(value).map_err(|error| error.to_string()),
        false => serde_saphyr::to_string(value).map_err(|error| error.to_string()),
    };
    print(&text.map_err(|error| Error::internal(format!("a result cannot be printed: {error}")))?)
}

/// Rows as columns, the first row being the names; numbers are not told apart.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text.push_str(cells.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [vec!["user".to_string(), "views".into()], vec!["u1".into(), "ä".into()]];
        assert_eq!(table(&rows), "user  views\nu1    ä\n");
    }
}
