//! What a store's answer means for a proof: the rule, without the network.

use crate::nonce::Life;

use super::super::{ProofId, ReplayError};
use super::CLOCKS_APART_SECS;

/// A life of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Epoch {
    pub(super) life: Life,
    /// The second in which it began, by the store's own clock.
    pub(super) since: u64,
    /// The longest of all gates that use it.
    pub(super) terms: Terms,
}

/// What the store said, all of it within one round trip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Answer {
    /// The proof was not there before.
    pub(super) is_new: bool,
    /// `None`: the store has lost its data, or never had any.
    pub(super) epoch: Option<Epoch>,
    /// The store's clock, in seconds.
    pub(super) time: u64,
}

/// What is asked of proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Terms {
    pub(super) lifetime: u64,
    pub(super) clock_skew: u64,
}

impl Epoch {
    /// Of how it is written, the life: `LIFE:SINCE:LIFETIME:SKEW`.
    pub(super) fn offer(life: Life) -> String {
        format!("{:016x}", life.number())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let life = Life::shared(u64::from_str_radix(parts.next()?, 16).ok()?)?;
        let mut seconds = || parts.next()?.parse().ok();
        let (since, terms) = (seconds()?, Terms { lifetime: seconds()?, clock_skew: seconds()? });
        Some(Self { life, since, terms })
    }
}

impl Terms {
    /// Whether what is kept by these is kept long enough for a gate with those.
    pub(super) fn cover(self, others: Self) -> bool {
        self.lifetime >= others.lifetime && self.clock_skew >= others.clock_skew
    }

    /// The second from which on a proof is accepted no more: it was to the end of `iat + lifetime`.
    pub(super) fn expiry(self, proof: &ProofId) -> u64 {
        proof.iat.saturating_add(self.lifetime).saturating_add(1)
    }

    /// The verdict of a gate with these terms. Wherever the gates' clocks stand, the store's own must find the proof
    /// alive: by that clock it is forgotten.
    pub(super) fn judge(self, proof: &ProofId, answer: &Answer, epoch: Epoch) -> Result<(), ReplayError> {
        if !answer.is_new {
            return Err(ReplayError::Replayed);
        }
        match proof.nonce {
            // The nonce is from the store's present life: what it was spent for since is in the store.
            Some(nonce) if nonce.life != epoch.life => return Err(ReplayError::OtherLife),
            Some(_) => {}
            // Without nonces only `iat` tells. None later than the store's clock and the skew is granted, so whatever
            // was granted in an earlier life is dated at or before the end of the longest skew, and of what a clock may
            // be set back by unnoticed.
            None if proof.iat > answer.time.saturating_add(self.clock_skew) => {
                return Err(ReplayError::AheadOfStore);
            }
            None if proof.iat <= epoch.since.saturating_add(epoch.terms.clock_skew + CLOCKS_APART_SECS) => {
                return Err(ReplayError::BeforeFloor);
            }
            None => {}
        }
        if answer.time >= self.expiry(proof) {
            return Err(ReplayError::BeforeFloor);
        }
        Ok(())
    }
}
