//! Public keys.

use thiserror::Error;

use super::{Algorithm, StrictValue, Thumbprint};

/// A public key that is on its curve or of an allowed size; holds no private member.
#[derive(Debug, Clone)]
pub struct PublicKey {
    thumbprint: Thumbprint,
}

/// Why a JWK is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum JwkError {
    /// It carries a private or symmetric member.
    #[error("the key has a private member")]
    Private,
    /// A key type, curve or size that is not taken.
    #[error("the key's type, curve or size is not accepted")]
    Unsupported,
    /// A member is missing, of the wrong type, or not canonical.
    #[error("a member of the key is missing or malformed")]
    Malformed,
}

impl PublicKey {
    /// Reads a JWK that must be public: any private or symmetric member is [`JwkError::Private`].
    pub fn from_jwk(jwk: &StrictValue) -> Result<Self, JwkError> {
        let _ = jwk;
        todo!()
    }

    /// Whether a signature of that algorithm can come from this type of key: the key's type decides, never the header.
    pub fn allows(&self, algorithm: Algorithm) -> bool {
        let _ = algorithm;
        todo!()
    }

    /// RFC 7638, over canonical values; computed once.
    pub fn thumbprint(&self) -> &Thumbprint {
        &self.thumbprint
    }

    /// The JWK: required members only.
    pub fn to_jwk(&self) -> serde_json::Value {
        todo!()
    }

    /// Whether `signature` is one of this key's over `message`. False too where [`PublicKey::allows`] is.
    #[must_use]
    pub fn verify(&self, algorithm: Algorithm, message: &[u8], signature: &[u8]) -> bool {
        let _ = (algorithm, message, signature);
        todo!()
    }
}
