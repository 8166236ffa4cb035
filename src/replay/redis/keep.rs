//! Keeping the connection: made, watched, given up, and made again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::error::LinkError;
use super::link::{Begin, Link};
use super::{ATTEMPT, CLOCKS_APART_SECS, OnUnavailable, Shared, State};

/// Between two looks at a master that serves.
const WATCH: Duration = Duration::from_secs(1);
/// Between two attempts to connect: doubled from the one up to the other.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(25), Duration::from_secs(1));
/// A connection that held for this long was a good one; after a shorter one the back-off goes on.
const STEADY: Duration = Duration::from_secs(5);

impl Shared {
    pub(super) async fn keep(self: Arc<Self>) {
        let mut pause = Duration::ZERO;
        loop {
            sleep(pause).await;
            let opened = Instant::now();
            match timeout(ATTEMPT, self.open()).await.unwrap_or(Err(LinkError::Timeout)) {
                Ok(link) => {
                    self.arrive(&link);
                    let why = self.watch(&link).await;
                    self.leave(&link, why);
                }
                Err(why) => self.fail(why),
            }
            // The first attempt after a good connection comes at once.
            let (least, most) = BACK_OFF;
            pause = if opened.elapsed() > STEADY { Duration::ZERO } else { (pause * 2).clamp(least, most) };
        }
    }

    async fn open(&self) -> Result<Arc<Link>, LinkError> {
        let now = self.clock.now().as_secs();
        let link = Link::open(&self.connector, &self.keys.epochs, &self.keys.trial, now).await?;
        self.refresh(&link).await?;
        self.latest.fetch_max(link.opened, Ordering::SeqCst);
        Ok(Arc::new(link))
    }

    /// Reads the epoch, or begins one. What was granted without the store and without nonces is not in it: then a new
    /// one begins in any case.
    async fn refresh(&self, link: &Link) -> Result<(), LinkError> {
        let stood_in = self.stood_in.load(Ordering::Relaxed);
        let is_covered = stood_in == self.covered.load(Ordering::Relaxed);
        let mut epoch = self.begin(link, if is_covered { Begin::IfUnfit } else { Begin::Anew }).await?;
        if epoch.life.number() == self.ended.load(Ordering::SeqCst) {
            // It was to end, and the store did not take that, or its answer did not come.
            epoch = self.begin(link, Begin::Ending(epoch.life)).await?;
        }
        // Only now: this may be given up at any `await`.
        self.covered.store(stood_in, Ordering::Relaxed);
        self.heard(epoch);
        Ok(())
    }

    /// Looks at the master again and again; returns why it is one no more.
    async fn watch(&self, link: &Arc<Link>) -> LinkError {
        let mut state = self.state.subscribe();
        let mut were_apart = false;
        loop {
            tokio::select! {
                lost = state.wait_for(|state| matches!(state, State::Away { .. })) => {
                    return match lost.as_deref() {
                        Ok(State::Away { why, .. }) => why.clone(),
                        Ok(State::Up(_)) | Err(_) => LinkError::Closed,
                    };
                }
                () = link.closed() => return LinkError::Closed,
                () = sleep(WATCH) => {}
            }
            let look = async {
                link.verify(&self.connector, &self.keys.trial).await?;
                self.refresh(link).await?;
                let answer = link.look(&self.keys.trial).await?;
                self.present(link, &answer).await.map(|_| answer)
            };
            match timeout(ATTEMPT, look).await {
                Ok(Ok(answer)) => were_apart = self.compare_clocks(answer.time, were_apart),
                Ok(Err(why)) => return why,
                Err(_) => return LinkError::Timeout,
            }
        }
    }

    fn compare_clocks(&self, theirs: u64, were_apart: bool) -> bool {
        let ours = self.clock.now().as_secs();
        let are_apart = theirs.abs_diff(ours) > CLOCKS_APART_SECS;
        if are_apart && !were_apart {
            warn!(ours, theirs, "this machine's clock and the replay store's are apart; proofs have to suit both");
        }
        are_apart
    }

    fn arrive(&self, link: &Arc<Link>) {
        info!(address = %link.address, "the replay store can be reached");
        self.metrics.up.set(1);
        self.ready.store(true, Ordering::Relaxed);
        self.state.send_replace(State::Up(Arc::clone(link)));
    }

    /// Gives a connection up, once.
    pub(super) fn leave(&self, link: &Arc<Link>, why: LinkError) {
        self.state.send_if_modified(|state| {
            let is_current = matches!(state, State::Up(current) if Arc::ptr_eq(current, link));
            if is_current {
                self.warn(&why);
                self.metrics.up.set(0);
                self.lost.store(self.clock.now().as_secs(), Ordering::Relaxed);
                *state = State::Away { since: Instant::now(), why };
            }
            is_current
        });
    }

    /// An attempt to connect was in vain.
    fn fail(&self, why: LinkError) {
        self.ready.fetch_or(self.options.on_unavailable == OnUnavailable::Memory, Ordering::Relaxed);
        self.state.send_modify(|state| {
            if let State::Away { why: before, .. } = state {
                if before.to_string() != why.to_string() {
                    self.warn(&why);
                }
                *before = why;
            }
        });
    }

    fn warn(&self, why: &LinkError) {
        let meanwhile = self.options.on_unavailable.meanwhile();
        warn!(%why, meanwhile, "the replay store cannot be reached");
    }
}
