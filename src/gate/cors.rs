//! CORS for browser clients (the Fetch standard, section 3.2): preflights that the gate answers by itself, and what
//! scripts may read of a response.

use std::sync::Arc;

use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use crate::policy::{Cors, Route};
use crate::target::Target;

use super::{Gate, tokens};

/// How long a browser keeps a preflight's answer, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// What a DPoP client has to read, beside what the upstream exposes of its own.
const EXPOSED: &str = "DPoP-Nonce, WWW-Authenticate, Retry-After, X-Request-Id";

/// A preflight that is answered without a decision.
#[derive(Debug)]
pub struct Preflighted {
    /// The route of the request that it announces; `None` for a document of the gate's.
    pub route: Option<Arc<Route>>,
    /// What the answer says, a 204.
    pub headers: HeaderMap,
}

impl Gate {
    /// The answer to a preflight that announces a request for a document of the gate's, or for a route that has `cors`,
    /// from an origin that may call. Any other OPTIONS goes the way of every request.
    pub fn preflight(&self, method: &Method, target: &Target, request: &HeaderMap) -> Option<Preflighted> {
        let preflight = Preflight::of(method, request)?;
        if self.well_known(&preflight.method, target).is_some() {
            let headers = preflight.answer(&Cors { origins: vec!["*".to_owned()] }, request)?;
            return Some(Preflighted { route: None, headers });
        }
        let route = self.route(&preflight.method, target).ok()?;
        let headers = preflight.answer(route.cors.as_ref()?, request)?;
        Some(Preflighted { route: Some(Arc::clone(route)), headers })
    }
}

/// What a browser asks before it sends a request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Preflight {
    /// The method that the request will have: a preflight is for that route, not for OPTIONS's.
    method: Method,
}

impl Preflight {
    /// `None` for anything but a preflight: an OPTIONS with an origin and one method that it asks for.
    fn of(method: &Method, headers: &HeaderMap) -> Option<Self> {
        if method != Method::OPTIONS || !headers.contains_key(ORIGIN) {
            return None;
        }
        let mut asked = headers.get_all(ACCESS_CONTROL_REQUEST_METHOD).iter();
        let first = asked.next()?;
        if asked.next().is_some() {
            return None;
        }
        Some(Self { method: Method::from_bytes(first.as_bytes()).ok()? })
    }

    /// The headers of the answer; `None` where the origin may not call.
    fn answer(&self, cors: &Cors, request: &HeaderMap) -> Option<HeaderMap> {
        let mut headers = HeaderMap::with_capacity(5);
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed_origin(cors, request)?);
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_str(self.method.as_str()).ok()?);
        if let Some(names) = header_names(request) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, names);
        }
        headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        const ASKED: &str = "Origin, Access-Control-Request-Method, Access-Control-Request-Headers";
        headers.insert(VARY, HeaderValue::from_static(ASKED));
        Some(headers)
    }
}

/// Says on a response, a refusal's included, what the asking origin may read of it. Replaces what the upstream says of
/// CORS: on a route with `cors` the gate decides. No credentials are allowed: DPoP needs no cookie.
pub fn write_cors(headers: &mut HeaderMap, cors: &Cors, allowed: Option<HeaderValue>) {
    let exposed = exposed(headers);
    for theirs in [
        ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_ALLOW_CREDENTIALS,
        ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS,
        ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE,
    ] {
        headers.remove(theirs);
    }
    if !is_any(cors) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
}

/// What `Access-Control-Allow-Origin` says to this request, if it may call.
pub fn allowed_origin(cors: &Cors, request: &HeaderMap) -> Option<HeaderValue> {
    let mut origins = request.get_all(ORIGIN).iter();
    let origin = origins.next()?;
    if origins.next().is_some() {
        return None;
    }
    if is_any(cors) {
        return Some(HeaderValue::from_static("*"));
    }
    cors.origins.iter().any(|known| known.as_bytes() == origin.as_bytes()).then(|| origin.clone())
}

fn is_any(cors: &Cors) -> bool {
    cors.origins.iter().any(|origin| origin == "*")
}

/// Ours, and those that the upstream exposes.
fn exposed(headers: &HeaderMap) -> HeaderValue {
    list(EXPOSED, tokens(headers, &ACCESS_CONTROL_EXPOSE_HEADERS)).unwrap_or_else(|| HeaderValue::from_static(EXPOSED))
}

/// The header names that the request will have: those of them that are names.
fn header_names(request: &HeaderMap) -> Option<HeaderValue> {
    list("", tokens(request, &ACCESS_CONTROL_REQUEST_HEADERS))
}

fn list<'a>(first: &str, names: impl Iterator<Item = &'a [u8]>) -> Option<HeaderValue> {
    let mut list = BytesMut::from(first.as_bytes());
    for name in names.filter(|name| *name == b"*" || HeaderName::from_bytes(name).is_ok()) {
        if !list.is_empty() {
            list.put_slice(b", ");
        }
        list.put_slice(name);
    }
    if list.is_empty() { None } else { HeaderValue::from_maybe_shared(Bytes::from(list)).ok() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const APP: &str = "https://app.example.com";

    fn map(rows: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in rows {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn cors(origins: &[&str]) -> Cors {
        Cors { origins: origins.iter().map(|origin| (*origin).to_owned()).collect() }
    }

    #[test]
    fn only_a_preflight_is_one() {
        const ASK: (&str, &str) = ("access-control-request-method", "PUT");
        for (method, headers, expected) in [
            (Method::OPTIONS, &[][..], None),
            (Method::OPTIONS, &[ASK][..], None),
            (Method::OPTIONS, &[("origin", APP)], None),
            (Method::GET, &[("origin", APP), ASK], None),
            (Method::OPTIONS, &[("origin", APP), ASK, ASK], None),
            (Method::OPTIONS, &[("origin", APP), ("access-control-request-method", "P UT")], None),
            (Method::OPTIONS, &[("origin", APP), ASK], Some(Method::PUT)),
        ] {
            let found = Preflight::of(&method, &map(headers)).map(|preflight| preflight.method);
            assert_eq!(found, expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn an_origin_is_compared_to_the_letter() {
        for (known, origins, expected) in [
            (&[APP][..], &[][..], None),
            (&[APP], &["https://evil.example"][..], None),
            (&[APP], &["https://app.example.com.evil.example"], None),
            (&[APP], &["https://APP.example.com"], None),
            (&[APP], &["null"], None),
            (&[APP], &[APP, APP], None),
            (&[APP], &[APP], Some(APP)),
            (&["https://a.example", APP], &[APP], Some(APP)),
            (&["*"], &["https://anybody.example"], Some("*")),
            (&["*"], &[], None),
        ] {
            let rows: Vec<_> = origins.iter().map(|origin| ("origin", *origin)).collect();
            let found = allowed_origin(&cors(known), &map(&rows));
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), expected, "{known:?} {origins:?}");
        }
    }

    #[test]
    fn a_preflight_is_answered_with_what_it_asked_for() {
        let request = map(&[
            ("origin", APP),
            ("access-control-request-method", "PUT"),
            ("access-control-request-headers", "authorization, dpop,, bad name, x-\u{fc},content-type"),
        ]);
        let preflight = Preflight::of(&Method::OPTIONS, &request).unwrap();
        assert_eq!(preflight.answer(&cors(&["https://other.example"]), &request), None);
        let answer = preflight.answer(&cors(&[APP]), &request).unwrap();
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], APP);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_METHODS], "PUT");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, dpop, content-type");
        assert_eq!(answer[ACCESS_CONTROL_MAX_AGE], "600");
        assert!(answer[VARY].to_str().unwrap().starts_with("Origin"));
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }

    #[test]
    fn the_gate_replaces_what_the_upstream_says() {
        let upstream = map(&[
            ("access-control-allow-origin", "*"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "ETag, x y"),
            ("vary", "Accept"),
        ]);
        let mut refused = upstream.clone();
        write_cors(&mut refused, &cors(&[APP]), None);
        assert!(!refused.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        assert!(!refused.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS));
        assert_eq!(refused.get_all(VARY).iter().collect::<Vec<_>>(), ["Accept", "Origin"]);

        let mut readable = upstream;
        write_cors(&mut readable, &cors(&[APP]), Some(HeaderValue::from_static(APP)));
        assert_eq!(readable[ACCESS_CONTROL_ALLOW_ORIGIN], APP);
        assert!(!readable.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
        let exposed = readable[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap();
        for name in ["DPoP-Nonce", "WWW-Authenticate", "ETag"] {
            assert!(exposed.contains(name), "{exposed}");
        }
        assert!(!exposed.contains("x y"));
    }

    proptest! {
        #[test]
        fn what_is_echoed_is_only_names(asked in "\\PC{0,80}") {
            let mut request = map(&[("origin", APP), ("access-control-request-method", "GET")]);
            request.insert(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_bytes(asked.as_bytes()).unwrap());
            let answer = Preflight { method: Method::GET }.answer(&cors(&[APP]), &request).unwrap();
            if let Some(names) = answer.get(ACCESS_CONTROL_ALLOW_HEADERS) {
                for name in names.to_str().unwrap().split(", ") {
                    prop_assert!(HeaderName::from_bytes(name.as_bytes()).is_ok());
                }
            }
        }
    }
}
