//! `run`: serve.

use std::process::ExitCode;

use crate::app::{self, RunError};
use crate::telemetry;

use super::{ConfigFile, check, output};

/// What `run` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: Args) -> ExitCode {
    telemetry::init();
    match app::run(&args.file.config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(RunError::Config(problems)) => check::refuse(&problems),
        Err(error @ (RunError::Start(_) | RunError::Metrics(_) | RunError::Runtime(_))) => output::failed(&error),
    }
}
