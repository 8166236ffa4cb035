//! Problems as they are found, each at the place of its key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::document::{Fault, Kind, Node, Origin, Place, item, member};
use super::{Problem, Severity};

/// Everything that was found, and where every key stands.
pub(super) struct Report {
    file: PathBuf,
    places: BTreeMap<String, Place>,
    /// Values that came from the environment: they could be secrets and are never shown.
    hidden: BTreeSet<String>,
    /// Values that are exactly one `${VAR}`.
    variables: BTreeSet<String>,
    /// Keys whose value is a stand-in, since what was written cannot be read: nothing more is said about them.
    broken: BTreeSet<String>,
    problems: Vec<Problem>,
    files: BTreeSet<PathBuf>,
}

impl Report {
    /// About `file`, nothing found yet.
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_owned(),
            places: BTreeMap::new(),
            hidden: BTreeSet::new(),
            variables: BTreeSet::new(),
            broken: BTreeSet::new(),
            problems: Vec::new(),
            files: BTreeSet::new(),
        }
    }

    /// Learns where every key stands, and which values are from the environment.
    pub(super) fn learn(&mut self, node: &Node) {
        self.learn_at(node, node.place, "");
    }

    fn learn_at(&mut self, node: &Node, place: Place, path: &str) {
        self.places.entry(path.to_owned()).or_insert(place);
        match &node.kind {
            Kind::Scalar(scalar) => {
                if scalar.origin != Origin::File {
                    self.hidden.insert(path.to_owned());
                }
                if scalar.origin == Origin::Variable {
                    self.variables.insert(path.to_owned());
                }
            }
            Kind::List(items) => {
                for (index, node) in items.iter().enumerate() {
                    self.learn_at(node, node.place, &item(path, index));
                }
            }
            Kind::Map(entries) => {
                for entry in entries {
                    self.learn_at(&entry.value, entry.place, &member(path, &entry.key));
                }
            }
        }
    }

    /// A fault of the document itself.
    pub(super) fn fault(&mut self, fault: Fault) {
        self.push(fault.place, &fault.key, fault.message, Severity::Error);
    }

    /// A value that cannot be read; what stands in for it is not judged.
    pub(super) fn broken(&mut self, key: &str, place: Place, message: String) {
        if self.is_broken(key) {
            return;
        }
        let place = self.places.get(key).copied().unwrap_or(place);
        self.push(place, key, message, Severity::Error);
        self.broken.insert(key.to_owned());
    }

    /// A key that nobody knows. Its name may look like a path (`routes[x`), so only its parent can excuse it.
    pub(super) fn unknown(&mut self, parent: &str, key: &str, place: Place, message: String) {
        if !self.is_broken(parent) {
            self.push(place, key, message, Severity::Error);
        }
        self.broken.insert(key.to_owned());
    }

    /// A required key that is not there: told at the place of what should hold it.
    pub(super) fn missing(&mut self, parent: &str, key: &str, place: Place, message: String) {
        let place = self.places.get(parent).copied().unwrap_or(place);
        self.push(place, key, message, Severity::Error);
        self.broken.insert(key.to_owned());
    }

    /// Says nothing more about `key`: a problem elsewhere explains it.
    pub(super) fn excuse(&mut self, key: String) {
        self.broken.insert(key);
    }

    /// A key that has to be changed before the gate starts.
    pub(super) fn error(&mut self, key: &str, message: impl Into<String>) {
        self.add(key, message.into(), Severity::Error);
    }

    /// A key that works, but should be known.
    pub(super) fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.add(key, message.into(), Severity::Warning);
    }

    fn add(&mut self, key: &str, message: String, severity: Severity) {
        if !self.is_broken(key) {
            let place = self.place(key);
            self.push(place, key, message, severity);
        }
    }

    fn push(&mut self, place: Place, key: &str, message: String, severity: Severity) {
        let key = if key.is_empty() { "the file".to_owned() } else { key.to_owned() };
        let Place { line, column } = place;
        // One line a problem, whatever a path or a library's message holds.
        let message = if message.contains(char::is_control) { message.replace(char::is_control, " ") } else { message };
        let problem = Problem { file: self.file.clone(), line, column, key, message, severity };
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// The place of a key, or of the nearest one above it that stands in the file.
    fn place(&self, key: &str) -> Place {
        ancestors(key).find_map(|key| self.places.get(key)).copied().unwrap_or(Place::START)
    }

    /// Whether `key` or one above it could not be read.
    pub(super) fn is_broken(&self, key: &str) -> bool {
        ancestors(key).any(|key| self.broken.contains(key))
    }

    /// Whether nothing is wrong so far.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity == Severity::Warning)
    }

    /// Whether `key` stands in the file.
    pub(super) fn is_written(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Whether the value is exactly one `${VAR}`.
    pub(super) fn is_variable(&self, key: &str) -> bool {
        self.variables.contains(key)
    }

    /// Whether some of the value is from the environment.
    pub(super) fn is_from_environment(&self, key: &str) -> bool {
        self.hidden.contains(key)
    }

    /// The value for a message: in backticks, or not at all where it came from the environment.
    pub(super) fn shown(&self, key: &str, value: &str) -> String {
        if self.hidden.contains(key) {
            return "the variable's value".to_owned();
        }
        let short: String = value.chars().take(80).collect();
        let more = if short.len() < value.len() { "..." } else { "" };
        format!("`{short}{more}`")
    }

    /// Notes a file that the configuration names, whether it can be read or not.
    pub(super) fn names(&mut self, file: &Path) {
        self.files.insert(file.to_owned());
    }

    /// The files that it names.
    pub(super) fn take_files(&mut self) -> BTreeSet<PathBuf> {
        std::mem::take(&mut self.files)
    }

    /// All problems in the order of the file, or, where none is an error, the warnings.
    pub(super) fn finish(mut self) -> Result<Vec<Problem>, Vec<Problem>> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        if self.is_clean() { Ok(self.problems) } else { Err(self.problems) }
    }
}

/// `a.b[0].c`, `a.b[0]`, `a.b`, `a`, and the file itself.
fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |key| match key.rfind(['.', '[']) {
        Some(at) => key.get(..at),
        None if key.is_empty() => None,
        None => Some(""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ancestors_end_with_the_file() {
        let all: Vec<_> = ancestors("a.b[0].c").collect();
        assert_eq!(all, ["a.b[0].c", "a.b[0]", "a.b", "a", ""]);
        assert_eq!(ancestors("").collect::<Vec<_>>(), [""]);
    }
}
