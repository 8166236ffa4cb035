//! Headers that hold for one connection only (RFC 9110 section 7.6.1).

use http::header::{CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::gate::{has_token, tokens};

/// Beside what `Connection` names. `Trailer` stays: it announces what both sides forward.
static HOP_BY_HOP: [HeaderName; HOPS] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];
const HOPS: usize = 9;
/// Where in it the transfer coding stands.
const CODING: usize = 4;

/// Where in [`HOP_BY_HOP`] a name stands. This is asked of each name of each message.
fn place(name: &HeaderName) -> Option<usize> {
    match *name {
        CONNECTION => Some(0),
        PROXY_AUTHENTICATE => Some(1),
        PROXY_AUTHORIZATION => Some(2),
        TE => Some(3),
        TRANSFER_ENCODING => Some(CODING),
        UPGRADE => Some(5),
        ref other => match other.as_str() {
            "keep-alive" => Some(6),
            "proxy-connection" => Some(7),
            "http2-settings" => Some(8),
            _ => None,
        },
    }
}

/// Removes them, and what `Connection` names; says whether there was a transfer coding. Whatever is ours is set after
/// this, so that `Connection: X-Auth-Subject` takes nothing of ours away.
pub(super) fn remove(headers: &mut HeaderMap) -> bool {
    // One look at each of the names that are there, instead of one search for each that might be.
    let mut found = [false; HOPS];
    let mut disguised = Vec::new();
    for name in headers.keys() {
        match place(name).and_then(|at| found.get_mut(at)) {
            Some(found) => *found = true,
            None if is_disguised(name.as_str()) => disguised.push(name.clone()),
            None => {}
        }
    }
    if found.first() == Some(&true) {
        remove_named(headers);
    }
    for (name, found) in HOP_BY_HOP.iter().zip(found) {
        if found {
            headers.remove(name);
        }
    }
    for name in disguised {
        headers.remove(name);
    }
    found.get(CODING) == Some(&true)
}

/// Removes what `Connection` names.
fn remove_named(headers: &mut HeaderMap) {
    // Most of all this one, which goes anyway.
    let ordinary = |name: &&[u8]| name.eq_ignore_ascii_case(b"keep-alive");
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter(|name| !ordinary(name))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Whether a legacy framework that folds names (CGI, WSGI) would take a header for one that says where a message ends.
fn is_disguised(name: &str) -> bool {
    const DECIDING: [&str; 2] = ["transfer-encoding", "content-length"];
    DECIDING.iter().any(|known| {
        name.len() == known.len()
            && name != *known
            && name.bytes().zip(known.bytes()).all(|(a, b)| a == b || (b == b'-' && !a.is_ascii_alphanumeric()))
    })
}

/// The same for a request, but `TE: trailers` stays: gRPC asks for it, and trailers pass.
pub(super) fn remove_from_request(headers: &mut HeaderMap) {
    let trailers = has_token(headers, &TE, "trailers");
    remove(headers);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn map(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_holds_for_one_connection_goes() {
        for (came, left) in [
            (&[("Connection", "close")][..], &[][..]),
            (&[("Connection", "X-A, x-b"), ("X-A", "1"), ("X-B", "2"), ("X-C", "3")], &["x-c"]),
            (&[("Connection", "X-A"), ("Connection", ",, X-B ,"), ("X-A", "1"), ("X-B", "2")], &[]),
            (&[("Connection", "\u{fc}, a b, X-A"), ("X-A", "1")], &[]),
            (&[("Keep-Alive", "timeout=5"), ("Proxy-Connection", "keep-alive"), ("Accept", "*/*")], &["accept"]),
            (&[("Proxy-Authorization", "Basic eA=="), ("Proxy-Authenticate", "Basic")], &[]),
            (&[("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum")], &["trailer"]),
            (&[("Upgrade", "h2c"), ("HTTP2-Settings", "AAMAAABk"), ("Connection", "Upgrade, HTTP2-Settings")], &[]),
            (&[("TE", "gzip, deflate")], &[]),
            (&[("Transfer_Encoding", "chunked"), ("Content.Length", "5"), ("X_Sum", "1")], &["x_sum"]),
            (&[("TE", "gzip, Trailers"), ("Connection", "TE")], &["te"]),
        ] {
            let mut headers = map(came);
            remove_from_request(&mut headers);
            assert_eq!(names(&headers), left, "{came:?}");
        }
    }

    #[test]
    fn each_has_its_place() {
        assert!(HOP_BY_HOP.iter().enumerate().all(|(at, name)| place(name) == Some(at)));
    }

    #[test]
    fn te_says_trailers_and_nothing_else() {
        let mut headers = map(&[("TE", "gzip;q=0.5, trailers")]);
        remove_from_request(&mut headers);
        assert_eq!(headers.get(TE).unwrap(), "trailers");
        remove(&mut headers);
        assert!(headers.is_empty(), "a response has no TE");
    }
}
