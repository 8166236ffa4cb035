//! HTTP/1 framing that two parsers could read differently is refused here, before hyper sees it.
//!
//! hyper takes a bare LF for a line end, and of a length and a chunked coding it takes the coding; both are allowed
//! (RFC 9112 sections 2.2 and 6.3) and both are what request smuggling is made of. This reader follows the messages of
//! a connection and, at the first such thing, overwrites what comes with NUL and adds the end of a head that cannot be
//! one, since hyper waits for an end before it judges: it then answers 400 and closes.
//! Refused are a bare LF, a fragment in the request line (section 3.2), which hyper would cut off, obs-fold
//! (section 5.2), a doubled or malformed `Content-Length`, any transfer coding but one `chunked`, both at once
//! (section 6.1), and a malformed chunk (section 7.1).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::gate::plain_decimal;

/// Of a line that comes in pieces, so much is kept to be looked at; the lines that matter are shorter.
const KEPT_LINE_BYTES: usize = 128;
/// What a client of HTTP/2 with prior knowledge begins with (RFC 9113 section 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// No head, no chunk and no trailer ends like this; what hyper has of one by now ends here, and is malformed: a head by
/// its empty line behind a NUL, a chunk's size by its LF, a trailer by its CR without LF.
const MALFORMED_END: &[u8] = b"\0\n\n\r\0";

/// A connection whose bytes are looked at on their way to hyper.
#[derive(Debug)]
pub(super) struct Framed<IO> {
    io: IO,
    framing: Framing,
    /// What is still to be said of [`MALFORMED_END`] once something was refused.
    verdict: &'static [u8],
}

impl<IO> Framed<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, framing: Framing::default(), verdict: MALFORMED_END }
    }

    /// Whether the bytes to come belong to a request's body (RFC 9112 section 6), its chunks and trailers included.
    pub(super) fn is_in_body(&self) -> bool {
        match self.framing.state {
            State::Length(_) | State::ChunkSize | State::Chunk(_) | State::ChunkEnd | State::Trailers => true,
            State::Fresh | State::Start | State::Fields | State::Opaque | State::Refused => false,
        }
    }

    /// Whether the last request asks to leave HTTP/1, and nothing has come of that so far.
    pub(super) fn asks_to_leave(&self) -> bool {
        self.framing.head.upgrade && self.framing.state != State::Opaque
    }

    /// It is granted: the bytes to come are nobody's here.
    pub(super) fn leave(&mut self) {
        self.framing.leave();
    }

    fn owes_verdict(&self) -> bool {
        self.framing.state == State::Refused && !self.verdict.is_empty()
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Framed<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.owes_verdict() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
            if let Some(fresh) = buf.filled_mut().get_mut(before..) {
                self.framing.inspect(fresh);
            }
        }
        if self.owes_verdict() {
            let (now, later) = self.verdict.split_at(self.verdict.len().min(buf.remaining()));
            buf.put_slice(now);
            self.verdict = later;
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Framed<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some((small, length)) = in_one_piece(slices) {
            return Pin::new(&mut self.io).poll_write(cx, small.get(..length).unwrap_or_default());
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Most that leaves in one piece: to copy that costs less than what a kernel (or TLS) does for a list of pieces.
const SMALL: usize = 1024;

/// Several pieces as one, where that is small.
fn in_one_piece(slices: &[io::IoSlice<'_>]) -> Option<([u8; SMALL], usize)> {
    if slices.len() < 2 || slices.iter().map(|slice| slice.len()).sum::<usize>() > SMALL {
        return None;
    }
    let (mut small, mut length) = ([0; SMALL], 0);
    for slice in slices {
        small.get_mut(length..length + slice.len())?.copy_from_slice(slice);
        length += slice.len();
    }
    Some((small, length))
}

/// Where in a message the connection is.
#[derive(Debug, Default)]
struct Framing {
    state: State,
    head: Head,
    /// The beginning of a line whose end has not come.
    kept: Vec<u8>,
    /// The last byte of what came of that line.
    last: u8,
    /// More of that line came than is kept.
    cut: bool,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    /// At the first byte of the connection.
    #[default]
    Fresh,
    /// In front of a request line, or at it.
    Start,
    /// Among the header fields.
    Fields,
    /// In a body of so many bytes more.
    Length(u64),
    /// At a chunk's size.
    ChunkSize,
    /// In a chunk with so many bytes more.
    Chunk(u64),
    /// At the line end behind a chunk.
    ChunkEnd,
    /// Among the trailers.
    Trailers,
    /// No longer HTTP/1: an upgrade, or HTTP/2 from the beginning.
    Opaque,
    /// Something was refused: nothing that follows is let through.
    Refused,
}

/// What the head says of the body.
#[derive(Debug, Default, Clone, Copy)]
struct Head {
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

/// Why a line is refused; hyper's 400 says no more than that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Ambiguous;

impl Framing {
    /// Follows `bytes`, and overwrites them from the first ambiguity on.
    fn inspect(&mut self, mut bytes: &mut [u8]) {
        while !bytes.is_empty() {
            let taken = match self.state {
                State::Opaque => return,
                State::Refused => {
                    bytes.fill(0);
                    return;
                }
                State::Length(left) => self.skip(bytes.len(), left, State::Length, State::Start),
                State::Chunk(left) => self.skip(bytes.len(), left, State::Chunk, State::ChunkEnd),
                State::Fresh | State::Start | State::Fields | State::ChunkSize | State::ChunkEnd | State::Trailers => {
                    self.line(bytes)
                }
            };
            bytes = bytes.get_mut(taken..).unwrap_or_default();
        }
    }

    /// What was refused stays refused.
    fn leave(&mut self) {
        if self.state != State::Refused {
            self.state = State::Opaque;
        }
    }

    fn skip(&mut self, have: usize, left: u64, still: fn(u64) -> State, then: State) -> usize {
        let have = have as u64;
        let taken = have.min(left);
        self.state = if left > taken { still(left - taken) } else { then };
        usize::try_from(taken).unwrap_or(usize::MAX)
    }

    /// Takes a line, or what there is of it; says how many bytes that was.
    fn line(&mut self, bytes: &mut [u8]) -> usize {
        let end = memchr::memchr(b'\n', bytes);
        let line = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        if self.state.is_before_fields() && memchr::memchr(b'#', line).is_some() {
            self.state = State::Refused;
            return 0;
        }
        let Some(end) = end else {
            self.keep(line);
            return bytes.len();
        };
        let verdict = if self.kept.is_empty() {
            // In one piece or in many, what is too long to be kept has one answer.
            let whole = line.len() <= KEPT_LINE_BYTES || !self.state.is_measured_by(line);
            let line = line.strip_suffix(b"\r").filter(|_| whole);
            line.ok_or(Ambiguous).and_then(|line| self.state.next(&mut self.head, line))
        } else {
            self.keep(line);
            let ends_well = self.last == b'\r';
            let kept = std::mem::take(&mut self.kept);
            let line = kept.strip_suffix(b"\r").unwrap_or(&kept);
            // Of a line that says how long a body is, all must have been seen.
            let whole = !std::mem::take(&mut self.cut) || !self.state.is_measured_by(line);
            if ends_well && whole { self.state.next(&mut self.head, line) } else { Err(Ambiguous) }
        };
        match verdict {
            Ok(next) => {
                self.state = next;
                end + 1
            }
            Err(Ambiguous) => {
                self.state = State::Refused;
                0
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = KEPT_LINE_BYTES.saturating_sub(self.kept.len());
        self.kept.extend(bytes.iter().take(room));
        self.cut |= bytes.len() > room;
        self.last = bytes.last().copied().unwrap_or(self.last);
    }
}

impl State {
    /// At a request line, or in front of one.
    const fn is_before_fields(self) -> bool {
        matches!(self, State::Fresh | State::Start)
    }

    /// Whether this line says where a body ends.
    fn is_measured_by(self, line: &[u8]) -> bool {
        let names = [&b"content-length"[..], b"transfer-encoding"];
        match self {
            State::ChunkSize | State::ChunkEnd => true,
            State::Fields => names.iter().any(|name| value_of(line, name).is_some()),
            State::Fresh | State::Start | State::Trailers | State::Length(_) | State::Chunk(_) => false,
            State::Opaque | State::Refused => false,
        }
    }

    /// What follows a whole line, given without its line end.
    fn next(self, head: &mut Head, line: &[u8]) -> Result<State, Ambiguous> {
        match self {
            State::Fresh if line == HTTP2_PREFACE.trim_ascii_end() => Ok(State::Opaque),
            // RFC 9112 section 2.2: an empty line in front of the request line is ignored.
            State::Fresh | State::Start if line.is_empty() => Ok(State::Start),
            State::Fresh | State::Start => {
                *head = Head::default();
                Ok(State::Fields)
            }
            State::Fields if line.is_empty() => match (head.chunked, head.length) {
                // Section 6.1: both together "might indicate an attempt to perform request smuggling".
                (true, Some(_)) => Err(Ambiguous),
                (true, None) => Ok(State::ChunkSize),
                (false, Some(length)) if length > 0 => Ok(State::Length(length)),
                (false, Some(_) | None) => Ok(State::Start),
            },
            State::Fields => head.field(line).map(|()| State::Fields),
            State::ChunkSize => match chunk_size(line)? {
                0 => Ok(State::Trailers),
                size => Ok(State::Chunk(size)),
            },
            State::ChunkEnd if line.is_empty() => Ok(State::ChunkSize),
            State::ChunkEnd => Err(Ambiguous),
            State::Trailers if line.is_empty() => Ok(State::Start),
            State::Trailers if folded(line) => Err(Ambiguous),
            State::Trailers => Ok(State::Trailers),
            State::Length(_) | State::Chunk(_) | State::Opaque | State::Refused => Err(Ambiguous),
        }
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) -> Result<(), Ambiguous> {
        if folded(line) {
            return Err(Ambiguous);
        }
        if let Some(value) = value_of(line, b"content-length") {
            if self.length.replace(plain_decimal(value).ok_or(Ambiguous)?).is_some() {
                return Err(Ambiguous);
            }
        } else if let Some(value) = value_of(line, b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(Ambiguous);
            }
            self.chunked = true;
        } else if value_of(line, b"upgrade").is_some() {
            self.upgrade = true;
        }
        Ok(())
    }
}

/// Section 5.2: a line that begins with white space continues the one before.
fn folded(line: &[u8]) -> bool {
    matches!(line.first(), Some(b' ' | b'\t'))
}

fn value_of<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    found.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Section 7.1: hexadecimal digits, then perhaps an extension behind `;`.
fn chunk_size(line: &[u8]) -> Result<u64, Ambiguous> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
    // 64 bits have 16 digits.
    let plain = (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let digits = std::str::from_utf8(digits).ok().filter(|_| plain).ok_or(Ambiguous)?;
    u64::from_str_radix(digits, 16).map_err(|_| Ambiguous)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[test]
    fn small_pieces_leave_as_one_and_large_ones_as_they_are() {
        let pieces = |lengths: &[usize]| -> Vec<Vec<u8>> {
            lengths.iter().zip(b'a'..).map(|(length, byte)| vec![byte; *length]).collect()
        };
        for (lengths, whole) in [
            (&[3, 4][..], true),
            (&[3, 0, 5], true),
            (&[1000, 24], true),
            (&[1000, 25], false),
            (&[3], false),
            (&[], false),
        ] {
            let pieces = pieces(lengths);
            let slices: Vec<_> = pieces.iter().map(|piece| io::IoSlice::new(piece)).collect();
            let found = in_one_piece(&slices).and_then(|(small, length)| Some(small.get(..length)?.to_vec()));
            assert_eq!(found, whole.then(|| pieces.concat()), "{lengths:?}");
        }
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n";

    /// Feeds the bytes in pieces of `step`; says what came out.
    fn pass(bytes: &[u8], step: usize) -> (Vec<u8>, State) {
        let mut framing = Framing::default();
        let mut out = bytes.to_vec();
        for piece in out.chunks_mut(step) {
            framing.inspect(piece);
        }
        (out, framing.state)
    }

    #[test]
    fn what_only_one_parser_could_read_one_way_passes_untouched() {
        for (name, text) in [
            ("no body", format!("{GET}\r\n{GET}\r\n")),
            ("a length", format!("{GET}Content-Length: 5\r\n\r\na\nb\n\0{GET}\r\n")),
            ("length 0", format!("{GET}content-length:0\r\n\r\n{GET}\r\n")),
            (
                "chunks",
                format!("{GET}Transfer-Encoding: Chunked\r\n\r\n5;x=y\r\na\nb\n\0\r\n0\r\nT: 1\r\n\r\n{GET}\r\n"),
            ),
            ("empty lines in front", format!("\r\n\r\n{GET}\r\n")),
            ("a long line", format!("{GET}X: {}\r\n\r\n{GET}\r\n", "x".repeat(1000))),
        ] {
            for step in [1, 2, 3, 7, 4096] {
                let (out, state) = pass(text.as_bytes(), step);
                assert_eq!((out.as_slice(), state), (text.as_bytes(), State::Start), "{name}, by {step}");
            }
        }
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\n\n\n";
        assert_eq!(pass(preface, 1), (preface.to_vec(), State::Opaque));
    }

    #[test]
    fn what_two_parsers_could_read_differently_is_blotted_out() {
        for (name, text) in [
            ("bare LF behind the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n".to_owned()),
            ("a fragment", "GET /a#/../b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
            ("a fragment far behind", format!("GET /{}?x#y HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(500))),
            ("bare LF behind a field", format!("{GET}X: 1\nY: 2\r\n\r\n")),
            ("bare LF for the empty line", format!("{GET}\n")),
            ("obs-fold", format!("{GET}X: 1\r\n Y: 2\r\n\r\n")),
            ("both lengths", format!("{GET}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")),
            (
                "both, the other way round",
                format!("{GET}Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n"),
            ),
            ("a doubled length", format!("{GET}Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")),
            ("a list of lengths", format!("{GET}Content-Length: 5, 5\r\n\r\nhello")),
            ("a signed length", format!("{GET}Content-Length: +5\r\n\r\nhello")),
            ("a huge length", format!("{GET}Content-Length: 99999999999999999999\r\n\r\nhello")),
            ("an empty length", format!("{GET}Content-Length:\r\n\r\n")),
            ("a length that could be octal", format!("{GET}Content-Length: 010\r\n\r\nhellohello")),
            ("a length of many zeros", format!("{GET}Content-Length: {}5\r\n\r\nhello", "0".repeat(200))),
            ("a preface behind a request", format!("{GET}\r\nPRI * HTTP/2.0\r\n\r\nSM\n")),
            ("a long coding", format!("{GET}Transfer-Encoding: {}chunked\r\n\r\n", "x, ".repeat(60))),
            (
                "a chunk of an extension too long to be kept",
                format!("{GET}Transfer-Encoding: chunked\r\n\r\n5;{}\r\n", "x".repeat(200)),
            ),
            ("a chunk size of many zeros", format!("{GET}Transfer-Encoding: chunked\r\n\r\n{}5\r\n", "0".repeat(200))),
            ("another coding", format!("{GET}Transfer-Encoding: xchunked\r\n\r\n")),
            ("two codings", format!("{GET}Transfer-Encoding: gzip, chunked\r\n\r\n")),
            ("a doubled coding", format!("{GET}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")),
            ("a chunk without a size", format!("{GET}Transfer-Encoding: chunked\r\n\r\n;x\r\n")),
            ("a signed chunk", format!("{GET}Transfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n")),
            ("a chunk with 0x", format!("{GET}Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n")),
            ("a huge chunk", format!("{GET}Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n")),
            ("a chunk that is longer than it says", format!("{GET}Transfer-Encoding: chunked\r\n\r\n2\r\nhello\r\n")),
            ("bare LF behind a chunk", format!("{GET}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n")),
            ("bare LF behind a chunk's size", format!("{GET}Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n")),
        ] {
            for step in [1, 2, 3, 7, 4096] {
                let (out, state) = pass(format!("{text}GET /smuggled HTTP/1.1\r\n\r\n").as_bytes(), step);
                assert_eq!(state, State::Refused, "{name}, by {step}");
                assert!(out.ends_with(&[0; 26]), "{name}, by {step}: {:?}", String::from_utf8_lossy(&out));
            }
        }
    }

    /// The client sends no more than what is refused, and waits: hyper must not wait with it.
    #[tokio::test]
    async fn a_refusal_needs_nothing_more_from_the_client() {
        for room in [1, 2, 24, 4096] {
            let (mut client, end) = tokio::io::duplex(4096);
            let mut framed = Framed::new(end);
            client.write_all(format!("{GET}Content-Length: +5\r\n").as_bytes()).await.unwrap();
            let mut out = Vec::new();
            while !out.ends_with(MALFORMED_END) {
                let mut piece = vec![0; room];
                let read = tokio::time::timeout(std::time::Duration::from_secs(20), framed.read(&mut piece));
                let length = read.await.unwrap().unwrap();
                out.extend_from_slice(&piece[..length]);
            }
            assert!(out.starts_with(GET.as_bytes()), "{room}");
        }
    }

    #[test]
    fn nobody_leaves_who_has_not_asked_to() {
        for (text, asks) in [
            (format!("{GET}\r\n"), false),
            (format!("{GET}Upgrade: websocket\r\n\r\n"), true),
            (format!("{GET}Upgrade: websocket\r\n\r\n{GET}\r\n"), false),
        ] {
            let mut framed = Framed::new(());
            framed.framing.inspect(&mut text.clone().into_bytes());
            assert_eq!(framed.asks_to_leave(), asks, "{text}");
            framed.leave();
            assert!(!framed.asks_to_leave(), "once");
        }
    }

    #[test]
    fn after_a_101_that_was_asked_for_the_bytes_are_nobodys() {
        let mut framing = Framing::default();
        framing.inspect(&mut format!("{GET}Upgrade: websocket\r\n\r\n").into_bytes());
        framing.leave();
        let mut bytes = *b"\n\n\n\n";
        framing.inspect(&mut bytes);
        assert_eq!(&bytes, b"\n\n\n\n");
        let (_, state) = pass(format!("{GET}\n").as_bytes(), 1);
        let mut framing = Framing { state, ..Framing::default() };
        framing.leave();
        assert_eq!(framing.state, State::Refused);
    }
}
