//! Bodies that stream: the request's, which tells who is being waited for, and the response's, which holds its
//! connection until it ends.

use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use thiserror::Error;
use tokio::time::Instant;

use super::RequestBody;
use super::direct::{ExchangeError, Remaining};
use super::endpoint::InFlight;
use super::expect::{self, Hold};
use super::pool::Lease;

/// A body whose head was received.
#[derive(Debug)]
pub(super) enum Received {
    /// hyper reads it.
    Hyper(Incoming),
    /// It is read from the connection as it is asked for.
    Direct(Remaining),
}

impl Received {
    pub(super) fn is_ended(&self) -> bool {
        match self {
            Self::Hyper(inner) => inner.is_end_stream(),
            Self::Direct(remaining) => remaining.is_ended(),
        }
    }

    /// Whether there is a body that a transfer coding may be about.
    pub(super) fn may_be_coded(&self) -> bool {
        // There a coding comes before a length.
        !self.is_ended() && !matches!(self, Self::Direct(Remaining::Length(_)))
    }
}

/// A response body from an upstream. Until it has ended or is dropped, the request counts as in flight.
#[derive(Debug)]
pub struct ResponseBody {
    inner: Received,
    held: Option<(Lease, InFlight)>,
}

impl ResponseBody {
    pub(super) fn new(inner: Received, lease: Lease, in_flight: InFlight) -> Self {
        let mut body = Self { inner, held: Some((lease, in_flight)) };
        body.release_if_ended();
        body
    }

    /// After an upgrade: the connection is no longer ours.
    pub(super) fn upgraded(inner: Received) -> Self {
        Self { inner, held: None }
    }

    fn release_if_ended(&mut self) {
        if self.held.is_some() && self.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some((lease, _in_flight)) = self.held.take() {
            lease.recycle();
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let polled = match (&mut this.inner, &mut this.held) {
            (Received::Hyper(inner), _) => Pin::new(inner).poll_frame(cx).map_err(BodyError::Hyper),
            (Received::Direct(remaining), Some((lease, _))) => match lease.direct_mut() {
                Some(connection) => connection.poll_piece(remaining, cx).map_err(BodyError::Direct),
                None => Poll::Ready(None),
            },
            (Received::Direct(_), None) => Poll::Ready(None),
        };
        match &polled {
            Poll::Ready(None) => self.release(),
            // The connection is of no further use: drop it instead of giving it back.
            Poll::Ready(Some(Err(_))) => self.held = None,
            // A body of known length says so with its last piece; nobody may ask for the `None` after it.
            Poll::Ready(Some(Ok(_))) => self.release_if_ended(),
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_ended()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.inner {
            Received::Hyper(inner) => inner.size_hint(),
            Received::Direct(remaining) => remaining.size_hint(),
        }
    }
}

/// A response broke off.
#[derive(Debug, Error)]
#[error(transparent)]
pub enum BodyError {
    /// While hyper read it.
    Hyper(hyper::Error),
    /// While it was read without.
    Direct(ExchangeError),
}

/// A request body on its way, which notes whether the client or the upstream is the one who keeps us waiting.
pub(super) struct Upload {
    inner: RequestBody,
    /// None where there is no body, so that a plain GET allocates nothing.
    progress: Option<Arc<Progress>>,
    /// It waits for the upstream's word.
    hold: Option<Hold>,
}

impl Upload {
    pub(super) fn new(inner: RequestBody) -> Self {
        let progress = (!inner.is_end_stream()).then(|| Arc::new(Progress::new()));
        Self { inner, progress, hold: None }
    }

    /// No body at all.
    pub(super) fn empty() -> Self {
        let never = http_body_util::Empty::new().map_err(|never| match never {});
        Self { inner: never.boxed_unsync(), progress: None, hold: None }
    }

    /// Not before `hold` is over.
    pub(super) fn hold(&mut self, hold: Hold) {
        self.hold = Some(hold);
    }

    /// As soon as it is asked for.
    pub(super) fn let_go(&mut self) {
        self.hold = None;
    }

    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.progress.clone()
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let polled = match expect::poll_hold(&mut self.hold, cx) {
            Poll::Ready(()) => Pin::new(&mut self.inner).poll_frame(cx),
            // As little as for the client is the upstream's time counted here: this wait has a bound of its own.
            Poll::Pending => Poll::Pending,
        };
        if let Some(progress) = &self.progress {
            match &polled {
                Poll::Pending => progress.waits_for_client.store(true, Ordering::Relaxed),
                Poll::Ready(Some(Err(_))) => progress.failed.store(true, Ordering::Release),
                Poll::Ready(Some(Ok(_)) | None) => progress.moved(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// How far a request body has come.
#[derive(Debug)]
pub(super) struct Progress {
    start: Instant,
    /// Microseconds from `start` to the last piece that the client gave.
    moved: AtomicU64,
    waits_for_client: AtomicBool,
    failed: AtomicBool,
}

impl Progress {
    fn new() -> Self {
        Self {
            start: Instant::now(),
            moved: AtomicU64::new(0),
            waits_for_client: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    fn moved(&self) {
        let elapsed = u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.moved.store(elapsed, Ordering::Relaxed);
        self.waits_for_client.store(false, Ordering::Relaxed);
    }

    /// The client broke its upload off (or what bounds it did).
    pub(super) fn failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// When the wait for a response head ends: `timeout` after the last piece of the request body was taken from the
    /// client. While the client is the one to continue the clock stands still.
    pub(super) fn deadline(&self, timeout: Duration, now: Instant) -> Instant {
        if self.waits_for_client.load(Ordering::Relaxed) {
            return now + timeout;
        }
        self.start + Duration::from_micros(self.moved.load(Ordering::Relaxed)) + timeout
    }
}
