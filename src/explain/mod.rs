//! Why was this refused? A captured request walks through the gate's own checks, each told as passed, failed or not
//! reached, with what was expected, what was found, and the remedy.
//!
//! Nothing is spent and nothing opened: the replay store that is looked into is an empty one. Nothing of a token, proof
//! or nonce is told but the first few characters.

mod capture;
mod finding;
mod reading;
mod report;
mod rules;
#[cfg(test)]
mod tests;
mod walk;

use std::net::IpAddr;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};

use crate::clock::Timestamp;
use crate::dpop::ProofError;
use crate::gate::{Refusal, Step};
use crate::policy::Auth;

pub use capture::{Capture, CaptureError, Form, MAX_CAPTURE_BYTES};
pub use finding::cannot_show;
pub use rules::{Rules, RulesError};

use reading::Reading;
use rules::NonceKnowledge;
use walk::Walk;

/// A request, judged.
pub struct Explanation<'a> {
    rules: &'a Rules,
    capture: &'a Capture,
    reading: Reading,
    now: Timestamp,
    peer: Option<IpAddr>,
    walk: Walk,
    /// There is a nonce, and nobody here can tell whether it is a good one.
    nonce_unjudged: bool,
}

/// Judges a request as of `now`. `peer` is who sent it to the gate, if that is known.
pub async fn explain<'a>(
    capture: &'a Capture,
    rules: &'a mut Rules,
    peer: Option<IpAddr>,
    now: Timestamp,
) -> Explanation<'a> {
    let reading = Reading::of(&capture.headers);
    let mut walk = walk::walk(rules, capture, &reading, peer, now).await;
    // The secret that would tell lives in a process. That there is a nonce was judged; the rest goes on without it.
    let unknown =
        rules.nonces == NonceKnowledge::Random && walk.refusal == Some(Refusal::Proof(ProofError::NonceInvalid));
    if unknown {
        rules.gate.nonces = None;
        walk = walk::walk(rules, capture, &reading, peer, now).await;
    }
    Explanation { rules, capture, reading, now, peer, walk, nonce_unjudged: unknown }
}

impl Explanation<'_> {
    /// Whether every check has passed.
    pub fn passed(&self) -> bool {
        self.walk.refusal.is_none()
    }

    /// Why it is refused.
    pub fn refusal(&self) -> Option<Refusal> {
        self.walk.refusal
    }

    /// The method that was judged.
    fn method(&self) -> &Method {
        self.walk.method.as_ref().unwrap_or(&self.capture.method)
    }

    /// The step that failed.
    pub fn failed(&self) -> Option<Step> {
        self.walk.refusal.and(self.walk.steps.last().copied())
    }
}

/// What a request without a configuration is: one to a token endpoint (RFC 9449 section 5) posts a form and shows no
/// access token; everything else goes to a protected resource.
pub fn addressee(capture: &Capture) -> Auth {
    let text = |headers: &HeaderMap, name: http::HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_ascii_lowercase).unwrap_or_default()
    };
    let authorization = text(&capture.headers, http::header::AUTHORIZATION);
    let has_token = authorization.starts_with("dpop") || authorization.starts_with("bearer");
    let form = text(&capture.headers, CONTENT_TYPE).starts_with("application/x-www-form-urlencoded");
    if capture.method == Method::POST && form && !has_token { Auth::TokenEndpoint } else { Auth::Dpop }
}
