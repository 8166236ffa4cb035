//! Reading a proof: one pass, bounded, nothing believed yet.

use crate::jose::{Algorithm, PublicKey};

use super::ProofError;

/// Longest proof that is looked at, in bytes; an RS256 proof with a 4096-bit key has about 2 KiB.
pub const MAX_PROOF_BYTES: usize = 8 * 1024;
/// Longest `jti`, in bytes.
pub const MAX_JTI_BYTES: usize = 256;

/// A proof that was read but not verified. Prints redacted.
pub struct Proof<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) key: PublicKey,
    pub(super) signing_input: &'a [u8],
    pub(super) signature: Vec<u8>,
    pub(super) jti: String,
    pub(super) htm: String,
    pub(super) htu: String,
    /// Seconds since the epoch, fractions cut off.
    pub(super) iat: u64,
    pub(super) ath: Option<String>,
    pub(super) nonce: Option<String>,
}

impl<'a> Proof<'a> {
    /// Checks 2 to 7 of RFC 9449 section 4.3 but for the signature: form, `typ`, `alg` among `algorithms`, `jwk`.
    pub fn parse(text: &'a str, algorithms: &[Algorithm]) -> Result<Self, ProofError> {
        let _ = (text, algorithms);
        todo!()
    }
}
