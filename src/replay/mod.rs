//! Replay: a `jti` is taken once for its key, or not at all (design section 2).

mod memory;
mod redis;

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::clock::Timestamp;
use crate::jose::Thumbprint;
use crate::nonce::{Accepted, Life};

pub use self::redis::{
    Address, Credentials, LinkError, OnUnavailable, Place, RedisMetrics, RedisOptions, RedisStatus, RedisStore,
    Topology, suits_a_cluster,
};
pub use memory::{MemoryOptions, MemoryStore};

/// What a store remembers of a proof: fixed in size, and nothing that a client wrote stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProofId {
    /// SHA-256 of `(jkt, jti)`, cut to 128 bits. A `jti` is unique for its key: two clients may use the same.
    pub(super) entry: u128,
    /// The key it was made with, cut to 64 bits: for the quota only.
    pub(super) key: u64,
    /// `iat` in seconds.
    pub(super) iat: u64,
    /// Its nonce; `None` where nonces are off.
    pub(super) nonce: Option<Accepted>,
}

impl ProofId {
    /// Of a proof's key, `jti`, `iat` and nonce.
    pub fn new(jkt: &Thumbprint, jti: &str, iat: u64, nonce: Option<Accepted>) -> Self {
        let digest: [u8; 32] =
            Sha256::new().chain_update(jkt.as_bytes()).chain_update(jti.as_bytes()).finalize().into();
        let (entry, _) = digest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let (key, _) = jkt.as_bytes().split_first_chunk().unwrap_or((&[0; 8], &[]));
        Self { entry: u128::from_be_bytes(*entry), key: u64::from_be_bytes(*key), iat, nonce }
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
    /// Its nonce is from another life of the store, of which the store remembers nothing.
    #[error("the DPoP proof's nonce is from before the gate's memory begins")]
    OtherLife,
    /// Dated further ahead of the store's clock than is allowed.
    #[error("the DPoP proof's iat is in the future")]
    AheadOfStore,
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
    Memory(Arc<MemoryStore>),
    /// Shared by replicas.
    Redis(RedisStore),
}

impl ReplayStore {
    /// Claims a proof: exactly one of any number of simultaneous claims is granted.
    pub async fn claim(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        match self {
            Self::Memory(memory) => memory.claim(proof, now),
            Self::Redis(redis) => Box::pin(redis.claim(proof, now)).await,
        }
    }

    /// Says whether a claim would be granted, and spends nothing.
    pub async fn check(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        match self {
            Self::Memory(memory) => memory.check(proof, now),
            Self::Redis(redis) => Box::pin(redis.check(proof, now)).await,
        }
    }

    /// The life that nonces are to be issued for; `None` for this process' own memory.
    pub fn life(&self) -> Option<Life> {
        self.shared().and_then(RedisStore::life)
    }

    /// Its name in metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::Redis(_) => "redis",
        }
    }

    /// The shared store, if there is one.
    pub fn shared(&self) -> Option<&RedisStore> {
        match self {
            Self::Memory(_) => None,
            Self::Redis(redis) => Some(redis),
        }
    }

    /// This process' own memory.
    pub fn memory(&self) -> &Arc<MemoryStore> {
        match self {
            Self::Memory(memory) => memory,
            Self::Redis(redis) => redis.front(),
        }
    }

    /// Whether claims can be decided, or could be once.
    pub fn is_ready(&self) -> bool {
        self.shared().is_none_or(RedisStore::is_ready)
    }
}
