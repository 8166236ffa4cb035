//! A captured request, out of whatever people paste.

mod curl;
mod har;
mod raw;
mod shell;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use http::header::HOST;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use thiserror::Error;

use crate::target::Scheme;

/// Largest capture that is read, in bytes: a HAR file of one page has a few MiB.
pub const MAX_CAPTURE_BYTES: u64 = 32 * 1024 * 1024;

/// One request, as far as its capture shows it.
#[derive(Debug)]
pub struct Capture {
    /// Its method, to the letter.
    pub method: Method,
    /// Its request target: in origin form wherever the capture names a URL.
    pub uri: Uri,
    /// By which scheme the client called, where the capture says so.
    pub scheme: Option<Scheme>,
    /// Its headers, in order.
    pub headers: HeaderMap,
    /// How long its body is, as announced, else as captured.
    pub body_bytes: u64,
    /// What it was read from.
    pub form: Form,
}

/// What a request was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As it went over the wire.
    Raw,
    /// What `curl -v` prints.
    Verbose,
    /// A command line of curl's.
    Command,
    /// An entry of a HAR file.
    Har,
}

impl Form {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "a raw HTTP request",
            Self::Verbose => "output of curl -v",
            Self::Command => "a curl command line",
            Self::Har => "a HAR entry",
        }
    }
}

/// Why no request can be read. Nothing of the text is repeated: it may hold credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CaptureError {
    /// Nothing but white space.
    #[error("nothing to read; expected a captured HTTP request")]
    Empty,
    /// Not text.
    #[error("not UTF-8 text; expected a captured HTTP request")]
    NotText,
    /// The first line is none of a request.
    #[error(
        "line {0}: not a request; expected `METHOD /path HTTP/1.1` and headers, output of curl -v, a curl command, or \
         a HAR entry"
    )]
    NotARequest(usize),
    /// A line that should be a header is none.
    #[error("line {0}: not a header; expected `Name: value`, and an empty line before a body")]
    NotAHeader(usize),
    /// A method or a target that HTTP does not know.
    #[error("the method or the URL is none that HTTP knows; expected such as GET and https://api.example.com/orders")]
    NotATarget,
    /// More than one request.
    #[error("{0} requests; expected one: cut out the one to explain")]
    Several(usize),
    /// A quotation has no end.
    #[error("a quotation is not closed; expected the whole command line")]
    OpenQuote,
    /// The shell would put something in place of it.
    #[error(
        "the command has a shell variable or substitution; expected what the shell makes of it (run it with `curl -v`)"
    )]
    Substitution,
    /// A curl command that calls nothing.
    #[error("the curl command names no URL, or an option without its value")]
    NoUrl,
    /// JSON, but no HAR.
    #[error("JSON, but no HAR entry; expected `log.entries` or an entry with `request`: method, url and headers")]
    NotAHar,
}

impl Capture {
    /// Reads one request.
    pub fn read(bytes: &[u8]) -> Result<Self, CaptureError> {
        let text = text(bytes)?;
        // A byte order mark is Windows' way to say UTF-8.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let start = text.trim_start();
        if start.is_empty() {
            return Err(CaptureError::Empty);
        }
        if let Some(sent) = raw::read_verbose(text) {
            return sent;
        }
        // What was copied with its prompt.
        let command = start.strip_prefix("$ ").unwrap_or(start).trim_start();
        let program = command.split(|c: char| c.is_whitespace()).next().unwrap_or_default();
        if matches!(program, "curl" | "curl.exe") {
            return curl::read(command);
        }
        if start.starts_with(['{', '[']) {
            return har::read(start);
        }
        raw::read(text)
    }

    /// From a URL and what else a tool says of a request.
    fn addressed(
        method: &str,
        url: &str,
        mut headers: HeaderMap,
        body_bytes: u64,
        form: Form,
    ) -> Result<Self, CaptureError> {
        let method = Method::from_bytes(method.as_bytes()).map_err(|_| CaptureError::NotATarget)?;
        let (scheme, rest) = url.split_once("://").ok_or(CaptureError::NotATarget)?;
        let scheme = Scheme::named(scheme).ok_or(CaptureError::NotATarget)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        // What stands before the @ is sent as credentials, not as part of the address.
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let uri = path.parse().map_err(|_| CaptureError::NotATarget)?;
        if !headers.contains_key(HOST) {
            headers.insert(HOST, HeaderValue::from_str(authority).map_err(|_| CaptureError::NotATarget)?);
        }
        let body_bytes = announced(&headers).unwrap_or(body_bytes);
        Ok(Self { method, uri, scheme: Some(scheme), headers, body_bytes, form })
    }
}

/// A head has to be text; a body may be anything.
fn text(bytes: &[u8]) -> Result<Cow<'_, str>, CaptureError> {
    let ended = |head: &[u8]| head.windows(2).any(|end| end == b"\n\n") || head.windows(3).any(|end| end == b"\n\r\n");
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text.into()),
        Err(error) if bytes.get(..error.valid_up_to()).is_some_and(ended) => Ok(String::from_utf8_lossy(bytes)),
        Err(_) => Err(CaptureError::NotText),
    }
}

/// `Content-Length`, where there is one that can be read.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A header; `None` if it is none that HTTP knows.
fn header(name: &str, value: &str) -> Option<(HeaderName, HeaderValue)> {
    let name = HeaderName::from_bytes(name.trim().as_bytes()).ok()?;
    Some((name, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?))
}
