//! The store in this process' memory: a set of claimed proofs together with a *floor*.
//!
//! Every proof accepted with `iat > floor` is in the set, and a proof with `iat <= floor` is refused because the store
//! can no longer tell. Whatever is forgotten, for age or for room, raises the floor to it first; so no step of the
//! clock in either direction, no pressure and no restart lets a replay through.
//!
//! The set is spread over shards, each with a lock of its own; to forget a second is to raise the floor over it, and
//! the slots of what lies below are used again as they are met. A second's end thus costs no pause.

mod shard;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus::IntGauge;

use crate::clock::Timestamp;

use super::{ProofId, ReplayError};

use shard::{Entry, Look, Shard};

/// Under pressure the window in which proofs are taken never shrinks below this.
const MIN_WINDOW_SECS: u64 = 2;
/// Locks. More than any machine has cores, so that two claims seldom meet.
const SHARDS: usize = 64;
/// Most counters of live proofs by key, many keys to each: who is below a tenth by them is below it.
const COUNTERS: usize = 1 << 12;

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

/// Claimed proofs, 15 bytes each at capacity.
#[derive(Debug)]
pub struct MemoryStore {
    shards: Box<[Mutex<Shard>]>,
    /// Proofs dated at or before this are refused; 0 for none. Read under a shard's lock; raised in the turn of
    /// `sweep`, before any shard forgets.
    floor: AtomicU32,
    /// Live proofs in all shards: reserved under a shard's lock.
    total: AtomicUsize,
    /// Slots in use by key, stale ones included until they are used again: never fewer than the live ones.
    counters: Box<[AtomicU32]>,
    capacity: AtomicUsize,
    lifetime: AtomicU64,
    /// One at a time forgets.
    sweep: Mutex<()>,
    /// The second in which expiry was last looked at.
    swept: AtomicU64,
    /// Unknown outside, so that nobody can choose where his proofs land or with whom he is counted.
    hasher: RandomState,
    entries: IntGauge,
}

impl MemoryStore {
    /// An empty store; `entries` is kept at the number of proofs held.
    pub fn new(options: MemoryOptions, entries: IntGauge) -> Self {
        let shard = || Mutex::new(Shard::new(options.capacity.div_ceil(SHARDS)));
        entries.set(0);
        Self {
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
            floor: AtomicU32::new(floor_of(options.floor)),
            total: AtomicUsize::new(0),
            counters: counters(options.capacity),
            capacity: AtomicUsize::new(options.capacity),
            lifetime: AtomicU64::new(whole_secs(options.proof_lifetime)),
            sweep: Mutex::new(()),
            swept: AtomicU64::new(0),
            hasher: RandomState::new(),
            entries,
        }
    }

    /// Claims a proof, once.
    pub fn claim(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        self.expire(now);
        let (entry, shard) = self.place(proof)?;
        while !self.insert(shard, &entry, now.as_secs())? {
            self.make_room(&entry, now.as_secs())?;
        }
        Ok(())
    }

    /// Says whether the proof is new, and spends nothing.
    pub fn check(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        self.expire(now);
        let (entry, shard) = self.place(proof)?;
        self.look(&mut lock(shard), &entry, now.as_secs())
    }

    /// Forgets what is past its lifetime: claims do so too, but a store without traffic has nobody else to do it.
    pub fn expire(&self, now: Timestamp) {
        let now = now.as_secs();
        if self.swept.load(Ordering::Relaxed) != now
            && let Ok(_turn) = self.sweep.try_lock()
        {
            self.swept.store(now, Ordering::Relaxed);
            self.forget_expired(now);
        }
    }

    /// Takes new options for the same memory; what the old ones promised stays promised.
    pub fn reconfigure(&self, options: MemoryOptions) {
        let _turn = lock(&self.sweep);
        self.floor.fetch_max(floor_of(options.floor), Ordering::SeqCst);
        self.lifetime.store(whole_secs(options.proof_lifetime), Ordering::Relaxed);
        if self.capacity.swap(options.capacity, Ordering::Relaxed) != options.capacity {
            for shard in &self.shards {
                let proofs = options.capacity.div_ceil(SHARDS);
                lock(shard).resize(proofs, |identity| self.places(identity), |tag| self.uncount(tag));
            }
        }
    }

    /// Proofs held.
    pub fn len(&self) -> usize {
        self.total.load(Ordering::Relaxed)
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is kept of a proof, and where.
    fn place(&self, proof: &ProofId) -> Result<(Entry, &Mutex<Shard>), ReplayError> {
        // No clock shows the year 2106.
        let second = u32::try_from(proof.iat).map_err(|_| ReplayError::BeforeFloor)?;
        let entry = Entry::new(second, self.hasher.hash_one(proof.key), proof.entry, |identity| self.places(identity));
        let shard = self.shards.get(entry.shard(SHARDS)).ok_or(ReplayError::BeforeFloor)?;
        Ok((entry, shard))
    }

    fn look(&self, shard: &mut Shard, entry: &Entry, now: u64) -> Result<(), ReplayError> {
        match shard.look(entry, self.floor()) {
            Look::New => Ok(()),
            Look::Known => Err(ReplayError::Replayed),
            Look::Forgotten => Err(ReplayError::BeforeFloor),
            Look::KeyForgotten(floor) => {
                Err(ReplayError::KeyQuota(Duration::from_secs((u64::from(floor) + 1).saturating_sub(now).max(1))))
            }
        }
    }

    /// Inserts a new proof; `false` where the store is full.
    fn insert(&self, shard: &Mutex<Shard>, entry: &Entry, now: u64) -> Result<bool, ReplayError> {
        let mut shard = lock(shard);
        self.look(&mut shard, entry, now)?;
        let capacity = self.capacity.load(Ordering::Relaxed);
        let reserve = |total| (total < capacity).then_some(total + 1);
        if self.total.fetch_update(Ordering::Relaxed, Ordering::Relaxed, reserve).is_err() {
            return Ok(false);
        }
        if let Some(counter) = self.counter(entry.tag()) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        if shard.insert(entry, |stale| self.uncount(stale)).is_none() {
            self.uncount(entry.tag());
            self.total.fetch_sub(1, Ordering::Relaxed);
            return Err(ReplayError::BeforeFloor);
        }
        self.entries.inc();
        Ok(true)
    }

    /// Forgets the oldest second, unless who asks holds too much himself, or the window would be too short.
    fn make_room(&self, entry: &Entry, now: u64) -> Result<(), ReplayError> {
        let _turn = lock(&self.sweep);
        let capacity = self.capacity.load(Ordering::Relaxed);
        if self.len() < capacity {
            return Ok(());
        }
        if self.held(entry.tag(), capacity).saturating_mul(10) > capacity {
            return Err(ReplayError::KeyQuota(self.until_oldest_expires(now)));
        }
        let Some(oldest) = self.oldest() else { return Err(ReplayError::Full(self.until_oldest_expires(now))) };
        if u64::from(oldest) + MIN_WINDOW_SECS <= now {
            self.forget(oldest);
            return Ok(());
        }
        // Everything is recent, or dated ahead. Whoever pressed the others makes room for them.
        let heaviest = self.heaviest(capacity).ok_or(ReplayError::Full(Duration::from_secs(MIN_WINDOW_SECS)))?;
        self.forget_key(heaviest);
        Ok(())
    }

    /// Live proofs of a key, exactly where that may be more than a tenth.
    fn held(&self, tag: u16, capacity: usize) -> usize {
        let most = self.counter(tag).map_or(0, |counter| counter.load(Ordering::Relaxed) as usize);
        if most.saturating_mul(10) <= capacity {
            return most;
        }
        self.shards.iter().map(|shard| lock(shard).held(tag)).sum()
    }

    /// The key that holds most, if that is more than a tenth.
    fn heaviest(&self, capacity: usize) -> Option<u16> {
        // Nobody does, where no counter says so: nothing need be gone through then, with every claim while it is full.
        let suspected = |counter: &AtomicU32| (counter.load(Ordering::Relaxed) as usize).saturating_mul(10) > capacity;
        if !self.counters.iter().any(suspected) {
            return None;
        }
        let mut held: HashMap<u16, usize> = HashMap::new();
        for shard in &self.shards {
            for tag in lock(shard).tags() {
                if self.counter(tag).is_some_and(suspected) {
                    *held.entry(tag).or_default() += 1;
                }
            }
        }
        let (tag, held) = held.into_iter().max_by_key(|(_, held)| *held)?;
        (held.saturating_mul(10) > capacity).then_some(tag)
    }

    fn oldest(&self) -> Option<u32> {
        self.shards.iter().filter_map(|shard| lock(shard).oldest()).min()
    }

    fn until_oldest_expires(&self, now: u64) -> Duration {
        let oldest = self.oldest().map_or(now, u64::from);
        let end = oldest.saturating_add(self.lifetime.load(Ordering::Relaxed)).saturating_add(1);
        Duration::from_secs(end.saturating_sub(now).max(1))
    }

    /// What no clock-respecting check would let through any more. In the turn of `sweep`.
    fn forget_expired(&self, now: u64) {
        let expired = now.checked_sub(self.lifetime.load(Ordering::Relaxed) + 1);
        let Some(expired) = expired.map(|second| u32::try_from(second).unwrap_or(u32::MAX)) else { return };
        if let Some(newest) = self.shards.iter().filter_map(|shard| lock(shard).newest_until(expired)).max() {
            self.forget(newest);
        }
    }

    /// Raises the floor, and only then lets go of what lies below. In the turn of `sweep`.
    fn forget(&self, floor: u32) {
        self.floor.fetch_max(floor, Ordering::SeqCst);
        for shard in &self.shards {
            let forgotten = lock(shard).forget(floor, |tag| self.uncount(tag));
            self.release(forgotten);
        }
    }

    /// Lets go of everything of one key, which is refused up to its newest proof from then on. In the turn of `sweep`.
    fn forget_key(&self, tag: u16) {
        let newest = self.shards.iter().filter_map(|shard| lock(shard).newest_of(tag)).max();
        for shard in newest.map(|_| &self.shards).into_iter().flatten() {
            let forgotten = lock(shard).forget_key(tag, newest.unwrap_or_default(), |tag| self.uncount(tag));
            self.release(forgotten);
        }
    }

    fn release(&self, forgotten: usize) {
        self.total.fetch_sub(forgotten, Ordering::Relaxed);
        self.entries.sub(i64::try_from(forgotten).unwrap_or(i64::MAX));
    }

    fn floor(&self) -> u32 {
        self.floor.load(Ordering::SeqCst)
    }

    fn places(&self, identity: u128) -> u64 {
        self.hasher.hash_one(identity)
    }

    fn counter(&self, tag: u16) -> Option<&AtomicU32> {
        self.counters.get(usize::from(tag) % self.counters.len())
    }

    fn uncount(&self, tag: u16) {
        if let Some(counter) = self.counter(tag) {
            counter.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

fn counters(capacity: usize) -> Box<[AtomicU32]> {
    std::iter::repeat_with(AtomicU32::default).take(capacity.clamp(64, COUNTERS)).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing between lock and unlock can leave the set and the floor apart, so a poisoned lock is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn floor_of(floor: Option<u64>) -> u32 {
    floor.map_or(0, |second| u32::try_from(second).unwrap_or(u32::MAX))
}

/// Rounded up: remembered a little longer rather than too short.
fn whole_secs(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}
