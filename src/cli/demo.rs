//! `demo`: the whole story in one process.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::demo;
use crate::telemetry;

use super::output;

/// What `demo` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the gate listens; the services behind it take free ports on loopback
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Writes the gate's configuration there, to start from; an existing file is never overwritten
    #[arg(long, value_name = "FILE")]
    config_out: Option<PathBuf>,
}

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(args: Args) -> ExitCode {
    telemetry::init();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::failed(&error),
    };
    // The guide makes keys and proofs with this very program.
    let executable = std::env::current_exe().unwrap_or_else(|_| "dpop-gate".into());
    runtime.block_on(async {
        let demo = match demo::Demo::start(args.listen).await {
            Ok(demo) => demo,
            Err(error) => return output::failed(&error),
        };
        if let Some(path) = &args.config_out
            && let Err(error) = demo.write_config(path)
        {
            let remedy = match error.kind() {
                ErrorKind::AlreadyExists => "; expected a new file: none is overwritten",
                ErrorKind::NotFound => "; expected a folder that exists",
                _ => "",
            };
            return output::usage(&format_args!("--config-out {}: {error}{remedy}", path.display()));
        }
        // Where nobody reads the guide, the demo still runs.
        let _ = output::line(demo.guide(&executable).trim_end());
        demo.run().await;
        ExitCode::SUCCESS
    })
}
