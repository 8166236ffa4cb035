//! From what is written to what is meant: every rule that the schema cannot say, all violations at once.

mod address;
mod dpop;
mod files;
mod identity;
mod issuer;
mod limits;
mod listen;
mod replay;
mod route;
mod traces;
mod upstream;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::jose::Algorithm;

use super::nearest::nearest;
use super::report::Report;
use super::units::Span;
use super::{Config, raw};

/// Checks a whole file. `None` only where a problem was reported.
pub(super) fn check(file: &raw::File, folder: &Path, report: &mut Report) -> Option<Config> {
    let mut checker = Checker { folder, report };
    let (trust, forward_auth_trust) = checker.trust(file);
    let listeners = checker.listeners(file);
    let admin = checker.admin(file);
    let issuers = checker.issuers(file);
    let proof = checker.proof(&file.dpop);
    let nonce = checker.nonce(&file.dpop);
    let replay_capacity = checker.replay_capacity(&file.dpop.replay);
    let key_tables = checker.key_tables(&file.dpop.key_tables);
    let redis = checker.redis(&file.dpop.replay, &proof);
    let upstreams = checker.upstreams(file);
    let routes = checker.routes(file);
    let identity = checker.identity(file);
    let (limits, body_bytes) = checker.limits(&file.limits);
    let traces = file.traces.as_ref().and_then(|traces| checker.traces(traces));
    Some(Config {
        listeners,
        admin,
        trust,
        forward_auth_trust,
        issuers,
        proof,
        nonce,
        replay_capacity,
        key_tables,
        redis,
        upstreams,
        routes,
        identity: identity?,
        limits,
        body_bytes,
        traces,
        warnings: Vec::new(),
    })
}

/// What every section's check needs.
struct Checker<'a> {
    /// Where relative paths start.
    folder: &'a Path,
    report: &'a mut Report,
}

impl Checker<'_> {
    fn error(&mut self, key: &str, message: impl Into<String>) {
        self.report.error(key, message);
    }

    fn warn(&mut self, key: &str, message: impl Into<String>) {
        self.report.warn(key, message);
    }

    /// A value in backticks, unless it came from the environment.
    fn shown(&self, key: &str, value: &str) -> String {
        self.report.shown(key, value)
    }

    /// A path as it is written, from the file's own folder on.
    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// A duration between two bounds.
    fn span(&mut self, key: &str, span: &Span, least: &'static str, most: &'static str) -> Duration {
        let duration = span.duration();
        if duration < Span::of(least).duration() || duration > Span::of(most).duration() {
            let shown = self.shown(key, &span.to_string());
            self.error(key, format!("{shown} is out of bounds; expected {least} to {most}"));
        }
        duration
    }

    /// Text that says something.
    fn filled(&mut self, key: &str, text: &str, expected: &str) {
        if text.trim().is_empty() {
            self.error(key, format!("empty; expected {expected}"));
        } else if text.chars().any(char::is_control) {
            self.error(key, format!("a control character in it; expected {expected}"));
        }
    }

    /// Names of algorithms; a symmetric one is told why not.
    fn algorithms(&mut self, key: &str, names: &[String]) -> Vec<Algorithm> {
        let mut algorithms = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            let key = format!("{key}[{index}]");
            match Algorithm::from_name(name) {
                // `EdDSA` and `Ed25519` side by side are one.
                Some(algorithm) if algorithms.contains(&algorithm) => {}
                Some(algorithm) => algorithms.push(algorithm),
                None => {
                    let message = self.algorithm_refused(&key, name);
                    self.error(&key, message);
                }
            }
        }
        algorithms
    }

    fn algorithm_refused(&self, key: &str, name: &str) -> String {
        let known = Algorithm::ALL.map(Algorithm::name);
        let expected = format!("expected some of {}", known.join(", "));
        let shown = self.shown(key, name);
        // RFC 9449 section 4.3, check 5: "indicates a registered asymmetric digital signature algorithm, is not none".
        if name.eq_ignore_ascii_case("none") {
            return format!("{shown} means no signature at all; {expected}");
        }
        if name.to_ascii_uppercase().starts_with("HS") {
            return format!("{shown} is symmetric: whoever can check can forge; {expected}");
        }
        match nearest(name, known.into_iter()) {
            Some(known) => format!("{shown} is not an algorithm known here (did you mean `{known}`?); {expected}"),
            None => format!("{shown} is not an algorithm known here; {expected}"),
        }
    }
}
