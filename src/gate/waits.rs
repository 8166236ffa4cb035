//! Where a decision waited for somebody else: for traces.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::witness::{Step, Witness};

/// When a decision came to the steps that may take a while. It vouches for nothing, as every [`Witness`] of a decision
/// that lets a request pass.
#[derive(Debug, Default)]
pub struct Waits {
    token: OnceLock<Instant>,
    vouched: OnceLock<Instant>,
    asked: AtomicBool,
    claim: OnceLock<Instant>,
}

impl Waits {
    /// Since when an issuer was waited for, and until when; `None` where its keys or its answer were at hand. Without
    /// an end it was waited for to the decision's own.
    pub fn issuer(&self) -> Option<(Instant, Option<Instant>)> {
        let asked = self.asked.load(Ordering::Relaxed);
        self.token.get().filter(|_| asked).map(|began| (*began, self.vouched.get().copied()))
    }

    /// Since when the replay store was asked, to the decision's end; `None` where it was not.
    pub fn store(&self) -> Option<Instant> {
        self.claim.get().copied()
    }

    /// Follows a decision: where it stops between a token's arrival and its verdict, an issuer is being asked.
    pub(super) async fn follow<T>(&self, decision: impl Future<Output = T>) -> T {
        let mut decision = pin!(decision);
        poll_fn(|context| {
            let polled = decision.as_mut().poll(context);
            if polled.is_pending() && self.token.get().is_some() && self.vouched.get().is_none() {
                self.asked.store(true, Ordering::Relaxed);
            }
            polled
        })
        .await
    }
}

impl Witness for Waits {
    fn reached(&self, step: Step) {
        let noted = match step {
            Step::Token => &self.token,
            Step::Bound => &self.vouched,
            Step::Unused => &self.claim,
            Step::Target
            | Step::Route
            | Step::Size
            | Step::Credentials
            | Step::Authentication
            | Step::Proof(_)
            | Step::Granted => return,
        };
        // A decision comes to each step once.
        let _ = noted.set(Instant::now());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_issuer_was_asked_where_the_decision_stopped_for_it_and_nowhere_else() {
        for (stops_for_issuer, stops_for_store) in [(false, false), (true, false), (false, true), (true, true)] {
            let waits = Waits::default();
            let decision = async {
                waits.reached(Step::Credentials);
                waits.reached(Step::Token);
                if stops_for_issuer {
                    tokio::task::yield_now().await;
                }
                waits.reached(Step::Bound);
                waits.reached(Step::Granted);
                waits.reached(Step::Unused);
                if stops_for_store {
                    tokio::task::yield_now().await;
                }
            };
            waits.follow(decision).await;
            assert_eq!(waits.issuer().is_some(), stops_for_issuer);
            let claimed = waits.store().unwrap();
            assert!(waits.issuer().is_none_or(|(began, ended)| began <= ended.unwrap() && ended.unwrap() <= claimed));
        }
    }

    #[tokio::test]
    async fn an_issuer_that_never_answered_was_waited_for_to_the_end() {
        let waits = Waits::default();
        waits
            .follow(async {
                waits.reached(Step::Token);
                tokio::task::yield_now().await;
            })
            .await;
        assert_eq!(waits.issuer().map(|(_, ended)| ended), Some(None));
        assert_eq!(waits.store(), None);
    }
}
