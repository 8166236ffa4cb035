//! The one place that turns a [`Refusal`] into HTTP (contract section 3).

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::clock::Timestamp;
use crate::dpop::ProofError;
use crate::policy::{Auth, Route};
use crate::replay::ReplayError;
use crate::target::{Target, TargetError};
use crate::token::TokenError;

use super::{Gate, Refusal};

/// RFC 9449 section 8.1.
pub const DPOP_NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// An answer of the gate's own.
pub type Reply = Response<Bytes>;

/// `{"error": ..., "error_description": ...}` with that status, not to be stored.
pub fn error_reply(status: StatusCode, error: &str, description: &str) -> Reply {
    // RFC 6749 section 5.2.
    const WITHOUT_TEXTS: usize = r#"{"error":"","error_description":""}"#.len();
    let mut body = String::with_capacity(WITHOUT_TEXTS + error.len() + description.len());
    for (before, text) in [(r#"{"error":"#, error), (r#","error_description":"#, description)] {
        body.push_str(before);
        push_json(&mut body, text);
    }
    body.push('}');
    let mut reply = Response::new(Bytes::from(body));
    *reply.status_mut() = status;
    let headers = reply.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    reply
}

/// Appends a text as JSON. Ours have nothing to escape.
fn push_json(json: &mut String, text: &str) {
    // Without a branch: many bytes are looked at in one go.
    if text.bytes().fold(false, |bad, byte| bad | matches!(byte, b'"' | b'\\' | ..b' ')) {
        // A text is always JSON.
        json.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        for part in ["\"", text, "\""] {
            json.push_str(part);
        }
    }
}

/// Who is told: which part of the protocol a route speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    /// A client of a protected resource (RFC 9449 section 7).
    Resource,
    /// A client of a token endpoint (RFC 9449 section 5): JSON alone, status 400.
    TokenEndpoint,
}

/// Which challenges go along, and whether they name the error.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Challenge {
    /// The error is nobody's credentials': only where a protected resource is concerned.
    None,
    /// RFC 6750 section 3.1: "If the request lacks any authentication information [...] the resource server SHOULD NOT
    /// include an error code".
    Bare,
    /// The error belongs to the proof, so only the `DPoP` challenge names it.
    Proof,
    /// The error belongs to the token or the request: every challenge names it.
    Token,
}

impl Gate {
    /// Renders a refusal for a client: status, challenge, nonce and body of the contract's table. `route` and `target`
    /// as far as they are known.
    pub fn refuse(&self, refusal: Refusal, route: Option<&Route>, target: Option<&Target>, now: Timestamp) -> Reply {
        let audience = match route.map(|route| route.auth) {
            Some(Auth::TokenEndpoint) => Audience::TokenEndpoint,
            Some(Auth::Dpop | Auth::DpopOrBearer | Auth::Public) | None => Audience::Resource,
        };
        let (status, error, challenge) = wire(refusal, audience);
        let description = describe(refusal, audience);
        let mut reply = error_reply(status, error, &description);
        let headers = reply.headers_mut();
        let nonce = if carries_nonce(status, challenge, audience) { self.fresh_nonce(now) } else { None };
        if let Some(nonce) = nonce.and_then(|nonce| HeaderValue::try_from(nonce).ok()) {
            headers.insert(DPOP_NONCE, nonce);
        }
        if let Some(wait) = refusal.retry_after() {
            // RFC 9110 section 10.2.3: whole seconds; rounded up, so that who obeys is not early.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        // The contract has a challenge with every refusal at a protected resource, also where credentials would change
        // nothing (RFC 9110 section 11.6.1 allows it); elsewhere only with those that ask for some.
        let protected = route.map(|route| matches!(route.auth, Auth::Dpop | Auth::DpopOrBearer));
        if audience == Audience::Resource && protected.unwrap_or(challenge != Challenge::None) {
            for value in self.challenges(challenge, error, &description, refusal, route, target) {
                if let Ok(value) = HeaderValue::try_from(value) {
                    headers.append(WWW_AUTHENTICATE, value);
                }
            }
        }
        reply
    }

    /// RFC 9449 section 7.1, and beside it RFC 6750 section 3 where bearer tokens are still taken (section 7.2).
    fn challenges(
        &self,
        challenge: Challenge,
        error: &str,
        description: &str,
        refusal: Refusal,
        route: Option<&Route>,
        target: Option<&Target>,
    ) -> Vec<String> {
        let unmet = matches!(refusal, Refusal::InsufficientScope | Refusal::ClaimMismatch);
        let scopes = route.map(|route| &route.require.scopes).filter(|scopes| unmet && !scopes.is_empty());
        let common = |text: &mut String| {
            if let Some(scopes) = scopes {
                attribute(text, "scope", scopes.iter().map(String::as_str));
            }
            if let Some(target) = target {
                begin(text, "resource_metadata");
                Self::resource_metadata_url(target).iter().for_each(|part| text.push_str(part));
                text.push('"');
            }
        };
        let named = |text: &mut String| {
            attribute(text, "error", [error]);
            attribute(text, "error_description", [description]);
        };

        let mut dpop = String::with_capacity(CHALLENGE_BYTES);
        dpop.push_str("DPoP");
        if challenge != Challenge::Bare {
            named(&mut dpop);
        }
        attribute(&mut dpop, "algs", self.proof.algorithms.iter().map(|algorithm| algorithm.name()));
        common(&mut dpop);
        let mut challenges = vec![dpop];
        if route.is_some_and(|route| route.auth == Auth::DpopOrBearer) {
            let mut bearer = String::with_capacity(CHALLENGE_BYTES);
            bearer.push_str("Bearer");
            if matches!(challenge, Challenge::None | Challenge::Token) {
                named(&mut bearer);
            }
            common(&mut bearer);
            challenges.push(bearer);
        }
        challenges
    }
}

/// Most challenges are shorter.
const CHALLENGE_BYTES: usize = 320;

/// Appends a parameter (RFC 9110 section 11.2): words that need no escape, with a space between them.
fn attribute<'a>(challenge: &mut String, name: &str, words: impl IntoIterator<Item = &'a str>) {
    begin(challenge, name);
    for (at, word) in words.into_iter().enumerate() {
        if at > 0 {
            challenge.push(' ');
        }
        challenge.push_str(word);
    }
    challenge.push('"');
}

/// Appends what stands in front of a parameter's value.
fn begin(challenge: &mut String, name: &str) {
    // Behind the scheme comes a space, behind a parameter a comma.
    challenge.push_str(if challenge.ends_with('"') { ", " } else { " " });
    challenge.push_str(name);
    challenge.push_str("=\"");
}

/// The contract's table. A total match: a new refusal has to choose its row.
fn wire(refusal: Refusal, audience: Audience) -> (StatusCode, &'static str, Challenge) {
    // RFC 9449 section 5: a token endpoint answers a bad proof with 400.
    let proof_status = match audience {
        Audience::Resource => StatusCode::UNAUTHORIZED,
        Audience::TokenEndpoint => StatusCode::BAD_REQUEST,
    };
    let unavailable = (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable", Challenge::None);
    let invalid_token = (StatusCode::UNAUTHORIZED, "invalid_token", Challenge::Token);
    let invalid_proof = (proof_status, "invalid_dpop_proof", Challenge::Proof);
    match refusal {
        Refusal::MissingToken => (StatusCode::UNAUTHORIZED, "unauthorized", Challenge::Bare),
        Refusal::MultipleCredentials => (StatusCode::BAD_REQUEST, "invalid_request", Challenge::Token),
        Refusal::MalformedToken | Refusal::TokenNotBound | Refusal::BoundTokenAsBearer => invalid_token,
        Refusal::Token(error) => match error {
            TokenError::IssuerUnavailable => unavailable,
            TokenError::Malformed
            | TokenError::Signature
            | TokenError::Expired
            | TokenError::NotYetValid
            | TokenError::UnknownIssuer
            | TokenError::WrongAudience
            | TokenError::NotBound
            | TokenError::Inactive => invalid_token,
        },
        Refusal::Proof(error) => match error {
            ProofError::NonceMissing | ProofError::NonceInvalid => (proof_status, "use_dpop_nonce", Challenge::Proof),
            // RFC 9449 section 7.1: a token that is not bound to the proof's key is the token's fault.
            ProofError::KeyMismatch => invalid_token,
            ProofError::Missing
            | ProofError::Multiple
            | ProofError::Malformed
            | ProofError::WrongTyp
            | ProofError::UnsupportedAlg
            | ProofError::InvalidJwk
            | ProofError::PrivateJwk
            | ProofError::BadSignature
            | ProofError::HtmMismatch
            | ProofError::HtuMismatch
            | ProofError::IatExpired
            | ProofError::IatInFuture
            | ProofError::AthMismatch => invalid_proof,
        },
        Refusal::Replay(error) => match error {
            ReplayError::Replayed | ReplayError::BeforeFloor | ReplayError::AheadOfStore => invalid_proof,
            // As where the gate's own memory begins: the client mends itself in one round trip.
            ReplayError::OtherLife => (proof_status, "use_dpop_nonce", Challenge::Proof),
            ReplayError::KeyQuota(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", Challenge::None),
            ReplayError::Full(_) | ReplayError::Unavailable(_) => unavailable,
        },
        Refusal::InsufficientScope | Refusal::ClaimMismatch => {
            (StatusCode::FORBIDDEN, "insufficient_scope", Challenge::Token)
        }
        Refusal::NoRoute => (StatusCode::NOT_FOUND, "not_found", Challenge::None),
        Refusal::Target(TargetError::Conflicting | TargetError::AmbiguousPath | TargetError::NoAuthority) => {
            (StatusCode::BAD_REQUEST, "invalid_request", Challenge::None)
        }
        Refusal::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request", Challenge::None),
        Refusal::UntrustedPeer => (StatusCode::FORBIDDEN, "forbidden", Challenge::None),
    }
}

/// Every 401, and at a token endpoint (which has none) every refusal of a proof.
fn carries_nonce(status: StatusCode, challenge: Challenge, audience: Audience) -> bool {
    status == StatusCode::UNAUTHORIZED || (audience == Audience::TokenEndpoint && challenge == Challenge::Proof)
}

/// Most descriptions are shorter.
const DESCRIPTION_BYTES: usize = 96;

/// What the client is told: fixed texts only, without `"` or `\` (RFC 6750 section 3).
fn describe(refusal: Refusal, audience: Audience) -> String {
    match (refusal, audience) {
        // The words of RFC 9449 sections 8 and 9, and of Okta.
        (Refusal::Proof(ProofError::NonceMissing), Audience::TokenEndpoint) => {
            "Authorization server requires nonce in DPoP proof.".to_owned()
        }
        (Refusal::Proof(ProofError::NonceMissing), Audience::Resource) => {
            "Resource server requires nonce in DPoP proof.".to_owned()
        }
        (refusal, _) => {
            // At once, where formatting would grow it three times.
            let mut text = String::with_capacity(DESCRIPTION_BYTES);
            // Writing to a String cannot fail.
            let _ = write!(text, "{refusal}");
            text
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::gate::fixture;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn challenges(reply: &Reply) -> Vec<&str> {
        reply.headers().get_all(WWW_AUTHENTICATE).iter().map(|value| value.to_str().unwrap()).collect()
    }

    #[test]
    fn a_body_is_json_whatever_its_texts() {
        for text in ["", "plain", "caf\u{e9} \u{1F600}", "a \"quote\"", "back\\slash", "new\nline", "\u{1}\u{7f}"] {
            let reply = error_reply(StatusCode::BAD_REQUEST, "error", text);
            let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
            assert_eq!(body, serde_json::json!({"error": "error", "error_description": text}));
        }
    }

    #[test]
    fn refusals_become_the_contracts_rows() {
        let rows: &[(Refusal, Auth, u16, &str, bool)] = &[
            (Refusal::MissingToken, Auth::Dpop, 401, "unauthorized", true),
            (Refusal::MultipleCredentials, Auth::Dpop, 400, "invalid_request", false),
            (Refusal::Token(TokenError::Expired), Auth::Dpop, 401, "invalid_token", true),
            (Refusal::BoundTokenAsBearer, Auth::DpopOrBearer, 401, "invalid_token", true),
            (Refusal::Proof(ProofError::KeyMismatch), Auth::Dpop, 401, "invalid_token", true),
            (Refusal::Proof(ProofError::Missing), Auth::Dpop, 401, "invalid_dpop_proof", true),
            (Refusal::Replay(ReplayError::Replayed), Auth::Dpop, 401, "invalid_dpop_proof", true),
            (Refusal::Proof(ProofError::NonceInvalid), Auth::Dpop, 401, "use_dpop_nonce", true),
            (Refusal::InsufficientScope, Auth::Dpop, 403, "insufficient_scope", false),
            (Refusal::Proof(ProofError::Missing), Auth::TokenEndpoint, 400, "invalid_dpop_proof", true),
            (Refusal::Proof(ProofError::NonceMissing), Auth::TokenEndpoint, 400, "use_dpop_nonce", true),
            (Refusal::Replay(ReplayError::Replayed), Auth::TokenEndpoint, 400, "invalid_dpop_proof", true),
            (Refusal::Replay(ReplayError::OtherLife), Auth::Dpop, 401, "use_dpop_nonce", true),
            (Refusal::Replay(ReplayError::OtherLife), Auth::TokenEndpoint, 400, "use_dpop_nonce", true),
            (Refusal::Replay(ReplayError::AheadOfStore), Auth::Dpop, 401, "invalid_dpop_proof", true),
            (Refusal::Target(TargetError::Conflicting), Auth::Dpop, 400, "invalid_request", false),
            (
                Refusal::Replay(ReplayError::KeyQuota(Duration::from_millis(1200))),
                Auth::Dpop,
                429,
                "too_many_requests",
                false,
            ),
            (Refusal::NoRoute, Auth::Dpop, 404, "not_found", false),
            (Refusal::BodyTooLarge, Auth::Dpop, 413, "invalid_request", false),
            (Refusal::Replay(ReplayError::Full(Duration::ZERO)), Auth::Dpop, 503, "temporarily_unavailable", false),
            (Refusal::Token(TokenError::IssuerUnavailable), Auth::Dpop, 503, "temporarily_unavailable", false),
            (Refusal::UntrustedPeer, Auth::Dpop, 403, "forbidden", false),
        ];
        for (refusal, auth, status, error, nonce) in rows {
            let gate = fixture::gate(*auth);
            let route = gate.routes.iter().next().unwrap();
            let reply = gate.refuse(*refusal, Some(route), None, NOW);
            let body: serde_json::Value = serde_json::from_slice(reply.body()).unwrap();
            let found =
                (reply.status().as_u16(), body["error"].as_str().unwrap(), reply.headers().contains_key(DPOP_NONCE));
            assert_eq!(found, (*status, *error, *nonce), "{refusal:?} {auth:?}");
            assert_eq!(reply.headers()[CACHE_CONTROL], "no-store");
            assert_eq!(reply.headers().contains_key(RETRY_AFTER), matches!(status, 429 | 503), "{refusal:?}");
            assert_eq!(!challenges(&reply).is_empty(), *auth != Auth::TokenEndpoint, "{refusal:?} {auth:?}");
            for challenge in challenges(&reply) {
                assert!(!challenge.contains('\\') && challenge.matches('"').count() % 2 == 0, "{challenge}");
            }
        }
    }

    #[test]
    fn a_challenge_names_the_error_unless_there_were_no_credentials() {
        let gate = fixture::gate(Auth::DpopOrBearer);
        let route = gate.routes.iter().next().unwrap();
        let bare = gate.refuse(Refusal::MissingToken, Some(route), None, NOW);
        assert_eq!(challenges(&bare), ["DPoP algs=\"ES256 EdDSA\"", "Bearer"]);
        let scope = gate.refuse(Refusal::InsufficientScope, Some(route), None, NOW);
        let named = "error=\"insufficient_scope\", \
                     error_description=\"the access token does not grant a scope that this resource requires\"";
        assert_eq!(
            challenges(&scope),
            [
                format!("DPoP {named}, algs=\"ES256 EdDSA\", scope=\"orders.read orders.write\""),
                format!("Bearer {named}, scope=\"orders.read orders.write\""),
            ]
        );
        let wait = gate.refuse(Refusal::Replay(ReplayError::KeyQuota(Duration::from_millis(1200))), None, None, NOW);
        assert_eq!(wait.headers()[RETRY_AFTER], "2", "rounded up");
    }
}
