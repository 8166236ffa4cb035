//! Commands.

/// Parses the command line and runs it: 0 done, 1 failed while running, 2 usage or configuration.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
