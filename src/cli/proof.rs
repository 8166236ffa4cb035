//! `proof`: compact DPoP proofs (RFC 9449 section 4.2), for scripts and tests.

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use crate::client::{Prover, Statement, is_nonce};
use crate::clock::Clock;
use crate::jose::PrivateKeyError;

use super::input::{self, TokenSource};
use super::output;

/// What `proof` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The private JWK to sign with, as `keygen` makes it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The request's method, to the letter: `htm`
    #[arg(long, value_name = "M")]
    method: String,
    /// The request's URL: `htu` is this without query and fragment
    #[arg(long, value_name = "U")]
    url: String,
    /// The access token that goes along, or @FILE that holds it: its digest becomes `ath`
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    token: Option<TokenSource>,
    /// The nonce of the server's last DPoP-Nonce header
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    nonce: Option<String>,
    /// How many proofs, one a line, each with its own `jti`
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    count: u32,
}

/// Writes the proofs.
pub(super) fn run(args: Args) -> ExitCode {
    let (prover, statement) = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(message) => return output::usage(&message),
    };
    match write_all(&prover, &statement, args.count) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Output(error)) => output::unwritable(&error),
        Err(Failure::Signing(error)) => output::failed(&error),
    }
}

fn prepare(args: &Args) -> Result<(Prover, Statement), String> {
    let key = input::key(&args.key)?;
    let method = input::method("--method", &args.method)?;
    let mut statement = Statement::of(&method, &input::url("--url", &args.url)?);
    if let Some(source) = &args.token {
        statement = statement.with_token(&input::token(source)?);
    }
    if let Some(nonce) = &args.nonce {
        if !is_nonce(nonce) {
            return Err("--nonce: not a nonce; expected the value of a DPoP-Nonce header".to_owned());
        }
        statement = statement.with_nonce(nonce);
    }
    Ok((Prover::new(key, Clock::System), statement))
}

enum Failure {
    Output(io::Error),
    Signing(PrivateKeyError),
}

fn write_all(prover: &Prover, statement: &Statement, count: u32) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    for _ in 0..count {
        let proof = prover.prove(statement).map_err(Failure::Signing)?;
        writeln!(out, "{}", proof.compact()).map_err(Failure::Output)?;
    }
    out.flush().map_err(Failure::Output)
}
