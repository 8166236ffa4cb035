//! What is known of an endpoint's health: by asking it, and by how requests to it end.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// Consecutive failures that eject an endpoint.
const EJECT_AFTER: u32 = 3;
/// The first ejection's length; each further one doubles it.
const FIRST_EJECTION: Duration = Duration::from_secs(1);
/// The longest ejection.
const LONGEST_EJECTION: Duration = Duration::from_secs(30);
/// Consecutive failed checks that mark an endpoint down; one good check marks it up.
const DOWN_AFTER: u32 = 2;

/// Passive ejection: an endpoint that fails [`EJECT_AFTER`] requests in a row (no connection, or reset) is left out
/// for a while. When that is over it is tried again, and a single failure ejects it anew; a success forgives all.
#[derive(Debug)]
pub(super) struct Ejection {
    base: Instant,
    failures: AtomicU32,
    rounds: AtomicU32,
    /// Milliseconds after `base`; 0 for never ejected.
    until: AtomicU64,
}

impl Ejection {
    pub(super) fn new() -> Self {
        Self { base: Instant::now(), failures: AtomicU32::new(0), rounds: AtomicU32::new(0), until: AtomicU64::new(0) }
    }

    /// Left out now.
    pub(super) fn active(&self) -> bool {
        // The clock is read only for an endpoint that has been ejected since its last success.
        let until = self.until.load(Ordering::Relaxed);
        until != 0 && self.now() < until
    }

    pub(super) fn succeeded(&self) {
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.rounds.store(0, Ordering::Relaxed);
            self.until.store(0, Ordering::Relaxed);
        }
    }

    /// Its last request succeeded, or there was none.
    pub(super) fn is_unblemished(&self) -> bool {
        self.failures.load(Ordering::Relaxed) == 0
    }

    /// Counts a failure; `Some` says for how long the endpoint is now ejected.
    pub(super) fn failed(&self) -> Option<Duration> {
        // Requests already under way when the endpoint was ejected tell nothing new.
        if self.active() || self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1) < EJECT_AFTER {
            return None;
        }
        let round = self.rounds.fetch_add(1, Ordering::Relaxed).min(5);
        let length = (FIRST_EJECTION * (1 << round)).min(LONGEST_EJECTION);
        let until = self.now().saturating_add(u64::try_from(length.as_millis()).unwrap_or(u64::MAX));
        self.until.store(until, Ordering::Relaxed);
        Some(length)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Active health: what the checks found. Unknown is healthy.
#[derive(Debug)]
pub(super) struct Active {
    healthy: AtomicBool,
    failures: AtomicU32,
}

impl Active {
    pub(super) const fn new() -> Self {
        Self { healthy: AtomicBool::new(true), failures: AtomicU32::new(0) }
    }

    pub(super) fn healthy(&self) -> bool {
        self.healthy.load(Ordering::Relaxed)
    }

    /// Notes a check's result; `true` where the state changed by it.
    pub(super) fn checked(&self, good: bool) -> bool {
        if good {
            self.failures.store(0, Ordering::Relaxed);
            return !self.healthy.swap(true, Ordering::Relaxed);
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        failures >= DOWN_AFTER && self.healthy.swap(false, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn three_failures_eject_for_a_time_that_doubles_up_to_thirty_seconds() {
        let ejection = Ejection::new();
        assert_eq!((ejection.failed(), ejection.failed()), (None, None));
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert!(!ejection.active());
            assert_eq!(ejection.failed(), Some(Duration::from_secs(seconds)));
            assert!(ejection.active());
            assert_eq!(ejection.failed(), None, "already ejected");
            tokio::time::advance(Duration::from_secs(seconds) - Duration::from_millis(1)).await;
            assert!(ejection.active());
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        ejection.succeeded();
        assert_eq!((ejection.failed(), ejection.failed()), (None, None));
        assert_eq!(ejection.failed(), Some(Duration::from_secs(1)));
    }

    #[test]
    fn two_failed_checks_mark_down_and_one_good_one_up() {
        let active = Active::new();
        assert!(active.healthy());
        assert!(!active.checked(false));
        assert!(!active.checked(true));
        assert!(!active.checked(false) && active.healthy());
        assert!(active.checked(false) && !active.healthy());
        assert!(!active.checked(false));
        assert!(active.checked(true) && active.healthy());
    }
}
