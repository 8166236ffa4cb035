//! Replay: a `jti` is taken once for its key, or not at all (design section 2).

mod memory;

use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::jose::Thumbprint;

pub use memory::{MemoryOptions, MemoryStore};

/// What a store remembers of a proof: fixed in size, and nothing that a client wrote stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ProofId {
    /// SHA-256 of `(jkt, jti)`, cut to 128 bits. A `jti` is unique for its key: two clients may use the same.
    pub(super) entry: u128,
    /// The key it was made with, cut to 64 bits: for the quota only.
    pub(super) key: u64,
    /// `iat` in seconds.
    pub(super) iat: u64,
}

impl ProofId {
    /// Of a proof's key, `jti` and `iat`.
    pub fn new(jkt: &Thumbprint, jti: &str, iat: u64) -> Self {
        let digest: [u8; 32] =
            Sha256::new().chain_update(jkt.as_bytes()).chain_update(jti.as_bytes()).finalize().into();
        let (entry, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let (key, _) = jkt.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self { entry: u128::from_be_bytes(*entry), key: u64::from_be_bytes(*key), iat }
    }
}

/// Why a claim is not granted. Every store may only err by refusing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// It was claimed before.
    #[error("the DPoP proof was used before")]
    Replayed,
    /// As old as what the store has forgotten, or from before it began: it cannot tell.
    #[error("the DPoP proof is older than what the gate remembers")]
    BeforeFloor,
    /// The store is full and this key holds more than a tenth of it. Retry after about this long.
    #[error("this key has too many live DPoP proofs")]
    KeyQuota(Duration),
    /// The store is full, and forgetting more would leave less than two seconds to sign a proof in.
    #[error("the replay store is full")]
    Full(Duration),
    /// The store cannot be reached.
    #[error("the replay store cannot be reached")]
    Unavailable(Duration),
}

/// A store of claimed proofs.
#[derive(Debug)]
pub enum ReplayStore {
    /// In this process.
    Memory(MemoryStore),
}

impl ReplayStore {
    /// Claims a proof: exactly one of any number of simultaneous claims is granted.
    #[allow(clippy::unused_async, reason = "the seam for a store behind a network")]
    pub async fn claim(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        match self {
            Self::Memory(memory) => memory.claim(proof, now),
        }
    }

    /// Says whether a claim would be granted, and spends nothing.
    #[allow(clippy::unused_async, reason = "the seam for a store behind a network")]
    pub async fn check(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        match self {
            Self::Memory(memory) => memory.check(proof, now),
        }
    }

    /// Forgets what is past its lifetime; to be called about once a second.
    pub fn expire(&self, now: Timestamp) {
        match self {
            Self::Memory(memory) => memory.expire(now),
        }
    }

    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
        }
    }

    /// Proofs held in this process.
    pub fn len(&self) -> usize {
        match self {
            Self::Memory(memory) => memory.len(),
        }
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
