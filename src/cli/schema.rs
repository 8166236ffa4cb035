//! `schema`: the JSON Schema of the configuration.

use std::process::ExitCode;

use crate::config;

use super::output;

/// What `schema` is asked for: nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Prints it.
pub(super) fn run(_: Args) -> ExitCode {
    match output::line(&format_args!("{:#}", config::schema())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::unwritable(&error),
    }
}
