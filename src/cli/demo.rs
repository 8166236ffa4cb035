//! `demo`: the whole story in one process.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::output;

/// What `demo` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Where the gate listens; the services behind it take free ports on loopback
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
}

/// Placeholder until branch `docs` is merged.
#[allow(clippy::needless_pass_by_value, reason = "every command takes its arguments over")]
pub(super) fn run(args: Args) -> ExitCode {
    output::failed(&format_args!("no demo at {} yet", args.listen))
}
