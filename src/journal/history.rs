//! What was counted over the last minutes, for the status page: counters only grow, a person asks "and now?".

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::metrics::Totals;

/// How long one bar of the chart is.
pub const STEP: Duration = Duration::from_secs(10);
/// So many of them are kept: ten minutes.
pub const STEPS: usize = 60;

/// The totals at the end of each of the last steps.
#[derive(Debug, Default)]
pub struct History(Mutex<VecDeque<Sample>>);

#[derive(Debug, Clone)]
struct Sample {
    at: Timestamp,
    totals: Totals,
}

/// What was counted between two moments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// When it ended.
    pub until: Timestamp,
    /// What was counted in it.
    pub counted: Totals,
}

impl History {
    /// Notes the totals: once a [`STEP`], beginning at the start of the process.
    pub fn note(&self, at: Timestamp, totals: Totals) {
        let mut samples = self.lock();
        samples.push_back(Sample { at, totals });
        if samples.len() > STEPS {
            samples.pop_front();
        }
    }

    /// The last steps, the oldest first, and what has been counted since: its end is `now`.
    pub fn stretches(&self, now: Timestamp, totals: &Totals) -> Vec<Stretch> {
        let samples = self.lock();
        let present = Sample { at: now, totals: totals.clone() };
        let ends = samples.iter().skip(1).chain(std::iter::once(&present));
        samples
            .iter()
            .zip(ends)
            .map(|(from, to)| Stretch { until: to.at, counted: to.totals.since(&from.totals) })
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Sample>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Outcome, Reason};

    fn totals(allowed: u64, replayed: u64) -> Totals {
        let mut totals = Totals::default();
        totals.add_outcome(Outcome::Allowed, allowed);
        totals.add_reason(Reason::Replayed, replayed);
        totals
    }

    fn at(step: u64) -> Timestamp {
        Timestamp::from_secs(1_800_000_000 + step * STEP.as_secs())
    }

    #[test]
    fn each_stretch_holds_what_came_in_it_and_the_last_is_the_present() {
        let history = History::default();
        assert_eq!(history.stretches(at(0), &totals(1, 0)), []);
        history.note(at(0), totals(0, 0));
        history.note(at(1), totals(5, 1));
        let stretches = history.stretches(at(2), &totals(7, 1));
        assert_eq!(
            stretches,
            [Stretch { until: at(1), counted: totals(5, 1) }, Stretch { until: at(2), counted: totals(2, 0) }]
        );
    }

    #[test]
    fn it_forgets_what_is_older_than_it_shows() {
        let history = History::default();
        for step in 0..200 {
            history.note(at(step), totals(step, 0));
        }
        let stretches = history.stretches(at(200), &totals(200, 0));
        assert_eq!(stretches.len(), STEPS);
        assert!(stretches.iter().all(|stretch| stretch.counted == totals(1, 0)));
    }
}
