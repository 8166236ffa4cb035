//! A problem, as `check` prints it.

use std::fmt;
use std::path::{Path, PathBuf};

/// Something wrong (or worth knowing) with the file, at its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// `routes[0].upstream`.
    pub key: String,
    /// What is wrong; what is expected.
    pub message: String,
    /// Whether the gate starts all the same.
    pub severity: Severity,
}

/// Whether the gate starts all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It does not.
    Error,
    /// It does.
    Warning,
}

impl Problem {
    /// About the file as a whole.
    pub(super) fn of_file(file: &Path, message: String) -> Self {
        let key = "the file".to_owned();
        Self { file: file.to_owned(), line: 1, column: 1, key, message, severity: Severity::Error }
    }
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COL: key: what is wrong; what is expected`, a warning with `warning: ` before the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.severity {
            Severity::Error => "",
            Severity::Warning => "warning: ",
        };
        write!(f, "{}:{}:{}: {mark}{}: {}", self.file.display(), self.line, self.column, self.key, self.message)
    }
}

/// One line a problem, in their order.
pub fn render(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("{problem}\n")).collect()
}
