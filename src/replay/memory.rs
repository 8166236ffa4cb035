//! The store in this process' memory: a set of claimed proofs together with a *floor*.
//!
//! Every proof accepted with `iat > floor` is in the set, and a proof with `iat <= floor` is refused because the store
//! can no longer tell. Whatever is forgotten, for age or for room, raises the floor to it first; so no step of the
//! clock in either direction, no pressure and no restart lets a replay through.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;

use crate::clock::Timestamp;

use super::{ProofId, ReplayError};

/// Under pressure the window in which proofs are taken never shrinks below this.
const MIN_WINDOW_SECS: u64 = 2;

/// Settings of the memory store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryOptions {
    /// Proofs held at once, 1 or more.
    pub capacity: usize,
    /// How long a proof is accepted after its `iat`: so long it is remembered.
    pub proof_lifetime: Duration,
    /// Proofs dated at or before this second are refused: set to the start where nothing else (a nonce) tells which
    /// proofs are from before it.
    pub floor: Option<u64>,
}

/// Claimed proofs by second of `iat`. One lock: a claim holds it for well under a microsecond.
#[derive(Debug)]
pub struct MemoryStore {
    state: Mutex<State>,
    entries: IntGauge,
}

#[derive(Debug)]
struct State {
    options: MemoryOptions,
    floor: Option<u64>,
    buckets: BTreeMap<u64, Bucket>,
    len: usize,
    /// Live proofs a key, over all buckets.
    held: HashMap<u64, u32>,
}

#[derive(Debug, Default)]
struct Bucket {
    proofs: HashSet<u128>,
    held: HashMap<u64, u32>,
}

impl MemoryStore {
    /// An empty store; `entries` is kept at the number of proofs held.
    pub fn new(options: MemoryOptions, entries: IntGauge) -> Self {
        let state = State { options, floor: options.floor, buckets: BTreeMap::new(), len: 0, held: HashMap::new() };
        Self { state: Mutex::new(state), entries }
    }

    /// Claims a proof, once.
    pub fn claim(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        let mut state = self.lock();
        state.expire(now.as_secs());
        let granted = state.look(proof).and_then(|()| state.make_room(proof, now.as_secs()));
        if granted.is_ok() {
            state.insert(proof);
        }
        self.entries.set(i64::try_from(state.len).unwrap_or(i64::MAX));
        granted
    }

    /// Says whether the proof is new, and spends nothing.
    pub fn check(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        let mut state = self.lock();
        state.expire(now.as_secs());
        state.look(proof)
    }

    /// Takes new options for the same memory; what the old ones promised stays promised.
    pub fn reconfigure(&self, options: MemoryOptions) {
        self.lock().options = options;
    }

    /// Proofs held.
    pub fn len(&self) -> usize {
        self.lock().len
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing between lock and unlock can leave the set and the floor apart, so a poisoned lock is still good.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn look(&self, proof: &ProofId) -> Result<(), ReplayError> {
        if self.buckets.get(&proof.iat).is_some_and(|bucket| bucket.proofs.contains(&proof.entry)) {
            return Err(ReplayError::Replayed);
        }
        if self.floor.is_some_and(|floor| proof.iat <= floor) {
            return Err(ReplayError::BeforeFloor);
        }
        Ok(())
    }

    /// Forgets what no clock-respecting check would let through any more.
    fn expire(&mut self, now: u64) {
        let lifetime =
            self.options.proof_lifetime.as_secs() + u64::from(self.options.proof_lifetime.subsec_nanos() > 0);
        while let Some((&oldest, _)) = self.buckets.first_key_value() {
            if oldest.saturating_add(lifetime) >= now {
                break;
            }
            self.forget_oldest();
        }
    }

    fn make_room(&mut self, proof: &ProofId, now: u64) -> Result<(), ReplayError> {
        while self.len >= self.options.capacity {
            let held = self.held.get(&proof.key).copied().unwrap_or(0);
            if u64::from(held) * 10 > self.options.capacity as u64 {
                return Err(ReplayError::KeyQuota(self.until_oldest_expires(now)));
            }
            let Some((&oldest, _)) = self.buckets.first_key_value() else {
                return Err(ReplayError::Full(self.until_oldest_expires(now)));
            };
            if oldest.saturating_add(MIN_WINDOW_SECS) > now {
                return Err(ReplayError::Full(Duration::from_secs(MIN_WINDOW_SECS)));
            }
            self.forget_oldest();
            // The room may have been made out of this very proof's second.
            self.look(proof)?;
        }
        Ok(())
    }

    fn until_oldest_expires(&self, now: u64) -> Duration {
        let oldest = self.buckets.first_key_value().map_or(now, |(&oldest, _)| oldest);
        let end = oldest.saturating_add(self.options.proof_lifetime.as_secs()).saturating_add(1);
        Duration::from_secs(end.saturating_sub(now).max(1))
    }

    fn insert(&mut self, proof: &ProofId) {
        let bucket = self.buckets.entry(proof.iat).or_default();
        bucket.proofs.insert(proof.entry);
        *bucket.held.entry(proof.key).or_default() += 1;
        *self.held.entry(proof.key).or_default() += 1;
        self.len += 1;
    }

    /// Raises the floor to the oldest second, then drops it whole.
    fn forget_oldest(&mut self) {
        let Some((second, bucket)) = self.buckets.pop_first() else { return };
        self.floor = Some(self.floor.map_or(second, |floor| floor.max(second)));
        self.len -= bucket.proofs.len();
        for (key, count) in bucket.held {
            if let Some(held) = self.held.get_mut(&key) {
                *held -= count.min(*held);
                if *held == 0 {
                    self.held.remove(&key);
                }
            }
        }
    }
}
