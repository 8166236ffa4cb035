//! Commands.

mod keygen;
mod output;
mod proof;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Puts DPoP (RFC 9449) in front of services that know nothing of it.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a private key as a JWK; its thumbprint goes to standard error
    #[command(after_help = "Example:\n  dpop-gate keygen --out key.jwk")]
    Keygen(keygen::Args),
    /// Make compact DPoP proofs, one a line
    #[command(
        after_help = "Example:\n  dpop-gate proof --key key.jwk --method GET --url https://api.example.com/orders --token @token"
    )]
    Proof(proof::Args),
}

/// Parses the command line and runs it: 0 done, 1 failed while running, 2 usage or configuration.
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Keygen(args) => keygen::run(args),
        Command::Proof(args) => proof::run(args),
    }
}
