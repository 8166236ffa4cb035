//! Why a proof is refused: one variant a reason of the contract.

use thiserror::Error;

/// Why a proof is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum ProofError {
    /// Section 4.3, check 1: there is no `DPoP` header.
    #[error("the DPoP header with a proof is missing")]
    Missing,
    /// Check 1: there is more than one.
    #[error("more than one DPoP proof was sent")]
    Multiple,
    /// Checks 2 and 3: not a well-formed JWT, a claim is missing or of the wrong type, or it is too large.
    #[error("the DPoP proof is malformed")]
    Malformed,
    /// Check 4.
    #[error("the DPoP proof's typ is not dpop+jwt")]
    WrongTyp,
    /// Check 5.
    #[error("the DPoP proof's algorithm is not accepted")]
    UnsupportedAlg,
    /// Check 6: the `jwk` is missing, malformed, off its curve, of a size or type that is not taken, or not `alg`'s
    /// type.
    #[error("the DPoP proof's jwk is not acceptable")]
    InvalidJwk,
    /// Check 7.
    #[error("the DPoP proof's jwk holds a private key")]
    PrivateJwk,
    /// Check 6.
    #[error("the DPoP proof's signature is wrong")]
    BadSignature,
    /// Check 8.
    #[error("the DPoP proof was made for another method")]
    HtmMismatch,
    /// Check 9.
    #[error("the DPoP proof was made for another URI")]
    HtuMismatch,
    /// Check 10.
    #[error("the request needs a nonce in the DPoP proof")]
    NonceMissing,
    /// Check 10.
    #[error("the nonce in the DPoP proof is unknown or too old")]
    NonceInvalid,
    /// Check 11.
    #[error("the DPoP proof is too old")]
    IatExpired,
    /// Check 11.
    #[error("the DPoP proof is from the future")]
    IatInFuture,
    /// Check 12, first half (or an `ath` where there is no access token).
    #[error("the DPoP proof was made for another access token")]
    AthMismatch,
    /// Check 12, second half.
    #[error("the access token is bound to another key")]
    KeyMismatch,
}
