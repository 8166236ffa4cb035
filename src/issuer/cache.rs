//! Verified tokens by digest, so that a token costs one signature or one introspection, not one a request.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;

use crate::clock::Timestamp;
use crate::secret::TokenDigest;
use crate::token::VerifiedToken;

/// Shards, each with a lock of its own, of a cache that is large enough to be worth it.
const SHARDS: usize = 16;

/// A bounded cache; the least recently used token goes first.
pub(super) struct TokenCache {
    shards: Box<[Mutex<LruCache<TokenDigest, Entry>>]>,
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
    pub(super) fn new(tokens: usize) -> Self {
        let shards = if tokens < SHARDS * SHARDS { 1 } else { SHARDS };
        let each = NonZeroUsize::new(tokens.div_ceil(shards)).unwrap_or(NonZeroUsize::MIN);
        Self { shards: (0..shards).map(|_| Mutex::new(LruCache::new(each))).collect() }
    }

    pub(super) fn get(&self, digest: &TokenDigest) -> Option<Entry> {
        self.shard(digest, |shard| shard.get(digest).cloned())
    }

    pub(super) fn put(&self, digest: TokenDigest, entry: Entry) {
        self.shard(&digest, |shard| drop(shard.put(digest, entry)));
    }

    pub(super) fn remove(&self, digest: &TokenDigest) {
        self.shard(digest, |shard| drop(shard.pop(digest)));
    }

    fn shard<T: Default>(&self, digest: &TokenDigest, work: impl FnOnce(&mut LruCache<TokenDigest, Entry>) -> T) -> T {
        let [first, ..] = digest.as_bytes();
        // There is always a shard; with none nothing would be cached.
        self.shards
            .get(usize::from(*first) % self.shards.len().max(1))
            .map_or_else(T::default, |shard| work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use crate::secret::AccessToken;
    use crate::token::ClaimRules;

    use super::*;

    fn entry(now: Timestamp) -> Entry {
        let claims = json!({"iss": "i", "aud": "a", "exp": 2}).as_object().unwrap().clone();
        let rules = ClaimRules { issuer: "i".into(), audiences: vec!["a".into()] };
        let token = VerifiedToken::check(claims, &rules, now, Duration::ZERO).unwrap();
        Entry { token: Arc::new(token), vouched: Vouched::Answer(Kept { from: now, until: now }) }
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        for (capacity, at_most) in [(0, 1), (1, 1), (100, 100), (1000, 1008)] {
            let cache = TokenCache::new(capacity);
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
}
