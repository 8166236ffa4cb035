//! The connections to one endpoint: idle HTTP/1.1 ones, shared HTTP/2 ones, kept apart by event loop.

use std::fmt;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderMap, Response};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::runtime::{Handle, Id};
use tokio::time::Instant;

use super::body::{Progress, Received, Upload};
use super::connect::{ConnectError, Connector, Io, Wish};
use super::direct::{Direct, ExchangeError};
use super::endpoint::await_head;
use super::idle::{Driven, Idle};
use super::outbound::Unsent;

/// How long a connection is kept without a request; less where the upstream says so by `Keep-Alive: timeout`.
const MAX_IDLE_TIME: Duration = Duration::from_secs(60);
/// Requests at once on one HTTP/2 connection before another is opened; fewer where the upstream says so.
const MAX_STREAMS: usize = 100;
/// HTTP/2 connections to one endpoint; beyond them requests queue for a stream.
const MAX_SHARED: usize = 16;
/// Bytes that one HTTP/1.1 connection buffers in each direction; also the largest response head.
pub(super) const HTTP1_BUFFER: usize = 64 * 1024;
/// Bytes that an HTTP/2 upstream may send before we took them, on one stream.
const STREAM_WINDOW: u32 = 512 * 1024;
/// The same on one connection.
const CONNECTION_WINDOW: u32 = 2 * 1024 * 1024;
/// Bytes of request body that one HTTP/2 stream buffers.
const STREAM_SEND_BUFFER: usize = 256 * 1024;
/// Largest HTTP/2 response head in bytes, as RFC 9113 section 6.5.2 counts them.
const MAX_HEADER_LIST: u32 = 64 * 1024;
/// A silent HTTP/2 connection with requests on it is asked for a sign of life this often.
const PING_INTERVAL: Duration = Duration::from_secs(20);
/// How long that sign may take.
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a new HTTP/2 peer may take to say whether it takes extended CONNECT.
const SETTINGS_WAIT: Duration = Duration::from_millis(500);

/// The connections to one endpoint: a pool for each runtime that asks for one. A request on one event loop over a
/// connection that another one drives would wake that one twice.
pub(super) struct Pools {
    connector: Arc<Connector>,
    by_runtime: ArcSwap<Vec<(Id, Arc<Pool>)>>,
}

impl Pools {
    pub(super) fn new(connector: Connector) -> Self {
        Self { connector: Arc::new(connector), by_runtime: ArcSwap::default() }
    }

    /// The pool of the runtime that asks.
    pub(super) fn here(&self) -> Arc<Pool> {
        let here = Handle::current().id();
        let find =
            |pools: &[(Id, Arc<Pool>)]| pools.iter().find(|(id, _)| *id == here).map(|(_, pool)| Arc::clone(pool));
        if let Some(pool) = find(&self.by_runtime.load()) {
            return pool;
        }
        let new = Pool::new(Arc::clone(&self.connector));
        self.by_runtime.rcu(|pools| {
            let mut pools = Vec::clone(pools);
            if find(&pools).is_none() {
                pools.push((here, Arc::clone(&new)));
            }
            pools
        });
        // Runtimes of several threads may have raced: all take the one that is kept.
        find(&self.by_runtime.load()).unwrap_or(new)
    }

    #[cfg(test)]
    pub(super) fn idle_and_open(&self) -> usize {
        self.by_runtime.load().iter().map(|(_, pool)| pool.idle_and_open()).sum()
    }
}

/// Those of one runtime.
pub(super) struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Idle>,
    shared: Mutex<Vec<Arc<Shared>>>,
    /// Held while a connection is opened that others may then share, so that a burst opens one and not a hundred.
    opening: tokio::sync::Mutex<()>,
    /// The last negotiated connection spoke HTTP/1.1: nothing will be shared, so nobody waits for it.
    negotiated_http1: AtomicBool,
    reaping: AtomicBool,
}

impl Pool {
    fn new(connector: Arc<Connector>) -> Arc<Self> {
        Arc::new(Self {
            connector,
            idle: Mutex::default(),
            shared: Mutex::default(),
            opening: tokio::sync::Mutex::new(()),
            negotiated_http1: AtomicBool::new(false),
            reaping: AtomicBool::new(false),
        })
    }

    /// A connection for one request: one that is there, else a new one within the connect timeout.
    pub(super) async fn checkout(self: &Arc<Self>, wish: Wish, needs: Needs) -> Result<Lease, ConnectError> {
        if let Some(lease) = self.reuse(wish, needs) {
            return Ok(lease);
        }
        // In a box: most requests never come here, and would carry the room for it along.
        Box::pin(tokio::time::timeout(self.connector.timeout, self.open(wish, needs)))
            .await
            .map_err(|_| ConnectError::Timeout)?
    }

    /// A connection of one's own, for a health check.
    pub(super) async fn open_private(self: &Arc<Self>, wish: Wish) -> Result<Lease, ConnectError> {
        let (io, speaks_http2) = self.connector.connect(wish).await?;
        if speaks_http2 {
            Ok(self.lease_shared(&Shared::handshake(io).await?, false))
        } else {
            Ok(Lease::new(self, Link::Direct(Box::new(Direct::new(io))), false))
        }
    }

    #[cfg(test)]
    fn idle_and_open(&self) -> usize {
        let mut idle = lock(&self.idle);
        idle.reap();
        idle.len()
    }

    fn reuse(self: &Arc<Self>, wish: Wish, needs: Needs) -> Option<Lease> {
        let shared = || self.reuse_shared();
        let idle = || self.reuse_idle(needs);
        match wish {
            Wish::Http1 => idle(),
            Wish::Http2 => shared(),
            Wish::Negotiate if self.negotiated_http1.load(Ordering::Relaxed) => idle().or_else(shared),
            Wish::Negotiate => shared().or_else(idle),
        }
    }

    fn reuse_idle(self: &Arc<Self>, needs: Needs) -> Option<Lease> {
        let mut idle = lock(&self.idle);
        match needs {
            Needs::Response => idle.take_direct().map(Link::Direct).or_else(|| idle.take_driven().map(Link::Driven)),
            Needs::BothWays => idle.take_driven().map(Link::Driven),
        }
        .map(|link| Lease::new(self, link, true))
    }

    /// An idle connection that was used without hyper, and goes over to it.
    async fn promote(self: &Arc<Self>) -> Option<Lease> {
        let link = lock(&self.idle).take_direct()?;
        let mut lease = self.handshake(link.into_io()).await.ok()?;
        lease.reused = true;
        Some(lease)
    }

    fn reuse_shared(self: &Arc<Self>) -> Option<Lease> {
        let mut shared = lock(&self.shared);
        shared.retain(|connection| !connection.sender.is_closed());
        let full = shared.len() >= MAX_SHARED;
        let connection = shared.iter().find(|connection| connection.has_room());
        let connection =
            connection.or_else(|| shared.iter().filter(|_| full).min_by_key(|connection| connection.streams()));
        connection.map(|connection| self.lease_shared(connection, true))
    }

    fn lease_shared(self: &Arc<Self>, connection: &Arc<Shared>, reused: bool) -> Lease {
        connection.streams.fetch_add(1, Ordering::Relaxed);
        Lease::new(self, Link::Http2(Stream(Arc::clone(connection))), reused)
    }

    async fn open(self: &Arc<Self>, wish: Wish, needs: Needs) -> Result<Lease, ConnectError> {
        if wish != Wish::Http2
            && let Some(lease) = self.promote().await
        {
            return Ok(lease);
        }
        let to_share = match wish {
            Wish::Http1 => false,
            Wish::Http2 => true,
            Wish::Negotiate => !self.negotiated_http1.load(Ordering::Relaxed),
        };
        let _turn = if to_share { Some(self.opening.lock().await) } else { None };
        if to_share && let Some(lease) = self.reuse(wish, needs) {
            return Ok(lease);
        }
        let (io, speaks_http2) = self.connector.connect(wish).await?;
        if wish == Wish::Negotiate {
            self.negotiated_http1.store(!speaks_http2, Ordering::Relaxed);
        }
        if !speaks_http2 {
            return match needs {
                Needs::Response => Ok(Lease::new(self, Link::Direct(Box::new(Direct::new(io))), false)),
                Needs::BothWays => self.handshake(io).await,
            };
        }
        let connection = Shared::handshake(io).await?;
        let lease = self.lease_shared(&connection, false);
        lock(&self.shared).push(connection);
        self.reap();
        Ok(lease)
    }

    async fn handshake(self: &Arc<Self>, io: Io) -> Result<Lease, ConnectError> {
        let (sender, connection) = http1::Builder::new().max_buf_size(HTTP1_BUFFER).handshake(TokioIo::new(io)).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Lease::new(self, Link::Driven(Driven { sender, task: task.abort_handle() }), false))
    }

    fn put_back(self: &Arc<Self>, link: Driven, keep: Duration) {
        if !link.sender.is_closed() && !keep.is_zero() {
            let until = Instant::now() + keep;
            self.rest(|idle| idle.rest_driven(link, until));
        }
    }

    fn put_back_direct(self: &Arc<Self>, mut link: Box<Direct>, keep: Duration) {
        if link.may_be_kept() && !keep.is_zero() {
            link.rest();
            let until = Instant::now() + keep;
            self.rest(|idle| idle.rest_direct(link, until));
        }
    }

    fn rest(self: &Arc<Self>, push: impl FnOnce(&mut Idle)) {
        {
            let mut idle = lock(&self.idle);
            push(&mut idle);
        }
        self.reap();
    }

    /// Starts what closes connections that grew old, unless it runs. It ends with the last of them, or with the pool.
    fn reap(self: &Arc<Self>) {
        let Ok(runtime) = Handle::try_current() else { return };
        if self.reaping.swap(true, Ordering::AcqRel) {
            return;
        }
        let pool = Arc::downgrade(self);
        runtime.spawn(async move {
            loop {
                tokio::time::sleep(MAX_IDLE_TIME / 4).await;
                if Weak::upgrade(&pool).is_none_or(|pool| pool.reap_once()) {
                    return;
                }
            }
        });
    }

    /// `true` where nothing is left.
    fn reap_once(&self) -> bool {
        let mut idle = lock(&self.idle);
        idle.reap();
        let mut shared = lock(&self.shared);
        shared.retain(|connection| !connection.sender.is_closed() && !connection.is_stale());
        let empty = idle.len() == 0 && shared.is_empty();
        if empty {
            // Under both locks: whoever adds one after this starts a new reaper.
            self.reaping.store(false, Ordering::Release);
        }
        empty
    }
}

/// A connection lent to one request.
pub(super) struct Lease {
    pool: Arc<Pool>,
    link: Option<Link>,
    /// It carried requests before this one.
    pub(super) reused: bool,
    keep: Duration,
    /// The request will not come to its end.
    is_cut_short: bool,
}

enum Link {
    Direct(Box<Direct>),
    Driven(Driven),
    Http2(Stream),
}

/// What an exchange over HTTP/1.1 needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// A head goes out, a response comes back: [`Direct`] will do.
    Response,
    /// A body goes out, or an upgrade may come of it: hyper drives that.
    BothWays,
}

/// How sending ended without a response.
pub(super) enum SendError {
    /// No head within the time given.
    Timeout,
    /// hyper has not begun to write it, and handed it back.
    Unsent,
    /// The lease was given up before.
    GivenUp,
    /// hyper: some of it may have been sent.
    Hyper(hyper::Error),
    /// Without hyper: the same.
    Direct(ExchangeError),
}

impl Lease {
    fn new(pool: &Arc<Pool>, link: Link, reused: bool) -> Self {
        Self { pool: Arc::clone(pool), link: Some(link), reused, keep: MAX_IDLE_TIME, is_cut_short: false }
    }

    pub(super) fn is_http2(&self) -> bool {
        matches!(self.link, Some(Link::Http2(_)))
    }

    /// Sends, and waits for the response's head for so long (see [`await_head`]).
    pub(super) async fn send(
        &mut self,
        request: &mut Unsent,
        timeout: Duration,
        progress: Option<&Progress>,
    ) -> Result<Response<Received>, SendError> {
        if let Some(link) = self.direct_mut() {
            return Ok(link.exchange(request, timeout).await?.map(Received::Direct));
        }
        // In a box: those without a body would carry the room for it along.
        let sent = Box::pin(self.send_by_hyper(request));
        await_head(sent, timeout, progress).await.unwrap_or(Err(SendError::Timeout))
    }

    async fn send_by_hyper(&mut self, request: &mut Unsent) -> Result<Response<Received>, SendError> {
        let link = self.link.as_mut();
        let (Some(link), Some(taken)) = (link, request.take()) else { return Err(SendError::GivenUp) };
        let mut unsent = match link {
            Link::Direct(_) => return Err(SendError::GivenUp),
            Link::Driven(link) => match link.sender.try_send_request(taken).await {
                Ok(response) => return Ok(response.map(Received::Hyper)),
                Err(unsent) => unsent,
            },
            Link::Http2(stream) => {
                // The sender is a handle on a queue; each request needs its own to be sent through `&mut`.
                let mut sender = stream.0.sender.clone();
                match sender.try_send_request(taken).await {
                    Ok(response) => {
                        stream.0.settled.store(true, Ordering::Relaxed);
                        return Ok(response.map(Received::Hyper));
                    }
                    Err(unsent) => unsent,
                }
            }
        };
        match unsent.take_message() {
            Some(message) => {
                request.put_back(message);
                Err(SendError::Unsent)
            }
            None => Err(SendError::Hyper(unsent.into_error())),
        }
    }

    /// Notes how long the upstream keeps an idle connection, so as to leave it before it does. The header is an
    /// unofficial companion of RFC 9112 section 9.3 which Node.js and Apache send.
    pub(super) fn note_keep_alive(&mut self, headers: &HeaderMap) {
        let Some(value) = headers.get("keep-alive").and_then(|value| value.to_str().ok()) else { return };
        let seconds = value
            .split(',')
            .filter_map(|part| part.trim().strip_prefix("timeout="))
            .find_map(|seconds| seconds.parse::<u64>().ok());
        if let Some(seconds) = seconds {
            self.keep = MAX_IDLE_TIME.min(Duration::from_secs(seconds.saturating_sub(1)));
        }
    }

    /// The rest of the request stays unsent, so that nothing can follow it on an HTTP/1.1 connection.
    pub(super) fn ends_with_response(&mut self) {
        self.is_cut_short = true;
    }

    /// No further request goes to this connection; those under way on it go on.
    pub(super) fn retire(mut self) {
        if let Some(Link::Http2(stream)) = self.link.take() {
            lock(&self.pool.shared).retain(|connection| !Arc::ptr_eq(connection, &stream.0));
        }
    }

    /// The connection, where the response is read without hyper.
    pub(super) fn direct_mut(&mut self) -> Option<&mut Direct> {
        match &mut self.link {
            Some(Link::Direct(link)) => Some(link),
            Some(Link::Driven(_) | Link::Http2(_)) | None => None,
        }
    }

    /// The response has ended: others may have the connection.
    pub(super) fn recycle(mut self) {
        let mut link = match self.link.take() {
            Some(Link::Driven(link)) if self.is_cut_short => return link.task.abort(),
            Some(Link::Driven(link)) => link,
            Some(Link::Direct(link)) => return self.pool.put_back_direct(link, self.keep),
            Some(Link::Http2(_)) | None => return,
        };
        if link.sender.is_ready() {
            self.pool.put_back(link, self.keep);
        } else if !link.sender.is_closed()
            && let Ok(runtime) = Handle::try_current()
        {
            // The response came before the request's own end, or its end is just being noticed. hyper refuses what
            // cannot be reused.
            let (pool, keep) = (Arc::clone(&self.pool), self.keep);
            runtime.spawn(async move {
                match tokio::time::timeout(MAX_IDLE_TIME, link.sender.ready()).await {
                    Ok(Ok(())) => pool.put_back(link, keep),
                    Ok(Err(_)) => {}
                    Err(_) => link.task.abort(),
                }
            });
        }
    }

    /// The connection belongs to whoever takes the upgrade.
    pub(super) fn surrender(mut self) {
        self.link = None;
    }

    /// Whether the peer takes extended CONNECT (RFC 8441 section 3). It says so in its first frame, which may not
    /// have come yet on a new connection; hyper has no signal for it, hence the short steps.
    pub(super) async fn takes_extended_connect(&self) -> bool {
        let Some(Link::Http2(Stream(shared))) = &self.link else { return false };
        let deadline = Instant::now() + SETTINGS_WAIT;
        loop {
            if lock(&shared.driver).is_extended_connect_protocol_enabled() {
                return true;
            }
            if shared.settled.load(Ordering::Relaxed) || shared.sender.is_closed() {
                return false;
            }
            if Instant::now() >= deadline {
                shared.settled.store(true, Ordering::Relaxed);
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

impl Drop for Lease {
    /// A request given up in its midst takes its connection along, at once: left to itself, hyper first writes out what
    /// it holds, which never ends where the upstream does not read, and keeps the client's body until then.
    fn drop(&mut self) {
        if let Some(Link::Driven(link)) = &self.link {
            link.task.abort();
        }
    }
}

type Driver = http2::Connection<TokioIo<Io>, Upload, TokioExecutor>;

/// An HTTP/2 connection that many requests share.
struct Shared {
    sender: http2::SendRequest<Upload>,
    driver: Arc<Mutex<Driver>>,
    streams: AtomicUsize,
    /// Streams that the peer allows at once, as far as known.
    limit: Arc<AtomicUsize>,
    /// The peer's settings have come: a response has.
    settled: AtomicBool,
    opened: Instant,
    /// Milliseconds after `opened` when the last request ended.
    used: AtomicU64,
}

impl Shared {
    async fn handshake(io: Io) -> Result<Arc<Self>, hyper::Error> {
        let (sender, driver) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(STREAM_SEND_BUFFER)
            .max_header_list_size(MAX_HEADER_LIST)
            // What still comes for a request that its client gave up is no fault of the upstream's: 1024 of them in a
            // connection's whole life, hyper's limit, would end those that others wait for.
            .max_local_error_reset_streams(None)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .handshake(TokioIo::new(io))
            .await?;
        let driver = Arc::new(Mutex::new(driver));
        let limit = Arc::new(AtomicUsize::new(MAX_STREAMS));
        let (driven, known) = (Arc::clone(&driver), Arc::clone(&limit));
        tokio::spawn(async move {
            let ended = poll_fn(|cx| {
                let mut driver = lock(&driven);
                let polled = Pin::new(&mut *driver).poll(cx);
                known.store(driver.current_max_send_streams().clamp(1, MAX_STREAMS), Ordering::Relaxed);
                polled
            });
            if let Err(error) = ended.await {
                tracing::debug!(%error, "upstream connection ended");
            }
        });
        Ok(Arc::new(Self {
            sender,
            driver,
            streams: AtomicUsize::new(0),
            limit,
            settled: AtomicBool::new(false),
            opened: Instant::now(),
            used: AtomicU64::new(0),
        }))
    }

    fn streams(&self) -> usize {
        self.streams.load(Ordering::Relaxed)
    }

    fn has_room(&self) -> bool {
        self.streams() < self.limit.load(Ordering::Relaxed)
    }

    fn is_stale(&self) -> bool {
        let used = Duration::from_millis(self.used.load(Ordering::Relaxed));
        self.streams() == 0 && self.opened.elapsed().saturating_sub(used) >= MAX_IDLE_TIME
    }
}

/// One request's part of a shared connection.
struct Stream(Arc<Shared>);

impl Drop for Stream {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.used.store(now, Ordering::Relaxed);
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Pools {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.by_runtime.load().iter().map(|(_, pool)| pool)).finish()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("idle", &lock(&self.idle).len())
            .field("shared", &lock(&self.shared).len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("reused", &self.reused).finish_non_exhaustive()
    }
}

/// What the locks guard is whole between any two statements, so that a panic elsewhere does not spoil it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
