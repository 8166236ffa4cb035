//! A configuration becomes a running gate, and another one takes its place without a request lost.
//!
//! What outlives a configuration stands in [`Running`]: the replay memory, the random nonce secret, the sockets. All
//! else is built anew, and swapped in only when nothing can fail any more.

mod doors;
mod live;
mod process;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::task::JoinSet;
use tracing::info;

use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::nonce::ProcessTag;
use crate::replay::{MemoryStore, ReplayStore};
use crate::secret::Secret;
use crate::server::{Bounds, Limits, ListenAddress};
use crate::tls::{self, TlsError};
use crate::{forward_auth, proxy};

use doors::Doors;
use live::Parts;

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
    #[error("cannot listen on {address}: {source}")]
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
    nonce_secret: Secret,
    process: ProcessTag,
    doors: Doors,
    /// Key refresh and health checks of the current configuration.
    tasks: JoinSet<()>,
}

/// What doors see of the running gate.
#[derive(Debug)]
struct Shared {
    clock: Clock,
    metrics: Arc<Metrics>,
    started: Timestamp,
    draining: AtomicBool,
    proxy: Arc<ArcSwap<proxy::Live>>,
    forward_auth: Arc<ArcSwap<forward_auth::Live>>,
}

/// Starts a gate on the current runtime.
pub async fn start(config: Config, clock: Clock, metrics: Arc<Metrics>) -> Result<Running, StartError> {
    let started = clock.now();
    let mut secret = vec![0; NONCE_SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(StartError::Random)?;
    let nonce_secret = Secret::new(secret);
    let mut process = ProcessTag::default();
    getrandom::fill(&mut process.0).map_err(StartError::Random)?;
    let options = live::memory_options(&config, started);
    let replay = Arc::new(ReplayStore::Memory(MemoryStore::new(options, metrics.replay_entries.clone())));

    // A counter that is absent until it counts cannot be alerted on.
    let _ = metrics.replay_store_errors(replay.name());

    let (limits, listeners, admin) = (config.limits, config.listeners.clone(), config.admin);
    let context = live::Context {
        clock: &clock,
        metrics: &metrics,
        started,
        nonce_secret: &nonce_secret,
        process,
        replay: &replay,
        issuer_tls: &tls::issuer_config()?,
        old: None,
    };
    let Parts { proxy, forward_auth, tasks } = live::build(config, &context);
    let shared = Arc::new(Shared {
        clock,
        metrics,
        started,
        draining: AtomicBool::new(false),
        proxy: Arc::new(ArcSwap::from_pointee(proxy)),
        forward_auth: Arc::new(ArcSwap::from_pointee(forward_auth)),
    });

    let mut doors = Doors::new(bounds(limits, &shared.metrics), admin_bounds(limits));
    let prepared = doors.prepare(&shared, &listeners, admin)?;
    doors.commit(prepared, limits.drain_timeout);
    let running = Running { shared, replay, nonce_secret, process, doors, tasks: live::spawn(tasks) };
    running.announce();
    Ok(running)
}

impl Running {
    /// The addresses that it listens on, as bound.
    pub fn listening(&self) -> Vec<Listening> {
        self.doors.listening()
    }

    /// Takes another configuration: wholly or, on an error, not at all. Requests in flight end under the old one.
    pub async fn reload(&mut self, config: Config) -> Result<(), StartError> {
        let limits = config.limits;
        let issuer_tls = tls::issuer_config()?;
        let prepared = self.doors.prepare(&self.shared, &config.listeners, config.admin)?;
        let options = live::memory_options(&config, self.shared.started);
        let old = self.shared.proxy.load_full();
        let context = live::Context {
            clock: &self.shared.clock,
            metrics: &self.shared.metrics,
            started: self.shared.started,
            nonce_secret: &self.nonce_secret,
            process: self.process,
            replay: &self.replay,
            issuer_tls: &issuer_tls,
            old: Some(&old.gate.issuers),
        };
        let Parts { proxy, forward_auth, tasks } = live::build(config, &context);

        // From here on nothing can fail. The store comes first: what the new rules let in, it must remember.
        match &*self.replay {
            ReplayStore::Memory(memory) => memory.reconfigure(options),
        }
        self.shared.proxy.store(Arc::new(proxy));
        self.shared.forward_auth.store(Arc::new(forward_auth));
        self.tasks = live::spawn(tasks);
        self.doors.reconfigure(limits, admin_limits(limits));
        self.doors.commit(prepared, limits.drain_timeout);
        self.announce();
        Ok(())
    }

    /// Tells probes that no traffic should come, and after `shutdown_grace` stops accepting, lets requests in flight end
    /// within `drain_timeout`, and ends. Probes are answered to the last.
    pub async fn shutdown(self) {
        self.shared.draining.store(true, Ordering::Relaxed);
        let Limits { shutdown_grace, drain_timeout, .. } = self.doors.limits();
        if !shutdown_grace.is_zero() {
            self.doors.leave();
            tokio::time::sleep(shutdown_grace).await;
        }
        self.doors.drain(drain_timeout, ADMIN_DRAIN).await;
    }

    fn announce(&self) {
        for Listening { door, address } in self.listening() {
            info!(%address, door, "listening");
        }
    }
}

fn bounds(limits: Limits, metrics: &Metrics) -> Arc<Bounds> {
    Bounds::new(limits, Some(metrics.connections.clone()))
}

fn admin_bounds(limits: Limits) -> Arc<Bounds> {
    // The contract's gauge counts clients.
    Bounds::new(admin_limits(limits), None)
}

fn admin_limits(limits: Limits) -> Limits {
    Limits { connections: ADMIN_CONNECTIONS, ..limits }
}
