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
    /// All live proofs: a `jti` that comes again under another `iat` is found too.
    proofs: HashSet<u128>,
    buckets: BTreeMap<u64, Bucket>,
    /// Live proofs a key, over all buckets.
    held: HashMap<u64, u32>,
}

#[derive(Debug, Default)]
struct Bucket {
    proofs: Vec<u128>,
    held: HashMap<u64, u32>,
}

impl MemoryStore {
    /// An empty store; `entries` is kept at the number of proofs held.
    pub fn new(options: MemoryOptions, entries: IntGauge) -> Self {
        let state = State {
            options,
            floor: options.floor,
            proofs: HashSet::new(),
            buckets: BTreeMap::new(),
            held: HashMap::new(),
        };
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
        self.entries.set(state.gauge());
        granted
    }

    /// Forgets what is past its lifetime: claims do so too, but a store without traffic has nobody else to do it.
    pub fn expire(&self, now: Timestamp) {
        let mut state = self.lock();
        state.expire(now.as_secs());
        self.entries.set(state.gauge());
    }

    /// Says whether the proof is new, and spends nothing.
    pub fn check(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        let mut state = self.lock();
        state.expire(now.as_secs());
        state.look(proof)
    }

    /// Takes new options for the same memory; what the old ones promised stays promised.
    pub fn reconfigure(&self, options: MemoryOptions) {
        let mut state = self.lock();
        state.options = options;
        state.floor = state.floor.max(options.floor);
    }

    /// Proofs held.
    pub fn len(&self) -> usize {
        self.lock().proofs.len()
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
    fn gauge(&self) -> i64 {
        i64::try_from(self.proofs.len()).unwrap_or(i64::MAX)
    }

    fn look(&self, proof: &ProofId) -> Result<(), ReplayError> {
        if self.proofs.contains(&proof.entry) {
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
        while self.proofs.len() >= self.options.capacity {
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
        self.proofs.insert(proof.entry);
        let bucket = self.buckets.entry(proof.iat).or_default();
        bucket.proofs.push(proof.entry);
        *bucket.held.entry(proof.key).or_default() += 1;
        *self.held.entry(proof.key).or_default() += 1;
    }

    /// Raises the floor to the oldest second, then drops it whole.
    fn forget_oldest(&mut self) {
        let Some((second, bucket)) = self.buckets.pop_first() else { return };
        self.floor = self.floor.max(Some(second));
        for proof in &bucket.proofs {
            self.proofs.remove(proof);
        }
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::jose::Thumbprint;

    const START: u64 = 1_800_000_000;
    const LIFETIME: u64 = 60;

    fn store(capacity: usize, floor: Option<u64>) -> MemoryStore {
        let options = MemoryOptions { capacity, proof_lifetime: Duration::from_secs(LIFETIME), floor };
        MemoryStore::new(options, IntGauge::new("entries", "entries").unwrap())
    }

    fn proof(key: u8, jti: u32, iat: u64) -> ProofId {
        ProofId::new(&Thumbprint::from_bytes([key; 32]), &jti.to_string(), iat, None)
    }

    fn at(second: u64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    #[test]
    fn a_proof_is_granted_once_and_another_keys_jti_is_its_own() {
        let store = store(100, None);
        assert_eq!(store.claim(&proof(1, 1, START), at(START)), Ok(()));
        assert_eq!(store.claim(&proof(1, 1, START), at(START)), Err(ReplayError::Replayed));
        assert_eq!(store.claim(&proof(2, 1, START), at(START)), Ok(()));
        assert_eq!(store.claim(&proof(1, 2, START), at(START)), Ok(()));
        assert_eq!(store.claim(&proof(1, 2, START + 1), at(START)), Err(ReplayError::Replayed), "under another iat");
        assert_eq!(store.len(), 3);
    }

    #[test]
    fn looking_spends_nothing() {
        let store = store(100, None);
        assert_eq!(store.check(&proof(1, 1, START), at(START)), Ok(()));
        assert_eq!(store.claim(&proof(1, 1, START), at(START)), Ok(()));
        assert_eq!(store.check(&proof(1, 1, START), at(START)), Err(ReplayError::Replayed));
    }

    #[test]
    fn it_is_remembered_to_the_last_second_in_which_it_would_be_accepted_and_then_forgotten() {
        let store = store(100, None);
        store.claim(&proof(1, 1, START), at(START)).unwrap();
        assert_eq!(store.check(&proof(1, 1, START), at(START + LIFETIME)), Err(ReplayError::Replayed));
        assert_eq!(store.len(), 1);
        // Forgotten, and refused all the same: also when the clock is set back.
        assert_eq!(store.check(&proof(1, 1, START), at(START + LIFETIME + 1)), Err(ReplayError::BeforeFloor));
        assert_eq!(store.len(), 0);
        assert_eq!(store.claim(&proof(1, 1, START), at(START)), Err(ReplayError::BeforeFloor));
        assert_eq!(store.claim(&proof(1, 2, START + 1), at(START + 1)), Ok(()));
    }

    #[test]
    fn what_is_dated_before_the_start_is_refused() {
        let store = store(100, Some(START));
        assert_eq!(store.claim(&proof(1, 1, START), at(START)), Err(ReplayError::BeforeFloor));
        assert_eq!(store.claim(&proof(1, 1, START + 1), at(START)), Ok(()));
    }

    #[test]
    fn full_it_forgets_from_the_oldest_on_and_refuses_what_is_as_old() {
        let store = store(20, None);
        let now = at(START + 10);
        for key in 0..20 {
            store.claim(&proof(key, 0, START + u64::from(key) / 4), now).unwrap();
        }
        assert_eq!(store.claim(&proof(100, 0, START + 10), now), Ok(()));
        assert_eq!(store.len(), 17, "the oldest second went whole");
        assert_eq!(store.claim(&proof(0, 0, START), now), Err(ReplayError::BeforeFloor));
        assert_eq!(store.claim(&proof(101, 0, START), now), Err(ReplayError::BeforeFloor));
        assert_eq!(store.claim(&proof(4, 0, START + 1), now), Err(ReplayError::Replayed));
    }

    #[test]
    fn full_of_fresh_proofs_it_says_so_rather_than_shrink_the_window_under_two_seconds() {
        let store = store(20, None);
        for key in 0..20 {
            store.claim(&proof(key, 0, START), at(START)).unwrap();
        }
        assert!(matches!(store.claim(&proof(100, 0, START), at(START)), Err(ReplayError::Full(_))));
        assert!(matches!(store.claim(&proof(100, 0, START + 1), at(START + 1)), Err(ReplayError::Full(_))));
        assert_eq!(store.claim(&proof(100, 0, START + 2), at(START + 2)), Ok(()));
    }

    #[test]
    fn full_it_refuses_first_who_holds_more_than_a_tenth() {
        let store = store(20, None);
        for jti in 0..3 {
            store.claim(&proof(200, jti, START + 5), at(START + 5)).unwrap();
        }
        for key in 0..17 {
            store.claim(&proof(key, 0, START), at(START + 5)).unwrap();
        }
        assert!(matches!(store.claim(&proof(200, 9, START + 5), at(START + 5)), Err(ReplayError::KeyQuota(_))));
        assert_eq!(store.claim(&proof(201, 0, START + 5), at(START + 5)), Ok(()), "others are not pressed out");
        assert_eq!(store.claim(&proof(200, 9, START + 5), at(START + 5)), Ok(()), "no longer full");
    }

    #[test]
    fn exactly_one_of_many_simultaneous_claims_is_granted() {
        let store = Arc::new(store(100_000, None));
        for jti in 0..50 {
            let barrier = Arc::new(std::sync::Barrier::new(8));
            let threads = (0..8).map(|_| {
                let (store, barrier) = (Arc::clone(&store), Arc::clone(&barrier));
                std::thread::spawn(move || {
                    barrier.wait();
                    store.claim(&proof(1, jti, START), at(START)).is_ok()
                })
            });
            let threads: Vec<_> = threads.collect();
            assert_eq!(threads.into_iter().filter_map(|thread| thread.join().ok()).filter(|won| *won).count(), 1);
        }
    }

    proptest! {
        /// Whatever the clock, the pressure and the order: nothing is granted twice, the count is right, and a grant
        /// is refused only for a reason that holds.
        #[test]
        fn nothing_is_ever_granted_twice(
            capacity in 1_usize..12,
            steps in prop::collection::vec((0_u8..6, 0_u32..4, -70_i64..16, -40_i64..40), 1..200),
        ) {
            let store = store(capacity, None);
            let mut granted = HashSet::new();
            let mut now = START;
            for (key, jti, age, step) in steps {
                now = now.saturating_add_signed(step);
                let iat = now.saturating_add_signed(age);
                let fresh = age >= -60;
                let claim = proof(key, jti, iat);
                match store.claim(&claim, at(now)) {
                    // The checklist refuses stale ones before the store is asked; a grant of one is no harm.
                    Ok(()) if fresh => prop_assert!(granted.insert((key, jti, iat)), "granted twice"),
                    Ok(()) => { granted.insert((key, jti, iat)); }
                    Err(ReplayError::Replayed) => {
                        prop_assert!(granted.iter().any(|(k, j, _)| (*k, *j) == (key, jti)));
                    }
                    Err(ReplayError::KeyQuota(wait) | ReplayError::Full(wait)) => prop_assert!(wait >= Duration::from_secs(1)),
                    Err(ReplayError::BeforeFloor) => {}
                    Err(other) => prop_assert!(false, "{other}"),
                }
                prop_assert!(store.len() <= capacity);
            }
        }
    }
}
