//! The head of a request, written; the head of a response, read.

use std::mem::MaybeUninit;

use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};

use crate::gate::decimal;

use super::ExchangeError;
use super::body::Remaining;

/// Most fields of a head, as hyper has it.
const MAX_FIELDS: usize = 100;
/// For so many there is room at hand.
const FEW_FIELDS: usize = 24;

/// A response's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    /// Where it is not the usual one.
    pub(super) reason: Option<Bytes>,
    pub(super) body: Remaining,
    /// Whether the connection may carry another request.
    pub(super) keep_alive: bool,
}

/// Appends a request's head (RFC 9112 section 3), whose URI is in origin form. No body follows: whatever says that one
/// does stays behind, or the upstream would take the next request for it.
pub(super) fn write<B>(request: &Request<B>, out: &mut Vec<u8>) {
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    for part in [request.method().as_str(), " ", path, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
    for (name, value) in request.headers() {
        if *name == TRANSFER_ENCODING || (*name == CONTENT_LENGTH && value != "0") {
            continue;
        }
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            out.extend_from_slice(part);
        }
    }
    out.extend_from_slice(b"\r\n");
}

/// Takes a head off the front of `input`; `None` while it is not whole. Interim responses (RFC 9110 section 15.2) are
/// thrown away, but for a 101, which nobody asked for. `spare` is an empty map whose room is used.
pub(super) fn read(
    input: &mut BytesMut,
    method: &Method,
    spare: &mut HeaderMap,
) -> Result<Option<Head>, ExchangeError> {
    while let Some(head) = read_one(input, method, spare)? {
        if !head.status.is_informational() || head.status == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn read_one(input: &mut BytesMut, method: &Method, spare: &mut HeaderMap) -> Result<Option<Head>, ExchangeError> {
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, input, &mut fields)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(ExchangeError::Status)?;
    let version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    let reason = parsed.reason.filter(|reason| Some(*reason) != status.canonical_reason());
    let reason = reason.map(|reason| Bytes::copy_from_slice(reason.as_bytes()));
    let start = input.as_ptr().addr();
    let (mut few, mut many) = ([Place::default(); FEW_FIELDS], Vec::new());
    let places = match few.get_mut(..parsed.headers.len()) {
        Some(few) => few,
        None => {
            many.resize(parsed.headers.len(), Place::default());
            &mut many[..]
        }
    };
    for (place, field) in places.iter_mut().zip(parsed.headers.iter()) {
        *place = Place::of(start, field);
    }

    let head = input.split_to(length).freeze();
    let mut headers = std::mem::take(spare);
    headers.reserve(places.len());
    let mut said = Said::default();
    for place in places {
        let (name, value) = place.within(&head).ok_or(ExchangeError::Status)?;
        let name = HeaderName::from_bytes(name).map_err(|_| httparse::Error::HeaderName)?;
        let value = HeaderValue::from_maybe_shared(value).map_err(|_| httparse::Error::HeaderValue)?;
        match name {
            CONNECTION => said.connection(&value),
            CONTENT_LENGTH => said.length(&value),
            TRANSFER_ENCODING => said.coding(&value),
            _ => {}
        }
        headers.append(name, value);
    }
    if said.coding.is_some() {
        // RFC 9112 section 6.3: the coding counts, and the length must not go on.
        headers.remove(CONTENT_LENGTH);
    }
    let body = said.body(version, status, method)?;
    let keep_alive = said.keeps_alive(version) && body != Remaining::UntilClose;
    Ok(Some(Head { status, version, headers, reason, body, keep_alive }))
}

/// Where in a head a field stands: beginnings and lengths.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    name: (u32, u32),
    value: (u32, u32),
}

impl Place {
    /// `start`: where the head begins in memory.
    fn of(start: usize, field: &httparse::Header<'_>) -> Self {
        // A head is no longer than MAX_HEAD; a place that were wrong would be none in it.
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let place = |part: &[u8]| (number(part.as_ptr().addr().wrapping_sub(start)), number(part.len()));
        Self { name: place(field.name.as_bytes()), value: place(field.value) }
    }

    fn within<'a>(&self, head: &'a Bytes) -> Option<(&'a [u8], Bytes)> {
        let range = |(from, length): (u32, u32)| {
            let from = usize::try_from(from).ok()?;
            Some(from..from.checked_add(usize::try_from(length).ok()?)?)
        };
        let (name, value) = (range(self.name)?, range(self.value)?);
        // An empty value may stand anywhere.
        let value = if value.is_empty() { Bytes::new() } else { head.get(value.clone()).map(|_| head.slice(value))? };
        Some((head.get(name)?, value))
    }
}

/// What a head says of its body and its connection.
#[derive(Debug, Default)]
struct Said {
    close: bool,
    keep_alive: bool,
    length: Length,
    /// Whether the last coding is `chunked`.
    coding: Option<bool>,
}

/// What all lines of Content-Length say together.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Length {
    #[default]
    Absent,
    Said(u64),
    Malformed,
}

impl Said {
    fn connection(&mut self, value: &HeaderValue) {
        for option in members(value) {
            self.close |= option.eq_ignore_ascii_case(b"close");
            self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    /// Lengths may be repeated if all are the same: section 6.3 lets a recipient take them for one.
    fn length(&mut self, value: &HeaderValue) {
        for part in value.as_bytes().split(|byte| *byte == b',') {
            self.length = match (decimal(part.trim_ascii()), self.length) {
                (Some(said), Length::Absent) => Length::Said(said),
                (Some(said), Length::Said(before)) if said == before => Length::Said(said),
                _ => Length::Malformed,
            };
        }
    }

    fn coding(&mut self, value: &HeaderValue) {
        // An empty list changes nothing, but that there is one.
        let last = members(value).last().map(|coding| coding.eq_ignore_ascii_case(b"chunked"));
        self.coding = Some(last.or(self.coding).unwrap_or(false));
    }

    /// RFC 9112 section 9.3.
    fn keeps_alive(&self, version: Version) -> bool {
        // Sections 6.1 and 6.3: who sends both, or a coding in HTTP/1.0, may not mean by them what we do.
        let is_in_two_minds = self.coding.is_some() && (self.length != Length::Absent || version == Version::HTTP_10);
        !self.close && !is_in_two_minds && (version == Version::HTTP_11 || self.keep_alive)
    }

    /// RFC 9112 section 6.3.
    fn body(&self, version: Version, status: StatusCode, method: &Method) -> Result<Remaining, ExchangeError> {
        let never = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        if status.is_informational() || never || method == Method::HEAD {
            return Ok(Remaining::Ended);
        }
        match (self.coding, self.length) {
            (Some(_), _) if version == Version::HTTP_10 => Err(ExchangeError::Coding),
            (Some(true), _) => Ok(Remaining::CHUNKS),
            (Some(false), _) | (None, Length::Absent) => Ok(Remaining::UntilClose),
            (None, Length::Said(length)) => Ok(Remaining::Length(length)),
            (None, Length::Malformed) => Err(ExchangeError::Length),
        }
    }
}

/// Of a comma-separated list (RFC 9110 section 5.6.1).
fn members(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// The end of a line in `input` (where its CR stands), which is no longer than `longest`; `None` while it is not there.
pub(super) fn line_end(input: &[u8], longest: usize) -> Result<Option<usize>, ExchangeError> {
    match memchr::memchr(b'\n', input) {
        Some(at) => match at.checked_sub(1).filter(|before| input.get(*before) == Some(&b'\r')) {
            Some(end) => Ok(Some(end)),
            None => Err(ExchangeError::Chunk),
        },
        None if input.len() > longest => Err(ExchangeError::Chunk),
        None => Ok(None),
    }
}

/// The fields behind the last chunk (RFC 9112 section 7.1.2), taken off the front of `input`; `None` while they are not
/// all there.
pub(super) fn read_trailers(input: &mut BytesMut) -> Result<Option<HeaderMap>, ExchangeError> {
    let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
    let (length, trailers) = match httparse::parse_headers(input, &mut fields)? {
        httparse::Status::Complete((length, fields)) => {
            let mut trailers = HeaderMap::with_capacity(fields.len());
            for field in fields {
                let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| httparse::Error::HeaderName)?;
                let value = HeaderValue::from_bytes(field.value).map_err(|_| httparse::Error::HeaderValue)?;
                trailers.append(name, value);
            }
            (length, trailers)
        }
        httparse::Status::Partial => return Ok(None),
    };
    input.advance(length);
    Ok(Some(trailers))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parse(text: &str, method: &Method) -> Result<Option<Head>, ExchangeError> {
        read(&mut BytesMut::from(text), method, &mut HeaderMap::new())
    }

    #[test]
    fn a_body_ends_where_rfc_9112_section_6_3_says() {
        use Remaining::{Ended, Length, UntilClose};
        let chunks = Remaining::CHUNKS;
        for (text, method, body, keep_alive) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::GET, Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\n", Method::GET, Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", Method::GET, Length(0), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::HEAD, Ended, true),
            ("HTTP/1.1 204 No Content\r\n\r\n", Method::GET, Ended, true),
            ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::GET, Ended, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Method::GET, chunks, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Method::GET, chunks, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", Method::GET, UntilClose, false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding:\r\n\r\n", Method::GET, chunks, true),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: ,\r\n\r\n", Method::GET, UntilClose, false),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", Method::GET, chunks, false),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n", Method::GET, chunks, false),
            ("HTTP/1.1 200 OK\r\n\r\n", Method::GET, UntilClose, false),
            ("HTTP/1.0 200 OK\r\n\r\n", Method::GET, UntilClose, false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Method::GET, Length(5), false),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: Keep-Alive\r\n\r\n", Method::GET, Length(5), true),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, CLOSE\r\n\r\n", Method::GET, Length(5), false),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
                Method::GET,
                Length(5),
                false,
            ),
            ("HTTP/1.1 101 Switching Protocols\r\n\r\n", Method::GET, Ended, true),
            (
                "HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n",
                Method::GET,
                Ended,
                false,
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\
                 Content-Length: 5\r\n\r\n",
                Method::GET,
                Length(5),
                true,
            ),
        ] {
            let head = parse(text, &method).unwrap().unwrap();
            assert_eq!((head.body, head.keep_alive), (body, keep_alive), "{text:?}");
            assert!(!head.headers.contains_key("link"), "an interim response's");
        }
        let both = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        let head = parse(both, &Method::GET).unwrap().unwrap();
        assert_eq!((head.body, head.headers.contains_key(CONTENT_LENGTH)), (chunks, false));
    }

    #[test]
    fn what_is_no_head_is_an_error_and_what_is_half_of_one_is_none() {
        let whole = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Empty:\r\nX-A: 1\r\n\r\n";
        for end in 0..whole.len() {
            assert!(parse(whole.get(..end).unwrap(), &Method::GET).unwrap().is_none(), "{end} bytes");
        }
        assert_eq!(parse(whole, &Method::GET).unwrap().unwrap().headers.len(), 3);
        for text in [
            "SSH-2.0-OpenSSH_9.6\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 099 X\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA B: 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : 1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: \0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        ] {
            assert!(parse(text, &Method::GET).is_err(), "{text:?}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: 1\r\n".repeat(MAX_FIELDS + 1));
        assert!(parse(&many, &Method::GET).is_err());
    }

    #[test]
    fn a_head_is_written_as_it_is() {
        let request =
            Request::get("/a?x=1").header("host", "a").header("x-a", "1").header("x-a", "2").body(()).unwrap();
        let mut out = Vec::new();
        write(&request, &mut out);
        assert_eq!(std::str::from_utf8(&out), Ok("GET /a?x=1 HTTP/1.1\r\nhost: a\r\nx-a: 1\r\nx-a: 2\r\n\r\n"));
    }

    #[test]
    fn a_head_promises_no_body() {
        let head = |name: &str, value: &str| {
            let mut out = Vec::new();
            write(&Request::post("/").header("host", "a").header(name, value).body(()).unwrap(), &mut out);
            String::from_utf8(out).unwrap()
        };
        let bare = "POST / HTTP/1.1\r\nhost: a\r\n\r\n";
        for (name, value) in [("content-length", "5"), ("content-length", "00"), ("transfer-encoding", "chunked")] {
            assert_eq!(head(name, value), bare, "{name}: {value}");
        }
        assert_eq!(head("content-length", "0"), "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn an_unusual_reason_is_kept() {
        let head = parse("HTTP/1.1 200 Fine\r\n\r\n", &Method::GET).unwrap().unwrap();
        assert_eq!(head.reason.as_deref(), Some(&b"Fine"[..]));
        assert_eq!(parse("HTTP/1.1 200 OK\r\n\r\n", &Method::GET).unwrap().unwrap().reason, None);
    }
}
