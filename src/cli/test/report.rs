//! The outcome of cases, for people and for programs.

use std::io::IsTerminal;

use serde_json::json;

use super::compare::{Difference, Line};
use crate::cli::output;
use crate::error::Result;

/// One case's outcome.
#[derive(Debug)]
pub struct Outcome {
    pub file: String,
    pub line: u32,
    pub name: String,
    pub differences: Vec<Difference>,
}

/// The outcome of all cases of a topology.
#[derive(Debug, Default)]
pub struct Report {
    pub topology: String,
    pub outcomes: Vec<Outcome>,
    /// Features that no case looks at: `entity.feature`.
    pub unseen: Vec<String>,
    /// All features.
    pub features: usize,
    /// Files that were updated.
    pub updated: Vec<String>,
}

impl Report {
    pub fn failed(&self) -> usize {
        self.outcomes.iter().filter(|outcome| !outcome.differences.is_empty()).count()
    }

    /// Prints it.
    pub fn print(&self, json: bool) -> Result<()> {
        if json {
            return output::tree(&self.json(), true);
        }
        let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        output::print(&self.text(&Paint { colours }))
    }

    fn text(&self, paint: &Paint) -> String {
        let mut text = String::new();
        let mut file = "";
        for outcome in &self.outcomes {
            if outcome.file != file {
                file = &outcome.file;
                text.push_str(&format!("{file}\n"));
            }
            match outcome.differences.is_empty() {
                true => text.push_str(&format!("  {}    {}\n", paint.good("ok"), outcome.name)),
                false => text.push_str(&format!("  {}  {}\n", paint.bad("FAIL"), outcome.name)),
            }
            for difference in &outcome.differences {
                difference_text(&mut text, &outcome.file, difference, paint);
            }
        }
        for file in &self.updated {
            text.push_str(&format!("{file}: updated; read what it expects now\n"));
        }
        let (failed, all) = (self.failed(), self.outcomes.len());
        let cases = format!("{all} case{}", if all == 1 { "" } else { "s" });
        let passed = format!("{} passed, {failed} failed", all - failed);
        let counted = if failed > 0 { paint.bad(&passed) } else { paint.good(&passed) };
        let seen = self.features - self.unseen.len();
        text.push_str(&format!(
            "{}: {cases}: {counted}; {seen} of {} features looked at",
            self.topology, self.features
        ));
        if !self.unseen.is_empty() {
            text.push_str(&format!(", not {}", self.unseen.join(", ")));
        }
        text.push('\n');
        text
    }

    fn json(&self) -> serde_json::Value {
        let line =
            |line: &Line| json!({"name": line.name, "expected": line.expected, "found": line.found, "same": line.same});
        let difference = |difference: &Difference| {
            let values: Vec<_> = difference.lines.iter().map(line).collect();
            let mark = difference.mark;
            json!({"line": mark.line, "column": mark.column, "what": difference.what, "values": values})
        };
        let case = |outcome: &Outcome| {
            let differences: Vec<_> = outcome.differences.iter().map(difference).collect();
            let passed = differences.is_empty();
            json!({"file": outcome.file, "line": outcome.line, "name": outcome.name, "passed": passed, "differences": differences})
        };
        json!({
            "topology": self.topology,
            "passed": self.outcomes.len() - self.failed(),
            "failed": self.failed(),
            "cases": self.outcomes.iter().map(case).collect::<Vec<_>>(),
            "features": self.features,
            "not_looked_at": self.unseen,
            "updated": self.updated,
        })
    }
}

fn difference_text(text: &mut String, file: &str, difference: &Difference, paint: &Paint) {
    let mark = difference.mark;
    text.push_str(&format!("    {file}:{}:{}: {}\n", mark.line, mark.column, difference.what));
    if difference.lines.is_empty() {
        return;
    }
    let width = |of: fn(&Line) -> &str, head: &str| {
        difference.lines.iter().map(|line| of(line).chars().count()).max().unwrap_or(0).max(head.len())
    };
    let (name, expected) = (width(|line| &line.name, ""), width(|line| &line.expected, "expected"));
    text.push_str(&format!("        {:name$}  {:expected$}  found\n", "", "expected"));
    for line in &difference.lines {
        let row = format!("{:name$}  {:expected$}  {}", line.name, line.expected, line.found);
        match line.same {
            true => text.push_str(&format!("        {row}\n")),
            false => text.push_str(&format!("      {} {}\n", paint.bad("!"), paint.bad(&row))),
        }
    }
}

/// Colours, on a terminal only.
struct Paint {
    colours: bool,
}

impl Paint {
    fn good(&self, text: &str) -> String {
        self.with("32", text)
    }

    fn bad(&self, text: &str) -> String {
        self.with("31", text)
    }

    fn with(&self, colour: &str, text: &str) -> String {
        if self.colours { format!("\x1b[{colour}m{text}\x1b[0m") } else { text.to_string() }
    }
}
