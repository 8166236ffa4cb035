//! The request that the asking proxy wants decided: never the sub-request's own method and URL by accident.

use std::borrow::Cow;

use http::header::{AsHeaderName, FORWARDED, HOST};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use crate::target::{Account, Peer, Target, TargetError, Trust};

const X_FORWARDED_METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const X_FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
pub(super) const X_ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");

/// The original request's method and target.
#[derive(Debug, PartialEq, Eq)]
pub struct Original {
    /// To the letter.
    pub method: Method,
    /// As the client addressed it.
    pub target: Target,
    /// Who says so.
    pub source: Source,
}

/// Where the original request was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In headers beside another request's line, which only asks.
    Told,
    /// It is the request itself, or Envoy's account of it: an answer of the gate's own reaches the client.
    Itself,
}

impl Original {
    /// From `X-Forwarded-Method`, `-Uri`, `-Proto`, `-Host` (Traefik, Caddy), from `X-Original-Method` and
    /// `X-Original-URL` (nginx), else from the request line itself (Envoy). `peer` is believed: the caller has checked.
    ///
    /// Sources that disagree, and a method without a URL or the reverse, are [`TargetError::Conflicting`]: half of a
    /// source means that the proxy's configuration is not what somebody thinks it is.
    pub(super) fn of(parts: &Parts, peer: &Peer, trust: &Trust, account: Account) -> Result<Self, TargetError> {
        Self::told((&parts.method, &parts.uri, &parts.headers), peer, trust, account)
    }

    /// Whether these headers tell of another request than the one they came with.
    pub fn is_told_by(headers: &HeaderMap, account: Account) -> bool {
        let headers = heard(headers, account);
        let names = [X_FORWARDED_METHOD, X_FORWARDED_URI, X_ORIGINAL_METHOD, X_ORIGINAL_URL];
        names.iter().any(|name| headers.contains_key(name))
    }

    /// The same, out of the parts of a request's head.
    pub fn told(
        (own_method, own_uri, headers): (&Method, &Uri, &HeaderMap),
        peer: &Peer,
        trust: &Trust,
        account: Account,
    ) -> Result<Self, TargetError> {
        let headers = &*heard(headers, account);
        let method = agreed(headers, &[X_FORWARDED_METHOD, X_ORIGINAL_METHOD])?;
        let original_url = agreed(headers, &[X_ORIGINAL_URL])?.map(Url::of).transpose()?;
        let forwarded_uri = agreed(headers, &[X_FORWARDED_URI])?;
        let paths = [forwarded_uri, original_url.as_ref().map(|url| url.path)];
        let path = one_of(paths.into_iter().flatten())?;

        let (source, method, uri) = match (method, path) {
            (None, None) => (Source::Itself, own_method.clone(), own_uri.clone()),
            (Some(method), Some(path)) => (
                Source::Told,
                Method::from_bytes(method.as_bytes()).map_err(|_| TargetError::Conflicting)?,
                Uri::from(origin_form(path)?),
            ),
            (Some(_), None) | (None, Some(_)) => return Err(TargetError::Conflicting),
        };
        let target = match original_url.and_then(|url| url.origin) {
            None => Target::of(&uri, headers, peer, trust)?,
            // One more member of the forwarding lists, whose members have to agree.
            Some((scheme, authority)) => {
                let mut headers = headers.clone();
                append(&mut headers, X_FORWARDED_PROTO, scheme)?;
                append(&mut headers, X_FORWARDED_HOST, authority)?;
                headers.remove(HOST);
                append(&mut headers, HOST, authority)?;
                Target::of(&uri, &headers, peer, trust)?
            }
        };
        Ok(Self { method, target, source })
    }
}

/// The headers without those that this account does not use.
fn heard(headers: &HeaderMap, account: Account) -> Cow<'_, HeaderMap> {
    let unheard: &[HeaderName] = match account {
        Account::Any => &[],
        Account::XForwarded => &[X_ORIGINAL_METHOD, X_ORIGINAL_URL, FORWARDED],
        // Of a URL without an origin, nginx says scheme and host in `X-Forwarded-Proto` and `-Host`.
        Account::XOriginal => &[X_FORWARDED_METHOD, X_FORWARDED_URI, FORWARDED],
        // Envoy says the scheme in `X-Forwarded-Proto`, and the host in `Host` alone.
        Account::RequestLine => &[
            X_ORIGINAL_METHOD,
            X_ORIGINAL_URL,
            X_FORWARDED_METHOD,
            X_FORWARDED_URI,
            X_FORWARDED_HOST,
            X_FORWARDED_PORT,
            FORWARDED,
        ],
    };
    let mut heard = Cow::Borrowed(headers);
    for name in unheard.iter().filter(|name| headers.contains_key(*name)) {
        heard.to_mut().remove(name);
    }
    heard
}

/// `X-Original-URL`: an absolute URL, or a path alone.
struct Url<'a> {
    origin: Option<(&'a str, &'a str)>,
    path: &'a str,
}

impl<'a> Url<'a> {
    fn of(url: &'a str) -> Result<Self, TargetError> {
        if url.starts_with('/') {
            return Ok(Self { origin: None, path: url });
        }
        let (scheme, rest) = url.split_once("://").ok_or(TargetError::Conflicting)?;
        // Where the host ends is for its `/` alone to say: nginx lets a client's `Host` have a `?`, behind which the
        // path that it forwards would be a query to us. No host has one, so that it is refused.
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Ok(Self { origin: Some((scheme, authority)), path: if path.is_empty() { "/" } else { path } })
    }
}

/// A path and query as on a request line, to the last byte: a fragment, which `PathAndQuery` would cut off, is no part
/// of it (RFC 9112 section 3.2), but goes upstream where the asking proxy forwards what it got.
fn origin_form(path: &str) -> Result<PathAndQuery, TargetError> {
    if !path.starts_with('/') || path.contains('#') {
        return Err(TargetError::AmbiguousPath);
    }
    PathAndQuery::try_from(path).map_err(|_| TargetError::AmbiguousPath)
}

/// The one value that all of these headers, as often as they come, agree on.
fn agreed<'a>(headers: &'a HeaderMap, names: &[HeaderName]) -> Result<Option<&'a str>, TargetError> {
    let values = names.iter().flat_map(|name| values(headers, name));
    one_of(values.collect::<Result<Vec<_>, _>>()?)
}

fn values(headers: &HeaderMap, name: impl AsHeaderName) -> impl Iterator<Item = Result<&str, TargetError>> {
    headers.get_all(name).iter().map(|value| value.to_str().map_err(|_| TargetError::Conflicting))
}

fn one_of<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Option<&'a str>, TargetError> {
    let mut values = values.into_iter();
    let first = values.next();
    if values.all(|value| Some(value) == first) { Ok(first) } else { Err(TargetError::Conflicting) }
}

fn append(headers: &mut HeaderMap, name: HeaderName, value: &str) -> Result<(), TargetError> {
    headers.append(name, HeaderValue::from_str(value).map_err(|_| TargetError::Conflicting)?);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use http::Request;

    use super::*;
    use crate::target::Scheme;

    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Result<(&'a str, &'a str), TargetError>);

    #[test]
    fn the_original_request_is_found_or_refused() {
        const CONFLICT: Result<(&str, &str), TargetError> = Err(TargetError::Conflicting);
        let rows: &[Row<'_>] = &[
            (
                "Traefik, Caddy",
                &[
                    ("x-forwarded-method", "POST"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "api.example.com"),
                    ("x-forwarded-uri", "/orders/1?x=1"),
                ],
                Ok(("POST", "https://api.example.com/orders/1")),
            ),
            (
                "nginx",
                &[("x-original-method", "PUT"), ("x-original-url", "https://api.example.com/orders/1?x=1")],
                Ok(("PUT", "https://api.example.com/orders/1")),
            ),
            ("Envoy", &[("host", "api.example.com")], Ok(("GET", "http://api.example.com/auth"))),
            (
                "both, agreeing",
                &[
                    ("x-original-method", "GET"),
                    ("x-original-url", "https://api.example.com/a"),
                    ("x-forwarded-method", "GET"),
                    ("x-forwarded-proto", "https"),
                    ("x-forwarded-host", "api.example.com"),
                    ("x-forwarded-uri", "/a"),
                ],
                Ok(("GET", "https://api.example.com/a")),
            ),
            (
                "methods disagree",
                &[
                    ("x-original-method", "GET"),
                    ("x-forwarded-method", "POST"),
                    ("x-original-url", "https://a.example/a"),
                ],
                CONFLICT,
            ),
            (
                "paths disagree",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example/a"), ("x-forwarded-uri", "/b")],
                CONFLICT,
            ),
            (
                "schemes disagree",
                &[
                    ("x-original-method", "GET"),
                    ("x-original-url", "https://a.example/a"),
                    ("x-forwarded-proto", "http"),
                ],
                CONFLICT,
            ),
            (
                "hosts disagree",
                &[
                    ("x-original-method", "GET"),
                    ("x-original-url", "https://a.example/a"),
                    ("x-forwarded-host", "b.example"),
                ],
                CONFLICT,
            ),
            (
                "twice, differing",
                &[("x-forwarded-method", "GET"), ("x-forwarded-method", "PUT"), ("x-forwarded-uri", "/")],
                CONFLICT,
            ),
            ("method alone", &[("x-forwarded-method", "GET")], CONFLICT),
            ("URL alone", &[("x-original-url", "https://a.example/a")], CONFLICT),
            ("no URL", &[("x-original-method", "GET"), ("x-original-url", "orders")], CONFLICT),
            (
                "ambiguous",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example/a/../b")],
                Err(TargetError::AmbiguousPath),
            ),
            (
                "a fragment in a URL",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example/public/a#/../../secret")],
                Err(TargetError::AmbiguousPath),
            ),
            (
                "a fragment behind a query",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example/public/a?x#/y")],
                Err(TargetError::AmbiguousPath),
            ),
            (
                "a fragment in a path of nginx",
                &[("x-original-method", "GET"), ("x-original-url", "/public/a#/../../secret")],
                Err(TargetError::AmbiguousPath),
            ),
            (
                "a fragment in a path",
                &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "/public/a#/../../secret")],
                Err(TargetError::AmbiguousPath),
            ),
            (
                "a path without its slash",
                &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "?/secret")],
                Err(TargetError::AmbiguousPath),
            ),
            (
                "no path at all",
                &[("x-forwarded-method", "GET"), ("x-forwarded-uri", "")],
                Err(TargetError::AmbiguousPath),
            ),
            (
                "a host that would make the path a query",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example?/secret/f")],
                CONFLICT,
            ),
            (
                "the same behind a port",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example:80?x=/secret/f")],
                CONFLICT,
            ),
            (
                "a host that would make the path a fragment",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example#/secret/f")],
                CONFLICT,
            ),
            (
                "a host that would be a user",
                &[("x-original-method", "GET"), ("x-original-url", "https://a.example@b.example/secret/f")],
                CONFLICT,
            ),
            ("no host", &[("x-original-method", "GET"), ("x-original-url", "https:///secret/f")], CONFLICT),
        ];
        let peer = Peer { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), scheme: Scheme::Http, client_certificate: None };
        let trust = Trust { proxies: vec!["127.0.0.0/8".parse().unwrap()], public_urls: Vec::new() };
        for (name, headers, expected) in rows {
            let mut request = Request::get("/auth");
            if !headers.iter().any(|(name, _)| *name == "host") {
                request = request.header("host", "gate.internal:9000");
            }
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let found = Original::of(&parts, &peer, &trust, Account::Any);
            match (&found, expected) {
                (Ok(found), Ok((method, url))) => {
                    assert_eq!(found.method.as_str(), *method, "{name}");
                    assert!(found.target.matches_htu(url), "{name}: {:?}", found.target);
                }
                (found, expected) => assert_eq!(found.as_ref().err(), expected.as_ref().err(), "{name}"),
            }
        }
    }

    #[test]
    fn what_a_client_says_in_the_words_of_another_proxy_is_not_heard() {
        let nginx = [("x-original-method", "GET"), ("x-original-url", "https://a.example/orders/1")];
        let traefik = [
            ("x-forwarded-method", "POST"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "b.example"),
            ("x-forwarded-uri", "/public"),
        ];
        let port = [("x-forwarded-port", "8443"), ("forwarded", "host=d.example;proto=https")];
        let both = [&nginx[..], &traefik[..2], &traefik[3..]].concat();
        let peer = Peer { ip: IpAddr::V4(Ipv4Addr::LOCALHOST), scheme: Scheme::Http, client_certificate: None };
        let trust = Trust { proxies: vec!["127.0.0.0/8".parse().unwrap()], public_urls: Vec::new() };
        for (headers, account, expected) in [
            (&both, Account::Any, None),
            (&both, Account::XOriginal, Some((Source::Told, "GET", "https://a.example/orders/1"))),
            (&both, Account::XForwarded, Some((Source::Told, "POST", "https://c.example/public"))),
            (&both, Account::RequestLine, Some((Source::Itself, "DELETE", "https://c.example/secret"))),
            (&nginx.to_vec(), Account::RequestLine, Some((Source::Itself, "DELETE", "http://c.example/secret"))),
            (&nginx.to_vec(), Account::XForwarded, Some((Source::Itself, "DELETE", "http://c.example/secret"))),
            (&port.to_vec(), Account::RequestLine, Some((Source::Itself, "DELETE", "http://c.example/secret"))),
            (&[&nginx[..], &port[1..]].concat(), Account::Any, None),
            (
                &[&nginx[..], &port[1..]].concat(),
                Account::XOriginal,
                Some((Source::Told, "GET", "https://a.example/orders/1")),
            ),
            (
                &[&traefik[..1], &traefik[3..], &port[1..]].concat(),
                Account::XForwarded,
                Some((Source::Told, "POST", "http://c.example/public")),
            ),
            (&traefik.to_vec(), Account::XOriginal, Some((Source::Itself, "DELETE", "https://b.example/secret"))),
            (&traefik.to_vec(), Account::RequestLine, Some((Source::Itself, "DELETE", "https://c.example/secret"))),
        ] {
            let mut request = Request::delete("/secret").header("host", "c.example");
            for (name, value) in headers {
                request = request.header(*name, *value);
            }
            let (parts, ()) = request.body(()).unwrap().into_parts();
            let found = Original::of(&parts, &peer, &trust, account).ok();
            assert_eq!(found.is_some(), expected.is_some(), "{account:?} {headers:?}");
            if let (Some(found), Some((source, method, url))) = (found, expected) {
                assert_eq!((found.source, found.method.as_str()), (source, method), "{account:?} {headers:?}");
                assert!(found.target.matches_htu(url), "{account:?} {headers:?}: {:?}", found.target);
            }
            let told = Original::is_told_by(&parts.headers, account);
            assert_eq!(told, expected.is_none_or(|(source, ..)| source == Source::Told), "{account:?} {headers:?}");
        }
    }
}
