//! What was expected, what was found, and the remedy: one row a reason.

mod proof;
mod request;
mod token;

use crate::gate::Refusal;
use crate::metrics::Reason;

use super::Explanation;

/// Why a step failed, for people.
pub(super) struct Finding {
    pub(super) expected: String,
    pub(super) found: String,
    pub(super) remedy: String,
}

fn finding(expected: impl Into<String>, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { expected: expected.into(), found: found.into(), remedy: remedy.into() }
}

/// Why no captured request can show a reason, where none can. `tests/gate/explain.rs` plays every other one.
pub const fn cannot_show(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::Replayed => Some("whether the jti was seen before is known to the gate's replay store alone"),
        Reason::KeyQuota | Reason::StoreUnavailable => {
            Some("whether the replay store has room, or answers, is the gate's own state")
        }
        Reason::UntrustedPeer => {
            Some("who asked a forward_auth listener does not stand in the request; --peer may say it")
        }
        _ => None,
    }
}

impl Explanation<'_> {
    /// The row of a refusal: a total match, so that a new reason has to find its words.
    pub(super) fn finding(&self, refusal: Refusal) -> Finding {
        match refusal.reason() {
            Reason::NoRoute
            | Reason::AmbiguousPath
            | Reason::MalformedRequest
            | Reason::ConflictingSources
            | Reason::TooLarge
            | Reason::UntrustedPeer => self.of_request(refusal.reason()),
            Reason::MissingToken | Reason::MultipleCredentials => self.of_credentials(refusal.reason()),
            Reason::MissingProof
            | Reason::MultipleProofs
            | Reason::MalformedProof
            | Reason::WrongTyp
            | Reason::UnsupportedAlg
            | Reason::InvalidJwk
            | Reason::PrivateJwk
            | Reason::BadSignature => self.of_proof(refusal.reason()),
            Reason::HtmMismatch => self.of_method(),
            Reason::HtuMismatch => self.of_htu(),
            Reason::IatExpired | Reason::IatInFuture => self.of_age(refusal.reason()),
            Reason::NonceMissing | Reason::NonceInvalid => self.of_nonce(refusal.reason()),
            Reason::AthMismatch => self.of_token_hash(),
            Reason::KeyMismatch => self.of_key(),
            Reason::MalformedToken
            | Reason::TokenSignature
            | Reason::TokenExpired
            | Reason::TokenNotYetValid
            | Reason::UnknownIssuer
            | Reason::WrongAudience
            | Reason::TokenNotBound
            | Reason::BoundTokenAsBearer
            | Reason::TokenInactive
            | Reason::IssuerUnavailable => self.of_token(refusal.reason()),
            Reason::InsufficientScope | Reason::ClaimMismatch => self.of_grant(refusal.reason()),
            Reason::Replayed | Reason::KeyQuota | Reason::StoreUnavailable => {
                finding("a proof that was not used", "one that was", "make a proof for each request")
            }
        }
    }
}
