//! The log of reads: JSON lines, each as `/v1/features` answered.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::cli::answer::Feature;
use crate::cli::instant::read_instant;
use crate::error::{Error, Result};
use crate::features::InOrder;
use crate::sink::online::Position;
use crate::time::Millis;
use crate::topology::Plan;

/// One read.
#[derive(Debug)]
pub struct Served {
    /// Its line in the log, from 1.
    pub line: usize,
    /// Index in the plan.
    pub entity: usize,
    pub id: String,
    /// The clock of the answer.
    pub at: Millis,
    /// `None`: nothing was stored.
    pub row: Option<ServedRow>,
}

/// What it found.
#[derive(Debug)]
pub struct ServedRow {
    pub version: u32,
    pub position: Position,
    pub event_time: Millis,
    /// With the place of each among what the entity shows.
    pub cells: Vec<(usize, Feature)>,
}

#[derive(Deserialize)]
struct Line {
    entity: String,
    id: String,
    position: Option<String>,
    features: Option<InOrder<Feature>>,
    read_at: Option<Millis>,
}

/// All reads of a file; blank lines are skipped.
///
/// # Errors
/// Configuration: which line is not understood, and why.
pub fn read(path: &Path, plan: &Plan) -> Result<Vec<Served>> {
    let name = path.display();
    let unread = |error: std::io::Error| Error::configuration(format!("{name}: {error}"));
    let mut reads = Vec::new();
    for (index, text) in BufReader::new(File::open(path).map_err(unread)?).lines().enumerate() {
        let text = text.map_err(unread)?;
        if text.trim().is_empty() {
            continue;
        }
        let wrong = |what: String| Error::configuration(format!("{name}, line {}: {what}", index + 1));
        let line: Line = serde_json::from_str(&text).map_err(|error| wrong(format!("no answer: {error}")))?;
        reads.push(served(line, index + 1, plan).map_err(wrong)?);
    }
    match reads.is_empty() {
        true => Err(Error::configuration(format!("{name}: no reads in it: write one answer of /v1/features a line"))),
        false => Ok(reads),
    }
}

fn served(line: Line, number: usize, plan: &Plan) -> Result<Served, String> {
    let Line { entity: name, id, position, features, read_at } = line;
    let (entity, of) = plan.entity(&name).ok_or_else(|| format!("{} has no entity `{name}`", plan.topology))?;
    let Some(features) = features else {
        let at = read_at.ok_or("an answer without features needs `read_at`, in ms since 1970")?;
        return Ok(Served { line: number, entity, id, at, row: None });
    };
    let place = |name: &str| of.shown().position(|(shown, _)| shown == name);
    let cell = |(name, feature): (String, Feature)| {
        place(&name).map(|place| (place, feature)).ok_or_else(|| format!("{} has no feature `{name}`", of.name))
    };
    let cells: Vec<(usize, Feature)> = features.0.into_iter().map(cell).collect::<Result<_, _>>()?;
    let (_, first) = cells.first().ok_or("no features in it")?;
    let event_time = read_instant(&first.event_time).ok_or("an `event_time` is no time")?;
    let version = first.version.ok_or("a feature names no version")?;
    let position = position.ok_or("it has features and no position")?.parse()?;
    let at = event_time + first.age_ms;
    Ok(Served { line: number, entity, id, at, row: Some(ServedRow { version, position, event_time, cells }) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology;

    const SHOP: &str = include_str!("../../../topologies/shop.yaml");
    const CELL: &str =
        r#"{"value":3,"status":"PRESENT","event_time":"1970-01-01T00:00:01.500Z","age_ms":250,"version":2}"#;

    fn read_text(text: &str) -> Result<Vec<Served>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path(), &topology::parse("shop.yaml", SHOP).unwrap())
    }

    #[test]
    fn an_answer_says_its_row_and_its_clock_and_one_of_nothing_when_it_was_read() {
        let found =
            format!(r#"{{"entity":"user","id":"u1","position":"1:2:30:4:1400","features":{{"views_1h":{CELL}}}}}"#);
        let absent = r#"{"entity": "user", "id": "u2", "read_at": 7}"#;
        let reads = read_text(&format!("{found}\n\n{absent}\n")).unwrap();
        let row = reads[0].row.as_ref().unwrap();
        assert_eq!((reads[0].at, row.event_time, row.version, row.position.refresh), (1_750, 1_500, 2, Some(1_400)));
        assert_eq!((reads[1].line, reads[1].at, reads[1].row.is_none()), (3, 7, true));
    }

    #[test]
    fn a_line_that_is_no_answer_is_named() {
        let of = |rest: &str| format!(r#"{{"entity":"user","id":"u1",{rest}}}"#);
        let features = |name: &str| of(&format!(r#""position":"1:2:3:4","features":{{"{name}":{CELL}}}"#));
        for (line, what) in [
            ("nonsense".to_string(), "no answer"),
            (of(r#""position":"1:2:3:4""#), "read_at"),
            (features("views"), "has no feature `views`"),
            (features("views_1h").replace("1:2:3:4", "1:2"), "1:2"),
            (features("views_1h").replace("user", "usr"), "no entity `usr`"),
        ] {
            let absent = r#"{"entity":"user","id":"u2","read_at":7}"#;
            let error = read_text(&format!("{absent}\n{line}")).unwrap_err().to_string();
            assert!(error.contains("line 2: ") && error.contains(what), "{error}");
        }
        assert!(read_text("\n").unwrap_err().to_string().contains("no reads"));
    }
}
