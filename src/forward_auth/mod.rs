//! Forward authentication for other proxies: the original request out of headers, then the same gate.
//!
//! Only trusted peers are answered: whoever may say what the original request was could otherwise make any proof fit.

mod original;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Response};

use crate::clock::{Clock, Timestamp};
use crate::gate::{Admission, DPOP_NONCE, Facts, Gate, Refusal, Reply, Spend};
use crate::journal::{Recent, Record};
use crate::metrics::{Outcome, RouteMetrics};
use crate::policy::Route;
use crate::target::{Peer, Trust};

pub use original::Original;

/// One configuration, running.
#[derive(Debug)]
pub struct Live {
    /// The rules, those of the proxy door.
    pub gate: Arc<Gate>,
    /// Who may ask, and how clients address what stands behind the asking proxy.
    pub trust: Trust,
    /// What counts requests without a route (label `none`).
    pub unrouted: Arc<RouteMetrics>,
    /// The latest refusals, for the status page.
    pub recent: Arc<Recent>,
}

/// A forward-auth listener's door.
#[derive(Debug)]
pub struct ForwardAuth {
    live: Arc<ArcSwap<Live>>,
    clock: Clock,
    spend: Spend,
}

impl ForwardAuth {
    /// A door over a configuration that may be swapped under it.
    pub fn new(live: Arc<ArcSwap<Live>>, clock: Clock, spend: Spend) -> Self {
        Self { live, clock, spend }
    }

    /// Decides on the request that `parts` describes: 200 with the identity headers, or the refusal.
    pub async fn handle(&self, parts: &Parts, peer: &Peer) -> Reply {
        let live = self.live.load_full();
        let now = self.clock.now();
        let mut record = Record::begin(
            (&parts.method, &parts.uri, &parts.headers),
            peer,
            &live.trust,
            (&live.unrouted, &live.recent),
            now,
        );
        let decided = self.decide(&live, parts, peer, &mut record, now).await;
        let route = record.route.as_deref();
        let (outcome, reason, mut reply) = match decided {
            Ok(admission) => {
                let outcome = if admission.reported().is_some() { Outcome::Reported } else { Outcome::Allowed };
                (outcome, None, permit(&live.gate, &admission, route, now))
            }
            Err(refusal) => {
                let reply = live.gate.refuse(refusal, route, record.target.as_ref(), now);
                (Outcome::Refused, Some(refusal.reason()), reply)
            }
        };
        record.identifiers.answer_by_ourselves(reply.headers_mut());
        record.finish(outcome, reason, reply.status());
        reply
    }

    async fn decide(
        &self,
        live: &Live,
        parts: &Parts,
        peer: &Peer,
        record: &mut Record,
        now: Timestamp,
    ) -> Result<Arc<Admission>, Refusal> {
        if !live.trust.believes(peer) {
            return Err(Refusal::UntrustedPeer);
        }
        let original = Original::of(parts, peer, &live.trust)?;
        record.method = original.method;
        let target = &*record.target.insert(original.target);
        let route = &*record.route.insert(Arc::clone(live.gate.route(&record.method, target)?));
        let methods = [record.method.as_str()];
        let facts = Facts { methods: &methods, target, headers: &parts.headers, peer, spend: self.spend };
        let began = Instant::now();
        let admitted = live.gate.admit(route, &facts, now).await;
        record.decision = Some(began.elapsed());
        live.gate.metrics.decision_seconds.observe(began.elapsed().as_secs_f64());
        if admitted.as_ref().map_or(true, |admission| admission.reported().is_some()) {
            record.claimed_key = live.recent.claimed_key(&parts.headers, now);
        }
        Ok(Arc::clone(record.admission.insert(Arc::new(admitted?))))
    }
}

fn permit(gate: &Gate, admission: &Admission, route: Option<&Route>, now: Timestamp) -> Reply {
    let mut reply = Response::new(Bytes::new());
    let headers = reply.headers_mut();
    if let Some(route) = route {
        headers.extend(gate.identity_headers(admission, route, now));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(nonce) = admission.nonce().and_then(|nonce| HeaderValue::from_str(nonce).ok()) {
        headers.insert(DPOP_NONCE, nonce);
    }
    reply
}
