//! How the gate is doing: plain facts, as the status page gets them in JSON. Nothing here is secret, and nothing was
//! chosen by a client.

use std::sync::Arc;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::issuer::IssuerStatus;
use crate::journal::{RecentRefusal, STEP, Stretch};
use crate::metrics::Totals;
use crate::replay::RedisStatus;

/// Characters of a thumbprint that are shown: enough to tell keys apart.
const SHOWN_JKT: usize = 10;

/// How the gate is doing.
#[derive(Debug, Clone)]
pub struct Status {
    /// When this was asked.
    pub now: Timestamp,
    /// When the process started.
    pub started: Timestamp,
    /// Whether traffic should come.
    pub readiness: Readiness,
    /// The routes, in their order.
    pub routes: Vec<RouteStatus>,
    /// The upstreams by name.
    pub upstreams: Vec<(Arc<str>, Vec<EndpointStatus>)>,
    /// The issuers.
    pub issuers: Vec<IssuerStatus>,
    /// How nonces are issued; `None` where they are off.
    pub nonces: Option<NonceStatus>,
    /// The memory of spent proofs.
    pub replay: ReplayStatus,
    /// Open client connections.
    pub connections: u64,
    /// What was counted since the start.
    pub totals: Totals,
    /// What was counted over the last minutes.
    pub history: Vec<Stretch>,
    /// The latest refusals, the newest first.
    pub refusals: Vec<RecentRefusal>,
}

/// Whether traffic should come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// It should.
    Ready,
    /// An issuer has no keys yet: its tokens could not be verified.
    NoKeys,
    /// The replay store has not been reached yet: no proof could be accepted.
    NoStore,
    /// The gate is going away.
    Draining,
}

/// One route.
#[derive(Debug, Clone, Serialize)]
pub struct RouteStatus {
    /// Its label.
    pub label: String,
    /// What it is for: methods, host, path.
    pub matches: String,
    /// Where it goes.
    pub upstream: String,
    /// What it demands, as the configuration spells it.
    pub auth: &'static str,
    /// What becomes of a failure, as the configuration spells it.
    pub mode: &'static str,
}

/// One address of an upstream.
#[derive(Debug, Clone, Serialize)]
pub struct EndpointStatus {
    /// Its URL.
    pub url: String,
    /// Whether requests are sent there.
    pub healthy: bool,
    /// Requests in flight.
    pub in_flight: usize,
}

/// How nonces are issued.
#[derive(Debug, Clone, Serialize)]
pub struct NonceStatus {
    /// Seconds that one is taken for.
    pub lifetime: u64,
    /// Whether the secret before the current one is still accepted.
    pub rotating: bool,
}

/// The memory of spent proofs.
#[derive(Debug, Clone)]
pub struct ReplayStatus {
    /// Proofs held in this process.
    pub entries: usize,
    /// And so many at most.
    pub capacity: usize,
    /// The store that replicas share, if any.
    pub shared: Option<RedisStatus>,
}

impl Readiness {
    /// In one word, for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NoKeys => "no_keys",
            Self::NoStore => "no_store",
            Self::Draining => "draining",
        }
    }
}

/// What the page reads.
#[derive(Serialize)]
struct Document<'a> {
    version: &'static str,
    now: f64,
    started: f64,
    readiness: &'static str,
    connections: u64,
    totals: Counted,
    routes: &'a [RouteStatus],
    upstreams: Vec<Upstream<'a>>,
    issuers: Vec<Issuer<'a>>,
    nonces: Option<&'a NonceStatus>,
    replay: Replay,
    /// Seconds that a whole stretch has.
    step: u64,
    history: Vec<Bar>,
    refusals: Vec<Refusal<'a>>,
}

#[derive(Serialize)]
struct Replay {
    entries: usize,
    capacity: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<Shared>,
}

/// Either its address, or why it cannot be reached and what happens meanwhile.
#[derive(Serialize)]
struct Shared {
    address: Option<String>,
    error: Option<String>,
    meanwhile: &'static str,
}

#[derive(Serialize)]
struct Upstream<'a> {
    name: &'a str,
    endpoints: &'a [EndpointStatus],
}

#[derive(Serialize)]
struct Issuer<'a> {
    issuer: &'a str,
    /// `null`: asked by introspection.
    keys: Option<usize>,
    refreshed: Option<f64>,
}

#[derive(Serialize)]
struct Counted {
    outcomes: serde_json::Map<String, serde_json::Value>,
    reasons: serde_json::Map<String, serde_json::Value>,
    /// Those of the refusals that asked for a nonce.
    challenges: u64,
}

#[derive(Serialize)]
struct Bar {
    until: f64,
    #[serde(flatten)]
    counted: Counted,
}

#[derive(Serialize)]
struct Refusal<'a> {
    at: f64,
    route: Option<&'a str>,
    reason: &'static str,
    status: u16,
    /// The beginning of the thumbprint of the key that the proof named, proved or not.
    jkt: Option<String>,
}

impl Status {
    /// The document at `/status.json`.
    pub(super) fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(&Document {
            version: env!("CARGO_PKG_VERSION"),
            now: seconds(self.now),
            started: seconds(self.started),
            readiness: self.readiness.name(),
            connections: self.connections,
            totals: Counted::of(&self.totals),
            routes: &self.routes,
            upstreams: self.upstreams.iter().map(|(name, endpoints)| Upstream { name, endpoints }).collect(),
            issuers: self.issuers.iter().map(Issuer::of).collect(),
            nonces: self.nonces.as_ref(),
            replay: Replay::of(&self.replay),
            step: STEP.as_secs(),
            history: self.history.iter().map(Bar::of).collect(),
            refusals: self.refusals.iter().map(Refusal::of).collect(),
        })
    }
}

impl Replay {
    fn of(status: &ReplayStatus) -> Self {
        let shared = status.shared.as_ref().map(|shared| Shared {
            address: shared.master.as_ref().ok().map(ToString::to_string),
            error: shared.master.as_ref().err().map(ToString::to_string),
            meanwhile: shared.on_unavailable.meanwhile(),
        });
        Self { entries: status.entries, capacity: status.capacity, shared }
    }
}

impl Counted {
    fn of(totals: &Totals) -> Self {
        Self {
            outcomes: totals.outcomes().map(|(outcome, count)| (outcome.as_str().to_owned(), count.into())).collect(),
            reasons: totals.reasons().map(|(reason, count)| (reason.as_str().to_owned(), count.into())).collect(),
            challenges: totals.challenges(),
        }
    }
}

impl Bar {
    fn of(stretch: &Stretch) -> Self {
        Self { until: seconds(stretch.until), counted: Counted::of(&stretch.counted) }
    }
}

impl<'a> Issuer<'a> {
    fn of(status: &'a IssuerStatus) -> Self {
        Self { issuer: &status.issuer, keys: status.keys, refreshed: status.refreshed.map(seconds) }
    }
}

impl<'a> Refusal<'a> {
    fn of(refusal: &'a RecentRefusal) -> Self {
        Self {
            at: seconds(refusal.at),
            route: refusal.route.as_deref(),
            reason: refusal.reason.as_str(),
            status: refusal.status,
            jkt: refusal.jkt.map(|jkt| jkt.to_string().chars().take(SHOWN_JKT).collect()),
        }
    }
}

/// Milliseconds are enough for a person.
#[allow(clippy::cast_precision_loss, reason = "exact for hundreds of thousands of years")]
fn seconds(at: Timestamp) -> f64 {
    (at.as_micros() / 1_000) as f64 / 1_000.0
}
