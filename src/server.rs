//! Listeners and connections: accept, TLS, bounds, drain.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::gate::Spend;
use crate::tls::ServerTls;

/// One listener.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenerOptions {
    /// Where it listens.
    pub address: ListenAddress,
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

/// Who answers on a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The reverse proxy.
    Proxy,
    /// Forward authentication over HTTP.
    ForwardAuth(Spend),
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
    /// How long requests in flight may take to end at shutdown.
    pub drain_timeout: Duration,
    /// Open connections, all listeners together; further ones wait to be accepted.
    pub connections: usize,
}
