//! Every metric and every label value, declared once (contract section 4).
//!
//! Handles are resolved when a configuration is loaded, so that counting a request is one atomic add. Label values
//! come from the configuration or from the enums here, never from a client.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    Encoder as _, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

macro_rules! label {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every value.
            pub const ALL: &[$name] = &[$($name::$variant,)+];

            /// Its name in metrics and logs.
            pub const fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)+ }
            }
        }
    };
}

label! {
    /// How a request ended.
    Outcome {
        /// It passed the gate and went upstream.
        Allowed => "allowed",
        /// The gate refused it.
        Refused => "refused",
        /// It would have been refused; `mode: report` sent it upstream.
        Reported => "reported",
        /// It passed the gate and the upstream failed.
        Failed => "failed",
        /// The gate answered by itself: preflights and well-known documents.
        Answered => "answered",
    }
}

label! {
    /// Why a request was refused.
    #[allow(missing_docs, reason = "the names are the contract's; dpop::ProofError and token::TokenError explain them")]
    Reason {
        MissingToken => "missing_token",
        MultipleCredentials => "multiple_credentials",
        MissingProof => "missing_proof",
        MultipleProofs => "multiple_proofs",
        MalformedProof => "malformed_proof",
        WrongTyp => "wrong_typ",
        UnsupportedAlg => "unsupported_alg",
        InvalidJwk => "invalid_jwk",
        PrivateJwk => "private_jwk",
        BadSignature => "bad_signature",
        HtmMismatch => "htm_mismatch",
        HtuMismatch => "htu_mismatch",
        IatExpired => "iat_expired",
        IatInFuture => "iat_in_future",
        NonceMissing => "nonce_missing",
        NonceInvalid => "nonce_invalid",
        AthMismatch => "ath_mismatch",
        KeyMismatch => "key_mismatch",
        Replayed => "replayed",
        MalformedToken => "malformed_token",
        TokenSignature => "token_signature",
        TokenExpired => "token_expired",
        TokenNotYetValid => "token_not_yet_valid",
        UnknownIssuer => "unknown_issuer",
        WrongAudience => "wrong_audience",
        TokenNotBound => "token_not_bound",
        BoundTokenAsBearer => "bound_token_as_bearer",
        TokenInactive => "token_inactive",
        InsufficientScope => "insufficient_scope",
        ClaimMismatch => "claim_mismatch",
        NoRoute => "no_route",
        AmbiguousPath => "ambiguous_path",
        TooLarge => "too_large",
        StoreUnavailable => "store_unavailable",
        IssuerUnavailable => "issuer_unavailable",
        KeyQuota => "key_quota",
        UntrustedPeer => "untrusted_peer",
        ConflictingSources => "conflicting_sources",
        MalformedRequest => "malformed_request",
    }
}

label! {
    /// How an upstream failed.
    UpstreamErrorKind {
        /// No connection, TLS included.
        Connect => "connect",
        /// No response head in time.
        Timeout => "timeout",
        /// The connection ended before the response did.
        Reset => "reset",
        /// What came was not HTTP.
        Protocol => "protocol",
        /// No healthy address was left to try.
        Unhealthy => "unhealthy",
    }
}

label! {
    /// Whether a token was in the cache.
    CacheResult {
        /// It was.
        Hit => "hit",
        /// It had to be verified.
        Miss => "miss",
    }
}

label! {
    /// How a key refresh ended.
    RefreshResult {
        /// New keys are in use.
        Ok => "ok",
        /// The old ones stay in use.
        Failed => "failed",
    }
}

label! {
    /// What became of a request's trace.
    TraceResult {
        /// The collector has it.
        Exported => "exported",
        /// It was let go: the queue was full, or the collector did not take it.
        Dropped => "dropped",
    }
}

/// All metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    refusals: IntCounterVec,
    request_seconds: HistogramVec,
    nonce_challenges: IntCounterVec,
    upstream_errors: IntCounterVec,
    replay_store_errors: IntCounterVec,
    replay_store_up: IntGaugeVec,
    token_cache: [IntCounter; 2],
    jwks_refresh: IntCounterVec,
    jwks_refreshed: IntGaugeVec,
    /// Of the tables for keys that come back.
    pub key_tables: KeyTableMetrics,
    traces: IntCounterVec,
    /// Time that the gate took to decide, without the upstream.
    pub decision_seconds: Histogram,
    /// Proofs held in the memory store.
    pub replay_entries: IntGauge,
    /// Open client connections.
    pub connections: IntGauge,
}

impl Metrics {
    /// Registers every metric.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let requests =
            counters("dpop_gate_requests_total", "Requests by route and how they ended.", &["route", "outcome"])?;
        let refusals = counters(
            "dpop_gate_refusals_total",
            "Refusals (and, in report mode, would-be refusals) by reason.",
            &["route", "reason"],
        )?;
        let nonce_challenges = counters("dpop_gate_nonce_challenges_total", "Answers of use_dpop_nonce.", &["route"])?;
        let upstream_errors =
            counters("dpop_gate_upstream_errors_total", "Failures of upstreams by kind.", &["upstream", "kind"])?;
        let replay_store_errors = counters(
            "dpop_gate_replay_store_errors_total",
            "Claims that the replay store could not decide.",
            &["store"],
        )?;
        let replay_store_up = IntGaugeVec::new(
            Opts::new("dpop_gate_replay_store_up", "Whether the replay store can be reached: 1 or 0."),
            &["store"],
        )?;
        registry.register(Box::new(replay_store_up.clone()))?;
        let cache = counters("dpop_gate_token_cache_total", "Look-ups in the cache of verified tokens.", &["result"])?;
        let jwks_refresh =
            counters("dpop_gate_jwks_refresh_total", "Fetches of an issuer's keys.", &["issuer", "result"])?;
        let jwks_refreshed = IntGaugeVec::new(
            Opts::new("dpop_gate_jwks_refreshed_timestamp_seconds", "When the keys in use were fetched, in Unix time."),
            &["issuer"],
        )?;
        registry.register(Box::new(jwks_refreshed.clone()))?;
        let signatures = counters(
            "dpop_gate_signatures_checked_total",
            "Signatures checked: by a table for the key, by the curve's arithmetic without one, or by the library.",
            &["by"],
        )?;
        let built = IntCounter::new("dpop_gate_key_tables_built_total", "Tables made for keys that came back.")?;
        registry.register(Box::new(built.clone()))?;
        let traces =
            counters("dpop_gate_traces_total", "Traced requests, by what became of their spans.", &["result"])?;
        let build =
            IntGaugeVec::new(Opts::new("dpop_gate_build_info", "The version that runs; always 1."), &["version"])?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);

        let buckets = prometheus::exponential_buckets(0.000_010, 2.0, 16)?;
        let decision =
            HistogramOpts::new("dpop_gate_decision_seconds", "Time to decide on a request.").buckets(buckets);
        let decision_seconds = Histogram::with_opts(decision)?;
        registry.register(Box::new(decision_seconds.clone()))?;
        let buckets = prometheus::exponential_buckets(0.000_250, 2.0, 17)?;
        let request = HistogramOpts::new("dpop_gate_request_seconds", "Time from request head to response head.")
            .buckets(buckets);
        let request_seconds = HistogramVec::new(request, &["route"])?;
        registry.register(Box::new(request_seconds.clone()))?;

        Ok(Self {
            token_cache: [
                cache.with_label_values(&[CacheResult::Hit.as_str()]),
                cache.with_label_values(&[CacheResult::Miss.as_str()]),
            ],
            replay_entries: gauge("dpop_gate_replay_entries", "Proofs held in this process' memory.")?,
            key_tables: KeyTableMetrics {
                held: gauge("dpop_gate_key_tables", "Tables held for clients' keys.")?,
                built,
                by_table: signatures.with_label_values(&["table"]),
                by_curve: signatures.with_label_values(&["curve"]),
                by_library: signatures.with_label_values(&["library"]),
            },
            connections: gauge("dpop_gate_connections", "Open client connections.")?,
            registry,
            requests,
            refusals,
            request_seconds,
            nonce_challenges,
            upstream_errors,
            replay_store_errors,
            replay_store_up,
            jwks_refresh,
            jwks_refreshed,
            traces,
            decision_seconds,
        })
    }

    /// The handles of one route; `label` comes from the configuration.
    pub fn route(&self, label: &str) -> Arc<RouteMetrics> {
        Arc::new(RouteMetrics {
            requests: Outcome::ALL
                .iter()
                .map(|outcome| self.requests.with_label_values(&[label, outcome.as_str()]))
                .collect(),
            refusals: Reason::ALL.iter().map(|_| OnceLock::new()).collect(),
            vec: self.refusals.clone(),
            nonce_challenges: self.nonce_challenges.with_label_values(&[label]),
            seconds: self.request_seconds.with_label_values(&[label]),
            label: label.to_owned(),
        })
    }

    /// The handles of one upstream.
    pub fn upstream(&self, name: &str) -> UpstreamMetrics {
        UpstreamMetrics {
            errors: UpstreamErrorKind::ALL
                .iter()
                .map(|kind| self.upstream_errors.with_label_values(&[name, kind.as_str()]))
                .collect(),
        }
    }

    /// The counter of claims that a store could not decide: `memory` or `redis`.
    pub fn replay_store_errors(&self, store: &'static str) -> IntCounter {
        self.replay_store_errors.with_label_values(&[store])
    }

    /// The gauge that says whether a store can be reached.
    pub fn replay_store_up(&self, store: &'static str) -> IntGauge {
        self.replay_store_up.with_label_values(&[store])
    }

    /// Ends that gauge: the store is not in use any more.
    pub fn forget_replay_store(&self, store: &'static str) {
        // It may never have been there.
        let _ = self.replay_store_up.remove_label_values(&[store]);
    }

    /// Counts a look-up in the token cache.
    pub fn token_cache(&self, result: CacheResult) {
        let [hit, miss] = &self.token_cache;
        match result {
            CacheResult::Hit => hit.inc(),
            CacheResult::Miss => miss.inc(),
        }
    }

    /// Counts a fetch of an issuer's keys; `issuer` comes from the configuration.
    pub fn jwks_refresh(&self, issuer: &str, result: RefreshResult) {
        self.jwks_refresh.with_label_values(&[issuer, result.as_str()]).inc();
    }

    /// When the keys of each issuer were fetched, in Unix time: what is not named any more is not shown any more.
    pub fn jwks_refreshed<'a>(&self, issuers: impl Iterator<Item = (&'a str, i64)>) {
        self.jwks_refreshed.reset();
        for (issuer, at) in issuers {
            self.jwks_refreshed.with_label_values(&[issuer]).set(at);
        }
    }

    /// The counter of traces that ended so; absent until somebody traces.
    pub fn traces(&self, result: TraceResult) -> IntCounter {
        self.traces.with_label_values(&[result.as_str()])
    }

    /// Requests and refusals so far, all routes together.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        // First, so that requests which end meanwhile do not make more challenges than refusals.
        each(&self.nonce_challenges, "route", |_, count| totals.add_challenges(count));
        each(&self.requests, "outcome", |name, count| {
            if let Some(outcome) = Outcome::ALL.iter().find(|outcome| outcome.as_str() == name) {
                totals.add_outcome(*outcome, count);
            }
        });
        each(&self.refusals, "reason", |name, count| {
            if let Some(reason) = Reason::ALL.iter().find(|reason| reason.as_str() == name) {
                totals.add_reason(*reason, count);
            }
        });
        totals
    }

    /// All of it in the Prometheus text format.
    pub fn render(&self) -> Result<Vec<u8>, prometheus::Error> {
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }
}

/// Every counter of a family: the value of its `label`, and its count.
fn each(counters: &IntCounterVec, label: &str, mut take: impl FnMut(&str, u64)) {
    for family in Collector::collect(counters) {
        for metric in family.get_metric() {
            let value = metric.get_label().iter().find(|pair| pair.name() == label);
            // A count in a float: exact up to 2^53.
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counters only grow from 0")]
            let count = metric.get_counter().get_value() as u64;
            value.iter().for_each(|pair| take(pair.value(), count));
        }
    }
}

/// What has been counted since the process started, all routes together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Totals {
    outcomes: BTreeMap<Outcome, u64>,
    reasons: BTreeMap<Reason, u64>,
    challenges: u64,
}

impl Totals {
    /// Requests by how they ended; those that never happened are left out.
    pub fn outcomes(&self) -> impl Iterator<Item = (Outcome, u64)> + '_ {
        self.outcomes.iter().map(|(outcome, count)| (*outcome, *count))
    }

    /// Refusals by reason; those that never happened are left out.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u64)> + '_ {
        self.reasons.iter().map(|(reason, count)| (*reason, *count))
    }

    /// Adds requests that ended so.
    pub fn add_outcome(&mut self, outcome: Outcome, count: u64) {
        add(&mut self.outcomes, outcome, count);
    }

    /// Adds refusals for that reason.
    pub fn add_reason(&mut self, reason: Reason, count: u64) {
        add(&mut self.reasons, reason, count);
    }

    /// Refusals that asked for a nonce: the first step of a client in good order, not a sign of harm.
    pub fn challenges(&self) -> u64 {
        self.challenges
    }

    /// Adds answers of `use_dpop_nonce`.
    pub fn add_challenges(&mut self, count: u64) {
        self.challenges += count;
    }

    /// What was counted after `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Totals) -> Totals {
        Totals {
            outcomes: less(&self.outcomes, &earlier.outcomes),
            reasons: less(&self.reasons, &earlier.reasons),
            challenges: self.challenges.saturating_sub(earlier.challenges),
        }
    }
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, count: u64) {
    if count > 0 {
        *counts.entry(key).or_default() += count;
    }
}

fn less<K: Ord + Copy>(counts: &BTreeMap<K, u64>, earlier: &BTreeMap<K, u64>) -> BTreeMap<K, u64> {
    let mut rest = BTreeMap::new();
    for (key, count) in counts {
        add(&mut rest, *key, count.saturating_sub(earlier.get(key).copied().unwrap_or_default()));
    }
    rest
}

/// The handles of the tables for keys that come back.
#[derive(Debug, Clone)]
pub struct KeyTableMetrics {
    /// Tables held for clients' keys.
    pub held: IntGauge,
    /// Tables made, issuers' too.
    pub built: IntCounter,
    /// Signatures checked with a table.
    pub by_table: IntCounter,
    /// Signatures checked by the same arithmetic without a table.
    pub by_curve: IntCounter,
    /// Signatures checked by the library.
    pub by_library: IntCounter,
}

/// One route's handles.
#[derive(Debug)]
pub struct RouteMetrics {
    label: String,
    requests: Vec<IntCounter>,
    refusals: Vec<OnceLock<IntCounter>>,
    vec: IntCounterVec,
    nonce_challenges: IntCounter,
    seconds: Histogram,
}

impl RouteMetrics {
    /// The route's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Counts a request that ended, and the time to its response head.
    pub fn finished(&self, outcome: Outcome, elapsed: Duration) {
        if let Some(counter) = self.requests.get(outcome as usize) {
            counter.inc();
        }
        self.seconds.observe(elapsed.as_secs_f64());
    }

    /// Counts a refusal, or what would have been one.
    pub fn refused(&self, reason: Reason) {
        if let Some(cell) = self.refusals.get(reason as usize) {
            cell.get_or_init(|| self.vec.with_label_values(&[&self.label, reason.as_str()])).inc();
        }
    }

    /// Counts an answer of `use_dpop_nonce`.
    pub fn challenged(&self) {
        self.nonce_challenges.inc();
    }
}

/// One upstream's handles.
#[derive(Debug)]
pub struct UpstreamMetrics {
    errors: Vec<IntCounter>,
}

impl UpstreamMetrics {
    /// Counts a failure.
    pub fn failed(&self, kind: UpstreamErrorKind) {
        if let Some(counter) = self.errors.get(kind as usize) {
            counter.inc();
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_of_the_contract_is_exported_under_its_name() {
        let metrics = Metrics::new().unwrap();
        let route = metrics.route("orders");
        for outcome in Outcome::ALL {
            route.finished(*outcome, Duration::from_millis(1));
        }
        for reason in Reason::ALL {
            route.refused(*reason);
        }
        route.challenged();
        metrics.upstream("orders").failed(UpstreamErrorKind::Connect);
        metrics.replay_store_errors("memory").inc();
        metrics.replay_store_up("redis").set(1);
        metrics.token_cache(CacheResult::Hit);
        metrics.jwks_refresh("https://id.example.com", RefreshResult::Ok);
        metrics.traces(TraceResult::Dropped).inc();
        metrics.jwks_refreshed([("https://old.example.com", 1_700_000_000)].into_iter());
        metrics.jwks_refreshed([("https://id.example.com", 1_800_000_000)].into_iter());
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        assert!(!text.contains("old.example.com"), "{text}");
        let totals = metrics.totals();
        assert_eq!(totals.outcomes().collect::<Vec<_>>(), Outcome::ALL.iter().map(|one| (*one, 1)).collect::<Vec<_>>());
        assert_eq!(totals.reasons().count(), Reason::ALL.len());
        for line in [
            "dpop_gate_requests_total{outcome=\"allowed\",route=\"orders\"} 1",
            "dpop_gate_requests_total{outcome=\"answered\",route=\"orders\"} 1",
            "dpop_gate_refusals_total{reason=\"replayed\",route=\"orders\"} 1",
            "dpop_gate_upstream_errors_total{kind=\"connect\",upstream=\"orders\"} 1",
            "dpop_gate_nonce_challenges_total{route=\"orders\"} 1",
            "dpop_gate_replay_entries 0",
            "dpop_gate_replay_store_errors_total{store=\"memory\"} 1",
            "dpop_gate_replay_store_up{store=\"redis\"} 1",
            "dpop_gate_token_cache_total{result=\"hit\"} 1",
            "dpop_gate_jwks_refresh_total{issuer=\"https://id.example.com\",result=\"ok\"} 1",
            "dpop_gate_jwks_refreshed_timestamp_seconds{issuer=\"https://id.example.com\"} 1800000000",
            "dpop_gate_key_tables 0",
            "dpop_gate_key_tables_built_total 0",
            "dpop_gate_signatures_checked_total{by=\"curve\"} 0",
            "dpop_gate_signatures_checked_total{by=\"library\"} 0",
            "dpop_gate_signatures_checked_total{by=\"table\"} 0",
            "dpop_gate_traces_total{result=\"dropped\"} 1",
            "dpop_gate_connections 0",
            "dpop_gate_decision_seconds_count 0",
            "dpop_gate_request_seconds_count{route=\"orders\"} 5",
            "dpop_gate_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
