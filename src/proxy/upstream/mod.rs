//! Upstreams: pools, balance, health.
//!
//! - What was sent is never sent again. A request goes to another connection or endpoint only where nothing of it left
//!   this process (no connection; a pooled connection found closed before the request was written), or, without a
//!   body, where an HTTP/2 peer says that it did not process it (RFC 9113 section 8.7).
//! - `timeout` bounds the wait for a response head. It is counted anew from each piece of the request body, and stands
//!   still while the client is the one to send the next piece; the server's own limits bound slow clients. Bodies
//!   stream in both directions with back-pressure and without a limit.
//! - A client that sends its body on `100 Continue` waits for the upstream's word (see `expect`). Other interim
//!   responses (1xx) end here.
//! - Towards HTTP/1.1 hyper sends only those trailers that the request's `Trailer` header names; HTTP/2 sends all.

mod balance;
mod body;
mod connect;
mod direct;
mod endpoint;
mod expect;
mod health;
mod idle;
mod outbound;
mod pool;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use thiserror::Error;

use crate::metrics::{UpstreamErrorKind, UpstreamMetrics};

use balance::Balancer;
use body::Upload;
use endpoint::{Backend, Failure};
use outbound::Unsent;

pub use body::ResponseBody;
pub(super) use expect::CONTINUE;

/// One upstream, as the operator describes it.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Its name in the configuration and in metrics.
    pub name: Arc<str>,
    /// Where it listens; one or more.
    pub endpoints: Vec<Endpoint>,
    /// Which HTTP it speaks.
    pub protocol: Protocol,
    /// How requests are spread.
    pub balance: Balance,
    /// How long a connection may take, TLS included.
    pub connect_timeout: Duration,
    /// How long the response head may take; bodies stream without a limit.
    pub timeout: Duration,
    /// Active checks.
    pub health_check: Option<HealthCheck>,
    /// TLS towards `https` endpoints.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// The name that the certificate must have, and SNI; the endpoint's host where absent.
    pub server_name: Option<String>,
    /// The client's `Host` goes upstream; else the endpoint's own.
    pub preserve_host: bool,
}

/// Where an upstream listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://authority`, port included.
    Http(http::uri::Authority),
    /// `https://authority`, port included.
    Https(http::uri::Authority),
    /// `unix:/path`, plain HTTP.
    Unix(PathBuf),
}

/// Which HTTP an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// https: by ALPN. http and unix: HTTP/1.1, but h2c for gRPC, which needs it.
    Auto,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2; over plain connections with prior knowledge.
    Http2,
}

/// How requests are spread over endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// To the one with the fewest in flight.
    LeastRequests,
    /// In turn.
    RoundRobin,
}

/// Active health checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// Path to GET; a 2xx or 3xx is healthy.
    pub path: String,
    /// Time between two checks of one endpoint; also their timeout, up to 5 s.
    pub interval: Duration,
}

/// Why a request got no response from the upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UpstreamError {
    /// No connection.
    #[error("no connection to the upstream")]
    Connect,
    /// No response head in time.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// The connection ended before a response.
    #[error("the upstream closed the connection")]
    Reset,
    /// What came was not HTTP.
    #[error("the upstream did not speak HTTP")]
    Protocol,
    /// No healthy endpoint.
    #[error("no endpoint of the upstream is healthy")]
    Unhealthy,
    /// The request's own body failed before a response came: the caller's or its client's fault, not the upstream's.
    #[error("the request body ended early")]
    RequestBody,
}

impl UpstreamError {
    /// Its label; none where the upstream is not to blame.
    pub const fn kind(self) -> Option<UpstreamErrorKind> {
        Some(match self {
            Self::Connect => UpstreamErrorKind::Connect,
            Self::Timeout => UpstreamErrorKind::Timeout,
            Self::Reset => UpstreamErrorKind::Reset,
            Self::Protocol => UpstreamErrorKind::Protocol,
            Self::Unhealthy => UpstreamErrorKind::Unhealthy,
            Self::RequestBody => return None,
        })
    }
}

/// A request body towards an upstream.
pub type RequestBody = UnsyncBoxBody<Bytes, Box<dyn std::error::Error + Send + Sync>>;

/// One endpoint on the status page.
#[derive(Debug, Clone)]
pub struct EndpointStatus {
    /// Its URL.
    pub url: String,
    /// Whether requests are sent there.
    pub healthy: bool,
    /// Requests in flight.
    pub in_flight: usize,
}

/// A running upstream.
#[derive(Debug)]
pub struct Upstream {
    backends: Vec<Arc<Backend>>,
    balancer: Balancer,
    health_check: Option<HealthCheck>,
    metrics: UpstreamMetrics,
}

impl Upstream {
    /// Opens nothing yet.
    pub fn new(options: UpstreamOptions, metrics: UpstreamMetrics) -> Self {
        Self {
            backends: options.endpoints.iter().map(|endpoint| Backend::new(endpoint, &options)).collect(),
            balancer: Balancer::new(options.balance),
            health_check: options.health_check,
            metrics,
        }
    }

    /// Sends a request, whose URI is in origin form and whose `Host` is the client's, and returns at the response's
    /// head.
    ///
    /// An upgrade passes (`Connection: upgrade` and `Upgrade` on an HTTP/1.1-style GET). Where the upstream took it the
    /// response is a 101, or a 200 where it went over HTTP/2 as an extended CONNECT (RFC 8441, WebSocket only); the
    /// caller treats both alike, and `hyper::upgrade::on` works on either. The 200 has no `Sec-WebSocket-Accept`, since
    /// the key does not travel: a caller whose client speaks HTTP/1.1 computes it. `protocol: auto` sends upgrades over
    /// HTTP/1.1 always.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, UpstreamError> {
        let result = self.try_endpoints(request).await;
        if let Err(error) = &result
            && let Some(kind) = error.kind()
        {
            self.metrics.failed(kind);
        }
        result
    }

    async fn try_endpoints(&self, request: Request<RequestBody>) -> Result<Response<ResponseBody>, UpstreamError> {
        // It stays here, and is lent, until it is given to a connection: it is too large to be moved about.
        let mut request = Unsent::new(request.map(Upload::new));
        let mut tried = Vec::new();
        let mut last = UpstreamError::Unhealthy;
        while let Some((index, backend)) = self.balancer.pick(&self.backends, &tried) {
            match backend.exchange(&mut request).await {
                Ok(response) => return Ok(response),
                Err(Failure::Sent(error)) => return Err(error),
                Err(Failure::Unsent(error)) => {
                    tried.push(index);
                    last = error;
                }
            }
        }
        Err(last)
    }

    /// Runs the health checks until dropped; returns at once where there are none. A task of the caller's.
    pub async fn watch(self: Arc<Self>) {
        let Some(check) = &self.health_check else { return };
        let mut checks = tokio::task::JoinSet::new();
        for backend in &self.backends {
            checks.spawn(Arc::clone(backend).watch(check.clone()));
        }
        while checks.join_next().await.is_some() {}
    }

    /// For the status page.
    pub fn status(&self) -> Vec<EndpointStatus> {
        self.backends.iter().map(|backend| backend.status()).collect()
    }
}
