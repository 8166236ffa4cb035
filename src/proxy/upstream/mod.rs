//! Upstreams: pools, balance, health.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use thiserror::Error;

use crate::metrics::{UpstreamErrorKind, UpstreamMetrics};

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
}

impl UpstreamError {
    /// Its label.
    pub const fn kind(self) -> UpstreamErrorKind {
        match self {
            Self::Connect => UpstreamErrorKind::Connect,
            Self::Timeout => UpstreamErrorKind::Timeout,
            Self::Reset => UpstreamErrorKind::Reset,
            Self::Protocol => UpstreamErrorKind::Protocol,
            Self::Unhealthy => UpstreamErrorKind::Unhealthy,
        }
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
pub struct Upstream {}

impl Upstream {
    /// Opens nothing yet.
    pub fn new(options: UpstreamOptions, metrics: UpstreamMetrics) -> Self {
        let _ = (options, metrics);
        todo!()
    }

    /// Sends a request, whose URI is in origin form and whose `Host` is the client's, and returns at the response's
    /// head. An upgrade (`Connection: upgrade` on the request) passes: the response is then a 101 (or an extended
    /// CONNECT's 200) on which `hyper::upgrade::on` works.
    pub async fn send(&self, request: Request<RequestBody>) -> Result<Response<Incoming>, UpstreamError> {
        let _ = request;
        todo!()
    }

    /// Runs the health checks until dropped; returns at once where there are none. A task of the caller's.
    pub async fn watch(self: Arc<Self>) {
        todo!()
    }

    /// For the status page.
    pub fn status(&self) -> Vec<EndpointStatus> {
        todo!()
    }
}
