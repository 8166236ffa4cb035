//! What streams: trailers, upgrades, both directions at once.

use bytes::Bytes;
use http::{Request, Response, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::super::*;
use super::harness::*;

/// Answers with the request's trailer `x-sum` as its own, and with its `te`.
async fn returns_trailers(request: Request<Incoming>) -> Response<OriginBody> {
    let te = request.headers().get("te").cloned();
    let version = request.version();
    let body = request.into_body().collect().await.unwrap();
    let sum = body.trailers().and_then(|trailers| trailers.get("x-sum")).cloned();
    let (pieces, stream) = piped();
    tokio::spawn(async move {
        pieces.send(data("body")).await.unwrap();
        let mut trailers = http::HeaderMap::new();
        trailers.insert("x-sum", sum.unwrap_or(http::HeaderValue::from_static("none")));
        pieces.send(Ok(http_body::Frame::trailers(trailers))).await.unwrap();
    });
    let mut response = Response::new(stream);
    response.headers_mut().insert("trailer", "x-sum".parse().unwrap());
    response.headers_mut().insert("x-version", format!("{version:?}").parse().unwrap());
    if let Some(te) = te {
        response.headers_mut().insert("x-te", te);
    }
    response
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let rows = [
        (Speaks::Http1, Protocol::Auto, "text/plain", Some("x-sum"), "HTTP/1.1", "42"),
        // hyper's HTTP/1.1 sends only what is announced.
        (Speaks::Http1, Protocol::Auto, "text/plain", None, "HTTP/1.1", "none"),
        (Speaks::Http2, Protocol::Http2, "text/plain", None, "HTTP/2.0", "42"),
        (Speaks::Http2, Protocol::Auto, "application/grpc", None, "HTTP/2.0", "42"),
    ];
    for (speaks, protocol, kind, announced, version, sum) in rows {
        let server = origin(speaks, returns_trailers).await;
        let subject = Subject::new(UpstreamOptions { protocol, ..options(vec![server.http()]) });
        let (pieces, body) = piped();
        let mut request = Request::post("/").header("host", "a").header("content-type", kind);
        request = request.header("te", "trailers");
        if let Some(name) = announced {
            request = request.header("trailer", name);
        }
        let feed = async move {
            pieces.send(data("data")).await.unwrap();
            pieces.send(trailer("x-sum", "42")).await.unwrap();
        };
        let (response, ()) = tokio::join!(subject.send(request.body(body).unwrap()), feed);
        let response = response.unwrap();
        assert_eq!(response.headers()["x-version"], version);
        assert_eq!(response.headers()["x-te"], "trailers");
        let body = response.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], sum, "{kind} {announced:?}");
        assert_eq!(body.to_bytes(), "body");
        assert_eq!(subject.in_flight(), [0]);
    }
}

#[tokio::test]
async fn both_directions_stream_at_once() {
    for (speaks, protocol) in [(Speaks::Http1, Protocol::Http1), (Speaks::Http2, Protocol::Http2)] {
        let server = origin(speaks, |request: Request<Incoming>| async move {
            Response::new(request.into_body().map_err(Into::into).boxed_unsync())
        })
        .await;
        let subject = Subject::new(UpstreamOptions { protocol, ..options(vec![server.http()]) });
        let (pieces, body) = piped();
        let request = Request::post("/").header("host", "a").body(body).unwrap();
        let mut response = subject.send(request).await.unwrap().into_body();
        for word in ["one", "two", "three"] {
            pieces.send(data(word)).await.unwrap();
            assert_eq!(response.frame().await.unwrap().unwrap().into_data().unwrap(), word);
        }
        drop(pieces);
        assert!(response.collect().await.unwrap().to_bytes().is_empty());
        assert_eq!(subject.in_flight(), [0]);
    }
}

/// Downloads that their clients gave up, more than hyper lets one connection have: whoever shares it is not cut off.
#[tokio::test]
async fn requests_given_up_do_not_end_the_connection_of_others() {
    // Large enough not to be taken for a flood of small frames.
    const FLOOD: Bytes = Bytes::from_static(&[b'x'; 4096]);
    let server = origin(Speaks::Http2, |request: Request<Incoming>| async move {
        let (pieces, body) = piped();
        let floods = request.uri().path() == "/flood";
        let piece = if floods { FLOOD } else { Bytes::from_static(b"more") };
        let piece = move || Ok(http_body::Frame::data(piece.clone()));
        tokio::spawn(async move { while pieces.send(piece()).await.is_ok() && floods {} });
        Response::new(body)
    })
    .await;
    let subject = Subject::new(UpstreamOptions { protocol: Protocol::Http2, ..options(vec![server.http()]) });
    let mut patient = subject.send(get("/patient")).await.unwrap().into_body();
    for _ in 0..40 {
        let mut floods = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let upstream = Arc::clone(&subject.upstream);
            floods.spawn(async move { upstream.send(get("/flood")).await.map(|response| response.status()) });
        }
        while let Some(flood) = floods.join_next().await {
            assert_eq!(flood.unwrap().unwrap(), StatusCode::OK);
        }
    }
    assert_eq!(patient.frame().await.unwrap().unwrap().into_data().unwrap(), "more");
    assert_eq!(subject.text(get("/patient")).await.unwrap(), "more");
    assert_eq!((server.connections(), subject.failures()), (1, vec![]));
}

fn expecting() -> Request<RequestBody> {
    let mut request = post("/", "body");
    request.headers_mut().insert("expect", CONTINUE);
    request
}

#[tokio::test]
async fn a_body_goes_when_the_upstream_asks_for_it() {
    let server = raw(|mut stream, _, requests| async move {
        // The body's bytes are not there yet: `read_request` would wait for them.
        while let Some(head) = read_head(&mut stream).await {
            assert!(head.contains("expect: 100-continue\r\n") && head.contains("content-length: 4\r\n"), "{head}");
            // What else is said in between is no word on the body.
            let early = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
            stream.write_all(early).await.unwrap();
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
            let mut body = [0; 4];
            stream.read_exact(&mut body).await.unwrap();
            requests.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
            stream.write_all(&body).await.unwrap();
        }
    })
    .await;
    let subject = Subject::new(options(vec![server.http()]));
    for _ in 0..3 {
        assert_eq!(subject.text(expecting()).await.unwrap(), "body");
    }
    assert_eq!((server.connections(), server.requests()), (1, 3));
}

/// What the upstream does not ask for it does not get, and where a body is missing no other request may stand.
#[tokio::test]
async fn a_body_that_is_not_wanted_stays_and_the_connection_ends() {
    let (tell, mut ends) = tokio::sync::mpsc::unbounded_channel();
    let server = raw(move |mut stream, _, _| {
        let tell = tell.clone();
        async move {
            read_head(&mut stream).await.unwrap();
            stream.write_all(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\n\r\nno").await.unwrap();
            let mut rest = Vec::new();
            let read = stream.read_to_end(&mut rest).await;
            tell.send((read.is_ok(), rest)).unwrap();
        }
    })
    .await;
    let subject = Subject::new(options(vec![server.http()]));
    for connections in 1..=2 {
        let response = subject.send(expecting()).await.unwrap();
        assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), "no");
        assert_eq!(ends.recv().await.unwrap(), (true, Vec::new()));
        assert_eq!((server.connections(), subject.in_flight()), (connections, vec![0]));
    }
    assert_eq!(subject.failures(), []);
}

/// Who answers first may still want the body: an echo does. It comes from a client that does not wait to be asked.
#[tokio::test]
async fn an_answer_that_begins_before_the_body_gets_it_nevertheless() {
    let server = raw(|mut stream, _, _| async move {
        read_head(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n").await.unwrap();
        let mut body = [0; 4];
        stream.read_exact(&mut body).await.unwrap();
        stream.write_all(&body).await.unwrap();
    })
    .await;
    let subject = Subject::new(options(vec![server.http()]));
    assert_eq!(subject.text(expecting()).await.unwrap(), "body");
    assert_eq!((subject.failures(), subject.in_flight()), (vec![], vec![0]));
}

#[tokio::test]
async fn an_upstream_that_knows_no_expectations_is_not_asked_again() {
    let server = raw(|mut stream, _, _| async move {
        while let Some(head) = read_head(&mut stream).await {
            if head.contains("expect:") {
                stream.write_all(b"HTTP/1.1 417 Expectation Failed\r\ncontent-length: 0\r\n\r\n").await.unwrap();
                return;
            }
            let mut body = [0; 4];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let subject = Subject::new(options(vec![server.http()]));
    assert_eq!(subject.send(expecting()).await.unwrap().status(), StatusCode::EXPECTATION_FAILED);
    assert_eq!(subject.text(expecting()).await.unwrap(), "ok");
}

/// HTTP/2 has its own way to refuse a body; and an endpoint that has said nothing before is not asked again.
#[tokio::test]
async fn whoever_would_not_say_is_not_asked() {
    for (speaks, protocol) in [(Speaks::Http2, Protocol::Http2), (Speaks::Http1, Protocol::Http1)] {
        let server = origin(speaks, |request: Request<Incoming>| async move {
            assert!(!request.headers().contains_key("expect"));
            text(request.into_body().collect().await.unwrap().to_bytes())
        })
        .await;
        let subject = Subject::new(UpstreamOptions { protocol, ..options(vec![server.http()]) });
        if speaks == Speaks::Http1 {
            subject.upstream.backends[0].silence.begins();
        }
        assert_eq!(subject.text(expecting()).await.unwrap(), "body");
    }
}

/// Takes an upgrade of either form and echoes.
async fn upgrades(mut request: Request<Incoming>) -> Response<OriginBody> {
    let mut response = text("");
    if request.version() == Version::HTTP_2 {
        let protocol = request.extensions().get::<hyper::ext::Protocol>().map(|protocol| protocol.as_str().to_owned());
        assert_eq!(protocol.as_deref(), Some("websocket"));
        assert_eq!(request.method(), "CONNECT");
        assert!(!request.headers().contains_key("sec-websocket-key"));
        assert_eq!(request.headers()["sec-websocket-version"], "13");
        assert_eq!(request.uri(), "http://api.example.com/chat");
    } else {
        assert_eq!(request.method(), "GET");
        assert_eq!(request.headers()["upgrade"], "websocket");
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert("connection", "upgrade".parse().unwrap());
        response.headers_mut().insert("upgrade", "websocket".parse().unwrap());
    }
    tokio::spawn(async move {
        let mut io = TokioIo::new(hyper::upgrade::on(&mut request).await.unwrap());
        let mut buffer = [0; 64];
        loop {
            let read = io.read(&mut buffer).await.unwrap_or(0);
            if read == 0 || io.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    });
    response
}

fn upgrade_to(protocol: &str) -> Request<RequestBody> {
    let mut request = get("/chat");
    let headers = request.headers_mut();
    headers.insert("connection", "keep-alive, Upgrade".parse().unwrap());
    headers.insert("upgrade", protocol.parse().unwrap());
    headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
    headers.insert("sec-websocket-version", "13".parse().unwrap());
    request
}

async fn echoes(subject: &Subject, status: StatusCode) {
    let response = subject.send(upgrade_to("websocket")).await.unwrap();
    assert_eq!(response.status(), status);
    assert_eq!(subject.in_flight(), [0], "an upgrade counts until its head");
    let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    for word in ["hello", "again"] {
        io.write_all(word.as_bytes()).await.unwrap();
        let mut back = [0; 5];
        io.read_exact(&mut back).await.unwrap();
        assert_eq!(back, word.as_bytes());
    }
}

#[tokio::test]
async fn upgrades_pass_in_the_form_of_each_version() {
    let http1 = origin(Speaks::Http1, upgrades).await;
    echoes(&Subject::new(options(vec![http1.http()])), StatusCode::SWITCHING_PROTOCOLS).await;
    let http2 = origin(Speaks::Http2Connect, upgrades).await;
    let subject = Subject::new(UpstreamOptions { protocol: Protocol::Http2, ..options(vec![http2.http()]) });
    echoes(&subject, StatusCode::OK).await;
    echoes(&subject, StatusCode::OK).await;
    assert_eq!(http2.connections(), 1);
    // `auto` over TLS asks for HTTP/1.1, whatever the server would rather speak.
    let (secure, tls) = tls_origin(&["h2", "http/1.1"], upgrades).await;
    let subject = Subject::new(UpstreamOptions {
        tls: Some(tls),
        server_name: Some("localhost".to_owned()),
        ..options(vec![secure.https()])
    });
    echoes(&subject, StatusCode::SWITCHING_PROTOCOLS).await;
}

#[tokio::test]
async fn an_upgrade_that_http2_cannot_carry_fails_as_protocol() {
    for (speaks, protocol) in [(Speaks::Http2, "websocket"), (Speaks::Http2Connect, "tls/1.0")] {
        let server = origin(speaks, upgrades).await;
        let subject = Subject::new(UpstreamOptions { protocol: Protocol::Http2, ..options(vec![server.http()]) });
        let result = subject.send(upgrade_to(protocol)).await;
        assert_eq!(result.map(|_| ()), Err(UpstreamError::Protocol));
        assert_eq!((server.requests(), subject.failures()), (0, vec![("protocol", 1)]));
        assert_eq!(subject.in_flight(), [0]);
    }
}

#[tokio::test]
async fn a_refused_upgrade_is_a_response_like_any_other() {
    let server = origin(Speaks::Http1, |_| async {
        let mut response = text("no");
        *response.status_mut() = StatusCode::FORBIDDEN;
        response
    })
    .await;
    let subject = Subject::new(options(vec![server.http()]));
    for _ in 0..2 {
        assert_eq!(subject.text(upgrade_to("websocket")).await.unwrap(), "no");
    }
    assert_eq!(server.connections(), 1);
}
