//! The configuration file: read, checked as a whole, every problem with its place.

mod check;
mod document;
mod env;
mod nearest;
mod problem;
mod raw;
mod report;
mod schema;
mod structure;
mod units;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::HeaderName;

use crate::dpop::ProofPolicy;
use crate::gate::ForwardToken;
use crate::issuer::IssuerOptions;
use crate::jose::PrivateKey;
use crate::policy::{Auth, Cors, Mode, Requirement, RouteMatch};
use crate::proxy::upstream::UpstreamOptions;
use crate::replay::RedisOptions;
use crate::secret::Secret;
use crate::server::{Limits, ListenerOptions};
use crate::target::Trust;
use crate::telemetry::otlp::OtlpOptions;
use crate::verifier;

use report::Report;

pub use env::Lookup;
pub use problem::{Problem, Severity, render};

/// A configuration is larger than this only by mistake.
const MAX_BYTES: u64 = 1 << 20;

/// A configuration that was checked as a whole: every file it names was read.
#[derive(Debug)]
pub struct Config {
    /// Where clients come in; one or more.
    pub listeners: Vec<ListenerOptions>,
    /// Where operators come in.
    pub admin: Option<SocketAddr>,
    /// `public_url`, `trusted_proxies` (as written: for proxy listeners).
    pub trust: Trust,
    /// As written, else loopback: for forward-auth listeners.
    pub forward_auth_trust: Trust,
    /// Who vouches for tokens.
    pub issuers: Vec<IssuerOptions>,
    /// Proofs.
    pub proof: ProofPolicy,
    /// Nonces; `None` where they are off.
    pub nonce: Option<NonceConfig>,
    /// Proofs held at once in memory.
    pub replay_capacity: usize,
    /// Which keys get tables.
    pub key_tables: verifier::Options,
    /// The store that replicas share, if any.
    pub redis: Option<RedisOptions>,
    /// Upstreams.
    pub upstreams: Vec<UpstreamOptions>,
    /// Routes, in the order of the file.
    pub routes: Vec<RouteConfig>,
    /// What upstreams are told.
    pub identity: IdentityConfig,
    /// Bounds on connections.
    pub limits: Limits,
    /// Largest request body in bytes; 0 for no limit.
    pub body_bytes: u64,
    /// Where traces go; `None` where nothing is traced.
    pub traces: Option<OtlpOptions>,
    /// What works but should be known.
    pub warnings: Vec<Problem>,
}

/// `dpop.nonce`.
#[derive(Debug, Clone)]
pub struct NonceConfig {
    /// How long one is taken.
    pub lifetime: Duration,
    /// `None`: random at the start of the process.
    pub secret: Option<Secret>,
    /// Still taken.
    pub previous: Option<Secret>,
}

/// One route.
#[derive(Debug, Clone)]
pub struct RouteConfig {
    /// `name`, else `match.path`.
    pub label: String,
    /// What it is for.
    pub matches: RouteMatch,
    /// An upstream that exists; empty only where every listener is a forward-auth one and the file names none.
    pub upstream: String,
    /// What it demands.
    pub auth: Auth,
    /// What becomes of a failure.
    pub mode: Mode,
    /// What the token must grant.
    pub require: Requirement,
    /// CORS.
    pub cors: Option<Cors>,
}

/// `identity`.
#[derive(Debug)]
pub struct IdentityConfig {
    /// Header and claim.
    pub headers: Vec<(HeaderName, String)>,
    /// What becomes of the client's credentials.
    pub forward_token: ForwardToken,
    /// Header, key, audience, lifetime.
    pub assertion: Option<(HeaderName, PrivateKey, Option<String>, Duration)>,
}

/// A file that was read, and what it became.
#[derive(Debug)]
pub struct Reading {
    /// The file, and those that it names: a change of one of them may change the outcome.
    pub files: BTreeSet<PathBuf>,
    /// The configuration, or every problem.
    pub outcome: Result<Config, Vec<Problem>>,
}

/// Reads and checks a file and everything it names, and says which files those were.
pub fn reading(path: &Path) -> Reading {
    let mut files = BTreeSet::from([path.to_owned()]);
    let outcome = load_noting(path, &|name| std::env::var(name).ok(), &mut files);
    Reading { files, outcome }
}

/// Reads and checks a file and everything it names; all problems at once.
pub fn load(path: &Path) -> Result<Config, Vec<Problem>> {
    reading(path).outcome
}

/// The same, with variables from elsewhere than the process' environment.
pub fn load_with(path: &Path, lookup: Lookup<'_>) -> Result<Config, Vec<Problem>> {
    load_noting(path, lookup, &mut BTreeSet::new())
}

fn load_noting(path: &Path, lookup: Lookup<'_>, files: &mut BTreeSet<PathBuf>) -> Result<Config, Vec<Problem>> {
    let unreadable = |message: String| vec![Problem::of_file(path, message)];
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
        .map_err(|error| unreadable(format!("cannot be read: {error}; expected a YAML file")))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(unreadable("larger than 1 MiB; expected a configuration".to_owned()));
    }
    read(path, &bytes, lookup, files)
}

fn read(path: &Path, bytes: &[u8], lookup: Lookup<'_>, files: &mut BTreeSet<PathBuf>) -> Result<Config, Vec<Problem>> {
    let mut report = Report::new(path);
    let config = understand(path, bytes, lookup, &mut report);
    files.append(&mut report.take_files());
    let warnings = report.finish()?;
    config.map(|config| Config { warnings, ..config }).ok_or_else(Vec::new)
}

/// The JSON Schema of the file: draft 2020-12.
pub fn schema() -> serde_json::Value {
    schema::published()
}

/// From bytes to a checked configuration: document, environment, structure, meaning. Each stage works on what the one
/// before could read, so that all problems are told at once.
fn understand(path: &Path, bytes: &[u8], lookup: Lookup<'_>, report: &mut Report) -> Option<Config> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            report.fault(document::not_utf8(bytes, &error));
            return None;
        }
    };
    let (root, faults) = document::parse(text);
    faults.into_iter().for_each(|fault| report.fault(fault));
    let mut root = root.or_else(|| report.is_clean().then(document::empty))?;

    // The places first, then which values came from the environment.
    report.learn(&root);
    env::expand(&mut root, "", lookup, report);
    report.learn(&root);
    let schema = schema::schema();
    let value = structure::fit(&schema, &root, report);
    match raw_file(value) {
        Some(file) => {
            // The file's own folder, as it was named: `gate.yaml` alone has the empty parent.
            let folder = path.parent().unwrap_or(Path::new(""));
            check::check(&file, folder, report)
        }
        None => {
            report.error("", "does not fit the schema; expected what `dpop-gate schema` describes");
            None
        }
    }
}

fn raw_file(value: serde_json::Value) -> Option<raw::File> {
    serde_yaml::from_value(serde_yaml::to_value(value).ok()?).ok()
}

#[cfg(test)]
mod tests;
