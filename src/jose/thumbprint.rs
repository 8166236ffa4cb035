//! JWK thumbprints (RFC 7638), SHA-256.

use std::fmt;

use sha2::{Digest, Sha256};

use super::base64url;

/// A key's SHA-256 thumbprint: what `cnf.jkt` holds (RFC 9449 section 6.1).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Thumbprint([u8; 32]);

impl Thumbprint {
    /// From the 32 bytes of the digest.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Of the canonical JSON whose pieces these are: the caller answers for members, order and values.
    pub(super) fn of_json(pieces: &[&[u8]]) -> Self {
        let hash = pieces.iter().fold(Sha256::new(), |hash, piece| hash.chain_update(piece));
        Self(hash.finalize().into())
    }

    /// From canonical base64url without padding; anything else is `None`.
    pub fn parse(text: &str) -> Option<Self> {
        base64url::decode_fixed(text).map(Self)
    }

    /// Its text: base64url, as `cnf.jkt` has it.
    pub fn to_text(&self) -> [u8; 43] {
        base64url::encode_32(&self.0)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_text()).unwrap_or_default())
    }
}

impl fmt::Debug for Thumbprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Thumbprint({self})")
    }
}
