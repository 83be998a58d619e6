//! What is wrong with a topology: every problem of the file at once, each with its place, what was found and the
//! remedy.
//!
//! Always holds: problems are sorted by position, none stands twice, and there is at least one. It prints and turns
//! into the crate's error; it decides nothing.

use std::fmt;

use super::yaml::Mark;

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Counted from 1.
    pub line: u32,
    /// Counted from 1, in characters.
    pub column: u32,
    /// The part of the topology and what was found there.
    pub message: String,
    /// What to write instead.
    pub remedy: String,
}

impl Problem {
    pub(crate) fn new(at: Mark, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { line: at.line, column: at.column, message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}; {}", self.line, self.column, self.message, self.remedy)
    }
}

/// All problems of one file, by position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    pub(crate) fn new(file: &str, mut list: Vec<Problem>) -> Self {
        list.sort();
        list.dedup();
        Self { file: file.to_string(), list }
    }

    /// The file's name as it was given.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The problems by position.
    pub fn list(&self) -> &[Problem] {
        &self.list
    }
}

/// One line a problem: `file:line:column: what; remedy`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{problem}", self.file)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for crate::error::Error {
    fn from(problems: Problems) -> Self {
        Self::configuration(problems.to_string())
    }
}
