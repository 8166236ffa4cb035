//! The programs that these tests call.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::program::binary;

pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of `deploy/`.
pub fn deployed(name: &str) -> PathBuf {
    root().join("deploy").join(name)
}

/// A command that finds first what `tests/run` has installed beside the build.
pub fn tool(name: &str) -> Command {
    let bin = root().join("target/tools/bin");
    assert!(bin.join("hadolint").exists(), "the tools are not installed; `bash tests/run` does it");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(name);
    command.env("PATH", format!("{}:{path}", bin.display())).current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs it to a good end; what it wrote to standard output.
pub fn output(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// The program under test.
pub fn gate() -> Command {
    let mut command = Command::new(binary());
    command.env_remove("DPOP_GATE_CONFIG").stdin(Stdio::null());
    command
}
