//! Every way to be refused, and the reason it counts as.

use std::time::Duration;

use thiserror::Error;

use crate::dpop::ProofError;
use crate::metrics::Reason;
use crate::replay::ReplayError;
use crate::target::TargetError;
use crate::token::TokenError;

/// Why a request is not let through. Rendered in one place: `challenge`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// No credentials at all.
    #[error("the request carries no access token")]
    MissingToken,
    /// Two `Authorization` headers, or a token in more than one place.
    #[error("the request carries credentials in more than one place")]
    MultipleCredentials,
    /// The `Authorization` header is not one scheme and one token68.
    #[error("the access token is malformed")]
    MalformedToken,
    /// The proof.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The token.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// An unbound token where a bound one is demanded.
    #[error("the access token is not bound to a key")]
    TokenNotBound,
    /// A bound token under the `Bearer` scheme (RFC 9449 section 7.2).
    #[error("a DPoP-bound access token was sent as a bearer token")]
    BoundTokenAsBearer,
    /// A scope is missing.
    #[error("the access token does not grant a scope that this resource requires")]
    InsufficientScope,
    /// A claim is missing or has another value.
    #[error("the access token's claims do not meet what this resource requires")]
    ClaimMismatch,
    /// The replay store.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// No route matches.
    #[error("no route matches the request")]
    NoRoute,
    /// The request's URI.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A header or the body is larger than the limit.
    #[error("the request's body is larger than this gate allows")]
    BodyTooLarge,
    /// A forward-auth listener was asked by a peer that is no trusted proxy.
    #[error("this peer may not ask for decisions")]
    UntrustedPeer,
}

impl Refusal {
    /// Its name in metrics and logs. A total match: a new way to refuse has to choose.
    pub const fn reason(self) -> Reason {
        match self {
            Self::MissingToken => Reason::MissingToken,
            Self::MultipleCredentials => Reason::MultipleCredentials,
            Self::MalformedToken | Self::Token(TokenError::Malformed) => Reason::MalformedToken,
            Self::Proof(error) => match error {
                ProofError::Missing => Reason::MissingProof,
                ProofError::Multiple => Reason::MultipleProofs,
                ProofError::Malformed => Reason::MalformedProof,
                ProofError::WrongTyp => Reason::WrongTyp,
                ProofError::UnsupportedAlg => Reason::UnsupportedAlg,
                ProofError::InvalidJwk => Reason::InvalidJwk,
                ProofError::PrivateJwk => Reason::PrivateJwk,
                ProofError::BadSignature => Reason::BadSignature,
                ProofError::HtmMismatch => Reason::HtmMismatch,
                ProofError::HtuMismatch => Reason::HtuMismatch,
                ProofError::NonceMissing => Reason::NonceMissing,
                ProofError::NonceInvalid => Reason::NonceInvalid,
                ProofError::IatExpired => Reason::IatExpired,
                ProofError::IatInFuture => Reason::IatInFuture,
                ProofError::AthMismatch => Reason::AthMismatch,
                ProofError::KeyMismatch => Reason::KeyMismatch,
            },
            Self::Token(error) => match error {
                TokenError::Malformed => Reason::MalformedToken,
                TokenError::Signature => Reason::TokenSignature,
                TokenError::Expired => Reason::TokenExpired,
                TokenError::NotYetValid => Reason::TokenNotYetValid,
                TokenError::UnknownIssuer => Reason::UnknownIssuer,
                TokenError::WrongAudience => Reason::WrongAudience,
                TokenError::NotBound => Reason::TokenNotBound,
                TokenError::Inactive => Reason::TokenInactive,
                TokenError::IssuerUnavailable => Reason::IssuerUnavailable,
            },
            Self::TokenNotBound => Reason::TokenNotBound,
            Self::BoundTokenAsBearer => Reason::BoundTokenAsBearer,
            Self::InsufficientScope => Reason::InsufficientScope,
            Self::ClaimMismatch => Reason::ClaimMismatch,
            Self::Replay(error) => match error {
                ReplayError::Replayed => Reason::Replayed,
                ReplayError::BeforeFloor => Reason::IatExpired,
                ReplayError::AheadOfStore => Reason::IatInFuture,
                ReplayError::OtherLife => Reason::NonceInvalid,
                ReplayError::KeyQuota(_) => Reason::KeyQuota,
                ReplayError::Full(_) | ReplayError::Unavailable(_) => Reason::StoreUnavailable,
            },
            Self::NoRoute => Reason::NoRoute,
            Self::Target(error) => match error {
                TargetError::Conflicting => Reason::ConflictingSources,
                TargetError::AmbiguousPath => Reason::AmbiguousPath,
                TargetError::NoAuthority => Reason::MalformedRequest,
            },
            Self::BodyTooLarge => Reason::TooLarge,
            Self::UntrustedPeer => Reason::UntrustedPeer,
        }
    }

    /// How long to wait before another try makes sense, where waiting helps.
    pub const fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Replay(ReplayError::KeyQuota(wait) | ReplayError::Full(wait) | ReplayError::Unavailable(wait)) => {
                Some(wait)
            }
            Self::Token(TokenError::IssuerUnavailable) => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}
