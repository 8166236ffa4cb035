//! `explain`: why was this refused?

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::explain::{Capture, MAX_CAPTURE_BYTES, Rules, RulesError, addressee, explain};
use crate::target::Scheme;

use super::{check, input, output};

/// What `explain` is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The capture; standard input if absent, or -
    file: Option<PathBuf>,
    /// The configuration to judge by; without it the RFC alone, and the scheme https
    #[arg(long, value_name = "FILE", env = "DPOP_GATE_CONFIG")]
    config: Option<PathBuf>,
    /// When the request was sent, since a proof grows old: 2026-01-02T03:04:05Z, or seconds since 1970
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// By which scheme the client called, where the capture does not say: https or http
    #[arg(long, value_name = "SCHEME", value_parser = scheme)]
    scheme: Option<Scheme>,
    /// Who sent it to the gate: forwarding headers count if that is a trusted proxy
    #[arg(long, value_name = "IP", requires = "config")]
    peer: Option<IpAddr>,
}

/// Exit 0 if all checks passed, 1 if one failed, 2 where there is nothing to judge.
pub(super) fn run(args: Args) -> ExitCode {
    let (capture, at) = match prepare(&args) {
        Ok(prepared) => prepared,
        Err(message) => return output::usage(&message),
    };
    let rules = match &args.config {
        None => Rules::of_rfc(addressee(&capture)),
        Some(path) => match config::load(path) {
            // Issuers are asked now, but what they say is judged as of then.
            Ok(config) => Rules::of(config, clock_at(at)),
            Err(problems) => return check::refuse(&problems),
        },
    };
    match rules {
        Ok(rules) => tell(&args, &capture, rules, at),
        Err(error @ (RulesError::Tls(_) | RulesError::Metrics(_) | RulesError::Random(_))) => output::usage(&error),
    }
}

fn tell(args: &Args, capture: &Capture, mut rules: Rules, at: Timestamp) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output::usage(&error),
    };
    let explanation = runtime.block_on(explain(capture, &mut rules, args.peer, at));
    let code = if explanation.passed() { ExitCode::SUCCESS } else { ExitCode::from(1) };
    match output::line(&explanation) {
        Ok(()) => code,
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => code,
        Err(error) => output::usage(&format_args!("the explanation cannot be written: {error}")),
    }
}

fn prepare(args: &Args) -> Result<(Capture, Timestamp), String> {
    let at = match &args.at {
        None => Clock::System.now(),
        Some(text) => {
            moment(text).ok_or("--at: not a time; expected such as 2026-01-02T03:04:05Z, or seconds since 1970")?
        }
    };
    let (name, bytes) = match args.file.as_deref().filter(|path| path.as_os_str() != "-") {
        Some(path) => (path.display().to_string(), input::file(path, MAX_CAPTURE_BYTES)),
        None => ("standard input".to_owned(), input::bounded(io::stdin().lock(), MAX_CAPTURE_BYTES)),
    };
    let bytes = bytes.map_err(|error| format!("{name}: {error}"))?;
    let mut capture = Capture::read(&bytes).map_err(|error| format!("{name}: {error}"))?;
    capture.scheme = capture.scheme.or(args.scheme);
    Ok((capture, at))
}

fn scheme(text: &str) -> Result<Scheme, &'static str> {
    Scheme::named(text).ok_or("expected http or https")
}

fn moment(text: &str) -> Option<Timestamp> {
    if let Ok(secs) = text.parse() {
        return Some(Timestamp::from_secs(secs));
    }
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(time.unix_timestamp_nanos() / 1000).ok().map(Timestamp::from_micros)
}

fn clock_at(time: Timestamp) -> Clock {
    Clock::Manual(Arc::new(AtomicU64::new(time.as_micros())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_seconds() {
        for (text, expected) in [
            ("0", Some(0)),
            ("1767323045", Some(1_767_323_045)),
            ("2026-01-02T03:04:05Z", Some(1_767_323_045)),
            ("2026-01-02T04:04:05.9+01:00", Some(1_767_323_045)),
            ("", None),
            ("-1", None),
            ("1969-12-31T23:59:58Z", None),
            ("2026-01-02", None),
            ("yesterday", None),
        ] {
            assert_eq!(moment(text).map(Timestamp::as_secs), expected, "{text}");
        }
    }
}
