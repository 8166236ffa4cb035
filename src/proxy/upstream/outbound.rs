//! A request in the form that each HTTP version wants. Each form can be made of any other, since a request that was
//! not sent on one connection may be sent on another.

use http::header::{CONNECTION, CONTENT_TYPE, HOST, UPGRADE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, Version};
use hyper::ext::Protocol as ConnectProtocol;

use super::body::Upload;

/// `Sec-WebSocket-Key` (RFC 6455): of no use in an extended CONNECT (RFC 8441 section 5).
const SEC_WEBSOCKET_KEY: HeaderName = http::header::SEC_WEBSOCKET_KEY;

/// How an endpoint is called in requests to it.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) scheme: Scheme,
    pub(super) authority: Authority,
    pub(super) host: HeaderValue,
    /// The client's `Host` goes upstream instead.
    pub(super) preserve_host: bool,
}

/// A request on its way to an endpoint: here until a connection takes it, and here again if it was not sent.
pub(super) struct Unsent {
    request: Option<Request<Upload>>,
    upgrade: Upgrade,
}

impl Unsent {
    pub(super) fn new(request: Request<Upload>) -> Self {
        Self { upgrade: Upgrade::of(request.headers()), request: Some(request) }
    }

    /// What it asks to become.
    pub(super) const fn upgrade(&self) -> Upgrade {
        self.upgrade
    }

    /// `None` once it was sent.
    pub(super) fn get_mut(&mut self) -> Option<&mut Request<Upload>> {
        self.request.as_mut()
    }

    /// To be sent.
    pub(super) fn take(&mut self) -> Option<Request<Upload>> {
        self.request.take()
    }

    /// It was not sent after all.
    pub(super) fn put_back(&mut self, request: Request<Upload>) {
        self.request = Some(request);
    }
}

/// Whether a request asks for another protocol (RFC 9110 section 7.8). Read once from what the client sent, since one
/// of the forms below takes the headers away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Upgrade {
    /// It does not.
    No,
    /// To WebSocket, which HTTP/2 has a form for.
    WebSocket,
    /// To anything else, which exists over HTTP/1.1 only.
    Other,
}

impl Upgrade {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let Some(protocol) = headers.get(UPGRADE) else { return Self::No };
        let asked = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|option| option.trim().eq_ignore_ascii_case("upgrade"));
        match (asked, protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
            (false, _) => Self::No,
            (true, true) => Self::WebSocket,
            (true, false) => Self::Other,
        }
    }
}

/// The request is gRPC, which exists over HTTP/2 only.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|value| {
        value.as_bytes().get(..16).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"application/grpc"))
    })
}

/// HTTP/1.1: origin form and `Host` (RFC 9112 section 3.2).
pub(super) fn for_http1<B>(request: &mut Request<B>, address: &Address) {
    *request.version_mut() = Version::HTTP_11;
    let authority = if request.uri().authority().is_some() {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        let path = parts.path_and_query.take().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        parts.authority
    } else {
        None
    };
    if !address.preserve_host {
        request.headers_mut().insert(HOST, address.host.clone());
    } else if !request.headers().contains_key(HOST) {
        let host = authority.and_then(|authority| HeaderValue::try_from(authority.as_str()).ok());
        request.headers_mut().insert(HOST, host.unwrap_or_else(|| address.host.clone()));
    }
}

/// HTTP/2: the `Host` becomes `:authority` and does not go beside it (RFC 9113 section 8.3.1). Where the client's
/// is none that a URI can have, the endpoint's own.
pub(super) fn for_http2<B>(request: &mut Request<B>, address: &Address) {
    *request.version_mut() = Version::HTTP_2;
    let host = request.headers_mut().remove(HOST);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    if address.preserve_host {
        let given = host.and_then(|host| Authority::try_from(host.as_bytes()).ok()).or_else(|| parts.authority.take());
        parts.authority = Some(given.unwrap_or_else(|| address.authority.clone()));
    } else {
        parts.authority = Some(address.authority.clone());
    }
    parts.scheme = Some(address.scheme.clone());
    parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// Extended CONNECT: a WebSocket over HTTP/2 (RFC 8441 section 4).
pub(super) fn for_websocket_over_http2<B>(request: &mut Request<B>, address: &Address) {
    for_http2(request, address);
    *request.method_mut() = Method::CONNECT;
    let headers = request.headers_mut();
    for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_KEY] {
        headers.remove(name);
    }
    request.extensions_mut().insert(ConnectProtocol::from_static("websocket"));
}

/// The head alone, to send a second time what the first peer says that it did not process.
pub(super) fn copy_head<B>(request: &Request<B>) -> Request<()> {
    let mut copy = Request::new(());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    copy
}
