//! What an upstream reads: version, target, host; over TCP, TLS and Unix sockets.

use http::{Request, Response, Version};

use super::super::*;
use super::harness::*;

/// Says what it was asked: version, authority or `Host`, target.
async fn says_what_it_read(request: Request<hyper::body::Incoming>) -> Response<OriginBody> {
    let host = request.headers().get("host").map(|host| host.to_str().unwrap().to_owned());
    let authority = request.uri().authority().map(ToString::to_string);
    let path = request.uri().path_and_query().unwrap();
    let version = if request.version() == Version::HTTP_2 { "h2" } else { "h1" };
    // On HTTP/2 `Host` must not come beside `:authority`; on HTTP/1.1 the target must be in origin form.
    text(match (host, authority) {
        (Some(host), None) if version == "h1" => format!("{version} {host} {path}"),
        (None, Some(authority)) if version == "h2" => format!("{version} {authority} {path}"),
        (host, authority) => format!("{version} wrong: {host:?} {authority:?}"),
    })
}

fn grpc() -> Request<RequestBody> {
    let mut request = post("/svc/Method?a=b", "x");
    request.headers_mut().insert("content-type", "application/grpc+proto".parse().unwrap());
    request
}

#[tokio::test]
async fn plain_endpoints_by_protocol_and_preserve_host() {
    let http1 = origin(Speaks::Http1, says_what_it_read).await;
    let http2 = origin(Speaks::Http2, says_what_it_read).await;
    let own1 = http1.authority.as_str();
    let own2 = http2.authority.as_str();
    let rows = [
        (Protocol::Auto, true, get("/a?b=%2F"), "h1 api.example.com /a?b=%2F".to_owned()),
        (Protocol::Auto, false, get("/a"), format!("h1 {own1} /a")),
        (Protocol::Auto, true, grpc(), "h2 api.example.com /svc/Method?a=b".to_owned()),
        (Protocol::Http1, true, get("/a"), "h1 api.example.com /a".to_owned()),
        (Protocol::Http1, true, grpc(), "h1 api.example.com /svc/Method?a=b".to_owned()),
        (Protocol::Http2, true, get("/a?b=%2F"), "h2 api.example.com /a?b=%2F".to_owned()),
        (Protocol::Http2, false, get("/a"), format!("h2 {own2} /a")),
    ];
    for (protocol, preserve_host, request, expected) in rows {
        let server = if expected.starts_with("h2") { &http2 } else { &http1 };
        let subject = Subject::new(UpstreamOptions { protocol, preserve_host, ..options(vec![server.http()]) });
        assert_eq!(subject.text(request).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_request_without_host_or_of_another_version_gets_a_whole_form() {
    let http1 = origin(Speaks::Http1, says_what_it_read).await;
    let http2 = origin(Speaks::Http2, says_what_it_read).await;
    for (protocol, server, name) in [(Protocol::Http1, &http1, "h1"), (Protocol::Http2, &http2, "h2")] {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            let subject = Subject::new(UpstreamOptions { protocol, ..options(vec![server.http()]) });
            let mut request = get("/");
            request.headers_mut().remove("host");
            *request.version_mut() = version;
            assert_eq!(subject.text(request).await.unwrap(), format!("{name} {} /", server.authority));
        }
    }
}

#[test]
fn every_form_can_be_made_of_every_other() {
    use super::super::outbound::{Address, for_http1, for_http2};
    for (preserve_host, expected) in [(true, "api.example.com"), (false, "own:1")] {
        let address = Address {
            scheme: http::uri::Scheme::HTTP,
            authority: "own:1".parse().unwrap(),
            host: "own:1".parse().unwrap(),
            preserve_host,
        };
        let mut request = get("/a?b");
        for _ in 0..2 {
            for_http2(&mut request, &address);
            assert_eq!(request.uri(), format!("http://{expected}/a?b").as_str());
            assert!(!request.headers().contains_key("host"));
            for_http1(&mut request, &address);
            assert_eq!(request.uri(), "/a?b");
            assert_eq!(request.headers()["host"], expected);
        }
    }
}

#[tokio::test]
async fn unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("up.sock");
    unix_origin(&path, says_what_it_read);
    for (preserve_host, host) in [(true, "api.example.com"), (false, "localhost")] {
        let subject = Subject::new(UpstreamOptions { preserve_host, ..options(vec![Endpoint::Unix(path.clone())]) });
        assert_eq!(subject.text(get("/a")).await.unwrap(), format!("h1 {host} /a"));
        assert_eq!(subject.upstream.status()[0].url, format!("unix:{}", path.display()));
    }
}

/// What the server offers, what the upstream wants, the name to verify, and the answer.
type TlsRow = (&'static [&'static str], Protocol, Option<&'static str>, Result<&'static str, UpstreamError>);

#[tokio::test]
async fn tls_by_alpn_and_by_name() {
    let rows: [TlsRow; 8] = [
        (&["h2", "http/1.1"], Protocol::Auto, Some("localhost"), Ok("h2 api.example.com /")),
        (&["http/1.1"], Protocol::Auto, Some("localhost"), Ok("h1 api.example.com /")),
        (&[], Protocol::Auto, Some("localhost"), Ok("h1 api.example.com /")),
        (&["h2", "http/1.1"], Protocol::Http1, Some("localhost"), Ok("h1 api.example.com /")),
        (&["h2", "http/1.1"], Protocol::Http2, Some("localhost"), Ok("h2 api.example.com /")),
        (&["http/1.1"], Protocol::Http2, Some("localhost"), Err(UpstreamError::Connect)),
        (&["h2"], Protocol::Auto, None, Err(UpstreamError::Connect)),
        (&["h2"], Protocol::Auto, Some("other.example"), Err(UpstreamError::Connect)),
    ];
    for (alpn, protocol, name, expected) in rows {
        let (server, tls) = tls_origin(alpn, says_what_it_read).await;
        let subject = Subject::new(UpstreamOptions {
            protocol,
            tls: Some(tls),
            server_name: name.map(str::to_owned),
            ..options(vec![server.https()])
        });
        for _ in 0..2 {
            assert_eq!(subject.text(get("/")).await.as_deref(), expected.as_ref().copied(), "{alpn:?} {protocol:?}");
        }
        if expected.is_ok() {
            assert_eq!(server.connections(), 1, "{alpn:?} {protocol:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_nobody_known_is_refused() {
    let (server, _) = tls_origin(&["h2"], says_what_it_read).await;
    let (_, other) = tls_origin(&["h2"], says_what_it_read).await;
    let subject = Subject::new(UpstreamOptions {
        tls: Some(other),
        server_name: Some("localhost".to_owned()),
        ..options(vec![server.https()])
    });
    assert_eq!(subject.text(get("/")).await, Err(UpstreamError::Connect));
    assert_eq!(server.requests(), 0);
}
