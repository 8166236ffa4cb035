//! The checklist of RFC 9449 section 4.3, in one place.

use std::future::Future;
use std::time::Duration;

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::jose::{Algorithm, PublicKey, Thumbprint};
use crate::secret::TokenDigest;
use crate::target::Target;

use super::ProofError;

/// The operator's part of the rules.
#[derive(Debug, Clone)]
pub struct ProofPolicy {
    /// Algorithms that proofs may use.
    pub algorithms: Vec<Algorithm>,
    /// How old `iat` may be.
    pub lifetime: Duration,
    /// How far ahead `iat` may be.
    pub clock_skew: Duration,
}

/// What the nonce check says of a proof's nonce: `Ok` to go on.
pub trait NonceCheck {
    /// Judges the proof's `nonce` claim.
    fn check(&self, nonce: Option<&str>, now: Timestamp) -> Result<(), ProofError>;
}

/// What the request is, and what its proof must therefore say.
pub struct Expected<'a, N> {
    /// The request's method, compared to the letter.
    pub methods: &'a [&'a str],
    /// The URI that the client addressed.
    pub target: &'a Target,
    /// The digest of the access token that came along; `None` at a token endpoint, where an `ath` is refused.
    pub token: Option<&'a TokenDigest>,
    /// How nonces are judged.
    pub nonces: &'a N,
    /// The operator's rules.
    pub policy: &'a ProofPolicy,
    /// The time.
    pub now: Timestamp,
}

/// What the verified access token says of the proof's key and of the request.
pub trait BoundKey<E> {
    /// The thumbprint that the access token is bound to; `None` where there is no token (a token endpoint).
    fn bound_key(&self) -> Option<&Thumbprint>;

    /// Whether the token grants what the request needs: asked once the key fits, before the proof's signature is
    /// checked under a key that the caller chose.
    fn permits(&self) -> Result<(), E>;
}

/// A proof that passed every check of section 4.3. Only [`verify`] makes one.
///
/// This does not say that the proof is new: the caller still owes the claim of its `jti` in a replay store.
pub struct VerifiedProof {
    key: PublicKey,
    jti: String,
    iat: u64,
}

impl VerifiedProof {
    /// The thumbprint of the proof's key.
    pub fn thumbprint(&self) -> &Thumbprint {
        self.key.thumbprint()
    }

    /// The proof's identifier, unique for its key.
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// When the proof says that it was made: seconds since the epoch.
    pub fn iat(&self) -> u64 {
        self.iat
    }
}

/// RFC 9449 section 4.3, checks 1 to 12, from free to costly (design section 1).
///
/// `token` verifies the access token; it is awaited only after everything that is cheaper has passed, and what it
/// returns says which key the proof must be signed with. The signature, under a key that the caller chose, comes last.
pub async fn verify<T, E, N>(
    headers: &HeaderMap,
    expected: &Expected<'_, N>,
    token: impl Future<Output = Result<T, E>>,
) -> Result<(VerifiedProof, T), E>
where
    T: BoundKey<E>,
    E: From<ProofError>,
    N: NonceCheck,
{
    let _ = (headers, expected, token);
    todo!()
}
