//! The walk through the decision: the gate's own code, looked on.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

use http::Method;
use ipnet::IpNet;
use serde_json::{Map, Value, json};

use crate::clock::Timestamp;
use crate::forward_auth::Original;
use crate::gate::{Facts, Refusal, Spend, Step, Witness};
use crate::issuer::Issuers;
use crate::jose::{Compact, StrictValue};
use crate::policy::Route;
use crate::proxy;
use crate::secret::{AccessToken, TokenDigest};
use crate::target::{Account, Peer, Scheme, Target, Trust};
use crate::token::{ClaimRules, TokenError, VerifiedToken};

use super::Capture;
use super::reading::Reading;
use super::rules::{Rules, Source};

/// Whose forwarding headers nobody should believe: an address for documentation (RFC 5737).
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Longest token that is read, in bytes.
const TOKEN_BYTES: usize = 16 * 1024;

/// How far it went.
pub(super) struct Walk {
    /// The steps that were reached, in that order.
    pub(super) steps: Vec<Step>,
    /// Why the last of them failed.
    pub(super) refusal: Option<Refusal>,
    pub(super) target: Option<Target>,
    /// The method that was judged: a proxy's question is about another one than its own.
    pub(super) method: Option<Method>,
    pub(super) route: Option<Arc<Route>>,
    /// Who answers instead, where no check is made.
    pub(super) answered: Option<&'static str>,
}

/// Walks.
pub(super) async fn walk(
    rules: &Rules,
    capture: &Capture,
    reading: &Reading,
    peer: Option<IpAddr>,
    now: Timestamp,
) -> Walk {
    let onlooker = Onlooker {
        steps: Mutex::default(),
        proof_key: (rules.source == Source::Rfc).then(|| reading.proof_key().unwrap_or_default()),
        skew: rules.gate.proof.clock_skew,
    };
    let mut walk = Walk { steps: Vec::new(), refusal: None, target: None, method: None, route: None, answered: None };
    let ended = journey(rules, capture, peer, now, &onlooker, &mut walk).await;
    walk.refusal = ended.err();
    walk.steps = onlooker.steps.into_inner().unwrap_or_else(PoisonError::into_inner);
    walk
}

/// A request as a door takes it.
struct Taken {
    method: Method,
    target: Target,
    peer: Peer,
}

/// The same way that a request takes through `proxy::handle` or `forward_auth`, as far as the decision.
async fn journey(
    rules: &Rules,
    capture: &Capture,
    peer: Option<IpAddr>,
    now: Timestamp,
    onlooker: &Onlooker,
    walk: &mut Walk,
) -> Result<(), Refusal> {
    let gate = &rules.gate;
    onlooker.reached(Step::Target);
    let question = rules.question(&capture.headers);
    let taken = match question {
        Some((trust, account)) => asked(trust, account, capture, peer)?,
        None => called(rules, capture, peer)?,
    };
    let Taken { method, target, peer } = taken;
    let (method, target) = (&*walk.method.insert(method), &*walk.target.insert(target));
    let by_proxy = rules.source == Source::Config && question.is_none();
    if by_proxy && gate.preflight(method, target, &capture.headers).is_some() {
        walk.answered = Some("a browser's preflight, which the gate answers by itself");
        return Ok(());
    }
    if by_proxy && gate.well_known(method, target).is_some() {
        walk.answered = Some("a document that the gate answers by itself");
        return Ok(());
    }
    onlooker.reached(Step::Route);
    let route = &*walk.route.insert(Arc::clone(gate.route(method, target)?));
    if by_proxy {
        onlooker.reached(Step::Size);
        proxy::within_limit(capture.body_bytes, rules.body_bytes)?;
    }
    let methods = [method.as_str()];
    let facts = Facts { methods: &methods, target, headers: &capture.headers, peer: &peer, spend: Spend::Check };
    gate.rehearse(route, &facts, now, onlooker).await
}

/// A client's request, at a proxy listener.
fn called(rules: &Rules, capture: &Capture, peer: Option<IpAddr>) -> Result<Taken, Refusal> {
    let peer = Peer { ip: peer.unwrap_or(STRANGER), scheme: rules.scheme(capture.scheme), client_certificate: None };
    let target = Target::of(&capture.uri, &capture.headers, &peer, &rules.gate.trust)?;
    Ok(Taken { method: capture.method.clone(), target, peer })
}

/// A proxy's question, at a forward_auth listener. Where nobody says who asked, it is taken for one that may.
fn asked(trust: &Trust, account: Account, capture: &Capture, peer: Option<IpAddr>) -> Result<Taken, Refusal> {
    let trusted = trust.proxies.first().map_or(STRANGER, IpNet::addr);
    let peer = Peer { ip: peer.unwrap_or(trusted), scheme: Scheme::Http, client_certificate: None };
    if !trust.believes(&peer) {
        return Err(Refusal::UntrustedPeer);
    }
    let head = (&capture.method, &capture.uri, &capture.headers);
    let Original { method, target, .. } = Original::told(head, &peer, trust, account)?;
    Ok(Taken { method, target, peer })
}

struct Onlooker {
    steps: Mutex<Vec<Step>>,
    /// Without a configuration: the thumbprint of the proof's key, to which an opaque token is taken to be bound.
    proof_key: Option<String>,
    skew: std::time::Duration,
}

impl Witness for Onlooker {
    fn reached(&self, step: Step) {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner).push(step);
    }

    async fn vouch(
        &self,
        _: &Issuers,
        token: &AccessToken,
        _: &TokenDigest,
        now: Timestamp,
    ) -> Option<Result<Arc<VerifiedToken>, TokenError>> {
        let proof_key = self.proof_key.as_ref()?;
        let claims = claims_of(token).unwrap_or_else(|| match json!({"cnf": {"jkt": proof_key}}) {
            Value::Object(claims) => claims,
            _ => Map::new(),
        });
        // Taken at its word, as an issuer's answer would be: what is not said is not held against it.
        let issuer = claims.get("iss").and_then(Value::as_str).unwrap_or_default().to_owned();
        let rules = ClaimRules { issuer, audiences: Vec::new() };
        Some(VerifiedToken::check_introspected(claims, &rules, now, self.skew).map(Arc::new))
    }
}

/// The claims of a JWT; `None` where the token is opaque.
fn claims_of(token: &AccessToken) -> Option<Map<String, Value>> {
    let compact = Compact::parse(token.reveal(), TOKEN_BYTES).ok()?;
    StrictValue::parse(compact.payload())?.into_object()
}
