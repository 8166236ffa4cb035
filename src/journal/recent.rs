//! The latest refusals, for the status page.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::HeaderMap;

use crate::clock::Timestamp;
use crate::dpop;
use crate::jose::Thumbprint;
use crate::metrics::Reason;

/// So many are kept.
const KEPT: usize = 50;
/// And so many of one second: a flood of refusals costs no more than these, and does not push all others out.
const A_SECOND: u64 = 10;

/// The latest refusals, the newest last.
#[derive(Debug, Default)]
pub struct Recent {
    kept: Mutex<VecDeque<RecentRefusal>>,
    second: AtomicU64,
    in_second: AtomicU64,
}

/// A refusal, without anything that is secret or that its client chose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentRefusal {
    /// When.
    pub at: Timestamp,
    /// The route's label, if there was a route.
    pub route: Option<String>,
    /// Why.
    pub reason: Reason,
    /// Answered with; in report mode, the upstream's own status.
    pub status: u16,
    /// The key that its proof says to be signed with, proved or not.
    pub jkt: Option<Thumbprint>,
}

impl Recent {
    fn has_room(&self, at: Timestamp) -> bool {
        // Two threads at the turn of a second may both reset the count: a few more are kept then. Read first: a line of
        // the cache that nobody writes is every core's.
        if self.second.load(Ordering::Relaxed) != at.as_secs() {
            self.second.store(at.as_secs(), Ordering::Relaxed);
            self.in_second.store(0, Ordering::Relaxed);
        }
        self.in_second.load(Ordering::Relaxed) < A_SECOND
    }

    /// The key that a refused request's proof names, **not verified**; looked at only if the refusal will be kept.
    pub fn claimed_key(&self, headers: &HeaderMap, at: Timestamp) -> Option<Thumbprint> {
        if self.has_room(at) { dpop::claimed_key(headers) } else { None }
    }

    /// Keeps a refusal, which is made only if there is room for it in its second.
    pub fn note(&self, at: Timestamp, refusal: impl FnOnce() -> RecentRefusal) {
        if !self.has_room(at) {
            return;
        }
        let refusal = refusal();
        self.in_second.fetch_add(1, Ordering::Relaxed);
        let mut kept = self.lock();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(refusal);
    }

    /// All that are kept, the newest first.
    pub fn all(&self) -> Vec<RecentRefusal> {
        self.lock().iter().rev().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<RecentRefusal>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(second: u64) -> RecentRefusal {
        let at = Timestamp::from_secs(second);
        RecentRefusal { at, route: None, reason: Reason::Replayed, status: 401, jkt: None }
    }

    #[test]
    fn the_newest_come_first_and_a_flood_leaves_room() {
        let recent = Recent::default();
        recent.note(Timestamp::from_secs(1), || refusal(1));
        for _ in 0..1000 {
            recent.note(Timestamp::from_secs(2), || refusal(2));
        }
        recent.note(Timestamp::from_secs(3), || refusal(3));
        let seconds: Vec<u64> = recent.all().iter().map(|refusal| refusal.at.as_secs()).collect();
        assert_eq!(seconds, [3, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 1]);
        for second in 4..100 {
            recent.note(Timestamp::from_secs(second), || refusal(second));
        }
        assert_eq!(recent.all().len(), KEPT);
        assert_eq!(recent.all().first().map(|refusal| refusal.at.as_secs()), Some(99));
    }
}
