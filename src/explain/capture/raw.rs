//! A request as it stands on the wire, and as `curl -v` shows it.

use http::header::HOST;
use http::{HeaderMap, Method, Uri};

use crate::target::Scheme;

use super::{Capture, CaptureError, Form, announced, header};

/// A request line, split.
struct RequestLine<'a> {
    method: &'a str,
    target: &'a str,
}

impl<'a> RequestLine<'a> {
    /// `GET /orders HTTP/1.1`; HTTP/2 is written alike by the tools that show it.
    fn of(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let (method, target, version) = (words.next()?, words.next()?, words.next()?);
        let is_http = version.strip_prefix("HTTP/").is_some_and(|version| {
            !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        });
        (is_http && words.next().is_none()).then_some(Self { method, target })
    }
}

/// What `curl -v` shows of a request; `None` where the text is none of its output. The command itself may stand above
/// it.
pub(super) fn read_verbose(text: &str) -> Option<Result<Capture, CaptureError>> {
    let sent: Vec<(usize, &str)> = numbered(text).filter_map(|(at, line)| Some((at, after_angle(line)?))).collect();
    let is_first = |line: &str| RequestLine::of(line).is_some();
    match sent.iter().filter(|(_, line)| is_first(line)).count() {
        0 => None,
        1 => Some(head(sent.into_iter().skip_while(|(_, line)| !is_first(line)), 0, Form::Verbose)),
        several => Some(Err(CaptureError::Several(several))),
    }
}

/// A request with its body, if any.
pub(super) fn read(text: &str) -> Result<Capture, CaptureError> {
    let lines = numbered(text).skip_while(|(_, line)| line.trim().is_empty());
    head(lines, body_of(text).len(), Form::Raw)
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// What `curl -v` sent in this line, if it tells of that.
fn after_angle(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('>')?;
    Some(rest.strip_prefix(' ').unwrap_or(rest))
}

/// What follows the empty line after the head.
fn body_of(text: &str) -> &str {
    let text = text.trim_start();
    let ends = ["\n\n", "\n\r\n"].into_iter().filter_map(|end| Some(text.find(end)? + end.len()));
    ends.min().and_then(|end| text.get(end..)).unwrap_or_default()
}

fn head<'a>(
    mut lines: impl Iterator<Item = (usize, &'a str)>,
    body: usize,
    form: Form,
) -> Result<Capture, CaptureError> {
    let (at, first) = lines.next().ok_or(CaptureError::Empty)?;
    let line = RequestLine::of(first).ok_or(CaptureError::NotARequest(at))?;
    let method = Method::from_bytes(line.method.as_bytes()).map_err(|_| CaptureError::NotATarget)?;
    let uri: Uri = line.target.parse().map_err(|_| CaptureError::NotATarget)?;
    let mut headers = HeaderMap::new();
    for (at, line) in lines {
        if line.trim().is_empty() {
            break;
        }
        // HTTP/2's own, as browsers show them: the host is among them, the rest stands in the request line.
        if let Some(pseudo) = line.trim_start().strip_prefix(':') {
            let (name, value) = pseudo.split_once(':').ok_or(CaptureError::NotAHeader(at))?;
            if name == "authority" && !headers.contains_key(HOST) {
                let (name, value) = header("host", value).ok_or(CaptureError::NotAHeader(at))?;
                headers.insert(name, value);
            }
            continue;
        }
        let (name, value) = line.split_once(':').ok_or(CaptureError::NotAHeader(at))?;
        let (name, value) = header(name, value).ok_or(CaptureError::NotAHeader(at))?;
        headers.append(name, value);
    }
    let body_bytes = announced(&headers).unwrap_or(u64::try_from(body).unwrap_or(u64::MAX));
    let scheme = uri.scheme_str().and_then(Scheme::named);
    Ok(Capture { method, uri, scheme, headers, body_bytes, form })
}
