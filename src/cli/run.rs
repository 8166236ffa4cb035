//! `run`: serve.

use std::process::ExitCode;

use crate::app::{self, Follow, RunError};
use crate::telemetry;

use super::{ConfigFile, check, output};

/// What `run` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
    /// Take changes as they are made to the file or to any that it names, as SIGHUP does
    #[arg(long)]
    watch: bool,
}

/// Serves until SIGTERM or SIGINT.
pub(super) fn run(args: Args) -> ExitCode {
    telemetry::init();
    let follow = if args.watch { Follow::Changes } else { Follow::OnSignal };
    match app::run(&args.file.config, follow) {
        Ok(()) => ExitCode::SUCCESS,
        Err(RunError::Config(problems)) => check::refuse(&problems),
        Err(error @ (RunError::Start(_) | RunError::Metrics(_) | RunError::Runtime(_))) => output::failed(&error),
    }
}
