//! Probes, metrics and the status page.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};

use crate::metrics::Metrics;

/// The admin door.
pub struct Admin {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Whether traffic can be served: issuers have keys, not draining.
    pub ready: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl Admin {
    /// Answers `/metrics`, `/livez`, `/readyz`, `/`.
    pub fn handle<B>(&self, request: &Request<B>) -> Response<Bytes> {
        let _: (&Request<B>, Option<ArcSwap<()>>) = (request, None);
        todo!()
    }
}
