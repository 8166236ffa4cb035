//! Which endpoint is next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Balance;
use super::endpoint::Backend;

/// Chooses endpoints.
#[derive(Debug)]
pub(super) struct Balancer {
    rule: Balance,
    rotation: AtomicUsize,
}

impl Balancer {
    pub(super) const fn new(rule: Balance) -> Self {
        Self { rule, rotation: AtomicUsize::new(0) }
    }

    /// The next endpoint that is not among `tried`.
    ///
    /// One that active checks call down is never chosen: they asked it. An ejected one is chosen where nothing else is
    /// left, since ejection is a guess from a few requests, and refusing all of them on a guess helps nobody; so the
    /// only endpoint of an upstream is in effect never ejected.
    pub(super) fn pick<'a>(&self, backends: &'a [Arc<Backend>], tried: &[usize]) -> Option<(usize, &'a Arc<Backend>)> {
        let start = if backends.len() > 1 { self.rotation.fetch_add(1, Ordering::Relaxed) } else { 0 };
        self.choose(backends, start, |index, backend| {
            !tried.contains(&index) && backend.active.healthy() && !backend.ejection.active()
        })
        .or_else(|| self.choose(backends, start, |index, backend| !tried.contains(&index) && backend.active.healthy()))
    }

    fn choose<'a>(
        &self,
        backends: &'a [Arc<Backend>],
        start: usize,
        may: impl Fn(usize, &Backend) -> bool,
    ) -> Option<(usize, &'a Arc<Backend>)> {
        let skip = start.checked_rem(backends.len())?;
        let mut turn = backends
            .iter()
            .enumerate()
            .cycle()
            .skip(skip)
            .take(backends.len())
            .filter(|(index, backend)| may(*index, backend));
        match self.rule {
            Balance::RoundRobin => turn.next(),
            // `min_by_key` keeps the first of equals, which the rotation decides.
            Balance::LeastRequests => turn.min_by_key(|(_, backend)| backend.in_flight()),
        }
    }
}
