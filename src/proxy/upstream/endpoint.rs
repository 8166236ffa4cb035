//! One endpoint: its connections, its health, and one request's way over it.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{HOST, TRANSFER_ENCODING, USER_AGENT};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body as _;
use tokio::time::Instant;

use crate::gate::tokens;

use super::body::{Progress, Received, ResponseBody, Upload};
use super::connect::{Connector, Wish};
use super::direct::ExchangeError;
use super::expect::{self, Ending, Expectation, Silence};
use super::health::{Active, Ejection};
use super::outbound::{self, Address, Unsent, Upgrade};
use super::pool::{Lease, Needs, Pools, SendError};
use super::{Endpoint, EndpointStatus, HealthCheck, Protocol, UpstreamError, UpstreamOptions};

/// The longest that a health check may take.
const MAX_CHECK: Duration = Duration::from_secs(5);

/// An endpoint in use.
#[derive(Debug)]
pub(super) struct Backend {
    url: String,
    address: Address,
    protocol: Protocol,
    secure: bool,
    timeout: Duration,
    pools: Pools,
    requests: AtomicUsize,
    pub(super) ejection: Ejection,
    pub(super) active: Active,
    pub(super) silence: Silence,
}

/// How one try ended without a response.
pub(super) enum Failure {
    /// Nothing of the request has left, so that another endpoint may have it.
    Unsent(UpstreamError),
    /// It may have been acted upon.
    Sent(UpstreamError),
}

impl Backend {
    pub(super) fn new(endpoint: &Endpoint, options: &UpstreamOptions) -> Arc<Self> {
        let (scheme, authority, url) = match endpoint {
            Endpoint::Http(authority) => (Scheme::HTTP, authority.clone(), format!("http://{authority}")),
            Endpoint::Https(authority) => (Scheme::HTTPS, authority.clone(), format!("https://{authority}")),
            Endpoint::Unix(path) => {
                (Scheme::HTTP, Authority::from_static("localhost"), format!("unix:{}", path.display()))
            }
        };
        let host = HeaderValue::try_from(authority.as_str()).unwrap_or(HeaderValue::from_static("localhost"));
        Arc::new(Self {
            url,
            secure: scheme == Scheme::HTTPS,
            address: Address { scheme, authority, host, preserve_host: options.preserve_host },
            protocol: options.protocol,
            timeout: options.timeout,
            pools: Pools::new(Connector::new(endpoint, options)),
            requests: AtomicUsize::new(0),
            ejection: Ejection::new(),
            active: Active::new(),
            silence: Silence::default(),
        })
    }

    pub(super) fn in_flight(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    pub(super) fn status(&self) -> EndpointStatus {
        EndpointStatus {
            url: self.url.clone(),
            healthy: self.active.healthy() && !self.ejection.active(),
            in_flight: self.in_flight(),
        }
    }

    /// Sends a request here, over a connection that is there or a new one.
    pub(super) async fn exchange(self: &Arc<Self>, request: &mut Unsent) -> Result<Response<ResponseBody>, Failure> {
        let in_flight = InFlight::new(self);
        let upgrade = request.upgrade();
        // Whoever gives a request away gets it back with a failure that says so.
        const GONE: Failure = Failure::Sent(UpstreamError::Reset);
        let head = request.get_mut().ok_or(GONE)?;
        let (wish, pool) = (self.wish(head, upgrade), self.pools.here());
        let bare = head.body().is_end_stream() && upgrade == Upgrade::No && head.method() != Method::CONNECT;
        let needs = if bare { Needs::Response } else { Needs::BothWays };
        // Ends, since each turn uses up a pooled connection and a new one is tried once.
        loop {
            let mut lease = match pool.checkout(wish, needs).await {
                Ok(lease) => lease,
                Err(error) => {
                    self.failed(&error);
                    return Err(Failure::Unsent(UpstreamError::Connect));
                }
            };
            let head = request.get_mut().ok_or(GONE)?;
            match (lease.is_http2(), upgrade) {
                (false, _) => outbound::for_http1(head, &self.address),
                (true, Upgrade::No) => outbound::for_http2(head, &self.address),
                (true, Upgrade::WebSocket) if Box::pin(lease.takes_extended_connect()).await => {
                    outbound::for_websocket_over_http2(head, &self.address);
                }
                // HTTP/2 has no other form of it (RFC 9113 section 8.6).
                (true, Upgrade::WebSocket | Upgrade::Other) => return Err(Failure::Sent(UpstreamError::Protocol)),
            }
            match self.send(&mut lease, request).await {
                Ok(response) => {
                    self.ejection.succeeded();
                    return Ok(finish(response, lease, in_flight));
                }
                Err(Failure::Unsent(error)) => {
                    let reused = lease.reused;
                    lease.retire();
                    if !reused {
                        self.failed(&error);
                        return Err(Failure::Unsent(error));
                    }
                }
                Err(Failure::Sent(error)) => {
                    if error == UpstreamError::Reset {
                        self.failed(&error);
                    }
                    return Err(Failure::Sent(error));
                }
            }
        }
    }

    #[cfg(test)]
    pub(super) fn idle_and_open(&self) -> usize {
        self.pools.idle_and_open()
    }

    fn wish(&self, request: &Request<Upload>, upgrade: Upgrade) -> Wish {
        match self.protocol {
            Protocol::Http1 => Wish::Http1,
            Protocol::Http2 => Wish::Http2,
            Protocol::Auto if upgrade != Upgrade::No => Wish::Http1,
            Protocol::Auto if self.secure => Wish::Negotiate,
            Protocol::Auto if outbound::is_grpc(request.headers()) => Wish::Http2,
            Protocol::Auto => Wish::Http1,
        }
    }

    /// Where its client waits for `100 Continue`: what the upstream has to say to that, if it is asked.
    fn expectation(&self, lease: &Lease, request: &mut Request<Upload>) -> Option<Expectation> {
        if !expect::is_of(request) {
            return None;
        }
        if lease.is_http2() || self.silence.lasts() {
            expect::waive(request);
            return None;
        }
        Some(Expectation::of(request))
    }

    async fn send(&self, lease: &mut Lease, request: &mut Unsent) -> Result<Response<Received>, Failure> {
        let upgrade = request.upgrade();
        let Some(head) = request.get_mut() else { return Err(Failure::Sent(UpstreamError::Reset)) };
        let progress = head.body().progress();
        // What has no body can be sent again where an HTTP/2 peer says that it did not process it.
        let repeatable = lease.is_http2() && progress.is_none() && head.method() != Method::CONNECT;
        let spare = repeatable.then(|| Box::new(outbound::copy_head(head)));
        let expectation = if progress.is_some() { self.expectation(lease, head) } else { None };
        let sent = lease.send(request, self.timeout, progress.as_deref()).await;
        if let (Some(expectation), Ok(response)) = (&expectation, &sent) {
            match expectation.answered() {
                Ending::Met => {}
                Ending::Ignored => self.silence.begins(),
                Ending::Answered => lease.ends_with_response(),
            }
            // It knows no expectations (RFC 9110 section 10.1.1): its next clients hear of none.
            if response.status() == StatusCode::EXPECTATION_FAILED {
                self.silence.begins();
            }
        }
        let error = match sent {
            // What it would say next is no HTTP, and nobody has agreed to that.
            Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS && upgrade == Upgrade::No => {
                tracing::debug!(endpoint = %self.url, "a switch of protocols that nobody has asked for");
                return Err(Failure::Sent(UpstreamError::Protocol));
            }
            Ok(response) if is_coded_otherwise(&response) => {
                tracing::debug!(endpoint = %self.url, "a transfer coding that is not understood");
                return Err(Failure::Sent(UpstreamError::Protocol));
            }
            Ok(response) => return Ok(response),
            Err(SendError::Timeout) => return Err(Failure::Sent(UpstreamError::Timeout)),
            Err(SendError::Unsent) => return Err(Failure::Unsent(UpstreamError::Reset)),
            Err(SendError::GivenUp) => return Err(Failure::Sent(UpstreamError::Reset)),
            Err(SendError::Hyper(error)) => error,
            Err(SendError::Direct(error)) => {
                tracing::debug!(endpoint = %self.url, error = %Chain(&error), "request failed");
                return Err(Failure::Sent(match error {
                    ExchangeError::Io(_) | ExchangeError::Closed => UpstreamError::Reset,
                    _ => UpstreamError::Protocol,
                }));
            }
        };
        tracing::debug!(endpoint = %self.url, error = %Chain(&error), "request failed");
        if let Some(head) = spare
            && was_not_processed(&error)
        {
            request.put_back(head.map(|()| Upload::empty()));
            return Err(Failure::Unsent(UpstreamError::Reset));
        }
        if progress.is_some_and(|progress| progress.failed()) {
            return Err(Failure::Sent(UpstreamError::RequestBody));
        }
        Err(Failure::Sent(classify(&error)))
    }

    fn failed(&self, error: &(dyn Error + 'static)) {
        // The first of a row tells why a client got a 502; the rest of it says nothing new.
        let is_first = self.ejection.is_unblemished();
        match self.ejection.failed() {
            Some(length) => {
                let seconds = length.as_secs();
                tracing::warn!(endpoint = %self.url, error = %Chain(error), seconds, "endpoint ejected");
            }
            None if is_first => tracing::warn!(endpoint = %self.url, error = %Chain(error), "endpoint failed"),
            None => tracing::debug!(endpoint = %self.url, error = %Chain(error), "endpoint failed"),
        }
    }

    /// Checks at once and then every interval, for ever.
    pub(super) async fn watch(self: Arc<Self>, check: HealthCheck) {
        let mut turns = tokio::time::interval(check.interval.max(Duration::from_millis(1)));
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let limit = check.interval.min(MAX_CHECK);
            let good = matches!(tokio::time::timeout(limit, self.check(&check.path)).await, Ok(Some(status))
                if status.is_success() || status.is_redirection());
            if self.active.checked(good) {
                tracing::warn!(endpoint = %self.url, healthy = good, "endpoint's health changed");
            }
        }
    }

    /// One GET over a connection of its own, so that a full or stale pool does not look like a sick endpoint.
    async fn check(self: &Arc<Self>, path: &str) -> Option<StatusCode> {
        let request = Request::get(path)
            .header(HOST, &self.address.host)
            .header(USER_AGENT, "dpop-gate")
            .body(Upload::empty())
            .ok()?;
        let mut request = Unsent::new(request);
        let head = request.get_mut()?;
        let mut lease = self.pools.here().open_private(self.wish(head, Upgrade::No)).await.ok()?;
        if lease.is_http2() {
            outbound::for_http2(head, &self.address);
        } else {
            outbound::for_http1(head, &self.address);
        }
        // Whoever asks has a limit of his own.
        Some(lease.send(&mut request, self.timeout, None).await.ok()?.status())
    }
}

/// Counts a request as in flight while it lives.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Backend>);

impl InFlight {
    fn new(backend: &Arc<Backend>) -> Self {
        backend.requests.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(backend))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

fn finish(response: Response<Received>, mut lease: Lease, in_flight: InFlight) -> Response<ResponseBody> {
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        lease.surrender();
        return response.map(ResponseBody::upgraded);
    }
    lease.note_keep_alive(response.headers());
    response.map(|body| ResponseBody::new(body, lease, in_flight))
}

/// Whether a response's body is in a transfer coding that is not taken off here: it must not go on, since the header
/// that tells of it holds for one connection only (RFC 9112 sections 6.1 and 7.3; `TE` asked for none).
fn is_coded_otherwise(response: &Response<Received>) -> bool {
    if !response.body().may_be_coded() {
        return false;
    }
    // `identity`, which older servers say, is none; behind `chunked` it would hide that from whoever takes it off.
    let mut chunked = false;
    tokens(response.headers(), &TRANSFER_ENCODING).any(|coding| {
        let known = coding.eq_ignore_ascii_case(b"chunked") || coding.eq_ignore_ascii_case(b"identity");
        let hidden = std::mem::replace(&mut chunked, coding.eq_ignore_ascii_case(b"chunked"));
        !known || hidden
    })
}

/// Waits for the head for `timeout`, counted anew from each piece of the request body, and not while the client is
/// the one to send the next: neither a slow upload nor a long one is the upstream's fault. `None` when over.
pub(super) async fn await_head<T>(
    sent: impl Future<Output = T>,
    timeout: Duration,
    progress: Option<&Progress>,
) -> Option<T> {
    let mut sent = std::pin::pin!(sent);
    let mut sleep = std::pin::pin!(tokio::time::sleep(timeout));
    loop {
        tokio::select! {
            biased;
            sent = &mut sent => return Some(sent),
            () = &mut sleep => {
                let now = Instant::now();
                let deadline = progress?.deadline(timeout, now);
                if deadline <= now {
                    return None;
                }
                sleep.as_mut().reset(deadline);
            }
        }
    }
}

/// The HTTP/2 peer says that it did not act on the request (RFC 9113 section 8.7): a stream refused, or one above the
/// last that its GOAWAY names.
fn was_not_processed(error: &hyper::Error) -> bool {
    http2_error(error).is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away() || error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

fn classify(error: &hyper::Error) -> UpstreamError {
    if error.is_parse() {
        return UpstreamError::Protocol;
    }
    match http2_error(error) {
        // What our side of HTTP/2 objects to; the peer's own resets are resets.
        Some(error) if !error.is_io() && !error.is_remote() => UpstreamError::Protocol,
        Some(_) | None => UpstreamError::Reset,
    }
}

fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    error.source()?.downcast_ref()
}

/// An error with its causes, for the log.
struct Chain<'a>(&'a (dyn Error + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
