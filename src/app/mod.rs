//! A configuration becomes a running gate, and another one takes its place without a request lost.
//!
//! What outlives a configuration stands in [`Running`]: the replay memory, the random nonce secret, the sockets. All
//! else is built anew, and swapped in only when nothing can fail any more.

mod doors;
mod live;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::journal::{History, Recent, STEP};
use crate::metrics::Metrics;
use crate::nonce::ProcessTag;
#[cfg(feature = "demo")]
use crate::nonce::{NonceOptions, Nonces};
use crate::replay::{MemoryStore, ReplayStore};
use crate::secret::Secret;
use crate::server::{Bounds, Inherited, Limits, ListenAddress, Loops};
use crate::telemetry::otlp::{self, Exporter};
use crate::tls::{self, TlsError};
use crate::{forward_auth, proxy};

use doors::Doors;
use live::Parts;

pub use live::route;
pub use process::{Follow, RunError, run};

/// Operators' connections, of which a flood of clients takes none.
const ADMIN_CONNECTIONS: usize = 64;
/// Scrapes and probes are short.
const ADMIN_DRAIN: Duration = Duration::from_secs(1);
/// Bytes of the nonce secret that is made where none is configured.
const NONCE_SECRET_BYTES: usize = 32;

/// Why a gate cannot start, or cannot take a new configuration.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}; expected {}", bindable(address))]
    Bind {
        /// Which.
        address: ListenAddress,
        /// Why.
        source: std::io::Error,
    },
    /// TLS files that were good when the configuration was checked are not now.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Random(getrandom::Error),
}

fn bindable(address: &ListenAddress) -> &'static str {
    match address {
        ListenAddress::Tcp(_) => "an address of this machine, and a port that is free and that this user may take",
        ListenAddress::Unix(_) => "a path in a folder that this user may write to",
    }
}

/// One address that a gate listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// `proxy`, `forward_auth`, `ext_authz` or `admin`.
    pub door: &'static str,
    /// As bound: with the port that was free.
    pub address: ListenAddress,
}

/// A running gate. Dropped without [`Running::shutdown`], it ends at once.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    replay: Arc<ReplayStore>,
    /// Since when this process' memory knows everything that it has to.
    since: Timestamp,
    nonce_secret: Secret,
    process: ProcessTag,
    doors: Doors,
    /// Key refresh and health checks of the current configuration.
    tasks: JoinSet<()>,
    /// Exports the traces of the current configuration; that of the one before ends with its last request.
    exporter: Option<Exporter>,
    /// What outlives configurations: notes the totals now and then.
    _chronicle: JoinSet<()>,
}

/// What doors see of the running gate.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    metrics: Arc<Metrics>,
    started: Timestamp,
    draining: AtomicBool,
    history: History,
    recent: Arc<Recent>,
    replay_capacity: AtomicUsize,
    proxy: Arc<ArcSwap<proxy::Live>>,
    forward_auth: Arc<ArcSwap<forward_auth::Live>>,
}

/// Starts a gate on the current runtime.
pub async fn start(config: Config, clock: Clock, metrics: Arc<Metrics>) -> Result<Running, StartError> {
    start_on(config, clock, metrics, Loops::here(), Inherited::default()).await
}

/// The same, with loops of their own for clients' connections, and on sockets that are there already.
async fn start_on(
    mut config: Config,
    clock: Clock,
    metrics: Arc<Metrics>,
    loops: Loops,
    inherited: Inherited,
) -> Result<Running, StartError> {
    let started = clock.now();
    let mut secret = vec![0; NONCE_SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(StartError::Random)?;
    let nonce_secret = Secret::new(secret);
    let mut process = ProcessTag::default();
    getrandom::fill(&mut process.0).map_err(StartError::Random)?;
    let options = live::memory_options(&config, started);
    let memory = Arc::new(MemoryStore::new(options, metrics.replay_entries.clone()));
    let replay = {
        let _on_a_loop = loops.enter();
        live::replay_store(config.redis.clone(), &memory, &clock, &metrics, None)
    };

    let (limits, listeners, admin) = (config.limits, config.listeners.clone(), config.admin);
    let recent = Arc::default();
    let (tracer, exporter) = config.traces.take().map(|to| otlp::start(to, replay.name(), &metrics)).unzip();
    let replay_capacity = AtomicUsize::new(config.replay_capacity);
    let context = live::Context {
        clock: &clock,
        recent: &recent,
        metrics: &metrics,
        started,
        nonce_secret: &nonce_secret,
        process,
        replay: &replay,
        tracer,
        issuer_tls: &tls::issuer_config()?,
        old: None,
    };
    let Parts { proxy, forward_auth, tasks } = live::build(config, &context);
    let shared = Arc::new(Shared {
        clock,
        metrics,
        started,
        draining: AtomicBool::new(false),
        history: History::default(),
        recent,
        replay_capacity,
        proxy: Arc::new(ArcSwap::from_pointee(proxy)),
        forward_auth: Arc::new(ArcSwap::from_pointee(forward_auth)),
    });

    let mut doors = Doors::new(bounds(limits, &shared.metrics, loops), admin_bounds(limits), inherited);
    let prepared = doors.prepare(&shared, &listeners, admin)?;
    doors.commit(prepared, limits.drain_timeout);
    let mut chronicle = JoinSet::new();
    chronicle.spawn(chronicle_of(Arc::clone(&shared)));
    let tasks = live::spawn(tasks);
    let running = Running {
        shared,
        replay,
        since: started,
        nonce_secret,
        process,
        doors,
        tasks,
        exporter,
        _chronicle: chronicle,
    };
    running.announce();
    for address in running.doors.unused() {
        warn!(%address, "a socket was handed over (LISTEN_FDS) for which no listener has this very address");
    }
    Ok(running)
}

impl Running {
    /// The addresses that it listens on, as bound.
    pub fn listening(&self) -> Vec<Listening> {
        self.doors.listening()
    }

    /// Nonces as this gate makes them where no secret is configured.
    #[cfg(feature = "demo")]
    pub(crate) fn nonces(&self, lifetime: Duration) -> Nonces {
        let (secret, process) = (self.nonce_secret.clone(), self.process);
        Nonces::new(NonceOptions { lifetime, secret, previous: None, process, others_not_before: None })
    }

    /// Takes another configuration: wholly or, on an error, not at all. Requests in flight end under the old one.
    pub async fn reload(&mut self, mut config: Config) -> Result<(), StartError> {
        let limits = config.limits;
        let issuer_tls = tls::issuer_config()?;
        let prepared = self.doors.prepare(&self.shared, &config.listeners, config.admin)?;
        let old = self.shared.proxy.load_full();
        let capacity = config.replay_capacity;
        let (clock, metrics) = (&self.shared.clock, &*self.shared.metrics);
        let memory = self.replay.memory();
        let replay = {
            let _on_a_loop = self.doors.loops().enter();
            live::replay_store(config.redis.clone(), memory, clock, metrics, Some(&self.replay))
        };
        // What was spent at a shared store so far, this process' memory alone would not know.
        let began = if self.replay.shared().is_some() && replay.shared().is_none() { clock.now() } else { self.since };
        let options = live::memory_options(&config, began);
        if let Some(redis) = replay.shared() {
            redis.settled().await;
        }
        let (tracer, exporter) = config.traces.take().map(|to| otlp::start(to, replay.name(), metrics)).unzip();
        let context = live::Context {
            clock: &self.shared.clock,
            recent: &self.shared.recent,
            metrics: &self.shared.metrics,
            started: began,
            nonce_secret: &self.nonce_secret,
            process: self.process,
            replay: &replay,
            tracer,
            issuer_tls: &issuer_tls,
            old: Some(&*old.gate),
        };
        let Parts { proxy, forward_auth, tasks } = live::build(config, &context);

        // From here on nothing can fail. The store comes first: what the new rules let in, it must remember.
        replay.memory().reconfigure(options);
        if replay.shared().is_none() {
            self.shared.metrics.forget_replay_store("redis");
        }
        self.shared.replay_capacity.store(capacity, Ordering::Relaxed);
        self.replay = replay;
        self.since = began;
        self.shared.proxy.store(Arc::new(proxy));
        self.shared.forward_auth.store(Arc::new(forward_auth));
        self.tasks = live::spawn(tasks);
        self.exporter = exporter;
        self.doors.reconfigure(limits, admin_limits(limits));
        self.doors.commit(prepared, limits.drain_timeout);
        self.announce();
        Ok(())
    }

    /// Tells probes that no traffic should come, and after `shutdown_grace` stops accepting, lets requests in flight
    /// end within `drain_timeout`, exports their traces, and ends. Probes are answered to the last.
    pub async fn shutdown(self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let Limits { shutdown_grace, drain_timeout, .. } = self.doors.limits();
        if !shutdown_grace.is_zero() {
            self.doors.leave();
            tokio::time::sleep(shutdown_grace).await;
        }
        let end = Instant::now() + drain_timeout + ADMIN_DRAIN;
        self.doors.drain(drain_timeout, ADMIN_DRAIN).await;
        if let Some(exporter) = self.exporter {
            exporter.finish(end).await;
        }
    }

    fn announce(&self) {
        for Listening { door, address } in self.listening() {
            info!(%address, door, "listening");
        }
    }
}

/// Notes the totals at the end of every step, for the status page.
async fn chronicle_of(shared: Arc<Shared>) {
    let mut steps = tokio::time::interval(STEP);
    steps.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        steps.tick().await;
        shared.history.note(shared.clock.now(), shared.metrics.totals());
    }
}

fn bounds(limits: Limits, metrics: &Metrics, loops: Loops) -> Arc<Bounds> {
    Bounds::new(limits, Some(metrics.connections.clone()), loops)
}

fn admin_bounds(limits: Limits) -> Arc<Bounds> {
    // The contract's gauge counts clients; operators wait for none of them.
    Bounds::new(admin_limits(limits), None, Loops::here())
}

fn admin_limits(limits: Limits) -> Limits {
    Limits { connections: ADMIN_CONNECTIONS, ..limits }
}
