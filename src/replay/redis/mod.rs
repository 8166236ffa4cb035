//! The store that replicas share: Redis 6.2 or newer, Valkey (design section 2).
//!
//! A claim is one round trip: `SET key 1 NX EXAT end`, the store's clock, and a read of the *epoch*. The epoch names
//! one life of one master: its key carries the master's replication ID, which changes with every restart and failover,
//! and its value is a random number that goes with the data. A nonce carries the number of the life that it was issued
//! in, so a proof from before a restart, a failover to a replica that had not everything yet, or a flush is refused,
//! whatever the clocks say; its client mends itself with a new nonce. Without nonces, `iat` against the epoch's time
//! does the same, for as long as `clock_skew`. Gates with different terms share a life: the longest hold for all.
//!
//! This process' own [`MemoryStore`] stands in front: a plain replay costs no round trip. While the store cannot be
//! reached it may stand in (`on_unavailable: memory`): then only nonces issued during such a time count.
//!
//! Clocks: a proof has to be alive by the gate's clock and by the store's, so that one of them may be wrong. A store's
//! clock that is set back ends its life: a gate that looks sees it, and one that comes later finds an epoch that ends
//! too late, or none.
//!
//! Possible mistakes: it refuses a proof that was not spent (a claim whose answer never came). It accepts one twice
//! only where the memory stands in, once at each process; or with nonces off, on both sides of a network that splits
//! masters, or after the store's clock was set back to before the grant and the proof lost, or after `clock_skew` was
//! made smaller and the epoch lost; or where the store's clock goes ahead by more than [`link::KEPT_BEYOND_SECS`] and
//! is put right before every gate has looked, and the store drops the proof meanwhile but not the epoch.

mod connect;
mod error;
mod keep;
mod link;
#[cfg(test)]
mod model;
mod pipe;
mod place;
mod resp;
mod verdict;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus::{IntCounter, IntGauge};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::info;

use crate::clock::{Clock, Timestamp};
use crate::nonce::Life;

use super::{MemoryStore, ProofId, ReplayError};

use connect::Connector;
use link::{Begin, KEPT_BEYOND_SECS, Link};
use verdict::{Answer, Epoch, Terms};

pub use error::LinkError;
pub use place::{Address, Credentials, Place, Topology};

/// An attempt to connect, or to look whether a master still is one.
const ATTEMPT: Duration = Duration::from_secs(2);
/// What a client is told to wait for: a failover takes a few seconds.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Clocks further apart than this are worth a line in the log; a store's clock that is set back by more, a new life.
const CLOCKS_APART_SECS: u64 = 2;

/// What becomes of a claim while the store cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnavailable {
    /// It is refused.
    Reject,
    /// This process decides by what it has seen itself.
    Memory,
}

impl OnUnavailable {
    /// For people: what happens meanwhile.
    pub const fn meanwhile(self) -> &'static str {
        match self {
            Self::Reject => "requests are refused (503)",
            Self::Memory => "this process decides by itself",
        }
    }
}

/// Settings of the shared store.
#[derive(Debug, Clone)]
pub struct RedisOptions {
    /// Where it is.
    pub place: Place,
    /// For a place with TLS.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// In front of every key.
    pub key_prefix: String,
    /// How long a claim may take, connecting included.
    pub timeout: Duration,
    /// What becomes of a claim without it.
    pub on_unavailable: OnUnavailable,
    /// How long a proof is accepted after its `iat`.
    pub proof_lifetime: Duration,
    /// How far ahead `iat` may be.
    pub clock_skew: Duration,
}

impl PartialEq for RedisOptions {
    fn eq(&self, other: &Self) -> bool {
        // Roots and certificates may have changed on disk: whoever uses TLS connects anew.
        let Self { place, tls, key_prefix, timeout, on_unavailable, proof_lifetime, clock_skew } = self;
        tls.is_none()
            && other.tls.is_none()
            && (place, key_prefix, timeout) == (&other.place, &other.key_prefix, &other.timeout)
            && (on_unavailable, proof_lifetime, clock_skew)
                == (&other.on_unavailable, &other.proof_lifetime, &other.clock_skew)
    }
}

/// What the store counts.
#[derive(Debug, Clone)]
pub struct RedisMetrics {
    /// Claims that it could not decide.
    pub errors: IntCounter,
    /// 1 while it can be reached, else 0.
    pub up: IntGauge,
}

/// The store; its connection is kept by a task of its own for as long as it lives.
#[derive(Debug)]
pub struct RedisStore {
    shared: Arc<Shared>,
    _keeper: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    options: RedisOptions,
    terms: Terms,
    keys: Keys,
    /// The longest lifetime of all gates that use the store, as last heard of, in seconds.
    kept: AtomicU64,
    connector: Connector,
    clock: Clock,
    metrics: RedisMetrics,
    front: Arc<MemoryStore>,
    state: watch::Sender<State>,
    /// The number of the store's life, as last heard of; 0 for none.
    life: AtomicU64,
    /// The number of a life that this process has ended.
    ended: AtomicU64,
    /// The latest second that the store's clock has shown in this life.
    latest: AtomicU64,
    /// What nonces issued up to then were spent for in the fallback is not known.
    started: Timestamp,
    /// Without nonces: the second in which the store was lost.
    lost: AtomicU64,
    /// Without nonces: how often something was granted without the store ...
    stood_in: AtomicU64,
    /// ... and how much of that a life that began later knows to be spent.
    covered: AtomicU64,
    /// It was reached once, or (where the memory stands in) tried.
    ready: AtomicBool,
}

/// What stands in front of the keys.
#[derive(Debug)]
struct Keys {
    proofs: String,
    epochs: String,
    trial: String,
}

#[derive(Debug, Clone)]
enum State {
    Up(Arc<Link>),
    Away { since: Instant, why: LinkError },
}

/// How the store is doing.
#[derive(Debug, Clone)]
pub struct RedisStatus {
    /// The master's address, or why there is none.
    pub master: Result<Address, LinkError>,
    /// What becomes of claims without it.
    pub on_unavailable: OnUnavailable,
}

impl RedisStore {
    /// Starts to connect. `front` is this process' memory, which may be older than the store.
    pub fn start(options: RedisOptions, clock: Clock, front: Arc<MemoryStore>, metrics: RedisMetrics) -> Self {
        let connector = Connector {
            place: options.place.clone(),
            tls: options.tls.clone(),
            #[cfg(test)]
            model: None,
        };
        Self::over(connector, options, clock, front, metrics)
    }

    fn over(
        connector: Connector,
        options: RedisOptions,
        clock: Clock,
        front: Arc<MemoryStore>,
        metrics: RedisMetrics,
    ) -> Self {
        let terms = Terms { lifetime: whole_secs(options.proof_lifetime), clock_skew: whole_secs(options.clock_skew) };
        metrics.up.set(0);
        let shared = Arc::new(Shared {
            keys: Keys::new(&options),
            kept: AtomicU64::new(terms.lifetime),
            terms,
            connector,
            started: clock.now(),
            lost: AtomicU64::new(clock.now().as_secs()),
            clock,
            metrics,
            front,
            state: watch::Sender::new(State::Away { since: Instant::now(), why: LinkError::Fresh }),
            life: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            stood_in: AtomicU64::new(0),
            covered: AtomicU64::new(0),
            ready: AtomicBool::new(false),
            options,
        });
        let mut keeper = JoinSet::new();
        keeper.spawn(Arc::clone(&shared).keep());
        Self { shared, _keeper: keeper }
    }

    /// What it was started with.
    pub fn options(&self) -> &RedisOptions {
        &self.shared.options
    }

    /// Claims a proof: exactly one of any number of simultaneous claims, at any number of processes, is granted. An
    /// answer that does not come leaves it open whether the proof is spent.
    pub async fn claim(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        let shared = &*self.shared;
        shared.recent(proof)?;
        let deadline = Instant::now() + shared.options.timeout;
        let Some(link) = shared.link(deadline).await else {
            shared.metrics.errors.inc();
            shared.stand_in(proof)?;
            return shared.front.claim(proof, now);
        };
        // What has been spent here needs no round trip.
        shared.front.claim(proof, now)?;
        let kept = shared.kept.load(Ordering::Relaxed);
        let until = Terms { lifetime: kept, ..shared.terms }.expiry(proof).saturating_add(KEPT_BEYOND_SECS);
        match within(deadline, link.claim(&shared.keys.of(proof), until)).await {
            Ok(answer) => shared.judge(&link, proof, answer, kept, deadline).await,
            Err(error) => shared.undecided(&link, proof, error),
        }
    }

    /// Says whether a claim would be granted, and spends nothing.
    pub async fn check(&self, proof: &ProofId, now: Timestamp) -> Result<(), ReplayError> {
        let shared = &*self.shared;
        shared.recent(proof)?;
        shared.front.check(proof, now)?;
        let deadline = Instant::now() + shared.options.timeout;
        let Some(link) = shared.link(deadline).await else {
            shared.metrics.errors.inc();
            return shared.stand_in(proof);
        };
        match within(deadline, link.look(&shared.keys.of(proof))).await {
            // Nothing was kept that could be forgotten too early.
            Ok(answer) => shared.judge(&link, proof, answer, u64::MAX, deadline).await,
            Err(error) => shared.undecided(&link, proof, error),
        }
    }

    /// The life that nonces are issued for now; `None` before the first is known.
    pub fn life(&self) -> Option<Life> {
        self.shared.life()
    }

    /// This process' own memory.
    pub fn front(&self) -> &Arc<MemoryStore> {
        &self.shared.front
    }

    /// Whether traffic may come: it was reached once, or it was tried and this process may stand in. A store that goes
    /// away later is no reason to send everyone elsewhere: it is gone for all replicas alike.
    pub fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }

    /// Waits until it is ready, or for as long as one attempt may take.
    pub async fn settled(&self) {
        let mut state = self.shared.state.subscribe();
        let _ = timeout(ATTEMPT, state.wait_for(|_| self.is_ready())).await;
    }

    /// How it is doing.
    pub fn status(&self) -> RedisStatus {
        let master = match &*self.shared.state.borrow() {
            State::Up(link) => Ok(link.address.clone()),
            State::Away { why, .. } => Err(why.clone()),
        };
        RedisStatus { master, on_unavailable: self.shared.options.on_unavailable }
    }
}

/// Deciding.
impl Shared {
    /// A nonce of the fallback is of no use while the store is there: that needs no round trip.
    fn recent(&self, proof: &ProofId) -> Result<(), ReplayError> {
        let is_fallback = proof.nonce.is_some_and(|nonce| nonce.life == Life::FALLBACK);
        if is_fallback && matches!(*self.state.borrow(), State::Up(_)) { Err(ReplayError::OtherLife) } else { Ok(()) }
    }

    /// The connection; where it has just been lost, whatever comes of it until the deadline.
    async fn link(&self, deadline: Instant) -> Option<Arc<Link>> {
        let away = match &*self.state.borrow() {
            State::Up(link) => return Some(Arc::clone(link)),
            State::Away { since, .. } => *since,
        };
        if self.options.on_unavailable == OnUnavailable::Memory {
            return None;
        }
        let mut state = self.state.subscribe();
        let up = state.wait_for(|state| matches!(state, State::Up(_)));
        match &*timeout_at(deadline.min(away + self.options.timeout), up).await.ok()?.ok()? {
            State::Up(link) => Some(Arc::clone(link)),
            State::Away { .. } => None,
        }
    }

    /// What the answer means for a proof that the store keeps for a lifetime of `kept` seconds.
    async fn judge(
        &self,
        link: &Arc<Link>,
        proof: &ProofId,
        answer: Answer,
        kept: u64,
        deadline: Instant,
    ) -> Result<(), ReplayError> {
        match within(deadline, self.present(link, &answer)).await {
            // A gate that came just now takes proofs for longer than this one is kept.
            Ok(epoch) if epoch.terms.lifetime > kept => {
                Err(if proof.nonce.is_some() { ReplayError::OtherLife } else { ReplayError::BeforeFloor })
            }
            Ok(epoch) => self.terms.judge(proof, &answer, epoch),
            Err(error) => self.undecided(link, proof, error),
        }
    }

    /// The life that the store is in now. One that has lost its data begins another; so does one whose clock was set
    /// back, since it may have forgotten what by the clock of now it should remember; and so does one of gates that
    /// keep proofs for less long than this one takes them.
    async fn present(&self, link: &Link, answer: &Answer) -> Result<Epoch, LinkError> {
        let epoch = match answer.epoch {
            Some(epoch) if self.is_over(epoch, answer.time) => {
                // Answers from before the new life may still be on their way.
                self.ended.store(epoch.life.number(), Ordering::SeqCst);
                self.begin(link, Begin::Ending(epoch.life)).await?
            }
            Some(epoch) if epoch.terms.cover(self.terms) => epoch,
            Some(_) | None => self.begin(link, Begin::IfUnfit).await?,
        };
        self.heard(epoch);
        if answer.epoch == Some(epoch) {
            self.latest.fetch_max(answer.time, Ordering::SeqCst);
        }
        Ok(epoch)
    }

    /// Whether the store's clock has been set back in this life. What another life's clock showed does not count.
    fn is_over(&self, epoch: Epoch, time: u64) -> bool {
        let life = epoch.life.number();
        let is_known = life == self.life.load(Ordering::SeqCst);
        let was_set_back = || time.saturating_add(CLOCKS_APART_SECS) < self.latest.load(Ordering::SeqCst);
        life == self.ended.load(Ordering::SeqCst) || (is_known && was_set_back())
    }

    async fn begin(&self, link: &Link, begin: Begin) -> Result<Epoch, LinkError> {
        link.epoch(random_life()?, self.terms, begin).await
    }

    fn heard(&self, epoch: Epoch) {
        self.kept.store(epoch.terms.lifetime.max(self.terms.lifetime), Ordering::Relaxed);
        if self.life.swap(epoch.life.number(), Ordering::SeqCst) != epoch.life.number() {
            self.latest.store(epoch.since, Ordering::SeqCst);
            info!(since = epoch.since, "a new life of the replay store: clients get new nonces");
        }
    }

    /// No answer, or none that says anything.
    fn undecided(&self, link: &Arc<Link>, proof: &ProofId, error: LinkError) -> Result<(), ReplayError> {
        self.metrics.errors.inc();
        self.leave(link, error);
        self.stand_in(proof)
    }

    /// Without the store: whether this process may decide by itself. The proof is in `front` then, or soon will be.
    fn stand_in(&self, proof: &ProofId) -> Result<(), ReplayError> {
        if self.options.on_unavailable == OnUnavailable::Reject {
            return Err(ReplayError::Unavailable(RETRY_AFTER));
        }
        match proof.nonce {
            Some(nonce) if nonce.life != Life::FALLBACK || nonce.issued <= self.started => Err(ReplayError::OtherLife),
            Some(_) => Ok(()),
            None if proof.iat <= self.lost.load(Ordering::Relaxed) => Err(ReplayError::BeforeFloor),
            None => {
                self.stood_in.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
        }
    }

    fn life(&self) -> Option<Life> {
        let is_away = matches!(*self.state.borrow(), State::Away { .. });
        if is_away && self.options.on_unavailable == OnUnavailable::Memory {
            return Some(Life::FALLBACK);
        }
        Life::shared(self.life.load(Ordering::Relaxed))
    }
}

impl Keys {
    /// In a cluster all keys are in one slot, so that the epoch is read where the proof is claimed.
    fn new(options: &RedisOptions) -> Self {
        let prefix = &options.key_prefix;
        let proofs = match options.place.topology {
            Topology::Cluster(_) => in_one_slot(prefix),
            Topology::Node(_) | Topology::Sentinel { .. } => prefix.clone(),
        };
        Self { epochs: format!("{proofs}epoch:"), trial: format!("{proofs}trial"), proofs }
    }

    /// Of fixed length, and nothing in it that a client wrote.
    fn of(&self, proof: &ProofId) -> String {
        format!("{}{:032x}", self.proofs, proof.entry)
    }
}

/// What of a key decides its slot in a cluster, if not all of it: what stands between the first `{` and the next `}`.
fn hash_tag(key: &str) -> Option<&str> {
    key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
}

/// The prefix with a hash tag: its own, or all of it.
fn in_one_slot(prefix: &str) -> String {
    if hash_tag(prefix).is_some() { prefix.to_owned() } else { format!("{{{prefix}}}") }
}

/// Whether the keys with that prefix lie in one slot of a cluster: it has a hash tag, or no braces of which one would
/// end the tag that is put around it.
pub fn suits_a_cluster(prefix: &str) -> bool {
    !prefix.is_empty() && (hash_tag(prefix).is_some() || !prefix.contains(['{', '}']))
}

async fn within<T>(deadline: Instant, answer: impl Future<Output = Result<T, LinkError>>) -> Result<T, LinkError> {
    timeout_at(deadline, answer).await.unwrap_or(Err(LinkError::Timeout))
}

/// A number for a life that may begin.
fn random_life() -> Result<Life, LinkError> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).map_err(|_| LinkError::NoRandomness)?;
    // Two of 2^64 numbers mean something else.
    Life::shared(u64::from_ne_bytes(bytes)).ok_or(LinkError::NoRandomness)
}

/// Rounded up: remembered a little longer rather than too short.
fn whole_secs(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_prefix_that_can_keep_all_keys_in_one_slot_suits_a_cluster() {
        for (prefix, suits) in [
            ("dpop-gate:jti:", true),
            ("{dpop}:", true),
            ("a{b}c}", true),
            ("", false),
            ("a{b:", false),
            ("{}:", false),
            ("}x:", false),
            ("{}{a}", false),
        ] {
            assert_eq!(suits_a_cluster(prefix), suits, "{prefix}");
            assert!(!suits || hash_tag(&in_one_slot(prefix)).is_some(), "{prefix}");
        }
    }
}
