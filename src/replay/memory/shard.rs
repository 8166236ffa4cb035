//! One shard: a table of slots, and how many of them count.
//!
//! A proof has two buckets and goes to the emptier one; so four slots in five can be in use and still none is turned
//! away. A slot whose second lies at or below the floor is free: nothing has to be moved or cleared when time passes.
//! A key that pressed the others has a floor of its own.
//!
//! A slot has 12 bytes, so its second is one of the 65,535 after the shard's *base*. Every twelve hours or so the base
//! moves, and the table is gone through once.

use std::collections::{BTreeMap, HashMap};

/// Slots of a bucket: three cache lines.
const BUCKET_SLOTS: usize = 16;
/// Slots for each proof that the shard should hold: 5 to 4.
const SLOTS_OF_PROOFS: (usize, usize) = (5, 4);
/// A shard's smallest table.
const MIN_BUCKETS: usize = 2;
/// Keys that are counted exactly at once; only nine can hold more than a tenth.
const MAX_SUSPECTS: usize = 64;
/// Seconds that a slot can tell apart: live proofs span minutes, unless the clock was set back by most of a day.
const SPAN: u32 = (1 << 16) - 1;
/// A new base leaves that many seconds before the oldest proof, for those that are older still.
const SLACK: u32 = SPAN / 4;
/// Of a slot: the tag and the digest, without the second.
const IDENTITY: u128 = (1 << 80) - 1;

/// A proof as it is kept: its second, 16 bits that stand for its key, 64 of its digest. Two proofs are taken for one
/// where the latter 80 agree: then the later one is refused.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry {
    second: u32,
    /// `tag << 64 | digest`.
    identity: u128,
    /// Where it goes: a hash of its identity, unknown outside.
    places: u64,
}

/// A proof's place in the table: `(second - base) << 80 | tag << 64 | digest`; 0 was never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot([u32; 3]);

/// The table.
#[derive(Debug)]
pub(super) struct Shard {
    /// As [`Slot`] has them: so an empty table is not written before it is used.
    slots: Box<[[u32; 3]]>,
    /// What found both of its buckets full: next to nothing.
    overflow: Vec<Slot>,
    /// Live proofs by second.
    seconds: BTreeMap<u32, u32>,
    /// Of keys that may hold more than a tenth: live proofs by second.
    suspects: HashMap<u16, BTreeMap<u32, u32>>,
    floors: Floors,
}

/// What has been forgotten, and is refused: of all keys, and of some.
#[derive(Debug, Default)]
struct Floors {
    /// The second before the first that a slot can tell.
    base: u32,
    /// As last seen in [`MemoryStore`](super::MemoryStore).
    all: u32,
    keys: HashMap<u16, u32>,
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
        let identity = u128::from(key as u16) << 64 | u128::from(digest as u64);
        Self { second, identity, places: places(identity) }
    }

    pub(super) fn second(&self) -> u32 {
        self.second
    }

    pub(super) fn tag(&self) -> u16 {
        tag_of(self.identity)
    }

    /// The shard that it belongs to, of so many.
    #[allow(clippy::cast_possible_truncation, reason = "the low bits; the buckets go by the high ones of each half")]
    pub(super) fn shard(&self, shards: usize) -> usize {
        self.places as usize % shards
    }
}

#[allow(clippy::cast_possible_truncation, reason = "the 16 bits above the digest")]
fn tag_of(identity: u128) -> u16 {
    (identity >> 64) as u16
}

impl Slot {
    const UNUSED: Self = Self([0; 3]);

    /// `after` the base, 1 to [`SPAN`].
    #[allow(clippy::cast_possible_truncation, reason = "taken apart in words")]
    fn new(after: u32, identity: u128) -> Self {
        let whole = u128::from(after) << 80 | identity;
        Self([(whole >> 64) as u32, (whole >> 32) as u32, whole as u32])
    }

    fn after(self) -> u32 {
        self.0[0] >> 16
    }

    #[allow(clippy::cast_possible_truncation, reason = "the lower half")]
    fn tag(self) -> u16 {
        self.0[0] as u16
    }

    fn identity(self) -> u128 {
        let [high, middle, low] = self.0;
        (u128::from(high) << 64 | u128::from(middle) << 32 | u128::from(low)) & IDENTITY
    }
}

impl Floors {
    fn second(&self, slot: Slot) -> u32 {
        self.base.saturating_add(slot.after())
    }

    fn is_live(&self, slot: Slot) -> bool {
        let second = self.second(slot);
        slot != Slot::UNUSED && second > self.all && self.of(slot.tag()).is_none_or(|floor| second > floor)
    }

    fn of(&self, tag: u16) -> Option<u32> {
        // Nearly always there is none at all.
        if self.keys.is_empty() { None } else { self.keys.get(&tag).copied() }
    }

    /// The slot of a proof; `None` where the base is too far away.
    fn slot(&self, second: u32, identity: u128) -> Option<Slot> {
        let after = second.checked_sub(self.base)?;
        (1..=SPAN).contains(&after).then(|| Slot::new(after, identity))
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
        let [one, other] = self.buckets(entry.places).map(|bucket| self.scan(bucket, entry.identity).found);
        if one || other || self.overflow.iter().any(|slot| self.is_of(*slot, entry.identity)) {
            return Look::Known;
        }
        // What no slot could tell apart from the live ones is as if forgotten.
        if (floor > 0 && entry.second() <= floor) || self.base_for(entry.second()).is_none() {
            return Look::Forgotten;
        }
        match self.floors.of(entry.tag()) {
            Some(floor) if entry.second() <= floor => Look::KeyForgotten(floor),
            Some(_) | None => Look::New,
        }
    }

    /// Puts in a proof that is new; `freed` hears the tags of stale ones whose slots are used again. `None` for one
    /// that no slot can tell apart from the live ones: it is not kept, and must not be granted.
    #[must_use]
    pub(super) fn insert(&mut self, entry: &Entry, mut freed: impl FnMut(u16)) -> Option<()> {
        let base = self.base_for(entry.second())?;
        if base != self.floors.base {
            self.rebase(base, &mut freed);
        }
        let slot = self.floors.slot(entry.second(), entry.identity)?;
        *self.seconds.entry(entry.second()).or_default() += 1;
        if let Some(held) = self.suspects.get_mut(&entry.tag()) {
            *held.entry(entry.second()).or_default() += 1;
        }
        self.put(slot, entry.places, freed);
        Some(())
    }

    fn put(&mut self, slot: Slot, places: u64, mut freed: impl FnMut(u16)) {
        let [one, other] = self.buckets(places).map(|bucket| self.scan(bucket, slot.identity()));
        let at = if one.free >= other.free { one.at } else { other.at };
        let Some(place) = at.and_then(|at| self.slots.get_mut(at)) else {
            self.overflow.push(slot);
            return;
        };
        let stale = Slot(std::mem::replace(place, slot.0));
        if stale != Slot::UNUSED {
            freed(stale.tag());
        }
    }

    /// The base by which a second and all live ones can be told: the one there is, if it serves. `None` where they
    /// lie further apart than [`SPAN`].
    fn base_for(&self, second: u32) -> Option<u32> {
        let base = self.floors.base;
        if second.checked_sub(base).is_some_and(|after| (1..=SPAN).contains(&after)) {
            return Some(base);
        }
        let oldest = self.oldest().map_or(second, |oldest| oldest.min(second));
        let newest = self.seconds.last_key_value().map_or(second, |(newest, _)| second.max(*newest));
        let latest = oldest.checked_sub(1)?;
        let earliest = newest.saturating_sub(SPAN);
        (earliest <= latest).then(|| latest.saturating_sub(SLACK).max(earliest))
    }

    /// Counts from another base, and clears what is stale.
    fn rebase(&mut self, base: u32, mut freed: impl FnMut(u16)) {
        let old = &self.floors;
        let new = Floors { base, all: old.all, keys: HashMap::new() };
        let moved = |slot: Slot| if old.is_live(slot) { new.slot(old.second(slot), slot.identity()) } else { None };
        for place in &mut self.slots {
            let slot = Slot(*place);
            let moved = moved(slot).unwrap_or(Slot::UNUSED);
            if slot != Slot::UNUSED && moved == Slot::UNUSED {
                freed(slot.tag());
            }
            *place = moved.0;
        }
        self.overflow.retain_mut(|slot| {
            let moved = moved(*slot);
            match moved {
                Some(moved) => *slot = moved,
                None => freed(slot.tag()),
            }
            moved.is_some()
        });
        self.floors.base = base;
    }

    /// Stops counting what lies at or below the floor, and says how many that were.
    pub(super) fn forget(&mut self, floor: u32, freed: impl FnMut(u16)) -> usize {
        let floor = floor.max(self.floors.all);
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
    pub(super) fn forget_key(&mut self, tag: u16, floor: u32, freed: impl FnMut(u16)) -> usize {
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

    fn tidy_overflow(&mut self, mut freed: impl FnMut(u16)) {
        let floors = &self.floors;
        self.overflow.retain(|slot| {
            let stays = floors.is_live(*slot);
            if !stays {
                freed(slot.tag());
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
    pub(super) fn held(&mut self, tag: u16) -> usize {
        self.count(tag).values().map(|count| *count as usize).sum()
    }

    /// The newest second of a key with a live proof.
    pub(super) fn newest_of(&mut self, tag: u16) -> Option<u32> {
        self.count(tag).last_key_value().map(|(second, _)| *second)
    }

    /// The tags of live proofs, each as often as it is there.
    pub(super) fn tags(&self) -> impl Iterator<Item = u16> {
        self.live().map(Slot::tag)
    }

    fn live(&self) -> impl Iterator<Item = Slot> {
        let in_table = self.slots.iter().map(|words| Slot(*words));
        in_table.chain(self.overflow.iter().copied()).filter(|slot| self.floors.is_live(*slot))
    }

    /// Counted once over the whole table, and kept up from then on.
    fn count(&mut self, tag: u16) -> &BTreeMap<u32, u32> {
        if !self.suspects.contains_key(&tag) && self.suspects.len() >= MAX_SUSPECTS {
            self.suspects.clear();
        }
        let counted = (!self.suspects.contains_key(&tag)).then(|| {
            let mut held: BTreeMap<u32, u32> = BTreeMap::new();
            for slot in self.live().filter(|slot| slot.tag() == tag) {
                *held.entry(self.floors.second(slot)).or_default() += 1;
            }
            held
        });
        self.suspects.entry(tag).or_insert_with(|| counted.unwrap_or_default())
    }

    /// Moves to a table for so many proofs.
    pub(super) fn resize(&mut self, proofs: usize, places: impl Fn(u128) -> u64, mut freed: impl FnMut(u16)) {
        let slots = std::mem::replace(&mut self.slots, table(proofs));
        let overflow = std::mem::take(&mut self.overflow);
        for slot in slots.into_iter().map(Slot).chain(overflow).filter(|slot| *slot != Slot::UNUSED) {
            if self.floors.is_live(slot) {
                self.put(slot, places(slot.identity()), |_| {});
            } else {
                freed(slot.tag());
            }
        }
    }

    fn buckets(&self, places: u64) -> [usize; 2] {
        let buckets = (self.slots.len() / BUCKET_SLOTS) as u64;
        #[allow(clippy::cast_possible_truncation, reason = "less than the number of buckets")]
        [places & u64::from(u32::MAX), places >> 32].map(|half| ((half * buckets) >> 32) as usize)
    }

    fn scan(&self, bucket: usize, identity: u128) -> Scan {
        let start = bucket * BUCKET_SLOTS;
        let mut scan = Scan { found: false, free: 0, at: None };
        for (index, words) in self.slots.get(start..start + BUCKET_SLOTS).unwrap_or_default().iter().enumerate() {
            let slot = Slot(*words);
            if !self.floors.is_live(slot) {
                scan.free += 1;
                scan.at = Some(start + index);
            } else if slot.identity() == identity {
                scan.found = true;
            }
        }
        scan
    }

    fn is_of(&self, slot: Slot, identity: u128) -> bool {
        self.floors.is_live(slot) && slot.identity() == identity
    }
}

/// All zero, and none of it resident before it is used.
fn table(proofs: usize) -> Box<[[u32; 3]]> {
    let (slots, of) = SLOTS_OF_PROOFS;
    let buckets = (proofs * slots).div_ceil(of * BUCKET_SLOTS).max(MIN_BUCKETS);
    vec![[0; 3]; buckets * BUCKET_SLOTS].into_boxed_slice()
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
            assert_eq!(shard.insert(&entry, |_| {}), Some(()));
        }
        assert!(shard.overflow.len() < PROOFS as usize / 100, "{} found no place", shard.overflow.len());
    }
}
