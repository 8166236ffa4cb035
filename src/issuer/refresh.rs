//! An issuer's keys while the process runs: when they are fetched, and that one fetch serves all who wait for it.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::io::AsyncReadExt as _;
use tokio::sync::watch;

use crate::clock::{Clock, Timestamp};
use crate::metrics::{Metrics, RefreshResult};
use crate::verifier::Verifier;

use super::discovery;
use super::fetch::{Client, Document, FetchError};
use super::keys::KeySet;
use super::{Bounds, Source};

/// How often it is looked whether a refresh is due.
const TICK: Duration = Duration::from_secs(1);
/// However short an issuer's `max-age` is, its keys are not fetched more often than this.
const SHORTEST_AGE: Duration = Duration::from_secs(60);

/// Fetches one issuer's keys.
pub(super) struct KeySource {
    pub(super) issuer: String,
    pub(super) source: Source,
    pub(super) insecure_http: bool,
    pub(super) client: Client,
    pub(super) bounds: Bounds,
    pub(super) clock: Clock,
    pub(super) metrics: Arc<Metrics>,
    pub(super) ring: Arc<KeyRing>,
    pub(super) verifier: Arc<Verifier>,
}

/// The running state: what survives a reload of the configuration.
#[derive(Default)]
pub(super) struct KeyRing {
    current: ArcSwapOption<KeySet>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the fetch that runs, or of the last one; closed when it is over.
    flight: Option<watch::Receiver<()>>,
    /// When the next background refresh is due; `None`: now.
    due: Option<Timestamp>,
    /// When an unknown `kid` last led to a fetch, or a fetch last failed.
    limited_from: Option<Timestamp>,
    refreshed: Option<Timestamp>,
    /// Counts reloads: what a fetch brings that began before one is not the last word.
    reloads: u64,
}

impl State {
    /// When the next background refresh is due, unless it became due while this one ran.
    fn next(&mut self, due: Timestamp, reloads: u64) {
        if self.reloads == reloads {
            self.due = Some(due);
        }
    }
}

#[derive(Clone, Copy)]
enum Cause {
    Schedule,
    UnknownKey,
}

impl KeySource {
    /// The keys in use; none until they were fetched once. They stay in use while the issuer is down: a key ends when
    /// the issuer publishes a set without it.
    pub(super) fn current(&self) -> Option<Arc<KeySet>> {
        self.ring.current.load_full()
    }

    /// Who checks signatures by them.
    pub(super) fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// When keys were last fetched with success.
    pub(super) fn refreshed(&self) -> Option<Timestamp> {
        self.ring.state().refreshed
    }

    /// For a key that is not in the set: waits for the fetch that runs, or starts one, unless the last was too
    /// recent. Then it returns at once, so that a flood of made-up names neither reaches the issuer nor waits.
    pub(super) async fn refetch(self: &Arc<Self>, now: Timestamp) {
        self.fetched(now, Cause::UnknownKey).await;
    }

    /// Refreshes if it is time to.
    pub(super) async fn refresh_if_due(self: &Arc<Self>, now: Timestamp) {
        self.fetched(now, Cause::Schedule).await;
    }

    /// Refreshes whenever it is time to, until dropped.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        loop {
            self.refresh_if_due(self.clock.now()).await;
            tokio::time::sleep(TICK).await;
        }
    }

    async fn fetched(self: &Arc<Self>, now: Timestamp, cause: Cause) {
        if let Some(mut flight) = self.board(now, cause) {
            // An error says that the fetch is over: its sender is dropped, whatever became of it.
            while flight.changed().await.is_ok() {}
        }
    }

    /// The fetch to wait for, if there is one. It runs in a task of its own: a client that hangs up ends only its own
    /// wait.
    fn board(self: &Arc<Self>, now: Timestamp, cause: Cause) -> Option<watch::Receiver<()>> {
        let mut state = self.ring.state();
        if let Some(flight) = state.flight.as_ref().filter(|flight| flight.has_changed().is_ok()) {
            return Some(flight.clone());
        }
        let may_start = match cause {
            // A clock that was set back must not put the next fetch off for as long.
            Cause::Schedule => state.due.is_none_or(|due| now >= due || due.since(now) > self.longest_wait()),
            // Either way round: a request may have read its clock before the fetch that it was too late for ended.
            Cause::UnknownKey => state.limited_from.is_none_or(|from| {
                now.since(from) >= self.bounds.refetch_interval || from.since(now) >= self.bounds.refetch_interval
            }),
        };
        if !may_start {
            return None;
        }
        if let Cause::UnknownKey = cause {
            state.limited_from = Some(now);
        }
        let (landed, flight) = watch::channel(());
        state.flight = Some(flight.clone());
        let (source, reloads) = (Arc::clone(self), state.reloads);
        tokio::spawn(async move {
            source.refresh(reloads).await;
            drop(landed);
        });
        Some(flight)
    }

    fn longest_wait(&self) -> Duration {
        self.bounds.refresh_after.max(self.bounds.refetch_interval)
    }

    /// `reloads`: as many as there were when it began.
    async fn refresh(&self, reloads: u64) {
        let loaded = match tokio::time::timeout(self.bounds.fetch_timeout, self.load()).await {
            Ok(loaded) => loaded,
            Err(_) => Err(FetchError::TimedOut),
        };
        let parsed = loaded.and_then(|document| match KeySet::parse(&document.body) {
            Ok(set) => Ok((set, document.max_age)),
            Err(problem) => Err(FetchError::Document(problem)),
        });
        let now = self.clock.now();
        match parsed {
            Ok((set, max_age)) => {
                let keys = set.len();
                let changed = self.ring.install(set);
                let age = max_age
                    .map_or(self.bounds.refresh_after, |age| age.max(SHORTEST_AGE).min(self.bounds.refresh_after));
                let mut state = self.ring.state();
                state.next(now + age, reloads);
                state.refreshed = Some(now);
                drop(state);
                self.metrics.jwks_refresh(&self.issuer, RefreshResult::Ok);
                self.report(keys, changed);
            }
            Err(error) => {
                let mut state = self.ring.state();
                state.next(now + self.bounds.refetch_interval, reloads);
                state.limited_from = Some(now);
                drop(state);
                self.metrics.jwks_refresh(&self.issuer, RefreshResult::Failed);
                let (issuer, kept) = (self.issuer.as_str(), self.current().map_or(0, |set| set.len()));
                if kept == 0 {
                    let message = "keys not refreshed; there are none yet: no token of this issuer can be verified";
                    tracing::warn!(issuer, %error, kept, message);
                } else {
                    tracing::warn!(issuer, %error, kept, "keys not refreshed; the last good ones stay in use");
                }
            }
        }
    }

    fn report(&self, keys: usize, changed: bool) {
        let issuer = self.issuer.as_str();
        if changed && keys == 0 {
            tracing::warn!(issuer, "the issuer's key set holds no usable key: all of its tokens are refused");
        } else if changed {
            tracing::info!(issuer, keys, "keys changed");
        } else {
            tracing::debug!(issuer, keys, "keys refreshed");
        }
        let private = self.current().map_or(0, |set| set.private);
        if changed && private > 0 {
            tracing::warn!(issuer, private, "the issuer publishes private keys; they are not used");
        }
    }

    async fn load(&self) -> Result<Document, FetchError> {
        match &self.source {
            Source::JwksFile(path) => read_file(path, self.client.document_bytes()).await,
            Source::JwksUri(uri) => self.client.get(uri).await,
            Source::Discovery => {
                let uri = discovery::jwks_uri(&self.client, &self.issuer, self.insecure_http).await?;
                self.client.get(&uri).await
            }
            Source::Introspection { .. } => Err(FetchError::Document("an introspecting issuer has no keys")),
        }
    }
}

impl KeyRing {
    /// The keys stay in use, and a refresh is due now, or as soon as the one is over that runs: whoever reloads may
    /// have taken a key out since that one read the set.
    pub(super) fn expire(&self) {
        let mut state = self.state();
        state.due = None;
        state.reloads += 1;
    }

    /// Puts a set into use; false if it holds what the last one did, which then stays, and with it the cached tokens.
    fn install(&self, mut set: KeySet) -> bool {
        let old = self.current.load_full();
        if old.as_ref().is_some_and(|old| old.same_keys(&set)) {
            return false;
        }
        set.generation = old.map_or(0, |old| old.generation + 1);
        self.current.store(Some(Arc::new(set)));
        true
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_file(path: &Path, limit: usize) -> Result<Document, FetchError> {
    let file = tokio::fs::File::open(path).await.map_err(FetchError::File)?;
    let mut body = Vec::new();
    let limit = u64::try_from(limit).unwrap_or(u64::MAX);
    let read = file.take(limit.saturating_add(1)).read_to_end(&mut body).await.map_err(FetchError::File)?;
    if u64::try_from(read).is_ok_and(|read| read <= limit) {
        Ok(Document { body: body.into(), max_age: None })
    } else {
        Err(FetchError::TooLarge)
    }
}
