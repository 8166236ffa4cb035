//! How often keys without a table have signed: a bounded memory that forgets the rarest first.

/// Places in which a key may stand; of those the rarest is forgotten when another key needs one.
const WAYS: usize = 4;

/// Counts by the hash of a key. Two keys may be taken for one another, which decides over nothing but who gets a table.
pub(super) struct Sightings {
    /// The upper 56 bits of the hash and a count; 0 is free. Sets of [`WAYS`], a power of two of them; none before the
    /// first count, for a gate at rest is small.
    places: Box<[u64]>,
    sets: usize,
}

/// The bits of a place that count.
const COUNT: u64 = 0xff;
/// Counts end here, so that what was often long ago is forgotten in a few halvings.
pub(super) const MOST: u32 = 63;

impl Sightings {
    /// For at least that many keys, 8 bytes each.
    pub(super) fn new(keys: usize) -> Self {
        Self { places: Box::default(), sets: keys.div_ceil(WAYS).next_power_of_two() }
    }

    /// Counts one, and says how many that makes, up to [`MOST`].
    pub(super) fn count(&mut self, hash: u64) -> u32 {
        if self.places.is_empty() {
            self.places = vec![0; self.sets * WAYS].into();
        }
        let Some(places) = self.set(hash) else { return 0 };
        let tag = hash & !COUNT;
        let count = |place: &u64| place & COUNT;
        if let Some(place) = places.iter_mut().find(|place| **place & !COUNT == tag && count(place) > 0) {
            *place = tag | (count(place) + 1).min(u64::from(MOST));
            return u32::try_from(count(place)).unwrap_or(u32::MAX);
        }
        // Of those that are equally rare the newest gives way: where keys come in turn, more than fit, the oldest reach
        // what they need and leave their room to others. If the oldest gave way, none ever would.
        places.sort_by_key(|place| std::cmp::Reverse(count(place)));
        if let Some(last) = places.last_mut() {
            *last = tag | 1;
        }
        1
    }

    /// Makes the room of a key that needs none any more free.
    pub(super) fn forget(&mut self, hash: u64) {
        let tag = hash & !COUNT;
        if let Some(place) = self.set(hash).and_then(|set| set.iter_mut().find(|place| **place & !COUNT == tag)) {
            *place = 0;
        }
    }

    /// By other bits than those that chose the shard.
    fn set(&mut self, hash: u64) -> Option<&mut [u64]> {
        let set = usize::try_from(hash >> 16 & 0xffff_ffff).unwrap_or_default() & (self.sets - 1);
        self.places.get_mut(set * WAYS..(set + 1) * WAYS)
    }

    /// Halves every count.
    pub(super) fn age(&mut self) {
        for place in &mut self.places {
            let count = (*place & COUNT) / 2;
            *place = if count == 0 { 0 } else { *place & !COUNT | count };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_counted_each_for_itself() {
        let mut sightings = Sightings::new(64);
        for hash in [1 << 8, 2 << 40, 3 << 60] {
            assert_eq!([sightings.count(hash), sightings.count(hash), sightings.count(hash)], [1, 2, 3]);
        }
        for _ in 0..1000 {
            sightings.count(9 << 8);
        }
        assert_eq!(sightings.count(9 << 8), MOST);
        sightings.age();
        assert_eq!((sightings.count(1 << 8), sightings.count(9 << 8)), (2, MOST / 2 + 1));
    }

    #[test]
    fn the_rarest_are_forgotten_first_and_the_memory_stays_as_large_as_it_is() {
        let mut sightings = Sightings::new(4);
        for _ in 0..5 {
            sightings.count(1 << 8);
        }
        for stranger in 2..1000 {
            assert_eq!(sightings.count(stranger << 8), 1);
        }
        assert_eq!(sightings.count(1 << 8), 6);
        assert_eq!(sightings.places.len(), 4);
        sightings.forget(1 << 8);
        assert_eq!(sightings.count(1 << 8), 1);
    }
}
