//! `demo`: the whole story in one process.

use std::net::SocketAddr;
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
}

/// Serves until SIGINT or SIGTERM.
pub(super) fn run(args: Args) -> ExitCode {
    telemetry::init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
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
        // Where nobody reads the guide, the demo still runs.
        let _ = output::line(demo.guide(&executable).trim_end());
        demo.run().await;
        ExitCode::SUCCESS
    })
}
