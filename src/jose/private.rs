//! Private keys: for `keygen`, `proof`, the identity assertion and the demo. Never on the path of a proof's check.

use thiserror::Error;

use super::{Algorithm, PublicKey};

/// A private key that can sign. Prints redacted.
pub struct PrivateKey {
    public: PublicKey,
}

/// Why a private key is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PrivateKeyError {
    /// The text is not a JSON object.
    #[error("not a JWK; expected a JSON object with kty, the public members and d")]
    NotAJwk,
    /// A member is missing or malformed, or the private part does not fit the public one.
    #[error("a member of the private JWK is missing, malformed, or does not fit the others")]
    Malformed,
    /// A key type, curve or algorithm that cannot be used for signing here.
    #[error("the key's type is not accepted; expected EC P-256 or P-384, OKP Ed25519, or RSA of 2048 bits or more")]
    Unsupported,
    /// No randomness, or the library failed.
    #[error("no key could be made")]
    Failed,
}

impl PrivateKey {
    /// Makes a key for `algorithm`.
    pub fn generate(algorithm: Algorithm) -> Result<Self, PrivateKeyError> {
        let _ = algorithm;
        todo!()
    }

    /// Reads a private JWK (RFC 7517).
    pub fn from_jwk_json(text: &[u8]) -> Result<Self, PrivateKeyError> {
        let _ = text;
        todo!()
    }

    /// The private JWK, for a file of mode 0600.
    pub fn to_jwk_json(&self) -> zeroize::Zeroizing<String> {
        todo!()
    }

    /// The algorithm it signs with: the JWK's `alg`, else ES256, ES384, EdDSA or RS256 by type.
    pub fn algorithm(&self) -> Algorithm {
        todo!()
    }

    /// Its public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// A JWS signature over `message`.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, PrivateKeyError> {
        let _ = message;
        todo!()
    }

    /// A compact JWS: `header` gets `alg` added, `claims` as they are.
    pub fn sign_compact(
        &self,
        header: serde_json::Value,
        claims: &serde_json::Value,
    ) -> Result<String, PrivateKeyError> {
        let _ = (header, claims);
        todo!()
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrivateKey").field("thumbprint", self.public.thumbprint()).finish_non_exhaustive()
    }
}
