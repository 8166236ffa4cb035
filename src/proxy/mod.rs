//! The reverse proxy: a door that forwards.

mod body;
mod handle;
mod headers;
#[cfg(test)]
mod tests;
mod upgrade;
pub mod upstream;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::clock::Clock;
use crate::gate::Gate;
use crate::journal::{Recent, Tracer};
use crate::metrics::{Metrics, RouteMetrics};

use upstream::Upstream;

pub use body::Body;
pub use handle::within_limit;

/// One configuration, running: a request takes one `Arc` of it and keeps it to its end.
#[derive(Debug)]
pub struct Live {
    /// The rules.
    pub gate: Arc<Gate>,
    /// The upstreams by name; every name that a route says is here.
    pub upstreams: HashMap<Arc<str>, Arc<Upstream>>,
    /// Largest request body in bytes; 0 for no limit.
    pub body_bytes: u64,
    /// How long a client may pause in the middle of one while nobody has answered.
    pub body_pause: Duration,
    /// What counts requests without a route (label `none`).
    pub unrouted: Arc<RouteMetrics>,
    /// The latest refusals, for the status page.
    pub recent: Arc<Recent>,
    /// Who traces requests, if anybody does.
    pub tracer: Option<Arc<Tracer>>,
}

/// The proxy: the running configuration and the clock.
#[derive(Debug)]
pub struct Proxy {
    live: Arc<ArcSwap<Live>>,
    clock: Clock,
    metrics: Arc<Metrics>,
}

impl Proxy {
    /// A proxy over a configuration that may be swapped under it.
    pub fn new(live: Arc<ArcSwap<Live>>, clock: Clock, metrics: Arc<Metrics>) -> Self {
        Self { live, clock, metrics }
    }
}
