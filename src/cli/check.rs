//! `check`: say what is wrong with a configuration.

use std::process::ExitCode;

use crate::config::{self, Problem};

use super::{ConfigFile, output};

/// What `check` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    file: ConfigFile,
}

/// Exit 0, or 2 with one line a problem.
pub(super) fn run(args: Args) -> ExitCode {
    let config = match config::load(&args.file.config) {
        Ok(config) => config,
        Err(problems) => return refuse(&problems),
    };
    for warning in &config.warnings {
        output::note(&warning);
    }
    match output::line(&format_args!("{}: ok", args.file.config.display())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => output::unwritable(&error),
    }
}

/// One line a problem, and exit 2.
pub(super) fn refuse(problems: &[Problem]) -> ExitCode {
    for problem in problems {
        output::note(problem);
    }
    ExitCode::from(2)
}
