//! HTTP/1.1 towards an upstream for requests without a body, in the task that asks.
//!
//! hyper drives a client's connection in a task of its own, and channels carry the request there and the head and each
//! piece of the body back. That is right for every exchange, and costs a fifth of what forwarding a small request costs
//! (benches/README.md). Where no body is sent the two directions never run at once, so nothing has to run beside the
//! request: it is written, then the response is read, here. Whatever else there is (bodies, upgrades, HTTP/2) stays
//! with hyper; an idle connection can go over to it at any time.
//!
//! Heads are read by hyper's parser (httparse), with its rules and bounds.

mod body;
mod head;
#[cfg(test)]
mod tests;

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::{HeaderMap, Method, Response};
use thiserror::Error;
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

use super::connect::Io;
use super::outbound::Unsent;
use super::pool::SendError;

pub(super) use body::Remaining;

/// Largest response head in bytes.
const MAX_HEAD: usize = super::pool::HTTP1_BUFFER;
/// Room for a head at first.
const HEAD_ROOM: usize = 4 * 1024;
/// Less room is not worth a read.
const MIN_ROOM: usize = 1024;
/// What an idle connection keeps of its buffers, in bytes each.
const KEPT_ROOM: usize = 8 * 1024;

/// A connection.
pub(super) struct Direct {
    io: Io,
    /// Read, and not taken yet.
    input: BytesMut,
    /// There was room for more than [`KEPT_ROOM`] in it; what was taken keeps it, and its capacity does not tell.
    was_roomy: bool,
    output: Vec<u8>,
    /// Empty; its room is for the next head.
    spare: HeaderMap,
    /// What the last response said.
    keep_alive: bool,
    patience: Patience,
}

/// A timer that is set once in a while, not with every request: it is left to run to an earlier request's deadline, and
/// set on from there.
#[derive(Default)]
struct Patience(Option<Pin<Box<Sleep>>>);

/// Why there is no response, or no more of it.
#[derive(Debug, Error)]
pub enum ExchangeError {
    /// The connection broke.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It ended before the response did.
    #[error("the connection was closed in the middle of a response")]
    Closed,
    /// What came was no head of HTTP/1, or no trailers.
    #[error("malformed response: {0}")]
    Head(#[from] httparse::Error),
    /// Not even a status.
    #[error("malformed response: no status")]
    Status,
    /// Over [`MAX_HEAD`].
    #[error("the response's head is too large")]
    TooLarge,
    /// Content-Length says two things, or nothing.
    #[error("malformed response: no valid length")]
    Length,
    /// A transfer coding in HTTP/1.0.
    #[error("malformed response: a transfer coding in HTTP/1.0")]
    Coding,
    /// A chunk is none.
    #[error("malformed response: a chunk that is none")]
    Chunk,
}

impl Direct {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            input: BytesMut::new(),
            was_roomy: false,
            output: Vec::new(),
            spare: HeaderMap::new(),
            keep_alive: true,
            patience: Patience::default(),
        }
    }

    /// Whether an idle connection is open, and silent as it should be.
    pub(super) fn is_usable(&mut self) -> bool {
        let mut space = [0; 1];
        let mut buf = ReadBuf::new(&mut space);
        // No system call where nothing has happened; TLS may have messages of its own, which are not for us to see.
        let polled = Pin::new(&mut self.io).poll_read(&mut Context::from_waker(Waker::noop()), &mut buf);
        polled.is_pending()
    }

    /// Whether another request may follow, now that the response has been read to its end.
    pub(super) fn may_be_kept(&self) -> bool {
        self.keep_alive && self.input.is_empty()
    }

    /// Gives back what an idle connection has no use for.
    pub(super) fn rest(&mut self) {
        if std::mem::take(&mut self.was_roomy) {
            self.input = BytesMut::new();
        }
        if self.output.capacity() > KEPT_ROOM {
            self.output = Vec::new();
        }
    }

    /// An idle connection's stream.
    pub(super) fn into_io(self) -> Io {
        self.io
    }

    /// Sends, and waits for the response's head for so long. The request stays where it is until some of it has left.
    pub(super) async fn exchange(
        &mut self,
        request: &mut Unsent,
        timeout: Duration,
    ) -> Result<Response<Remaining>, SendError> {
        let Some(unsent) = request.get_mut() else { return Err(SendError::GivenUp) };
        let method = unsent.method().clone();
        self.output.clear();
        head::write(unsent, &mut self.output);
        // Who else is ready on this event loop has its turn first, so that what all of them have to send leaves in a
        // row: an upstream on the same machine is then woken once for many, and not for each.
        tokio::task::yield_now().await;
        // That turn has heard what the look at the idle connection (which passes over many that are closed) had not: an
        // end, or what nobody asked for and would be taken for the answer.
        if !self.is_usable() {
            return Err(SendError::Unsent);
        }
        let until = Instant::now() + timeout;
        let mut written = 0;
        let sent = poll_fn(|cx| self.in_time(until, cx, |link, cx| link.poll_write_out(&mut written, cx))).await;
        let cut_short = match sent {
            Some(Ok(())) => None,
            Some(Err(_)) if written == 0 => return Err(SendError::Unsent),
            Some(Err(error)) => Some(error),
            None => {
                drop(request.take());
                return Err(SendError::Timeout);
            }
        };
        if let Some(sent) = request.take() {
            self.spare = sent.into_parts().0.headers;
            self.spare.clear();
        }
        let head = poll_fn(|cx| self.in_time(until, cx, |link, cx| link.poll_head(&method, cx))).await;
        // An upstream that has seen enough answers (431, say) and closes: then there is an answer behind the error.
        let head = match (head.ok_or(SendError::Timeout)?, cut_short) {
            (Ok(head), Some(_)) => head::Head { keep_alive: false, ..head },
            (Err(_), Some(error)) => return Err(SendError::Direct(error.into())),
            (head, None) => head.map_err(SendError::Direct)?,
        };
        self.keep_alive = head.keep_alive;
        let mut response = Response::new(head.body);
        *response.status_mut() = head.status;
        *response.version_mut() = head.version;
        *response.headers_mut() = head.headers;
        if let Some(Ok(reason)) = head.reason.map(hyper::ext::ReasonPhrase::try_from) {
            response.extensions_mut().insert(reason);
        }
        Ok(response)
    }

    /// What `poll` says, or `None` once it is too late.
    fn in_time<T>(
        &mut self,
        until: Instant,
        cx: &mut Context<'_>,
        poll: impl FnOnce(&mut Self, &mut Context<'_>) -> Poll<T>,
    ) -> Poll<Option<T>> {
        match poll(self, cx) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending => self.patience.poll(until, cx).map(|()| None),
        }
    }

    fn poll_write_out(&mut self, written: &mut usize, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.output.get(*written..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.io).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                more => *written += more,
            }
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_head(&mut self, method: &Method, cx: &mut Context<'_>) -> Poll<Result<head::Head, ExchangeError>> {
        // Nothing was there before: such a connection is not used.
        loop {
            let before = self.input.len();
            let is_closed = ready!(self.poll_fill(HEAD_ROOM, cx))? == 0;
            // No head ends without a line; one that comes byte by byte is not read anew with each.
            let has_line = self.input.get(before..).is_some_and(|fresh| memchr::memchr(b'\n', fresh).is_some());
            if (has_line || is_closed)
                && let Some(head) = head::read(&mut self.input, method, &mut self.spare)?
            {
                return Poll::Ready(Ok(head));
            }
            if is_closed {
                return Poll::Ready(Err(ExchangeError::Closed));
            }
            if self.input.len() >= MAX_HEAD {
                return Poll::Ready(Err(ExchangeError::TooLarge));
            }
        }
    }

    /// Reads what is there, into what room is left or else `room` bytes of it; 0 at the end.
    fn poll_fill(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < room.min(MIN_ROOM) {
            self.input.reserve(room);
            self.was_roomy |= self.input.capacity() > KEPT_ROOM;
        }
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }
}

impl Patience {
    fn poll(&mut self, until: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.0.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if timer.deadline() > until {
            timer.as_mut().reset(until);
        }
        // Who has so much to read that it has used up its turn is still told that it is too late.
        let mut elapsed = |timer: &mut Pin<Box<Sleep>>| pin!(unconstrained(timer.as_mut())).poll(cx);
        while timer.deadline() < until {
            ready!(elapsed(timer));
            timer.as_mut().reset(until);
        }
        elapsed(timer)
    }
}
