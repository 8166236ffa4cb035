//! The target of whole requests, and `htu` against it.
#![allow(clippy::unwrap_used)]

use std::net::IpAddr;

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";

struct Request<'a> {
    uri: &'a str,
    headers: &'a [(&'static str, &'a str)],
}

fn trust(public_urls: &[&str]) -> Trust {
    Trust {
        proxies: vec!["10.0.0.0/8".parse().unwrap()],
        public_urls: public_urls.iter().map(|url| PublicUrl::parse(url).unwrap()).collect(),
    }
}

fn of(request: &Request<'_>, ip: &str, scheme: Scheme, trust: &Trust) -> Result<Target, TargetError> {
    let headers = request
        .headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_bytes(value.as_bytes()).unwrap()));
    let mut map = HeaderMap::new();
    headers.for_each(|(name, value)| {
        map.append(name, value);
    });
    let peer = Peer { ip: ip.parse::<IpAddr>().unwrap(), scheme, client_certificate: None };
    Target::of(&request.uri.parse().unwrap(), &map, &peer, trust)
}

fn uri(request: &Request<'_>, ip: &str, scheme: Scheme) -> Result<String, TargetError> {
    of(request, ip, scheme, &trust(&[])).map(|target| target.uri)
}

#[test]
fn a_request_that_names_no_host_or_two_is_refused() {
    use TargetError::{AmbiguousPath, Conflicting, NoAuthority};
    for (uri_text, headers, error) in [
        ("/", &[][..], NoAuthority),
        ("/", &[("host", "")], NoAuthority),
        ("/", &[("host", "user@a")], NoAuthority),
        ("/", &[("host", "a, b")], NoAuthority),
        ("/", &[("host", "a/b")], NoAuthority),
        ("/", &[("host", "\u{e9}")], NoAuthority),
        ("/", &[("host", "a:99999")], NoAuthority),
        ("https://user@a/", &[], NoAuthority),
        ("https://a/", &[("host", "")], NoAuthority),
        ("/", &[("host", "a"), ("host", "b")], Conflicting),
        ("/", &[("host", "a"), ("host", "a")], Conflicting),
        ("https://a/", &[("host", "b")], Conflicting),
        ("https://a/", &[("host", "a:8443")], Conflicting),
        ("ftp://a/", &[], Conflicting),
        ("*", &[("host", "a")], AmbiguousPath),
        ("a:443", &[("host", "a:443")], AmbiguousPath), // CONNECT
        ("/a/../b", &[("host", "a")], AmbiguousPath),
        ("https://a/a/%2e%2e/b", &[], AmbiguousPath),
    ] {
        let refused = uri(&Request { uri: uri_text, headers }, "192.0.2.1", Scheme::Https);
        assert_eq!(refused, Err(error), "{uri_text} {headers:?}");
    }
}

#[test]
fn scheme_and_authority_are_the_connections_own() {
    for (uri_text, headers, scheme, expected) in [
        ("/a?b", &[("host", "A.Example")][..], Scheme::Https, "https://a.example/a"),
        ("/a", &[("host", "a:443")], Scheme::Https, "https://a/a"),
        ("/a", &[("host", "a:443")], Scheme::Http, "http://a:443/a"),
        ("https://a/b", &[], Scheme::Https, "https://a/b"),
        ("HTTPS://A:443/b", &[("host", "a")], Scheme::Https, "https://a/b"),
        ("https://a", &[("host", "a:")], Scheme::Https, "https://a/"),
        ("https://a?x=1", &[], Scheme::Https, "https://a/"),
        // The absolute form's scheme is the client's word, TLS is a fact.
        ("https://a/b", &[], Scheme::Http, "http://a/b"),
        ("/", &[("host", "[2001:DB8::1]:8443")], Scheme::Https, "https://[2001:db8::1]:8443/"),
    ] {
        let target = uri(&Request { uri: uri_text, headers }, "192.0.2.1", scheme);
        assert_eq!(target.as_deref(), Ok(expected), "{uri_text} {headers:?}");
    }
}

#[test]
fn forwarding_headers_count_only_from_a_believed_peer() {
    let forged = &[
        ("host", "gate.internal"),
        ("x-forwarded-host", "api.example.com"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-port", "443"),
    ][..];
    let request = Request { uri: "/a", headers: forged };
    assert_eq!(uri(&request, "192.0.2.1", Scheme::Http).as_deref(), Ok("http://gate.internal/a"));
    assert_eq!(uri(&request, PROXY, Scheme::Http).as_deref(), Ok("https://api.example.com/a"));
    assert_eq!(uri(&request, "::ffff:10.0.0.1", Scheme::Http).as_deref(), Ok("https://api.example.com/a"));
    // Nonsense from anybody is not even read.
    let nonsense =
        Request { uri: "/a", headers: &[("host", "a"), ("forwarded", "\"\u{e9}"), ("x-forwarded-proto", "x, y")] };
    assert_eq!(uri(&nonsense, "192.0.2.1", Scheme::Http).as_deref(), Ok("http://a/a"));
    assert_eq!(uri(&nonsense, PROXY, Scheme::Http), Err(TargetError::Conflicting));
}

#[test]
fn what_a_believed_peer_says_fills_in_for_the_connection() {
    for (headers, expected) in [
        (&[("host", "a"), ("x-forwarded-proto", "https")][..], Ok("https://a/")),
        (&[("host", "a"), ("x-forwarded-proto", "https, https")], Ok("https://a/")),
        (&[("host", "a"), ("x-forwarded-proto", "https, http")], Err(TargetError::Conflicting)),
        (&[("host", "a:443"), ("x-forwarded-proto", "https")], Ok("https://a/")),
        (&[("host", "b"), ("forwarded", "host=a;proto=https")], Ok("https://a/")),
        (&[("host", "b"), ("forwarded", "host=a"), ("x-forwarded-host", "b")], Err(TargetError::Conflicting)),
        (&[("host", "b"), ("x-forwarded-host", "a"), ("x-forwarded-port", "8443")], Ok("http://a:8443/")),
        (&[("host", "a"), ("x-forwarded-port", "8443")], Ok("http://a:8443/")),
        (&[("host", "a:8443"), ("x-forwarded-port", "8443")], Ok("http://a:8443/")),
        (&[("host", "a:8443"), ("x-forwarded-port", "443")], Err(TargetError::Conflicting)),
        (&[("host", "a"), ("x-forwarded-proto", "https"), ("x-forwarded-port", "443")], Ok("https://a/")),
        (&[("x-forwarded-host", "a")], Err(TargetError::NoAuthority)),
    ] {
        let target = uri(&Request { uri: "/", headers }, PROXY, Scheme::Http);
        assert_eq!(target, expected.map(str::to_owned), "{headers:?}");
    }
}

#[test]
fn with_a_public_url_that_is_what_a_proof_must_name() {
    let one = ["https://api.example.com/v1"];
    let several = ["https://api.example.com", "https://b.example.com:8443/p/", "http://c.example.com"];
    for (public, authority, resource) in [
        (&[][..], "gate:8080", "http://gate:8080"),
        (&one[..], "gate:8080", "https://api.example.com/v1"),
        (&several, "api.example.com", "https://api.example.com"),
        (&several, "API.example.com:443", "https://api.example.com"),
        (&several, "b.example.com:8443", "https://b.example.com:8443/p"),
        (&several, "b.example.com", "https://api.example.com"),
        (&several, "c.example.com", "http://c.example.com"),
        (&several, "gate:8080", "https://api.example.com"),
    ] {
        let target = Target::new(Scheme::Http, authority, "/a%2Db?q", &trust(public)).unwrap();
        assert_eq!(target.resource(), resource, "{public:?} {authority}");
        assert_eq!(target.path(), "/a-b");
        assert!(target.matches_htu(&format!("{resource}/a-b")));
        assert!(!target.matches_htu("http://elsewhere/a-b"));
        assert_eq!(target.scheme(), Scheme::Http);
    }
}

#[test]
fn the_parts_are_those_that_routes_and_upstreams_read() {
    let target = Target::new(Scheme::Https, "API.Example:8443", "/a%7eb/?x=%7e&y=//..", &Trust::default()).unwrap();
    assert_eq!(target.host(), "api.example");
    assert_eq!(target.authority(), "api.example:8443");
    assert_eq!(target.path(), "/a~b/");
    assert_eq!(target.path_and_query(), "/a~b/?x=%7e&y=//..");
    assert_eq!(target.resource(), "https://api.example:8443");
    for (path, expected) in [
        ("", Ok("/")),
        ("?a", Ok("/?a")),
        ("/?", Ok("/?")),
        ("/a?b?c", Ok("/a?b?c")),
        ("a", Err(TargetError::AmbiguousPath)),
        ("https://a/b", Err(TargetError::AmbiguousPath)),
        ("/a#b", Err(TargetError::AmbiguousPath)),
        ("/a?b#c", Err(TargetError::AmbiguousPath)),
        ("/a?b c", Err(TargetError::AmbiguousPath)),
        ("/a?b\r\nX: y", Err(TargetError::AmbiguousPath)),
    ] {
        let target = Target::new(Scheme::Https, "a", path, &Trust::default());
        assert_eq!(target.map(|target| target.path_and_query()), expected.map(str::to_owned), "{path:?}");
    }
    assert_eq!(Target::new(Scheme::Https, "a b", "/", &Trust::default()), Err(TargetError::NoAuthority));
}

#[test]
fn a_dot_at_the_end_of_a_host_makes_it_no_other_host_but_another_uri() {
    for (authority, host) in [
        ("api.example.com", "api.example.com"),
        ("API.example.com.", "api.example.com"),
        ("api.example.com.:8443", "api.example.com"),
        ("api.example.com..", "api.example.com"),
        ("[::1]", "[::1]"),
    ] {
        let target = Target::new(Scheme::Https, authority, "/a", &Trust::default()).unwrap();
        assert_eq!(target.host(), host, "{authority}");
        assert!(target.matches_htu(&format!("https://{authority}/a")), "{authority}");
    }
}

#[test]
fn another_uri_is_another_uri() {
    let target = Target::new(Scheme::Https, "api.example.com", "/Orders/a%2Cb/?q=1", &Trust::default()).unwrap();
    for htu in [
        "",
        "/Orders/a%2Cb/",
        "//api.example.com/Orders/a%2Cb/",
        "api.example.com/Orders/a%2Cb/",
        "https:/api.example.com/Orders/a%2Cb/",
        "http://api.example.com/Orders/a%2Cb/",
        "wss://api.example.com/Orders/a%2Cb/",
        "https://api.example.com:80/Orders/a%2Cb/",
        "https://api.example.com:8443/Orders/a%2Cb/",
        "https://api.example.com./Orders/a%2Cb/",
        "https://api.example.com.evil.example/Orders/a%2Cb/",
        "https://evil.example/Orders/a%2Cb/",
        "https://api.example.com@evil.example/Orders/a%2Cb/",
        "https://user@api.example.com/Orders/a%2Cb/",
        "https://user:pw@api.example.com/Orders/a%2Cb/",
        "https://api.example.com/Orders/a%2Cb",
        "https://api.example.com/Orders/a%2Cb//",
        "https://api.example.com//Orders/a%2Cb/",
        "https://api.example.com/orders/a%2Cb/",
        "https://api.example.com/ORDERS/A%2CB/",
        "https://api.example.com/Orders/a,b/", // a reserved character is not its encoding (RFC 3986 section 2.2)
        "https://api.example.com/Orders/a%252Cb/",
        "https://api.example.com/Orders%2Fa%2Cb/",
        "https://api.example.com/Orders\\a%2Cb/",
        "https://api.example.com/Orders/a%2Cb/%",
        "https://api.example.com/Orders/a%2Cb/ ",
        " https://api.example.com/Orders/a%2Cb/",
        "https://api.example.com/Orders/a%2Cb/\u{e9}",
        "https://api.example.com/Orders/a%2Cb/x/",
        "https://api.example.com/Orders/",
        "https://api.example.com/",
        "https://api.example.com",
        "https://",
        "https:///Orders/a%2Cb/",
        "https://api.example.com\\@evil.example/Orders/a%2Cb/",
    ] {
        assert!(!target.matches_htu(htu), "{htu:?}");
    }
}

#[test]
fn one_uri_may_be_spelled_in_many_ways() {
    let target = Target::new(Scheme::Https, "api.example.com", "/Orders/a%2Cb/?q=1", &Trust::default()).unwrap();
    for htu in [
        "https://api.example.com/Orders/a%2Cb/",
        "https://api.example.com/Orders/a%2cb/",
        "HTTPS://API.EXAMPLE.com/Orders/a%2Cb/",
        "https://api.example.com:443/Orders/a%2Cb/",
        "https://api.example.com:/Orders/a%2Cb/",
        "https://api.example.com/%4frders/%61%2Cb/",
        "https://api.example.com/x/../Orders/./a%2Cb/",
        "https://api.example.com/Orders/a%2Cb/.",
        "https://api.example.com/Orders/a%2Cb/?q=1",
        "https://api.example.com/Orders/a%2Cb/?q=2&/../",
        "https://api.example.com/Orders/a%2Cb/#fragment",
        "https://api.example.com/Orders/a%2Cb/?q#f?",
    ] {
        assert!(target.matches_htu(htu), "{htu:?}");
    }
    let root = Target::new(Scheme::Http, "[2001:db8::1]", "/", &Trust::default()).unwrap();
    for htu in
        ["http://[2001:DB8::1]", "http://[2001:db8:0:0::1]:80/", "http://[2001:db8::1]?x", "http://[2001:db8::1]#x"]
    {
        assert!(root.matches_htu(htu), "{htu:?}");
    }
    assert!(!root.matches_htu("http://[2001:db8::2]/"));
}

proptest! {
    #[test]
    fn a_target_matches_its_own_uri_however_it_is_encoded(path in "(/[a-zA-Z0-9._~-]{1,6}){1,4}", query in "[a-z=&/?]{0,8}") {
        let spelled: String = path.bytes().map(|byte| match byte {
            b'/' => "/".to_owned(),
            byte => format!("%{byte:02x}"),
        }).collect();
        if let Ok(target) = Target::new(Scheme::Https, "a.example", &path, &Trust::default()) {
            let matches = target.matches_htu(&format!("https://a.example:443{spelled}?{query}"));
            prop_assert!(matches);
            let longer = target.matches_htu(&format!("https://a.example{path}/"));
            prop_assert!(!longer);
        }
    }

    #[test]
    fn no_htu_panics_and_what_matches_normalises_to_the_target(htu in "https://a(:[0-9]{0,3})?[/a-c.%0-9?#;]{0,20}|\\PC{0,40}") {
        let target = Target::new(Scheme::Https, "a", "/a/b", &Trust::default()).unwrap();
        let matches = target.matches_htu(&htu);
        prop_assert_eq!(matches, normalise_htu(&htu).as_deref() == Some("https://a/a/b"));
        if let Some(once) = normalise_htu(&htu) {
            prop_assert_eq!(normalise_htu(&once), Some(once));
        }
    }
}
