//! One shard: a table of slots, and how many of them count.
//!
//! A proof has two buckets and goes to the emptier one; so four slots in five can be in use and still none is turned
//! away. A slot whose second lies at or below the floor is free: nothing has to be moved or cleared when time passes.
//! A key that pressed the others has a floor of its own.

use std::collections::{BTreeMap, HashMap};

/// Slots of a bucket: four cache lines.
const BUCKET_SLOTS: usize = 16;
/// Slots for each proof that the shard should hold: 5 to 4.
const SLOTS_OF_PROOFS: (usize, usize) = (5, 4);
/// A shard's smallest table.
const MIN_BUCKETS: usize = 2;
/// Keys that are counted exactly at once; only nine can hold more than a tenth.
const MAX_SUSPECTS: usize = 64;
/// Of a slot: the tag and the digest, without the second.
const IDENTITY: u128 = (1 << 96) - 1;

/// A proof as it is kept: 32 bits of second, 32 that stand for its key, 64 of its digest. Two proofs are taken for one
/// where the latter 96 agree: then the later one is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    slot: u128,
    /// Where it goes: a hash of its identity, unknown outside.
    places: u64,
}

/// The table.
#[derive(Debug)]
pub(super) struct Shard {
    /// `second << 96 | tag << 64 | digest`; 0 was never used.
    slots: Box<[u128]>,
    /// What found both of its buckets full: next to nothing.
    overflow: Vec<u128>,
    /// Live proofs by second.
    seconds: BTreeMap<u32, u32>,
    /// Of keys that may hold more than a tenth: live proofs by second.
    suspects: HashMap<u32, BTreeMap<u32, u32>>,
    floors: Floors,
}

/// What has been forgotten, and is refused: of all keys, and of some.
#[derive(Debug, Default)]
struct Floors {
    /// As last seen in [`MemoryStore`](super::MemoryStore).
    all: u32,
    keys: HashMap<u32, u32>,
}

/// What a shard says of a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    New,
    Known,
    /// At or below the floor.
    Forgotten,
    /// At or below the floor of its own key, which is at that second.
    KeyForgotten(u32),
}

/// What one bucket says of a proof.
struct Scan {
    found: bool,
    free: usize,
    at: Option<usize>,
}

impl Entry {
    /// `key` is a hash of the proof's key, unknown outside as what `places` makes of an identity.
    #[allow(clippy::cast_possible_truncation, reason = "as many bits as there is room for")]
    pub(super) fn new(second: u32, key: u64, digest: u128, places: impl Fn(u128) -> u64) -> Self {
        let slot = u128::from(second) << 96 | u128::from(key as u32) << 64 | u128::from(digest as u64);
        Self { slot, places: places(slot & IDENTITY) }
    }

    pub(super) fn second(&self) -> u32 {
        second_of(self.slot)
    }

    pub(super) fn tag(&self) -> u32 {
        tag_of(self.slot)
    }

    /// The shard that it belongs to, of so many.
    #[allow(clippy::cast_possible_truncation, reason = "the low bits; the buckets go by the high ones of each half")]
    pub(super) fn shard(&self, shards: usize) -> usize {
        self.places as usize % shards
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the upper 32 bits")]
fn second_of(slot: u128) -> u32 {
    (slot >> 96) as u32
}

#[allow(clippy::cast_possible_truncation, reason = "the 32 bits below the second")]
fn tag_of(slot: u128) -> u32 {
    (slot >> 64) as u32
}

impl Floors {
    fn is_live(&self, slot: u128) -> bool {
        slot != 0 && second_of(slot) > self.all && self.of(tag_of(slot)).is_none_or(|floor| second_of(slot) > floor)
    }

    fn of(&self, tag: u32) -> Option<u32> {
        // Nearly always there is none at all.
        if self.keys.is_empty() { None } else { self.keys.get(&tag).copied() }
    }
}

impl Shard {
    /// With room for so many proofs.
    pub(super) fn new(proofs: usize) -> Self {
        Self {
            slots: table(proofs),
            overflow: Vec::new(),
            seconds: BTreeMap::new(),
            suspects: HashMap::new(),
            floors: Floors::default(),
        }
    }

    /// What is known of a proof, under any second; `floor` is the floor of all keys now.
    pub(super) fn look(&mut self, entry: &Entry, floor: u32) -> Look {
        self.floors.all = floor;
        let [one, other] = self.buckets(entry).map(|bucket| self.scan(bucket, entry).found);
        if one || other || self.overflow.iter().any(|slot| self.floors.is_live(*slot) && is_of(*slot, entry)) {
            return Look::Known;
        }
        if floor > 0 && entry.second() <= floor {
            return Look::Forgotten;
        }
        match self.floors.of(entry.tag()) {
            Some(floor) if entry.second() <= floor => Look::KeyForgotten(floor),
            Some(_) | None => Look::New,
        }
    }

    /// Puts in a proof that is new; the tag of the stale one whose slot it took, if any.
    pub(super) fn insert(&mut self, entry: &Entry) -> Option<u32> {
        *self.seconds.entry(entry.second()).or_default() += 1;
        if let Some(held) = self.suspects.get_mut(&entry.tag()) {
            *held.entry(entry.second()).or_default() += 1;
        }
        self.put(entry)
    }

    fn put(&mut self, entry: &Entry) -> Option<u32> {
        let [one, other] = self.buckets(entry).map(|bucket| self.scan(bucket, entry));
        let at = if one.free >= other.free { one.at } else { other.at };
        let Some(place) = at.and_then(|at| self.slots.get_mut(at)) else {
            self.overflow.push(entry.slot);
            return None;
        };
        let stale = std::mem::replace(place, entry.slot);
        (stale != 0).then(|| tag_of(stale))
    }

    /// Stops counting what lies at or below the floor, and says how many that were.
    pub(super) fn forget(&mut self, floor: u32, freed: impl FnMut(u32)) -> usize {
        self.floors.all = floor;
        self.floors.keys.retain(|_, of_key| *of_key > floor);
        let above = self.seconds.split_off(&floor.saturating_add(1));
        let below = std::mem::replace(&mut self.seconds, above);
        self.suspects.retain(|_, held| {
            *held = held.split_off(&floor.saturating_add(1));
            !held.is_empty()
        });
        self.tidy_overflow(freed);
        below.values().map(|count| *count as usize).sum()
    }

    /// The same for one key alone.
    pub(super) fn forget_key(&mut self, tag: u32, floor: u32, freed: impl FnMut(u32)) -> usize {
        self.count(tag);
        let mut forgotten = 0;
        for (second, count) in self.suspects.remove(&tag).unwrap_or_default().range(..=floor) {
            forgotten += *count as usize;
            if let Some(all) = self.seconds.get_mut(second) {
                *all -= *count;
            }
        }
        self.seconds.retain(|_, count| *count > 0);
        let of_key = self.floors.keys.entry(tag).or_default();
        *of_key = floor.max(*of_key);
        self.tidy_overflow(freed);
        forgotten
    }

    fn tidy_overflow(&mut self, mut freed: impl FnMut(u32)) {
        let floors = &self.floors;
        self.overflow.retain(|slot| {
            let stays = floors.is_live(*slot);
            if !stays {
                freed(tag_of(*slot));
            }
            stays
        });
    }

    /// The oldest second with a live proof.
    pub(super) fn oldest(&self) -> Option<u32> {
        self.seconds.first_key_value().map(|(second, _)| *second)
    }

    /// The newest second up to that one with a live proof.
    pub(super) fn newest_until(&self, second: u32) -> Option<u32> {
        self.seconds.range(..=second).next_back().map(|(second, _)| *second)
    }

    /// Live proofs of a key by second.
    pub(super) fn held(&mut self, tag: u32) -> usize {
        self.count(tag).values().map(|count| *count as usize).sum()
    }

    /// The newest second of a key with a live proof.
    pub(super) fn newest_of(&mut self, tag: u32) -> Option<u32> {
        self.count(tag).last_key_value().map(|(second, _)| *second)
    }

    /// The tags of live proofs, each as often as it is there.
    pub(super) fn tags(&self) -> impl Iterator<Item = u32> {
        self.live().map(tag_of)
    }

    fn live(&self) -> impl Iterator<Item = u128> {
        self.slots.iter().chain(&self.overflow).copied().filter(|slot| self.floors.is_live(*slot))
    }

    /// Counted once over the whole table, and kept up from then on.
    fn count(&mut self, tag: u32) -> &BTreeMap<u32, u32> {
        if !self.suspects.contains_key(&tag) && self.suspects.len() >= MAX_SUSPECTS {
            self.suspects.clear();
        }
        let counted = (!self.suspects.contains_key(&tag)).then(|| {
            let mut held: BTreeMap<u32, u32> = BTreeMap::new();
            for slot in self.live().filter(|slot| tag_of(*slot) == tag) {
                *held.entry(second_of(slot)).or_default() += 1;
            }
            held
        });
        self.suspects.entry(tag).or_insert_with(|| counted.unwrap_or_default())
    }

    /// Moves to a table for so many proofs.
    pub(super) fn resize(&mut self, proofs: usize, places: impl Fn(u128) -> u64, mut freed: impl FnMut(u32)) {
        let slots = std::mem::replace(&mut self.slots, table(proofs));
        let overflow = std::mem::take(&mut self.overflow);
        for slot in slots.into_iter().chain(overflow).filter(|slot| *slot != 0) {
            if self.floors.is_live(slot) {
                self.put(&Entry { slot, places: places(slot & IDENTITY) });
            } else {
                freed(tag_of(slot));
            }
        }
    }

    fn buckets(&self, entry: &Entry) -> [usize; 2] {
        let buckets = (self.slots.len() / BUCKET_SLOTS) as u64;
        #[allow(clippy::cast_possible_truncation, reason = "less than the number of buckets")]
        [entry.places & u64::from(u32::MAX), entry.places >> 32].map(|half| ((half * buckets) >> 32) as usize)
    }

    fn scan(&self, bucket: usize, entry: &Entry) -> Scan {
        let start = bucket * BUCKET_SLOTS;
        let mut scan = Scan { found: false, free: 0, at: None };
        for (index, slot) in self.slots.get(start..start + BUCKET_SLOTS).unwrap_or_default().iter().enumerate() {
            if !self.floors.is_live(*slot) {
                scan.free += 1;
                scan.at = Some(start + index);
            } else if is_of(*slot, entry) {
                scan.found = true;
            }
        }
        scan
    }
}

fn is_of(slot: u128, entry: &Entry) -> bool {
    (slot ^ entry.slot) & IDENTITY == 0
}

/// All zero, and none of it resident before it is used.
fn table(proofs: usize) -> Box<[u128]> {
    let (slots, of) = SLOTS_OF_PROOFS;
    let buckets = (proofs * slots).div_ceil(of * BUCKET_SLOTS).max(MIN_BUCKETS);
    vec![0; buckets * BUCKET_SLOTS].into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, RandomState};

    use super::*;

    #[test]
    fn a_full_table_turns_next_to_nothing_away_from_its_buckets() {
        const PROOFS: u32 = 16_000;
        let hasher = RandomState::new();
        let mut shard = Shard::new(PROOFS as usize);
        // Filled, then renewed twice over while what is oldest goes.
        for number in 0..3 * PROOFS {
            let second = 1 + number / 200;
            shard.forget(second.saturating_sub(PROOFS / 200), |_| {});
            let key = hasher.hash_one(number);
            let entry = Entry::new(second, key, u128::from(key) << 7, |identity| hasher.hash_one(identity));
            shard.insert(&entry);
        }
        assert!(shard.overflow.len() < PROOFS as usize / 100, "{} found no place", shard.overflow.len());
    }
}
