//! Forward authentication for other proxies: the original request out of what they say of it, then the same gate.
//!
//! [`ForwardAuth`] is asked over HTTP (nginx, Traefik, Caddy), [`ExtAuthz`] over gRPC (Envoy). Both only read and
//! render; what is decided, and what an upstream may be told, stands here once.
//!
//! Only trusted peers are answered: whoever may say what the original request was could otherwise make any proof fit.

mod envoy;
mod original;
mod permit;
mod subrequest;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::clock::{Clock, Timestamp};
use crate::dpop::DPOP;
use crate::gate::{Facts, Gate, Refusal, Reply, Spend, allowed_origin, write_cors};
use crate::journal::{Lap, Recent, Record, Tracer};
use crate::metrics::{Outcome, RouteMetrics};
use crate::policy::Route;
use crate::target::{Account, Peer, Trust};

use permit::Permit;

pub use envoy::{ExtAuthz, Ready};
pub use original::{Original, Source};

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
    /// Who traces requests, if anybody does.
    pub tracer: Option<Arc<Tracer>>,
}

/// The decision for other proxies; over HTTP it is a listener's door.
#[derive(Debug)]
pub struct ForwardAuth {
    live: Arc<ArcSwap<Live>>,
    clock: Clock,
    spend: Spend,
    account: Account,
}

/// A request that another proxy wants decided.
struct Asked<'a> {
    original: Original,
    /// The client's.
    headers: &'a HeaderMap,
    /// Who is to have shown a client certificate.
    peer: &'a Peer,
    /// The name of the route that the proxy says it is; `None` for the first that matches.
    route: Option<&'a str>,
}

/// What the proxy is told.
enum Verdict {
    /// Forward it, changed so.
    Permit(Permit),
    /// Answer it so, and ask nobody else: a preflight, or a document of the gate's.
    Answer(Reply, Permit),
    /// Answer it so.
    Refuse(Reply),
}

impl ForwardAuth {
    /// A door over a configuration that may be swapped under it.
    pub fn new(live: Arc<ArcSwap<Live>>, clock: Clock, spend: Spend, account: Account) -> Self {
        Self { live, clock, spend, account }
    }

    /// Decides, counts and logs.
    async fn judge(
        &self,
        live: &Live,
        asked: Result<Asked<'_>, Refusal>,
        mut record: Record,
        now: Timestamp,
    ) -> Verdict {
        let decided = match asked {
            Ok(asked) => self.decide(live, asked, &mut record, now).await,
            Err(refusal) => Err(refusal),
        };
        let reported = record.admission.as_ref().is_some_and(|admission| admission.reported().is_some());
        let (outcome, reason, mut verdict) = match decided {
            Ok(verdict @ Verdict::Answer(..)) => (Outcome::Answered, None, verdict),
            // Of a preflight that the upstream answers nothing was judged.
            Ok(verdict) if record.admission.is_none() => (Outcome::Answered, None, verdict),
            Ok(verdict) => (if reported { Outcome::Reported } else { Outcome::Allowed }, None, verdict),
            Err(refusal) => {
                let reply = live.gate.refuse(refusal, record.route.as_deref(), record.target.as_ref(), now);
                (Outcome::Refused, Some(refusal.reason()), Verdict::Refuse(reply))
            }
        };
        let cors = record.route.as_ref().and_then(|route| route.cors.as_ref());
        let (status, headers) = verdict.towards_client();
        record.identifiers.answer_by_ourselves(headers);
        if let Some(cors) = cors.filter(|_| outcome != Outcome::Answered) {
            write_cors(headers, cors, record.allowed_origin.take());
        }
        record.finish(outcome, reason, status);
        verdict
    }

    async fn decide(
        &self,
        live: &Live,
        asked: Asked<'_>,
        record: &mut Record,
        now: Timestamp,
    ) -> Result<Verdict, Refusal> {
        let gate = &live.gate;
        let Asked { original, headers, peer, route } = asked;
        record.method = original.method;
        let target = &*record.target.insert(original.target);
        if let Some(preflight) = gate.preflight(&record.method, target, headers).filter(|_| is_anonymous(headers)) {
            record.route.clone_from(&preflight.route);
            let permit = Permit::of_nobody(gate, headers);
            match (original.source, preflight.route) {
                (Source::Itself, _) => return Ok(Verdict::Answer(preflighted(preflight.headers), permit)),
                // Their proxies can pass on no success of ours: the upstream answers it.
                (Source::Told, Some(_)) => return Ok(Verdict::Permit(permit)),
                (Source::Told, None) => {}
            }
        }
        if original.source == Source::Itself
            && let Some(document) = gate.well_known(&record.method, target)
        {
            return Ok(Verdict::Answer(document, Permit::of_nobody(gate, headers)));
        }
        let route = match route {
            Some(name) => gate.routes.named(name).ok_or(Refusal::NoRoute)?,
            None => gate.route(&record.method, target)?,
        };
        let route: &Route = record.route.insert(Arc::clone(route));
        record.allowed_origin = route.cors.as_ref().and_then(|cors| allowed_origin(cors, headers));
        let methods = [record.method.as_str()];
        let facts = Facts { methods: &methods, target, headers, peer, spend: self.spend };
        let decision = record.decision.insert(Lap::begin());
        let waits = record.traced.as_ref().map(|traced| &traced.waits);
        let admitted = gate.admit(route, &facts, now, waits).await;
        gate.metrics.decision_seconds.observe(decision.end().as_secs_f64());
        if admitted.as_ref().map_or(true, |admission| admission.reported().is_some()) {
            record.claimed_key = live.recent.claimed_key(headers, now);
        }
        let admission = record.admission.insert(Arc::new(admitted?));
        Ok(Verdict::Permit(Permit::of(gate, admission, route, headers, now)))
    }
}

impl Live {
    fn record(&self, head: (&Method, &Uri, &HeaderMap), peer: &Peer, now: Timestamp) -> Record {
        Record::begin(head, peer, &self.trust, (&self.unrouted, &self.recent, self.tracer.as_ref()), now)
    }
}

impl Verdict {
    /// What the client is told in any case, and the status that counts.
    fn towards_client(&mut self) -> (StatusCode, &mut HeaderMap) {
        match self {
            Self::Permit(permit) => (StatusCode::OK, &mut permit.client),
            Self::Answer(reply, _) | Self::Refuse(reply) => (reply.status(), reply.headers_mut()),
        }
    }
}

/// The Fetch standard, section 3.2.1: a preflight carries no credentials. What does is decided like any request.
fn is_anonymous(headers: &HeaderMap) -> bool {
    !headers.contains_key(http::header::AUTHORIZATION) && !headers.contains_key(DPOP)
}

fn preflighted(headers: HeaderMap) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = StatusCode::NO_CONTENT;
    *reply.headers_mut() = headers;
    reply.headers_mut().insert(http::header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}
