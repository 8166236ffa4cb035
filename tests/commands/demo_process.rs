//! `dpop-gate demo` as a process, on a free port. Shared by the tests of commands and those of pages.
#![allow(dead_code, reason = "each of the two uses its own part")]

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::program::binary;

/// A running demo, ended with its owner.
pub struct Demo {
    process: Child,
    /// For its files: it is killed, and cannot take them along.
    _folder: tempfile::TempDir,
    /// All that it printed.
    pub guide: String,
}

impl Demo {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// With further arguments.
    pub fn start_with(arguments: &[&str]) -> Self {
        Self::run("127.0.0.1:0", arguments)
    }

    /// Where another one was.
    pub fn start_at(address: &str) -> Self {
        Self::run(address, &[])
    }

    fn run(listen: &str, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Command::new(binary())
            .args(["demo", "--listen", listen])
            .args(arguments)
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut guide = String::new();
        // The second paste of curl is one line, and the last of the guide.
        while guide.matches("curl -i").count() < 2 {
            let line = lines.next().expect("the guide ended early").unwrap();
            guide.push_str(&line);
            guide.push('\n');
        }
        Self { process, _folder: folder, guide }
    }

    /// Where the gate is, as the guide says.
    pub fn gate(&self) -> String {
        self.word_after("The gate")
    }

    /// Of `demo-client`.
    pub fn client_secret(&self) -> String {
        self.word_after("demo-client, secret")
    }

    /// The word that follows a label.
    pub fn word_after(&self, label: &str) -> String {
        let rest = self.guide.split(label).nth(1).unwrap_or_else(|| panic!("no {label}:\n{}", self.guide));
        rest.split_whitespace().next().unwrap().trim_end_matches(',').to_owned()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
