//! DPoP proofs (RFC 9449): reading one, and the checklist of section 4.3.

mod check;
mod error;
mod proof;
mod verify;

pub use check::Check;
pub use error::ProofError;
pub use proof::{MAX_JTI_BYTES, MAX_PROOF_BYTES, Proof};
pub use verify::{
    BoundKey, DPOP, Expected, NonceCheck, ProofPolicy, SignatureCheck, VerifiedProof, claimed_key, verify,
};

#[cfg(test)]
mod tests;
