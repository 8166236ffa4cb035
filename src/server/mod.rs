//! Listeners and connections: accept, TLS, bounds, drain.
//!
//! What a connection may cost is bounded here: how many there are, how long a request head may take and how large it
//! may be, how long a connection may do nothing, how much of a body waits in memory. What a request means is not known
//! here: a [`Handler`] answers it.

mod activity;
mod connection;
mod framing;
mod listener;
mod loops;
mod seldom;
mod socket;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use prometheus::IntGauge;
use tokio::sync::Semaphore;

use crate::gate::Spend;
use crate::target::Account;
use crate::target::Peer;
use crate::tls::ServerTls;

pub use listener::{Listener, Service};
pub use loops::Loops;
pub use socket::{Inherited, Socket};

/// Who answers requests.
pub trait Handler: Send + Sync + 'static {
    /// The response's body; it streams with back-pressure.
    type Body: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static;

    /// Answers one request.
    fn handle(&self, request: Request<Incoming>, peer: &Peer) -> impl Future<Output = Response<Self::Body>> + Send;
}

/// One listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerOptions {
    /// Where it listens.
    pub address: ListenAddress,
    /// Whether another process may listen there too.
    pub sharing: Sharing,
    /// Who answers.
    pub door: Door,
    /// TLS, if any.
    pub tls: Option<ServerTls>,
}

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// TCP; port 0 takes a free one.
    Tcp(SocketAddr),
    /// A Unix socket; a stale file is replaced.
    Unix(PathBuf),
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Whether an address may be listened on by more than one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// By this one alone.
    Alone,
    /// The kernel deals connections out to all of them (`SO_REUSEPORT`): a process takes over from another.
    Shared,
}

/// Who answers on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The reverse proxy.
    Proxy,
    /// Forward authentication over HTTP.
    ForwardAuth(Spend, Account),
    /// The same over gRPC, as Envoy asks.
    ExtAuthz(Spend),
}

/// Bounds on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest request head, in bytes.
    pub header_bytes: usize,
    /// How long a request head (and a TLS handshake) may take.
    pub header_timeout: Duration,
    /// How long a connection may be idle between requests.
    pub idle_timeout: Duration,
    /// How long connections are still accepted at shutdown, while probes say already that no traffic should come.
    pub shutdown_grace: Duration,
    /// How long requests in flight may take to end at shutdown.
    pub drain_timeout: Duration,
    /// Open connections, all listeners together; further ones wait to be accepted.
    pub connections: usize,
}

/// What listeners share: the bounds, which may change under them, the count of open connections, and where those are
/// served.
#[derive(Debug)]
pub struct Bounds {
    settings: ArcSwap<connection::Settings>,
    permits: Arc<Semaphore>,
    open: Option<IntGauge>,
    loops: Loops,
}

impl Bounds {
    /// Bounds over any number of listeners; `open`, if any, is kept at the number of open connections.
    pub fn new(limits: Limits, open: Option<IntGauge>, loops: Loops) -> Arc<Self> {
        Arc::new(Self {
            settings: ArcSwap::from_pointee(connection::Settings::new(limits)),
            permits: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            open,
            loops,
        })
    }

    /// Where connections are served.
    pub fn loops(&self) -> &Loops {
        &self.loops
    }

    /// The limits in force.
    pub fn limits(&self) -> Limits {
        self.settings.load().limits
    }

    /// Takes new limits: for connections accepted from now on. Fewer `connections` take effect as open ones end.
    pub fn reconfigure(&self, limits: Limits) {
        let cap = |connections: usize| connections.min(Semaphore::MAX_PERMITS);
        let old = self.settings.swap(Arc::new(connection::Settings::new(limits)));
        let (old, new) = (cap(old.limits.connections), cap(limits.connections));
        self.permits.add_permits(new.saturating_sub(old));
        let surplus = old.saturating_sub(new);
        let owed = surplus - self.permits.forget_permits(surplus);
        if let (Ok(owed @ 1..), Ok(runtime)) = (u32::try_from(owed), tokio::runtime::Handle::try_current()) {
            let permits = Arc::clone(&self.permits);
            runtime.spawn(async move {
                if let Ok(permits) = permits.acquire_many_owned(owed).await {
                    permits.forget();
                }
            });
        }
    }
}
