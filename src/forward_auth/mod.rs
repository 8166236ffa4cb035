//! Forward authentication for other proxies: the original request out of headers, then the same gate.
//!
//! Only trusted peers are answered: whoever may say what the original request was could otherwise make any proof fit.

mod original;

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::CACHE_CONTROL;
use http::request::Parts;
use http::{HeaderValue, Method, Response};

use crate::clock::{Clock, Timestamp};
use crate::gate::{Admission, DPOP_NONCE, Facts, Gate, Refusal, Reply, Spend};
use crate::metrics::RouteMetrics;
use crate::policy::Route;
use crate::target::{Peer, Target, Trust};

use original::Original;

/// One configuration, running.
#[derive(Debug)]
pub struct Live {
    /// The rules, those of the proxy door.
    pub gate: Arc<Gate>,
    /// Who may ask, and how clients address what stands behind the asking proxy.
    pub trust: Trust,
    /// What counts requests without a route (label `none`).
    pub unrouted: Arc<RouteMetrics>,
}

/// A forward-auth listener's door.
#[derive(Debug)]
pub struct ForwardAuth {
    live: Arc<ArcSwap<Live>>,
    clock: Clock,
    spend: Spend,
}

/// What is known of a decision: for the one place that counts and logs it.
struct Journey {
    method: Method,
    target: Option<Target>,
    route: Option<Arc<Route>>,
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
        let mut journey = Journey { method: parts.method.clone(), target: None, route: None };
        let decision = self.decide(&live, parts, peer, &mut journey, now).await;
        let route = journey.route.as_deref();
        match decision {
            Ok(admission) => permit(&live.gate, &admission, route, now),
            Err(refusal) => live.gate.refuse(refusal, route, journey.target.as_ref(), now),
        }
    }

    async fn decide(
        &self,
        live: &Live,
        parts: &Parts,
        peer: &Peer,
        journey: &mut Journey,
        now: Timestamp,
    ) -> Result<Admission, Refusal> {
        if !live.trust.believes(peer) {
            return Err(Refusal::UntrustedPeer);
        }
        let original = Original::of(parts, peer, &live.trust)?;
        let target = journey.target.insert(original.target);
        journey.method = original.method;
        let route = journey.route.insert(Arc::clone(live.gate.route(&journey.method, target)?));
        let methods = [journey.method.as_str()];
        let facts = Facts { methods: &methods, target, headers: &parts.headers, peer, spend: self.spend };
        live.gate.admit(route, &facts, now).await
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
