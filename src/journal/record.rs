//! The record of one request: what is counted and what the access log says of it (contract sections 4 and 5).

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use tracing::Level;

use crate::clock::Timestamp;
use crate::gate::Admission;
use crate::jose::Thumbprint;
use crate::metrics::{Outcome, Reason, RouteMetrics};
use crate::policy::Route;
use crate::target::{Peer, Target, Trust, push_ip};

use super::client::client_address;
use super::trace::Ending;
use super::{Identifiers, Lap, Recent, RecentRefusal, Traced, Tracer};

/// The status in the log of a request whose client went away before there was an answer: nobody was sent it.
const CLIENT_GONE: u16 = 499;
/// Of IPv6, in full.
const LONGEST_IP: usize = 39;

/// What is known of a request so far. Counts, logs and traces it exactly once: when it is finished, else when it is
/// dropped, which is what hyper does to a request whose client went away.
#[derive(Debug)]
pub struct Record {
    /// By which names it is found again.
    pub identifiers: Identifiers,
    /// The method, as the client meant it.
    pub method: Method,
    /// What the client addressed.
    pub target: Option<Target>,
    /// The route that it matched.
    pub route: Option<Arc<Route>>,
    /// Leave to go upstream.
    pub admission: Option<Arc<Admission>>,
    /// What CORS tells the asking origin.
    pub allowed_origin: Option<HeaderValue>,
    /// The decision.
    pub decision: Option<Lap>,
    /// The upstream, to its response head.
    pub upstream: Option<Lap>,
    /// Of a request that was refused, or would have been: the key that its proof names, proved or not.
    pub claimed_key: Option<Thumbprint>,
    /// Of a request that is traced. Without a tracer this is all there is of tracing: an absence.
    pub traced: Option<Box<Traced>>,
    recent: Arc<Recent>,
    pub(super) now: Timestamp,
    pub(super) started: Instant,
    unrouted: Arc<RouteMetrics>,
    line: Option<Line>,
    finished: bool,
}

/// What only the log needs; absent where it is off.
#[derive(Debug)]
struct Line {
    client: IpAddr,
    /// As it came, until there is a target.
    path: Option<String>,
}

impl Record {
    /// Begins with what every request has.
    pub fn begin(
        (method, uri, headers): (&Method, &Uri, &HeaderMap),
        peer: &Peer,
        trust: &Trust,
        (unrouted, recent, tracer): (&Arc<RouteMetrics>, &Arc<Recent>, Option<&Arc<Tracer>>),
        now: Timestamp,
    ) -> Self {
        let line = tracing::enabled!(target: "dpop_gate::access", Level::INFO).then(|| {
            let believed = |ip: IpAddr| trust.believes(&Peer { ip, ..peer.clone() });
            let path = uri.path();
            Line {
                client: client_address(headers, peer.ip, believed),
                path: path.bytes().all(|byte| byte.is_ascii_graphic()).then(|| path.to_owned()),
            }
        });
        let mut identifiers = Identifiers::of(headers);
        Self {
            traced: tracer.and_then(|tracer| tracer.begin(headers, &mut identifiers)),
            identifiers,
            method: method.clone(),
            target: None,
            route: None,
            admission: None,
            allowed_origin: None,
            decision: None,
            upstream: None,
            recent: Arc::clone(recent),
            now,
            claimed_key: None,
            started: Instant::now(),
            unrouted: Arc::clone(unrouted),
            line,
            finished: false,
        }
    }

    /// Counts, logs and traces.
    pub fn finish(mut self, outcome: Outcome, reason: Option<Reason>, status: StatusCode) {
        self.close(outcome, reason, Some(status.as_u16()));
    }

    /// `answered` is absent where the client went away before.
    fn close(&mut self, outcome: Outcome, refused: Option<Reason>, answered: Option<u16>) {
        self.finished = true;
        let status = answered.unwrap_or(CLIENT_GONE);
        let reported = self.admission.as_ref().and_then(|admission| admission.reported());
        let reason = refused.or(reported.map(|refusal| refusal.reason()));
        let metrics = self.route.as_ref().map_or(&self.unrouted, |route| &route.metrics);
        metrics.finished(outcome, self.started.elapsed());
        if let Some(reason) = reason {
            metrics.refused(reason);
            let (at, jkt) = (self.now, self.claimed_key);
            let route = || self.route.as_ref().map(|route| route.metrics.label().to_owned());
            self.recent.note(at, || RecentRefusal { at, route: route(), reason, status, jkt });
        }
        if matches!(refused, Some(Reason::NonceMissing | Reason::NonceInvalid)) {
            metrics.challenged();
        }
        if let Some(line) = &self.line {
            self.log(line, metrics, outcome, reason, status);
        }
        if let Some(traced) = self.traced.take() {
            traced.finish(self, &Ending { outcome, reason, status: answered });
        }
    }

    fn log(&self, line: &Line, metrics: &RouteMetrics, outcome: Outcome, reason: Option<Reason>, status: u16) {
        let token = self.admission.as_ref().and_then(|admission| admission.token());
        let claim = |name| token.and_then(|token| token.claim(name)).and_then(|claim| claim.as_str());
        let jkt = self.admission.as_ref().and_then(|admission| admission.jkt()).map(Thumbprint::to_text);
        let mut client = String::with_capacity(LONGEST_IP);
        push_ip(&mut client, line.client);
        let [decision, upstream] = [self.decision, self.upstream].map(|lap| lap.and_then(|lap| lap.took()));
        tracing::info!(
            target: "dpop_gate::access",
            request_id = self.identifiers.request_id(),
            trace_id = self.identifiers.trace_id(),
            client_addr = client.as_str(),
            method = self.method.as_str(),
            path = self.target.as_ref().map(Target::path).or(line.path.as_deref()),
            route = metrics.label(),
            status,
            outcome = outcome.as_str(),
            reason = reason.map(Reason::as_str),
            sub = claim("sub").as_deref(),
            client_id = claim("client_id").as_deref(),
            jkt = jkt.as_ref().and_then(|jkt| std::str::from_utf8(jkt).ok()),
            decision_us = decision.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            upstream_ms = upstream.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.finished {
            self.close(Outcome::Failed, None, None);
        }
    }
}
