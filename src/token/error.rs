//! Why a token is refused: one variant a reason of the contract.

use thiserror::Error;

/// Why a token is refused, or cannot be judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum TokenError {
    /// Neither a JWT of an accepted type and algorithm nor a token that an introspecting issuer could know.
    #[error("the access token is malformed")]
    Malformed,
    /// The signature is wrong, or no key of the issuer fits.
    #[error("the access token's signature is wrong")]
    Signature,
    /// `exp` has passed.
    #[error("the access token has expired")]
    Expired,
    /// `nbf` is ahead.
    #[error("the access token is not valid yet")]
    NotYetValid,
    /// `iss` is none of the configured issuers.
    #[error("the access token's issuer is unknown")]
    UnknownIssuer,
    /// `aud` holds none of the configured audiences.
    #[error("the access token is meant for another audience")]
    WrongAudience,
    /// It has a `cnf` without a usable `jkt`, or its certificate binding is not met.
    #[error("the access token is not bound to a key")]
    NotBound,
    /// Introspection says `active: false`.
    #[error("the access token is not active")]
    Inactive,
    /// The issuer cannot be asked and nothing is cached: nobody's fault but ours or the issuer's.
    #[error("the access token's issuer cannot be reached")]
    IssuerUnavailable,
}
