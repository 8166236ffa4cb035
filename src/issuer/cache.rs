//! Verified tokens by digest, so that a token costs one signature or one introspection, not one a request.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::clock::Timestamp;
use crate::secret::TokenDigest;
use crate::token::VerifiedToken;

/// Shards, each with a lock of its own, of a cache that is large enough to be worth it.
const SHARDS: usize = 16;

/// What a token costs beside its own memory, in bytes: its place in the list and in the table.
const BOOKS: usize = 200;

/// A cache that is bounded in tokens and in bytes; the least recently used token goes first.
pub(super) struct TokenCache {
    shards: Box<[Mutex<Shard>]>,
    /// Of one shard.
    tokens: usize,
    bytes: usize,
}

struct Shard {
    /// Without a bound of its own, which would have its memory taken at once.
    kept: LruCache<TokenDigest, Entry>,
    /// What they take.
    bytes: usize,
}

/// A token, and for how long the reason to believe it lasts.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) token: Arc<VerifiedToken>,
    pub(super) vouched: Vouched,
}

/// Who vouched for a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vouched {
    /// That generation of an issuer's keys; the issuer by its place in the configuration.
    Keys { issuer: usize, generation: u64 },
    /// An introspection answer.
    Answer(Kept),
}

/// When an answer was asked for, and until when it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) from: Timestamp,
    pub(super) until: Timestamp,
}

impl Kept {
    /// A request may have read its clock a little before the answer it finds was asked for; a clock that was set back
    /// must not keep an answer for longer.
    const LATE: Duration = Duration::from_secs(1);

    /// Whether it still counts.
    pub(super) fn stands(self, now: Timestamp) -> bool {
        now < self.until && self.from <= now + Self::LATE
    }
}

impl TokenCache {
    /// No more than that many tokens (one at least), and no more bytes than that.
    pub(super) fn new(tokens: usize, bytes: usize) -> Self {
        let shards = if tokens < SHARDS * SHARDS { 1 } else { SHARDS };
        let shard = || Mutex::new(Shard { kept: LruCache::unbounded(), bytes: 0 });
        Self {
            shards: (0..shards).map(|_| shard()).collect(),
            tokens: tokens.div_ceil(shards).max(1),
            bytes: bytes / shards,
        }
    }

    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Entry> {
        self.shard(digest, |shard| shard.kept.get(digest).cloned())
    }

    pub(super) fn put(&self, digest: TokenDigest, entry: Entry) {
        // Trees and texts that are pressed out are freed by whoever takes them, and not under the lock.
        let _pressed_out = self.shard(&digest, |shard| shard.put(digest, entry, self.tokens, self.bytes));
    }

    pub(super) fn remove(&self, digest: &TokenDigest) {
        self.shard(digest, |shard| drop(shard.take(digest)));
    }

    fn shard<T: Default>(&self, digest: &TokenDigest, work: impl FnOnce(&mut Shard) -> T) -> T {
        let [first, ..] = digest.as_bytes();
        // There is always a shard; with none nothing would be cached.
        self.shards
            .get(usize::from(*first) % self.shards.len().max(1))
            .map_or_else(T::default, |shard| work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).bytes).sum()
    }
}

impl Shard {
    /// Keeps a token, and gives back those that it presses out. One that is too large for the cache is not kept.
    fn put(&mut self, digest: TokenDigest, entry: Entry, tokens: usize, bytes: usize) -> Vec<Entry> {
        let mut pressed_out = Vec::from_iter(self.take(&digest));
        let needed = entry.bytes();
        if needed > bytes {
            return pressed_out;
        }
        while self.kept.len() >= tokens || self.bytes + needed > bytes {
            let Some((_, oldest)) = self.kept.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
            pressed_out.push(oldest);
        }
        self.bytes += needed;
        self.kept.put(digest, entry);
        pressed_out
    }

    fn take(&mut self, digest: &TokenDigest) -> Option<Entry> {
        let taken = self.kept.pop(digest)?;
        self.bytes = self.bytes.saturating_sub(taken.bytes());
        Some(taken)
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        BOOKS + self.token.bytes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use crate::secret::AccessToken;
    use crate::token::{ClaimRules, Claims};

    use super::*;

    const ROOM: usize = 1 << 30;

    fn entry(now: Timestamp) -> Entry {
        entry_with(now, "")
    }

    fn entry_with(now: Timestamp, more: &str) -> Entry {
        let claims = json!({"iss": "i", "aud": "a", "exp": 2, "more": more});
        let claims = Claims::of(claims.as_object().unwrap()).unwrap();
        let rules = ClaimRules { issuer: "i".into(), audiences: vec!["a".into()] };
        let token = VerifiedToken::check(claims, &rules, now, Duration::ZERO).unwrap();
        Entry { token: Arc::new(token), vouched: Vouched::Answer(Kept { from: now, until: now }) }
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        for (capacity, at_most) in [(0, 1), (1, 1), (100, 100), (1000, 1008)] {
            let cache = TokenCache::new(capacity, ROOM);
            let digests: Vec<_> = (0..3000).map(|i| AccessToken::new(&format!("token {i}")).digest()).collect();
            for digest in &digests {
                cache.put(*digest, entry(Timestamp::from_secs(1)));
            }
            let held = digests.iter().filter(|digest| cache.get(digest).is_some()).count();
            assert!(held <= at_most && held > 0, "{held} of {capacity}");
            assert!(cache.get(digests.last().unwrap()).is_some());
            cache.remove(digests.last().unwrap());
            assert!(cache.get(digests.last().unwrap()).is_none());
        }
    }

    #[test]
    fn large_tokens_leave_room_for_fewer_and_one_that_is_too_large_is_not_kept() {
        let digest = |i: usize| AccessToken::new(&format!("token {i}")).digest();
        let now = Timestamp::from_secs(1);
        let large = "x".repeat(10_000);
        for (capacity, bytes) in [(100, 100_000), (100_000, 1_000_000)] {
            let cache = TokenCache::new(capacity, bytes);
            for i in 0..1000 {
                cache.put(digest(i), entry_with(now, &large));
                assert!(cache.bytes() <= bytes);
                // Kept once, however often it comes.
                cache.put(digest(i), entry_with(now, &large));
                assert!(cache.bytes() <= bytes && cache.get(&digest(i)).is_some());
            }
            let held = (0..1000).filter(|i| cache.get(&digest(*i)).is_some()).count();
            assert!((bytes / 20_000..=bytes / 10_000).contains(&held), "{held}");
            (0..1000).for_each(|i| cache.remove(&digest(i)));
            assert_eq!(cache.bytes(), 0, "what is gone is not counted");
            cache.put(digest(0), entry_with(now, &"x".repeat(65_000)));
            let fits = bytes / cache.shards.len() > 66_000;
            assert_eq!((cache.get(&digest(0)).is_some(), cache.bytes() > 0), (fits, fits));
        }
    }
}
