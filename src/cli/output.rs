//! What commands say: results on standard output, one line about a failure on standard error, and the exit codes
//! 0 done, 1 failed while running, 2 usage or configuration.

use std::fmt::Display;
use std::io::{self, Write};
use std::process::ExitCode;

/// One line of a result.
pub(super) fn line(text: &(impl Display + ?Sized)) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// One line beside the result.
pub(super) fn note(text: &(impl Display + ?Sized)) {
    // There is nobody left to tell where standard error is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Exit 2: the command line, or a file that it names, is wrong.
pub(super) fn usage(message: &(impl Display + ?Sized)) -> ExitCode {
    note(&format_args!("dpop-gate: {message}"));
    ExitCode::from(2)
}

/// Exit 1: it failed while running.
pub(super) fn failed(message: &(impl Display + ?Sized)) -> ExitCode {
    note(&format_args!("dpop-gate: {message}"));
    ExitCode::from(1)
}

/// A result that could not be written: a reader that went away (`| head`) has what it wanted, anything else is exit 1.
pub(super) fn unwritable(error: &io::Error) -> ExitCode {
    if error.kind() == io::ErrorKind::BrokenPipe {
        ExitCode::SUCCESS
    } else {
        failed(&format_args!("the result cannot be written: {error}"))
    }
}
