//! What a connection is doing, seen from its bytes and its requests: so that each wait has its own limit.
//!
//! hyper's own `header_read_timeout` also runs between requests, so it cannot tell a slow head from an idle
//! connection. Here the clock of a head starts with its first byte.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

use super::framing::Framed;
use super::loops::Seat;
use super::{Limits, listener::Stage};

/// How long what a client still sends is read and thrown away after the last response, so that its kernel does not
/// throw the response away: RFC 9112 section 9.6 on closing in stages.
const LINGER: Duration = Duration::from_secs(5);
/// And so many bytes of it: a client that has not looked up by then never will.
const LINGER_BYTES: usize = 64 * 1024 * 1024;
/// The HTTP/2 preface (RFC 9113 section 3.4), whole: hyper speaks HTTP/1 to whoever says less.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Shared by a connection's socket, its requests and its driver.
#[derive(Debug)]
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    phase: Phase,
    in_flight: usize,
    /// Bytes of the preface seen; `None` once it is decided.
    preface: Option<usize>,
    http2: bool,
    /// There was a tunnel (RFC 8441) in one of its streams, and may be one still.
    tunnelled: bool,
    /// The client takes no bytes since then.
    stalled: Option<Instant>,
    /// HTTP/2: responses of which a piece waits for room in the client's windows.
    waiting: usize,
    /// When one of them last went on.
    moved: Instant,
    /// The last request had a body, of which some may be unread.
    linger: bool,
    /// Bytes received while no request was in flight.
    unasked: usize,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Bytes of a request head are coming since then; also before the first request.
    Head(Instant),
    /// No request in flight since then.
    Idle(Instant),
    /// A request is in flight.
    Busy,
    /// HTTP/1.1 was left for another protocol.
    Tunnel,
    /// All is written; the client is given time to read it.
    Lingering(Instant),
}

/// What to do with a connection whose time is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Close it in the protocol's own way.
    Graceful,
    /// Drop it.
    Hard,
}

impl Activity {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            phase: Phase::Head(Instant::now()),
            in_flight: 0,
            preface: Some(0),
            http2: false,
            tunnelled: false,
            stalled: None,
            waiting: 0,
            moved: Instant::now(),
            linger: false,
            unasked: 0,
        })))
    }

    /// A request begins; it is in flight until the guard is dropped.
    pub(super) fn begin(self: &Arc<Self>, has_body: bool) -> InFlight {
        let mut state = self.lock();
        state.in_flight += 1;
        state.unasked = 0;
        state.phase = Phase::Busy;
        state.linger = has_body && !state.http2;
        InFlight { activity: Arc::clone(self), http2: state.http2, waiting: false }
    }

    /// The gate itself ends the connection: nobody waits for an answer.
    pub(super) fn forbid_linger(&self) {
        self.lock().linger = false;
    }

    /// The response leaves HTTP. In HTTP/2 that is one stream's affair (RFC 8441).
    pub(super) fn tunnel(&self) {
        let mut state = self.lock();
        state.linger = false;
        state.tunnelled = true;
        if !state.http2 {
            state.phase = Phase::Tunnel;
        }
    }

    fn has_left(&self) -> bool {
        matches!(self.lock().phase, Phase::Tunnel)
    }

    /// When the connection's time is up, and what then; `None` while nothing is being waited for.
    /// `closing`: it was asked to close before.
    pub(super) fn deadline(&self, limits: &Limits, closing: bool) -> Option<(Instant, Cut)> {
        let state = self.lock();
        if let Some(since) = state.stalled {
            return Some((since + limits.idle_timeout, Cut::Hard));
        }
        match state.phase {
            // No response waits for anything but its client, which takes nothing.
            Phase::Busy if state.waiting > 0 && state.waiting == state.in_flight => {
                Some((state.moved + limits.idle_timeout, Cut::Hard))
            }
            Phase::Busy | Phase::Tunnel => None,
            Phase::Lingering(since) => Some((since + LINGER, Cut::Hard)),
            Phase::Head(since) => Some((since + limits.header_timeout, Cut::Hard)),
            Phase::Idle(since) if !closing => Some((since + limits.idle_timeout, Cut::Graceful)),
            // HTTP/2 ends by itself after GOAWAY, but not before a tunnel on it does: unseen here.
            Phase::Idle(_) if state.tunnelled => None,
            Phase::Idle(since) => Some((since + limits.idle_timeout + limits.header_timeout, Cut::Hard)),
        }
    }

    /// Bytes came, of a body if `in_body`; `false` where it is time to take no more: an upload goes on and on that was
    /// answered long ago.
    fn received(&self, bytes: &[u8], in_body: bool) -> bool {
        let mut state = self.lock();
        if let Some(seen) = state.preface {
            let rest = PREFACE.get(seen..).unwrap_or_default();
            let compared = rest.len().min(bytes.len());
            state.preface = match (rest.get(..compared) == bytes.get(..compared), compared == rest.len()) {
                (true, true) => {
                    state.http2 = true;
                    state.phase = Phase::Idle(Instant::now());
                    None
                }
                (true, false) => Some(seen + compared),
                (false, _) => None,
            };
        }
        // In HTTP/2 a ping is no request head; one that stays idle beneath its pings is closed for being idle.
        if state.http2 {
            return true;
        }
        match state.phase {
            // The rest of an upload that was answered early: how long it is read, whoever reads it decides.
            Phase::Idle(_) if in_body => state.phase = Phase::Idle(Instant::now()),
            Phase::Idle(_) => state.phase = Phase::Head(Instant::now()),
            Phase::Head(_) => {}
            Phase::Busy | Phase::Tunnel | Phase::Lingering(_) => return true,
        }
        state.unasked = state.unasked.saturating_add(bytes.len());
        state.unasked <= LINGER_BYTES
    }

    fn ended(&self) {
        let mut state = self.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if let (0, Phase::Busy) = (state.in_flight, state.phase) {
            state.phase = Phase::Idle(Instant::now());
        }
    }

    /// A response gives a piece away, or asks for room no more.
    fn piece(&self, given: bool) {
        let mut state = self.lock();
        state.moved = Instant::now();
        state.waiting = if given { state.waiting + 1 } else { state.waiting.saturating_sub(1) };
    }

    fn stalled(&self, stalled: bool) {
        self.lock().stalled = stalled.then(Instant::now);
    }

    fn start_lingering(&self) -> bool {
        let mut state = self.lock();
        if state.linger {
            state.phase = Phase::Lingering(Instant::now());
        }
        state.linger
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Every change is one assignment: a poisoned lock is still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight {
    activity: Arc<Activity>,
    http2: bool,
    /// A piece of its response was taken, and the next one was not asked for yet.
    waiting: bool,
}

impl InFlight {
    /// HTTP/2 asks for the next piece once the one before fits into the client's windows; on HTTP/1 the socket tells.
    fn asked(&mut self) {
        self.wait(false);
    }

    fn gave(&mut self) {
        self.wait(self.http2);
    }

    fn wait(&mut self, waiting: bool) {
        if self.waiting != waiting {
            self.waiting = waiting;
            self.activity.piece(waiting);
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.wait(false);
        self.activity.ended();
    }
}

pin_project_lite::pin_project! {
    /// A response body; its request is in flight until it is sent.
    pub(super) struct Counted<B> {
        #[pin]
        body: B,
        in_flight: InFlight,
    }
}

impl<B> Counted<B> {
    /// A response whose head is given away.
    pub(super) fn new(body: B, mut in_flight: InFlight) -> Self {
        in_flight.gave();
        Self { body, in_flight }
    }
}

impl<B: Body> Body for Counted<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        this.in_flight.asked();
        let polled = this.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(_))) = polled {
            this.in_flight.gave();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// What an open connection holds on to, from accept to its last byte, upgrades included.
#[derive(Debug)]
pub(super) struct Open {
    _permit: OwnedSemaphorePermit,
    gauge: Option<IntGauge>,
    _seat: Seat,
    pub(super) stage: watch::Receiver<Stage>,
}

impl Open {
    pub(super) fn new(
        permit: OwnedSemaphorePermit,
        gauge: Option<IntGauge>,
        seat: Seat,
        stage: watch::Receiver<Stage>,
    ) -> Self {
        gauge.iter().for_each(IntGauge::inc);
        Self { _permit: permit, gauge, _seat: seat, stage }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.iter().for_each(IntGauge::dec);
    }
}

/// A socket that tells its [`Activity`] what passes.
#[derive(Debug)]
pub(super) struct Watched<IO> {
    io: Framed<IO>,
    activity: Arc<Activity>,
    stalled: bool,
    /// Bytes that may still be thrown away, once all is written.
    lingering: Option<usize>,
    _open: Open,
}

impl<IO> Watched<IO> {
    pub(super) fn new(io: Framed<IO>, activity: Arc<Activity>, open: Open) -> Self {
        Self { io, activity, stalled: false, lingering: None, _open: open }
    }

    /// A response that leaves HTTP/1 is known by its request, not by its bytes: those of a body may look like it.
    fn before_write(&mut self) {
        if self.io.asks_to_leave() && self.activity.has_left() {
            self.io.leave();
        }
    }

    fn wrote<T>(&mut self, result: Poll<T>) -> Poll<T> {
        if result.is_pending() != self.stalled {
            self.stalled = result.is_pending();
            self.activity.stalled(self.stalled);
        }
        result
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Watched<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let in_body = self.io.is_in_body();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        match buf.filled().get(before..) {
            Some(bytes) if !bytes.is_empty() && !self.activity.received(bytes, in_body) => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
            Some(_) | None => result,
        }
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.before_write();
        let result = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.before_write();
        let result = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.io).poll_flush(cx);
        self.wrote(result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut left = match self.lingering {
            Some(left) => left,
            None => {
                let result = Pin::new(&mut self.io).poll_shutdown(cx);
                ready!(self.wrote(result))?;
                if !self.activity.start_lingering() {
                    return Poll::Ready(Ok(()));
                }
                LINGER_BYTES
            }
        };
        loop {
            self.lingering = Some(left);
            let mut space = [0; 4096];
            let mut buf = ReadBuf::new(&mut space);
            match ready!(Pin::new(&mut self.io).poll_read(cx, &mut buf)) {
                Ok(()) if !buf.filled().is_empty() => left = left.saturating_sub(buf.filled().len()),
                Ok(()) | Err(_) => left = 0,
            }
            if left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
