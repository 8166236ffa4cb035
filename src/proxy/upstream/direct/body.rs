//! What is left of a response's body, piece by piece.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::head::{line_end, read_trailers};
use super::{Direct, ExchangeError, MAX_HEAD};

/// Longest line of a chunk's size, its extensions included, in bytes.
const MAX_CHUNK_LINE: usize = 8 * 1024;
/// Bytes read at once, at most; how much of a body waits in memory.
const MAX_PIECE: usize = 64 * 1024;
/// The same where nobody knows how much will come.
const UNKNOWN_PIECE: usize = 16 * 1024;

/// What is left of a body (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::upstream) enum Remaining {
    /// Nothing.
    Ended,
    /// So many bytes.
    Length(u64),
    /// Chunks.
    Chunks(Chunk),
    /// All that comes.
    UntilClose,
}

/// Where in the chunks (section 7.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::proxy::upstream) enum Chunk {
    /// At a size.
    Size,
    /// In one with so many bytes more.
    Data(u64),
    /// At the line end behind one.
    End,
    /// Behind the last one.
    Trailers,
}

impl Remaining {
    pub(super) const CHUNKS: Self = Self::Chunks(Chunk::Size);

    /// Nothing more comes.
    pub(in crate::proxy::upstream) const fn is_ended(self) -> bool {
        matches!(self, Self::Ended | Self::Length(0))
    }

    /// How much is known to come.
    pub(in crate::proxy::upstream) fn size_hint(self) -> SizeHint {
        match self {
            Self::Ended => SizeHint::with_exact(0),
            Self::Length(left) => SizeHint::with_exact(left),
            Self::Chunks(_) | Self::UntilClose => SizeHint::default(),
        }
    }
}

impl Direct {
    /// The next piece of a body.
    pub(in crate::proxy::upstream) fn poll_piece(
        &mut self,
        remaining: &mut Remaining,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ExchangeError>>> {
        let polled = ready!(self.poll_next(remaining, cx));
        Poll::Ready(polled.transpose())
    }

    fn poll_next(
        &mut self,
        remaining: &mut Remaining,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Frame<Bytes>>, ExchangeError>> {
        loop {
            match remaining {
                Remaining::Ended | Remaining::Length(0) => return Poll::Ready(Ok(None)),
                Remaining::UntilClose => {
                    if self.input.is_empty() && ready!(self.poll_fill(UNKNOWN_PIECE, cx))? == 0 {
                        *remaining = Remaining::Ended;
                        return Poll::Ready(Ok(None));
                    }
                    return Poll::Ready(Ok(Some(Frame::data(self.input.split().freeze()))));
                }
                Remaining::Length(left) => {
                    let piece = ready!(self.poll_some(left, cx))?;
                    return Poll::Ready(Ok(Some(Frame::data(piece))));
                }
                Remaining::Chunks(chunk @ Chunk::Size) => {
                    let Some(end) = line_end(&self.input, MAX_CHUNK_LINE)? else {
                        ready!(self.poll_more(cx))?;
                        continue;
                    };
                    let line = self.input.split_to(end + 2);
                    *chunk = match chunk_size(line.get(..end).unwrap_or_default())? {
                        0 => Chunk::Trailers,
                        size => Chunk::Data(size),
                    };
                }
                Remaining::Chunks(chunk) => match chunk {
                    Chunk::Data(0) => *chunk = Chunk::End,
                    Chunk::Data(left) => {
                        let piece = ready!(self.poll_some(left, cx))?;
                        return Poll::Ready(Ok(Some(Frame::data(piece))));
                    }
                    Chunk::End => match line_end(&self.input, 1)? {
                        Some(0) => {
                            drop(self.input.split_to(2));
                            *chunk = Chunk::Size;
                        }
                        Some(_) => return Poll::Ready(Err(ExchangeError::Chunk)),
                        None => ready!(self.poll_more(cx))?,
                    },
                    Chunk::Size | Chunk::Trailers => match read_trailers(&mut self.input)? {
                        Some(trailers) => {
                            *remaining = Remaining::Ended;
                            let some = (!trailers.is_empty()).then(|| Frame::trailers(trailers));
                            return Poll::Ready(Ok(some));
                        }
                        None if self.input.len() > MAX_HEAD => return Poll::Ready(Err(ExchangeError::TooLarge)),
                        None => ready!(self.poll_more(cx))?,
                    },
                },
            }
        }
    }

    /// Some of `left` bytes, which it counts down.
    fn poll_some(&mut self, left: &mut u64, cx: &mut Context<'_>) -> Poll<Result<Bytes, ExchangeError>> {
        let wanted = usize::try_from(*left).unwrap_or(usize::MAX);
        if self.input.is_empty() && ready!(self.poll_fill(wanted.min(MAX_PIECE), cx))? == 0 {
            return Poll::Ready(Err(ExchangeError::Closed));
        }
        let piece = self.input.split_to(wanted.min(self.input.len())).freeze();
        *left = left.saturating_sub(piece.len() as u64);
        Poll::Ready(Ok(piece))
    }

    /// More of what is not a body's bytes.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), ExchangeError>> {
        match ready!(self.poll_fill(UNKNOWN_PIECE, cx))? {
            0 => Poll::Ready(Err(ExchangeError::Closed)),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Hexadecimal digits, then perhaps an extension behind `;`, which means nothing here.
fn chunk_size(line: &[u8]) -> Result<u64, ExchangeError> {
    let mut digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // No other white space: a bare CR is none (section 2.2).
    while let [rest @ .., b' ' | b'\t'] = digits {
        digits = rest;
    }
    // 64 bits have 16 digits.
    let plain = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| plain).ok_or(ExchangeError::Chunk)?;
    u64::from_str_radix(digits, 16).map_err(|_| ExchangeError::Chunk)
}
