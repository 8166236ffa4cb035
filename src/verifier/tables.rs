//! The tables that are held, and who gets one. It makes none and knows no clock.
//!
//! As long as there is room, a key gets a table with its `after`th good signature. Then a table is given up for another
//! key's only if that key has signed more often of late, and only as often as the tables have paid for it: making one
//! costs [`PRICE`] uses of another, about twice what it costs in time. So keys that come by in a circle too large for
//! the memory cost next to nothing, and keys that come back often find their way in. What counts is halved now and
//! then, so that who leaves makes room.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntGauge;

use crate::jose::{TableSize, Thumbprint};

use super::sightings::{MOST, Sightings};

/// Each with a lock of its own, held for a look-up; one for all where tables are so few that a key's shard might have
/// none.
const SHARDS: usize = 16;
/// Keys without a table that are remembered, for each table there may be.
const REMEMBERED: usize = 4;
/// Uses of tables that pay for a replacement.
const PRICE: u32 = 4;
/// A check without a table pays this part of one use: without it, tables that nobody uses could never be replaced.
const ALMS: u32 = 64;
/// What can be saved up, in replacements a shard.
const SAVINGS: u32 = 64;
/// Tables that may be large, however few there may be: 1 MiB ...
const LARGE_ANYWAY: usize = 64;
/// ... and that may be small: 2 MiB.
const SMALL_ANYWAY: usize = 512;
/// Tables looked at for the least used one.
const LOOKED_AT: usize = 4;
/// Good signatures without a table, for each table there may be, until counts are halved.
const AGE: usize = 4;

/// Tables by their keys' thumbprints.
pub(super) struct Tables<T> {
    shards: Box<[Mutex<Shard<T>>]>,
    hasher: RandomState,
    entries: usize,
    after: u32,
    /// Places that are taken, over all shards.
    taken: AtomicUsize,
    held: IntGauge,
}

/// A table that is held.
pub(super) struct Known<T> {
    table: T,
    /// Good signatures since it was last counted up.
    fresh: AtomicU32,
}

/// What a good signature of a key without a table leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sighting {
    /// Nothing yet.
    Noted,
    /// A table is due: the caller owes [`Tables::install`] or [`Tables::give_up`].
    Due,
}

struct Shard<T> {
    places: Vec<Place<T>>,
    at: HashMap<Thumbprint, usize>,
    sightings: Sightings,
    /// Where the look for the least used one goes on.
    hand: usize,
    /// In parts of a use: see [`ALMS`].
    budget: u32,
    until_age: usize,
}

struct Place<T> {
    key: Thumbprint,
    /// `None` while it is being made.
    table: Option<Arc<Known<T>>>,
    uses: u32,
}

impl<T> Known<T> {
    pub(super) fn table(&self) -> &T {
        &self.table
    }

    /// A signature was good.
    pub(super) fn used(&self) {
        self.fresh.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T> Tables<T> {
    /// No more than `entries` tables, for keys that have signed `after` times.
    pub(super) fn new(entries: usize, after: u32, held: IntGauge) -> Self {
        let shards = if entries < SHARDS * SHARDS { 1 } else { SHARDS };
        let a_shard = entries.div_ceil(shards);
        let shard = || Shard {
            places: Vec::new(),
            at: HashMap::new(),
            sightings: Sightings::new(a_shard * REMEMBERED),
            hand: 0,
            budget: 0,
            until_age: a_shard * AGE,
        };
        let shards = (0..shards).map(|_| Mutex::new(shard())).collect();
        Self { shards, hasher: RandomState::new(), entries, after, taken: AtomicUsize::new(0), held }
    }

    /// The key's table, if it has one.
    pub(super) fn find(&self, key: &Thumbprint) -> Option<Arc<Known<T>>> {
        let shard = self.shard(self.hasher.hash_one(key));
        let at = *shard.at.get(key)?;
        shard.places.get(at)?.table.clone()
    }

    /// A good signature by a key without a table.
    pub(super) fn seen(&self, key: &Thumbprint) -> Sighting {
        let hash = self.hasher.hash_one(key);
        let mut shard = self.shard(hash);
        shard.grow_older(self.entries.div_ceil(self.shards.len()) * AGE);
        shard.budget = (shard.budget + 1).min(SAVINGS * PRICE * ALMS);
        if shard.at.contains_key(key) {
            return Sighting::Noted;
        }
        let seen = shard.sightings.count(hash);
        if seen < self.after {
            return Sighting::Noted;
        }
        let more = |taken: usize| (taken < self.entries).then_some(taken + 1);
        let place = Place { key: *key, table: None, uses: seen.min(MOST) };
        if self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok() {
            shard.push(hash, place);
            return Sighting::Due;
        }
        if shard.budget >= PRICE * ALMS
            && let Some(at) = shard.least_used()
            && shard.places.get(at).is_some_and(|least| least.uses < seen)
        {
            shard.budget -= PRICE * ALMS;
            // Its place goes to the newcomer, and not by way of being free: another shard would take it.
            if shard.take(at).is_some_and(|least| least.table.is_some()) {
                self.held.dec();
            }
            shard.push(hash, place);
            return Sighting::Due;
        }
        Sighting::Noted
    }

    /// How large the next one may be: of those that there may be, a sixty-fourth are large, a quarter are no smaller
    /// than small, and all others are tiny. So the few have the best, and most keys have one.
    pub(super) fn size(&self) -> TableSize {
        match self.taken.load(Ordering::Relaxed) {
            taken if taken <= (self.entries / 64).max(LARGE_ANYWAY) => TableSize::Large,
            taken if taken <= (self.entries / 4).max(SMALL_ANYWAY) => TableSize::Small,
            _ => TableSize::Tiny,
        }
    }

    /// The table that was due.
    pub(super) fn install(&self, key: &Thumbprint, table: T) {
        let mut shard = self.shard(self.hasher.hash_one(key));
        if let Some(at) = shard.at.get(key).copied()
            && let Some(place) = shard.places.get_mut(at)
        {
            if place.table.is_none() {
                self.held.inc();
            }
            place.table = Some(Arc::new(Known { table, fresh: AtomicU32::new(0) }));
        }
    }

    /// The table that was due does not come: the key is a stranger again, and the table that it took the place of is
    /// gone. The budget bounds how often that is.
    pub(super) fn give_up(&self, key: &Thumbprint) {
        let mut shard = self.shard(self.hasher.hash_one(key));
        if let Some(at) = shard.at.get(key).copied() {
            self.remove(&mut shard, at);
        }
    }

    fn remove(&self, shard: &mut Shard<T>, at: usize) {
        if let Some(place) = shard.take(at) {
            self.taken.fetch_sub(1, Ordering::Relaxed);
            if place.table.is_some() {
                self.held.dec();
            }
        }
    }

    fn shard(&self, hash: u64) -> MutexGuard<'_, Shard<T>> {
        let at = usize::try_from(hash).unwrap_or_default() % self.shards.len();
        #[allow(clippy::indexing_slicing, reason = "there are so many, and at least one")]
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tables that go with a reload are held no more.
impl<T> Drop for Tables<T> {
    fn drop(&mut self) {
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let held = shard.places.iter().filter(|place| place.table.is_some()).count();
            self.held.sub(i64::try_from(held).unwrap_or_default());
        }
    }
}

impl<T> Shard<T> {
    fn push(&mut self, hash: u64, place: Place<T>) {
        self.sightings.forget(hash);
        self.at.insert(place.key, self.places.len());
        self.places.push(place);
    }

    fn take(&mut self, at: usize) -> Option<Place<T>> {
        if at >= self.places.len() {
            return None;
        }
        let place = self.places.swap_remove(at);
        self.at.remove(&place.key);
        if let Some(moved) = self.places.get(at) {
            self.at.insert(moved.key, at);
        }
        Some(place)
    }

    /// The least used of some; their uses go to the budget. One that is being made stays.
    fn least_used(&mut self) -> Option<usize> {
        let length = self.places.len();
        let mut least = None;
        for _ in 0..LOOKED_AT.min(length) {
            self.hand = (self.hand + 1) % length;
            let at = self.hand;
            if let Some(uses) = self.count_up(at)
                && least.is_none_or(|(_, fewest)| uses < fewest)
            {
                least = Some((at, uses));
            }
        }
        least.map(|(at, _)| at)
    }

    /// Takes what one table has earned since; its uses. `None` while it is being made.
    fn count_up(&mut self, at: usize) -> Option<u32> {
        let place = self.places.get_mut(at)?;
        let fresh = place.table.as_ref()?.fresh.swap(0, Ordering::Relaxed);
        place.uses = place.uses.saturating_add(fresh).min(MOST);
        self.budget = self.budget.saturating_add(fresh.saturating_mul(ALMS)).min(SAVINGS * PRICE * ALMS);
        Some(place.uses)
    }

    /// Halves what counts, once in so many signatures.
    fn grow_older(&mut self, period: usize) {
        self.until_age = self.until_age.saturating_sub(1);
        if self.until_age > 0 {
            return;
        }
        self.until_age = period;
        self.sightings.age();
        for at in 0..self.places.len() {
            self.count_up(at);
        }
        self.places.iter_mut().for_each(|place| place.uses /= 2);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn tables(entries: usize, after: u32) -> Tables<()> {
        Tables::new(entries, after, IntGauge::new("held", "held").unwrap())
    }

    fn key(number: u64) -> Thumbprint {
        let mut bytes = [0; 32];
        bytes.iter_mut().zip(number.to_be_bytes()).for_each(|(to, from)| *to = from);
        Thumbprint::from_bytes(bytes)
    }

    /// What a number of requests came to.
    #[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
    struct Tally {
        by_table: u64,
        built: u64,
    }

    /// Good signatures by these keys, each table made at once.
    fn sign(tables: &Tables<()>, keys: impl Iterator<Item = u64>) -> Tally {
        let mut tally = Tally::default();
        for number in keys {
            match tables.find(&key(number)) {
                Some(known) => {
                    known.used();
                    tally.by_table += 1;
                }
                None if tables.seen(&key(number)) == Sighting::Due => {
                    tables.install(&key(number), ());
                    tally.built += 1;
                }
                None => {}
            }
        }
        tally
    }

    #[test]
    fn the_first_tables_are_large_and_most_are_tiny() {
        for (entries, large, small) in [(50, 50, 0), (1000, 64, 448), (50_000, 781, 11_719)] {
            let tables = tables(entries, 1);
            let mut sizes = [0; 3];
            for number in 0..u64::try_from(entries).unwrap() {
                if tables.seen(&key(number)) == Sighting::Due {
                    *sizes.get_mut(tables.size() as usize).unwrap() += 1;
                }
            }
            assert_eq!(sizes, [entries - large - small, small, large], "{entries}");
        }
    }

    #[test]
    fn clients_that_fit_have_their_tables_soon_and_keep_them() {
        let tables = tables(1000, 2);
        assert_eq!(sign(&tables, 0..1000), Tally { by_table: 0, built: 0 });
        // A few share a place in the memory of sightings with too many others, and come a round later.
        assert!(sign(&tables, 0..1000).built > 950);
        sign(&tables, (0..1000).cycle().take(5000));
        for _ in 0..20 {
            assert_eq!(sign(&tables, 0..1000), Tally { by_table: 1000, built: 0 });
        }
        assert_eq!(tables.held.get(), 1000);
    }

    #[test]
    fn there_are_never_more_tables_than_entries() {
        for entries in [1, 3, 100] {
            let tables = tables(entries, 1);
            for round in 0..50 {
                sign(&tables, (0..500).map(|number| number * (round % 3 + 1)));
                assert!(tables.taken.load(Ordering::Relaxed) <= entries);
                let places = tables.shards.iter().map(|shard| shard.lock().unwrap().places.len()).sum::<usize>();
                assert_eq!(places, tables.taken.load(Ordering::Relaxed));
                assert_eq!(tables.held.get(), i64::try_from(places).unwrap());
            }
        }
    }

    #[test]
    fn nor_are_there_where_many_threads_take_places_from_one_another() {
        let tables = tables(300, 1);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let tables = &tables;
                scope.spawn(move || {
                    for round in 0..40 {
                        sign(tables, (0..500).map(|number| number * 7 + thread * 900 + round % 3));
                    }
                });
            }
        });
        let places: usize = tables.shards.iter().map(|shard| shard.lock().unwrap().places.len()).sum();
        assert_eq!((places, tables.taken.load(Ordering::Relaxed)), (300, 300));
        assert_eq!(tables.held.get(), 300);
    }

    #[test]
    fn a_few_tables_are_for_any_key() {
        for number in 0..100 {
            let tables = tables(1, 1);
            assert_eq!(sign(&tables, [number, number].into_iter()), Tally { by_table: 1, built: 1 });
        }
    }

    #[test]
    fn a_key_asks_once_until_its_table_is_there_or_given_up() {
        let tables = tables(10, 2);
        let seen = || tables.seen(&key(1));
        assert_eq!(
            [seen(), seen(), seen(), seen()],
            [Sighting::Noted, Sighting::Due, Sighting::Noted, Sighting::Noted]
        );
        assert!(tables.find(&key(1)).is_none());
        tables.give_up(&key(1));
        assert_eq!([seen(), seen()], [Sighting::Noted, Sighting::Due]);
        tables.install(&key(1), ());
        assert!(tables.find(&key(1)).is_some());
        // Too late for what is not due any more.
        tables.install(&key(2), ());
        tables.give_up(&key(3));
        assert!(tables.find(&key(2)).is_none());
    }

    #[test]
    fn keys_that_come_once_get_nothing() {
        assert_eq!(sign(&tables(1000, 2), 0..200_000), Tally::default());
    }

    #[test]
    fn a_circle_ten_times_too_large_pays_for_its_tables() {
        let tables = tables(1000, 2);
        sign(&tables, (0..10_000).cycle().take(50_000));
        let requests = 500_000;
        let tally = sign(&tables, (0..10_000).cycle().take(requests));
        // Twice what a table costs in time, once more than uses; and the alms.
        let paid = tally.by_table / u64::from(PRICE) + u64::try_from(requests).unwrap() / u64::from(PRICE * ALMS);
        assert!(tally.built <= paid + u64::from(SAVINGS) * 16, "{tally:?}");
    }

    #[test]
    fn who_comes_often_takes_the_place_of_who_has_left() {
        let tables = tables(1600, 2);
        // A first population fills it, and is gone; a second one as large comes for good. Where more of it fall to one
        // shard than of the first, some stay without.
        sign(&tables, (0..1600).cycle().take(16_000));
        sign(&tables, (10_000..11_600).cycle().take(200_000));
        let tally = sign(&tables, 10_000..11_600);
        assert!(tally.by_table > 1_440, "{tally:?}");
    }

    #[test]
    fn keys_that_are_in_use_are_not_pressed_out_by_a_crowd_of_others() {
        let tables = tables(100, 2);
        sign(&tables, (0..100).cycle().take(1_000));
        // A crowd that signs with each key three times, and never again.
        for crowd in 0..2_000 {
            sign(&tables, (0..100).chain((0..30).map(|at| 10_000 + crowd * 10 + at % 10)));
        }
        let tally = sign(&tables, 0..100);
        assert!(tally.by_table >= 95, "{tally:?}");
    }
}
